//! Arguments, one stage, an exit code. What is computed is computed by the library.

mod compare;
mod compile;
mod evaluate;
mod explain;
mod files;
mod init;
mod inspect;
mod label;
mod likelihood;
mod lock;
mod making;
mod output;
mod place;
mod predict;
mod probe;
mod replay;
mod report;
mod reproduce;
mod run;
mod simulate;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Output;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a gate failed, 2 an error.\nData goes to stdout, everything else to stderr.";

/// Trains compact simulation-grounded networks, and explains their answers by simulations.
#[derive(Debug, Parser)]
#[command(name = "simground", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document on stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Go the whole way: simulate, train, quantize, choose the bank, export, evaluate, report.
    #[command(after_help = EXIT_CODES)]
    Run(run::Arguments),
    /// Write a first study for a corpus that another program made.
    #[command(after_help = EXIT_CODES)]
    Init(init::Arguments),
    /// Write a corpus, or one shard of it, as Parquet.
    #[command(after_help = EXIT_CODES)]
    Simulate(simulate::Arguments),
    /// Train from a stored corpus or from simulations made on the way, and export.
    #[command(after_help = EXIT_CODES)]
    Train(train::Arguments),
    /// Show what an artifact holds and what it costs.
    #[command(after_help = EXIT_CODES)]
    Inspect(inspect::Arguments),
    /// Write an artifact as Rust source, proved here: for firmware whose model is never replaced without it.
    #[command(after_help = EXIT_CODES)]
    Compile(compile::Arguments),
    /// Answer for observations, by the integer runtime.
    #[command(after_help = EXIT_CODES)]
    Predict(predict::Arguments),
    /// Name the simulations behind an answer, and replay them.
    #[command(after_help = EXIT_CODES)]
    Explain(explain::Arguments),
    /// Say what windows show, in a file beside the artifact, and have `explain` and `predict` answer by both.
    #[command(after_help = EXIT_CODES)]
    Label(label::Arguments),
    /// Simulate one simulation again from its index, and verify it against the bank.
    #[command(after_help = EXIT_CODES)]
    Replay(replay::Arguments),
    /// Judge an artifact: metrics, baselines, calibration, float against integer; or compare posterior samples.
    #[command(after_help = EXIT_CODES)]
    Evaluate(evaluate::Arguments),
    /// Write one self-contained page about an artifact.
    #[command(after_help = EXIT_CODES)]
    Report(report::Arguments),
    /// Run a published experiment again, with its baselines.
    #[command(after_help = EXIT_CODES)]
    Reproduce(reproduce::Arguments),
    /// Compute a little on a GPU: what `run` and `train` start first, so that a driver that crashes takes nothing with it.
    #[command(hide = true)]
    Probe(probe::Arguments),
}

/// What a command that did its work says with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to object.
    Passed,
    /// A gate failed.
    GateFailed,
}

/// The whole program.
pub fn main() -> ExitCode {
    // Clap prints usage errors itself and leaves with 2.
    let arguments = Arguments::parse();
    let output = Output { json: arguments.json };
    let verdict = match &arguments.command {
        Command::Run(arguments) => run::run(arguments, output),
        Command::Init(arguments) => init::run(arguments, output),
        Command::Simulate(arguments) => simulate::run(arguments, output),
        Command::Train(arguments) => train::run(arguments, output),
        Command::Inspect(arguments) => inspect::run(arguments, output),
        Command::Compile(arguments) => compile::run(arguments, output),
        Command::Predict(arguments) => predict::run(arguments, output),
        Command::Explain(arguments) => explain::run(arguments, output),
        Command::Label(arguments) => label::run(arguments, output),
        Command::Replay(arguments) => replay::run(arguments, output),
        Command::Evaluate(arguments) => evaluate::run(arguments, output),
        Command::Report(arguments) => report::run(arguments, output),
        Command::Reproduce(arguments) => reproduce::run(arguments, output),
        Command::Probe(arguments) => probe::run(arguments),
    };
    match verdict {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::GateFailed) => ExitCode::from(1),
        Err(error) => {
            output::say(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}
