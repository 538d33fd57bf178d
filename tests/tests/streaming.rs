//! A board that reads a sensor sample by sample against a host that has all samples at once.

use std::cmp::Ordering;

use simground_record::growth::record_answer;
use simground_record::sensor::{SAMPLES_PER_DAY, Sensor};
use simground_runtime::additions::HEADER_BYTES;
use simground_runtime::{Additions, BankPart, Drift, Label, Model};
use simground_tests::board::Board;
use simground_tests::{firmware, golden, qemu, stress};

const NUM_DAYS: usize = 60;
const LEAST_SAMPLES: usize = 12;
const LABELED_DAY: usize = 36;

/// The value of each day; NaN where more than half of its samples are missing.
fn days() -> Vec<f32> {
    let mut sensor = Sensor::new(1);
    let samples: Vec<_> =
        (0..NUM_DAYS * SAMPLES_PER_DAY as usize).map(|_| sensor.sample()).collect();
    let day = |samples: &[Option<u16>]| {
        let present: Vec<u32> = samples.iter().flatten().map(|&x| u32::from(x)).collect();
        match present.len() {
            0..LEAST_SAMPLES => f32::NAN,
            count => (present.iter().sum::<u32>() * SAMPLES_PER_DAY) as f32 / count as f32,
        }
    };
    samples.chunks(SAMPLES_PER_DAY as usize).map(day).collect()
}

/// A person says that the window shows what the model does not know.
fn label(model: &Model<'_>, x: &[f32], page: &mut [u8]) {
    let (mut scratch, mut record) = (vec![0; model.scratch_words()], [0; 32]);
    let inference = model.infer(x, &mut scratch).expect("a window");
    let additions = Additions::from_bytes(model, page).expect("a region");
    let label = Label { tag: LABELED_DAY as u32, ..Label::new(3) };
    let appended = additions.label(&inference, &label, &mut record).expect("room");
    page[appended.offset..][..32].copy_from_slice(&record);
}

/// What both parts of the bank say of a later day. The next day names the labeled one.
fn by_both_parts(model: &Model<'_>, x: &[f32], page: &[u8], day: usize) -> Vec<u32> {
    let (mut scratch, mut weights) = (vec![0; model.scratch_words()], [0; 1]);
    let mut inference = model.infer(x, &mut scratch).expect("a window");
    let additions = Additions::from_bytes(model, page).expect("a region");
    let answer = inference.attribute_with(&additions, &mut weights).expect("fits");
    if day == LABELED_DAY + 2 {
        let nearest = answer.nearest[0];
        assert_eq!((nearest.part, nearest.mechanism), (BankPart::Field, 3));
        assert_eq!(nearest.index, LABELED_DAY as u64);
        let new = answer.mechanism_posterior[3];
        assert!(new.probability > 0.5 && new.from_field == new.probability, "{new:?}");
    }
    let mut words = Vec::new();
    record_answer(&answer, &mut |word| words.push(word));
    words
}

fn streams_as_the_host(core: &str) {
    let path = golden::folder().join("small.sgnn");
    let bytes = std::fs::read(&path).expect("small.sgnn");
    let model = Model::from_bytes(&bytes).expect("golden");
    let days = days();
    assert_eq!(days.iter().filter(|day| day.is_nan()).count(), 2, "days without a report");
    let steps = model.d_values();
    let padded: Vec<f32> = std::iter::repeat_n(f32::NAN, steps).chain(days).collect();
    let mut expected: Vec<u32> = Vec::new();
    let (mut drift, mut scratch) = (Drift::new(), vec![0; model.scratch_words()]);
    let mut page = vec![0xff; 512];
    page[..HEADER_BYTES].copy_from_slice(&Additions::header(&model, None).expect("a bank"));
    for (day, x) in padded.windows(steps).enumerate().skip(1) {
        expected.extend(stress::host_record(&model, x));
        // The firmware counts days from 0.
        match (day - 1).cmp(&LABELED_DAY) {
            Ordering::Less => (),
            Ordering::Equal => label(&model, x, &mut page),
            Ordering::Greater => expected.extend(by_both_parts(&model, x, &page, day)),
        }
        if day % steps == 0 {
            let mut inference = model.infer(x, &mut scratch).expect("a window");
            drift.push(inference.attribute::<1>().expect("a bank").novelty);
            expected.extend(drift.to_words());
        }
    }
    assert_ne!(drift, Drift::new(), "the monitor has seen windows");

    let board = Board::named(core).expect("a known board");
    let image = firmware::build(board, "streaming", &[path]).unwrap_or_else(|e| panic!("{e:#}"));
    let folder = tempfile::tempdir().expect("a folder");
    let run = qemu::run(board, &image, folder.path()).and_then(qemu::Run::passed);
    let run = run.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(String::from_utf8_lossy(&run.stdout), format!("{NUM_DAYS} days\n"));
    let outputs = std::fs::read(folder.path().join("outputs.bin")).expect("outputs.bin");
    let found: Vec<u32> =
        outputs.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    assert!(found == expected, "{core}: {} words, {} expected", found.len(), expected.len());
}

#[test]
fn cortex_m4() {
    streams_as_the_host("cortex-m4");
}

#[test]
fn cortex_m55() {
    streams_as_the_host("cortex-m55");
}

#[test]
fn cortex_m0() {
    streams_as_the_host("cortex-m0");
}

#[test]
fn rv32imc() {
    streams_as_the_host("rv32imc");
}
