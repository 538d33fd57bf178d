//! Conjugate counts: Poisson, negative binomial of size 2, geometric.

use std::ops::Range;

use super::world::{CELLS, World, middle};
use crate::simulator::{GammaFactor, Generator};

/// Ten counts of one mean, theta; the mechanisms differ in how the counts scatter around it.
///
/// Poisson: theta ~ Gamma(shape 4, rate 1/2). Negative binomial of size `r`, success probability `p ~ Beta(a, b)`:
/// `p(x | p) = C(x + r - 1, x) p^r (1 - p)^x`, theta = `r (1 - p) / p`. Both are conjugate; the priors of theta have the mean 8.
///
/// The sum of the counts is sufficient for theta within each mechanism, but says nothing about which mechanism: across them it
/// takes `sum(ln x!)` and `sum(ln (x + 1))` as well (Robert et al. 2011, <https://arxiv.org/abs/1102.4432>).
pub(super) struct Counts;

const N: usize = 10;
const GAMMA: (f64, f64) = (4.0, 0.5);
/// Size, then the prior of `p`.
const NEGATIVE_BINOMIAL: [(f64, f64, f64); 2] = [(2.0, 6.0, 20.0), (1.0, 6.0, 40.0)];

/// Gamma of this shape and rate 1.
fn gamma(shape: f64, generator: &mut Generator) -> f64 {
    shape * GammaFactor::new(1.0 / shape).sample(generator)
}

fn log_factorial(x: f64) -> f64 {
    libm::lgamma(x + 1.0)
}

fn log_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

impl World for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn mechanisms(&self) -> usize {
        1 + NEGATIVE_BINOMIAL.len()
    }

    fn d_x(&self) -> usize {
        N
    }

    fn theta(&self) -> Range<f64> {
        0.0..40.0
    }

    fn draw(&self, mechanism: usize, generator: &mut Generator, x: &mut [f64]) -> f64 {
        let Some((size, a, b)) = mechanism.checked_sub(1).map(|at| NEGATIVE_BINOMIAL[at]) else {
            let theta = gamma(GAMMA.0, generator) / GAMMA.1;
            x.iter_mut().for_each(|x| *x = generator.poisson(theta));
            return theta;
        };
        // (1 - p) / p of a beta variate is a ratio of gamma variates.
        let theta = size * gamma(b, generator) / gamma(a, generator);
        let mut factor = GammaFactor::new(1.0 / size);
        for x in x {
            let mean = theta * factor.sample(generator);
            *x = generator.poisson(mean);
        }
        theta
    }

    fn sufficient(&self, x: &[f64]) -> Option<Vec<f64>> {
        let sum: f64 = x.iter().sum();
        let factorials: f64 = x.iter().map(|x| log_factorial(*x)).sum();
        let logs: f64 = x.iter().map(|x| libm::log1p(*x)).sum();
        // One to one with (sum, factorials, logs), and of tame tails.
        Some(vec![libm::log1p(sum), factorials / (1.0 + sum), logs / N as f64])
    }

    fn evidence(&self, mechanism: usize, x: &[f64], log_density: &mut [f64]) -> f64 {
        let n = N as f64;
        let sum: f64 = x.iter().sum();
        let range = self.theta();
        let Some((size, a, b)) = mechanism.checked_sub(1).map(|at| NEGATIVE_BINOMIAL[at]) else {
            let (shape, rate) = (GAMMA.0 + sum, GAMMA.1 + n);
            for (cell, log) in log_density.iter_mut().enumerate().take(CELLS) {
                let theta = middle(&range, cell);
                *log = (shape - 1.0) * libm::log(theta) - rate * theta;
            }
            let factorials: f64 = x.iter().map(|x| log_factorial(*x)).sum();
            return GAMMA.0 * libm::log(GAMMA.1) - libm::lgamma(GAMMA.0) + libm::lgamma(shape)
                - shape * libm::log(rate)
                - factorials;
        };
        let (a_after, b_after) = (a + n * size, b + sum);
        for (cell, log) in log_density.iter_mut().enumerate().take(CELLS) {
            let odds = middle(&range, cell) / size;
            *log = (b_after - 1.0) * libm::log(odds) - (a_after + b_after) * libm::log1p(odds);
        }
        let choose = |x: &f64| libm::lgamma(x + size) - libm::lgamma(size) - log_factorial(*x);
        x.iter().map(choose).sum::<f64>() + log_beta(a_after, b_after) - log_beta(a, b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prior times likelihood, written down again, integrated over the success probability or the rate.
    #[test]
    fn evidence_is_the_integral() {
        let x = [3.0, 0.0, 7.0, 2.0, 2.0, 11.0, 5.0, 1.0, 4.0, 6.0];
        let steps = 200_000;
        let found: Vec<f64> =
            (0..3).map(|m| libm::exp(Counts.evidence(m, &x, &mut [0.0; CELLS]))).collect();
        let poisson: f64 = (0..steps)
            .map(|at| (f64::from(at) + 0.5) * 60.0 / f64::from(steps))
            .map(|rate| {
                let prior = rate.powi(3) * libm::exp(-rate / 2.0) / (16.0 * 6.0);
                let each =
                    x.iter().map(|x| libm::exp(x * libm::log(rate) - rate) / libm::tgamma(x + 1.0));
                prior * each.product::<f64>()
            })
            .sum();
        assert!((found[0] / (poisson * 60.0 / f64::from(steps)) - 1.0).abs() < 1e-6);
        // Sizes 2 and 1: C(x + 1, x) = x + 1, and 1. 1 / B(6, 20) = 25! / (5! 19!), 1 / B(6, 40) = 45! / (5! 39!).
        for (at, (size, b)) in [(2, 20.0), (1, 40.0)].into_iter().enumerate() {
            let scale = libm::tgamma(6.0 + b) / (120.0 * libm::tgamma(b));
            let integral: f64 = (0..steps)
                .map(|at| (f64::from(at) + 0.5) / f64::from(steps))
                .map(|p| {
                    let prior = scale * p.powi(5) * (1.0 - p).powf(b - 1.0);
                    let each = x.iter().map(|x| {
                        let ways = if size == 2 { x + 1.0 } else { 1.0 };
                        ways * p.powi(size) * (1.0 - p).powf(*x)
                    });
                    prior * each.product::<f64>()
                })
                .sum();
            assert!((found[at + 1] / (integral / f64::from(steps)) - 1.0).abs() < 1e-6, "{size}");
        }
    }

    #[test]
    fn posterior_is_exact() {
        super::super::world::tests::posterior_is_exact(&Counts);
    }
}
