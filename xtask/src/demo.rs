//! Study to artifact to microcontroller to explained answer, with everything it leaves under `target/demo/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use simground_tests::board::Board;
use simground_tests::firmware::replace;
use simground_tests::{firmware, qemu, root, size, stress, target_dir};

use crate::stage::{Stages, cargo, execute};

/// The real outbreak: boys in bed on 14 successive days of 1978.
const OUTBREAK_OF_1978: &str = "trainer/studies/boarding-school-1978.csv";
/// 64 days of a simulated outbreak.
const OUTBREAK_EXAMPLE: &str = "trainer/studies/outbreak-example.csv";
/// The studies; each becomes `target/demo/STUDY.sgnn`.
const STUDIES: [&str; 2] = ["outbreak", "boarding-school"];

/// Runs the demo.
pub fn run() -> Result<()> {
    let mut stages = Stages::default();
    let outcome = stages_in(&mut stages);
    stages.finish(outcome)
}

fn stages_in(stages: &mut Stages) -> Result<()> {
    let folder = target_dir().join("demo");
    fs::create_dir_all(&folder)?;
    let artifacts = STUDIES.map(|study| folder.join(format!("{study}.sgnn")));
    stages.run("build", || {
        execute(&mut cargo(&["build", "--release", "--package", "simground-trainer"]))
    })?;
    for (study, artifact) in STUDIES.iter().zip(&artifacts) {
        let study_file = format!("trainer/studies/{study}.toml");
        stages.run(&format!("simground run {study_file}"), || {
            let mut run = simground(&["run", &study_file, "--out"]);
            logged(run.arg(artifact), &folder.join(format!("{study}-run.log")))
        })?;
    }
    stages.run("simground explain", || {
        let mut explain = simground(&["explain"]);
        explain.arg(&artifacts[1]).args(["--input", OUTBREAK_OF_1978, "--replay"]);
        explain.arg("--svg").arg(folder.join("explain.svg"));
        logged(&mut explain, &folder.join("explain.log"))
    })?;
    windows(&artifacts)?;
    let board = Board::named("cortex-m4").context("the demo's board")?;
    stages.run("Cortex-M4 answers", || answer(board, &artifacts, &folder))?;
    let mut table = String::new();
    stages.run("Cortex-M4 against this host", || {
        table = compare(board, &artifacts)?;
        Ok(())
    })?;
    replace(&folder.join("summary.txt"), table.as_bytes())?;
    print!("\n{table}");
    eprintln!("artifacts, reports and logs: {}", folder.display());
    Ok(())
}

/// Places the window that each model is asked about beside its artifact, where the firmware's build looks for it.
fn windows(artifacts: &[PathBuf; 2]) -> Result<()> {
    for (artifact, input) in artifacts.iter().zip([OUTBREAK_EXAMPLE, OUTBREAK_OF_1978]) {
        let path = root().join(input);
        let window = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        replace(&artifact.with_extension("csv"), &window)?;
    }
    Ok(())
}

fn answer(board: Board, artifacts: &[PathBuf; 2], folder: &Path) -> Result<()> {
    let image = firmware::build(board, "answer", artifacts)?;
    let run = qemu::run_alone(board, &image)?;
    let log = run.log(&image)?;
    fs::write(folder.join("cortex-m4.log"), &log)?;
    print!("{log}");
    run.passed().map(|_| ())
}

/// Compares every bit and tabulates what the device spends.
fn compare(board: Board, artifacts: &[PathBuf; 2]) -> Result<String> {
    let mut table = String::from(
        "model            flash_bytes  ram_bytes  infer_instructions  attribute_instructions  windows_equal_to_host\n",
    );
    let measured = size::measure(board, artifacts)?;
    for (artifact, measured) in artifacts.iter().zip(&measured) {
        let asked = window(&artifact.with_extension("csv"))?;
        let equal = stress::compare(board, std::slice::from_ref(artifact), &[asked])?;
        let image = firmware::build(board, "bare", std::slice::from_ref(artifact))?;
        table += &format!(
            "{:<16} {:>11} {:>10} {:>19} {:>23} {:>22}\n",
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

/// The first window of a CSV file, as the firmware's build reads it.
fn window(csv: &Path) -> Result<Vec<f32>> {
    let text = fs::read_to_string(csv)?;
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).skip(1);
    let cell = |cell: &str| match cell.trim() {
        "" => Ok(f32::NAN),
        cell => cell.parse().with_context(|| format!("{}: `{cell}` is no number", csv.display())),
    };
    rows.flat_map(|row| row.split(',')).map(cell).collect()
}

/// The built command, in the repository.
fn simground(arguments: &[&str]) -> Command {
    let mut command = Command::new(target_dir().join("release/simground"));
    command.current_dir(root()).args(arguments);
    command
}

/// Runs a command with its progress on the terminal, and its result both there and in a file.
fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    fs::write(log, &output.stdout)?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        bail!("{command:?} ended with {}", output.status);
    }
    Ok(())
}
