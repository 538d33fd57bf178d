//! Growth in the field as words: a region of additions that fills, breaks, is taken back and begins anew, always in the same way.

use simground_runtime::{Additions, BankPart, GrownAttribution, Label, Model, additions};

use crate::{ABSENT, NEAREST, bits, record_floats};

/// Bytes of the region.
pub const REGION_BYTES: usize = 1024;
/// Most records of such a region: a record has 32 bytes or more.
const WEIGHTS: usize = (REGION_BYTES - additions::HEADER_BYTES) / additions::RECORD_ALIGNMENT;
/// One window in this many takes a step.
const EVERY: u32 = 4;

/// A region and the number of windows so far. All zeros, which cost no flash, before the first.
pub struct Growth {
    region: [u8; REGION_BYTES],
    weights: [u32; WEIGHTS],
    windows: u32,
}

impl Growth {
    /// Before the first window.
    pub const fn new() -> Self {
        Growth { region: [0; REGION_BYTES], weights: [0; WEIGHTS], windows: 0 }
    }

    /// Answers for one window in four by both parts of the bank, then adds a record; every bit of both goes to `sink`. Nothing without a
    /// bank.
    ///
    /// `scratch` holds at least `model.scratch_words()` words.
    pub fn step(
        &mut self,
        model: &Model<'_>,
        x: &[f32],
        scratch: &mut [u32],
        sink: &mut impl FnMut(u32),
    ) {
        self.windows += 1;
        if !self.windows.is_multiple_of(EVERY) {
            return;
        }
        let step = self.windows / EVERY - 1;
        let Ok(header) = Additions::header(model, None) else { return };
        if step == 0 {
            self.erase(&header);
        }
        let Ok(mut inference) = model.infer(x, scratch) else { return };
        let Ok(additions) = Additions::from_bytes(model, &self.region) else {
            return sink(ABSENT);
        };
        for number in [additions.slots_used(), additions.broken(), additions.num_mechanisms()] {
            sink(number as u32);
        }
        match inference.attribute_with::<NEAREST>(&additions, &mut self.weights) {
            Ok(answer) => record_answer(&answer, sink),
            Err(_) => sink(ABSENT),
        }
        let mut record = [0; additions::MAX_RECORD_BYTES];
        let known = model.manifest().mechanisms.len() as u32;
        let live = additions.iter().next().map_or(0, |addition| addition.record);
        let appended = match step % 16 {
            7 => additions.name(
                known as u8,
                ["drift", "spill"][(step / 16 % 2) as usize],
                &mut record,
            ),
            11 => additions.retract(live, &mut record),
            _ => {
                let mut theta = [f32::NAN; additions::MAX_THETA];
                let ranges = model.manifest().bank.iter().flat_map(|bank| bank.theta.iter());
                let mut thetas = 0;
                for (value, range) in theta.iter_mut().zip(ranges) {
                    *value = if step & 8 == 0 { range.low + range.step() * 99.0 } else { f32::NAN };
                    thetas += 1;
                }
                let label = Label {
                    count: 4 + 6 * (step % 3) as u16,
                    theta: if step.is_multiple_of(5) { &theta[..thetas] } else { &[] },
                    tag: step,
                    ..Label::new((step / 2 % (known + 2)) as u8)
                };
                additions.label(&inference, &label, &mut record)
            }
        };
        let bytes = Additions::record_bytes(model).unwrap_or(0);
        match appended {
            Ok(appended) => {
                sink(u32::from(appended.record));
                sink(appended.replaces.map_or(ABSENT, u32::from));
                for word in record[..bytes].as_chunks().0 {
                    sink(u32::from_le_bytes(*word));
                }
                // Now and then the power fails.
                let written = if step % 16 == 3 { bytes / 2 } else { bytes };
                let slot = &mut self.region[appended.offset..][..written];
                slot.copy_from_slice(&record[..written]);
            }
            Err(error) => {
                sink(u32::from(error.code()));
                self.erase(&header);
            }
        }
    }

    fn erase(&mut self, header: &[u8; additions::HEADER_BYTES]) {
        self.region.fill(0xff);
        self.region[..header.len()].copy_from_slice(header);
    }
}

impl Default for Growth {
    fn default() -> Self {
        Self::new()
    }
}

/// Passes every bit of an answer by both parts of the bank to `sink`.
pub fn record_answer(answer: &GrownAttribution<'_, NEAREST>, sink: &mut impl FnMut(u32)) {
    sink(answer.nearest.len() as u32);
    for nearest in &answer.nearest {
        sink(u32::from(nearest.part == BankPart::Field));
        sink(nearest.prototype);
        sink(nearest.index as u32);
        sink((nearest.index >> 32) as u32);
        sink(u32::from(nearest.mechanism));
        sink(nearest.squared_distance);
        sink(bits(nearest.weight));
    }
    sink(answer.mechanism_posterior.len() as u32);
    for share in &answer.mechanism_posterior {
        sink(bits(share.probability));
        sink(bits(share.from_field));
    }
    sink(answer.thetas().count() as u32);
    for theta in answer.thetas() {
        for value in [theta.present, theta.mean, theta.sd] {
            sink(bits(value));
        }
    }
    record_floats(Some(&[answer.from_field, answer.novelty, answer.novelty_of_both]), sink);
}
