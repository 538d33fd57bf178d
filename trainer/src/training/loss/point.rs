//! `point`: squared error.

use super::{RowLoss, Truth};

/// Half the mean over parameters of the squared error; its minimum is the posterior mean.
#[derive(Debug)]
pub(super) struct SquaredError {
    /// Column of each parameter.
    pub targets: Vec<usize>,
}

impl RowLoss for SquaredError {
    fn row(
        &self,
        outputs: &[f32],
        truth: Truth<'_>,
        scale: f32,
        gradient: &mut [f32],
        _: &mut Vec<f32>,
    ) -> f32 {
        let share = 1.0 / outputs.len() as f32;
        let errors = outputs.iter().zip(&self.targets).map(|(o, &at)| o - truth.targets[at]);
        for (gradient, error) in gradient.iter_mut().zip(errors.clone()) {
            *gradient = scale * share * error;
        }
        0.5 * share * errors.map(|error| error * error).sum::<f32>()
    }
}
