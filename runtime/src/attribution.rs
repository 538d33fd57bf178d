//! Back-to-simulation attribution: which simulations of the bank an observation is most like.
//!
//! Everything up to the last division is integer arithmetic: distances, order, kernel weights and sums have the same
//! bits on every target.

use heapless::Vec;

use crate::artifact::{MAX_MECHANISMS, Model, Records, Theta};
use crate::dense::padded;
use crate::kernel::{self, Ranked, Ranking};
use crate::math;

/// The code of a parameter that the mechanism does not have.
pub const THETA_ABSENT: u16 = u16::MAX;

/// One simulation of the bank.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Nearest {
    /// Position in the bank.
    pub prototype: u32,
    /// Index of the simulation in its corpus: with the study and the seed, the simulation itself.
    pub index: u64,
    /// Position of its mechanism in the manifest.
    pub mechanism: u8,
    /// Squared distance in embedding space, in grid units.
    pub squared_distance: u32,
    /// Its share of the kernel posterior, in `[0, 1]`.
    pub weight: f32,
}

/// Kernel-weighted moments of one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ThetaSummary {
    /// Share of the kernel posterior whose mechanism has this parameter, in `[0, 1]`.
    pub present: f32,
    /// Mean over that share, in the parameter's unit; NaN where `present` is 0.
    pub mean: f32,
    /// Standard deviation over that share; NaN where `present` is 0.
    pub sd: f32,
}

/// The explanation of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution<'i, const K: usize> {
    /// The nearest simulations: ascending distance, ties by position in the bank.
    pub nearest: Vec<Nearest, K>,
    /// Kernel posterior over the mechanisms, in the manifest's order.
    pub mechanism_posterior: Vec<f32, MAX_MECHANISMS>,
    /// How unusual the distance to the nearest simulation is: `(1 + m) / (n + 1)` with `m` of the `n` held-out distances
    /// of the artifact's table at or above it (a conformal p-value; Vovk, Gammerman and Shafer 2005, eq. (2.20)).
    pub novelty: f32,
    kernel: KernelPosterior<'i>,
}

impl<const K: usize> Attribution<'_, K> {
    /// Kernel posterior of each parameter, in the bank's order.
    pub fn thetas(&self) -> impl Iterator<Item = ThetaSummary> + '_ {
        let ranges = self.kernel.theta.iter().enumerate();
        ranges.map(|(at, range)| self.kernel.summary(at, &range))
    }
}

/// Weight of a prototype whose squared distance exceeds the nearest one's by `excess`, in 1/32,768.
///
/// `2^(15 - excess * decay / 2^24)`, a Gaussian kernel `exp(-excess / (2 h^2))` with `decay = 2^24 / (2 h^2 ln 2)`. The
/// fraction of the exponent (8 bits) goes through the cubic that is exact at 0, 1/3, 2/3 and 1: within 1.3e-4 of `2^-f`.
///
/// ```
/// use simground_runtime::kernel_weight;
/// assert_eq!(kernel_weight(0, 1 << 20), 32_768);
/// assert_eq!(kernel_weight(16, 1 << 20), 16_384); // halves every 2^24 / 2^20 = 16
/// assert_eq!(kernel_weight(u32::MAX, u32::MAX), 0);
/// ```
#[expect(
    clippy::arithmetic_side_effects,
    reason = "f < 2^8, so every term is below 2^17 * 2^24 in i64; the shift is below 16"
)]
pub fn kernel_weight(excess: u32, decay: u32) -> u32 {
    let exponent = (u64::from(excess) * u64::from(decay)) >> 16;
    let halvings = exponent >> 8;
    if halvings > 15 {
        return 0;
    }
    let f = i64::from(u8::try_from(exponent & 0xff).unwrap_or(0));
    // Coefficients in 1/65,536, f in 1/256.
    let fraction = 65_536 + ((((((-2_589 * f) >> 8) + 15_141) * f) >> 8) - 45_320) * f / 256;
    let weight = u32::try_from(fraction >> 1).unwrap_or(0);
    weight >> halvings
}

