//! The parameters of theta that a head answers: their support, and the way into the space where densities are
//! modelled.

use serde::{Deserialize, Serialize};

use super::cut::{Cut, MEAN_REACH};
use super::gaussians::{Ends, Gaussian};
use crate::artifact::{FLOAT_LIMIT, MAX_THETA, Records};
use crate::error::{ArtifactError, Part};
use crate::math;

/// Largest magnitude of a standardized value that is turned into a physical one; farther out there is only noise.
const Z_LIMIT: f32 = 1_048_576.0;

/// The space in which a density of a parameter is modelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParameterTransform {
    /// `theta`. Where its support has ends, they are those of the density: a posterior may end there at its highest.
    Identity,
    /// `ln(theta - low)`, or `-ln(high - theta)` where only `high` is finite: no end is left.
    Log,
    /// `ln(theta)` of a parameter whose support ends at two positive values: for priors that span decades. The ends stay.
    LogValue,
}

/// One entry of theta that a head answers.
///
/// `z = (transform(theta) - center) / spread`. A whole number `n` stands for all of `n - 1/2 .. n + 1/2`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Parameter<'a> {
    /// Name.
    pub name: &'a str,
    /// Unit, for people.
    pub unit: &'a str,
    /// Way to the unbounded space.
    pub transform: ParameterTransform,
    /// Whether it is a whole number.
    pub integer: bool,
    /// Lower end of the support; may be minus infinity.
    pub low: f32,
    /// Upper end of the support; may be infinity.
    pub high: f32,
    /// Center in transformed units.
    pub center: f32,
    /// Spread in transformed units; positive.
    pub spread: f32,
}

impl Parameter<'_> {
    /// Into the standardized space. Outside the support of a logarithm as at its nearest end.
    pub fn to_z(&self, theta: f32) -> f32 {
        self.z_by(math::ln, theta)
    }

    /// The same on every device, also where answers are made by another library: for integers that a self-test compares.
    pub(crate) fn exact_z(&self, theta: f32) -> f32 {
        // One copy of the code where both are the same.
        if cfg!(feature = "micromath") { self.z_by(libm::logf, theta) } else { self.to_z(theta) }
    }

    fn z_by(&self, ln: impl Fn(f32) -> f32, theta: f32) -> f32 {
        let (low, high) = self.edges();
        let u = match self.transform {
            ParameterTransform::Identity => theta,
            ParameterTransform::Log if low.is_finite() => ln((theta - low).max(f32::MIN_POSITIVE)),
            ParameterTransform::Log => -ln((high - theta).max(f32::MIN_POSITIVE)),
            ParameterTransform::LogValue => ln(theta.max(f32::MIN_POSITIVE)),
        };
        (u - self.center) / self.spread
    }

    /// Ends of the support in the standardized space.
    pub fn ends(&self) -> Ends {
        match self.transform {
            ParameterTransform::Log => Ends::NONE,
            ParameterTransform::Identity | ParameterTransform::LogValue => {
                let (low, high) = self.edges();
                Ends { low: self.to_z(low), high: self.to_z(high) }
            }
        }
    }

    /// From the standardized space to physical units: always inside the support.
    ///
    /// ```
    /// use simground_runtime::artifact::{Parameter, ParameterTransform};
    /// let rate = Parameter {
    ///     name: "rate",
    ///     unit: "1/day",
    ///     transform: ParameterTransform::Identity,
    ///     integer: false,
    ///     low: 0.2,
    ///     high: 0.6,
    ///     center: 0.4,
    ///     spread: 0.1,
    /// };
    /// assert!((rate.from_z(1.0) - 0.5).abs() < 1e-6);
    /// assert!((rate.from_z(rate.to_z(0.25)) - 0.25).abs() < 1e-6);
    /// assert_eq!(rate.from_z(f32::INFINITY), 0.6);
    /// ```
    pub fn from_z(&self, z: f32) -> f32 {
        let (low, high) = self.edges();
        let u = self.center + self.spread * math::within(z, -Z_LIMIT, Z_LIMIT);
        let theta = match self.transform {
            ParameterTransform::Identity => u,
            ParameterTransform::Log if low.is_finite() => low + math::exp(u),
            ParameterTransform::Log => high - math::exp(-u),
            ParameterTransform::LogValue => math::exp(u),
        };
        let theta = if self.integer { math::round(theta) } else { theta };
        self.inside(theta)
    }

    /// `ln |dz / dtheta|`, which turns a density of `z` into one of theta; minus infinity outside the support.
    pub fn log_slope(&self, theta: f32) -> f32 {
        let (low, high) = self.edges();
        if !(self.low <= theta && theta <= self.high) {
            return f32::NEG_INFINITY;
        }
        let slope = match self.transform {
            ParameterTransform::Identity => 0.0,
            ParameterTransform::Log if low.is_finite() => {
                -math::ln((theta - low).max(f32::MIN_POSITIVE))
            }
            ParameterTransform::Log => -math::ln((high - theta).max(f32::MIN_POSITIVE)),
            ParameterTransform::LogValue => -math::ln(theta.max(f32::MIN_POSITIVE)),
        };
        slope - math::ln(self.spread)
    }

    /// Mean of theta where `z` is this Gaussian, cut to the support; in closed form.
    pub(crate) fn mean_of_normal(&self, gaussian: &Gaussian) -> f32 {
        let (low, high) = self.edges();
        let (cut, mean) = gaussian.cut_to(self.ends());
        let u = self.center + self.spread * math::within(mean, -Z_LIMIT, Z_LIMIT);
        let sd = self.spread * gaussian.sd;
        let half = 0.5 * sd * sd;
        let theta = match self.transform {
            ParameterTransform::Identity => u + sd * Cut::new(cut.low, cut.high).mean(),
            ParameterTransform::Log if low.is_finite() => low + math::exp(u + half),
            ParameterTransform::Log => high - math::exp(half - u),
            // exp tilts a normal into one whose mean is `sd^2` higher: a ratio of two masses.
            ParameterTransform::LogValue => {
                let log_mass = Cut::new(cut.low, cut.high).log_mass;
                let (far, near) = (sd - cut.low, sd - cut.high);
                let log_mean = if near <= MEAN_REACH {
                    u + half + Cut::new(cut.low - sd, cut.high - sd).log_mass
                } else {
                    // Seen from the upper end, `half` cancels.
                    u + (sd - 0.5 * cut.high) * cut.high + log_tail(near, far)
                };
                math::exp(log_mean - log_mass)
            }
        };
        self.inside(theta)
    }

    /// The nearest finite value of the support; a NaN, too, becomes one.
    pub(crate) fn inside(&self, theta: f32) -> f32 {
        math::within(theta, self.low.max(f32::MIN), self.high.min(f32::MAX))
    }

    /// The support of the unrounded value.
    fn edges(&self) -> (f32, f32) {
        let half = if self.integer { 0.5 } else { 0.0 };
        (self.low - half, self.high + half)
    }

    fn is_sound(&self) -> bool {
        let finite = |value: f32| value.abs() <= FLOAT_LIMIT;
        let end = |value: f32| finite(value) || value.is_infinite();
        let transformed = match self.transform {
            ParameterTransform::Identity => true,
            ParameterTransform::Log => finite(self.low) != finite(self.high),
            ParameterTransform::LogValue => finite(self.high) && self.edges().0 > 0.0,
        };
        let (low, high) = self.edges();
        transformed
            && low < high
            && end(self.low)
            && end(self.high)
            && self.low <= self.high
            && finite(self.center)
            && finite(self.spread)
            && self.spread > 0.0
    }
}

