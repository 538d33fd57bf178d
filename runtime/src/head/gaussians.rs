//! A mixture of full-covariance Gaussians in the standardized space, read from a head's real outputs where they lie.
//!
//! Component `k` has `1 + d (d + 3) / 2` outputs: its logit; `d` means `m`; `d` logarithms `l`; and row by row below the
//! diagonal the coefficients `B` of
//!
//! ```text
//! z_i = m_i + sum_(j < i) B_ij (z_j - m_j) + exp(-l_i) e_i,   e standard normal
//! ```
//!
//! the modified Cholesky factors of the precision, `P = (I - B)^T diag(exp(2 l)) (I - B)` (Pourahmadi 1999,
//! <https://doi.org/10.1093/biomet/86.3.677>, eq. (2)). Any real outputs are a positive definite covariance; a sample takes no division
//! and no solve; all widths scale together with a shift of `l`.

use heapless::Vec;
use rand_core::Rng;

use crate::artifact::{MAX_COMPONENTS, MAX_THETA};
use crate::math;

/// Logarithms of precision are clamped to this range: standard deviations from `e^-12` to `e^5` of the prior's.
pub const LOG_PRECISION_RANGE: (f32, f32) = (-5.0, 12.0);

/// Real outputs of a head by row; past the last they are 0.
pub trait Outputs {
    /// The value of one output.
    fn value(&self, row: usize) -> f32;
}

impl Outputs for &[f32] {
    fn value(&self, row: usize) -> f32 {
        self.get(row).copied().unwrap_or(0.0)
    }
}

/// A Gaussian on a line, and its share of a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gaussian {
    /// Share.
    pub weight: f32,
    /// Mean.
    pub mean: f32,
    /// Standard deviation.
    pub sd: f32,
}

/// A mixture of Gaussians in `d` dimensions, whose parameters are a head's outputs.
#[derive(Debug, Clone, Copy)]
pub struct Gaussians<O> {
    outputs: O,
    d: usize,
    components: usize,
}

/// Outputs of one component in `d` dimensions.
pub fn component_outputs(d: usize) -> usize {
    d.saturating_mul(d.saturating_add(3)).wrapping_shr(1).saturating_add(1)
}

impl<O: Outputs> Gaussians<O> {
    /// Reads `components` Gaussians in `d` dimensions from `outputs`; counts beyond the format's limits are cut to them.
    pub fn new(outputs: O, d: usize, components: usize) -> Self {
        Gaussians { outputs, d: d.min(MAX_THETA), components: components.min(MAX_COMPONENTS) }
    }

