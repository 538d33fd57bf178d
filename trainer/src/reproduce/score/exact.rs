//! The exact likelihood of the test simulations, on a grid over the prior and at their own theta.

use rayon::prelude::*;

use super::problem::Problem;
use super::surface::{GRID, Surfaces};

/// What networks are judged by.
pub(super) struct Exact {
    /// Test simulations in units of the study, `[t, d_x]`.
    pub x: Vec<f32>,
    /// Their theta on the network's scale, `[t, d_theta]`.
    pub theta: Vec<f32>,
    /// Thetas of the grid on the network's scale, `[GRID * GRID, d_theta]`.
    pub grid: Vec<f32>,
    /// `log r` on the grid and at each theta.
    pub surfaces: Surfaces,
    /// The exact score at each theta, on the network's scale: `[t, d_theta]`.
    pub score: Vec<f64>,
    /// Names of the parameters.
    pub names: Vec<String>,
}

impl Exact {
    /// # Panics
    /// When the problem has not two parameters.
    pub fn new(problem: &Problem, count: usize) -> Exact {
        assert_eq!(problem.d_theta(), 2, "the grid has two dimensions");
        let corpus = problem.test(count);
        let place = |at: usize| 3.0_f64.sqrt() * ((2 * at + 1) as f64 / GRID as f64 - 1.0);
        let grid: Vec<[f64; 2]> =
            (0..GRID * GRID).map(|at| [place(at / GRID), place(at % GRID)]).collect();
        let columns: Vec<Vec<f64>> = grid
            .par_iter()
            .map(|scaled| {
                let at = problem.likelihood().at(&problem.theta(scaled));
                (0..count).map(|row| at.log_likelihood(corpus.x_row(row))).collect()
            })
            .collect();
        let mut surfaces = Surfaces { grid: Vec::new(), truth: Vec::new() };
        let mut score = Vec::new();
        for row in 0..count {
            let log_likelihood: Vec<f64> = columns.iter().map(|column| column[row]).collect();
            let evidence = log_mean_exp(&log_likelihood);
            surfaces.grid.extend(log_likelihood.iter().map(|value| value - evidence));
            let theta: Vec<f64> = corpus.theta_row(row).iter().map(|&t| f64::from(t)).collect();
            let at = problem.likelihood().at(&theta);
            surfaces.truth.push(at.log_likelihood(corpus.x_row(row)) - evidence);
            let mut own = vec![0.0; theta.len()];
            at.score(corpus.x_row(row), &mut own);
            problem.scale_score(&theta, &mut own);
            score.extend(own);
        }
        Exact {
            theta: problem.scaled(&corpus.theta),
            x: corpus.x,
            grid: grid.iter().flatten().map(|&u| u as f32).collect(),
            surfaces,
            score,
            names: problem.names.clone(),
        }
    }
}

/// `log mean exp`: the prior is uniform over the cells of the grid.
fn log_mean_exp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = values.iter().map(|value| libm::exp(value - largest)).sum();
    largest + libm::log(sum / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_evidence_is_a_mean() {
        assert!(
            (log_mean_exp(&[-1000.0, -1000.0 + 3.0_f64.ln()]) - (-1000.0 + 2.0_f64.ln())).abs()
                < 1e-12
        );
    }
}
