//! Attribution over both parts of a grown bank: the artifact's simulations and the field's labeled windows.

use heapless::Vec;

use super::error::GrowthError;
use super::{Addition, Additions, MAX_LABELS};
use crate::artifact::Bank;
use crate::attribution::{
    KernelPosterior, Moments, THETA_ABSENT, ThetaSummary, WHOLE, novelty, to_exponents,
};
use crate::kernel::{self, Ranked, Ranking};
use crate::math;
use crate::network::Inference;
use crate::reach::kernel_weight;

/// Which part of a grown bank a prototype lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BankPart {
    /// The artifact's: a simulation.
    Artifact,
    /// The field's: windows that a person labeled.
    Field,
}

/// One prototype of either part.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct GrownNearest {
    /// Where it comes from.
    pub part: BankPart,
    /// Position in the artifact's bank, or number of the field's record.
    pub prototype: u32,
    /// Index of the simulation in its corpus; in the field the label's tag.
    pub index: u64,
    /// Position of its mechanism: the artifact's first, then those that the region adds.
    pub mechanism: u8,
    /// Squared distance in embedding space, in grid units.
    pub squared_distance: u32,
    /// Its share of the kernel posterior, in `[0, 1]`.
    pub weight: f32,
}

/// How probable a mechanism is, and on whose word.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MechanismShare {
    /// Its share of the kernel posterior, in `[0, 1]`.
    pub probability: f32,
    /// How much of that comes from the field: at most `probability`.
    pub from_field: f32,
}

/// The explanation of one answer by both parts.
#[derive(Debug, Clone)]
pub struct GrownAttribution<'i, const K: usize> {
    /// The nearest prototypes: ascending distance, of equal ones the artifact's first, then by position.
    pub nearest: Vec<GrownNearest, K>,
    /// Kernel posterior over the mechanisms: the artifact's, then those that the region adds.
    pub mechanism_posterior: Vec<MechanismShare, MAX_LABELS>,
    /// Share of the kernel posterior that comes from the field, in `[0, 1]`.
    pub from_field: f32,
    /// How unusual the distance to the nearest simulation of the artifact is: the p-value of
    /// [`Attribution::novelty`](crate::Attribution::novelty), which additions do not touch. Give a [`Drift`](crate::Drift) monitor this one.
    pub novelty: f32,
    /// The same of the distance to the nearest of both parts. At least `novelty`, so that it is small no more often than it says; it stays
    /// large for what was unusual until a person labeled it.
    pub novelty_of_both: f32,
    bank: &'i Bank<'i>,
    kernel: KernelPosterior<'i>,
    field: Field<'i>,
}

impl<const K: usize> GrownAttribution<'_, K> {
    /// Share of the kernel posterior of any prototype, in `[0, 1]`; 0 for one that is not in force.
    pub fn weight(&self, part: BankPart, prototype: u32) -> f32 {
        let weights = match part {
            BankPart::Artifact => self.kernel.weights(),
            BankPart::Field => self.field.weights,
        };
        let at = usize::try_from(prototype).unwrap_or(usize::MAX);
        ratio(weights.get(at).copied().unwrap_or(0).into(), self.total())
    }

    /// Kernel posterior of each parameter, in the bank's order. A labeled window counts for those parameters that the person gave.
    pub fn thetas(&self) -> impl Iterator<Item = ThetaSummary> + '_ {
        self.bank.theta.iter().enumerate().map(|(at, range)| {
            let mut moments = self.kernel.moments(at, &range);
            self.field.add(at, &mut moments);
            moments.summary(self.total(), &range)
        })
    }

    fn total(&self) -> u64 {
        self.field.total.wrapping_add(self.kernel.total.into())
    }
}

/// Weights of the records. A mass is at most 2^16 and a kernel weight at most 2^15, so a weight fits a word, all of them stay at or below
/// 2^39, times 255 and the square of a code below 2^63; the bank's sums, below 2^56, fit beside them.
#[derive(Debug, Clone)]
struct Field<'i> {
    additions: &'i Additions<'i>,
    weights: &'i [u32],
    total: u64,
}

impl Field<'_> {
    fn weighted(&self) -> impl Iterator<Item = (Addition<'_>, u64)> {
        self.additions.iter().map(|addition| {
            let weight = self.weights.get(usize::from(addition.record)).copied().unwrap_or(0);
            (addition, u64::from(weight))
        })
    }

    /// Weight of each mechanism, in 1/255.
    #[inline(never)]
    fn mechanism_sums(&self) -> [u64; MAX_LABELS] {
        let mut sums = [0_u64; MAX_LABELS];
        for (addition, weight) in self.weighted() {
            if let Some(sum) = sums.get_mut(usize::from(addition.mechanism)) {
                *sum = sum.wrapping_add(weight.wrapping_mul(WHOLE));
            }
        }
        sums
    }

    #[inline(never)]
    fn add(&self, theta: usize, moments: &mut Moments) {
        for (addition, weight) in self.weighted() {
            let code = addition.theta_code(theta);
            if code != THETA_ABSENT {
                moments.add(weight.wrapping_mul(WHOLE), [code.into(), 0]);
            }
        }
    }
}

