//! Golden artifacts: files that every version reads and every target answers for with the same bits.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use simground_runtime::Model;

use crate::board::Board;
use crate::{builder, firmware, root, stress, target_dir};

/// What stands beside a golden artifact, in `NAME.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The command that made it.
    pub command: String,
    /// Windows that it was asked about; see [`stress::windows`].
    pub num_windows: usize,
    /// CRC-32 of every word of their records.
    pub records_crc32: u32,
    /// CRC-32 of every word of the steps of growth between them; 0 for a model without a bank.
    #[serde(default)]
    pub growth_crc32: u32,
}

/// The folder of the golden files.
pub fn folder() -> PathBuf {
    root().join("tests/golden")
}

/// Every golden artifact, in order.
pub fn artifacts() -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sgnn") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Writes the builder's networks of standard shapes and returns their paths: A, B, bank, surface, and for a core with Helium
/// those laid out for it.
pub fn workloads(board: Board) -> Result<Vec<PathBuf>> {
    const FOR_HELIUM: [builder::Shape; 4] =
        [builder::A_BYTES, builder::B_BYTES, builder::A_WIDE, builder::B_WIDE];
    let mut shapes = vec![builder::A, builder::B, builder::BANK, builder::SURFACE];
    // What the other layout costs a core that it is not for is counted once.
    let others = match board.core {
        "cortex-m55" => FOR_HELIUM.len(),
        "cortex-m4" => 1,
        _ => 0,
    };
    shapes.extend_from_slice(&FOR_HELIUM[..others]);
    shapes.iter().map(|shape| write(shape, target_dir().join("workloads"))).collect()
}

/// Writes the artifact of `shape`, and a window for it.
pub fn write(shape: &builder::Shape, folder: PathBuf) -> Result<PathBuf> {
    let path = folder.join(format!("{}.sgnn", shape.name));
    firmware::replace(&path, &builder::build(shape))?;
    firmware::replace(&path.with_extension("csv"), builder::window_csv(shape).as_bytes())?;
    Ok(path)
}

/// What this host answers for the golden artifact at `path`.
pub fn expected(path: &Path, command: String) -> Result<Expected> {
    let bytes = stress::read_artifact(path)?;
    let model =
        Model::from_bytes(&bytes).map_err(|error| anyhow!("{}: {error:?}", path.display()))?;
    let windows = stress::windows(model.d_values());
    let (mut records, mut growth) = (Vec::new(), Vec::new());
    for (window, both) in windows.iter().zip(stress::host_records(&model, &windows)) {
        let record = stress::host_record(&model, window);
        let bytes = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
        growth.extend(bytes(&both[record.len()..]));
        records.extend(bytes(&record));
    }
    let (records_crc32, growth_crc32) = (crc32(&records), crc32(&growth));
    Ok(Expected { command, num_windows: windows.len(), records_crc32, growth_crc32 })
}

/// What was recorded when the golden artifact at `path` was blessed.
pub fn recorded(path: &Path) -> Result<Expected> {
    let path = path.with_extension("json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Bit by bit: CRC-32 of ISO-HDLC.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}
