//! `point`: posterior mean of theta, by squared error.

use serde::{Deserialize, Serialize};
use simground_runtime::artifact::{self as format, Conditional, OutputLayer};

use super::parameters::{self, ParameterScaling};
use super::{Answering, Columns, Context, HeadError};
use crate::corpus::Corpus;
use crate::evaluation::Answer;
use crate::network::Dense;
use crate::records::{Encoded, encode};
use crate::training::HeadSpec;

/// Posterior mean of some entries of theta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The parameters.
    pub parameters: Vec<ParameterScaling>,
}

impl Point {
    /// Of the entries that the study names, or of all that every mechanism has.
    ///
    /// # Errors
    ///
    /// [`HeadError`] for an entry that the corpus does not have everywhere.
    pub fn new(names: Option<&[String]>, context: Context<'_>) -> Result<Point, HeadError> {
        let Context { sample, .. } = context;
        let scaling = |at: usize| {
            let values = parameters::values(sample, at);
            ParameterScaling::physical(&sample.schema.theta[at], &values)
        };
        let positions = parameters::chosen(names, sample)?;
        Ok(Point { parameters: positions.into_iter().map(scaling).collect() })
    }
}

impl Answering for Point {
    fn d_output(&self) -> usize {
        self.parameters.len()
    }

    fn spec(&self, sample: &Corpus, columns: &mut Columns) -> HeadSpec {
        let targets = parameters::columns(&self.parameters, sample, columns);
        HeadSpec::Point { targets, loss_share: 1.0 }
    }

    /// A mean states no probability.
    fn calibrate(&self, _: &mut Dense, _: &[&[f32]], _: &Corpus) {}

    fn record(&self, layer: OutputLayer, _: Option<Conditional<'_>>) -> Vec<u8> {
        let parameters = Encoded::new(self.parameters.iter().map(ParameterScaling::record));
        encode(&format::Head::Point { layer, parameters: parameters.records() })
    }

    fn answer(&self, outputs: &[f32], answer: &mut Answer) {
        let each = outputs.iter().zip(&self.parameters);
        answer.point = each.map(|(z, parameter)| parameter.record().from_z(*z)).collect();
    }
}
