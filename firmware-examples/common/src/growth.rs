//! Growth in the field and nothing else: what its flash is taken of, what must not reach a panic, and what it costs.

use core::hint::black_box;

use semihosting::println;
use simground_record::NEAREST;
use simground_runtime::additions::{HEADER_BYTES, MAX_RECORD_BYTES};
use simground_runtime::{Additions, Inference, Label, Model};

use crate::linked::{LINKED, Linked, Memory};
use crate::measure::Probe;

/// Labeled windows in the measured region.
pub const LABELS: usize = 16;

/// The region and the weights of its records.
pub struct Field {
    region: [u8; HEADER_BYTES + LABELS * 64],
    weights: [u32; LABELS],
    record: [u8; MAX_RECORD_BYTES],
}

impl Field {
    /// Zeroed memory, which costs no flash.
    pub const fn new() -> Self {
        Field {
            region: [0; HEADER_BYTES + LABELS * 64],
            weights: [0; LABELS],
            record: [0; MAX_RECORD_BYTES],
        }
    }
}

impl Default for Field {
    fn default() -> Self {
        Self::new()
    }
}

/// Every answer of `bare::explain`, with a label, and attribution by both parts of the bank.
pub fn explain(memory: &mut Memory, field: &mut Field) {
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
        black_box(inference.outputs());
        black_box(inference.mechanism_posterior());
        black_box(inference.quantiles(black_box(0)));
        let Field { region, weights, record } = field;
        if let Ok(header) = Additions::header(&model, black_box(None)) {
            for (to, from) in region.iter_mut().zip(header) {
                *to = from;
            }
        }
        let Ok(additions) = Additions::from_bytes(&model, black_box(region)) else {
            continue;
        };
        let label = Label { tag: black_box(1), ..Label::new(black_box(3)) };
        let _ = black_box(additions.label(&inference, &label, black_box(record)));
        let _ = black_box(additions.name(black_box(3), black_box("new"), black_box(record)));
        let _ = black_box(additions.retract(black_box(0), black_box(record)));
        black_box(additions.mechanism_name(black_box(3)));
        let answer = inference.attribute_with::<NEAREST>(&additions, black_box(weights));
        if let Ok(answer) = black_box(&answer) {
            answer.thetas().for_each(|theta| {
                black_box(theta);
            });
        }
        let _ = black_box(additions.compact(black_box(&mut [0; 512])));
    }
}

/// Instructions and stack with [`LABELS`] labels, as one JSON line for each linked artifact; false at the first that cannot be measured.
pub fn run(memory: &mut Memory, field: &mut Field, probe: &mut impl Probe) -> bool {
    LINKED.iter().all(|linked| measure(linked, memory, field, probe).is_some())
}

fn measure(
    linked: &Linked,
    memory: &mut Memory,
    field: &mut Field,
    probe: &mut impl Probe,
) -> Option<()> {
    let model = Model::from_bytes(linked.bytes).ok()?;
    let d_values = model.d_values();
    let (x, scratch) = memory.load(linked, d_values)?;
    let mut other = [0.0; 64];
    let other = other.get_mut(..d_values)?;
    other.copy_from_slice(x);
    let record_bytes = Additions::record_bytes(&model)?;
    field.region.fill(0xff);
    let header = Additions::header(&model, None).ok()?;
    field.region.get_mut(..HEADER_BYTES)?.copy_from_slice(&header);
    let mut label_instructions = 0;
    for at in 0..LABELS {
        // Windows that differ enough to be other labels.
        *other.get_mut(at % d_values)? += 60.0 * (at + 1) as f32;
        let inference = model.infer(other, scratch).ok()?;
        let additions = Additions::from_bytes(&model, &field.region).ok()?;
        let label = Label::new(at as u8 % 11);
        let record = &mut field.record;
        let mut offset = None;
        label_instructions = probe.instructions(|| {
            offset = additions.label(&inference, &label, record).ok().map(|a| a.offset);
        })?;
        let slot = field.region.get_mut(offset?..)?.get_mut(..record_bytes)?;
        slot.copy_from_slice(field.record.get(..record_bytes)?);
    }
    let Field { region, weights, record } = field;
    let from_bytes = probe.instructions(|| {
        black_box(&Additions::from_bytes(&model, black_box(region)));
    })?;
    let additions = Additions::from_bytes(&model, region).ok()?;
    let live = additions.iter().count();
    let mut inference = model.infer(x, scratch).ok()?;
    let attribute = probe.instructions(|| {
        black_box(&inference.attribute_with::<NEAREST>(&additions, weights));
    })?;
    let none = Additions::from_bytes(&model, &header).ok()?;
    let without_labels = probe.instructions(|| {
        black_box(&inference.attribute_with::<NEAREST>(&none, weights));
    })?;
    let stack_bytes =
        probe.stack_bytes(|| everything(&model, &mut inference, region, weights, record))?;
    println!(
        "{{\"model\":\"{}\",\"labels\":{live},\"region_bytes\":{},\"from_bytes\":{from_bytes},\"label\":{label_instructions},\
         \"without_labels\":{without_labels},\"attribute_with\":{attribute},\"stack_bytes\":{stack_bytes}}}",
        linked.name,
        HEADER_BYTES + LABELS * record_bytes,
    );
    Some(())
}

/// All that growth calls, for the deepest stack among them.
#[inline(never)]
fn everything(
    model: &Model<'_>,
    inference: &mut Inference<'_, '_, '_>,
    region: &[u8],
    weights: &mut [u32],
    record: &mut [u8],
) {
    let Ok(additions) = &Additions::from_bytes(model, region) else {
        return;
    };
    let _ = black_box(additions.label(inference, &Label::new(3), record));
    black_box(&inference.attribute_with::<NEAREST>(additions, weights));
}
