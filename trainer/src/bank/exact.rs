//! The kernel posterior over a whole corpus: what a compressed bank has to agree with.
//!
//! `p(m, theta | z) = sum over simulations i of K_i [m_i = m, theta_i = theta] / sum of K_i`, with the Gaussian kernel
//! `K_i = weight_i 2^(-|z - z_i|^2 / half_life)`. Every simulation counts whose kernel is above `2^-18` of the nearest one's. The
//! corpus is sorted into cells, and a cell is passed over when the triangle inequality puts all of it farther away: the
//! answer is that of a search through every simulation.

use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::Embedded;
use super::cells::{Cells, squared_distance};

/// Bins of a parameter's marginal posterior.
pub const BINS: usize = 64;
/// Kernels below `2^-18` of the nearest simulation's are left out.
const HALVINGS: f64 = 18.0;
/// A mechanism without any simulation in reach counts as this probable.
const LEAST_PROBABILITY: f64 = 1e-4;

/// A corpus ready to be searched.
#[derive(Debug, Clone)]
pub struct Exact {
    cells: Cells,
    num_mechanisms: usize,
    ranges: Vec<(f32, f32)>,
    /// In the order of the cells, as is all that follows: mechanism of each simulation.
    mechanism: Vec<u8>,
    /// Weight of each.
    weight: Vec<f32>,
    /// `[n, d_theta, 2]`: each parameter in units of its range, and 1; both 0 where there is none.
    theta: Vec<[f32; 2]>,
}

/// The posterior of one observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// Of each mechanism.
    pub mechanism: Vec<f64>,
    /// Of each parameter.
    pub theta: Vec<Marginal>,
    /// `(sum of K)^2 / sum of K^2`: how many simulations the posterior rests on.
    pub effective_simulations: f64,
    /// Squared distance of the nearest simulation.
    pub least: u32,
}

/// The posterior of one parameter, in units of its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marginal {
    /// Share of the posterior whose mechanism has the parameter.
    pub present: f64,
    /// Mean over that share.
    pub mean: f64,
    /// Standard deviation over that share.
    pub sd: f64,
}

impl Exact {
    /// Sorts a corpus; `ranges` are the ends of each parameter's marginal.
    pub fn new(corpus: &Embedded, num_mechanisms: usize, ranges: &[(f32, f32)]) -> Exact {
        let cells = Cells::new(&corpus.embedding, corpus.d);
        let rows = cells.rows();
        let shares = |&row: &u32| {
            let theta = corpus.theta[row as usize * ranges.len()..].iter().zip(ranges);
            theta.map(|(value, range)| match share_of_range(*value, *range) {
                share if share.is_nan() => [0.0; 2],
                share => [share, 1.0],
            })
        };
        Exact {
            num_mechanisms,
            ranges: ranges.to_vec(),
            mechanism: rows.iter().map(|&row| corpus.mechanism[row as usize] as u8).collect(),
            weight: rows.iter().map(|&row| corpus.weight(row as usize) as f32).collect(),
            theta: rows.par_iter().flat_map_iter(shares).collect(),
            cells,
        }
    }

    /// Ends of each parameter's marginal.
    pub fn ranges(&self) -> &[(f32, f32)] {
        &self.ranges
    }

    /// Posterior of one observation. The simulation in row `skip` is left out: an observation that is itself of the corpus.
    pub fn posterior(&self, query: &[i16], half_life: f64, skip: Option<usize>) -> Posterior {
        /// Simulations between two transfers of single-precision sums into double precision.
        const BLOCK: usize = 256;
        let kernel = kernel_table(half_life);
        let (near, least) = self.within(query, kernel.len() as u32, skip);
        let d_theta = self.ranges.len();
        let mut mechanism = vec![0.0; self.num_mechanisms];
        let (mut total, mut squares) = (0.0, 0.0);
        let mut sums = vec![[0.0_f64; 3]; d_theta];
        let mut part = vec![[0.0_f32; 3]; d_theta];
        for block in near.chunks(BLOCK) {
            for &(place, distance) in block {
                let place = place as usize;
                let weight = kernel[(distance - least) as usize] * self.weight[place];
                total += f64::from(weight);
                squares += f64::from(weight) * f64::from(weight);
                mechanism[usize::from(self.mechanism[place])] += f64::from(weight);
                let theta = &self.theta[place * d_theta..][..d_theta];
                for (sums, [value, one]) in part.iter_mut().zip(theta) {
                    sums[0] += weight * one;
                    sums[1] += weight * value;
                    sums[2] += weight * value * value;
                }
            }
            for (sums, part) in sums.iter_mut().flatten().zip(part.iter_mut().flatten()) {
                *sums += f64::from(std::mem::take(part));
            }
        }
        mechanism.iter_mut().for_each(|mass| *mass /= total);
        let marginal = |&[present, first, second]: &[f64; 3]| {
            let mean = first / present;
            let sd = (second / present - mean * mean).max(0.0).sqrt();
            Marginal { present: present / total, mean, sd }
        };
        Posterior {
            mechanism,
            theta: sums.iter().map(marginal).collect(),
            effective_simulations: total * total / squares,
            least,
        }
    }

