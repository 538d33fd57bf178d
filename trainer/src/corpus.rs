//! A corpus: simulations as flat arrays, from the simulator or from Parquet files of any origin.
//!
//! Whoever holds a [`Corpus`] holds consistent widths, finite numbers wherever they must be, and names for everything.

mod description;
mod error;
mod reader;
mod record;
mod sample;
mod scratch;
mod shard;

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use description::names as entry_names;
pub use error::CorpusError;
pub use reader::{Reader, simulation_seed};
pub use sample::Sample;
pub use scratch::{Scratch, ScratchError};
pub use shard::{ShardError, ShardOutcome, shard_range, write_shard};

use crate::study::{DeclaredParameter, Study};

/// Names, units and supports of everything in a corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// One name per input.
    pub x_names: Vec<String>,
    /// The parameters.
    pub theta: Vec<Parameter>,
    /// What the heads answer.
    pub targets: Vec<Target>,
    /// Names of the mechanisms; empty when the corpus has none.
    pub mechanisms: Vec<String>,
}

/// One entry of theta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its unit; empty when unknown.
    pub unit: String,
    /// Smallest value of its prior, if known.
    pub lower: Option<f32>,
    /// Largest value of its prior, if known.
    pub upper: Option<f32>,
    /// Whether it is a count.
    pub integer: bool,
}

/// One entry of the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Its name, such as `cases+3`.
    pub name: String,
    /// Name of the series over whose members metrics are averaged, such as `cases`; its own name when it stands alone.
    pub group: String,
    /// Smallest possible value, if there is one.
    pub lower: Option<f32>,
    /// Largest possible value, if there is one.
    pub upper: Option<f32>,
    /// Whether it is a count.
    pub integer: bool,
}

impl Schema {
    /// Width of `x`.
    pub fn d_x(&self) -> usize {
        self.x_names.len()
    }

    /// Width of theta.
    pub fn d_theta(&self) -> usize {
        self.theta.len()
    }

    /// Width of the target.
    pub fn d_target(&self) -> usize {
        self.targets.len()
    }

    /// Positions of the target of this name, or of all targets of this group.
    pub fn target_indices(&self, name_or_group: &str) -> Vec<usize> {
        let matches =
            |target: &Target| target.name == name_or_group || target.group == name_or_group;
        (0..self.targets.len()).filter(|&at| matches(&self.targets[at])).collect()
    }

    /// Groups of targets, in order, each once.
    pub fn target_groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for target in &self.targets {
            if !groups.contains(&target.group.as_str()) {
                groups.push(&target.group);
            }
        }
        groups
    }

    /// Adds units and supports that a study declares; to the targets too, where they are the parameters for want of a column `target`.
    ///
    /// # Errors
    ///
    /// For a parameter that there is not: what is wrong with the column.
    pub(crate) fn declare(
        &mut self,
        parameters: &[DeclaredParameter],
        has_target: bool,
    ) -> Result<(), String> {
        for declared in parameters {
            let Some(at) = self.theta.iter().position(|p| p.name == declared.name) else {
                let known: Vec<&str> = self.theta.iter().map(|p| p.name.as_str()).collect();
                return Err(format!(
                    "has no entry `{}`, which [parameters] of the study declares; it has {}",
                    declared.name,
                    known.join(", ")
                ));
            };
            let parameter = &mut self.theta[at];
            parameter.lower = declared.low;
            parameter.upper = declared.high;
            parameter.unit.clone_from(&declared.unit);
            if !has_target {
                self.targets[at].lower = declared.low;
                self.targets[at].upper = declared.high;
            }
        }
        Ok(())
    }
}

/// Simulations as flat, row-major arrays.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    /// What the columns are.
    pub schema: Arc<Schema>,
    /// Inputs `[num_simulations, d_x]`; NaN where missing.
    pub x: Vec<f32>,
    /// Parameters `[num_simulations, d_theta]`; NaN where the simulation's mechanism has no such parameter.
    pub theta: Vec<f32>,
    /// Targets `[num_simulations, d_target]`; finite.
    pub target: Vec<f32>,
    /// Position of each simulation's mechanism in [`Schema::mechanisms`]; zeros when the corpus has none.
    pub mechanism: Vec<u16>,
    /// Index of each simulation.
    pub index: Vec<u64>,
    /// Weights; `None` when all are one.
    pub weight: Option<Vec<f32>>,
    /// Gradient of `log p(x | theta)` with respect to theta, `[num_simulations, d_theta]`.
    pub score: Option<Vec<f32>>,
}

