//! Study to artifact to microcontroller to explained answer, with everything it leaves under `target/demo/`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use simground_tests::firmware::replace;
use simground_tests::{root, target_dir};

use crate::device;
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
    for (artifact, input) in artifacts.iter().zip([OUTBREAK_EXAMPLE, OUTBREAK_OF_1978]) {
        device::place(artifact, &root().join(input), &folder)?;
    }
    let board = device::named("cortex-m4")?;
    stages.run("Cortex-M4 answers", || {
        let log = device::answer(board, &artifacts)?;
        fs::write(folder.join("cortex-m4.log"), &log)?;
        print!("{log}");
        Ok(())
    })?;
    let mut table = String::new();
    stages.run("Cortex-M4 against this host", || {
        table = device::compare(board, &artifacts)?;
        Ok(())
    })?;
    replace(&folder.join("summary.txt"), table.as_bytes())?;
    print!("\n{table}");
    eprintln!("artifacts, reports and logs: {}", folder.display());
    Ok(())
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
