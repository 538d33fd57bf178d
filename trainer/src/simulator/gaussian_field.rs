//! A Gaussian random field on a grid, with a nugget.

use std::cell::OnceCell;
use std::f64::consts::PI;
use std::sync::Arc;

use nalgebra::DMatrix;

use super::kind::Structure;
use super::mechanism::{Draw, Likelihood, LikelihoodAt, Mechanism, ParameterSpec};
use super::random_field::{
    Covariance, Grid, LENGTH_SCALE, SETTINGS, observed_inner, quadratic_form, trace_of_product,
};
use super::sampling::Generator;

/// Zero mean, `K = exp(-distance / length_scale) + nugget_variance I`: an Ornstein-Uhlenbeck field of variance one under
/// independent measurement noise (Rasmussen and Williams 2006, *Gaussian Processes for Machine Learning*, eqs. (2.20) and
/// (4.18)).
///
/// `log p(x) = -(x^T K^-1 x + log |K| + n log 2 pi) / 2`, and its derivative by a parameter of `K` is
/// `(a^T dK a - tr(K^-1 dK)) / 2` with `a = K^-1 x` (ibid., eq. (5.9)); both are summed over the replicates.
#[derive(Debug)]
pub struct GaussianField(Grid);

const PARAMETERS: [ParameterSpec; 2] = [
    LENGTH_SCALE,
    ParameterSpec {
        name: "nugget_variance",
        unit: "1",
        lower: 0.0,
        upper: 1000.0,
        integer: false,
        about: "variance of independent noise, where the field itself has variance one",
    },
];

impl GaussianField {
    pub(super) const STRUCTURE: Structure = Structure::Complete {
        parameters: &PARAMETERS,
        settings: &SETTINGS,
        make: |settings| Arc::new(GaussianField(Grid::new(settings))),
    };

    fn covariance(&self, theta: &[f64]) -> Covariance {
        let mut matrix = self.0.correlation(theta[0]);
        for at in 0..self.0.points() {
            matrix[(at, at)] += theta[1];
        }
        Covariance::new(matrix)
    }
}

impl Mechanism for GaussianField {
    fn x_names(&self) -> Vec<String> {
        self.0.x_names()
    }

    fn simulate(&self, theta: &[f64], generator: &mut Generator, draw: &mut Draw) {
        let covariance = self.covariance(theta);
        let mut white = vec![0.0; self.0.points()];
        for _ in 0..self.0.replicates {
            generator.normals(&mut white);
            draw.x.extend(covariance.color(&white).iter().map(|&x| x as f32));
        }
    }

    fn likelihood(&self) -> Option<&dyn Likelihood> {
        Some(self)
    }
}

impl Likelihood for GaussianField {
    fn at<'l>(&'l self, theta: &[f64]) -> Box<dyn LikelihoodAt + 'l> {
        Box::new(At {
            points: self.0.points(),
            covariance: self.covariance(theta),
            slope: OnceCell::new(),
            grid: &self.0,
            length_scale: theta[0],
        })
    }
}

struct At<'l> {
    points: usize,
    covariance: Covariance,
    slope: OnceCell<Slope>,
    grid: &'l Grid,
    length_scale: f64,
}

/// What only the score needs.
struct Slope {
    correlation: DMatrix<f64>,
    /// `tr(K^-1 dK)` by length scale and by nugget.
    traces: [f64; 2],
}

impl LikelihoodAt for At<'_> {
    fn log_likelihood(&self, x: &[f32]) -> f64 {
        let constant = self.covariance.log_determinant + self.points as f64 * libm::log(2.0 * PI);
        let each = x
            .chunks_exact(self.points)
            .map(|field| observed_inner(field, &self.covariance.solve(field)) + constant);
        -0.5 * each.sum::<f64>()
    }

    fn score(&self, x: &[f32], score: &mut [f64]) {
        let slope = self.slope.get_or_init(|| {
            let correlation = self.grid.correlation_slope(self.length_scale);
            let inverse = self.covariance.inverse();
            let traces = [trace_of_product(&inverse, &correlation), inverse.trace()];
            Slope { correlation, traces }
        });
        score.fill(0.0);
        for field in x.chunks_exact(self.points) {
            let a = self.covariance.solve(field);
            score[0] += 0.5 * (quadratic_form(&slope.correlation, &a) - slope.traces[0]);
            score[1] += 0.5 * (a.dot(&a) - slope.traces[1]);
        }
    }
}
