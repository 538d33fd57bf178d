//! Samples of the exact posteriors.

use std::f64::consts::{PI, SQRT_2};

use crate::simulator::Generator;

/// A task whose posterior is known in closed form.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reference {
    /// `theta` from -1 to 1 in two dimensions.
    TwoMoons,
    /// `theta` from -1 to 1 in ten dimensions, noise of variance 0.1.
    GaussianLinear,
}

impl Reference {
    /// `count` samples given `x`, `[count, d]`; `stream` keeps the samples of several observations apart.
    pub fn samples(self, x: &[f32], count: usize, stream: u64) -> Vec<f32> {
        let mut generator = Generator::new(super::JUDGE, 1 << 62 | stream);
        let mut samples = Vec::new();
        for _ in 0..count {
            match self {
                Reference::TwoMoons => samples.extend(two_moons(x, &mut generator)),
                Reference::GaussianLinear => {
                    samples.extend(x.iter().map(|&x| cut_normal(f64::from(x), &mut generator)));
                }
            }
        }
        samples
    }
}

/// Given the crescent's point `p`, `x - p` fixes `|theta_1 + theta_2|` and `theta_2 - theta_1`; the sum's sign is even. Points that lead
/// out of the prior are drawn again: the map has a constant Jacobian, so this is the posterior.
fn two_moons(x: &[f32], generator: &mut Generator) -> [f32; 2] {
    loop {
        let angle = PI * (generator.uniform() - 0.5);
        let mut z = [0.0];
        generator.normals(&mut z);
        let radius = 0.1 + 0.01 * z[0];
        let size = SQRT_2 * (radius * libm::cos(angle) + 0.25 - f64::from(x[0]));
        let difference = SQRT_2 * (f64::from(x[1]) - radius * libm::sin(angle));
        let sum = if generator.uniform() < 0.5 { size } else { -size };
        let theta = [0.5 * (sum - difference), 0.5 * (sum + difference)];
        if size >= 0.0 && theta.iter().all(|theta| theta.abs() <= 1.0) {
            return theta.map(|theta| theta as f32);
        }
    }
}

/// `N(x, 0.1)` cut to -1..1.
fn cut_normal(x: f64, generator: &mut Generator) -> f32 {
    loop {
        // Uniform proposals: whatever x, the density is largest at the nearest point of the prior.
        let theta = 2.0 * generator.uniform() - 1.0;
        let nearest = x.clamp(-1.0, 1.0);
        let log_share = ((nearest - x).powi(2) - (theta - x).powi(2)) / 0.2;
        if generator.uniform() < libm::exp(log_share) {
            return theta as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moon_leads_back_to_the_observation() {
        let x = [-0.4_f32, 0.3];
        let samples = Reference::TwoMoons.samples(&x, 4_000, 0);
        let mut positive = 0;
        for theta in samples.chunks_exact(2) {
            let [a, b] = [0, 1].map(|at| f64::from(theta[at]));
            let p = [
                f64::from(x[0]) - 0.25 + (a + b).abs() / SQRT_2,
                f64::from(x[1]) - (b - a) / SQRT_2,
            ];
            let radius = libm::hypot(p[0], p[1]);
            assert!((radius - 0.1).abs() < 0.06 && p[0] > -1e-3, "{p:?}");
            positive += usize::from(a + b > 0.0);
        }
        assert!((1_850..2_150).contains(&positive), "{positive}");
    }

    #[test]
    fn a_cut_normal_has_its_mean() {
        for x in [0.0_f64, 0.9, 1.5] {
            let samples = Reference::GaussianLinear.samples(&[x as f32], 20_000, 0);
            let mean = samples.iter().map(|theta| f64::from(*theta)).sum::<f64>() / 20_000.0;
            let (mut mass, mut moment) = (0.0, 0.0);
            for i in 0..2_000 {
                let theta = (f64::from(i) + 0.5) / 1_000.0 - 1.0;
                let density = libm::exp(-(theta - x).powi(2) / 0.2);
                (mass, moment) = (mass + density, moment + density * theta);
            }
            assert!((mean - moment / mass).abs() < 0.01, "{x}: {mean} {}", moment / mass);
        }
    }
}
