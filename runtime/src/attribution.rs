//! Back-to-simulation attribution: which simulations of the bank an observation is most like.
//!
//! Everything up to the last division is integer arithmetic: distances, order, kernel weights and sums have the same
//! bits on every target.

use heapless::Vec;

use crate::artifact::{Bank, MAX_MECHANISMS, Model, Records, Theta};
use crate::dense::padded;
use crate::kernel::{self, Ranked, Ranking};
use crate::math;
use crate::reach::{Reach, kernel_weight};

/// The code of a parameter that the mechanism does not have.
pub const THETA_ABSENT: u8 = u8::MAX;

/// Shares of the mechanisms in a prototype add up to this.
pub(crate) const WHOLE: u64 = 255;

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
    /// Share of the kernel posterior on mechanisms that have this parameter, in `[0, 1]`.
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
    /// Share of the kernel posterior of any prototype, in `[0, 1]`; 0 for one that is not in the bank.
    pub fn weight(&self, prototype: u32) -> f32 {
        self.kernel.weight(prototype)
    }

    /// Kernel posterior of each parameter, in the bank's order.
    pub fn thetas(&self) -> impl Iterator<Item = ThetaSummary> + '_ {
        let ranges = self.kernel.theta.iter().enumerate();
        ranges.map(|(at, range)| self.kernel.summary(at, &range))
    }
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
    let least_exponent = to_exponents(model, bank, distances);
    let kernel = KernelPosterior::new(model, bank, distances, least_exponent);
    let entry = |ranked: &Ranked| {
        let prototype = ranked.prototype;
        Nearest {
            prototype,
            index: model.prototype_index(prototype).unwrap_or(0),
            mechanism: model.prototype_mechanism(prototype).unwrap_or(0),
            squared_distance: ranked.squared_distance,
            weight: kernel.weight(prototype),
        }
    };
    Some(Attribution {
        nearest: crate::first_items(ranked.iter().map(entry)),
        mechanism_posterior: kernel.mechanisms(),
        novelty: novelty(model.section(bank.novelty), least),
        kernel,
    })
}

/// Turns each prototype's squared distance into the halvings of its kernel, in 1/256; the least of them.
#[inline]
pub(crate) fn to_exponents(model: &Model<'_>, bank: &Bank<'_>, distances: &mut [u32]) -> u32 {
    let mut least = u32::MAX;
    for (distance, reach) in distances.iter_mut().zip(model.section(bank.reaches)) {
        *distance = Reach(*reach).exponent(*distance, bank.reach_shift);
        least = least.min(*distance);
    }
    least
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

/// Share of held-out distances at or above `distance`, the observation itself counted.
pub(crate) fn novelty(table: &[u8], distance: u32) -> f32 {
    let thresholds = table.as_chunks::<4>().0;
    let below = thresholds.partition_point(|bytes| u32::from_le_bytes(*bytes) < distance);
    let above = thresholds.len().saturating_sub(below);
    let float = |count: usize| math::float_u64(u64::try_from(count).unwrap_or(0));
    float(above.saturating_add(1)) / float(thresholds.len().saturating_add(1))
}

/// Weights over the bank. Masses add up to at most `2^16` and kernel weights are at most `2^15`, so a sum of weights stays at or below
/// `2^31`, of weights times shares below `2^39`, times means below `2^47`, times their squares and those of the deviations
/// below `2^56`. The prototype with the least exponent has the full weight and a mass, so the sum is above zero.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KernelPosterior<'i> {
    weights: &'i [u32],
    pub total: u32,
    /// Mechanisms but the last, whose share is what the others leave of [`WHOLE`].
    others: usize,
    /// `[prototypes, others]`.
    shares: &'i [u8],
    /// `[prototypes, theta, 2]`.
    moments: &'i [u8],
    theta: Records<'i, Theta<'i>>,
}

