//! One file a posterior head: integers in, the answer in physical units out.

pub mod categorical;
pub mod quantiles;

use crate::kernel::Dense;
use crate::math;
use crate::network::Inference;

impl Inference<'_, '_, '_> {
    /// Real values of all heads' outputs, one head behind the other: logits and standardized quantiles, unsorted.
    ///
    /// What the trainer fits its posterior calibration to.
    pub fn output_values(&self) -> impl Iterator<Item = f32> + '_ {
        let heads = (0..self.model.layers.heads.len()).filter_map(|position| self.head(position));
        heads.flat_map(|(layer, outputs)| output_values(layer, outputs, 0))
    }
}

/// The real values of a head's outputs from row `first` on: each accumulator times the row's scale.
fn output_values(layer: &Dense<'_>, outputs: &[i32], first: usize) -> impl Iterator<Item = f32> {
    let rows = outputs.iter().enumerate().skip(first);
    rows.map(move |(row, &acc)| math::float(acc) * layer.scale(row))
}
