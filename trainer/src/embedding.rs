//! The bank's space: a linear image of the trunk's last hidden layer in which distance means different answers.
//!
//! Two observations are alike when the heads would say alike things of them, for like reasons. With `G` the heads' sensitivity
//! `G = sum over heads of W^T W / (total variance of W h)`, `(h - h')^T G (h - h')` is the mean squared difference of standardized
//! answers. To it comes `tr(G) / d (h - h')^T (h - h')`, the hidden layer itself at equal weight: without it simulations
//! that lead to the same answer by other observations (the same outbreak a week later) count as the same. The
//! embedding keeps the leading principal components of `M^(1/2) h` for the sum `M`: of all linear maps to `d_embed` dimensions the one
//! that loses the least of these distances (Eckart and Young 1936).

use nalgebra::{DMatrix, SymmetricEigen};

use crate::network::{Dense, FloatNetwork};

/// Magnitude on the bank's `i8` grid that all but one in a thousand coordinates stay below.
const GRID_TARGET: f64 = 110.0;

/// Fits the embedding on the last hidden activations `hidden`, `[n, d_hidden]`, of training simulations.
///
/// The result maps a hidden layer to grid units of the bank, centered on the mean of `hidden`; the scale is the same in every dimension.
///
/// # Panics
///
/// If `hidden` has no row.
pub fn fit(network: &FloatNetwork, hidden: &[f32], d_embed: usize) -> Dense {
    let d_hidden = network.d_embed();
    let n = hidden.len() / d_hidden;
    assert!(n > 0, "an embedding needs simulations");
    let d_embed = d_embed.min(d_hidden);
    let mean: Vec<f64> = (0..d_hidden)
        .map(|at| {
            hidden.iter().skip(at).step_by(d_hidden).map(|h| f64::from(*h)).sum::<f64>() / n as f64
        })
        .collect();
    let mut covariance = DMatrix::<f64>::zeros(d_hidden, d_hidden);
    for row in hidden.chunks_exact(d_hidden) {
        let centered: Vec<f64> = row.iter().zip(&mean).map(|(h, m)| f64::from(*h) - m).collect();
        for (i, a) in centered.iter().enumerate() {
            for (j, b) in centered.iter().enumerate().take(i + 1) {
                covariance[(i, j)] += a * b / n as f64;
            }
        }
    }
    covariance.fill_upper_triangle_with_lower_triangle();
    let root = square_root(&metric(network, &covariance));
    let eigen = SymmetricEigen::new(&root * &covariance * &root);
    let mut order: Vec<usize> = (0..d_hidden).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]).then(a.cmp(&b)));

    let rows: Vec<Vec<f64>> = order[..d_embed]
        .iter()
        .map(|&at| {
            let direction = eigen.eigenvectors.column(at);
            // The sign of an eigenvector is arbitrary: fix it, so that a rebuilt library gives the same bank.
            let largest = direction.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
            let sign = if largest.unwrap_or(1.0) < 0.0 { -1.0 } else { 1.0 };
            (&root * direction * sign).iter().copied().collect()
        })
        .collect();
    let mut magnitudes: Vec<f64> = hidden
        .chunks_exact(d_hidden)
        .step_by((n / 4096).max(1))
        .flat_map(|h| rows.iter().map(|row| dot(row, h, &mean).abs()))
        .collect();
    magnitudes.sort_by(f64::total_cmp);
    let high = magnitudes[magnitudes.len() - 1 - magnitudes.len() / 1000].max(1e-12);
    let scale = GRID_TARGET / high;
    Dense {
        d_input: d_hidden,
        d_output: d_embed,
        weight: rows.iter().flatten().map(|w| (w * scale) as f32).collect(),
        bias: rows
            .iter()
            .map(|row| -(row.iter().zip(&mean).map(|(w, m)| w * m).sum::<f64>() * scale) as f32)
            .collect(),
    }
}

fn dot(row: &[f64], h: &[f32], mean: &[f64]) -> f64 {
    row.iter().zip(h).zip(mean).map(|((w, h), m)| w * (f64::from(*h) - m)).sum()
}

/// `M`, each head counted alike.
fn metric(network: &FloatNetwork, covariance: &DMatrix<f64>) -> DMatrix<f64> {
    let d_hidden = network.d_embed();
    let mut g = DMatrix::<f64>::zeros(d_hidden, d_hidden);
    for head in &network.heads {
        let w = DMatrix::from_row_iterator(
            head.d_output,
            d_hidden,
            head.weight.iter().map(|w| f64::from(*w)),
        );
        let variance = (&w * covariance * w.transpose()).trace();
        if variance > 0.0 {
            g += w.transpose() * &w / variance;
        }
    }
    let ridge = g.trace().max(1e-12) / d_hidden as f64;
    g + DMatrix::identity(d_hidden, d_hidden) * ridge
}

/// Symmetric square root of a positive semidefinite matrix.
fn square_root(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = SymmetricEigen::new(matrix.clone());
    let roots = eigen.eigenvalues.map(|value| value.max(0.0).sqrt());
    &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two hidden directions of equal variance, the one that the head reads comes first.
    #[test]
    fn follows_what_the_heads_read() {
        let head = Dense { d_input: 2, d_output: 1, weight: vec![0.0, 3.0], bias: vec![0.0] };
        let network = FloatNetwork {
            trunk: vec![Dense {
                d_input: 2,
                d_output: 2,
                weight: vec![1.0, 0.0, 0.0, 1.0],
                bias: vec![0.0; 2],
            }],
            heads: vec![head],
            tails: Vec::new(),
        };
        let hidden = [1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0, -1.0];
        let embedding = fit(&network, &hidden, 1);
        assert!(embedding.weight[1].abs() > 9.0 * embedding.weight[0].abs(), "{embedding:?}");
        let reach: f32 = embedding.weight.iter().map(|w| w.abs()).sum();
        assert!((reach - 110.0).abs() < 1.0, "{reach}");
    }
}
