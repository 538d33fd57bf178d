//! One file a posterior head: integers in, the answer in physical units out.

pub mod categorical;
pub mod gaussians;
pub mod mixture;
pub mod parameter;
pub mod point;
pub mod quantiles;

use self::gaussians::Outputs;
use crate::artifact::{Head, Model, OutputLayer};
use crate::error::{ArtifactError, Part};
use crate::kernel;
use crate::math;
use crate::network::Inference;

impl Inference<'_, '_, '_> {
    /// Real values of all heads' outputs, one head behind the other: logits and standardized quantiles, unsorted.
    ///
    /// What the trainer fits its posterior calibration to.
    pub fn output_values(&self) -> impl Iterator<Item = f32> + '_ {
        let heads = (0..self.model.manifest.heads.len()).filter_map(|position| self.head(position));
        let model = self.model;
        heads.flat_map(move |(layer, outputs)| {
            let rows = outputs.iter().enumerate();
            rows.map(move |(row, &acc)| output_value(model, &layer, row, acc))
        })
    }
}

/// A head's real outputs: its accumulators, scaled when they are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadOutputs<'i> {
    model: &'i Model<'i>,
    layer: OutputLayer,
    accumulators: &'i [i32],
}

impl Outputs for HeadOutputs<'_> {
    fn value(&self, row: usize) -> f32 {
        let acc = self.accumulators.get(row).copied().unwrap_or(0);
        output_value(self.model, &self.layer, row, acc)
    }
}

impl Inference<'_, '_, '_> {
    /// The real outputs of one head.
    pub(crate) fn head_outputs(&self, position: usize) -> Option<HeadOutputs<'_>> {
        let (layer, accumulators) = self.head(position)?;
        Some(HeadOutputs { model: self.model, layer, accumulators })
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
    }
}

/// The real value of output `row` of a head: its accumulator times the row's scale.
fn output_value(model: &Model<'_>, layer: &OutputLayer, row: usize, acc: i32) -> f32 {
    let last = model.trunk.last();
    let padded_input = last.map_or(model.padded_input(), |last| last.shape().padded_output());
    let block_bytes = kernel::block_bytes(padded_input);
    let stream = model.section(layer.stream);
    let block = row.saturating_div(kernel::BLOCK_ROWS);
    let start = block.saturating_mul(block_bytes);
    let bytes = stream.get(start..start.saturating_add(block_bytes)).unwrap_or(&[]);
    let lane = row.checked_rem(kernel::BLOCK_ROWS).unwrap_or(0);
    let scale = f32::from_bits(kernel::block_multiplier(bytes, lane).cast_unsigned());
    math::float(acc) * scale
}
