//! A mixture of linear regressions: where the components of a joint posterior start.
//!
//! Each expert answers a Gaussian whose mean is linear in the features; the experts' shares are the same everywhere. They are fitted
//! by expectation maximization (Jordan and Jacobs 1994, <https://doi.org/10.1162/neco.1994.6.2.181>, section 3) to what the
//! regression of all rows leaves, their slopes shrunk to that regression's; of all iterations the one that does best on rows held
//! out from them is kept.

use nalgebra::{DMatrix, SymmetricEigen};

/// Iterations, at most.
const ITERATIONS: usize = 60;
/// Iterations that may bring nothing before the fit ends.
const PATIENCE: usize = 25;
/// Every so many iterations an expert of next to no share takes half of the largest one's.
const SPLIT_EVERY: usize = 10;
/// Next to no share: this part of an equal one.
const NEGLIGIBLE: f64 = 0.2;
/// How far the halves of an expert stand apart, in standard deviations along its longest axis.
const SPLIT: f64 = 1.4;
/// So many rows of unit features say that an expert's slopes are the regression's.
const SLOPE_ROWS: f64 = 2.0;
/// So many rows for each dimension, and one more, say that an expert's covariance is a tenth of the residuals'.
const COVARIANCE_ROWS: f64 = 0.1;
/// One row of so many is held out.
const HELD_OUT: usize = 5;
/// Products in an iteration, at most: fewer rows where there are many features.
const PRODUCTS: usize = 20_000_000;
/// Rows that are taken however many features there are.
const LEAST_ROWS: usize = 1_000;

/// Gaussian residuals around a linear function of the features.
#[derive(Debug, Clone)]
pub(super) struct Expert {
    /// Share.
    pub weight: f64,
    /// What it adds to the regression: an offset, then a slope for each feature; `[d_y, 1 + features]`.
    pub change: DMatrix<f64>,
    /// Of what is left.
    pub covariance: DMatrix<f64>,
}

/// What experts are fitted to.
pub(super) struct Rows {
    /// A 1, the features, the residuals of the regression; `[n, 1 + features + d_y]`.
    pub values: Vec<f64>,
    /// Of each row.
    pub weight: Vec<f64>,
    pub features: usize,
    pub d_y: usize,
}

impl Rows {
    fn width(&self) -> usize {
        1 + self.features + self.d_y
    }

    fn row(&self, at: usize) -> &[f64] {
        &self.values[at * self.width()..][..self.width()]
    }
}

/// Fits experts from these on; `covariance` is that of all residuals.
pub(super) fn fit(start: Vec<Expert>, rows: &Rows, covariance: &DMatrix<f64>) -> Vec<Expert> {
    let products = start.len() * rows.width() * rows.width() / 2;
    let used = rows.weight.len().min((PRODUCTS / products.max(1)).max(LEAST_ROWS));
    let (held_out, fitted): (Vec<usize>, Vec<usize>) =
        (0..used).partition(|row| row % HELD_OUT == HELD_OUT - 1);
    let mut experts = start;
    let mut best = (f64::NEG_INFINITY, 0, experts.clone());
    let mut terms = vec![0.0; experts.len()];
    for iteration in 0..ITERATIONS {
        let Some(densities) = experts.iter().map(Density::of).collect::<Option<Vec<_>>>() else {
            break;
        };
        let mut score = 0.0;
        for &row in &held_out {
            score += rows.weight[row] * log_density(&densities, rows.row(row), &mut terms);
        }
        if score > best.0 {
            best = (score, iteration, experts.clone());
        } else if iteration - best.1 >= PATIENCE {
            break;
        }
        let moments = moments(&densities, rows, &fitted);
        for (expert, moments) in experts.iter_mut().zip(&moments) {
            expert.fit(moments, rows.features, covariance);
        }
        let total: f64 = experts.iter().map(|expert| expert.weight).sum();
        experts.iter_mut().for_each(|expert| expert.weight /= total);
        if iteration % SPLIT_EVERY == SPLIT_EVERY - 1 {
            split(&mut experts);
        }
    }
    best.2
}

/// `log sum_k w_k N_k`; leaves the logarithms of its terms.
fn log_density(densities: &[Density], row: &[f64], terms: &mut [f64]) -> f64 {
    terms.iter_mut().zip(densities).for_each(|(term, density)| *term = density.log_weighted(row));
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
}

/// Second moments of the rows, of each expert by its responsibility for them.
fn moments(densities: &[Density], rows: &Rows, fitted: &[usize]) -> Vec<DMatrix<f64>> {
    let width = rows.width();
    let mut moments = vec![DMatrix::zeros(width, width); densities.len()];
    let mut terms = vec![0.0; densities.len()];
    for &at in fitted {
        let row = rows.row(at);
        let total = log_density(densities, row, &mut terms);
        for (moments, term) in moments.iter_mut().zip(&terms) {
            let share = rows.weight[at] * (term - total).exp();
            // A share this small shows in no sum.
            if share < 1e-9 {
                continue;
            }
            for (i, column) in moments.as_mut_slice().chunks_exact_mut(width).enumerate() {
                let scaled = share * row[i];
                column[i..].iter_mut().zip(&row[i..]).for_each(|(sum, b)| *sum += scaled * b);
            }
        }
    }
    moments.iter_mut().for_each(DMatrix::fill_upper_triangle_with_lower_triangle);
    moments
}

