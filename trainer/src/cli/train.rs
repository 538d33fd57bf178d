//! `simground train`: an artifact from a study and stored or streaming simulations.

use std::path::PathBuf;

use simground_trainer::corpus;
use simground_trainer::source::Source;

use super::making::{self, Files, Making};
use super::{Output, Verdict, evaluate, run::simulated};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The study, in TOML; with `--corpus` it needs no simulator.
    study: PathBuf,
    /// Train on stored simulations: a Parquet file or a folder of them, split by the seed into 80 % training, 8 % validation,
    /// 7 % calibration and 5 % test. Without it simulations are made as they are needed.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// The artifact; its float model (`.float`) and its report (`.html`) are written beside it.
    #[arg(long, value_name = "FILE.sgnn")]
    out: PathBuf,
    #[command(flatten)]
    making: Making,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let study = making::read_study(&arguments.study, &arguments.making)?;
    let files = Files::new(&arguments.out)?;
    let source = match &arguments.corpus {
        Some(dir) => {
            let corpus = evaluate::stored(dir, &study)?;
            Source::stored(corpus, study.seed, corpus::simulation_seed(dir)?)
        }
        None => simulated(&study)?,
    };
    let mut again = format!("simground train {}", arguments.study.display());
    if let Some(dir) = &arguments.corpus {
        again += &format!(" --corpus {}", dir.display());
    }
    again += &format!(" --out {}", arguments.out.display());
    making::make(&study, &source, &arguments.making, &files, &again, output)
}
