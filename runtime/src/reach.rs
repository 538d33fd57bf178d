//! How far a prototype's kernel reaches, and the kernel itself: integers alone.

/// Largest squared distance that a kernel tells from larger ones: times 31 it fits a word.
const FARTHEST: u32 = (1 << 27) - 1;

/// How fast a prototype's kernel falls, in one byte: over a squared distance of `2^(8 + shift - high) / (16 + low)` it halves, with the
/// byte's nibbles `high` and `low` and the bank's own `shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach(pub u8);

impl Reach {
    /// Halvings of the kernel at a squared distance, in 1/256: `distance (16 + low) 2^(high - shift)`, rounded down, at most `u32::MAX`.
    ///
    /// Distances from `2^27` on count as `2^27 - 1`.
    ///
    /// ```
    /// use simground_runtime::Reach;
    /// assert_eq!(Reach(0x14).exponent(64, 4), 160); // 64 * 20 / 2^3
    /// assert_eq!(Reach(0xff).exponent(1 << 26, 0), u32::MAX);
    /// ```
    pub fn exponent(self, squared_distance: u32, shift: u8) -> u32 {
        let (high, low) = (u32::from(self.0 >> 4), u32::from(self.0 & 15));
        // Below 2^27 * 31 < 2^32.
        let product = squared_distance.min(FARTHEST).wrapping_mul(low | 16);
        let shift = u32::from(shift);
        if shift >= high {
            return product.checked_shr(shift.wrapping_sub(high)).unwrap_or(0);
        }
        let left = high.wrapping_sub(shift);
        if product > u32::MAX.wrapping_shr(left) { u32::MAX } else { product.wrapping_shl(left) }
    }
}

/// Weight of a kernel after `exponent` halvings, given in 1/256, in units of 1/32,768: `2^(15 - exponent / 256)`.
///
/// The fraction of the exponent goes through the cubic that is exact at 0, 1/3, 2/3 and 1: within 1.3e-4 of `2^-f`.
///
/// ```
/// use simground_runtime::kernel_weight;
/// assert_eq!(kernel_weight(0), 32_768);
/// assert_eq!(kernel_weight(256), 16_384);
/// assert_eq!(kernel_weight(u32::MAX), 0);
/// ```
#[expect(
    clippy::arithmetic_side_effects,
    reason = "f < 2^8, so every term is below 2^17 * 2^8 in i32; the shift is below 16"
)]
pub fn kernel_weight(exponent: u32) -> u32 {
    if exponent >= 16 << 8 {
        return 0;
    }
    let f = (exponent & 0xff).cast_signed();
    // Coefficients in 1/65,536, f in 1/256.
    let fraction = 65_536 + ((((((-2_589 * f) >> 8) + 15_141) * f) >> 8) - 45_320) * f / 256;
    (fraction.cast_unsigned() >> 1) >> (exponent >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kernel_weight_follows_the_exponential() {
        for exponent in 0..5_000 {
            let exact = 32_768.0 * libm::exp2(-f64::from(exponent) / 256.0);
            let weight = f64::from(kernel_weight(exponent));
            assert!((weight - exact).abs() <= 1.0 + exact * 2e-4, "{exponent}: {weight} {exact}");
        }
    }

    proptest! {
        #[test]
        fn exponent_is_the_formula(code in any::<u8>(), distance in any::<u32>(), shift in 0_u8..40) {
            let (high, low) = (u32::from(code >> 4), u128::from(code & 15));
            let distance = distance.min((1 << 27) - 1);
            let exact = ((u128::from(distance) * (16 + low)) << high) >> shift;
            let expected = u32::try_from(exact).unwrap_or(u32::MAX);
            prop_assert_eq!(Reach(code).exponent(distance, shift), expected);
        }
    }
}
