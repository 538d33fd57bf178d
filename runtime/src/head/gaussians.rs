//! A mixture of full-covariance Gaussians on a support, in the standardized space, read from a head's real outputs where they lie.
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
//!
//! Where a coordinate's support has ends, `e` is a standard normal cut to what keeps `z_i` between them: coordinate by coordinate,
//! given those before it, each divided by its own mass. So the density is normalized exactly whatever the covariance (that of one
//! Gaussian cut to a box has no closed form; the product of cut conditionals is the proposal of Geweke, Hajivassiliou and Keane),
//! no mass is outside, and a sample takes one inversion a coordinate. Without covariance the two are the same.

use heapless::Vec;
use rand_core::Rng;

use super::cut::{Cut, MEAN_REACH, variate_of_bits};
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

/// Ends of a coordinate's support, either of which may be infinite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends {
    /// Lower end.
    pub low: f32,
    /// Upper end.
    pub high: f32,
}

impl Ends {
    /// The whole line.
    pub const NONE: Ends = Ends { low: f32::NEG_INFINITY, high: f32::INFINITY };
}

/// A Gaussian on a line, cut to the support of its coordinate, and its share of a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gaussian {
    /// Share.
    pub weight: f32,
    /// Mean before the cut.
    pub mean: f32,
    /// Standard deviation before the cut.
    pub sd: f32,
}

impl Gaussian {
    /// The ends in standard deviations from the mean, which is moved to within [`MEAN_REACH`] of them; and the mean so moved.
    pub fn cut_to(&self, ends: Ends) -> (Ends, f32) {
        let reach = MEAN_REACH * self.sd;
        let mean = math::within(self.mean, ends.low - reach, ends.high + reach);
        let noise = |end: f32| (end - mean) / self.sd;
        (Ends { low: noise(ends.low), high: noise(ends.high) }, mean)
    }
}

/// A mixture of Gaussians in `d` dimensions, whose parameters are a head's outputs.
#[derive(Debug, Clone, Copy)]
pub struct Gaussians<O> {
    outputs: O,
    d: usize,
    components: usize,
}

/// Gaussians that the marginal of a cut component is made of: most below, between and above the ends.
pub const PARTS: usize = 3;

/// A coordinate whose mean before the cut is itself normal, by those before it.
#[derive(Debug, Clone, Copy)]
struct Given {
    /// Mean of the mean.
    mean: f32,
    /// Variance of the mean.
    variance: f32,
    /// Standard deviation around it.
    own_sd: f32,
}

impl Given {
    /// The coordinate's marginal, by where the mean lies: shares of Gaussians that are to be cut.
    ///
    /// A mean beyond an end piles the coordinate up at that end, with its own width; between the ends the two widths add up.
    fn parts(&self, ends: Ends) -> Vec<Gaussian, PARTS> {
        let sd = math::sqrt(self.variance);
        let sd_of = |variance: f32| math::sqrt(variance + self.own_sd * self.own_sd);
        let bounds = [f32::NEG_INFINITY, ends.low, ends.high, f32::INFINITY];
        let bounds = bounds.map(|bound| (bound - self.mean) / sd);
        let mut parts = Vec::new();
        for (between, (low, high)) in bounds.iter().zip(bounds.iter().skip(1)).enumerate() {
            let below = |bound: f32| math::normal_cdf(bound);
            let weight =
                if *low > 0.0 { below(-low) - below(-high) } else { below(*high) - below(*low) };
            // A share too small to matter has no moments either.
            if weight < 1e-6 || weight.is_nan() {
                continue;
            }
            let cut = Cut::new(*low, *high);
            let spread = if between == 1 { self.variance * cut.variance(*low, *high) } else { 0.0 };
            let part = Gaussian { weight, mean: self.mean + sd * cut.mean(), sd: sd_of(spread) };
            let _ = parts.push(part);
        }
        // Without a variance there is nothing to part.
        if parts.is_empty() {
            let _ = parts.push(Gaussian { weight: 1.0, mean: self.mean, sd: sd_of(self.variance) });
        }
        parts
    }
}

/// A coordinate of a component, cut.
#[derive(Debug, Clone, Copy)]
struct Moments {
    /// Its mean, from the mean before any cut.
    deviation: f32,
    /// How it answers to a shift of what it is given: 1 without a cut.
    slope: f32,
    /// Variance of its own noise.
    variance: f32,
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

