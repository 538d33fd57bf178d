//! Windows of every kind, and every bit that a model answers for them, on the host and on a board.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use simground_record::growth::Growth;
use simground_runtime::Model;

use crate::board::Board;
use crate::builder::Random;
use crate::{firmware, qemu};

/// Windows for each model.
pub const NUM_WINDOWS: usize = 1_100;

/// Adversarial windows, then random ones: raw bits, counts, and reals of every magnitude, with values missing.
pub fn windows(d_values: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(0x5eed);
    let mut windows = adversarial(d_values);
    while windows.len() < NUM_WINDOWS {
        let kind = random.below(4);
        let missing_of_16 = random.below(3);
        let magnitude = f32::from_bits((97 + random.below(60)) << 23); // 2^-30 to 2^29
        let value = |random: &mut Random| {
            if random.below(16) < missing_of_16 {
                return f32::NAN;
            }
            match kind {
                0 => f32::from_bits(random.next() as u32),
                1 => random.below(2_000) as f32,
                _ => (random.unit() * 2.0 - 1.0) * magnitude,
            }
        };
        windows.push((0..d_values).map(|_| value(&mut random)).collect());
    }
    windows
}

fn adversarial(d_values: usize) -> Vec<Vec<f32>> {
    let extremes = [
        f32::NAN,
        -f32::NAN,
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        -f32::from_bits(1),
        f32::EPSILON,
        16_777_216.0,
        -2_147_483_648.0,
    ];
    let mut windows: Vec<Vec<f32>> = extremes.iter().map(|&x| vec![x; d_values]).collect();
    for &a in &extremes {
        let alternating = |at: usize| if at.is_multiple_of(2) { a } else { 3.0 };
        windows.push((0..d_values).map(alternating).collect());
    }
    for at in 0..d_values.min(64) {
        let mut window = vec![7.0; d_values];
        window[at] = f32::NAN;
        windows.push(window);
    }
    windows
}

/// Every word that `model` answers for `window`, on this host.
pub fn host_record(model: &Model<'_>, window: &[f32]) -> Vec<u32> {
    let mut scratch = vec![0; model.scratch_words()];
    let mut words = Vec::new();
    simground_record::record(model, window, &mut scratch, &mut |word| words.push(word));
    words
}

/// Every word that `model` answers for `windows` one after the other and for the steps of growth between them, on this host.
pub fn host_records(model: &Model<'_>, windows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    let (mut growth, mut scratch) = (Growth::new(), vec![0; model.scratch_words()]);
    let record = |window: &Vec<f32>| {
        let mut words = host_record(model, window);
        growth.step(model, window, &mut scratch, &mut |word| words.push(word));
        words
    };
    windows.iter().map(record).collect()
}

/// An artifact file's bytes where a model may borrow them.
pub fn read_artifact(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Has `board` answer for the windows of every artifact and compares each bit with the host's; the number of windows.
///
/// `extra` windows come first, for the models whose width they have.
pub fn compare(board: Board, artifacts: &[PathBuf], extra: &[Vec<f32>]) -> Result<usize> {
    let image = firmware::build(board, "stress", artifacts)?;
    compare_image(board, &image, artifacts, extra)
}

/// As [`compare`], for an image that is built: it reads `inputs.bin` and writes `outputs.bin`.
pub fn compare_image(
    board: Board,
    image: &Path,
    artifacts: &[PathBuf],
    extra: &[Vec<f32>],
) -> Result<usize> {
    let folder = tempfile::tempdir()?;
    let mut inputs = Vec::new();
    let mut expected = Vec::new();
    for path in artifacts {
        let bytes = read_artifact(path)?;
        let model = Model::from_bytes(&bytes)
            .map_err(|error| anyhow::anyhow!("{}: {error:?}", path.display()))?;
        let mut all: Vec<_> =
            extra.iter().filter(|x| x.len() == model.d_values()).cloned().collect();
        all.extend(windows(model.d_values()));
        inputs.extend(u32::try_from(all.len())?.to_le_bytes());
        for (window, record) in all.iter().zip(host_records(&model, &all)) {
            inputs.extend(window.iter().flat_map(|x| x.to_bits().to_le_bytes()));
            expected.push((path, record, window.clone()));
        }
    }
    fs::write(folder.path().join("inputs.bin"), inputs)?;
    qemu::run(board, image, folder.path())?.passed()?;
    let outputs = fs::read(folder.path().join("outputs.bin"))?;
    let mut words = outputs.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    for (number, (path, record, window)) in expected.iter().enumerate() {
        let found: Vec<u32> = words.by_ref().take(record.len()).collect();
        if found != *record {
            let name = path.file_name().unwrap_or_default().display();
            let at = record.iter().zip(&found).position(|(a, b)| a != b).unwrap_or(found.len());
            bail!(
                "{}: {name}, window {number} of {}: word {at} is {:x?}, the host says {:x?}; x = {window:?}",
                board.core,
                expected.len(),
                found.get(at),
                record.get(at)
            );
        }
    }
    if words.next().is_some() {
        bail!("{}: outputs.bin is longer than the host's records", board.core);
    }
    Ok(expected.len())
}
