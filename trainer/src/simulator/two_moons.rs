//! Two moons: a posterior with two crescents.

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::sync::Arc;

use super::kind::Structure;
use super::mechanism::{Draw, Mechanism, ParameterSpec};
use super::sampling::Generator;

/// `x = (r cos a + 0.25, r sin a) + (-|theta_1 + theta_2|, theta_2 - theta_1) / sqrt(2)` with `a ~ U(-pi/2, pi/2)` and
/// `r ~ N(0.1, 0.01^2)` (Greenberg et al. 2019, <https://arxiv.org/abs/1905.07488>, appendix A.5.1; task T.8 of Lueckmann et
/// al. 2021).
///
/// The crescent of possible x moves with theta, so that the gradient of the log-likelihood is not the score of a regular
/// model (its mean is not zero): there is none here.
#[derive(Debug)]
pub struct TwoMoons;

const fn coordinate(name: &'static str) -> ParameterSpec {
    ParameterSpec {
        name,
        unit: "1",
        lower: f64::NEG_INFINITY,
        upper: f64::INFINITY,
        integer: false,
        about: "coordinate of the crescent",
    }
}

const PARAMETERS: [ParameterSpec; 2] = [coordinate("theta_1"), coordinate("theta_2")];

impl TwoMoons {
    pub(super) const STRUCTURE: Structure = Structure::Complete {
        parameters: &PARAMETERS,
        settings: &[],
        make: |_| Arc::new(TwoMoons),
    };
}

impl Mechanism for TwoMoons {
    fn x_names(&self) -> Vec<String> {
        vec!["x_1".into(), "x_2".into()]
    }

    fn simulate(&self, theta: &[f64], generator: &mut Generator, draw: &mut Draw) {
        let angle = PI * (generator.uniform() - 0.5);
        let mut z = [0.0];
        generator.normals(&mut z);
        let radius = 0.1 + 0.01 * z[0];
        let shift = [-(theta[0] + theta[1]).abs(), theta[1] - theta[0]];
        draw.x.push((radius * libm::cos(angle) + 0.25 + FRAC_1_SQRT_2 * shift[0]) as f32);
        draw.x.push((radius * libm::sin(angle) + FRAC_1_SQRT_2 * shift[1]) as f32);
    }
}
