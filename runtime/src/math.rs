//! Transcendental functions at the float edges, from one of two software libraries.
//!
//! Both are plain `f32` arithmetic without contraction, so a result has the same bits on every target.

#[cfg(not(feature = "micromath"))]
pub(crate) fn exp(x: f32) -> f32 {
    libm::expf(x)
}

#[cfg(not(feature = "micromath"))]
pub(crate) fn exp_m1(x: f32) -> f32 {
    libm::expm1f(x)
}

#[cfg(not(feature = "micromath"))]
pub(crate) fn ln_1p(x: f32) -> f32 {
    libm::log1pf(x)
}

#[cfg(not(feature = "micromath"))]
pub(crate) fn ln(x: f32) -> f32 {
    libm::logf(x)
}

#[cfg(feature = "micromath")]
pub(crate) fn ln(x: f32) -> f32 {
    if (1.0..f32::INFINITY).contains(&x) {
        micromath::F32Ext::ln(x)
    } else if (f32::MIN_POSITIVE..1.0).contains(&x) {
        // Below 1 micromath's own goes by a reciprocal of two digits.
        -micromath::F32Ext::ln(1.0 / x)
    } else {
        libm::logf(x)
    }
}

#[cfg(feature = "micromath")]
pub(crate) fn exp(x: f32) -> f32 {
    // The bit tricks of micromath hold inside the range where the result is a normal number.
    if x < -87.0 {
        0.0
    } else if x > 88.0 {
        f32::INFINITY
    } else {
        micromath::F32Ext::exp(x)
    }
}

#[cfg(feature = "micromath")]
pub(crate) fn exp_m1(x: f32) -> f32 {
    exp(x) - 1.0
}

#[cfg(feature = "micromath")]
pub(crate) fn ln_1p(x: f32) -> f32 {
    ln(1.0 + x)
}

/// `sqrt` is correctly rounded in hardware and in software alike.
pub(crate) fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}

/// Nearest whole number, ties away from zero; never a negative zero.
pub(crate) fn round(x: f32) -> f32 {
    libm::roundf(x) + 0.0
}

/// The nearest value of `low..=high`; a NaN becomes `low`, and bounds that contradict each other `high`: nothing panics.
///
/// By comparisons: which zero `f32::max` takes of two with different signs is not said, and cores differ.
pub(crate) fn within(x: f32, low: f32, high: f32) -> f32 {
    let x = if x >= low { x } else { low };
    if x <= high { x } else { high }
}

/// `ln sqrt(2 pi)`.
pub(crate) const LN_SQRT_TAU: f32 = 0.918_938_5;

/// Distribution function of the standard normal.
pub(crate) fn normal_cdf(x: f32) -> f32 {
    0.5 * libm::erfcf(-x * core::f32::consts::FRAC_1_SQRT_2)
}

/// Quantile of the standard normal at `p`: the inverse of [`normal_cdf`] to seven digits. Infinite at 0 and at 1.
///
/// Wichura 1988, algorithm AS 241, PPND7, <https://doi.org/10.2307/2347330>.
pub(crate) fn normal_quantile(p: f32) -> f32 {
    let q = p - 0.5;
    let tail = if q < 0.0 { p } else { 1.0 - p };
    quantile(q, tail)
}

/// Share of a chi-squared distribution with `d` degrees of freedom that lies above `x`.
///
/// `Q(x; d + 2) = Q(x; d) + t`, where `t` is the term before times `x / d` (Abramowitz and Stegun 1964, 26.4.8).
fn chi_squared_tail(x: f32, d: usize) -> f32 {
    let decay = exp(-0.5 * x);
    let odd = d & 1 == 1;
    let mut tail = if odd { libm::erfcf(sqrt(0.5 * x)) } else { decay };
    let mut term = if odd { sqrt(core::f32::consts::FRAC_2_PI * x) } else { 0.5 * x } * decay;
    let mut freedom = if odd { 1.0 } else { 2.0 };
    for _ in 1..d.max(1).div_ceil(2) {
        tail += term;
        freedom += 2.0;
        term *= x / freedom;
    }
    tail
}

