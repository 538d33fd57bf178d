//! Instructions and stack of each call, as one JSON line for each linked artifact.

use core::hint::black_box;

use semihosting::{eprintln, println};
use simground_record::NEAREST;
use simground_runtime::artifact::Head;
use simground_runtime::{Inference, Model};

use crate::linked::{LINKED, Linked, MAX_D_VALUES, Memory};

/// What a board knows about its own execution.
pub trait Probe {
    /// Instructions that `work` executes; `None` when the counter wrapped.
    fn instructions(&mut self, work: impl FnOnce()) -> Option<u32>;
    /// Bytes of stack that `work` uses below this call's own frame; `None` when there were not enough.
    fn stack_bytes(&mut self, work: impl FnOnce()) -> Option<usize>;
}

/// Measures every linked artifact; false at the first that cannot be.
pub fn run(memory: &mut Memory, probe: &mut impl Probe) -> bool {
    LINKED.iter().all(|linked| {
        let measured = measure(linked, memory, probe).is_some();
        if !measured {
            eprintln!("{}: refused, or too large for this example's memory", linked.name);
        }
        measured
    })
}

fn measure(linked: &Linked, memory: &mut Memory, probe: &mut impl Probe) -> Option<()> {
    let bytes = black_box(linked.bytes);
    let from_bytes = probe.instructions(|| discard(Model::from_bytes(bytes)))?;
    let model = Model::from_bytes(bytes).ok()?;
    let scratch_bytes = model.scratch_words() * 4;
    let (x, scratch) = memory.load(linked, model.d_values())?;
    let self_test = probe.instructions(|| discard(model.self_test(scratch)))?;
    let infer = probe.instructions(|| infer(&model, x, scratch))?;
    let mut quantized = [0; MAX_D_VALUES];
    let quantized = quantized.get_mut(..model.padded_input())?;
    model.quantize_input(x, quantized);
    let integers = probe.instructions(|| infer_integers(&model, quantized, scratch))?;
    let mut inference = model.infer(x, scratch).ok()?;
    let nearest = probe.instructions(|| discard(inference.nearest::<NEAREST>()))?;
    let attribute = probe.instructions(|| discard(inference.attribute::<NEAREST>()))?;
    let (log_ratio, maximum) = likelihood(&mut inference, probe)?;
    let stack_bytes = probe.stack_bytes(|| everything(bytes, x, scratch))?;
    println!(
        "{{\"model\":\"{}\",\"artifact_bytes\":{},\"scratch_bytes\":{scratch_bytes},\"from_bytes\":{from_bytes},\
         \"self_test\":{self_test},\"infer\":{infer},\"integers\":{integers},\"nearest\":{nearest},\
         \"attribute\":{attribute},\"log_ratio\":{log_ratio},\"maximum\":{maximum},\"stack_bytes\":{stack_bytes}}}",
        linked.name,
        bytes.len(),
    );
    Some(())
}

/// Instructions of a likelihood at one theta and of its maximum; 0 of a model without.
#[inline(never)]
fn likelihood(inference: &mut Inference<'_, '_, '_>, probe: &mut impl Probe) -> Option<(u32, u32)> {
    let Some(mut ratio) = inference.ratio() else { return Some((0, 0)) };
    let theta = ratio.maximum().theta;
    let log_ratio = probe.instructions(|| discard(ratio.log_ratio(black_box(&theta))))?;
    let maximum = probe.instructions(|| discard(ratio.maximum()))?;
    Some((log_ratio, maximum))
}

/// In a frame of its own, which a model without a likelihood does not enter.
#[inline(never)]
fn maximum(inference: &mut Inference<'_, '_, '_>) {
    discard(inference.ratio().map(|mut ratio| ratio.maximum()));
}

#[inline(never)]
pub(crate) fn infer(model: &Model<'_>, x: &[f32], scratch: &mut [u32]) {
    if let Ok(inference) = model.infer(black_box(x), scratch) {
        black_box(inference.outputs());
    }
}

/// From quantized inputs to the last accumulator: what figures for kernels count.
#[inline(never)]
pub(crate) fn infer_integers(model: &Model<'_>, quantized: &[i16], scratch: &mut [u32]) {
    if let Ok(inference) = model.infer_integers(black_box(quantized), scratch) {
        black_box(inference.outputs());
    }
}

/// All that an application calls, for the deepest stack among them.
#[inline(never)]
fn everything(bytes: &'static [u8], x: &[f32], scratch: &mut [u32]) {
    // By reference: a model that is moved lies on the stack twice.
    let Ok(model) = &Model::from_bytes(bytes) else {
        return;
    };
    discard(model.self_test(scratch));
    if let Ok(mut inference) = model.infer(x, scratch) {
        black_box(inference.outputs());
        discard(inference.mechanism_posterior());
        discard(inference.quantiles(0));
        let likelihood = |head| matches!(head, Head::Ratio { .. });
        if model.manifest().heads.iter().any(likelihood) {
            maximum(&mut inference);
        }
        black_box(&inference.attribute::<NEAREST>());
    };
}

/// Makes the compiler compute a value that nobody reads.
pub(crate) fn discard<T>(value: T) {
    black_box(value);
}
