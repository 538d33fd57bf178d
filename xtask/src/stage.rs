//! Stages with a name and a duration; the first that fails ends the command.

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use simground_tests::root;

/// What ran so far.
#[derive(Default)]
pub struct Stages {
    done: Vec<(String, Duration)>,
}

impl Stages {
    /// Runs one stage.
    pub fn run(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("==> {name}");
        let started = Instant::now();
        let outcome = work();
        let took = started.elapsed();
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        eprintln!("    {name}: {verdict}, {:.1} s", took.as_secs_f64());
        self.done.push((format!("{name}: {verdict}"), took));
        outcome.with_context(|| format!("stage `{name}` failed"))
    }

    /// Prints the summary and passes `outcome` on.
    pub fn finish(self, outcome: Result<()>) -> Result<()> {
        eprintln!("\nsummary");
        for (line, took) in self.done {
            eprintln!("{:>8.1} s  {line}", took.as_secs_f64());
        }
        outcome
    }
}

/// Cargo in the host's workspace, as `--locked` wants it.
pub fn cargo(arguments: &[&str]) -> Command {
    cargo_in(".", arguments)
}

/// Cargo in a folder of the repository. `--locked` follows the subcommand.
pub fn cargo_in(folder: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(root().join(folder)).args(arguments);
    if arguments.first().is_some_and(|&subcommand| subcommand != "fmt") {
        // Behind `--` the argument would be the test's or the compiler's.
        let mut reordered = Command::new(command.get_program());
        reordered.current_dir(root().join(folder));
        reordered.arg(arguments[0]).arg("--locked").args(&arguments[1..]);
        return reordered;
    }
    command
}

/// Runs a command to its end.
pub fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