/// Quantile at `level` of the chi-squared distribution with `d` degrees of freedom, at least 1; levels within `10^-7` of 1 count as
/// this far.
pub(crate) fn chi_squared_quantile(level: f32, d: usize) -> f32 {
    let tail = (1.0 - level).max(1e-7);
    let degrees = u16::try_from(d).unwrap_or(u16::MAX);
    let (mut low, mut high) = (0.0, 64.0 + 4.0 * f32::from(degrees));
    for _ in 0..32 {
        let middle = 0.5 * (low + high);
        if chi_squared_tail(middle, d) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The standard normal quantile at `(bits + 1/2) / 2^32`: a normal variate from 32 uniform bits, at most 6.4 in magnitude.
pub fn normal_of_bits(bits: u32) -> f32 {
    const STEP: f32 = 1.0 / 4_294_967_296.0;
    // Both are formed from integers, so that the tails keep their digits.
    let q = (float(bits.wrapping_sub(1 << 31).cast_signed()) + 0.5) * STEP;
    let tail = (float_u64(u64::from(bits.min(!bits))) + 0.5) * STEP;
    quantile(q, tail)
}

/// The quantile at `1/2 + q`; `tail` is the probability of the nearer tail.
fn quantile(q: f32, tail: f32) -> f32 {
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        let above = ((59.109_375 * r + 159.291_14) * r + 50.434_27) * r + 3.387_132_7;
        let below = ((67.187_56 * r + 78.757_76) * r + 17.895_17) * r + 1.0;
        return q * above / below;
    }
    let r = if tail > 0.0 { sqrt(-ln(tail)) } else { return f32::INFINITY.copysign(q) };
    let magnitude = if r <= 5.0 {
        let r = r - 1.6;
        let above = ((0.170_238_21 * r + 1.306_728_5) * r + 2.756_815_4) * r + 1.423_437_3;
        above / ((0.120_211_33 * r + 0.737_001_64) * r + 1.0)
    } else {
        let r = r - 5.0;
        let above = ((0.017_337_204 * r + 0.428_682_94) * r + 3.081_226_4) * r + 6.657_905;
        above / ((0.012_258_203 * r + 0.241_978_94) * r + 1.0)
    };
    if q < 0.0 { -magnitude } else { magnitude }
}

/// Nearest integer, ties away from zero, saturating; NaN gives 0.
///
/// Equals `libm::roundf`, which adds the same and then cuts the fraction off, as the conversion to an integer does anyway.
#[expect(
    clippy::as_conversions,
    reason = "float-to-int `as` saturates, which is the wanted meaning"
)]
pub(crate) fn nearest_i32(x: f32) -> i32 {
    const BELOW_HALF: f32 = 0.5 - 0.25 * f32::EPSILON;
    (x + libm::copysignf(BELOW_HALF, x)) as i32
}

/// The nearest float, ties to even.
#[expect(
    clippy::as_conversions,
    reason = "there is no `From<i32> for f32`; `as` rounds to nearest"
)]
pub(crate) fn float(x: i32) -> f32 {
    x as f32
}

