//! A study whose posterior is known exactly: rival mechanisms that share one parameter, theta.

use std::ops::Range;

use rayon::prelude::*;

use crate::simulator::Generator;

/// Cells into which a posterior of theta is cut.
pub(super) const CELLS: usize = 512;

/// Rival mechanisms, equally probable a priori, with simulator and exact posterior.
pub(super) trait World: Sync {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// How many mechanisms.
    fn mechanisms(&self) -> usize;

    /// Width of x.
    fn d_x(&self) -> usize;

    /// Range of theta that the cells cut; it holds all of the prior but a tail that no figure shows.
    fn theta(&self) -> Range<f64>;

    /// Draws theta from the prior of a mechanism, then x; returns theta.
    fn draw(&self, mechanism: usize, generator: &mut Generator, x: &mut [f64]) -> f64;

    /// What the exact posterior depends on, where that is less than x; otherwise `None`.
    fn sufficient(&self, x: &[f64]) -> Option<Vec<f64>>;

    /// `log p(x | mechanism)`, up to a term that all mechanisms share.
    ///
    /// Writes `log p(theta | x, mechanism)` at the middle of every cell into `log_density`, up to a constant.
    fn evidence(&self, mechanism: usize, x: &[f64], log_density: &mut [f64]) -> f64;
}

/// What is believed about mechanism and theta; both sum to one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Posterior {
    /// Of each mechanism.
    pub mechanism: Vec<f64>,
    /// Of each cell of theta, over all mechanisms.
    pub cells: Vec<f64>,
}

/// Simulations as flat arrays.
#[derive(Debug, Clone)]
pub(super) struct Simulations {
    /// `[n, d_x]`.
    pub x: Vec<f64>,
    /// `[n]`.
    pub theta: Vec<f64>,
    /// `[n]`.
    pub mechanism: Vec<u16>,
}

/// Middle of a cell.
pub(super) fn middle(range: &Range<f64>, cell: usize) -> f64 {
    range.start + (range.end - range.start) * (cell as f64 + 0.5) / CELLS as f64
}

/// Cell of a value; beyond the range, the outermost.
pub(super) fn cell(range: &Range<f64>, theta: f64) -> usize {
    let position = (theta - range.start) / (range.end - range.start) * CELLS as f64;
    position.clamp(0.0, (CELLS - 1) as f64) as usize
}

/// Simulations of these indices under a seed.
pub(super) fn simulate(world: &dyn World, seed: u64, indices: Range<u64>) -> Simulations {
    let d_x = world.d_x();
    let one = |index: u64| {
        let mut generator = Generator::new(seed, index);
        let mechanism = generator.integer(0, world.mechanisms() as u64 - 1) as usize;
        let mut x = vec![0.0; d_x];
        let theta = world.draw(mechanism, &mut generator, &mut x);
        (x, theta, mechanism as u16)
    };
    let all: Vec<_> = indices.into_par_iter().map(one).collect();
    Simulations {
        x: all.iter().flat_map(|(x, ..)| x.iter().copied()).collect(),
        theta: all.iter().map(|(_, theta, _)| *theta).collect(),
        mechanism: all.iter().map(|(.., mechanism)| *mechanism).collect(),
    }
}

/// The exact posterior.
pub(super) fn exact(world: &dyn World, x: &[f64]) -> Posterior {
    let mut densities = vec![vec![0.0; CELLS]; world.mechanisms()];
    let mut mechanism: Vec<f64> = densities
        .iter_mut()
        .enumerate()
        .map(|(mechanism, density)| world.evidence(mechanism, x, density))
        .collect();
    normalize_logs(&mut mechanism);
    let mut cells = vec![0.0; CELLS];
    for (density, share) in densities.iter_mut().zip(&mechanism) {
        normalize_logs(density);
        cells.iter_mut().zip(density.iter()).for_each(|(sum, p)| *sum += share * p);
    }
    Posterior { mechanism, cells }
}

/// Logarithms to shares of one.
pub(super) fn normalize_logs(logs: &mut [f64]) {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logs.iter_mut().for_each(|log| *log = libm::exp(*log - largest));
    let sum: f64 = logs.iter().sum();
    logs.iter_mut().for_each(|share| *share /= sum);
}

impl Posterior {
    /// Total variation between the two mechanism posteriors, in `[0, 1]`.
    pub fn total_variation(&self, other: &Posterior) -> f64 {
        let both = self.mechanism.iter().zip(&other.mechanism);
        0.5 * both.map(|(a, b)| (a - b).abs()).sum::<f64>()
    }

    /// Wasserstein distance of order one between the two posteriors of theta, in cells.
    pub fn wasserstein(&self, other: &Posterior) -> f64 {
        let (mut ahead, mut distance) = (0.0, 0.0);
        for (a, b) in self.cells.iter().zip(&other.cells) {
            ahead += a - b;
            distance += f64::abs(ahead);
        }
        distance
    }

    /// Posterior mean of theta, in cells.
    pub fn mean_cell(&self) -> f64 {
        self.cells.iter().enumerate().map(|(cell, p)| cell as f64 * p).sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Simulations from the prior must look like draws from their own exact posteriors: mechanisms as often as said, and ranks
    /// of theta uniform (Talts et al. 2018, <https://arxiv.org/abs/1804.06788>).
    pub fn posterior_is_exact(world: &dyn World) {
        let n = 600;
        let simulations = simulate(world, 5, 0..n as u64);
        let mut ranks = Vec::new();
        let mut surprise = vec![0.0; world.mechanisms()];
        let mut variance = vec![0.0; world.mechanisms()];
        let mut noise = Generator::new(6, 0);
        for at in 0..n {
            let posterior = exact(world, &simulations.x[at * world.d_x()..][..world.d_x()]);
            for (mechanism, p) in posterior.mechanism.iter().enumerate() {
                let hit = f64::from(usize::from(simulations.mechanism[at]) == mechanism);
                surprise[mechanism] += hit - p;
                variance[mechanism] += p * (1.0 - p);
            }
            let own = cell(&world.theta(), simulations.theta[at]);
            let below: f64 = posterior.cells[..own].iter().sum();
            ranks.push(below + noise.uniform() * posterior.cells[own]);
        }
        for (surprise, variance) in surprise.iter().zip(&variance) {
            assert!(surprise.abs() < 4.0 * variance.sqrt(), "{surprise} against {variance}");
        }
        ranks.sort_by(f64::total_cmp);
        let gap = ranks.iter().enumerate().map(|(at, u)| (u - (at as f64 + 0.5) / n as f64).abs());
        let largest = gap.fold(0.0, f64::max);
        // Kolmogorov's bound at one in ten thousand.
        assert!(largest < 2.23 / (n as f64).sqrt(), "{largest}");
    }

    #[test]
    fn distances_by_hand() {
        let mut a = Posterior { mechanism: vec![0.5, 0.5], cells: vec![0.0; CELLS] };
        let mut b = Posterior { mechanism: vec![0.9, 0.1], cells: vec![0.0; CELLS] };
        a.cells[3] = 1.0;
        (b.cells[3], b.cells[13]) = (0.5, 0.5);
        assert!((a.total_variation(&b) - 0.4).abs() < 1e-12);
        assert!((a.wasserstein(&b) - 5.0).abs() < 1e-12);
        assert_eq!(b.mean_cell(), 8.0);
    }
}
