//! A Student-t random field on a grid: a Gaussian field whose scale is drawn anew for each field.

use std::cell::OnceCell;
use std::f64::consts::PI;
use std::sync::Arc;

use nalgebra::DMatrix;

use super::kind::Structure;
use super::mechanism::{Draw, Likelihood, LikelihoodAt, Mechanism, ParameterSpec};
use super::random_field::{
    Covariance, Grid, LENGTH_SCALE, SETTINGS, observed_inner, quadratic_form, trace_of_product,
};
use super::sampling::{GammaFactor, Generator};

/// A multivariate t distribution: `x = y / sqrt(g)` with `y ~ N(0, S)`, `S = exp(-distance / length_scale)` and `g` a gamma
/// variate of mean one and variance `2 / nu`, where `nu` is `degrees_of_freedom` (Kotz and Nadarajah 2004, *Multivariate t
/// Distributions and Their Applications*, eqs. (1.1) and (1.2)).
///
/// `log p(x) = log G((nu + n)/2) - log G(nu/2) - n/2 log(pi nu) - log |S| / 2 - (nu + n)/2 log(1 + q / nu)` with
/// `q = x^T S^-1 x`, summed over the replicates.
#[derive(Debug)]
pub struct StudentTField(Grid);

const PARAMETERS: [ParameterSpec; 2] = [
    LENGTH_SCALE,
    ParameterSpec {
        name: "degrees_of_freedom",
        unit: "1",
        lower: 0.1,
        upper: 1000.0,
        integer: false,
        about: "how light the tails are: 1 for Cauchy's, infinity for a Gaussian field's",
    },
];

impl StudentTField {
    pub(super) const STRUCTURE: Structure = Structure::Complete {
        parameters: &PARAMETERS,
        settings: &SETTINGS,
        make: |settings| Arc::new(StudentTField(Grid::new(settings))),
    };
}

impl Mechanism for StudentTField {
    fn x_names(&self) -> Vec<String> {
        self.0.x_names()
    }

    fn simulate(&self, theta: &[f64], generator: &mut Generator, draw: &mut Draw) {
        let covariance = Covariance::new(self.0.correlation(theta[0]));
        let mut precision = GammaFactor::new(2.0 / theta[1]);
        let mut white = vec![0.0; self.0.points()];
        for _ in 0..self.0.replicates {
            let scale = 1.0 / precision.sample(generator).sqrt();
            generator.normals(&mut white);
            draw.x.extend(covariance.color(&white).iter().map(|&y| (scale * y) as f32));
        }
    }

    fn likelihood(&self) -> Option<&dyn Likelihood> {
        Some(self)
    }
}

impl Likelihood for StudentTField {
    fn at<'l>(&'l self, theta: &[f64]) -> Box<dyn LikelihoodAt + 'l> {
        Box::new(At {
            points: self.0.points(),
            covariance: Covariance::new(self.0.correlation(theta[0])),
            slope: OnceCell::new(),
            grid: &self.0,
            length_scale: theta[0],
            nu: theta[1],
        })
    }
}

struct At<'l> {
    points: usize,
    covariance: Covariance,
    slope: OnceCell<Slope>,
    grid: &'l Grid,
    length_scale: f64,
    nu: f64,
}

/// What only the score needs.
struct Slope {
    correlation: DMatrix<f64>,
    /// `tr(S^-1 dS)`.
    trace: f64,
}

impl LikelihoodAt for At<'_> {
    fn log_likelihood(&self, x: &[f32]) -> f64 {
        let (n, nu) = (self.points as f64, self.nu);
        let constant = libm::lgamma(0.5 * (nu + n))
            - libm::lgamma(0.5 * nu)
            - 0.5 * (n * libm::log(PI * nu) + self.covariance.log_determinant);
        let each = x.chunks_exact(self.points).map(|field| {
            let q = observed_inner(field, &self.covariance.solve(field));
            constant - 0.5 * (nu + n) * libm::log1p(q / nu)
        });
        each.sum()
    }

    fn score(&self, x: &[f32], score: &mut [f64]) {
        let slope = self.slope.get_or_init(|| {
            let correlation = self.grid.correlation_slope(self.length_scale);
            let trace = trace_of_product(&self.covariance.inverse(), &correlation);
            Slope { correlation, trace }
        });
        let (n, nu) = (self.points as f64, self.nu);
        let constant = digamma(0.5 * (nu + n)) - digamma(0.5 * nu) - n / nu;
        score.fill(0.0);
        for field in x.chunks_exact(self.points) {
            let a = self.covariance.solve(field);
            let q = observed_inner(field, &a);
            let weight = (nu + n) / (nu + q);
            score[0] += 0.5 * (weight * quadratic_form(&slope.correlation, &a) - slope.trace);
            score[1] += 0.5 * (constant - libm::log1p(q / nu) + weight * q / nu);
        }
    }
}

/// Derivative of `log G`, to 1e-12: the asymptotic series (Abramowitz and Stegun 1964, 6.3.18) above 10, and the recurrence
/// (6.3.5) below. No crate, for the reason of the samplers: its logarithm would be the platform's.
fn digamma(x: f64) -> f64 {
    let mut x = x;
    let mut shift = 0.0;
    while x < 10.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = inverse
        * (1.0 / 12.0
            - inverse
                * (1.0 / 120.0
                    - inverse * (1.0 / 252.0 - inverse * (1.0 / 240.0 - inverse * (1.0 / 132.0)))));
    shift + libm::log(x) - 0.5 / x - series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digamma_has_its_known_values() {
        const EULER: f64 = 0.577_215_664_901_532_9;
        for (x, value) in [
            (1.0, -EULER),
            (0.5, -EULER - 2.0 * std::f64::consts::LN_2),
            (2.0, 1.0 - EULER),
            (100.0, 4.600_161_852_738_087),
        ] {
            assert!((digamma(x) - value).abs() < 1e-12, "{x}: {} for {value}", digamma(x));
        }
    }
}
