//! Gaussian linear: ten means, each seen once through Gaussian noise.

use std::sync::Arc;

use super::kind::Structure;
use super::mechanism::{Draw, Likelihood, LikelihoodAt, Mechanism, ParameterSpec};
use super::sampling::Generator;

/// `x ~ N(theta, 0.1 I)` in ten dimensions (Lueckmann et al. 2021, "Benchmarking simulation-based inference", tasks T.1 and
/// T.2, <https://arxiv.org/abs/2101.04653>): with the prior `N(0, 0.1 I)` the posterior is `N(x / 2, 0.05 I)`, with a uniform
/// prior it is `N(x, 0.1 I)` cut to the prior.
#[derive(Debug)]
pub struct GaussianLinear;

const NOISE_VARIANCE: f64 = 0.1;

const fn mean(name: &'static str) -> ParameterSpec {
    ParameterSpec {
        name,
        unit: "1",
        lower: f64::NEG_INFINITY,
        upper: f64::INFINITY,
        integer: false,
        about: "mean of one value of x",
    }
}

const PARAMETERS: [ParameterSpec; 10] = [
    mean("theta_1"),
    mean("theta_2"),
    mean("theta_3"),
    mean("theta_4"),
    mean("theta_5"),
    mean("theta_6"),
    mean("theta_7"),
    mean("theta_8"),
    mean("theta_9"),
    mean("theta_10"),
];

impl GaussianLinear {
    pub(super) const STRUCTURE: Structure = Structure::Complete {
        parameters: &PARAMETERS,
        settings: &[],
        make: |_| Arc::new(GaussianLinear),
    };
}

impl Mechanism for GaussianLinear {
    fn x_names(&self) -> Vec<String> {
        (1..=PARAMETERS.len()).map(|at| format!("x_{at}")).collect()
    }

    fn simulate(&self, theta: &[f64], generator: &mut Generator, draw: &mut Draw) {
        let mut noise = [0.0; PARAMETERS.len()];
        generator.normals(&mut noise);
        let sd = NOISE_VARIANCE.sqrt();
        draw.x.extend(theta.iter().zip(noise).map(|(mean, z)| (mean + sd * z) as f32));
    }

    fn likelihood(&self) -> Option<&dyn Likelihood> {
        Some(self)
    }
}

impl Likelihood for GaussianLinear {
    fn at<'l>(&'l self, theta: &[f64]) -> Box<dyn LikelihoodAt + 'l> {
        Box::new(At(theta.to_vec()))
    }
}

struct At(Vec<f64>);

impl LikelihoodAt for At {
    fn log_likelihood(&self, x: &[f32]) -> f64 {
        let each = x.iter().zip(&self.0).map(|(&x, mean)| {
            let residual = f64::from(x) - mean;
            let log_scale = libm::log(2.0 * std::f64::consts::PI * NOISE_VARIANCE);
            -0.5 * (log_scale + residual * residual / NOISE_VARIANCE)
        });
        each.sum()
    }

    fn score(&self, x: &[f32], score: &mut [f64]) {
        for ((score, &x), mean) in score.iter_mut().zip(x).zip(&self.0) {
            *score = (f64::from(x) - mean) / NOISE_VARIANCE;
        }
    }
}
