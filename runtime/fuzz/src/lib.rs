//! What the targets share: bytes with the lengths and the checksum made right, so that the proof behind them is reached.

pub mod additions;
pub mod manifest;

use simground_runtime::Model;
use simground_runtime::artifact::{CRC_OFFSET, MAGIC, PRELUDE_BYTES, VERSION, checksum};

/// Makes magic, version, flags, total length and checksum right; everything else stays the fuzzer's.
pub fn repair(bytes: &mut [u8]) {
    if bytes.len() < PRELUDE_BYTES {
        return;
    }
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[6..8].fill(0);
    let total = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[8..12].copy_from_slice(&total.to_le_bytes());
    let crc = checksum(bytes);
    bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
}

/// An artifact of the fuzzer's, its window from the same bytes, and scratch of exactly the size that it asks for.
///
/// Layout: an artifact, then the window's values; the last four bytes say how many bytes the window has.
pub fn with_model(data: &[u8], run: impl FnOnce(&Model<'_>, &[f32], &mut [u32])) {
    let Some((rest, length)) = data.split_last_chunk::<4>() else { return };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(0).min(rest.len());
    let (artifact, window) = rest.split_at(rest.len() - length);
    let mut artifact = artifact.to_vec();
    repair(&mut artifact);
    let Ok(model) = Model::from_bytes(&artifact) else { return };
    let mut values = window.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    // A short window goes on with missing values.
    let window: Vec<f32> =
        (0..model.d_values()).map(|_| values.next().unwrap_or(f32::NAN)).collect();
    // What the scratch holds must not matter.
    let mut scratch = vec![0xdead_beef; model.scratch_words()];
    run(&model, &window, &mut scratch);
}
