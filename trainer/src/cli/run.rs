//! `simground run`: from a study to an artifact, its float model and its report.

use std::path::PathBuf;

use anyhow::bail;
use simground_trainer::source::Source;
use simground_trainer::study::Study;

use super::making::{self, Files, Making};
use super::{Output, Verdict};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The study, in TOML.
    study: PathBuf,
    /// The artifact; its float model (`.float`) and its report (`.html`) are written beside it. By default the study's name
    /// in the current folder.
    #[arg(long, value_name = "FILE.sgnn")]
    out: Option<PathBuf>,
    #[command(flatten)]
    making: Making,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let study = making::read_study(&arguments.study, &arguments.making)?;
    let out = arguments.out.clone();
    let out = out.unwrap_or_else(|| PathBuf::from(format!("{}.sgnn", study.name)));
    let files = Files::new(&out)?;
    let source = simulated(&study)?;
    let again = format!("simground run {} --out {}", arguments.study.display(), out.display());
    making::make(&study, &source, &arguments.making, &files, &again, output)
}

/// The study's own simulator as the source.
pub fn simulated(study: &Study) -> anyhow::Result<Source> {
    let Some(simulator) = study.simulator() else {
        bail!(
            "{}: nothing to simulate, the study has no [[mechanism]]\nhint: `simground train {0} --corpus DIR --out FILE.sgnn` trains on stored simulations",
            study.file
        );
    };
    Ok(Source::Simulator { simulator: simulator.into(), seed: study.seed })
}