impl<'i> KernelPosterior<'i> {
    /// Turns each prototype's exponent into its weight, in units of the one with `least_exponent`, which is no larger than any.
    #[inline]
    pub fn new(
        model: &Model<'i>,
        bank: &Bank<'i>,
        exponents: &'i mut [u32],
        least_exponent: u32,
    ) -> Self {
        let masses = model.section(bank.masses).as_chunks::<2>().0;
        for (exponent, mass) in exponents.iter_mut().zip(masses) {
            let weight = kernel_weight(exponent.wrapping_sub(least_exponent));
            // At most 2^15 * 2^16.
            *exponent = weight.wrapping_mul(u32::from(u16::from_le_bytes(*mass)));
        }
        KernelPosterior {
            total: exponents.iter().fold(0, |total, weight| total.wrapping_add(*weight)),
            weights: exponents,
            others: model.manifest.mechanisms.len().saturating_sub(1),
            shares: model.section(bank.shares),
            moments: model.section(bank.moments),
            theta: bank.theta,
        }
    }
}

impl KernelPosterior<'_> {
    /// Weight of each prototype.
    pub fn weights(&self) -> &[u32] {
        self.weights
    }

    fn weight(&self, prototype: u32) -> f32 {
        let at = usize::try_from(prototype).unwrap_or(usize::MAX);
        let weight = self.weights.get(at).copied().unwrap_or(0);
        math::float_u64(u64::from(weight)) / math::float_u64(u64::from(self.total))
    }

    /// Weight of each prototype that has some, and its row in the bank.
    fn weighted(&self) -> impl Iterator<Item = (usize, u64)> {
        let weights = self.weights.iter().enumerate().filter(|(_, weight)| **weight != 0);
        weights.map(|(row, weight)| (row, u64::from(*weight)))
    }

    /// Shares of all mechanisms but the last in one prototype.
    fn shares_of(&self, row: usize) -> &[u8] {
        let start = row.wrapping_mul(self.others);
        self.shares.get(start..start.wrapping_add(self.others)).unwrap_or(&[])
    }

    fn mechanisms(&self) -> Vec<f32, MAX_MECHANISMS> {
        let mut sums = [0; _];
        let last = self.mechanism_sums(&mut sums);
        let whole = u64::from(self.total).wrapping_mul(WHOLE);
        let all = sums.iter().take(self.others).copied().chain([last]);
        crate::first_items(all.map(|sum| math::float_u64(sum) / math::float_u64(whole)))
    }

    /// Adds the weight of each mechanism but the last, in 1/255, to `sums`, which are zeros; that of the last.
    #[inline]
    pub fn mechanism_sums(&self, sums: &mut [u64; MAX_MECHANISMS]) -> u64 {
        for (row, weight) in self.weighted() {
            for (sum, share) in sums.iter_mut().zip(self.shares_of(row)) {
                *sum = sum.wrapping_add(weight.wrapping_mul(u64::from(*share)));
            }
        }
        let whole = u64::from(self.total).wrapping_mul(WHOLE);
        sums.iter().take(self.others).fold(whole, |left, sum| left.wrapping_sub(*sum))
    }

    fn summary(&self, at: usize, theta: &Theta<'_>) -> ThetaSummary {
        self.moments(at, theta).summary(u64::from(self.total), theta)
    }

    /// Moments of parameter `at` over the share of the posterior that has it.
    pub fn moments(&self, at: usize, theta: &Theta<'_>) -> Moments {
        // Counted from the side of the last mechanism, whose share is not stored: what is left of the whole, or nothing.
        let last = theta.has(self.others);
        let present = |row: usize| {
            let shares = self.shares_of(row).iter().enumerate();
            let differing = shares.filter(|(mechanism, _)| theta.has(*mechanism) != last);
            let sum = differing.fold(0_u64, |sum, (_, share)| sum.wrapping_add(u64::from(*share)));
            if last { WHOLE.wrapping_sub(sum) } else { sum }
        };
        let pairs = self.moments.as_chunks::<2>().0;
        let mut moments = Moments::default();
        for (row, own) in self.weighted() {
            let place = row.wrapping_mul(self.theta.len()).wrapping_add(at);
            let pair = pairs.get(place).copied().unwrap_or([0; 2]).map(u64::from);
            moments.add(own.wrapping_mul(present(row)), pair);
        }
        moments
    }
}

