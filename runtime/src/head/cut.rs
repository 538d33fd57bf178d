//! The standard normal distribution cut to an interval: what a Gaussian is on a support with ends.

use crate::math;

/// A mean lies at most this many standard deviations outside of the support.
///
/// Farther out a cut Gaussian is an exponential of rate `distance / sd^2` but for a hundredth, so that nothing is lost; and
/// within, every tail is a normal `f32`.
pub const MEAN_REACH: f32 = 10.0;

/// A standard normal, cut to `low..high` and renormalized; what is needed of it for densities and moments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Logarithm of the normal's mass between the ends.
    pub log_mass: f32,
    /// Density of the cut distribution at its lower end; 0 without one.
    pub at_low: f32,
    /// Density of the cut distribution at its upper end; 0 without one.
    pub at_high: f32,
}

impl Cut {
    /// Cuts to `low..high`, either of which may be infinite; the interval reaches to within [`MEAN_REACH`] of zero.
    ///
    /// The mass is a difference of tails of the side on which the interval lies, which keeps its digits.
    pub fn new(low: f32, high: f32) -> Cut {
        if low == f32::NEG_INFINITY && high == f32::INFINITY {
            return Cut { log_mass: 0.0, at_low: 0.0, at_high: 0.0 };
        }
        let mass = if low > 0.0 {
            math::normal_cdf(-low) - math::normal_cdf(-high)
        } else {
            math::normal_cdf(high) - math::normal_cdf(low)
        };
        let mass = mass.max(f32::MIN_POSITIVE);
        let density = |end: f32| math::exp(-0.5 * end * end - math::LN_SQRT_TAU) / mass;
        Cut { log_mass: math::ln(mass), at_low: density(low), at_high: density(high) }
    }

    /// Mean of the cut distribution.
    pub fn mean(&self) -> f32 {
        self.at_low - self.at_high
    }

    /// Variance of the cut distribution, whose ends are those of [`Cut::new`].
    pub fn variance(&self, low: f32, high: f32) -> f32 {
        // An infinite end has no density, and an infinity times 0 is none either.
        let end = |end: f32, density: f32| if end.is_finite() { end * density } else { 0.0 };
        let mean = self.mean();
        (1.0 + end(low, self.at_low) - end(high, self.at_high) - mean * mean).max(0.0)
    }
}

/// Share of a standard normal cut to `low..high` that lies below `x`.
pub(crate) fn share_below(low: f32, high: f32, x: f32) -> f32 {
    let x = math::within(x, low, high);
    let (below, all) = if low > 0.0 {
        let tail = math::normal_cdf(-low);
        (tail - math::normal_cdf(-x), tail - math::normal_cdf(-high))
    } else {
        let tail = math::normal_cdf(low);
        (math::normal_cdf(x) - tail, math::normal_cdf(high) - tail)
    };
    math::within(below / all.max(f32::MIN_POSITIVE), 0.0, 1.0)
}

/// A variate of a standard normal cut to `low..high` from 32 uniform bits: the quantile at `(bits + 1/2) / 2^32`.
///
/// One inversion, no rejection. From the nearer tail, where a probability keeps its digits.
pub(crate) fn variate_of_bits(low: f32, high: f32, bits: u32) -> f32 {
    const STEP: f32 = 1.0 / 4_294_967_296.0;
    if low == f32::NEG_INFINITY && high == f32::INFINITY {
        return math::normal_of_bits(bits);
    }
    let share = |bits: u32| (math::float_u64(u64::from(bits)) + 0.5) * STEP;
    let (from_low, from_high) = (share(bits), share(!bits));
    let between = |at_low: f32, at_high: f32| at_low * from_high + at_high * from_low;
    let below = between(math::normal_cdf(low), math::normal_cdf(high));
    let above = between(math::normal_cdf(-low), math::normal_cdf(-high));
    let x =
        if below < above { math::normal_quantile(below) } else { -math::normal_quantile(above) };
    math::within(x, low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends with the mean inside, near an end, and far outside; wide and narrow.
    const INTERVALS: [(f32, f32); 9] = [
        (-1.0, 2.0),
        (0.5, 0.75),
        (-0.01, 0.01),
        (3.0, f32::INFINITY),
        (f32::NEG_INFINITY, -4.0),
        (9.9, 30.0),
        (-200.0, -9.0),
        (-2.0, 80.0),
        (f32::NEG_INFINITY, f32::INFINITY),
    ];

    /// Mass and moments by the midpoint rule, relative to the density at the point nearest to zero.
    fn by_sum(low: f32, high: f32) -> [f64; 3] {
        let (low, high) = (f64::from(low).max(-12.0), f64::from(high).min(12.0));
        let n = 400_000;
        let mut sums = [0.0; 3];
        for i in 0..n {
            let x = low + (high - low) * (f64::from(i) + 0.5) / f64::from(n);
            let density =
                (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt() * (high - low) / f64::from(n);
            sums.iter_mut().zip([1.0, x, x * x]).for_each(|(sum, term)| *sum += density * term);
        }
        let (mean, square) = (sums[1] / sums[0], sums[2] / sums[0]);
        [sums[0].ln(), mean, square - mean * mean]
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over many values: hours")]
    fn mass_and_moments_are_those_of_the_integral() {
        for (low, high) in INTERVALS {
            let [log_mass, mean, variance] = by_sum(low, high);
            let cut = Cut::new(low, high);
            assert!((f64::from(cut.log_mass) - log_mass).abs() < 1e-4, "{low} {high}: {cut:?}");
            assert!((f64::from(cut.mean()) - mean).abs() < 2e-3, "{low} {high}: {cut:?} {mean}");
            let found = f64::from(cut.variance(low, high));
            assert!((found - variance).abs() < 5e-3, "{low} {high}: {found} {variance}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over many values: hours")]
    fn variates_have_the_moments_and_stay_inside() {
        for (low, high) in INTERVALS {
            let [_, mean, variance] = by_sum(low, high);
            let n = 1 << 16;
            let mut sums = [0.0; 2];
            let mut last = f32::NEG_INFINITY;
            for i in 0..n {
                let x = variate_of_bits(low, high, (i << 16) + (1 << 15));
                assert!((low..=high).contains(&x), "{x}");
                // Neighbors may be rounded to swap.
                assert!(x >= last - 1e-3 * (1.0 + x.abs()), "{low} {high}: {last} {x}");
                last = x;
                let below = share_below(low, high, x);
                assert!((f64::from(below) - (f64::from(i) + 0.5) / f64::from(n)).abs() < 1e-3);
                sums[0] += f64::from(x) / f64::from(n);
                sums[1] += f64::from(x) * f64::from(x) / f64::from(n);
            }
            let sd = variance.sqrt();
            assert!((sums[0] - mean).abs() < 3e-3 * sd.max(0.1), "{low} {high}: {sums:?} {mean}");
            let found = (sums[1] - sums[0] * sums[0]).max(0.0).sqrt();
            assert!((found - sd).abs() < 1e-2 * sd.max(0.02), "{low} {high}: {found} {sd}");
        }
    }

    #[test]
    fn absurd_ends_give_numbers() {
        for (low, high) in [(50.0, 60.0), (f32::NAN, 1.0), (1.0, f32::NAN), (3.0, 3.0), (2.0, 1.0)]
        {
            let cut = Cut::new(low, high);
            assert!(!cut.log_mass.is_nan(), "{low} {high}");
            for bits in [0, 1 << 31, u32::MAX] {
                let _ = variate_of_bits(low, high, bits);
            }
        }
    }
}
