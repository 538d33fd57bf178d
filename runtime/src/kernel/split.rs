//! The first layer of a stack that reads `[h, theta]`, split: what `h` adds is summed once, what theta adds at each point.

/// Fraction bits of the multipliers that carry a data accumulator to a first layer's sums.
pub const DATA_FRACTION: u32 = 20;

/// Largest magnitude of what the data adds to a sum, and of what theta adds: together they stay within `2^30`.
pub const PART_LIMIT: i32 = 1 << 29;

/// Most fraction bits of a bent layer's values, so that the square of two units fits a word.
pub const MAX_BEND: u32 = 13;

/// What the data adds to a row's sum: `clamp(floor(acc multiplier / 2^20 + 1/2), -2^29, 2^29)`.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "|acc * multiplier| <= 2^62 and the rounding term is 2^19"
)]
#[inline]
pub fn data_part(acc: i32, multiplier: i32) -> i32 {
    let product = i64::from(acc) * i64::from(multiplier);
    let rounded = (product + (1 << (DATA_FRACTION - 1))) >> DATA_FRACTION;
    let limit = i64::from(PART_LIMIT);
    i32::try_from(rounded.max(-limit).min(limit)).unwrap_or(0)
}

/// The bent rectifier on a grid of `2^bend` points a unit: 0 below -1, `(z + 1)^2 / 4` up to 1, `z` above.
///
/// `z` is at least `-2^bend`, and `bend` at most [`MAX_BEND`]. Rounded to the nearest point, ties up; never below 0, and at most `z` where
/// `z` is a unit or more.
///
/// ```
/// use simground_runtime::kernel::bent;
/// assert_eq!([-16, -8, 0, 8, 16, 40].map(|z| bent(z, 4)), [0, 1, 4, 9, 16, 40]);
/// ```
#[inline]
pub fn bent(z: i16, bend: u32) -> i16 {
    low_half(bent_word(z.into(), bend).max(0))
}

/// [`bent`] of a word from `-2^bend` to 32,767.
#[inline(always)]
fn bent_word(z: i32, bend: u32) -> i32 {
    let two = 2_i32.wrapping_shl(bend);
    let from_corner = z.wrapping_add(two.wrapping_shr(1));
    let inside = from_corner.min(two);
    let square = inside.wrapping_mul(inside);
    let parabola = square.wrapping_add(two).wrapping_shr(bend.wrapping_add(2));
    parabola.wrapping_add(from_corner).wrapping_sub(inside)
}

/// A word that fits 16 bits, in them.
#[inline(always)]
fn low_half(word: i32) -> i16 {
    let [low, high, _, _] = word.to_le_bytes();
    i16::from_le_bytes([low, high])
}

/// How a first layer's sums become its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Fraction bits of the sums less those of the outputs; from 1 to 31.
    pub shift: u32,
    /// Fraction bits of the outputs, at most [`MAX_BEND`].
    pub bend: u32,
    /// Upper clamp.
    pub high: i16,
}

/// Adds theta to the sums of a first layer and ends it:
/// `out = bent(clamp(floor((data + w theta) / 2^shift + 1/2), -2^bend, high))`.
///
/// # Shapes
///
/// `data`, `out`: a multiple of four. `weights`: `[out.len(), theta.len()]` of little-endian `i16`; `theta`: a multiple of two. What is
/// missing leaves `out` as it was.
pub fn conditional(data: &[i32], weights: &[u8], theta: &[i16], ending: Ending, out: &mut [i16]) {
    // Sections start at multiples of 16 bytes, and every core that minds has the artifact aligned.
    #[cfg(not(kernel = "portable"))]
    if let Ok(weights) = bytemuck::try_cast_slice(weights) {
        let weights: &[[i16; 2]] = weights;
        rows(data, weights, theta, ending, out, |w| w);
    }
    #[cfg(kernel = "portable")]
    rows(data, weights.as_chunks::<4>().0, theta, ending, out, |[a, b, c, d]: [u8; 4]| {
        [i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d])]
    });
}

