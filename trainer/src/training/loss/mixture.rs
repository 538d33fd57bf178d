//! `mixture`: negative log likelihood of a mixture of Gaussians on its support.
//!
//! The outputs are those of [`simground_runtime::Gaussians`], which has the formulas; the density here is the same, but that a small
//! part of all thetas is taken to come from the prior: see [`with_outliers`].

use simground_runtime::artifact::component_outputs;
use simground_runtime::{Cut, Ends, Gaussian, LOG_PRECISION_RANGE};

use super::{RowLoss, Truth};

/// `ln sqrt(2 pi)`.
const LN_SQRT_TAU: f32 = 0.918_938_5;

/// Part of all thetas that a posterior is not asked to explain.
const OUTLIERS: f32 = 0.02;

/// Logarithm of `(1 - OUTLIERS) q + OUTLIERS p` at a standardized theta, where `log_density` is the logarithm of the posterior `q`, and the
/// prior `p` is standard normal.
///
/// Gaussians are thin-tailed: what few simulations teach of a narrow posterior misses some held-out theta by dozens of standard
/// deviations. By its logarithm alone that one would decide on steps, components and widths; here it costs no more than `-ln OUTLIERS`
/// above the prior (Huber's contaminated model, 1964, <https://doi.org/10.1214/aoms/1177703732>). Where the posterior holds, it is the
/// posterior's own logarithm, less 0.02.
pub fn with_outliers(log_density: f32, z: impl Iterator<Item = f32>) -> f32 {
    let prior: f32 = z.map(|z| -0.5 * z * z - LN_SQRT_TAU).sum();
    let (own, outlier) = (log_density + libm::log1pf(-OUTLIERS), prior + libm::logf(OUTLIERS));
    own.max(outlier) + libm::log1pf(libm::expf(-(own - outlier).abs()))
}

/// `-log sum_k w_k N(z; m_k, C_k)` with outliers, per dimension.
///
/// Divided by the number of dimensions it has the size of the other heads' losses.
#[derive(Debug)]
pub(in crate::training) struct LogLikelihood {
    /// Column of each parameter.
    pub targets: Vec<usize>,
    /// Ends of each parameter's support.
    pub ends: Vec<Ends>,
    pub components: usize,
}

impl RowLoss for LogLikelihood {
    fn row(
        &self,
        outputs: &[f32],
        truth: Truth<'_>,
        scale: f32,
        gradient: &mut [f32],
        scratch: &mut Vec<f32>,
    ) -> f32 {
        let d = self.targets.len();
        let each = component_outputs(d);
        // Of each component: log density, then what each coordinate hands to the gradient.
        let kept = 1 + 3 * d;
        scratch.clear();
        scratch.resize(self.components * kept, 0.0);
        let largest_logit = outputs.iter().step_by(each).copied().fold(f32::NEG_INFINITY, f32::max);
        let logits = outputs.iter().step_by(each).map(|logit| libm::expf(logit - largest_logit));
        let log_sum = libm::logf(logits.sum::<f32>()) + largest_logit;
        let pairs = outputs.chunks_exact(each).zip(scratch.chunks_exact_mut(kept));
        for (component, memory) in pairs {
            let (log_density, memory) = memory.split_at_mut(1);
            let z = |i: usize| truth.targets[self.targets[i]];
            log_density[0] = component[0] - log_sum + self.log_component(component, z, memory);
        }
        let terms = scratch.iter().step_by(kept).copied();
        let largest = terms.clone().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = terms.map(|term| libm::expf(term - largest)).sum();
        let log_likelihood = libm::logf(sum) + largest;
        let robust =
            with_outliers(log_likelihood, self.targets.iter().map(|&at| truth.targets[at]));
        // How much of it is the posterior's.
        let own = libm::expf(log_likelihood + libm::log1pf(-OUTLIERS) - robust);
        let scale = scale / d as f32 * own;
        let gradients = gradient.chunks_exact_mut(each);
        let components = outputs.chunks_exact(each).zip(scratch.chunks_exact(kept));
        for (gradient, (component, memory)) in gradients.zip(components) {
            let responsibility = libm::expf(memory[0] - log_likelihood);
            let weight = libm::expf(component[0] - log_sum);
            gradient[0] = scale * (weight - responsibility);
            component_gradient(component, &memory[1..], scale * responsibility, gradient);
        }
        -robust / d as f32
    }
}

impl LogLikelihood {
    /// `log N(z; m, C)`; also of each coordinate, one behind the other, `z - m` and the derivatives of [`conditional`].
    fn log_component(
        &self,
        component: &[f32],
        z: impl Fn(usize) -> f32,
        memory: &mut [f32],
    ) -> f32 {
        let d = self.targets.len();
        let (low, high) = LOG_PRECISION_RANGE;
        let mut coefficients = &component[1 + 2 * d..];
        let mut log_density = 0.0;
        for i in 0..d {
            let (row, rest) = coefficients.split_at(i);
            coefficients = rest;
            let deviations = memory.iter().step_by(3);
            let regression: f32 = row.iter().zip(deviations).map(|(b, x)| b * x).sum();
            let mean = component[1 + i] + regression;
            let log_precision = component[1 + d + i].clamp(low, high);
            let [of_z, by_mean, by_log_precision] =
                conditional(z(i), mean, log_precision, self.ends[i]);
            log_density += of_z;
            let deviation = z(i) - component[1 + i];
            memory[3 * i..3 * i + 3].copy_from_slice(&[deviation, by_mean, by_log_precision]);
        }
        log_density
    }
}

