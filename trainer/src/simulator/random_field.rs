//! What the random fields share: a square grid, the exponential correlation on it, and solving with its matrix.
//!
//! No product of two matrices is formed: those of nalgebra use whatever vector units a machine has, and the last bit with
//! them. Factorization and triangular solves are plain loops.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use super::mechanism::ParameterSpec;

/// Distance over which the correlation falls to `1 / e`.
pub(super) const LENGTH_SCALE: ParameterSpec = ParameterSpec {
    name: "length_scale",
    unit: "cell",
    lower: 0.05,
    upper: 1000.0,
    integer: false,
    about: "distance over which the correlation falls to 1/e, in distances between neighbors of the grid",
};

/// Settings of a field.
pub(super) const SETTINGS: [ParameterSpec; 2] = [
    ParameterSpec {
        name: "side",
        unit: "cell",
        lower: 1.0,
        upper: 24.0,
        integer: true,
        about: "points along one side of the square grid",
    },
    ParameterSpec {
        name: "replicates",
        unit: "1",
        lower: 1.0,
        upper: 64.0,
        integer: true,
        about: "independent fields with one theta in each x",
    },
];

/// A square grid whose neighbors are one apart, observed `replicates` times.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) side: usize,
    pub(super) replicates: usize,
    distance: DMatrix<f64>,
}

impl Grid {
    /// `settings` are those of [`SETTINGS`].
    pub(super) fn new(settings: &[f64]) -> Self {
        let (side, replicates) = (settings[0] as usize, settings[1] as usize);
        let place = |at: usize| ((at / side) as f64, (at % side) as f64);
        let distance = DMatrix::from_fn(side * side, side * side, |a, b| {
            let ((row, column), (other_row, other_column)) = (place(a), place(b));
            let (down, right) = (row - other_row, column - other_column);
            (down * down + right * right).sqrt()
        });
        Grid { side, replicates, distance }
    }

    /// Points of one field.
    pub(super) fn points(&self) -> usize {
        self.side * self.side
    }

    /// Names of the values of x: replicate by replicate, row by row.
    pub(super) fn x_names(&self) -> Vec<String> {
        let point = |at: usize| format!("r{}c{}", at / self.side + 1, at % self.side + 1);
        let each = (0..self.replicates).flat_map(|replicate| {
            (0..self.points()).map(move |at| match self.replicates {
                1 => point(at),
                _ => format!("f{}{}", replicate + 1, point(at)),
            })
        });
        each.collect()
    }

    /// `exp(-distance / length_scale)`.
    pub(super) fn correlation(&self, length_scale: f64) -> DMatrix<f64> {
        self.distance.map(|d| libm::exp(-d / length_scale))
    }

    /// Derivative of the correlation with respect to the length scale.
    pub(super) fn correlation_slope(&self, length_scale: f64) -> DMatrix<f64> {
        let square = length_scale * length_scale;
        self.distance.map(|d| libm::exp(-d / length_scale) * d / square)
    }
}

/// A covariance matrix, factorized.
pub(super) struct Covariance {
    cholesky: Cholesky<f64, Dyn>,
    /// Logarithm of the determinant.
    pub(super) log_determinant: f64,
}

impl Covariance {
    /// # Panics
    /// When the matrix is not positive definite. An exponential correlation is, within the legal length scales.
    pub(super) fn new(matrix: DMatrix<f64>) -> Self {
        let cholesky = Cholesky::new(matrix).expect("an exponential correlation");
        let diagonal = cholesky.l_dirty().diagonal();
        let log_determinant = 2.0 * diagonal.iter().map(|&d| libm::log(d)).sum::<f64>();
        Covariance { cholesky, log_determinant }
    }

    /// `L z` where `L L^T` is the covariance.
    pub(super) fn color(&self, white: &[f64]) -> DVector<f64> {
        let mut colored = DVector::zeros(white.len());
        for (at, (z, column)) in white.iter().zip(self.cholesky.l_dirty().column_iter()).enumerate()
        {
            colored.rows_range_mut(at..).axpy(*z, &column.rows_range(at..), 1.0);
        }
        colored
    }

    /// The covariance's inverse times `x`.
    pub(super) fn solve(&self, x: &[f32]) -> DVector<f64> {
        self.cholesky.solve(&DVector::from_iterator(x.len(), x.iter().map(|&x| f64::from(x))))
    }

    /// The inverse.
    pub(super) fn inverse(&self) -> DMatrix<f64> {
        self.cholesky.inverse()
    }
}

/// `tr(A B)` of symmetric matrices.
pub(super) fn trace_of_product(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    a.iter().zip(b.iter()).map(|(a, b)| a * b).sum()
}

/// `v^T A v`.
pub(super) fn quadratic_form(a: &DMatrix<f64>, v: &DVector<f64>) -> f64 {
    a.column_iter().zip(v.iter()).map(|(column, weight)| weight * inner(column.iter(), v)).sum()
}

/// `x^T v` of an observation and a vector.
pub(super) fn observed_inner(x: &[f32], v: &DVector<f64>) -> f64 {
    x.iter().zip(v.iter()).map(|(&x, v)| f64::from(x) * v).sum()
}

fn inner<'v>(a: impl Iterator<Item = &'v f64>, b: &DVector<f64>) -> f64 {
    a.zip(b.iter()).map(|(a, b)| a * b).sum()
}