impl Corpus {
    /// A corpus without simulations.
    pub fn empty(schema: Arc<Schema>) -> Self {
        Corpus {
            schema,
            x: Vec::new(),
            theta: Vec::new(),
            target: Vec::new(),
            mechanism: Vec::new(),
            index: Vec::new(),
            weight: None,
            score: None,
        }
    }

    /// Reads a Parquet file, or all of a directory, into memory.
    ///
    /// # Errors
    /// [`CorpusError`] names file, row and column.
    pub fn read(path: impl AsRef<std::path::Path>) -> Result<Corpus, CorpusError> {
        Corpus::read_declared(path, &[])
    }

    /// Reads a corpus and holds theta to the supports that a study declares.
    ///
    /// # Errors
    /// [`CorpusError`] names file, row and column.
    pub fn read_declared(
        path: impl AsRef<std::path::Path>,
        parameters: &[DeclaredParameter],
    ) -> Result<Corpus, CorpusError> {
        let mut reader = Reader::open(path)?;
        reader.declare(parameters)?;
        let mut corpus = Corpus::empty(Arc::clone(reader.schema()));
        for part in reader {
            corpus.append(part?);
        }
        Ok(corpus)
    }

    /// Number of simulations.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Inputs of one simulation.
    pub fn x_row(&self, row: usize) -> &[f32] {
        let d = self.schema.d_x();
        &self.x[row * d..][..d]
    }

    /// Parameters of one simulation.
    pub fn theta_row(&self, row: usize) -> &[f32] {
        let d = self.schema.d_theta();
        &self.theta[row * d..][..d]
    }

    /// Targets of one simulation.
    pub fn target_row(&self, row: usize) -> &[f32] {
        let d = self.schema.d_target();
        &self.target[row * d..][..d]
    }

    /// Some of the simulations, in this order.
    ///
    /// # Panics
    /// Past the last row.
    pub fn select(&self, rows: &[usize]) -> Corpus {
        let mut selected = Corpus::empty(Arc::clone(&self.schema));
        for &row in rows {
            selected.x.extend(self.x_row(row));
            selected.theta.extend(self.theta_row(row));
            selected.target.extend(self.target_row(row));
            selected.mechanism.push(self.mechanism[row]);
            selected.index.push(self.index[row]);
        }
        let d_theta = self.schema.d_theta();
        selected.score = (self.score.as_ref()).map(|score| {
            rows.iter().flat_map(|&row| &score[row * d_theta..][..d_theta]).copied().collect()
        });
        selected.weight = self.weight.as_ref().map(|w| rows.iter().map(|&row| w[row]).collect());
        selected
    }

    /// Appends simulations of the same schema.
    ///
    /// # Panics
    /// When the schemas differ.
    pub fn append(&mut self, other: Corpus) {
        assert_eq!(self.schema, other.schema, "corpora of different schemas");
        let (before, added) = (self.len(), other.len());
        if self.weight.is_some() || other.weight.is_some() {
            let weights = self.weight.get_or_insert_with(|| vec![1.0; before]);
            weights.extend(other.weight.unwrap_or_else(|| vec![1.0; added]));
        }
        // A score is all or nothing: half a gradient field cannot be trained on as if it were whole.
        self.score = match (self.score.take(), other.score) {
            (Some(mut score), Some(more)) => {
                score.extend(more);
                Some(score)
            }
            (None, Some(more)) if before == 0 => Some(more),
            _ => None,
        };
        self.x.extend(other.x);
        self.theta.extend(other.theta);
        self.target.extend(other.target);
        self.mechanism.extend(other.mechanism);
        self.index.extend(other.index);
    }
}

/// The simulations of an index range of a study.
///
/// # Panics
/// When the study has no mechanism, hence nothing to simulate.
pub fn simulate(study: &Study, seed: u64, indices: Range<u64>) -> Corpus {
    let simulator = study.simulator().expect("a study with mechanisms");
    simulator.simulate(seed, indices)
}