/// Log density of `z` under a normal of this mean and logarithm of precision `l`, cut to `ends`, and its
/// derivatives by these two.
///
/// With the noise `e = (z - mean) exp(l)`, the ends `a` and `b` likewise, and the cut density `f` at them: by the mean it is
/// `exp(l) (e - f(a) + f(b))`, by `l` it is `1 - e^2 + a f(a) - b f(b)`. A mean beyond its reach moves with `exp(-l)`: its
/// distance `c` from there, in standard deviations, is taken off the second factor of each product.
fn conditional(z: f32, mean: f32, log_precision: f32, ends: Ends) -> [f32; 3] {
    let precision = libm::expf(log_precision);
    let gaussian = Gaussian { weight: 1.0, mean, sd: 1.0 / precision };
    let (noise_ends, within) = gaussian.cut_to(ends);
    let noise = (z - within) * precision;
    let cut = Cut::new(noise_ends.low, noise_ends.high);
    let log_density = log_precision - 0.5 * noise * noise - LN_SQRT_TAU - cut.log_mass;
    let by_noise = noise - cut.at_low + cut.at_high;
    let moved = within - mean;
    let anchor = if moved > 0.0 {
        noise_ends.low
    } else if moved < 0.0 {
        noise_ends.high
    } else {
        0.0
    };
    let product =
        |end: f32, density: f32| if density > 0.0 { (end - anchor) * density } else { 0.0 };
    let by_log_precision = 1.0 - noise * (noise - anchor) + product(noise_ends.low, cut.at_low)
        - product(noise_ends.high, cut.at_high);
    // Beyond its reach a mean may only come back.
    let pushed_out = by_noise * moved < 0.0;
    let by_mean = if pushed_out { 0.0 } else { by_noise * precision };
    [log_density, by_mean, by_log_precision]
}

/// `-scale` times the derivatives of `log N(z; m, C)`.
///
/// With `a_i` the derivative by the mean of coordinate `i` given those before it: by `B_ij` it is `a_i (z_j - m_j)`, by `m_j` it is
/// `a_j - sum_(i > j) B_ij a_i`.
fn component_gradient(component: &[f32], memory: &[f32], scale: f32, gradient: &mut [f32]) {
    let d = memory.len() / 3;
    let (low, high) = LOG_PRECISION_RANGE;
    let (by_mean, rest) = gradient[1..].split_at_mut(d);
    let (by_log_precision, mut by_coefficients) = rest.split_at_mut(d);
    by_mean.fill(0.0);
    let mut coefficients = &component[1 + 2 * d..];
    for (i, of_i) in memory.chunks_exact(3).enumerate() {
        let log_precision = component[1 + d + i];
        let a = scale * of_i[1];
        by_mean[i] -= a;
        let slope = -scale * of_i[2];
        // At its limit a precision may only come back.
        let pushed_out =
            (log_precision >= high && slope < 0.0) || (log_precision <= low && slope > 0.0);
        by_log_precision[i] = if pushed_out { 0.0 } else { slope };
        let (row, rest) = coefficients.split_at(i);
        coefficients = rest;
        let (by_row, rest) = std::mem::take(&mut by_coefficients).split_at_mut(i);
        by_coefficients = rest;
        for j in 0..i {
            by_row[j] = -a * memory[3 * j];
            by_mean[j] += a * row[j];
        }
    }
}

/// Outputs of a mixture to start from: equal shares, means spread like the prior, widths a little below the prior's.
///
/// Component means that start together stay together, and then the mixture is one Gaussian for long.
pub(in crate::training) fn initial_bias(d: usize, components: usize) -> Vec<f32> {
    /// `ln(1 / 0.7)`.
    const LOG_PRECISION: f32 = 0.356_675;
    let mut outputs = Vec::with_capacity(components * component_outputs(d));
    for k in 0..components {
        let first = outputs.len();
        outputs.push(0.0);
        outputs.extend((0..d).map(|i| spread_point(k, i, components)));
        outputs.extend(std::iter::repeat_n(LOG_PRECISION, d));
        outputs.resize(first + component_outputs(d), 0.0);
    }
    outputs
}

/// Coordinate `i` of starting point `k`: quantiles of the prior in another order for each coordinate.
pub(in crate::training) fn spread_point(k: usize, i: usize, components: usize) -> f32 {
    if components == 1 {
        return 0.0;
    }
    // An additive recurrence per coordinate with the fractional parts of square roots of primes: well spread, never equal.
    const PRIMES: [f64; 8] = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0];
    let step = PRIMES[i % PRIMES.len()].sqrt().fract();
    let share = (0.5 + (k + 1 + i / PRIMES.len()) as f64 * step).fract().clamp(0.05, 0.95);
    super::super::spec::logistic_quantile(share as f32)
}