    /// All outputs in order.
    pub fn outputs(&self) -> impl Iterator<Item = f32> + '_ {
        let rows = self.components.saturating_mul(component_outputs(self.d));
        (0..rows).map(|row| self.outputs.value(row))
    }

    /// Shares of the components; they add up to 1.
    pub fn weights(&self) -> Vec<f32, MAX_COMPONENTS> {
        let logits = (0..self.components).map(|k| self.outputs.value(self.row(k, 0)));
        let mut weights: Vec<f32, MAX_COMPONENTS> = crate::first_items(logits);
        super::categorical::softmax(&mut weights);
        weights
    }

    /// Logarithm of the density at `z`; `weights` are those of [`Gaussians::weights`].
    pub fn log_density(&self, weights: &[f32], z: &[f32]) -> f32 {
        let each = weights.iter().zip(0..);
        let terms = each.map(|(weight, k)| math::ln(*weight) + self.log_component(k, z));
        let terms: Vec<f32, MAX_COMPONENTS> = crate::first_items(terms);
        let largest = terms.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if largest == f32::NEG_INFINITY {
            return largest;
        }
        let sum = terms.iter().fold(0.0, |sum, term| sum + math::exp(term - largest));
        largest + math::ln(sum)
    }

    /// Draws one `z`: a component by its weight, then each coordinate given those before it.
    pub fn sample(&self, weights: &[f32], rng: &mut (impl Rng + ?Sized), z: &mut [f32]) {
        let k = choose(weights, rng.next_u32());
        let mut deviations: Vec<f32, MAX_THETA> = Vec::new();
        for (i, z) in z.iter_mut().enumerate().take(self.d) {
            let noise = math::normal_of_bits(rng.next_u32());
            let deviation =
                self.regression(k, i, &deviations) + math::exp(-self.log_precision(k, i)) * noise;
            *z = self.mean(k, i) + deviation;
            // There is room: `d` is within the limit.
            let _ = deviations.push(deviation);
        }
    }

    /// The mixture's marginal along one coordinate.
    pub fn marginal(&self, weights: &[f32], at: usize) -> Vec<Gaussian, MAX_COMPONENTS> {
        let each = weights.iter().zip(0..).map(|(&weight, k)| {
            let sd = math::sqrt(self.covariance(k, at, at));
            Gaussian { weight, mean: self.mean(k, at), sd }
        });
        crate::first_items(each)
    }

    /// Mean of one component along one coordinate.
    pub fn mean(&self, component: usize, at: usize) -> f32 {
        self.outputs.value(self.row(component, at.saturating_add(1)))
    }

    /// Covariance of two coordinates in one component.
    ///
    /// `z - m = (I - B)^-1 diag(exp(-l)) e`: with the rows `c` of `(I - B)^-1` it is `sum_j c_aj c_bj exp(-2 l_j)`.
    pub fn covariance(&self, component: usize, a: usize, b: usize) -> f32 {
        let (c_a, c_b) = (self.influences(component, a), self.influences(component, b));
        let products = c_a.iter().zip(&c_b).enumerate();
        products.fold(0.0, |sum, (j, (x, y))| {
            sum + x * y * math::exp(-2.0 * self.log_precision(component, j))
        })
    }

    /// How coordinate `at` answers to the noise of each before it: row `at` of `(I - B)^-1` up to the diagonal.
    fn influences(&self, component: usize, at: usize) -> Vec<f32, MAX_THETA> {
        let mut row: Vec<f32, MAX_THETA> = crate::first_items((0..=at).map(|_| 0.0));
        if let Some(last) = row.last_mut() {
            *last = 1.0;
        }
        for j in (0..at).rev() {
            let behind = (j..at).map(|m| m.saturating_add(1));
            let sum = behind.fold(0.0, |sum, m| {
                sum + row.get(m).copied().unwrap_or(0.0) * self.coefficient(component, m, j)
            });
            if let Some(entry) = row.get_mut(j) {
                *entry = sum;
            }
        }
        row
    }

    fn log_component(&self, component: usize, z: &[f32]) -> f32 {
        let mut deviations: Vec<f32, MAX_THETA> = Vec::new();
        let mut log_density = 0.0;
        for (i, z) in z.iter().enumerate().take(self.d) {
            let deviation = z - self.mean(component, i);
            let log_precision = self.log_precision(component, i);
            let rest = deviation - self.regression(component, i, &deviations);
            let noise = math::exp(log_precision) * rest;
            log_density += log_precision - 0.5 * noise * noise - math::LN_SQRT_TAU;
            let _ = deviations.push(deviation);
        }
        log_density
    }

    /// `sum_(j < i) B_ij (z_j - m_j)`.
    fn regression(&self, component: usize, i: usize, deviations: &[f32]) -> f32 {
        let terms = deviations.iter().enumerate();
        terms.fold(0.0, |sum, (j, deviation)| sum + self.coefficient(component, i, j) * deviation)
    }

    fn log_precision(&self, component: usize, i: usize) -> f32 {
        let (low, high) = LOG_PRECISION_RANGE;
        let row = self.d.saturating_add(i).saturating_add(1);
        math::within(self.outputs.value(self.row(component, row)), low, high)
    }

    /// `B_ij` for `j < i`.
    fn coefficient(&self, component: usize, i: usize, j: usize) -> f32 {
        let before = i.saturating_mul(i.saturating_sub(1)).wrapping_shr(1);
        let row = self.d.saturating_mul(2).saturating_add(before).saturating_add(j);
        self.outputs.value(self.row(component, row.saturating_add(1)))
    }

    fn row(&self, component: usize, within: usize) -> usize {
        component.saturating_mul(component_outputs(self.d)).saturating_add(within)
    }
}

