//! Artifacts on microcontrollers: what they answer there, whether it is what this host answers, and what it costs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use simground_runtime::Model;
use simground_tests::board::Board;
use simground_tests::firmware::replace;
use simground_tests::{firmware, qemu, size, stress, target_dir};

use crate::stage::Stages;

/// Columns of what [`compare`] tabulates.
const HEADER: &str = "core        model            flash_bytes  ram_bytes  infer_instructions  attribute_instructions  windows_equal_to_host\n";

/// Answers the first window of `input` with the artifact on one board.
pub fn run(artifact: &Path, input: &Path, board: &str) -> Result<()> {
    let board = named(board)?;
    let folder = target_dir().join("device");
    fs::create_dir_all(&folder)?;
    let placed = place(artifact, input, &folder)?;
    let mut stages = Stages::default();
    let mut table = String::new();
    let outcome = stages.run(&format!("{} in QEMU", board.core), || {
        let artifacts = [placed];
        print!("{}", answer(board, &artifacts)?);
        table = compare(board, &artifacts)?;
        Ok(())
    });
    stages.finish(outcome)?;
    print!("\n{table}");
    Ok(())
}

/// The board of that name.
pub fn named(name: &str) -> Result<Board> {
    Board::named(name).with_context(|| {
        let known: Vec<_> = simground_tests::board::BOARDS.iter().map(|board| board.core).collect();
        format!("unknown board `{name}`\nhint: one of {}", known.join(", "))
    })
}

/// Copies an artifact and the first window of `input`, which it is asked about, to where the firmware's build looks for them.
pub fn place(artifact: &Path, input: &Path, folder: &Path) -> Result<PathBuf> {
    let name = artifact.file_name().context("the artifact is not a file")?;
    // The firmware's build takes a list of paths, which has its separators.
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let placed = folder.join(name.to_string_lossy().chars().map(plain).collect::<String>());
    let bytes = stress::read_artifact(artifact)?;
    let model = Model::from_bytes(&bytes)
        .map_err(|error| anyhow::anyhow!("{}: {error}", artifact.display()))?;
    let (values, window) = (model.d_values(), window(input)?);
    if window.len() != values {
        bail!(
            "{}: the first row has {} values, {} takes {values}",
            input.display(),
            window.len(),
            artifact.display()
        );
    }
    if placed != artifact {
        replace(&placed, &fs::read(artifact)?)?;
    }
    let cells: Vec<String> = window.iter().map(cell).collect();
    let names: Vec<String> = (0..window.len()).map(|at| format!("x_{at}")).collect();
    let csv = format!("{}\n{}\n", names.join(","), cells.join(","));
    replace(&placed.with_extension("csv"), csv.as_bytes())?;
    Ok(placed)
}

/// What the firmware says on the board: self-test, posterior, explanation.
pub fn answer(board: Board, artifacts: &[PathBuf]) -> Result<String> {
    let image = firmware::build(board, "answer", artifacts)?;
    let run = qemu::run_alone(board, &image)?;
    let log = run.log(&image)?;
    run.passed().inspect_err(|_| print!("{log}"))?;
    Ok(log)
}

/// Compares every bit with this host, over each artifact's own window and hostile ones, and tabulates what the device spends.
pub fn compare(board: Board, artifacts: &[PathBuf]) -> Result<String> {
    let mut table = String::from(HEADER);
    let measured = size::measure(board, artifacts)?;
    for (artifact, measured) in artifacts.iter().zip(&measured) {
        let asked = window(&artifact.with_extension("csv"))?;
        let equal = stress::compare(board, std::slice::from_ref(artifact), &[asked])?;
        let image = firmware::build(board, "bare", std::slice::from_ref(artifact))?;
        table += &format!(
            "{:<11} {:<16} {:>11} {:>10} {:>19} {:>23} {:>22}\n",
            board.core,
            measured.model,
            firmware::flash_bytes(&image)?,
            measured.scratch_bytes + measured.stack_bytes,
            measured.infer,
            measured.attribute,
            equal
        );
    }
    Ok(table)
}

/// Shortest text that reads as the same float; empty where the value is missing.
fn cell(value: &f32) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}

/// The first window of a CSV file, as the firmware's build reads it.
fn window(csv: &Path) -> Result<Vec<f32>> {
    let text = fs::read_to_string(csv).with_context(|| format!("cannot read {}", csv.display()))?;
    let mut rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).skip(1);
    let row = rows.next().with_context(|| format!("{} has no row", csv.display()))?;
    let cell = |cell: &str| match cell.trim() {
        "" => Ok(f32::NAN),
        cell => cell.parse().with_context(|| format!("{}: `{cell}` is no number", csv.display())),
    };
    row.split(',').map(cell).collect()
}