impl Expert {
    /// The weighted ridge regression of these moments, and the covariance that it leaves.
    fn fit(&mut self, moments: &DMatrix<f64>, features: usize, covariance: &DMatrix<f64>) {
        let (d_f, d_y) = (1 + features, covariance.nrows());
        let ff = moments.view((0, 0), (d_f, d_f));
        let fy = moments.view((0, d_f), (d_f, d_y));
        let yy = moments.view((d_f, d_f), (d_y, d_y));
        let rows = ff[(0, 0)];
        let mut penalized = ff.clone_owned();
        (0..d_f).for_each(|i| penalized[(i, i)] += SLOPE_ROWS);
        let Some(factor) = penalized.cholesky() else { return };
        self.change = factor.solve(&fy).transpose();
        let explained = &self.change * fy;
        let left =
            yy - &explained - explained.transpose() + &self.change * ff * self.change.transpose();
        let prior = COVARIANCE_ROWS * (d_y + 1) as f64;
        self.covariance = (left + covariance * (0.1 * prior)) / (rows + prior);
        self.weight = rows + 1.0;
    }
}

/// Gives every expert of next to no share half of the largest one's.
fn split(experts: &mut [Expert]) {
    let negligible = NEGLIGIBLE / experts.len() as f64;
    for at in 0..experts.len() {
        let heavier = |a: &usize, b: &usize| experts[*a].weight.total_cmp(&experts[*b].weight);
        let Some(largest) = (0..experts.len()).max_by(heavier) else { return };
        if experts[at].weight >= negligible || at == largest {
            continue;
        }
        let mut whole = experts[largest].clone();
        whole.weight *= 0.5;
        let eigen = SymmetricEigen::new(whole.covariance.clone());
        let longest = eigen.eigenvalues.imax();
        let apart = 0.5 * SPLIT * eigen.eigenvalues[longest].max(0.0).sqrt();
        let mut half = whole.clone();
        for i in 0..whole.change.nrows() {
            let shift = apart * eigen.eigenvectors[(i, longest)];
            whole.change[(i, 0)] -= shift;
            half.change[(i, 0)] += shift;
        }
        (experts[largest], experts[at]) = (whole, half);
    }
}

/// An expert's density, ready to be evaluated.
struct Density {
    /// Of the weight, and of what does not depend on the row.
    log_scale: f64,
    /// `[d_y, 1 + features]`, row by row.
    change: Vec<f64>,
    /// Inverse of the covariance's lower factor, row by row.
    whitening: Vec<f64>,
    d_y: usize,
}

impl Density {
    fn of(expert: &Expert) -> Option<Density> {
        let d_y = expert.covariance.nrows();
        let damping = 1e-6 * (expert.covariance.trace() / d_y as f64).max(1e-9);
        let damped = &expert.covariance + DMatrix::identity(d_y, d_y) * damping;
        let lower = damped.cholesky()?.l();
        let log_determinant: f64 = lower.diagonal().iter().map(|l| l.ln()).sum();
        Some(Density {
            log_scale: expert.weight.ln() - log_determinant,
            change: expert.change.transpose().as_slice().to_vec(),
            whitening: lower.try_inverse()?.transpose().as_slice().to_vec(),
            d_y,
        })
    }

    /// Without the power of `2 pi`, which all experts share.
    fn log_weighted(&self, row: &[f64]) -> f64 {
        let (d_f, d_y) = (row.len() - self.d_y, self.d_y);
        let (features, residuals) = row.split_at(d_f);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let left = |i: usize| residuals[i] - dot(&self.change[i * d_f..][..d_f], features);
        let mut squared = 0.0;
        if d_y == 1 {
            return self.log_scale - 0.5 * (self.whitening[0] * left(0)).powi(2);
        }
        let left: Vec<f64> = (0..d_y).map(left).collect();
        for i in 0..d_y {
            squared += dot(&self.whitening[i * d_y..][..=i], &left[..=i]).powi(2);
        }
        self.log_scale - 0.5 * squared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two lines that cross, and noise around them: `y = +-(0.3 + f) + e`.
    fn crossing(n: usize) -> Rows {
        let share = |row: usize, step: f64| ((row + 1) as f64 * step).fract();
        let mut values = Vec::new();
        for row in 0..n {
            let f = 3.4 * (share(row, 2_f64.sqrt()) - 0.5);
            let e = 0.1 * (share(row, 3_f64.sqrt()) + share(row, 7_f64.sqrt()) - 1.0);
            let sign = if share(row, 5_f64.sqrt()) < 0.5 { 1.0 } else { -1.0 };
            values.extend([1.0, f, sign * (0.3 + f) + e]);
        }
        Rows { values, weight: vec![1.0; n], features: 1, d_y: 1 }
    }

    #[test]
    fn experts_find_crossing_lines() {
        let rows = crossing(2_000);
        let covariance = DMatrix::from_element(1, 1, 1.1);
        let expert = |offset: f64| Expert {
            weight: 0.25,
            change: DMatrix::from_row_slice(1, 2, &[offset, 0.0]),
            covariance: 0.5 * &covariance,
        };
        let experts = fit([-1.2, -0.4, 0.5, 1.1].map(expert).to_vec(), &rows, &covariance);
        for sign in [-1.0, 1.0] {
            let on_line = |expert: &&Expert| {
                let slope = sign * expert.change[(0, 1)];
                (slope - 1.0).abs() < 0.15 && (sign * expert.change[(0, 0)] - 0.3).abs() < 0.15
            };
            let share: f64 = experts.iter().filter(on_line).map(|expert| expert.weight).sum();
            assert!((share - 0.5).abs() < 0.1, "{sign}: {experts:?}");
        }
    }
}