#[inline(always)]
fn rows<W: Copy>(
    data: &[i32],
    weights: &[W],
    theta: &[i16],
    ending: Ending,
    out: &mut [i16],
    pair: impl Fn(W) -> [i16; 2],
) {
    let theta = theta.as_chunks::<2>().0;
    let Ending { shift, bend, high } = ending;
    let half = 1_i32.wrapping_shl(shift.wrapping_sub(1));
    let (low, high) = (1_i32.wrapping_shl(bend).wrapping_neg(), i32::from(high));
    let mut weights = weights.iter();
    for (out, data) in out.iter_mut().zip(data) {
        let mut sum = data.wrapping_add(half);
        for ([q0, q1], w) in theta.iter().zip(&mut weights) {
            let [w0, w1] = pair(*w);
            sum = sum
                .wrapping_add(i32::from(w0).wrapping_mul(i32::from(*q0)))
                .wrapping_add(i32::from(w1).wrapping_mul(i32::from(*q1)));
        }
        let z = sum.wrapping_shr(shift).min(high).max(low);
        *out = low_half(bent_word(z, bend));
    }
}

/// Bends the values of a later layer in place.
pub fn bend_all(values: &mut [i16], bend: u32) {
    for z in values {
        *z = bent(*z, bend);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn the_bend_is_that_of_the_formula(z: i16, bend in 1..=MAX_BEND) {
            let one = 1_i64 << bend;
            prop_assume!(i64::from(z) >= -one);
            let t = (i64::from(z) + one).clamp(0, 2 * one);
            let wide = (2 * t * t + 4 * one).div_euclid(8 * one) + (i64::from(z) - one).max(0);
            prop_assert_eq!(i64::from(bent(z, bend)), wide);
            if i64::from(z) >= one {
                prop_assert_eq!(bent(z, bend), z);
            }
        }

        #[test]
        fn a_split_layer_equals_plain_sums(
            (d, n) in (1_usize..5, 1_usize..4).prop_map(|(d, n)| (2 * d, 4 * n)),
            seed: u64,
            start in 0_usize..3,
            (shift, bend) in (1_u32..=20, 1..=MAX_BEND),
        ) {
            let mut state = seed | 1;
            let mut draw = |limit: i64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) as i64).rem_euclid(2 * limit + 1) - limit
            };
            let data: Vec<i32> = (0..n).map(|_| draw(1 << 29) as i32).collect();
            let theta: Vec<i16> = (0..d).map(|_| draw(8_191) as i16).collect();
            let weights: Vec<i16> = (0..n * d).map(|_| draw((1 << 29) / (8_191 * d as i64)).clamp(-32_767, 32_767) as i16).collect();
            let mut bytes = std::vec![0; start];
            bytes.extend(weights.iter().flat_map(|w| w.to_le_bytes()));
            let high = (1_i16 << bend).max(8_000);
            let mut out = std::vec![0; n];
            conditional(&data, &bytes[start..], &theta, Ending { shift, bend, high }, &mut out);
            for (row, found) in out.iter().enumerate() {
                let products = theta.iter().zip(&weights[row * d..]).map(|(q, w)| i64::from(*q) * i64::from(*w));
                let sum = i64::from(data[row]) + products.sum::<i64>();
                let z = (sum + (1 << (shift - 1))).div_euclid(1 << shift);
                let z = z.clamp(-(1 << bend), i64::from(high));
                prop_assert_eq!(*found, bent(z as i16, bend));
            }
        }
    }

    #[test]
    fn data_parts_are_rounded_and_clamped() {
        for (acc, multiplier, expected) in [
            (3, 1 << 20, 3),
            (3, 1 << 19, 2), // 1.5 rounds up
            (-3, 1 << 19, -1),
            (i32::MAX, i32::MAX, PART_LIMIT),
            (i32::MIN, i32::MAX, -PART_LIMIT),
        ] {
            assert_eq!(data_part(acc, multiplier), expected);
        }
    }
}
