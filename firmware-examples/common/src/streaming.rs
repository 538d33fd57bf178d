//! A sensor read sample by sample: its days go through a ring buffer, and each day has an answer.
//!
//! The window is never stored as the model takes it: a day that ends pushes the oldest out. A day with too few samples
//! is missing (NaN), and so is every day before the first. Records go into `outputs.bin`, one a day.
//!
//! Whenever the window is all new, its novelty goes to the drift monitor: windows that share days would count the same
//! strange day many times. The monitor's state follows that day's record.
//!
//! On one day a person says that the window shows what the model does not know. The firmware appends that to a region beside the
//! artifact, and from the next day on each record is followed by what both parts of the bank say.

use heapless::Deque;
use semihosting::fs::File;
use simground_record::growth::record_answer;
use simground_record::record;
use simground_record::sensor::{SAMPLES_PER_DAY, Sensor};
use simground_runtime::additions::HEADER_BYTES;
use simground_runtime::{Additions, Drift, GrowthError, Label, Model};

use crate::linked::{LINKED, Memory};
use crate::stress::Buffered;

/// Days that the example runs.
pub const NUM_DAYS: u32 = 60;
/// A day with fewer samples than this is missing.
pub const LEAST_SAMPLES: u32 = 12;
/// The day on which a person labels the window.
pub const LABELED_DAY: u32 = 36;
/// Longest window of days.
const MAX_DAYS: usize = 128;

/// Samples of the day that runs.
#[derive(Default)]
struct Day {
    sum: u32,
    present: u32,
    seen: u32,
}

impl Day {
    /// Takes a sample; the day's value when it was the last: the sum, made up for missing samples.
    fn push(&mut self, sample: Option<u16>) -> Option<f32> {
        self.seen += 1;
        if let Some(sample) = sample {
            self.sum += u32::from(sample);
            self.present += 1;
        }
        if self.seen < SAMPLES_PER_DAY {
            return None;
        }
        let day = core::mem::take(self);
        if day.present < LEAST_SAMPLES {
            return Some(f32::NAN);
        }
        Some((day.sum * SAMPLES_PER_DAY) as f32 / day.present as f32)
    }
}

/// The days that the model looks at, oldest first.
struct Window {
    days: Deque<f32, MAX_DAYS>,
}

impl Window {
    /// `length` days, all missing; `None` when that is too long.
    fn new(length: usize) -> Option<Self> {
        let mut days = Deque::new();
        for _ in 0..length {
            days.push_back(f32::NAN).ok()?;
        }
        Some(Window { days })
    }

    /// Replaces the oldest day.
    fn push(&mut self, day: f32) {
        self.days.pop_front();
        // There is room: a day has just left.
        let _ = self.days.push_back(day);
    }

    /// Copies the days in order to where the model takes them.
    fn write(&self, x: &mut [f32]) {
        for (value, day) in x.iter_mut().zip(&self.days) {
            *value = *day;
        }
    }
}

/// A page of flash beside the artifact's, where it can be read; here RAM stands for it.
pub struct Page([u8; 512]);

impl Page {
    /// Zeroed memory, which costs no flash.
    pub const fn new() -> Self {
        Page([0; 512])
    }

    /// Erases the page and begins a region on it.
    fn start(&mut self, model: &Model<'_>) -> Option<()> {
        self.0.fill(0xff);
        let header = Additions::header(model, None).ok()?;
        self.0.get_mut(..HEADER_BYTES)?.copy_from_slice(&header);
        Some(())
    }

    /// Appends that a window shows a mechanism which the model does not know.
    fn label(&mut self, model: &Model<'_>, x: &[f32], scratch: &mut [u32]) -> Option<()> {
        let mut record = [0; 64];
        let appended = {
            let additions = Additions::from_bytes(model, &self.0).ok()?;
            let label = Label { tag: LABELED_DAY, ..Label::new(additions.next_mechanism()?) };
            let inference = model.infer(x, scratch).ok()?;
            additions.label(&inference, &label, &mut record).ok()?
        };
        // In flash this is one write, of bytes that were never written before.
        let bytes = record.get(..Additions::record_bytes(model)?)?;
        self.0.get_mut(appended.offset..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    /// What both parts of the bank say of a window.
    fn answer(
        &self,
        model: &Model<'_>,
        x: &[f32],
        scratch: &mut [u32],
        sink: &mut impl FnMut(u32),
    ) -> Option<Result<(), GrowthError>> {
        let additions = Additions::from_bytes(model, &self.0).ok()?;
        let mut weights = [0; 16];
        let mut inference = model.infer(x, scratch).ok()?;
        let answer = inference.attribute_with(&additions, &mut weights);
        Some(answer.map(|answer| record_answer(&answer, sink)))
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs the sensor for [`NUM_DAYS`] through the first linked artifact; the number of answers, or what went wrong.
pub fn run(memory: &mut Memory, page: &mut Page) -> Result<u32, &'static str> {
    let linked = LINKED.first().ok_or("no artifact")?;
    let model = Model::from_bytes(linked.bytes).map_err(|_| "artifact refused")?;
    model.self_test(&mut memory.scratch).map_err(|_| "self-test failed")?;
    let x = memory.x.get_mut(..model.d_values()).ok_or("window too long for this example")?;
    let mut window = Window::new(model.d_values()).ok_or("window too long for this example")?;
    page.start(&model).ok_or("no bank to add to")?;
    let file = File::create(c"outputs.bin").map_err(|_| "cannot create outputs.bin")?;
    let mut outputs = Buffered::new(file);
    let (mut sensor, mut day) = (Sensor::new(1), Day::default());
    let (mut answers, mut fresh, mut drift) = (0, 0, Drift::new());
    while answers < NUM_DAYS {
        let Some(value) = day.push(sensor.sample()) else { continue };
        window.push(value);
        window.write(x);
        let mut written = Ok(());
        let mut write = |word| {
            if written.is_ok() {
                written = outputs.word(word);
            }
        };
        record(&model, x, &mut memory.scratch, &mut write);
        if answers == LABELED_DAY {
            page.label(&model, x, &mut memory.scratch).ok_or("no room for a label")?;
        } else if answers > LABELED_DAY {
            let answer = page.answer(&model, x, &mut memory.scratch, &mut write);
            answer.and_then(Result::ok).ok_or("the page is refused")?;
        }
        fresh += 1;
        if fresh == x.len() {
            fresh = 0;
            if let Some(novelty) = novelty(&model, x, &mut memory.scratch) {
                drift.push(novelty);
            }
            for word in drift.to_words() {
                written = written.and_then(|()| outputs.word(word));
            }
        }
        written.map_err(|_| "cannot write outputs.bin")?;
        answers += 1;
    }
    outputs.flush().map_err(|_| "cannot write outputs.bin")?;
    Ok(answers)
}

/// How unusual a window is; `None` without a bank.
fn novelty(model: &Model<'_>, x: &[f32], scratch: &mut [u32]) -> Option<f32> {
    Some(model.infer(x, scratch).ok()?.attribute::<1>()?.novelty)
}