    /// Logarithm of the density at `z`, which lies in the support; `weights` are those of [`Gaussians::weights`], `ends` those of
    /// each coordinate.
    pub fn log_density(&self, weights: &[f32], ends: &[Ends], z: &[f32]) -> f32 {
        let each = weights.iter().zip(0..);
        let terms = each.map(|(weight, k)| math::ln(*weight) + self.log_component(k, ends, z));
        let terms: Vec<f32, MAX_COMPONENTS> = crate::first_items(terms);
        let largest = terms.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if largest == f32::NEG_INFINITY {
            return largest;
        }
        let sum = terms.iter().fold(0.0, |sum, term| sum + math::exp(term - largest));
        largest + math::ln(sum)
    }

    /// Draws one `z`: a component by its weight, then each coordinate given those before it, between its ends.
    pub fn sample(
        &self,
        weights: &[f32],
        ends: &[Ends],
        rng: &mut (impl Rng + ?Sized),
        z: &mut [f32],
    ) {
        let k = choose(weights, rng.next_u32());
        let mut deviations: Vec<f32, MAX_THETA> = Vec::new();
        for ((i, z), ends) in z.iter_mut().enumerate().zip(ends).take(self.d) {
            let gaussian = self.conditional(k, i, &deviations);
            let (noise, mean) = gaussian.cut_to(*ends);
            let noise = variate_of_bits(noise.low, noise.high, rng.next_u32());
            *z = math::within(mean + gaussian.sd * noise, ends.low, ends.high);
            // There is room: `d` is within the limit.
            let _ = deviations.push(*z - self.mean(k, i));
        }
    }

    /// The mixture's marginal along one coordinate, as Gaussians that are to be cut to its ends: up to `PARTS` a component.
    ///
    /// Exact where nothing before the coordinate is cut and it is not either, or where it depends on none before it. Elsewhere the
    /// means and variances of cut coordinates are passed on.
    pub fn marginal(
        &self,
        weights: &[f32],
        ends: &[Ends],
        at: usize,
    ) -> Vec<Gaussian, { PARTS * MAX_COMPONENTS }> {
        let own = ends.get(at).copied().unwrap_or(Ends::NONE);
        let mut marginal = Vec::new();
        for (weight, k) in weights.iter().zip(0..) {
            for part in &self.given(k, at, &self.moments(k, ends, at)).parts(own) {
                // There is room: no more weights than components at most.
                let _ = marginal.push(Gaussian { weight: weight * part.weight, ..*part });
            }
        }
        marginal
    }

    /// Mean of one component along one coordinate, before any cut.
    pub fn mean(&self, component: usize, at: usize) -> f32 {
        self.outputs.value(self.row(component, at.saturating_add(1)))
    }

    /// Means of two coordinates in one component, and their covariance; as exact as [`Gaussians::marginal`].
    ///
    /// Each coordinate is its mean, plus its response to the noise of each before it, plus noise of its own: with these responses
    /// `c` it is `sum_j c_aj c_bj var_j`. Without a cut, `c` are the rows of `(I - B)^-1`.
    pub fn joint(&self, component: usize, ends: &[Ends], a: usize, b: usize) -> (f32, f32, f32) {
        let moments = self.moments(component, ends, a.max(b).saturating_add(1));
        let row = |at: usize| {
            let before = moments.get(..at).unwrap_or(&moments);
            let mut row = self.influences(component, at, before);
            let slope = moments.get(at).map_or(1.0, |m| m.slope);
            row.iter_mut().for_each(|c| *c *= slope);
            // There is room: a row is as long as its coordinate's position, which is below the limit.
            let _ = row.push(1.0);
            row
        };
        let (c_a, c_b) = (row(a), row(b));
        let products = c_a.iter().zip(&c_b).zip(&moments);
        let covariance = products.fold(0.0, |sum, ((x, y), m)| sum + x * y * m.variance);
        let mean = |at: usize| {
            self.mean(component, at) + moments.get(at).map_or(0.0, |moments| moments.deviation)
        };
        (mean(a), mean(b), covariance)
    }

