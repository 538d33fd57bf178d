//! How far two sets of samples are apart, by the three measures with which posteriors are judged.
//!
//! Both sets are standardized by the mean and the standard deviation of the reference, so that no parameter counts more because
//! of its unit. Every measure is a function of the samples and the seed alone.

mod classifier;
mod classifier_test;
mod mean_discrepancy;
mod sliced_wasserstein;

use serde::Serialize;

use crate::simulator::sampling::Generator;

pub use classifier_test::{FOLDS, classifier_two_sample_test};
pub use mean_discrepancy::{median_distance, squared_mean_discrepancy};
pub use sliced_wasserstein::{DIRECTIONS, sliced_wasserstein};

/// Least samples of each set.
pub const LEAST_SAMPLES: usize = 20;

/// How far apart two sets of samples are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Cross-validated accuracy of a classifier that tells the sets apart: 0.5 when it cannot, 1 when it always can.
    pub c2st: f64,
    /// The accuracy on each of the [`FOLDS`] parts.
    pub c2st_folds: Vec<f64>,
    /// Unbiased estimate of the squared maximum mean discrepancy: around 0, below it as often as above, for equal distributions.
    pub mmd: f64,
    /// Bandwidth of its Gaussian kernel: the median distance within the reference.
    pub mmd_bandwidth: f64,
    /// Sliced Wasserstein distance of order 2, in standard deviations of the reference.
    pub sliced_wasserstein: f64,
}

/// Compares samples with reference samples, `[n, d]` each.
///
/// # Panics
///
/// If the sets differ in size, or have fewer than [`LEAST_SAMPLES`] rows.
pub fn compare(samples: &[f32], reference: &[f32], d: usize, seed: u64) -> Comparison {
    assert!(samples.len() == reference.len() && reference.len() >= LEAST_SAMPLES * d);
    let (samples, reference) = standardize(samples, reference, d);
    let c2st_folds = classifier_two_sample_test(&samples, &reference, d, seed);
    let bandwidth = median_distance(&reference, d);
    Comparison {
        c2st: c2st_folds.iter().sum::<f64>() / c2st_folds.len() as f64,
        c2st_folds,
        mmd: squared_mean_discrepancy(&samples, &reference, d, bandwidth),
        mmd_bandwidth: bandwidth,
        sliced_wasserstein: sliced_wasserstein(&samples, &reference, d, seed),
    }
}

/// `wanted` rows of `[n, d]` without replacement, in random order; all rows where there are no more.
pub fn draw_rows(values: &[f32], d: usize, wanted: usize, seed: u64, stream: u64) -> Vec<f32> {
    let mut rows: Vec<usize> = (0..values.len() / d).collect();
    shuffle(&mut rows, &mut generator(seed, stream));
    rows.truncate(wanted);
    rows.iter().flat_map(|&row| values[row * d..][..d].iter().copied()).collect()
}

/// Both sets in standard deviations of the reference from its mean.
fn standardize(samples: &[f32], reference: &[f32], d: usize) -> (Vec<f32>, Vec<f32>) {
    let n = (reference.len() / d) as f64;
    let column = |at: usize| reference.iter().skip(at).step_by(d).map(|value| f64::from(*value));
    let mean: Vec<f64> = (0..d).map(|at| column(at).sum::<f64>() / n).collect();
    let sd: Vec<f64> = (0..d)
        .map(|at| {
            let squares = column(at).map(|value| (value - mean[at]).powi(2)).sum::<f64>();
            let sd = (squares / (n - 1.0)).sqrt();
            // A parameter that never varies has no unit to measure by.
            if sd > 0.0 { sd } else { 1.0 }
        })
        .collect();
    let standardize = |values: &[f32]| {
        let z =
            |(at, value): (usize, &f32)| ((f64::from(*value) - mean[at % d]) / sd[at % d]) as f32;
        values.iter().enumerate().map(z).collect()
    };
    (standardize(samples), standardize(reference))
}

/// Random numbers for one purpose; no simulation has an index this large.
fn generator(seed: u64, purpose: u64) -> Generator {
    Generator::new(seed, 1 << 63 | purpose)
}

/// Fisher and Yates's shuffle.
fn shuffle<T>(items: &mut [T], generator: &mut Generator) {
    for at in (1..items.len()).rev() {
        items.swap(at, generator.integer(0, at as u64) as usize);
    }
}

#[cfg(test)]
mod tests;
