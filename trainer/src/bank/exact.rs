//! The kernel posterior over a whole corpus: what a compressed bank has to agree with.
//!
//! `p(m | z) = sum over simulations i of K_i [m_i = m] / sum of K_i`, with the Gaussian kernel `K_i = weight_i 2^(-|z - z_i|^2 / half_life)`,
//! and `p(theta | z)` alike with a half-life of its own: what is best for a share is not best for a mean, and each is chosen by a score
//! that is proper for what it judges ([`Exact::choose_bandwidth`]). Every simulation counts whose kernel is above `2^-18` of the nearest one's. The
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
/// The search for a half-life goes no lower.
const LEAST_HALF_LIFE: f64 = 0.1;
/// Nor higher than this.
const LARGEST_HALF_LIFE: f64 = (1 << 18) as f64;
/// What an octave of half-lives has to gain, as a part of the score: where nothing can be told apart the score rises with the half-life
/// for ever, ever less.
const LEAST_GAIN: f64 = 1e-4;

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

/// Squared distances over which a kernel halves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bandwidth {
    /// For the mechanism.
    pub mechanism: f64,
    /// For the parameters.
    pub theta: f64,
}

/// The posterior of one observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// Of each mechanism.
    pub mechanism: Vec<f64>,
    /// Of each parameter.
    pub theta: Vec<Marginal>,
    /// `(sum of K)^2 / sum of K^2` of the mechanism's kernel: how many simulations the posterior rests on.
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
    pub fn posterior(&self, query: &[i16], bandwidth: Bandwidth, skip: Option<usize>) -> Posterior {
        /// Simulations between two transfers of single-precision sums into double precision.
        const BLOCK: usize = 256;
        let kernels = [bandwidth.mechanism, bandwidth.theta].map(Kernel::new);
        let excess = kernels[0].reach.max(kernels[1].reach);
        let (near, least) = self.within(query, excess, skip);
        let d_theta = self.ranges.len();
        let mut mechanism = vec![0.0; self.num_mechanisms];
        let (mut totals, mut squares) = ([0.0; 2], 0.0);
        let mut sums = vec![[0.0_f64; 3]; d_theta];
        let mut part = vec![[0.0_f32; 3]; d_theta];
        for block in near.chunks(BLOCK) {
            for &(place, distance) in block {
                let place = place as usize;
                let weight_of = |kernel: &Kernel| kernel.of(distance - least) * self.weight[place];
                let for_mechanism = f64::from(weight_of(&kernels[0]));
                totals[0] += for_mechanism;
                squares += for_mechanism * for_mechanism;
                mechanism[usize::from(self.mechanism[place])] += for_mechanism;
                let weight = weight_of(&kernels[1]);
                totals[1] += f64::from(weight);
                // Where mechanisms reach farther than parameters, most simulations are here for the former.
                if weight == 0.0 {
                    continue;
                }
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
        mechanism.iter_mut().for_each(|mass| *mass /= totals[0]);
        let marginal = |&[present, first, second]: &[f64; 3]| {
            let mean = first / present;
            let sd = (second / present - mean * mean).max(0.0).sqrt();
            Marginal { present: present / totals[1], mean, sd }
        };
        Posterior {
            mechanism,
            theta: sums.iter().map(marginal).collect(),
            effective_simulations: totals[0] * totals[0] / squares,
            least,
        }
    }

    /// The marginal posterior of each parameter: probabilities of [`BINS`] equal parts of its range, given that it is present.
    pub fn marginals(&self, query: &[i16], bandwidth: Bandwidth) -> Vec<[f64; BINS]> {
        let kernel = Kernel::new(bandwidth.theta);
        let (near, least) = self.within(query, kernel.reach, None);
        let d_theta = self.ranges.len();
        let mut marginals = vec![[0.0; BINS]; d_theta];
        for (place, distance) in near {
            let weight = f64::from(kernel.of(distance - least) * self.weight[place as usize]);
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

    /// The half-lives that say most about held-out simulations.
    ///
    /// The mechanism's score is the mean log probability of the true one; that of the parameters is minus the mean squared error of the
    /// posterior mean of each, in units of its variance over the held-out simulations. Both are proper for what they judge. Half-lives are
    /// tried in octaves from the median squared distance to the nearest simulation on, until one gains less than a ten-thousandth of the score; then the
    /// half octaves around the best. With one mechanism, or without parameters, there is one half-life for both.
    pub fn choose_bandwidth(&self, held_out: &Embedded) -> Bandwidth {
        let mut least: Vec<u32> = (0..held_out.len())
            .into_par_iter()
            .map(|at| self.nearest(held_out.row(at), 1).first().map_or(1, |nearest| nearest.1))
            .collect();
        least.sort_unstable();
        let start = f64::from(least[least.len() / 2].max(1));
        let by_mechanism = || best_half_life(start, |h| self.mechanism_score(held_out, h));
        let by_theta = || best_half_life(start, |h| self.theta_score(held_out, h));
        let [mechanism, theta] = match (self.num_mechanisms, self.ranges.len()) {
            (..2, _) => [by_theta(); 2],
            (_, 0) => [by_mechanism(); 2],
            _ => [by_mechanism(), by_theta()],
        };
        Bandwidth { mechanism, theta }
    }

    /// Mean log probability of the true mechanism.
    fn mechanism_score(&self, held_out: &Embedded, half_life: f64) -> f64 {
        let bandwidth = Bandwidth { mechanism: half_life, theta: LEAST_HALF_LIFE };
        let score = |at: usize| {
            let posterior = self.posterior(held_out.row(at), bandwidth, None);
            let same = posterior.mechanism[usize::from(held_out.mechanism[at])];
            same.max(LEAST_PROBABILITY).ln()
        };
        mean_of(held_out.len(), score)
    }

    /// Minus the mean squared error of the posterior means, in variances of the parameters.
    fn theta_score(&self, held_out: &Embedded, half_life: f64) -> f64 {
        let d_theta = self.ranges.len();
        let theta: Vec<f64> = held_out
            .theta
            .iter()
            .zip(self.ranges.iter().cycle())
            .map(|(value, range)| f64::from(share_of_range(*value, *range)))
            .collect();
        let variances: Vec<f64> =
            (0..d_theta).map(|at| variance(theta.iter().skip(at).step_by(d_theta))).collect();
        let bandwidth = Bandwidth { mechanism: LEAST_HALF_LIFE, theta: half_life };
        let score = |at: usize| {
            let posterior = self.posterior(held_out.row(at), bandwidth, None);
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
            -error / terms.max(1.0)
        };
        mean_of(held_out.len(), score)
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

/// The half-life of the best score: octaves from `start` on while they gain, then the half octaves around the best.
fn best_half_life(start: f64, score: impl Fn(f64) -> f64) -> f64 {
    let score = |half_life: f64| (score(half_life), half_life);
    let mut best = score(start);
    for factor in [2.0, 0.5] {
        loop {
            let half_life = best.1 * factor;
            // Few simulations in many dimensions may start beyond the largest: from there the way is down.
            let too_far = if factor > 1.0 {
                half_life > LARGEST_HALF_LIFE
            } else {
                half_life < LEAST_HALF_LIFE
            };
            if too_far {
                break;
            }
            let next = score(half_life);
            if next.0 <= best.0 + LEAST_GAIN * best.0.abs() {
                break;
            }
            best = next;
        }
    }
    let around = [0.5_f64.sqrt(), 2.0_f64.sqrt()].map(|factor| score(best.1 * factor));
    around.into_iter().fold(best, |best, next| if next.0 > best.0 { next } else { best }).1
}

fn mean_of(count: usize, value: impl Fn(usize) -> f64 + Send + Sync) -> f64 {
    let values: Vec<f64> = (0..count).into_par_iter().map(value).collect();
    values.iter().sum::<f64>() / count as f64
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

/// The kernel of a squared distance in excess of the least, down to `2^-18`.
struct Kernel {
    half_life: f64,
    /// Excesses from here on have none.
    reach: u32,
    /// Of the smallest excesses: most that are asked for.
    table: Vec<f32>,
}

impl Kernel {
    fn new(half_life: f64) -> Kernel {
        /// A table for a wide kernel would cost more than it saves.
        const MOST_ENTRIES: u32 = 4_096;
        let reach = (HALVINGS * half_life).ceil().max(1.0) as u32;
        let mut kernel = Kernel { half_life, reach, table: Vec::new() };
        kernel.table = (0..reach.min(MOST_ENTRIES)).map(|excess| kernel.computed(excess)).collect();
        kernel
    }

    fn of(&self, excess: u32) -> f32 {
        match self.table.get(excess as usize) {
            Some(value) => *value,
            None if excess < self.reach => self.computed(excess),
            None => 0.0,
        }
    }

    fn computed(&self, excess: u32) -> f32 {
        libm::exp2(-f64::from(excess) / self.half_life) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulations on a line: theta is the place and noise of `spread` steps, and so is the mechanism's chance where `told_apart`.
    fn corpus(n: u64, salt: u64, spread: f32, told_apart: bool) -> Embedded {
        let random = |at: u64, of: u64| {
            // Two rounds of SplitMix64's finalizer (Steele, Lea and Flood 2014).
            let mut z = (at * 3 + of + salt * 1_000_003).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            for _ in 0..2 {
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            }
            (z >> 40) as f32 / (1_u64 << 24) as f32
        };
        let place = |at: u64| (200.0 * random(at, 0)) as i16 - 100;
        let share = |at: u64| if told_apart { (f32::from(place(at)) + 100.0) / 200.0 } else { 0.5 };
        Embedded {
            d: 4,
            embedding: (0..n).flat_map(|at| [place(at), 0, 0, 0]).collect(),
            mechanism: (0..n).map(|at| u16::from(random(at, 1) < share(at))).collect(),
            theta: (0..n).map(|at| f32::from(place(at)) + spread * (random(at, 2) - 0.5)).collect(),
            weight: Vec::new(),
            index: (0..n).collect(),
        }
    }

    #[test]
    fn the_posterior_is_the_sum_over_all_simulations() {
        let corpus = corpus(3_000, 1, 40.0, true);
        let exact = Exact::new(&corpus, 2, &[(-150.0, 150.0)]);
        let bandwidth = Bandwidth { mechanism: 30.0, theta: 7.0 };
        for (query, skip) in [(-90, None), (3, Some(5)), (70, None)] {
            let found = exact.posterior(&[query, 0, 0, 0], bandwidth, skip);
            let distance = |at: usize| i64::from(corpus.row(at)[0] - query).pow(2);
            let rows = || (0..corpus.len()).filter(|at| Some(*at) != skip);
            let least = rows().map(distance).min().unwrap();
            let kernel = |at: usize, half_life: f64| {
                let halvings = (distance(at) - least) as f64 / half_life;
                if halvings < HALVINGS { (-halvings).exp2() } else { 0.0 }
            };
            let sum = |of: &dyn Fn(usize) -> f64| rows().map(of).sum::<f64>();
            let total = sum(&|at| kernel(at, 30.0));
            let second = sum(&|at| kernel(at, 30.0) * f64::from(corpus.mechanism[at]));
            assert!((found.mechanism[1] - second / total).abs() < 1e-4, "{found:?}");
            let value = |at: usize| (f64::from(corpus.theta[at]) + 150.0) / 300.0;
            let mean = sum(&|at| kernel(at, 7.0) * value(at)) / sum(&|at| kernel(at, 7.0));
            assert!((found.theta[0].mean - mean).abs() < 1e-4, "{found:?} {mean}");
            assert_eq!(i64::from(found.least), least);
        }
    }

    #[test]
    fn each_answer_has_the_bandwidth_that_serves_it() {
        // A place says much of theta and little of the mechanism, so that shares want a wider kernel than means.
        let (whole, held_out) = (corpus(20_000, 1, 2.0, true), corpus(2_000, 2, 2.0, true));
        let ranges = [(-101.0, 101.0)];
        let chosen = Exact::new(&whole, 2, &ranges).choose_bandwidth(&held_out);
        assert!(chosen.mechanism > 8.0 * chosen.theta, "{chosen:?}");
        // One mechanism has the kernel of the parameters.
        let one = |corpus: Embedded| Embedded { mechanism: vec![0; corpus.len()], ..corpus };
        let (whole, held_out) = (one(whole), one(held_out));
        let chosen = Exact::new(&whole, 1, &ranges).choose_bandwidth(&held_out);
        assert_eq!(chosen.mechanism, chosen.theta);
    }

    #[test]
    fn the_search_for_a_bandwidth_goes_down_from_wherever_it_starts() {
        let best_at = |best: f64| move |half_life: f64| -(half_life / best).ln().abs() - 1.0;
        for (start, best) in [(4e6, 100.0), (1.0, 3_000.0), (50.0, 50.0)] {
            let found = best_half_life(start, best_at(best));
            assert!((0.7..1.5).contains(&(found / best)), "{start} {best} {found}");
        }
        // Small errors are told apart as large ones are: the score of a parameter that is known to a thousandth.
        let found = best_half_life(1.0, |half_life| 1e-6 * best_at(200.0)(half_life));
        assert!((0.7..1.5).contains(&(found / 200.0)), "{found}");
    }

    #[test]
    fn where_nothing_can_be_told_apart_the_search_for_a_bandwidth_ends() {
        let (whole, held_out) = (corpus(2_000, 1, 2.0, false), corpus(300, 2, 2.0, false));
        let chosen = Exact::new(&whole, 2, &[(-101.0, 101.0)]).choose_bandwidth(&held_out);
        assert!(chosen.mechanism <= 2.0 * LARGEST_HALF_LIFE, "{chosen:?}");
    }
}