    /// Moments of the coordinates before `end`.
    fn moments(&self, component: usize, ends: &[Ends], end: usize) -> Vec<Moments, MAX_THETA> {
        let mut moments: Vec<Moments, MAX_THETA> = Vec::new();
        for (i, ends) in ends.iter().enumerate().take(end.min(self.d)) {
            let given = self.given(component, i, &moments);
            let (mut mean, mut square, mut slope) = (0.0, 0.0, 0.0);
            // From the mean before the cut: squares of larger numbers would lose the variance.
            for part in given.parts(*ends) {
                let (noise, center) = part.cut_to(*ends);
                let cut = Cut::new(noise.low, noise.high);
                let response = cut.variance(noise.low, noise.high);
                let shift = center + part.sd * cut.mean() - given.mean;
                mean += part.weight * shift;
                square += part.weight * (shift * shift + part.sd * part.sd * response);
                slope += part.weight * response;
            }
            let variance = (square - mean * mean - slope * slope * given.variance).max(0.0);
            let deviation = given.mean + mean - self.mean(component, i);
            let _ = moments.push(Moments { deviation, slope, variance });
        }
        moments
    }

    /// What the coordinates before `at` make of its mean.
    fn given(&self, component: usize, at: usize, before: &[Moments]) -> Given {
        let row = self.influences(component, at, before);
        let variance = before.iter().zip(&row).fold(0.0, |sum, (m, c)| sum + c * c * m.variance);
        let mean = before.iter().enumerate().fold(self.mean(component, at), |sum, (j, m)| {
            sum + self.coefficient(component, at, j) * m.deviation
        });
        Given { mean, variance, own_sd: math::exp(-self.log_precision(component, at)) }
    }

    /// How the mean of coordinate `at` answers to the noise of each before it.
    fn influences(&self, component: usize, at: usize, before: &[Moments]) -> Vec<f32, MAX_THETA> {
        let mut row: Vec<f32, MAX_THETA> = crate::first_items(before.iter().map(|_| 0.0));
        for j in (0..row.len()).rev() {
            let behind = (j..row.len()).map(|m| m.saturating_add(1)).take_while(|m| *m < at);
            let sum = behind.fold(self.coefficient(component, at, j), |sum, m| {
                let slope = before.get(m).map_or(0.0, |moments| moments.slope);
                let through = row.get(m).copied().unwrap_or(0.0) * slope;
                sum + through * self.coefficient(component, m, j)
            });
            if let Some(entry) = row.get_mut(j) {
                *entry = sum;
            }
        }
        row
    }

    fn log_component(&self, component: usize, ends: &[Ends], z: &[f32]) -> f32 {
        let mut deviations: Vec<f32, MAX_THETA> = Vec::new();
        let mut log_density = 0.0;
        for ((i, z), ends) in z.iter().enumerate().zip(ends).take(self.d) {
            let gaussian = self.conditional(component, i, &deviations);
            let (cut, mean) = gaussian.cut_to(*ends);
            let noise = (z - mean) / gaussian.sd;
            let log_mass = Cut::new(cut.low, cut.high).log_mass;
            log_density += self.log_precision(component, i)
                - 0.5 * noise * noise
                - math::LN_SQRT_TAU
                - log_mass;
            let _ = deviations.push(z - self.mean(component, i));
        }
        log_density
    }

