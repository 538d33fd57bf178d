//! Models that were proved while the firmware was built: answers alone, and their instructions and stack.

use core::hint::black_box;

use semihosting::{eprintln, println};
use simground_record::NEAREST;
use simground_runtime::Model;

use crate::linked::{MAX_D_VALUES, Memory};
use crate::measure::{Probe, discard, infer, infer_integers};

include!(concat!(env!("OUT_DIR"), "/compiled.rs"));

/// As [`bare::integers`](crate::bare::integers).
pub fn integers(memory: &mut Memory) {
    let Memory { quantized, scratch, .. } = memory;
    for (_, model) in ANSWERS {
        let Some(inputs) = quantized.get(..model.padded_input()) else {
            continue;
        };
        if let Ok(inference) = model.infer_integers(black_box(inputs), black_box(scratch)) {
            black_box(inference.outputs());
        }
    }
}

/// As [`bare::explain`](crate::bare::explain).
pub fn explain(memory: &mut Memory) {
    let Memory { x, scratch, .. } = memory;
    for (_, model) in ANSWERS {
        let Some(x) = x.get(..model.d_values()) else {
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

/// Tests and measures every model, as one JSON line each; false at the first that fails.
pub fn run(memory: &mut Memory, probe: &mut impl Probe) -> bool {
    WHOLE.iter().all(|(name, model)| {
        let measured = measure(name, model, memory, probe).is_some();
        if !measured {
            eprintln!("{}: self-test failed, or too large for this example's memory", name);
        }
        measured
    })
}

fn measure(
    name: &str,
    model: &Model<'static>,
    memory: &mut Memory,
    probe: &mut impl Probe,
) -> Option<()> {
    let scratch = &mut memory.scratch;
    // The host's checksums of its own answers are in the vectors.
    model.self_test(scratch).ok()?;
    let vectors = model.manifest().self_test.vectors;
    let x = memory.x.get(..model.d_values())?;
    let mut quantized = [0; MAX_D_VALUES];
    let quantized = quantized.get_mut(..model.padded_input())?;
    model.quantize_input(x, quantized);
    let integers = probe.instructions(|| infer_integers(model, quantized, scratch))?;
    let inference = probe.instructions(|| infer(model, x, scratch))?;
    let mut inferred = model.infer(x, scratch).ok()?;
    let nearest = probe.instructions(|| discard(inferred.nearest::<NEAREST>()))?;
    let attribute = probe.instructions(|| discard(inferred.attribute::<NEAREST>()))?;
    let stack_bytes = probe.stack_bytes(|| everything(model, x, scratch))?;
    println!(
        "{{\"model\":\"{name}\",\"vectors\":{vectors},\"infer\":{inference},\"integers\":{integers},\
         \"nearest\":{nearest},\"attribute\":{attribute},\"stack_bytes\":{stack_bytes}}}"
    );
    Some(())
}

/// All that an application calls, for the deepest stack among them.
#[inline(never)]
fn everything(model: &Model<'static>, x: &[f32], scratch: &mut [u32]) {
    infer(model, x, scratch);
    if let Ok(mut inference) = model.infer(x, scratch) {
        discard(inference.mechanism_posterior());
        discard(inference.quantiles(0));
        black_box(&inference.attribute::<NEAREST>());
    }
}