#[cfg(test)]
mod tests {
    use simground_runtime::Gaussians;

    use super::*;

    /// A coordinate without ends, one with a lower end, one between two.
    const ENDS: [Ends; 3] =
        [Ends::NONE, Ends { low: -0.9, high: f32::INFINITY }, Ends { low: -1.0, high: 1.5 }];

    fn outputs(components: usize, d: usize) -> Vec<f32> {
        let n = components * component_outputs(d);
        (0..n).map(|i| (i as f32 * 1.7).sin() * 0.8).collect()
    }

    #[test]
    fn the_density_is_the_runtimes() {
        let (d, components) = (3, 2);
        let outputs = outputs(components, d);
        let loss = LogLikelihood { targets: vec![2, 0, 1], ends: ENDS.to_vec(), components };
        let targets = [0.3, -0.7, 1.1];
        let z = [1.1, 0.3, -0.7];
        let truth = Truth { targets: &targets, mechanism: 0 };
        let found = loss.row(&outputs, truth, 1.0, &mut [], &mut Vec::new());
        let gaussians = Gaussians::new(&outputs[..], d, components);
        let density = gaussians.log_density(&gaussians.weights(), &ENDS, &z);
        let expected = -with_outliers(density, z.into_iter()) / d as f32;
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }

    #[test]
    fn no_outlier_costs_more_than_the_prior_and_a_constant() {
        let z = || [0.5_f32, -2.0].into_iter();
        let prior: f32 = z().map(|z| -0.5 * z * z - LN_SQRT_TAU).sum();
        for far in [-1e3, -1e30, f32::NEG_INFINITY] {
            assert!((with_outliers(far, z()) - prior - OUTLIERS.ln()).abs() < 1e-5);
        }
        assert!((with_outliers(5.0, z()) - 5.0 - (1.0 - OUTLIERS).ln()).abs() < 1e-3);
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let (d, components) = (3, 2);
        let outputs = outputs(components, d);
        let loss = LogLikelihood { targets: vec![0, 1, 2], ends: ENDS.to_vec(), components };
        let truth = Truth { targets: &[0.3, -0.7, 1.1], mechanism: 0 };
        let mut gradient = vec![0.0; outputs.len()];
        loss.row(&outputs, truth, 2.0, &mut gradient, &mut Vec::new());
        for i in 0..outputs.len() {
            let moved = |step: f32| {
                let mut moved = outputs.clone();
                moved[i] += step;
                f64::from(loss.row(&moved, truth, 1.0, &mut [], &mut Vec::new()))
            };
            let slope = 2.0 * (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient[i])).abs() < 3e-3, "{i}: {slope} {}", gradient[i]);
        }
    }

    /// Derivatives against differences, with means inside, near and far beyond the ends.
    #[test]
    fn derivatives_of_a_cut_normal_are_slopes() {
        let ends = Ends { low: -1.0, high: 1.5 };
        for z in [-0.99_f32, 0.3, 1.45] {
            for mean in [-40.0_f32, -6.0, -1.2, 0.0, 1.4, 2.5, 30.0] {
                for log_precision in [-1.0_f32, 0.5, 2.0] {
                    let at = |mean: f32, l: f32| f64::from(conditional(z, mean, l, ends)[0]);
                    let [_, by_mean, by_log_precision] = conditional(z, mean, log_precision, ends);
                    let step = 2e-3_f32;
                    let slope = (at(mean, log_precision + step) - at(mean, log_precision - step))
                        / (2.0 * f64::from(step));
                    let error = (slope - f64::from(by_log_precision)).abs();
                    assert!(
                        error < 0.05 + 0.02 * slope.abs(),
                        "{z} {mean} {log_precision}: {slope} {by_log_precision}"
                    );
                    let slope = (at(mean + step, log_precision) - at(mean - step, log_precision))
                        / (2.0 * f64::from(step));
                    // Beyond its reach a mean does not matter, but may come back.
                    let beyond = slope == 0.0;
                    let error = (slope - f64::from(by_mean)).abs();
                    assert!(
                        beyond || error < 0.05 + 0.02 * slope.abs(),
                        "{z} {mean} {log_precision}: {slope} {by_mean}"
                    );
                    assert!(!beyond || by_mean * mean <= 0.0, "{by_mean}");
                }
            }
        }
    }

    #[test]
    fn starting_points_are_apart() {
        let (d, components) = (10, 8);
        let outputs = initial_bias(d, components);
        let each = component_outputs(d);
        assert_eq!(outputs.len(), components * each);
        let mean = |k: usize| &outputs[k * each + 1..k * each + 1 + d];
        for (a, b) in (0..components).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let squared: f32 = mean(a).iter().zip(mean(b)).map(|(x, y)| (x - y) * (x - y)).sum();
            assert!(squared > 1.0, "{a} {b}: {squared}");
        }
    }
}
