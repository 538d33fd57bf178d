//! `categorical`: cross-entropy.

use super::{RowLoss, Truth};

/// `log sum_j exp(o_j) - o_m` for mechanism `m`; its gradient is `softmax(o) - e_m`.
#[derive(Debug)]
pub(super) struct CrossEntropy;

impl RowLoss for CrossEntropy {
    fn row(
        &self,
        outputs: &[f32],
        truth: Truth<'_>,
        scale: f32,
        gradient: &mut [f32],
        _: &mut Vec<f32>,
    ) -> f32 {
        let largest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = outputs.iter().map(|output| libm::expf(output - largest)).sum();
        for (gradient, output) in gradient.iter_mut().zip(outputs) {
            *gradient = scale * libm::expf(output - largest) / sum;
        }
        if let Some(gradient) = gradient.get_mut(truth.mechanism) {
            *gradient -= scale;
        }
        libm::logf(sum) + largest - outputs[truth.mechanism]
    }
}
