//! `simground probe`: a first computation by a GPU's driver, in a process of its own. A driver may crash or hang, and takes the process
//! with it.

use std::io::{Read as _, Seek as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use simground_trainer::training::{self, Backend};

use super::Verdict;
use super::making::BackendName;

/// The name of the command.
const COMMAND: &str = "probe";
/// Longer than any driver takes that works; one that plays the GPU on a processor compiles for half a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// What [`prove`] says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What is to compute.
    backend: BackendName,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<Verdict> {
    training::probe(arguments.backend.into())?;
    Ok(Verdict::Passed)
}

/// Proves that a backend computes on this machine, before anything else is done.
pub fn prove(backend: Backend) -> anyhow::Result<()> {
    if !backend.is_built_in() || matches!(backend, Backend::Flex | Backend::NdArray) {
        return Ok(training::probe(backend)?);
    }
    // A file, which no driver can fill as it can a pipe.
    let mut said = tempfile::tempfile()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([COMMAND, backend.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .spawn()?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            let seconds = PATIENCE.as_secs();
            return Err(backend.failed(&format!("no answer within {seconds} s")).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if status.success() {
        return Ok(());
    }
    let mut message = Vec::new();
    said.rewind()?;
    said.read_to_end(&mut message)?;
    let message = String::from_utf8_lossy(&message);
    // A driver may talk before the error.
    let error = message.find(&format!("error: backend {}: ", backend.name()));
    match error.and_then(|at| message[at..].strip_prefix("error: ")) {
        Some(error) if status.code() == Some(2) => bail!("{}", error.trim_end()),
        _ => Err(anyhow!(backend.failed(&crash(status, message.trim())))),
    }
}

/// How a driver ended the process, with the last that was said.
fn crash(status: ExitStatus, message: &str) -> String {
    let last =
        message.lines().last().map_or(String::new(), |line| format!("; last it said: {line}"));
    format!("its driver crashed in a first computation ({status}){last}")
}