/// Attribution of an embedded observation. Afterwards `distances` holds each prototype's weight.
pub(crate) fn attribute<'i, const K: usize>(
    model: &Model<'i>,
    embedding: &[i16],
    distances: &'i mut [u32],
) -> Option<Attribution<'i, K>> {
    let bank = model.manifest.bank.as_ref()?;
    kernel::squared_distances(model.section(bank.vectors), embedding, distances);
    let ranked = rank::<K>(distances);
    let least = distances.iter().copied().min().unwrap_or(0);
    let masses = model.section(bank.masses).as_chunks::<2>().0;
    for (distance, mass) in distances.iter_mut().zip(masses) {
        let weight = kernel_weight(distance.saturating_sub(least), bank.decay);
        // At most 2^15 * 2^16.
        *distance = weight.wrapping_mul(u32::from(u16::from_le_bytes(*mass)));
    }
    let kernel = KernelPosterior {
        total: distances.iter().map(|weight| u64::from(*weight)).fold(0, u64::wrapping_add),
        weights: distances,
        mechanisms: model.section(bank.mechanisms),
        codes: model.section(bank.thetas),
        theta: bank.theta,
    };
    let entry = |ranked: &Ranked| {
        let at = usize::try_from(ranked.prototype).unwrap_or(usize::MAX);
        let weight = kernel.weights.get(at).copied().unwrap_or(0);
        Nearest {
            prototype: ranked.prototype,
            index: column(model.section(bank.indices), at).map_or(0, u64::from_le_bytes),
            mechanism: kernel.mechanisms.get(at).copied().unwrap_or(0),
            squared_distance: ranked.squared_distance,
            weight: math::float_u64(u64::from(weight)) / math::float_u64(kernel.total),
        }
    };
    Some(Attribution {
        nearest: crate::first_items(ranked.iter().map(entry)),
        mechanism_posterior: kernel.mechanisms(model.manifest.mechanisms.len()),
        novelty: novelty(model.section(bank.novelty), least),
        kernel,
    })
}

/// The `K` least distances in order; of equal ones the first in the bank.
pub(crate) fn rank<const K: usize>(distances: &[u32]) -> Vec<Ranked, K> {
    let mut ranking = Ranking::<K>::new();
    for (prototype, &squared_distance) in (0..).zip(distances) {
        if squared_distance < ranking.limit() {
            ranking.insert(Ranked { prototype, squared_distance });
        }
    }
    ranking.finish()
}

/// Entry `at` of a column of `N`-byte values.
fn column<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.as_chunks::<N>().0.get(at).copied()
}

/// Share of held-out distances at or above `distance`, the observation itself counted.
fn novelty(table: &[u8], distance: u32) -> f32 {
    let thresholds = table.as_chunks::<4>().0;
    let below = thresholds.partition_point(|bytes| u32::from_le_bytes(*bytes) < distance);
    let above = thresholds.len().saturating_sub(below);
    let float = |count: usize| math::float_u64(u64::try_from(count).unwrap_or(0));
    float(above.saturating_add(1)) / float(thresholds.len().saturating_add(1))
}

/// Weights over the bank. Masses add up to at most `2^16` and kernel weights are at most `2^15`, so a sum of weights stays
/// at or below `2^31`, of weights times codes below `2^47`, of weights times squared codes below `2^63`.
#[derive(Debug, Clone, PartialEq)]
struct KernelPosterior<'i> {
    weights: &'i [u32],
    total: u64,
    mechanisms: &'i [u8],
    codes: &'i [u8],
    theta: Records<'i, Theta<'i>>,
}

impl KernelPosterior<'_> {
    fn mechanisms(&self, count: usize) -> Vec<f32, MAX_MECHANISMS> {
        let total = math::float_u64(self.total);
        let share = |mechanism: u8| {
            let weights = self.weights.iter().zip(self.mechanisms);
            let own =
                weights.filter(|(_, of)| **of == mechanism).map(|(weight, _)| u64::from(*weight));
            math::float_u64(own.fold(0, u64::wrapping_add)) / total
        };
        crate::first_items((0..=u8::MAX).take(count).map(share))
    }

    /// Moments of parameter `at` over the prototypes that have it.
    fn summary(&self, at: usize, range: &Theta<'_>) -> ThetaSummary {
        let (mut weight, mut first, mut second) = (0_u64, 0_u64, 0_u64);
        let codes = self.codes.as_chunks::<2>().0.iter().skip(at).step_by(self.theta.len().max(1));
        for (&own, code) in self.weights.iter().zip(codes) {
            let code = u16::from_le_bytes(*code);
            if own != 0 && code != THETA_ABSENT {
                let weighted = u64::from(own).wrapping_mul(u64::from(code));
                weight = weight.wrapping_add(u64::from(own));
                first = first.wrapping_add(weighted);
                second = second.wrapping_add(weighted.wrapping_mul(u64::from(code)));
            }
        }
        if weight == 0 {
            return ThetaSummary { present: 0.0, mean: f32::NAN, sd: f32::NAN };
        }
        // The variance in integers, where the subtraction loses nothing: (w s2 - s1^2) / w^2.
        let (w, s1, s2) = (u128::from(weight), u128::from(first), u128::from(second));
        let spread = w.wrapping_mul(s2).saturating_sub(s1.wrapping_mul(s1));
        let variance = float_u128(spread) / float_u128(w.wrapping_mul(w));
        let mean_code = math::float_u64(first) / math::float_u64(weight);
        let step = (range.high - range.low) / 65_534.0;
        ThetaSummary {
            present: math::float_u64(weight) / math::float_u64(self.total),
            mean: range.low + step * mean_code,
            sd: step * math::sqrt(variance),
        }
    }
}

