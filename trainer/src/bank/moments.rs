//! Mean and spread of each parameter around each prototype, fitted so that the bank's parameter posterior agrees with the exact one.
//!
//! With the mixture's responsibilities `r_j`, the bank answers `E[theta] = sum_j r_j mean_j`, over the prototypes' mechanisms that have the
//! parameter, and likewise for the mean square: both are linear in what is fitted. Ridge regression on the exact posteriors,
//! towards the moments of the prototype's cell, by conjugate gradients on the normal equations.

use rayon::prelude::*;

use super::exact::Posterior;
use super::mixture::{Mixture, Neighborhoods};

/// Squared responsibility that the pull towards the cell counts as.
const RIDGE: f32 = 0.3;
/// Iterations of conjugate gradients; the residual has settled long before.
const ITERATIONS: usize = 40;
/// Responsibilities below are left out.
const LEAST: f32 = 1e-4;
/// Parameters less present than this are not fitted to.
const LEAST_PRESENT: f64 = 0.02;

/// Moments of one parameter, one entry a prototype, in units of its range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moments {
    pub mean: Vec<f32>,
    pub sd: Vec<f32>,
}

/// Rows of a sparse matrix.
struct Sparse {
    rows: Vec<Vec<(u32, f32)>>,
    columns: usize,
}

impl Sparse {
    fn times(&self, x: &[f32]) -> Vec<f32> {
        let row = |row: &Vec<(u32, f32)>| row.iter().map(|(j, a)| a * x[*j as usize]).sum();
        self.rows.iter().map(row).collect()
    }

    fn transposed_times(&self, y: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.columns];
        for (row, y) in self.rows.iter().zip(y) {
            for (j, a) in row {
                out[*j as usize] += a * y;
            }
        }
        out
    }
}

/// Fits the moments of every parameter.
///
/// `present` holds, for each parameter, the share of each prototype whose mechanisms have it; `cells` the moments of its cell.
pub(super) fn fit(
    mixture: &Mixture,
    observations: &Neighborhoods,
    exact: &[Posterior],
    present: &[Vec<f32>],
    cells: &[Moments],
) -> Vec<Moments> {
    let kernels = mixture.kernels();
    let responsibilities: Vec<Vec<(u32, f32)>> = (0..observations.len())
        .into_par_iter()
        .map_init(Vec::new, |weights, row| {
            let near = observations.of(row);
            kernels.responsibilities(near, weights);
            let pairs = near.iter().zip(weights.iter()).filter(|(_, weight)| **weight > LEAST);
            pairs.map(|((prototype, _), weight)| (*prototype, *weight)).collect()
        })
        .collect();
    let parameter = |(at, cell): (usize, &Moments)| {
        let present = &present[at];
        let mut matrix = Sparse { rows: Vec::new(), columns: cell.mean.len() };
        let (mut means, mut squares) = (Vec::new(), Vec::new());
        for (row, posterior) in responsibilities.iter().zip(exact) {
            let marginal = posterior.theta[at];
            let shares = row.iter().map(|(j, r)| (*j, r * present[*j as usize]));
            let total: f32 = shares.clone().map(|(_, share)| share).sum();
            if marginal.present < LEAST_PRESENT || total < LEAST {
                continue;
            }
            // Weighted by presence: a parameter that is hardly there hardly matters.
            let weight = marginal.present.sqrt() as f32;
            matrix.rows.push(shares.map(|(j, share)| (j, weight * share / total)).collect());
            means.push(weight * marginal.mean as f32);
            squares.push(weight * (marginal.sd.powi(2) + marginal.mean.powi(2)) as f32);
        }
        let cell_square: Vec<f32> =
            cell.mean.iter().zip(&cell.sd).map(|(mean, sd)| mean * mean + sd * sd).collect();
        let mean: Vec<f32> =
            ridge(&matrix, &means, &cell.mean).iter().map(|mean| mean.clamp(0.0, 1.0)).collect();
        let square = ridge(&matrix, &squares, &cell_square);
        let sd = square.iter().zip(&mean).map(|(q, mean)| (q - mean * mean).max(0.0).sqrt());
        Moments { sd: sd.map(|sd| sd.min(0.5)).collect(), mean }
    };
    cells.par_iter().enumerate().map(parameter).collect()
}

/// Minimizes `|A x - y|^2 + RIDGE |x - start|^2`.
fn ridge(a: &Sparse, y: &[f32], start: &[f32]) -> Vec<f32> {
    let mut x = start.to_vec();
    let residual: Vec<f32> = y.iter().zip(a.times(&x)).map(|(y, fit)| y - fit).collect();
    let mut r = a.transposed_times(&residual);
    let mut direction = r.clone();
    let mut norm = dot(&r, &r);
    let enough = norm * 1e-10;
    for _ in 0..ITERATIONS {
        if norm <= enough {
            break;
        }
        let mut image = a.transposed_times(&a.times(&direction));
        image.iter_mut().zip(&direction).for_each(|(image, d)| *image += RIDGE * d);
        let step = (norm / dot(&direction, &image)) as f32;
        x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
        r.iter_mut().zip(&image).for_each(|(r, image)| *r -= step * image);
        let next = dot(&r, &r);
        let share = (next / norm) as f32;
        direction.iter_mut().zip(&r).for_each(|(d, r)| *d = r + share * *d);
        norm = next;
    }
    x
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ridge_of_hand_values() {
        // Two rows: x0 = 1 seen once, (x0 + x1) / 2 = 1 seen once; towards 0. Normal equations:
        // [1.25 + .3, .25; .25, .25 + .3] x = [1.5, .5], determinant .79.
        let a = Sparse { rows: vec![vec![(0, 1.0)], vec![(0, 0.5), (1, 0.5)]], columns: 2 };
        let found = ridge(&a, &[1.0, 1.0], &[0.0, 0.0]);
        let expected = [(1.5 * 0.55 - 0.5 * 0.25) / 0.79, (1.55 * 0.5 - 0.25 * 1.5) / 0.79];
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-5), "{found:?}");
    }
}
