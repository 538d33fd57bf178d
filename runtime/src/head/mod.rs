//! One file a posterior head: integers in, the answer in physical units out.

pub mod categorical;
pub mod cut;
pub mod flow;
pub mod gaussians;
pub mod mixture;
pub mod parameter;
pub mod point;
pub mod quantiles;
pub mod ratio;

use self::gaussians::Outputs;
use crate::artifact::Head;
use crate::conditional;
use crate::error::{ArtifactError, Part};
use crate::kernel::Dense;
use crate::math;
use crate::network::Inference;

impl Inference<'_, '_, '_> {
    /// Real values of all heads' outputs, one head behind the other: logits and standardized quantiles, unsorted; of a head with a stack on
    /// `[h, theta]` what the data adds to the sums of its first layer.
    ///
    /// What the trainer fits its posterior calibration to.
    pub fn output_values(&self) -> impl Iterator<Item = f32> + '_ {
        let heads = self.model.manifest.heads.iter().enumerate();
        heads
            .flat_map(|(position, head)| {
                let (layer, outputs) = self.head(position)?;
                let rows = outputs.iter().enumerate();
                Some(rows.map(move |(row, acc)| match head.stack() {
                    Some(stack) => conditional::data_value(layer, stack, row, *acc),
                    None => math::float(*acc) * layer.scale(row),
                }))
            })
            .flatten()
    }
}

/// A head's real outputs: its accumulators, scaled when they are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadOutputs<'i> {
    layer: &'i Dense<'i>,
    accumulators: &'i [i32],
}

impl Outputs for HeadOutputs<'_> {
    fn value(&self, row: usize) -> f32 {
        let acc = self.accumulators.get(row).copied().unwrap_or(0);
        math::float(acc) * self.layer.scale(row)
    }
}

impl Inference<'_, '_, '_> {
    /// The real outputs of one head.
    pub(crate) fn head_outputs(&self, position: usize) -> Option<HeadOutputs<'_>> {
        let (layer, accumulators) = self.head(position)?;
        Some(HeadOutputs { layer, accumulators })
    }
}

/// Proves what is peculiar to a head, and tells how many outputs it must have.
pub(crate) fn outputs(
    head: &Head<'_>,
    part: Part,
    mechanisms: usize,
) -> Result<usize, ArtifactError> {
    match head {
        Head::Categorical { .. } => Ok(mechanisms),
        Head::Quantiles { levels, targets, .. } => quantiles::outputs(levels, targets, part),
        Head::Point { parameters, .. } => parameter::prove(parameters, part),
        Head::Mixture { parameters, components, .. } => {
            mixture::outputs(parameters, *components, part)
        }
        Head::Ratio { layer, parameters, .. } => {
            parameter::prove(parameters, part)?;
            split_rows(layer.d_output, part)
        }
        Head::Flow { layer, parameters, coordinates, noise, steps, stack } => {
            flow::prove(parameters, coordinates, *noise, steps, stack.q_max, part)?;
            split_rows(layer.d_output, part)
        }
    }
}

/// A split layer has the rows that it has, but not none.
fn split_rows(rows: u16, part: Part) -> Result<usize, ArtifactError> {
    if rows == 0 { Err(ArtifactError::Shape(part)) } else { Ok(rows.into()) }
}

/// The real values of a head's outputs from row `first` on: each accumulator times the row's scale.
fn output_values(layer: &Dense<'_>, outputs: &[i32], first: usize) -> impl Iterator<Item = f32> {
    let rows = outputs.iter().enumerate().skip(first);
    rows.map(move |(row, &acc)| math::float(acc) * layer.scale(row))
}