/// The nearest float, ties to even.
#[expect(
    clippy::as_conversions,
    reason = "there is no `From<u64> for f32`; `as` rounds to nearest"
)]
pub(crate) fn float_u64(x: u64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_invert_the_distribution() {
        for i in -350_i16..=350 {
            let x = f32::from(i) / 100.0;
            let error = normal_quantile(normal_cdf(x)) - x;
            // Near 1 a probability has few digits left.
            let grain = if x > 2.0 { 2e-2 } else { 1e-3 };
            assert!(error.abs() < grain, "{x}: {error}");
        }
        assert!((normal_quantile(0.975) - 1.959_964).abs() < 1e-4);
        assert!((normal_quantile(1e-9) + 5.997_807).abs() < 1e-4);
        assert_eq!(normal_quantile(0.5), 0.0);
        assert_eq!(
            (normal_quantile(0.0), normal_quantile(1.0)),
            (f32::NEG_INFINITY, f32::INFINITY)
        );
    }

    #[test]
    fn chi_squared_quantiles_are_those_of_the_tables() {
        // Abramowitz and Stegun 1964, table 26.8.
        for (level, d, expected) in [
            (0.95, 1, 3.841_46),
            (0.95, 2, 5.991_46),
            (0.95, 3, 7.814_73),
            (0.95, 10, 18.307_0),
            (0.5, 1, 0.454_937),
            (0.99, 5, 15.086_3),
            (0.9, 30, 40.256_0),
        ] {
            let found = chi_squared_quantile(level, d);
            assert!((found / expected - 1.0).abs() < 1e-4, "{level} {d}: {found}");
        }
        assert!(chi_squared_quantile(f32::NAN, 1) >= 0.0 && chi_squared_quantile(2.0, 32) < 200.0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over many values: hours")]
    fn normals_of_bits_have_normal_moments() {
        let (mut sum, mut squares, mut fourth) = (0.0, 0.0, 0.0);
        let count = 1 << 16;
        for i in 0..count {
            let x = f64::from(normal_of_bits((i << 16) + (1 << 15)));
            sum += x;
            squares += x * x;
            fourth += x * x * x * x;
        }
        let n = f64::from(count);
        assert!((sum / n).abs() < 1e-6);
        assert!((squares / n - 1.0).abs() < 1e-3 && (fourth / n - 3.0).abs() < 2e-2);
        assert_eq!(normal_of_bits(0), -normal_of_bits(u32::MAX));
        assert!((normal_of_bits(0) + 6.338).abs() < 0.01, "{}", normal_of_bits(0));
    }

    #[test]
    fn logarithm_and_exponential_of_either_library() {
        let (of_ln, of_exp) = if cfg!(feature = "micromath") { (2e-4, 3e-3) } else { (1e-6, 1e-6) };
        for i in -2_000_i16..=2_000 {
            let y = f32::from(i) / 50.0;
            let x = libm::expf(y);
            assert!((ln(x) - y).abs() < of_ln + 2e-7 * y.abs(), "ln {x}: {}", ln(x));
            assert!((exp(y) / x - 1.0).abs() < of_exp, "exp {y}: {}", exp(y));
            let near = f64::from(x) / 50.0;
            let error = f64::from(ln_1p(near as f32)) - libm::log1p(f64::from(near as f32));
            assert!(
                error.abs() < f64::from(of_ln) + 2e-7 * y.abs() as f64,
                "ln_1p {near}: {error}"
            );
        }
    }

    #[test]
    fn zeros_have_one_sign_and_bounds_are_kept() {
        assert!(round(-0.4).is_sign_positive() && round(-0.0).is_sign_positive());
        assert!(within(-1.0, 0.0, 3.0).is_sign_positive());
        assert_eq!(within(f32::NAN, 2.0, 3.0), 2.0);
        assert_eq!(within(7.0, 2.0, f32::INFINITY), 7.0);
        assert_eq!(within(1.0, 3.0, 2.0), 2.0);
    }

    fn check(x: f32) {
        assert_eq!(nearest_i32(x), libm::roundf(x) as i32, "{x:?}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over many values: hours")]
    fn nearest_integer_at_and_beside_every_tie_of_the_grid() {
        for half in 0..=2 * i32::from(i16::MAX) {
            let tie = half as f32 / 2.0;
            for x in [tie.next_down(), tie, tie.next_up()] {
                check(x);
                check(-x);
            }
        }
        for x in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 1e-45] {
            check(x);
        }
    }

    proptest! {
        #[test]
        fn nearest_integer_of_any_float(bits in any::<u32>()) {
            let x = f32::from_bits(bits);
            prop_assume!(x.abs() < 8_388_608.0 || x.is_nan());
            check(x);
        }
    }
}