/// The nearest float of the upper 64 significant bits.
fn float_u128(x: u128) -> f32 {
    let high = u64::try_from(x >> 64).unwrap_or(u64::MAX);
    let low = u64::try_from(x & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    math::float_u64(high) * 18_446_744_073_709_551_616.0 + math::float_u64(low)
}

impl Model<'_> {
    /// Index in the corpus of the simulation behind a prototype.
    pub fn prototype_index(&self, prototype: u32) -> Option<u64> {
        let bank = self.manifest.bank.as_ref()?;
        column(self.section(bank.indices), usize::try_from(prototype).ok()?).map(u64::from_le_bytes)
    }

    /// Position in the manifest of the mechanism of a prototype.
    pub fn prototype_mechanism(&self, prototype: u32) -> Option<u8> {
        let bank = self.manifest.bank.as_ref()?;
        self.section(bank.mechanisms).get(usize::try_from(prototype).ok()?).copied()
    }

    /// Parameter `theta` of prototype `prototype` in its unit; `None` where its mechanism has no such parameter.
    ///
    /// Within 1/131,068 of the parameter's range; replaying the simulation gives it exactly.
    pub fn prototype_theta(&self, prototype: u32, theta: usize) -> Option<f32> {
        let record = self.manifest.bank.as_ref()?.theta.at(theta)?;
        let code = self.prototype_theta_code(prototype, theta)?;
        let step = (record.high - record.low) / 65_534.0;
        (code != THETA_ABSENT).then(|| record.low + step * f32::from(code))
    }

    /// The stored code of that parameter; [`THETA_ABSENT`] where the mechanism has no such parameter, `None` out of bounds.
    pub fn prototype_theta_code(&self, prototype: u32, theta: usize) -> Option<u16> {
        let bank = self.manifest.bank.as_ref()?;
        let row = usize::try_from(prototype).ok()?.checked_mul(bank.theta.len())?;
        column(self.section(bank.thetas), row.checked_add(theta)?).map(u16::from_le_bytes)
    }

    /// The stored embedding of a prototype: `i8` coordinates, as many as the embedding has rounded up to a multiple of four.
    pub fn prototype_vector(&self, prototype: u32) -> Option<impl Iterator<Item = i8> + '_> {
        let bank = self.manifest.bank.as_ref()?;
        let width = padded(bank.embedding.d_output);
        let start = usize::try_from(prototype).ok()?.checked_mul(width)?;
        let bytes = self.section(bank.vectors).get(start..start.checked_add(width)?)?;
        Some(bytes.iter().map(|byte| byte.cast_signed()))
    }

    /// Share of the corpus that a prototype stands for, in 1/65,536.
    pub fn prototype_mass(&self, prototype: u32) -> Option<u16> {
        let bank = self.manifest.bank.as_ref()?;
        column(self.section(bank.masses), usize::try_from(prototype).ok()?).map(u16::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kernel_weight_follows_the_exponential() {
        for excess in 0..4_096 {
            let decay = 1 << 16; // halves every 256
            let exact = 32_768.0 * libm::exp2(-f64::from(excess) / 256.0);
            let weight = f64::from(kernel_weight(excess, decay));
            assert!((weight - exact).abs() <= 1.0 + exact * 2e-4, "{excess}: {weight} {exact}");
        }
    }

    #[test]
    fn novelty_counts_the_observation_itself() {
        let table: std::vec::Vec<u8> =
            [10_u32, 20, 30].iter().flat_map(|t| t.to_le_bytes()).collect();
        assert_eq!(novelty(&table, 0), 1.0);
        assert_eq!(novelty(&table, 20), 0.75);
        assert_eq!(novelty(&table, 31), 0.25);
    }

    proptest! {
        #[test]
        fn nearest_equals_a_stable_sort(distances in proptest::collection::vec(0_u32..50, 0..40)) {
            let mut order: std::vec::Vec<u32> = (0..distances.len() as u32).collect();
            order.sort_by_key(|&i| distances[i as usize]);
            let expected: std::vec::Vec<u32> = order.into_iter().take(5).collect();
            let found: std::vec::Vec<u32> =
                rank::<5>(&distances).iter().map(|n| n.prototype).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