/// The component into whose share of `0..2^32` the bits fall.
fn choose(weights: &[f32], bits: u32) -> usize {
    let mut left = math::float_u64(u64::from(bits)) / 4_294_967_296.0;
    for (k, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return k;
        }
    }
    // Rounding can leave the shares a little short of 1.
    weights.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::{Infallible, TryRng};

    /// Two components in two dimensions: logit, means, logarithms of precision, coefficient.
    const OUTPUTS: [f32; 12] =
        [0.0, 1.0, -2.0, 0.5, 0.25, 0.8, 1.098_612_3, -0.5, 0.75, 0.0, 1.0, -1.5];

    struct Bits(u64);

    impl TryRng for Bits {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Ok((self.0 >> 32) as u32)
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            self.try_next_u32().map(u64::from)
        }

        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
            Ok(())
        }
    }

    /// Covariance of component `k` by hand: `z_0 = m_0 + s_0 e_0`, `z_1 = m_1 + B s_0 e_0 + s_1 e_1`.
    fn by_hand(k: usize) -> [f64; 3] {
        let [_, _, _, l_0, l_1, b] = OUTPUTS.as_chunks::<6>().0[k].map(f64::from);
        let (v_0, v_1) = ((-2.0 * l_0).exp(), (-2.0 * l_1).exp());
        [v_0, b * v_0, b * b * v_0 + v_1]
    }

    #[test]
    fn covariances_and_densities_by_hand() {
        let gaussians = Gaussians::new(&OUTPUTS[..], 2, 2);
        let weights = gaussians.weights();
        assert!((weights[0] - 0.25).abs() < 1e-6 && (weights[1] - 0.75).abs() < 1e-6);
        let z = [0.3_f32, -0.4];
        let mut density = 0.0;
        for k in 0..2 {
            let [v_00, v_01, v_11] = by_hand(k);
            let found = [(0, 0), (0, 1), (1, 1)].map(|(a, b)| gaussians.covariance(k, a, b));
            for (found, expected) in found.into_iter().zip([v_00, v_01, v_11]) {
                assert!((f64::from(found) - expected).abs() < 1e-5 * (1.0 + expected.abs()));
            }
            let [x, y] = [0, 1].map(|i| f64::from(z[i] - gaussians.mean(k, i)));
            let determinant = v_00 * v_11 - v_01 * v_01;
            let square = (v_11 * x * x - 2.0 * v_01 * x * y + v_00 * y * y) / determinant;
            density += f64::from(weights[k]) * (-0.5 * square).exp()
                / (std::f64::consts::TAU * determinant.sqrt());
        }
        let found = f64::from(gaussians.log_density(&weights, &z));
        assert!((found - density.ln()).abs() < 1e-5, "{found} {}", density.ln());
    }

    #[test]
    fn samples_have_the_moments() {
        let gaussians = Gaussians::new(&OUTPUTS[..], 2, 2);
        let weights = gaussians.weights();
        let mut bits = Bits(3);
        let n = 200_000;
        let mut sums = [0.0_f64; 5];
        for _ in 0..n {
            let mut z = [0.0; 2];
            gaussians.sample(&weights, &mut bits, &mut z);
            let [x, y] = z.map(f64::from);
            for (sum, term) in sums.iter_mut().zip([x, y, x * x, x * y, y * y]) {
                *sum += term / f64::from(n);
            }
        }
        let mut expected = [0.0; 5];
        for k in 0..2 {
            let weight = f64::from(weights[k]);
            let [m_0, m_1] = [0, 1].map(|i| f64::from(gaussians.mean(k, i)));
            let [v_00, v_01, v_11] = by_hand(k);
            let terms = [m_0, m_1, v_00 + m_0 * m_0, v_01 + m_0 * m_1, v_11 + m_1 * m_1];
            for (sum, term) in expected.iter_mut().zip(terms) {
                *sum += weight * term;
            }
        }
        for (found, expected) in sums.into_iter().zip(expected) {
            assert!((found - expected).abs() < 0.03 * (1.0 + expected.abs()), "{found} {expected}");
        }
    }

    #[test]
    fn absurd_outputs_stay_numbers_or_infinite() {
        let outputs = [f32::MAX, f32::MIN, 0.0, 1e30, -1e30, f32::MAX].repeat(2);
        let gaussians = Gaussians::new(&outputs[..], 2, 2);
        let weights = gaussians.weights();
        assert_eq!(weights.iter().sum::<f32>(), 1.0);
        assert_eq!(gaussians.log_density(&weights, &[0.0, 0.0]), f32::NEG_INFINITY);
    }

    #[test]
    fn a_component_is_chosen_by_its_share() {
        let weights = [0.25, 0.0, 0.5, 0.25];
        assert_eq!(choose(&weights, 0), 0);
        assert_eq!(choose(&weights, (1 << 30) - 1_000), 0);
        assert_eq!(choose(&weights, (1 << 30) + 1_000), 2);
        assert_eq!(choose(&weights, u32::MAX), 3);
        assert_eq!(choose(&[0.5, 0.499], u32::MAX), 1);
    }
}
