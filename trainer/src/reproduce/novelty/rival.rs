//! Trivial distances of an observation from the training simulations, and p-values from held-out ones.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use rayon::prelude::*;

/// A distance on standardized inputs.
pub(super) trait Rival {
    /// Of each row of `[n, d_input]`.
    fn distances(&self, rows: &[f32]) -> Vec<f64>;
}

/// Squared distance to the nearest training simulation.
pub(super) struct NearestInput {
    training: Vec<f32>,
    d: usize,
}

impl NearestInput {
    /// Of training rows `[n, d]`.
    pub fn new(training: Vec<f32>, d: usize) -> NearestInput {
        NearestInput { training, d }
    }
}

impl Rival for NearestInput {
    fn distances(&self, rows: &[f32]) -> Vec<f64> {
        let nearest = |row: &[f32]| {
            let each = self
                .training
                .chunks_exact(self.d)
                .map(|other| row.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f32>());
            f64::from(each.fold(f32::INFINITY, f32::min))
        };
        rows.par_chunks_exact(self.d).map(nearest).collect()
    }
}

/// `(z - mean)^T C^-1 (z - mean)` with mean and covariance of the training simulations.
pub(super) struct Mahalanobis {
    mean: DVector<f64>,
    factor: Cholesky<f64, Dyn>,
}

impl Mahalanobis {
    /// Of training rows `[n, d]`. A thousandth of the mean variance on the diagonal keeps the covariance invertible.
    pub fn fit(training: &[f32], d: usize) -> Mahalanobis {
        let n = training.len() / d;
        let rows = DMatrix::from_row_iterator(n, d, training.iter().map(|z| f64::from(*z)));
        let mean = rows.row_mean().transpose();
        let mut centered = rows;
        centered.row_iter_mut().for_each(|mut row| row -= mean.transpose());
        let covariance = centered.transpose() * &centered / n as f64;
        let ridge = 1e-3 * covariance.trace() / d as f64 + 1e-12;
        let covariance = covariance + DMatrix::identity(d, d) * ridge;
        let factor = covariance.cholesky().expect("a covariance with a ridge is positive definite");
        Mahalanobis { mean, factor }
    }
}

impl Rival for Mahalanobis {
    fn distances(&self, rows: &[f32]) -> Vec<f64> {
        let distance = |row: &[f32]| {
            let z = DVector::from_iterator(row.len(), row.iter().map(|z| f64::from(*z)));
            let centered = z - &self.mean;
            centered.dot(&self.factor.solve(&centered))
        };
        rows.par_chunks_exact(self.mean.len()).map(distance).collect()
    }
}

/// Distances of held-out simulations.
pub(super) struct Table(Vec<f64>);

impl Table {
    /// In any order.
    pub fn new(mut held_out: Vec<f64>) -> Table {
        held_out.sort_by(f64::total_cmp);
        Table(held_out)
    }

    /// Conformal p-value: share of held-out distances at or above, the observation itself counted.
    pub fn p_value(&self, distance: f64) -> f64 {
        let above = self.0.len() - self.0.partition_point(|held_out| *held_out < distance);
        (above + 1) as f64 / (self.0.len() + 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_by_hand() {
        let training = vec![0.0, 0.0, 2.0, 0.0, 0.0, 4.0, 2.0, 4.0];
        assert_eq!(NearestInput::new(training.clone(), 2).distances(&[3.0, 1.0]), [2.0]);
        // Mean (1, 2), variances 1 and 4, no covariance.
        let found = Mahalanobis::fit(&training, 2).distances(&[3.0, 2.0, 1.0, 8.0]);
        assert!((found[0] - 4.0).abs() < 0.02 && (found[1] - 9.0).abs() < 0.02, "{found:?}");
        let table = Table::new(vec![3.0, 1.0, 2.0]);
        assert_eq!([0.5, 2.0, 4.0].map(|d| table.p_value(d)), [1.0, 0.75, 0.25]);
    }
}