/// Logarithm of the standard normal's mass from `near` to `far`, both large, less that of `exp(-near^2 / 2)`: a tail that no `f32` holds
/// (Abramowitz and Stegun 1964, eq. 26.2.12).
#[cold]
#[inline(never)]
fn log_tail(near: f32, far: f32) -> f32 {
    let mills = |x: f32| {
        let square = 1.0 / (x * x);
        (1.0 - square * (1.0 - 3.0 * square)) / x
    };
    let fall = math::exp(-0.5 * (far - near) * (far + near));
    math::ln(mills(near) - fall * mills(far)) - math::LN_SQRT_TAU
}

/// Proves a head's parameters; their number.
pub(crate) fn prove(
    parameters: &Records<'_, Parameter<'_>>,
    part: Part,
) -> Result<usize, ArtifactError> {
    if !parameters.is_valid() {
        return Err(ArtifactError::Undecodable(part));
    }
    if parameters.is_empty() || parameters.len() > MAX_THETA {
        return Err(ArtifactError::Shape(part));
    }
    if !parameters.iter().all(|parameter| parameter.is_sound()) {
        return Err(ArtifactError::Value(part));
    }
    Ok(parameters.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::cut::variate_of_bits;
    use proptest::prelude::*;

    fn parameter(transform: ParameterTransform, low: f32, high: f32) -> Parameter<'static> {
        Parameter {
            name: "",
            unit: "",
            transform,
            integer: false,
            low,
            high,
            center: 0.25,
            spread: 0.75,
        }
    }

    fn parameters() -> [Parameter<'static>; 7] {
        use ParameterTransform::{Identity, Log, LogValue};
        let count = Parameter { integer: true, ..parameter(Identity, 1.0, 5.0) };
        let uniform = Parameter { center: 3.0, spread: 1.0, ..count };
        [
            parameter(Identity, f32::NEG_INFINITY, f32::INFINITY),
            parameter(Log, 2.0, f32::INFINITY),
            parameter(Log, f32::NEG_INFINITY, 2.0),
            parameter(Identity, -1.0, 3.0),
            parameter(Identity, -0.5, f32::INFINITY),
            parameter(LogValue, 0.02, 9.0),
            uniform,
        ]
    }

    proptest! {
        #[test]
        fn answers_never_leave_the_support(bits: u32, which in 0..7_usize) {
            let parameter = parameters()[which];
            let theta = parameter.from_z(f32::from_bits(bits));
            prop_assert!(parameter.low <= theta && theta <= parameter.high, "{theta}");
            prop_assert!(!parameter.integer || theta.fract() == 0.0);
        }

        #[test]
        fn there_and_back_is_the_same(z in -1.0_f32..2.0, which in 0..6_usize) {
            let parameter = parameters()[which];
            let ends = parameter.ends();
            prop_assert!(ends.low < -0.9 && ends.high > 1.9);
            let z = math::within(z, ends.low, ends.high);
            let again = parameter.to_z(parameter.from_z(z));
            prop_assert!((again - z).abs() < 2e-4, "{z} {again}");
        }

        #[test]
        fn the_slope_is_that_of_the_way_in(z in -0.9_f32..1.9, which in 0..6_usize) {
            let parameter = parameters()[which];
            let theta = parameter.from_z(z);
            let step = 1e-2 * (parameter.from_z(z + 0.1) - theta);
            let secant = (parameter.to_z(theta + step) - parameter.to_z(theta - step)) / (2.0 * step);
            let slope = parameter.log_slope(theta).exp();
            prop_assert!((secant / slope - 1.0).abs() < 2e-2, "{secant} {slope}");
        }

        #[test]
        fn the_mean_is_that_of_the_quantiles(mean in -1.5_f32..1.5, sd in 0.01_f32..0.8, which in 0..6_usize) {
            let parameter = parameters()[which];
            let gaussian = Gaussian { weight: 1.0, mean, sd };
            let (cut, mean) = gaussian.cut_to(parameter.ends());
            let variates = (0..4_000_u32).map(|i| variate_of_bits(cut.low, cut.high, i * 1_073_741 + 536_870));
            let average = variates.map(|e| f64::from(parameter.from_z(mean + sd * e))).sum::<f64>() / 4_000.0;
            let found = f64::from(parameter.mean_of_normal(&gaussian));
            prop_assert!((found - average).abs() < 2e-3 * (1.0 + average.abs()), "{found} {average}");
        }
    }

    /// Against the integral over the quantiles of a normal that is nearly flat between the ends, or far wider than they are apart.
    #[test]
    fn the_mean_of_a_log_uniform_parameter_is_inside() {
        for (low, high) in [(1e-3_f32, 1e3_f32), (1e-2, 1e2), (0.5, 800.0)] {
            let (a, b) = (low.ln(), high.ln());
            let (center, spread) = (0.5 * (a + b), (b - a) / 12.0_f32.sqrt());
            let parameter = Parameter { low, high, center, spread, ..parameters()[5] };
            for sd in [0.3_f32, 1.0, 2.0, 3.0, 3.5, 6.0, 10.0, 50.0, 148.0] {
                let gaussian = Gaussian { weight: 1.0, mean: 0.0, sd };
                let (cut, mean) = gaussian.cut_to(parameter.ends());
                let value = |i: u32| {
                    let variate = variate_of_bits(cut.low, cut.high, i * 1_073_741 + 536_870);
                    f64::from(parameter.from_z(mean + sd * variate))
                };
                let expected = (0..4_000).map(value).sum::<f64>() / 4_000.0;
                let found = f64::from(parameter.mean_of_normal(&gaussian));
                assert!(
                    (found / expected - 1.0).abs() < 5e-3,
                    "{low} {high} {sd}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_whole_number_stands_for_its_neighborhood() {
        let count = parameters()[6];
        let ends = count.ends();
        assert_eq!((ends.low, ends.high), (-2.5, 2.5));
        let of =
            |i: i32| count.from_z(ends.low + (ends.high - ends.low) * (i as f32 + 0.5) / 1_000.0);
        let share = |n: i32| (0..1_000).filter(|i| of(*i) == n as f32).count();
        assert_eq!([1, 2, 3, 4, 5].map(share), [200; 5]);
        assert_eq!(count.log_slope(0.75), f32::NEG_INFINITY);
    }
}
