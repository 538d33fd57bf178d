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
    if x == f32::INFINITY { x } else { micromath::F32Ext::ln(1.0 + x) }
}

/// `sqrt` is correctly rounded in hardware and in software alike.
pub(crate) fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
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

    fn check(x: f32) {
        assert_eq!(nearest_i32(x), libm::roundf(x) as i32, "{x:?}");
    }

    #[test]
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
