//! The one rounding rule between two layers.

/// Rescales an accumulator to the integer grid of its output.
///
/// `clamp(floor(acc * multiplier / 2^32 + 1/2), low, high)`: one rounding, ties toward plus infinity, which is
/// what `smmulr` of Armv7E-M computes. `multiplier` is the real scale times `2^32`, so the scale is below 1/2.
/// Exact for every `acc`: the product is formed in `i64`. Zero points are zero on both sides: activations are
/// symmetric or start at zero, so the correction terms of Jacob et al. 2018, eq. (7),
/// <https://arxiv.org/abs/1712.05877> vanish.
///
/// ```
/// use simground_runtime::requantize;
/// let sixteenth = 1 << 28;
/// assert_eq!(requantize(1000, sixteenth, -32768, 32767), 63); // 62.5 rounds up
/// assert_eq!(requantize(-1000, sixteenth, -32768, 32767), -62); // -62.5 rounds up
/// assert_eq!(requantize(-1000, sixteenth, 0, 2047), 0); // ReLU is the lower clamp
/// ```
#[expect(
    clippy::arithmetic_side_effects,
    reason = "|acc * multiplier| <= 2^62 and the rounding term is 2^31, so the sum stays below 2^63"
)]
#[inline]
pub fn requantize(acc: i32, multiplier: i32, low: i16, high: i16) -> i16 {
    let product = i64::from(acc) * i64::from(multiplier);
    let rounded = (product + (1 << 31)) >> 32;
    // A plain max/min pair: `clamp` would panic if a hostile file had low > high.
    let clamped = rounded.min(i64::from(high)).max(i64::from(low));
    i16::try_from(clamped).unwrap_or(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(acc: i32, multiplier: i32, expected: i16) {
        assert_eq!(requantize(acc, multiplier, i16::MIN, i16::MAX), expected, "{acc} {multiplier}");
    }

    #[test]
    fn known_answers() {
        check(0, i32::MAX, 0);
        check(1, i32::MAX, 0); // 0.49999999977 rounds down
        check(2, i32::MAX, 1);
        check(1, i32::MIN, 0); // -1/2 rounds up to 0
        check(3, i32::MIN, -1); // -3/2 rounds up to -1
        check(i32::MAX, i32::MAX, i16::MAX);
        check(i32::MIN, i32::MAX, i16::MIN);
    }

    proptest! {
        #[test]
        fn equals_wide_arithmetic(acc: i32, multiplier: i32, a: i16, b: i16) {
            let (low, high) = (a.min(b), a.max(b));
            let doubled = i128::from(acc) * i128::from(multiplier) * 2 + (1_i128 << 32);
            let exact = doubled.div_euclid(1_i128 << 33);
            let expected = exact.clamp(i128::from(low), i128::from(high));
            prop_assert_eq!(i128::from(requantize(acc, multiplier, low, high)), expected);
        }
    }
}