    /// The marginal posterior of each parameter: probabilities of [`BINS`] equal parts of its range, given that it is present.
    pub fn marginals(&self, query: &[i16], half_life: f64) -> Vec<[f64; BINS]> {
        let kernel = kernel_table(half_life);
        let (near, least) = self.within(query, kernel.len() as u32, None);
        let d_theta = self.ranges.len();
        let mut marginals = vec![[0.0; BINS]; d_theta];
        for (place, distance) in near {
            let weight =
                f64::from(kernel[(distance - least) as usize] * self.weight[place as usize]);
            let theta = &self.theta[place as usize * d_theta..][..d_theta];
            for (bins, [value, one]) in marginals.iter_mut().zip(theta) {
                let bin = ((value * BINS as f32) as usize).min(BINS - 1);
                bins[bin] += weight * f64::from(*one);
            }
        }
        for bins in &mut marginals {
            let total: f64 = bins.iter().sum();
            bins.iter_mut().for_each(|bin| *bin /= total.max(f64::MIN_POSITIVE));
        }
        marginals
    }

    /// The `k` nearest simulations: rows and squared distances, ascending; ties by row.
    pub fn nearest(&self, query: &[i16], k: usize) -> Vec<(usize, u32)> {
        let mut kept: BinaryHeap<(u32, u32)> = BinaryHeap::new();
        for (bound, cell) in self.cells.by_distance(query) {
            if kept.len() == k && kept.peek().is_some_and(|(worst, _)| bound > *worst) {
                break;
            }
            for (place, vector) in self.cells.places(cell).zip(self.cells.vectors(cell)) {
                kept.push((squared_distance(query, vector), self.cells.rows()[place]));
                if kept.len() > k {
                    kept.pop();
                }
            }
        }
        let nearest = kept.into_sorted_vec().into_iter();
        nearest.map(|(distance, row)| (row as usize, distance)).collect()
    }

    /// The half-life that says most about held-out simulations.
    ///
    /// The score is the mean log probability of the true mechanism minus the mean squared error of the posterior mean of each parameter,
    /// in units of its variance over the held-out simulations: both are proper for what they judge. Half-lives are tried in octaves from
    /// the median squared distance to the nearest simulation on, until the score falls; then the half octaves around the best.
    pub fn choose_half_life(&self, held_out: &Embedded) -> f64 {
        let mut least: Vec<u32> = (0..held_out.len())
            .into_par_iter()
            .map(|at| self.nearest(held_out.row(at), 1).first().map_or(1, |nearest| nearest.1))
            .collect();
        least.sort_unstable();
        let start = f64::from(least[least.len() / 2].max(1));
        let score = |half_life: f64| (self.score(held_out, half_life), half_life);
        let mut best = score(start);
        for factor in [2.0, 0.5] {
            loop {
                let next = score(best.1 * factor);
                if next.0 <= best.0 || next.1 < 0.1 {
                    break;
                }
                best = next;
            }
        }
        let around = [0.5_f64.sqrt(), 2.0_f64.sqrt()].map(|factor| score(best.1 * factor));
        around.into_iter().fold(best, |best, next| if next.0 > best.0 { next } else { best }).1
    }

    fn score(&self, held_out: &Embedded, half_life: f64) -> f64 {
        let d_theta = self.ranges.len();
        let theta: Vec<f64> = held_out
            .theta
            .iter()
            .zip(self.ranges.iter().cycle())
            .map(|(value, range)| f64::from(share_of_range(*value, *range)))
            .collect();
        let variances: Vec<f64> =
            (0..d_theta).map(|at| variance(theta.iter().skip(at).step_by(d_theta))).collect();
        let scores: Vec<f64> = (0..held_out.len())
            .into_par_iter()
            .map(|at| {
                let posterior = self.posterior(held_out.row(at), half_life, None);
                let same = posterior.mechanism[usize::from(held_out.mechanism[at])];
                let truths = theta[at * d_theta..].iter().zip(&posterior.theta).zip(&variances);
                let (mut error, mut terms) = (0.0, 0.0_f64);
                for ((truth, marginal), variance) in truths {
                    if !truth.is_nan() && *variance > 0.0 {
                        terms += 1.0;
                        // Where no simulation in reach has the parameter, its mean counts as known no better than from the prior.
                        let missed = (marginal.mean - truth).powi(2) / variance;
                        error += if marginal.present > 0.0 { missed } else { 1.0 };
                    }
                }
                same.max(LEAST_PROBABILITY).ln() - error / terms.max(1.0)
            })
            .collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    /// Places and squared distances of the simulations whose squared distance exceeds the least by less than `excess`; the least.
    fn within(&self, query: &[i16], excess: u32, skip: Option<usize>) -> (Vec<(u32, u32)>, u32) {
        let mut found = Vec::new();
        let mut least = u32::MAX;
        for (bound, cell) in self.cells.by_distance(query) {
            if bound > least.saturating_add(excess) {
                break;
            }
            for (place, vector) in self.cells.places(cell).zip(self.cells.vectors(cell)) {
                let distance = squared_distance(query, vector);
                if distance < least.saturating_add(excess)
                    && Some(self.cells.rows()[place] as usize) != skip
                {
                    least = least.min(distance);
                    found.push((place as u32, distance));
                }
            }
        }
        found.retain(|(_, distance)| distance - least < excess);
        (found, least)
    }
}

/// A parameter in units of its range; NaN stays NaN.
pub(super) fn share_of_range(value: f32, (low, high): (f32, f32)) -> f32 {
    (value - low) / (high - low).max(f32::MIN_POSITIVE)
}

fn variance<'v>(values: impl Iterator<Item = &'v f64>) -> f64 {
    let values: Vec<f64> = values.filter(|v| !v.is_nan()).copied().collect();
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n
}

/// The kernel of each squared distance in excess of the least, down to `2^-18`.
fn kernel_table(half_life: f64) -> Vec<f32> {
    let entries = (HALVINGS * half_life).ceil().max(1.0) as usize;
    (0..entries).map(|excess| libm::exp2(-(excess as f64) / half_life) as f32).collect()
}
