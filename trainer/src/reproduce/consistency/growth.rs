//! Logistic, Gompertz and Allee growth: the posterior by dense quadrature.

use std::ops::Range;

use super::world::{CELLS, World, middle};
use crate::simulator::Generator;

/// A population of relative size `f` that starts at 0.2 and grows at the rate theta towards a capacity `K`, seen ten times:
/// `x_j = K f(theta t_j) + 0.1 z_j`.
///
/// ```text
/// logistic  df/ds = f (1 - f)
/// Gompertz  df/ds = -f ln f
/// Allee     df/ds = f (1 - f) (f - 0.1) / 0.9      (strong Allee effect, threshold 0.1)
/// ```
///
/// theta ~ U(0.2, 1), K ~ U(0.5, 1.5). Nothing shorter than x is sufficient.
pub(super) struct Growth {
    /// `f` of each mechanism on a grid of [`STEP`].
    curves: [Vec<f64>; 3],
    /// `f(theta t_j)` of each mechanism and cell.
    seen: [Vec<[f64; N]>; 3],
}

const N: usize = 10;
const INTERVAL: f64 = 1.2;
const START: f64 = 0.2;
const THRESHOLD: f64 = 0.1;
const NOISE_SD: f64 = 0.1;
const THETA: Range<f64> = 0.2..1.0;
const CAPACITY: Range<f64> = 0.5..1.5;
/// Points of the quadrature over the capacity.
const CAPACITIES: usize = 128;
const STEP: f64 = 0.01;

const RATES: [fn(f64) -> f64; 3] = [
    |f| f * (1.0 - f),
    |f| -f * libm::log(f),
    |f| f * (1.0 - f) * (f - THRESHOLD) / (1.0 - THRESHOLD),
];

impl Growth {
    /// Integrates the three curves once, by the classical method of Runge and Kutta.
    pub fn new() -> Growth {
        let points = (THETA.end * INTERVAL * N as f64 / STEP) as usize + 2;
        let curves = RATES.map(|rate| {
            let mut f = START;
            let mut next = || {
                let value = f;
                let k1 = rate(f);
                let k2 = rate(f + STEP / 2.0 * k1);
                let k3 = rate(f + STEP / 2.0 * k2);
                let k4 = rate(f + STEP * k3);
                f += STEP / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
                value
            };
            (0..points).map(|_| next()).collect::<Vec<f64>>()
        });
        let seen = [0, 1, 2].map(|mechanism: usize| {
            (0..CELLS).map(|cell| sizes(&curves[mechanism], middle(&THETA, cell))).collect()
        });
        Growth { curves, seen }
    }
}

/// `f(theta t_j)`.
fn sizes(curve: &[f64], theta: f64) -> [f64; N] {
    std::array::from_fn(|j| {
        let position = theta * INTERVAL * (j + 1) as f64 / STEP;
        let (before, part) = (position as usize, position.fract());
        curve[before] * (1.0 - part) + curve[before + 1] * part
    })
}

fn uniform(range: Range<f64>, generator: &mut Generator) -> f64 {
    range.start + (range.end - range.start) * generator.uniform()
}

impl World for Growth {
    fn name(&self) -> &'static str {
        "growth"
    }

    fn mechanisms(&self) -> usize {
        RATES.len()
    }

    fn d_x(&self) -> usize {
        N
    }

    fn theta(&self) -> Range<f64> {
        THETA
    }

    fn draw(&self, mechanism: usize, generator: &mut Generator, x: &mut [f64]) -> f64 {
        let theta = uniform(THETA, generator);
        let capacity = uniform(CAPACITY, generator);
        generator.normals(x);
        for (x, f) in x.iter_mut().zip(sizes(&self.curves[mechanism], theta)) {
            *x = capacity * f + NOISE_SD * *x;
        }
        theta
    }

    fn sufficient(&self, _: &[f64]) -> Option<Vec<f64>> {
        None
    }

    fn evidence(&self, mechanism: usize, x: &[f64], log_density: &mut [f64]) -> f64 {
        let xx: f64 = x.iter().map(|x| x * x).sum();
        for (log, f) in log_density.iter_mut().zip(&self.seen[mechanism]) {
            let xf: f64 = x.iter().zip(f).map(|(x, f)| x * f).sum();
            let ff: f64 = f.iter().map(|f| f * f).sum();
            let log_likelihood = |at: usize| {
                let span = CAPACITY.end - CAPACITY.start;
                let k = CAPACITY.start + span * (at as f64 + 0.5) / CAPACITIES as f64;
                -(xx - 2.0 * k * xf + k * k * ff) / (2.0 * NOISE_SD * NOISE_SD)
            };
            *log = log_mean((0..CAPACITIES).map(log_likelihood));
        }
        log_mean(log_density.iter().copied())
    }
}

/// Logarithm of the mean of exponentials.
fn log_mean(logs: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let (n, largest) = (logs.len() as f64, logs.clone().fold(f64::NEG_INFINITY, f64::max));
    largest + libm::log(logs.map(|log| libm::exp(log - largest)).sum::<f64>() / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logistic growth and Gompertz growth have closed forms.
    #[test]
    fn curves_solve_their_equations() {
        let growth = Growth::new();
        for at in (0..growth.curves[0].len()).step_by(100) {
            let s = at as f64 * STEP;
            let logistic = START / (START + (1.0 - START) * libm::exp(-s));
            let gompertz = libm::exp(libm::log(START) * libm::exp(-s));
            assert!((growth.curves[0][at] - logistic).abs() < 1e-9, "{s}");
            assert!((growth.curves[1][at] - gompertz).abs() < 1e-9, "{s}");
        }
        let slope = (growth.curves[2][301] - growth.curves[2][299]) / (2.0 * STEP);
        assert!((slope - RATES[2](growth.curves[2][300])).abs() < 1e-5);
    }

    #[test]
    fn posterior_is_exact() {
        super::super::world::tests::posterior_is_exact(&Growth::new());
    }
}
