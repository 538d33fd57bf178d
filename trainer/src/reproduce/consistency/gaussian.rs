//! Gaussian linear under three noise mechanisms: conjugate.

use std::f64::consts::TAU;
use std::ops::Range;

use super::world::{CELLS, World, middle};
use crate::simulator::Generator;

/// `x_j = theta + s z_j`, `z_j ~ N(0, 1)`, theta ~ N(0, 1); the mechanisms differ in `s`.
///
/// With `v = 1 / (1 + n / s^2)` the posterior is `N(v sum(x) / s^2, v)`, and
/// `p(x) = (2 pi s^2)^(-n/2) sqrt(v) exp(v sum(x)^2 / (2 s^4) - sum(x^2) / (2 s^2))`.
pub(super) struct Gaussian;

const NOISE_SD: [f64; 3] = [0.5, 0.7, 1.0];
const N: usize = 8;

impl World for Gaussian {
    fn name(&self) -> &'static str {
        "gaussian"
    }

    fn mechanisms(&self) -> usize {
        NOISE_SD.len()
    }

    fn d_x(&self) -> usize {
        N
    }

    fn theta(&self) -> Range<f64> {
        -4.0..4.0
    }

    fn draw(&self, mechanism: usize, generator: &mut Generator, x: &mut [f64]) -> f64 {
        let mut theta = [0.0];
        generator.normals(&mut theta);
        generator.normals(x);
        x.iter_mut().for_each(|x| *x = theta[0] + NOISE_SD[mechanism] * *x);
        theta[0]
    }

    fn sufficient(&self, x: &[f64]) -> Option<Vec<f64>> {
        let mean = x.iter().sum::<f64>() / N as f64;
        let squares: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
        Some(vec![mean, libm::log(squares)])
    }

    fn evidence(&self, mechanism: usize, x: &[f64], log_density: &mut [f64]) -> f64 {
        let noise_var = NOISE_SD[mechanism].powi(2);
        let variance = 1.0 / (1.0 + N as f64 / noise_var);
        let sum: f64 = x.iter().sum();
        let squares: f64 = x.iter().map(|x| x * x).sum();
        let mean = variance * sum / noise_var;
        for (cell, log) in log_density.iter_mut().enumerate().take(CELLS) {
            *log = -(middle(&self.theta(), cell) - mean).powi(2) / (2.0 * variance);
        }
        0.5 * (libm::log(variance) - N as f64 * libm::log(TAU * noise_var) + mean * mean / variance
            - squares / noise_var)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_the_integral() {
        let x = [0.3, -0.8, 1.4, 0.2, 0.9, 0.1, -0.4, 0.6];
        for (mechanism, sd) in NOISE_SD.iter().enumerate() {
            let density = |x: f64, mean: f64, sd: f64| {
                libm::exp(-(x - mean).powi(2) / (2.0 * sd * sd)) / (TAU.sqrt() * sd)
            };
            let step = 1e-3;
            let integral: f64 = (-6_000..6_000)
                .map(|at| (f64::from(at) + 0.5) * step)
                .map(|theta| {
                    density(theta, 0.0, 1.0)
                        * x.iter().map(|x| density(*x, theta, *sd)).product::<f64>()
                })
                .sum();
            let evidence = Gaussian.evidence(mechanism, &x, &mut [0.0; CELLS]);
            assert!((libm::exp(evidence) / (integral * step) - 1.0).abs() < 1e-6, "{mechanism}");
        }
    }

    #[test]
    fn posterior_is_exact() {
        super::super::world::tests::posterior_is_exact(&Gaussian);
    }
}
