//! The runtime and nothing else: what flash sizes are taken of, and what must not reach a panic.

use core::hint::black_box;

use simground_record::{Generator, NEAREST};
use simground_runtime::artifact::MAX_THETA;
use simground_runtime::{Axis, Inference, Model};

use crate::linked::{LINKED, Memory};

/// The panic handler of a program that does not link when a panic is reachable.
#[macro_export]
macro_rules! a_panic_does_not_link {
    () => {
        unsafe extern "C" {
            fn a_panic_is_reachable_from_the_runtime() -> !;
        }

        #[panic_handler]
        fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
            // SAFETY: never called, because a program that could call it does not link.
            unsafe { a_panic_is_reachable_from_the_runtime() }
        }
    };
}

/// From quantized inputs to integer outputs: what a firmware whose sensor delivers integers needs, and what the figures of
/// other integer runtimes count.
pub fn integers(memory: &mut Memory) {
    let Memory { quantized, scratch, .. } = memory;
    for linked in LINKED {
        let Ok(model) = Model::from_bytes(black_box(linked.bytes)) else {
            continue;
        };
        let Some(inputs) = quantized.get(..model.padded_input()) else {
            continue;
        };
        if let Ok(inference) = model.infer_integers(black_box(inputs), black_box(scratch)) {
            black_box(inference.outputs());
        }
    }
}

/// From raw units to integer outputs.
pub fn infer(memory: &mut Memory) {
    for linked in LINKED {
        let Ok(model) = Model::from_bytes(black_box(linked.bytes)) else {
            continue;
        };
        let Some((x, scratch)) = memory.load(linked, model.d_values()) else {
            continue;
        };
        if let Ok(inference) = model.infer(black_box(x), black_box(scratch)) {
            black_box(inference.outputs());
        }
    }
}

/// Every answer, and its attribution.
pub fn explain(memory: &mut Memory) {
    for linked in LINKED {
        let Ok(model) = Model::from_bytes(black_box(linked.bytes)) else {
            continue;
        };
        let Some((x, scratch)) = memory.load(linked, model.d_values()) else {
            continue;
        };
        if let Ok(mut inference) = model.infer(black_box(x), black_box(scratch)) {
            black_box(inference.outputs());
            black_box(inference.mechanism_posterior());
            black_box(inference.quantiles(black_box(0)));
            black_box(inference.attribute::<NEAREST>());
        }
    }
}

/// Everything that the heads say of theta.
pub fn theta(memory: &mut Memory) {
    for linked in LINKED {
        let Ok(model) = Model::from_bytes(black_box(linked.bytes)) else {
            continue;
        };
        let Some((x, scratch)) = memory.load(linked, model.d_values()) else {
            continue;
        };
        let Ok(mut inference) = model.infer(black_box(x), black_box(scratch)) else {
            continue;
        };
        likelihood(&mut inference);
        if let Some(mut flow) = inference.flow() {
            flow.sample(&mut Generator(1), black_box(&mut [0.0; MAX_THETA]));
        }
        black_box(inference.point(black_box(0)));
        let Some(mixture) = inference.mixture() else { continue };
        let mut theta = [0.0; MAX_THETA];
        mixture.sample(&mut Generator(1), black_box(&mut theta));
        black_box(mixture.log_density(&theta));
        black_box(mixture.mean(black_box(0)));
        black_box(mixture.quantile(black_box(0), black_box(0.5)));
        black_box(mixture.covariance(black_box(0), black_box(1)));
    }
}

fn likelihood(inference: &mut Inference<'_, '_, '_>) {
    let Some(mut ratio) = inference.ratio() else { return };
    let maximum = ratio.maximum();
    black_box(ratio.log_ratio(black_box(&maximum.theta)));
    black_box(ratio.confidence_set(&maximum, black_box(0.95)));
    black_box(ratio.interval(&maximum, black_box(0), black_box(0.95)));
    black_box(ratio.interval_contains(&maximum, black_box(0), black_box(1.0), black_box(0.95)));
    let axes = [Axis { low: 0.0, high: 1.0, points: 2 }; 3];
    let _: Result<(), _> = ratio.surface(black_box(&axes), black_box(&mut [0.0; 8]));
}
