//! Reaches and shares of the prototypes, fitted so that the bank's posterior agrees with the exact one.
//!
//! The bank answers `p(m | z) = sum_j w_j(z) s_jm` with `w_j` proportional to `mass_j 2^(-|z - z_j|^2 / half_life_j)`: each prototype has the
//! mass of the corpus that it stands for, a reach of its own (a variable kernel: Breiman, Meisel and Purcell 1977), and instead of one
//! mechanism the shares `s_j` of all of them. Reaches and shares minimize the mean cross-entropy of the exact posteriors of many
//! simulations, each left out of its own, plus a pull towards the shares of the prototype's cell that counts as little as a third of a
//! simulation: the cross-entropy is convex in the shares, and the pull decides where no simulation does.

mod descent;
mod places;

use rayon::prelude::*;

use crate::head::softmax;

pub(super) use places::Places;

/// Prototypes whose kernels an observation is fitted with: beyond the nearest these, kernels hardly count.
const NEAREST: usize = 128;
/// Observations in a step.
const BATCH: usize = 2_048;
/// Smallest share of a mechanism.
const LEAST_SHARE: f32 = 1e-3;

/// Observations beside the prototypes that are near them.
#[derive(Debug, Clone)]
pub(super) struct Neighborhoods {
    /// Prototypes of each observation.
    each: usize,
    /// `[n, each]`: prototype and squared distance.
    near: Vec<(u32, f32)>,
}

impl Neighborhoods {
    /// Of observations `[n, d]` among prototypes `[count, d]`.
    pub fn new(observations: &[i16], prototypes: &[i16], d: usize) -> Neighborhoods {
        let count = prototypes.len() / d;
        let each = count.min(NEAREST);
        let near = observations.par_chunks_exact(d).flat_map_iter(|observation| {
            let distance = |p: &[i16]| super::cells::squared_distance(observation, p);
            let mut all: Vec<(u32, u32)> =
                prototypes.chunks_exact(d).map(distance).zip(0..).collect();
            if each < count {
                all.select_nth_unstable(each);
                all.truncate(each);
            }
            all.into_iter().map(|(distance, prototype)| (prototype, distance as f32))
        });
        Neighborhoods { each, near: near.collect() }
    }

    /// Number of observations.
    pub fn len(&self) -> usize {
        self.near.len() / self.each
    }

    /// Prototypes near one observation, and their squared distances.
    pub fn of(&self, observation: usize) -> &[(u32, f32)] {
        &self.near[observation * self.each..][..self.each]
    }
}

/// A mixture of kernels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mixture {
    /// Logarithm of each prototype's mass.
    pub log_mass: Vec<f32>,
    /// Logarithm of each prototype's `ln 2 / half_life`.
    pub log_rate: Vec<f32>,
    /// Logarithms of the shares, `[count, mechanisms]`, up to a constant a row.
    pub log_share: Vec<f32>,
    /// Shares of the simulations in each prototype's cell.
    pub cell_share: Vec<f32>,
    /// Number of mechanisms.
    pub mechanisms: usize,
}

/// Logarithm of the mass and `ln 2 / half_life` of each prototype.
#[derive(Debug, Clone)]
pub(super) struct Kernels(Vec<(f32, f32)>);

impl Kernels {
    /// Responsibility of each near prototype for an observation; sums to one.
    pub fn responsibilities(&self, near: &[(u32, f32)], out: &mut Vec<f32>) {
        out.clear();
        out.extend(near.iter().map(|&(prototype, distance)| {
            let (log_mass, rate) = self.0[prototype as usize];
            log_mass - rate * distance
        }));
        let largest = out.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        out.iter_mut().for_each(|log| *log = exp(*log - largest));
        let total: f32 = out.iter().sum();
        out.iter_mut().for_each(|weight| *weight /= total);
    }
}

