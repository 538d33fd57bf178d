//! What the heads learn: a table of standardized numbers, each column wanted by at least one head.

use simground_runtime::artifact::Coordinate;

use super::HeadError;
use super::parameters::ParameterScaling;
use crate::corpus::Corpus;
use crate::standardization::TargetScaling;

/// Largest magnitude of a parameter or a target: a little below the format's `2^96`.
pub const LARGEST: f32 = 7.9e28;
/// Standardized parameters are clamped to this magnitude: a single outlier of a prior must not decide what a density learns.
const Z_MAX: f32 = 10.0;

/// One column of the table.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// A target of the corpus.
    Target {
        /// Its position in the schema.
        at: usize,
        /// Its standardization.
        scaling: TargetScaling,
    },
    /// An entry of theta.
    Theta {
        /// Its position in the schema.
        at: usize,
        /// Its standardization.
        scaling: ParameterScaling,
    },
    /// An entry of theta as the coordinate of a flow.
    Coordinate {
        /// Its position in the schema.
        at: usize,
        /// Its standardization.
        scaling: ParameterScaling,
        /// Center and spread of the coordinate.
        coordinate: (f32, f32),
    },
    /// The exact score by an entry of theta, standardized; `f32::MAX` where it is no number.
    Score {
        /// Position of the entry in the schema.
        at: usize,
        /// Its standardization.
        scaling: ParameterScaling,
    },
}

/// The columns, each once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Columns(Vec<Column>);

impl Columns {
    /// The position of a column, which is added unless it is there.
    pub fn position(&mut self, column: Column) -> usize {
        let found = self.0.iter().position(|other| *other == column);
        found.unwrap_or_else(|| {
            self.0.push(column);
            self.0.len() - 1
        })
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The table of a corpus, `[num_simulations, columns]`.
    pub fn standardize(&self, corpus: &Corpus) -> Vec<f32> {
        (0..corpus.len()).flat_map(|row| self.standardize_row(corpus, row)).collect()
    }

    /// One row of the table.
    pub fn standardize_row(&self, corpus: &Corpus, row: usize) -> impl Iterator<Item = f32> {
        self.0.iter().map(move |column| column.value(corpus, row))
    }

    /// Refuses what an artifact cannot hold or a network cannot learn, seen in a sample of the corpus.
    ///
    /// # Errors
    ///
    /// [`HeadError`] names the first such column.
    pub fn check(&self, sample: &Corpus) -> Result<(), HeadError> {
        self.0.iter().try_for_each(|column| column.check(sample))
    }
}

impl Column {
    fn value(&self, corpus: &Corpus, row: usize) -> f32 {
        match self {
            Column::Target { at, scaling } => scaling.to_z(corpus.target_row(row)[*at]),
            Column::Theta { at, scaling } => {
                let theta = corpus.theta_row(row)[*at];
                let theta = theta + scaling.spread_of_count(corpus.index[row], *at);
                scaling.record().to_z(theta).clamp(-Z_MAX, Z_MAX)
            }
            Column::Coordinate { at, scaling, coordinate: (center, spread) } => {
                let theta = corpus.theta_row(row)[*at];
                let theta = theta + scaling.spread_of_count(corpus.index[row], *at);
                let record = scaling.record();
                let coordinate = Coordinate { center: *center, spread: *spread };
                coordinate.y(record.ends(), record.to_z(theta)).clamp(-Z_MAX, Z_MAX)
            }
            Column::Score { at, scaling } => {
                let Some(scores) = &corpus.score else { return f32::MAX };
                let score = scores[row * corpus.schema.d_theta() + at];
                // By the chain rule, with the slope of z by theta.
                let slope = scaling.record().log_slope(corpus.theta_row(row)[*at]).exp();
                let score = score / slope;
                if score.is_finite() { score } else { f32::MAX }
            }
        }
    }

    fn check(&self, sample: &Corpus) -> Result<(), HeadError> {
        let (what, name, list, values): (_, _, _, Vec<f32>) = match self {
            Column::Target { at, scaling } => {
                let values = sample.target.iter().skip(*at).step_by(sample.schema.d_target());
                ("target", &scaling.name, ("targets", &scaling.series), values.copied().collect())
            }
            Column::Theta { at, scaling } | Column::Coordinate { at, scaling, .. } => {
                let values = sample.theta.iter().skip(*at).step_by(sample.schema.d_theta());
                let list = ("parameters", &scaling.name);
                ("parameter", &scaling.name, list, values.copied().collect())
            }
            Column::Score { .. } => return Ok(()),
        };
        if let Some(value) = values.iter().find(|value| value.abs() > LARGEST) {
            let message = format!(
                "{what} `{name}` reaches {value:e}; an artifact holds magnitudes up to {LARGEST:e}\nhint: store it in another unit, or its logarithm"
            );
            return Err(HeadError::about(list.1, message));
        }
        let (list, listed) = list;
        if let Some(first) = values.first()
            && values.iter().all(|value| value == first)
        {
            let message = format!(
                "{what} `{name}` is {first} in all training simulations; there is nothing to learn\nhint: remove `{listed}` from the `{list}` of the head, or widen what decides it"
            );
            return Err(HeadError::about(listed, message));
        }
        Ok(())
    }
}