impl Inference<'_, '_, '_> {
    /// Names the nearest `K` prototypes of the artifact's bank and of the field's additions together, and what both say.
    ///
    /// # Shapes
    ///
    /// `weights`: [`Additions::slots_used`] words or more; what they hold does not matter.
    ///
    /// # Errors
    ///
    /// Additions to another model, or too few words.
    pub fn attribute_with<'i, const K: usize>(
        &'i mut self,
        additions: &'i Additions<'i>,
        weights: &'i mut [u32],
    ) -> Result<GrownAttribution<'i, K>, GrowthError> {
        if !additions.is_of(self) {
            return Err(GrowthError::OtherModel);
        }
        let (needed, found) = (additions.slots_used(), weights.len());
        let weights = weights.get_mut(..needed);
        let weights = weights.ok_or(GrowthError::RoomTooSmall { needed, found })?;
        let (model, bank) = (additions.model, additions.bank);
        let distances = &mut *self.distances;
        kernel::squared_distances(model.section(bank.vectors), self.embedding, distances);
        let least = distances.iter().copied().min().unwrap_or(u32::MAX);
        let least_of_both = additions.squared_distances(self.embedding, weights).min(least);
        let nearest = rank_both::<K>(distances, weights);
        let least_exponent = to_exponents(model, bank, distances);
        let least_exponent = additions.to_exponents(weights).min(least_exponent);
        let total = additions.weigh(weights, least_exponent);
        let kernel = KernelPosterior::new(model, bank, distances, least_exponent);
        let table = model.section(bank.novelty);
        let mut answer = GrownAttribution {
            nearest: Vec::new(),
            mechanism_posterior: Vec::new(),
            from_field: 0.0,
            novelty: novelty(table, least),
            novelty_of_both: novelty(table, least_of_both),
            bank,
            kernel,
            field: Field { additions, weights, total },
        };
        answer.nearest = crate::first_items(nearest.iter().map(|near| answer.entry(near)));
        answer.mechanism_posterior = answer.mechanisms();
        answer.from_field = ratio(total, answer.total());
        Ok(answer)
    }
}

/// Each pass over the records, in place: one word a slot.
impl Additions<'_> {
    /// Squared distance of each record in force, `u32::MAX` for other slots; the least of them.
    #[inline(never)]
    fn squared_distances(&self, embedding: &[i16], out: &mut [u32]) -> u32 {
        out.fill(u32::MAX);
        let mut least = u32::MAX;
        for (record, out) in (0..).zip(out) {
            if let Some(addition) = self.at(record) {
                *out = addition.squared_distance(embedding);
                least = least.min(*out);
            }
        }
        least
    }

    /// Turns each distance into the halvings of its kernel, in 1/256; the least of them.
    #[inline(never)]
    fn to_exponents(&self, distances: &mut [u32]) -> u32 {
        let mut least = u32::MAX;
        for (record, distance) in (0..).zip(distances) {
            if let Some(addition) = self.at(record) {
                *distance = addition.reach.exponent(*distance, self.bank.reach_shift);
                least = least.min(*distance);
            }
        }
        least
    }

    /// Turns each exponent into its weight, 0 for slots that are not in force; all of them together.
    #[inline(never)]
    fn weigh(&self, exponents: &mut [u32], least_exponent: u32) -> u64 {
        let mut total = 0_u64;
        for (record, weight) in (0..).zip(exponents) {
            *weight = self.at(record).map_or(0, |addition| {
                let own = kernel_weight(weight.wrapping_sub(least_exponent));
                // At most 2^15 * 2^16.
                own.wrapping_mul(self.mass(&addition))
            });
            total = total.wrapping_add(u64::from(*weight));
        }
        total
    }
}

/// Marks a record among ranked prototypes; the bank has fewer than this.
const FIELD: u32 = 1 << 31;

/// The `K` least distances of both parts in order; of equal ones the bank's first.
fn rank_both<const K: usize>(bank: &[u32], field: &[u32]) -> Vec<Ranked, K> {
    let mut ranking = Ranking::<K>::new();
    for (distances, first) in [(bank, 0), (field, FIELD)] {
        for (prototype, &squared_distance) in (first..).zip(distances) {
            if squared_distance < ranking.limit() {
                ranking.insert(Ranked { prototype, squared_distance });
            }
        }
    }
    ranking.finish()
}

impl<const K: usize> GrownAttribution<'_, K> {
    fn entry(&self, ranked: &Ranked) -> GrownNearest {
        let additions = self.field.additions;
        let squared_distance = ranked.squared_distance;
        let prototype = ranked.prototype & !FIELD;
        let addition = u16::try_from(prototype).ok().and_then(|record| additions.at(record));
        let (part, mechanism, index) = match addition.filter(|_| ranked.prototype & FIELD != 0) {
            Some(addition) => (BankPart::Field, addition.mechanism, addition.tag.into()),
            None => {
                let model = additions.model;
                let mechanism = model.prototype_mechanism(prototype).unwrap_or(0);
                (BankPart::Artifact, mechanism, model.prototype_index(prototype).unwrap_or(0))
            }
        };
        let weight = self.weight(part, prototype);
        GrownNearest { part, prototype, index, mechanism, squared_distance, weight }
    }

    fn mechanisms(&self) -> Vec<MechanismShare, MAX_LABELS> {
        let whole = self.total().wrapping_mul(WHOLE);
        let mut of_bank = [0; _];
        let last = self.kernel.mechanism_sums(&mut of_bank);
        let others = self.field.additions.shape.mechanisms.saturating_sub(1);
        let of_bank = of_bank.into_iter().take(others).chain([last]).chain(core::iter::repeat(0));
        let sums = of_bank.zip(self.field.mechanism_sums());
        let shares = sums.map(|(bank, field)| MechanismShare {
            probability: ratio(bank.wrapping_add(field), whole),
            from_field: ratio(field, whole),
        });
        crate::first_items(shares.take(self.field.additions.num_mechanisms()))
    }
}

fn ratio(part: u64, whole: u64) -> f32 {
    math::float_u64(part) / math::float_u64(whole)
}
