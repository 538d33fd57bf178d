//! The log-likelihood ratio of an observation from its exact scores.
//!
//! `log r(x, theta) = phi(theta) - log integral p(theta) exp(phi(theta))`, where `phi` is any function with the score as its
//! gradient: the scores say `log p(x | theta)` up to a constant, and `r` integrates to one under the prior. Scores are taken at a grid
//! of Gauss-Legendre nodes over the uniform prior, the same for every x, so that each theta is prepared once. `phi` is the path
//! integral of their interpolation, a polynomial along each axis (Trefethen 2019, *Approximation Theory and Approximation Practice*,
//! chapter 19); it converges geometrically in the number of nodes, since the likelihood is analytic over the prior.

use super::surface::SUPPORT;

/// Nodes along each of two parameters.
pub(super) const NODES: usize = 14;

/// The nodes, and how to integrate and interpolate between them.
pub(super) struct Integral {
    /// On the network's scale.
    pub nodes: [f64; NODES],
    /// Shares of the prior; they sum to one.
    weights: [f64; NODES],
    /// `[to][node]`: the integral of each node's Lagrange polynomial from the middle of the prior to a node.
    paths: [[f64; NODES]; NODES],
}

impl Integral {
    pub fn new() -> Integral {
        let mut nodes = [0.0; NODES];
        let mut weights = [0.0; NODES];
        for (at, (node, weight)) in nodes.iter_mut().zip(&mut weights).enumerate() {
            let (root, slope) = legendre_root(at);
            *node = 0.5 * SUPPORT * root;
            *weight = 1.0 / ((1.0 - root * root) * slope * slope);
        }
        // The rule itself integrates a Lagrange polynomial exactly over any interval.
        let mut paths = [[0.0; NODES]; NODES];
        for (path, &end) in paths.iter_mut().zip(&nodes) {
            for (&node, &weight) in nodes.iter().zip(&weights) {
                let place = 0.5 * end * (1.0 + node / (0.5 * SUPPORT));
                let values = lagrange(&nodes, place);
                path.iter_mut().zip(values).for_each(|(sum, value)| *sum += end * weight * value);
            }
        }
        Integral { nodes, weights, paths }
    }

    /// `log r` at the nodes, given the scores there.
    ///
    /// # Shapes
    /// `score`: `[NODES, NODES, 2]`, the first parameter being that of the rows; out: `[NODES, NODES]`.
    pub fn log_ratio(&self, score: &[f32]) -> Vec<f64> {
        let slope = |row: usize, column: usize, of: usize| {
            f64::from(score[(row * NODES + column) * 2 + of])
        };
        // Down the middle, where no node need lie, then along each row.
        let middle = lagrange(&self.nodes, 0.0);
        let down: Vec<f64> = (0..NODES)
            .map(|row| (0..NODES).map(|column| middle[column] * slope(row, column, 0)).sum())
            .collect();
        let mut phi = Vec::with_capacity(NODES * NODES);
        for row in 0..NODES {
            let start: f64 = self.paths[row].iter().zip(&down).map(|(w, s)| w * s).sum();
            for path in &self.paths {
                let along = (0..NODES).map(|column| path[column] * slope(row, column, 1));
                phi.push(start + along.sum::<f64>());
            }
        }
        let largest = phi.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let share = |at: usize| self.weights[at / NODES] * self.weights[at % NODES];
        let evidence: f64 =
            phi.iter().enumerate().map(|(at, p)| share(at) * libm::exp(p - largest)).sum();
        let constant = largest + libm::log(evidence);
        phi.iter_mut().for_each(|p| *p -= constant);
        phi
    }

    /// The values of all nodes' Lagrange polynomials at one theta: `([NODES], [NODES])`.
    pub fn basis(&self, theta: &[f32]) -> [[f64; NODES]; 2] {
        [0, 1].map(|axis| lagrange(&self.nodes, f64::from(theta[axis])))
    }
}

/// A function given at the nodes, at the theta of this basis.
pub(super) fn interpolated(values: &[f64], basis: &[[f64; NODES]; 2]) -> f64 {
    let rows = values.chunks_exact(NODES).zip(&basis[0]);
    rows.map(|(row, weight)| {
        weight * row.iter().zip(&basis[1]).map(|(value, weight)| value * weight).sum::<f64>()
    })
    .sum()
}

/// A root of the Legendre polynomial of degree [`NODES`], and the polynomial's slope there, by Newton's method.
fn legendre_root(at: usize) -> (f64, f64) {
    let n = NODES as f64;
    let mut root = -libm::cos(std::f64::consts::PI * (at as f64 + 0.75) / (n + 0.5));
    let mut slope = 0.0;
    for _ in 0..20 {
        let (mut before, mut value) = (1.0, root);
        for degree in 2..=NODES {
            let k = degree as f64;
            (before, value) = (value, ((2.0 * k - 1.0) * root * value - (k - 1.0) * before) / k);
        }
        slope = n * (before - root * value) / (1.0 - root * root);
        root -= value / slope;
    }
    (root, slope)
}

/// The value at `place` of each node's polynomial, one there and zero at the others.
fn lagrange(nodes: &[f64; NODES], place: f64) -> [f64; NODES] {
    let mut values = [1.0; NODES];
    for (at, value) in values.iter_mut().enumerate() {
        for (other, node) in nodes.iter().enumerate() {
            if other != at {
                *value *= (place - node) / (nodes[at] - node);
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `phi = a^2 b + 3 sin b + e^-a`, as far as a constant.
    #[test]
    fn a_potential_is_found_from_its_gradient() {
        let integral = Integral::new();
        assert!((integral.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let phi = |a: f64, b: f64| a * a * b + 3.0 * libm::sin(b) + libm::exp(-a);
        let nodes = integral.nodes;
        let score = nodes.iter().flat_map(|&a| {
            nodes.iter().flat_map(move |&b| {
                [2.0 * a * b - libm::exp(-a), a * a + 3.0 * libm::cos(b)].map(|s| s as f32)
            })
        });
        let found = integral.log_ratio(&score.collect::<Vec<f32>>());
        let at = |a: f32, b: f32| interpolated(&found, &integral.basis(&[a, b]));
        let origin = at(0.0, 0.0) - phi(0.0, 0.0);
        for (a, b) in [(1.7, -1.7), (-1.2, 0.4), (0.3, 1.6)] {
            let error = at(a, b) - phi(f64::from(a), f64::from(b)) - origin;
            assert!(error.abs() < 1e-5, "{error} at {a}, {b}");
        }
        // The mean of r under the prior, by a plain sum.
        let cells = 1_000;
        let place = |at: usize| SUPPORT * ((at as f64 + 0.5) / f64::from(cells) - 0.5);
        let count = cells as usize;
        let sum: f64 = (0..count * count)
            .map(|c| libm::exp(phi(place(c / count), place(c % count)) + origin))
            .sum();
        assert!((sum / (count * count) as f64 - 1.0).abs() < 1e-3, "{sum}");
    }
}
