//! Published experiments, each with its baselines, each from one command.
//!
//! An experiment is a function from seeds to [`Findings`]: a table for people and programs, a summary, and pictures. It reports what it
//! measured, lost comparisons included; nothing in it knows what the figures should be.

mod bank_compression;
mod consistency;
mod figure;
mod galton;
mod growth;
mod novelty;
mod outbreak;
mod posteriors;
mod score;
mod spread;

use serde::Serialize;
use serde_json::Value;

pub use spread::Spread;

use crate::named::Named;
use crate::pipeline::Talk;

/// One experiment.
pub struct Experiment {
    /// As `simground reproduce NAME` takes it.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// About how long it takes on two cores, for people.
    pub takes: &'static str,
    /// Seeds of the published figures.
    pub seeds: &'static [u64],
    /// Runs it.
    pub run: fn(&Settings, &mut dyn Talk) -> Result<Findings, ExperimentError>,
}

/// What the user decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seeds to repeat over; at least one.
    pub seeds: Vec<u64>,
    /// A small version that shows that the experiment runs: its figures are not the published ones.
    pub quick: bool,
    /// Trainings on more simulations are left out, where an experiment has several sizes.
    pub at_most: u64,
}

/// What an experiment found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The table: each row names its columns.
    pub rows: Vec<Row>,
    /// The few figures that matter.
    pub summary: Named<Value>,
    /// Pictures: name of the file without its ending, and the SVG.
    pub figures: Vec<(String, String)>,
}

/// One row of the table: text columns first, then figures.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Row(pub Named<Value>);

impl Row {
    /// A row that begins with this text.
    pub fn new(column: &str, text: impl Into<String>) -> Row {
        Row::default().text(column, text)
    }

    /// With one more text.
    pub fn text(mut self, column: &str, text: impl Into<String>) -> Row {
        self.0.0.push((column.into(), Value::String(text.into())));
        self
    }

    /// With one more figure; one that is not finite is `null`.
    pub fn number(mut self, column: &str, value: impl Into<f64>) -> Row {
        self.0.0.push((column.into(), value.into().into()));
        self
    }

    /// With a figure over seeds: its mean under `column`, beside it `column_sd`, `column_min`, `column_max`.
    pub fn spread(self, column: &str, spread: &Spread) -> Row {
        self.number(column, spread.mean)
            .number(&format!("{column}_sd"), spread.sd)
            .number(&format!("{column}_min"), spread.min)
            .number(&format!("{column}_max"), spread.max)
    }
}

/// Why an experiment has no findings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ExperimentError(pub String);

/// All experiments, in the order in which `--list` shows them.
pub fn experiments() -> &'static [Experiment] {
    const {
        &[
            outbreak::EXPERIMENT,
            consistency::EXPERIMENT,
            bank_compression::EXPERIMENT,
            novelty::EXPERIMENT,
            growth::EXPERIMENT,
            score::SIS,
            score::GAUSSIAN,
            score::STUDENT_T,
            galton::EXPERIMENT,
            posteriors::EXPERIMENT,
            posteriors::FLOW,
        ]
    }
}