/// Sums over prototypes, weighted in 1/255: of nothing, of a parameter's code, of its square.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moments {
    weight: u64,
    first: u64,
    second: u64,
}

impl Moments {
    /// One more prototype with the mean and the deviation of its codes.
    pub fn add(&mut self, weight: u64, [mean, sd]: [u64; 2]) {
        let square = mean.wrapping_mul(mean).wrapping_add(sd.wrapping_mul(sd));
        self.weight = self.weight.wrapping_add(weight);
        self.first = self.first.wrapping_add(weight.wrapping_mul(mean));
        self.second = self.second.wrapping_add(weight.wrapping_mul(square));
    }

    /// What they say of a parameter when all weights together are `total`.
    pub fn summary(self, total: u64, theta: &Theta<'_>) -> ThetaSummary {
        let Moments { weight, first, second } = self;
        if weight == 0 {
            return ThetaSummary { present: 0.0, mean: f32::NAN, sd: f32::NAN };
        }
        // The variance in integers, where the subtraction loses nothing: (w s2 - s1^2) / w^2.
        let (w, s1, s2) = (u128::from(weight), u128::from(first), u128::from(second));
        let spread = w.wrapping_mul(s2).saturating_sub(s1.wrapping_mul(s1));
        let variance = float_u128(spread) / float_u128(w.wrapping_mul(w));
        let mean_code = math::float_u64(first) / math::float_u64(weight);
        ThetaSummary {
            present: math::float_u64(weight) / math::float_u64(total.wrapping_mul(WHOLE)),
            mean: theta.low + theta.step() * mean_code,
            sd: theta.step() * math::sqrt(variance),
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
        let each = usize::from(bank.index_bytes);
        let start = usize::try_from(prototype).ok()?.checked_mul(each)?;
        let bytes = self.section(bank.indices).get(start..start.checked_add(each)?)?;
        Some(bytes.iter().rev().fold(0, |index, byte| index.wrapping_shl(8) | u64::from(*byte)))
    }

    /// Position in the manifest of the mechanism of a prototype.
    pub fn prototype_mechanism(&self, prototype: u32) -> Option<u8> {
        let bank = self.manifest.bank.as_ref()?;
        self.section(bank.mechanisms).get(usize::try_from(prototype).ok()?).copied()
    }

    /// Parameter `theta` of prototype `prototype` in its unit; `None` where its mechanism has no such parameter.
    ///
    /// Within 1/508 of the parameter's range; replaying the simulation gives it exactly.
    pub fn prototype_theta(&self, prototype: u32, theta: usize) -> Option<f32> {
        let record = self.manifest.bank.as_ref()?.theta.at(theta)?;
        let code = self.prototype_theta_code(prototype, theta)?;
        (code != THETA_ABSENT).then(|| record.low + record.step() * f32::from(code))
    }

    /// The stored code of that parameter; [`THETA_ABSENT`] where the mechanism has no such parameter, `None` out of bounds.
    pub fn prototype_theta_code(&self, prototype: u32, theta: usize) -> Option<u8> {
        let bank = self.manifest.bank.as_ref()?;
        let row = usize::try_from(prototype).ok()?.checked_mul(bank.theta.len())?;
        self.section(bank.thetas).get(row.checked_add(theta)?).copied()
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
        let masses = self.section(bank.masses).as_chunks::<2>().0;
        masses.get(usize::try_from(prototype).ok()?).map(|mass| u16::from_le_bytes(*mass))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
