//! The board: 20 rows, 31 nails a row.
//!
//! A ball at nail `j` of row `i` falls to the left with probability `(1 - sin(pi v)) / 2 + sin(pi v) logistic(10 theta h)`, where
//! `v = i / 19` and `h = 2 j / 30 - 1`. Rows are staggered: in even rows left leaves the index and right adds one, in odd rows
//! left subtracts one and right leaves it.

use std::f64::consts::PI;

use crate::simulator::Generator;

const ROWS: usize = 20;
const NAILS: usize = 31;

/// Where balls start.
pub(super) const START: usize = NAILS / 2;

/// One ball, with what its path tells.
pub(super) struct Fall {
    /// The bin.
    pub x: usize,
    /// `log p(x, z | theta) / p(x, z | reference)` of the path `z`.
    pub log_ratio: f64,
    /// Derivative of `log p(x, z | theta)` with respect to theta.
    pub score: f64,
}

/// Probability of falling to the left, and its derivative with respect to theta.
fn left(theta: f64, row: usize, nail: usize) -> (f64, f64) {
    let sine = libm::sin(PI * row as f64 / (ROWS - 1) as f64);
    let h = 2.0 * nail as f64 / (NAILS - 1) as f64 - 1.0;
    let logistic = 1.0 / (1.0 + libm::exp(-10.0 * theta * h));
    (0.5 * (1.0 - sine) + sine * logistic, sine * 10.0 * h * logistic * (1.0 - logistic))
}

/// Nail of the next row.
fn next(row: usize, nail: usize, goes_left: bool) -> usize {
    match (row.is_multiple_of(2), goes_left) {
        (true, true) | (false, false) => nail,
        (true, false) => nail + 1,
        (false, true) => nail - 1,
    }
}

/// A ball that falls at `falls_at`, with ratio and score of its path at `theta`.
pub(super) fn fall(falls_at: f64, theta: f64, reference: f64, generator: &mut Generator) -> Fall {
    let mut fall = Fall { x: START, log_ratio: 0.0, score: 0.0 };
    for row in 0..ROWS {
        let goes_left = generator.uniform() < left(falls_at, row, fall.x).0;
        let (p, slope) = left(theta, row, fall.x);
        let q = left(reference, row, fall.x).0;
        if goes_left {
            fall.log_ratio += libm::log(p / q);
            fall.score += slope / p;
        } else {
            fall.log_ratio += libm::log((1.0 - p) / (1.0 - q));
            fall.score -= slope / (1.0 - p);
        }
        fall.x = next(row, fall.x, goes_left);
    }
    fall
}

/// `p(x | theta)` of each bin, summed over all paths.
pub(super) fn probabilities(theta: f64) -> Vec<f64> {
    let mut p = vec![0.0; NAILS];
    p[START] = 1.0;
    for row in 0..ROWS {
        let mut after = vec![0.0; NAILS];
        for (nail, p) in p.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            let left = left(theta, row, nail).0;
            after[next(row, nail, true)] += p * left;
            after[next(row, nail, false)] += p * (1.0 - left);
        }
        p = after;
    }
    p
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balls_fall_as_the_sum_over_paths_says() {
        const BALLS: u64 = 20_000;
        let theta = -0.8;
        let p = probabilities(theta);
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        const STEP: f64 = 1e-4;
        let (up, down) = (probabilities(theta + STEP), probabilities(theta - STEP));
        let reference = probabilities(-0.6);
        let mut falls: Vec<Vec<Fall>> = (0..NAILS).map(|_| Vec::new()).collect();
        for index in 0..BALLS {
            let fall = fall(theta, theta, -0.6, &mut Generator::new(9, index));
            falls[fall.x].push(fall);
        }
        let mut judged = 0;
        for (x, falls) in falls.iter().enumerate() {
            let n = falls.len() as f64;
            let sd = (BALLS as f64 * p[x] * (1.0 - p[x])).sqrt();
            assert!((n - BALLS as f64 * p[x]).abs() <= 5.0 * sd, "bin {x}: {n}");
            if n < 300.0 {
                continue;
            }
            judged += 1;
            let mean = |of: &dyn Fn(&Fall) -> f64| falls.iter().map(of).sum::<f64>() / n;
            let within = |of: &dyn Fn(&Fall) -> f64, expected: f64| {
                let found = mean(of);
                let variance = mean(&|fall| (of(fall) - found).powi(2));
                let error = 5.0 * (variance / n).sqrt();
                assert!((found - expected).abs() < error, "bin {x}: {found} for {expected}");
            };
            within(&|fall| fall.score, libm::log(up[x] / down[x]) / (2.0 * STEP));
            // Under the numerator, the mean of the inverse ratio is the inverse ratio of x.
            within(&|fall| libm::exp(-fall.log_ratio), reference[x] / p[x]);
        }
        assert!(judged >= 5, "{judged}");
    }
}