/// `e^x` for `x <= 0`, within 1e-5 of itself; 0 below -87. Unlike the library's, a loop of it runs in vector registers.
fn exp(x: f32) -> f32 {
    /// `1.5 * 2^23`: adding it rounds to a whole number, which the low bits then hold.
    const ROUND: f32 = 12_582_912.0;
    let halvings = x.max(-87.0) * std::f32::consts::LOG2_E;
    let rounded = halvings + ROUND;
    let whole = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    let f = (halvings - (rounded - ROUND)) * std::f32::consts::LN_2;
    let fraction =
        1.0 + f * (1.0 + f * (0.5 + f * (1.0 / 6.0 + f * (1.0 / 24.0 + f * (1.0 / 120.0)))));
    let power = f32::from_bits(whole.wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { fraction * power }
}

impl Mixture {
    /// All reaches alike, shares as in the cells.
    pub fn new(masses: &[f64], cell_share: Vec<f32>, half_life: f64) -> Mixture {
        let mechanisms = cell_share.len() / masses.len();
        Mixture {
            log_mass: masses.iter().map(|mass| mass.max(1e-12).ln() as f32).collect(),
            log_rate: vec![(std::f64::consts::LN_2 / half_life).ln() as f32; masses.len()],
            log_share: cell_share.iter().map(|share| share.max(LEAST_SHARE).ln()).collect(),
            cell_share,
            mechanisms,
        }
    }

    /// Some of the prototypes alone.
    pub fn select(&self, kept: &[usize]) -> Mixture {
        let k = self.mechanisms;
        let of = |values: &[f32], width: usize| {
            kept.iter().flat_map(|at| &values[at * width..][..width]).copied().collect()
        };
        Mixture {
            log_mass: of(&self.log_mass, 1),
            log_rate: of(&self.log_rate, 1),
            log_share: of(&self.log_share, k),
            cell_share: of(&self.cell_share, k),
            mechanisms: k,
        }
    }

    /// Half-life of each prototype.
    pub fn half_lives(&self) -> impl Iterator<Item = f64> {
        self.log_rate.iter().map(|rate| std::f64::consts::LN_2 / f64::from(*rate).exp())
    }

    /// Shares of the mechanisms, `[count, mechanisms]`.
    pub fn shares(&self) -> Vec<f32> {
        self.log_share.chunks_exact(self.mechanisms).flat_map(softmax).collect()
    }

    /// The kernels of all prototypes.
    pub fn kernels(&self) -> Kernels {
        let each = self.log_mass.iter().zip(&self.log_rate);
        Kernels(each.map(|(log_mass, log_rate)| (*log_mass, log_rate.exp())).collect())
    }

    /// Mean divergence (Kullback and Leibler) of the mixture from the exact posteriors `[n, mechanisms]`, over every `step`-th observation.
    pub fn divergence(&self, observations: &Neighborhoods, exact: &[f32], step: usize) -> f64 {
        let (kernels, shares) = (self.kernels(), self.shares());
        let rows: Vec<usize> = (0..observations.len()).step_by(step).collect();
        let each = |weights: &mut Vec<f32>, &row: &usize| {
            kernels.responsibilities(observations.of(row), weights);
            let target = &exact[row * self.mechanisms..][..self.mechanisms];
            let posterior = self.posterior(observations.of(row), weights, &shares);
            let terms = target.iter().zip(posterior).filter(|(t, _)| **t > 0.0);
            terms.map(|(t, p)| f64::from(t * (t / p).ln())).sum::<f64>()
        };
        let all: Vec<f64> = rows.par_iter().map_init(Vec::new, each).collect();
        all.iter().sum::<f64>() / all.len() as f64
    }

    fn posterior(&self, near: &[(u32, f32)], weights: &[f32], shares: &[f32]) -> Vec<f32> {
        let mut posterior = vec![1e-9; self.mechanisms];
        for (&(prototype, _), weight) in near.iter().zip(weights) {
            let shares = &shares[prototype as usize * self.mechanisms..][..self.mechanisms];
            posterior.iter_mut().zip(shares).for_each(|(p, share)| *p += weight * share);
        }
        posterior
    }

    /// Gives every prototype the one half-life, of those in half octaves around `guess`, that agrees best.
    pub fn fit_common_reach(&mut self, observations: &Neighborhoods, exact: &[f32], guess: f64) {
        let step = (observations.len() / BATCH).max(1);
        let rate = |steps: i32| {
            let half_life = guess * libm::exp2(f64::from(steps) / 2.0);
            (std::f64::consts::LN_2 / half_life).ln() as f32
        };
        let best = (-10..=6).map(rate).map(|rate| {
            self.log_rate.fill(rate);
            (self.divergence(observations, exact, step), rate)
        });
        let best = best.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |best| best.1);
        self.log_rate.fill(best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_close() {
        for at in 0..9_000 {
            let x = -(at as f32) / 100.0;
            let expected = if x < -87.0 { 0.0 } else { f64::from(x).exp() };
            let error = (f64::from(exp(x)) - expected).abs();
            assert!(error <= 1e-5 * expected, "{x}: {} {expected}", exp(x));
        }
    }

    /// Three prototypes on a line, 10 apart, and observations between them.
    fn line() -> (Mixture, Neighborhoods) {
        let prototypes: Vec<i16> = (0..3).flat_map(|at| [at * 10, 0, 0, 0]).collect();
        let observations: Vec<i16> = (-5..26).flat_map(|at| [at, 0, 0, 0]).collect();
        let shares = vec![0.9, 0.1, 0.5, 0.5, 0.2, 0.8];
        let mixture = Mixture::new(&[0.5, 0.2, 0.3], shares, 30.0);
        (mixture, Neighborhoods::new(&observations, &prototypes, 4))
    }

    fn posteriors(mixture: &Mixture, observations: &Neighborhoods) -> Vec<f32> {
        let (kernels, shares) = (mixture.kernels(), mixture.shares());
        let mut weights = Vec::new();
        let each = (0..observations.len()).map(|row| {
            kernels.responsibilities(observations.of(row), &mut weights);
            mixture.posterior(observations.of(row), &weights, &shares)
        });
        each.flatten().collect()
    }

    /// The gradient equals finite differences of the divergence.
    #[test]
    fn gradient_equals_differences() {
        let (mixture, observations) = line();
        let exact: Vec<f32> = (0..observations.len())
            .flat_map(|at| [at as f32 / 40.0, 1.0 - at as f32 / 40.0])
            .collect();
        let rows: Vec<usize> = (0..observations.len()).collect();
        let gradient = mixture.gradient(&observations, &exact, &rows, None);
        let by_share: Vec<f32> = mixture
            .log_share
            .chunks_exact(2)
            .zip(gradient.share.chunks_exact(2))
            .flat_map(|(logits, g)| {
                let s = softmax(logits);
                let mean = s[0] * g[0] + s[1] * g[1];
                [s[0] * (g[0] - mean), s[1] * (g[1] - mean)]
            })
            .collect();
        let difference = |change: &dyn Fn(&mut Mixture, f32)| {
            let at = |step: f32| {
                let mut moved = mixture.clone();
                change(&mut moved, step);
                moved.divergence(&observations, &exact, 1)
            };
            ((at(1e-2) - at(-1e-2)) / 2e-2) as f32
        };
        for at in 0..3 {
            let found = difference(&|m, step| m.log_rate[at] += step);
            assert!((found - gradient.log_rate[at]).abs() < 1e-3, "{found} {gradient:?}");
        }
        for at in 0..6 {
            let found = difference(&|m, step| m.log_share[at] += step);
            assert!((found - by_share[at]).abs() < 1e-3, "{found} {by_share:?}");
        }
    }

    /// From other reaches and shares, the fit finds a mixture that answers as the one that gave the posteriors, where there are enough
    /// observations for the pull towards the cells not to matter.
    #[test]
    fn recovers_a_mixture() {
        let (mut truth, mut observations) = line();
        observations.near = observations.near.repeat(32);
        truth.log_rate = [10.0_f32, 40.0, 90.0].map(|h| (std::f32::consts::LN_2 / h).ln()).to_vec();
        let exact = posteriors(&truth, &observations);
        let mut found = Mixture::new(&[0.5, 0.2, 0.3], vec![0.5; 6], 30.0);
        let before = found.divergence(&observations, &exact, 1);
        found.fit(&observations, &exact, false);
        let after = found.divergence(&observations, &exact, 1);
        assert!(after < 1e-3 && after < before / 50.0, "{before} {after}");
    }
}