    /// Coordinate `i` given the deviations of those before it, not yet cut.
    fn conditional(&self, component: usize, i: usize, deviations: &[f32]) -> Gaussian {
        let mean = self.mean(component, i) + self.regression(component, i, deviations);
        Gaussian { weight: 1.0, mean, sd: math::exp(-self.log_precision(component, i)) }
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
        let ends = [Ends::NONE; 2];
        let weights = gaussians.weights();
        assert!((weights[0] - 0.25).abs() < 1e-6 && (weights[1] - 0.75).abs() < 1e-6);
        let z = [0.3_f32, -0.4];
        let mut density = 0.0;
        for k in 0..2 {
            let [v_00, v_01, v_11] = by_hand(k);
            let found = [(0, 0), (0, 1), (1, 1)].map(|(a, b)| gaussians.joint(k, &ends, a, b).2);
            for (found, expected) in found.into_iter().zip([v_00, v_01, v_11]) {
                assert!((f64::from(found) - expected).abs() < 1e-5 * (1.0 + expected.abs()));
            }
            let [x, y] = [0, 1].map(|i| f64::from(z[i] - gaussians.mean(k, i)));
            let determinant = v_00 * v_11 - v_01 * v_01;
            let square = (v_11 * x * x - 2.0 * v_01 * x * y + v_00 * y * y) / determinant;
            density += f64::from(weights[k]) * (-0.5 * square).exp()
                / (std::f64::consts::TAU * determinant.sqrt());
        }
        let found = f64::from(gaussians.log_density(&weights, &ends, &z));
        assert!((found - density.ln()).abs() < 1e-5, "{found} {}", density.ln());
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over many values: hours")]
    fn samples_have_the_moments() {
        let gaussians = Gaussians::new(&OUTPUTS[..], 2, 2);
        let weights = gaussians.weights();
        let mut bits = Bits(3);
        let n = 200_000;
        let mut sums = [0.0_f64; 5];
        for _ in 0..n {
            let mut z = [0.0; 2];
            gaussians.sample(&weights, &[Ends::NONE; 2], &mut bits, &mut z);
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

    /// A component well inside of the box, and one that the box cuts on two sides.
    const CUT: [Ends; 2] =
        [Ends { low: -2.2, high: 0.5 }, Ends { low: f32::NEG_INFINITY, high: 0.9 }];

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over many values: hours")]
    fn the_density_of_a_cut_mixture_is_normalized() {
        let gaussians = Gaussians::new(&OUTPUTS[..], 2, 2);
        let weights = gaussians.weights();
        let n = 700;
        let mut total = 0.0;
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let share = |at: i32| (at as f32 + 0.5) / n as f32;
            let z = [-2.2 + 2.7 * share(i), -7.1 + 8.0 * share(j)];
            let density = f64::from(gaussians.log_density(&weights, &CUT, &z)).exp();
            total += density * 2.7 * 8.0 / f64::from(n * n);
        }
        assert!((total - 1.0).abs() < 2e-3, "{total}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over many values: hours")]
    fn samples_of_a_cut_mixture_stay_inside_and_have_the_moments() {
        let gaussians = Gaussians::new(&OUTPUTS[..], 2, 2);
        let weights = gaussians.weights();
        let mut bits = Bits(3);
        let n = 100_000;
        let mut sums = [0.0_f64; 4];
        for _ in 0..n {
            let mut z = [0.0; 2];
            gaussians.sample(&weights, &CUT, &mut bits, &mut z);
            assert!(z.iter().zip(CUT).all(|(z, ends)| (ends.low..=ends.high).contains(z)));
            let [x, y] = z.map(f64::from);
            for (sum, term) in sums.iter_mut().zip([x, y, x * y, y * y]) {
                *sum += term / f64::from(n);
            }
        }
        let expected = |a: usize, b: usize| {
            weights.iter().enumerate().fold([0.0; 2], |[mean, product], (k, weight)| {
                let (m_a, m_b, covariance) = gaussians.joint(k, &CUT, a, b);
                [
                    mean + f64::from(weight * m_a),
                    product + f64::from(weight * (covariance + m_a * m_b)),
                ]
            })
        };
        assert!((sums[0] - expected(0, 0)[0]).abs() < 0.01, "{sums:?}");
        // The second coordinate's moments are approximate.
        let pairs = [expected(1, 1)[0], expected(0, 1)[1], expected(1, 1)[1]];
        for (at, (found, expected)) in sums[1..].iter().zip(pairs).enumerate() {
            assert!((found - expected).abs() < 0.06, "{at}: {found} {expected}");
        }
        for at in 0..2 {
            let marginal = gaussians.marginal(&weights, &CUT, at);
            let mean: f32 = (marginal.iter())
                .map(|g| {
                    let (cut, mean) = g.cut_to(CUT[at]);
                    g.weight * (mean + g.sd * Cut::new(cut.low, cut.high).mean())
                })
                .sum();
            assert!((f64::from(mean) - sums[at]).abs() < 0.03, "{at}: {mean} {sums:?}");
        }
    }

    #[test]
    fn absurd_outputs_stay_numbers_or_infinite() {
        let outputs = [f32::MAX, f32::MIN, 0.0, 1e30, -1e30, f32::MAX].repeat(2);
        let gaussians = Gaussians::new(&outputs[..], 2, 2);
        let weights = gaussians.weights();
        assert_eq!(weights.iter().sum::<f32>(), 1.0);
        assert_eq!(
            gaussians.log_density(&weights, &[Ends::NONE; 2], &[0.0, 0.0]),
            f32::NEG_INFINITY
        );
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
