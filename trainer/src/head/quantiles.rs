//! `quantiles`: marginal quantiles of targets, by pinball loss, shifted to conformal coverage on held-out simulations.

use serde::{Deserialize, Serialize};
use simground_runtime::artifact::{self as format, Conditional, OutputLayer};

use super::{Answering, Column, Columns, Context, HeadError};
use crate::corpus::Corpus;
use crate::evaluation::Answer;
use crate::network::Dense;
use crate::posterior_calibration::conformal_offset;
use crate::records::{Encoded, encode};
use crate::standardization::TargetScaling;
use crate::training::HeadSpec;

/// A mean pinball loss in standard deviations is a tenth to a twentieth of a cross-entropy in nats: this weighs the heads alike.
const LOSS_SHARE: f32 = 20.0;

/// Marginal quantiles; outputs are target-major.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Levels, ascending.
    pub levels: Vec<f32>,
    /// Targets.
    pub targets: Vec<TargetScaling>,
    /// Weight of each target in the loss.
    weights: Vec<f32>,
}

impl Quantiles {
    /// Of the targets, or groups of them, that the study names.
    ///
    /// # Errors
    ///
    /// [`HeadError`] for a target that the corpus does not have.
    pub fn new(
        names: &[String],
        levels: &[f64],
        context: Context<'_>,
    ) -> Result<Quantiles, HeadError> {
        let schema = &context.sample.schema;
        let (mut targets, mut weights) = (Vec::new(), Vec::new());
        for name in names {
            let found = schema.target_indices(name);
            if found.is_empty() {
                let known = schema.target_groups().join(", ");
                let message = format!("the corpus has no target `{name}`; it has {known}");
                return Err(HeadError::about(name, message));
            }
            // Each name the study lists counts alike, however many steps it stands for.
            weights.extend(std::iter::repeat_n(1.0 / found.len() as f32, found.len()));
            targets.extend(found.into_iter().map(|at| context.targets[at].clone()));
        }
        let levels = levels.iter().map(|level| *level as f32).collect();
        Ok(Quantiles { levels, targets, weights })
    }
}

/// The position of a target in the corpus.
fn position(target: &TargetScaling, corpus: &Corpus) -> usize {
    let at = corpus.schema.targets.iter().position(|t| t.name == target.name);
    at.expect("targets come from the schema")
}

impl Answering for Quantiles {
    fn d_output(&self) -> usize {
        self.targets.len() * self.levels.len()
    }

    fn spec(&self, sample: &Corpus, columns: &mut Columns) -> HeadSpec {
        let column = |scaling: &TargetScaling| {
            let at = position(scaling, sample);
            columns.position(Column::Target { at, scaling: scaling.clone() })
        };
        HeadSpec::Quantiles {
            targets: self.targets.iter().map(column).collect(),
            levels: self.levels.clone(),
            target_weights: self.weights.clone(),
            loss_share: LOSS_SHARE,
        }
    }

    /// Shifts each output by its conformal offset.
    fn calibrate(&self, layer: &mut Dense, outputs: &[&[f32]], held_out: &Corpus) {
        let mut biases = layer.bias.iter_mut().enumerate();
        for target in &self.targets {
            let column = position(target, held_out);
            let truth = |row: usize| target.to_z(held_out.target_row(row)[column]);
            for (level, (output, bias)) in self.levels.iter().zip(&mut biases) {
                let rows = outputs.iter().enumerate();
                let mut residuals: Vec<f32> = rows.map(|(row, q)| truth(row) - q[output]).collect();
                *bias += conformal_offset(&mut residuals, *level);
            }
        }
    }

    fn record(&self, layer: OutputLayer, _: Option<Conditional<'_>>) -> Vec<u8> {
        let levels = Encoded::new(&self.levels);
        let targets = Encoded::new(self.targets.iter().map(|t| format::Target {
            name: &t.name,
            series: &t.series,
            unit: "",
            transform: t.transform,
            center: t.center,
            spread: t.spread,
            lower: t.lower,
            upper: t.upper,
        }));
        let (levels, targets) = (levels.records(), targets.records());
        encode(&format::Head::Quantiles { layer, levels, targets })
    }

    fn answer(&self, outputs: &[f32], answer: &mut Answer) {
        for (z, target) in outputs.chunks_exact(self.levels.len()).zip(&self.targets) {
            let mut z = z.to_vec();
            simground_runtime::rearrange(&mut z);
            answer.quantiles.push(z.into_iter().map(|z| target.from_z(z)).collect());
        }
    }
}
