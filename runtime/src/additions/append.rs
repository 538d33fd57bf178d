//! The write side: each call makes the bytes of one record, and says where they belong.

use super::{
    Addition, Additions, CRC_BYTES, ERASED, HEAD_BYTES, HEADER_BYTES, KIND_EXAMPLE, KIND_NAME,
    KIND_RETRACTION, MAX_NEW_MECHANISMS, MAX_PRIOR, MAX_SHIFT, NONE, ONE_OBSERVATION, Shape,
    header_of, put, record_crc,
};
use crate::artifact::{MAX_THETA, Model};
use crate::attribution::THETA_ABSENT;
use crate::network::Inference;
use crate::reach::Reach;
use crate::{kernel, math};

use super::error::{AdditionsError, GrowthError};

/// Halvings, in 1/256, up to which a window is more of a labeled one and not another: one.
const SAME: u32 = 256;

/// How much farther a label reaches than the prototype next to it, in steps of the upper nibble: one is twice the squared distance, for
/// labels are few where prototypes are many.
const FARTHER: u8 = 1 << 4;

/// What a person says of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label<'t> {
    /// Position of its mechanism: one of the artifact's, or behind those one that the region adds, at most eight.
    pub mechanism: u8,
    /// How many observations it is worth, in 1/16: less than [`ONE_OBSERVATION`] for one that the person is not sure of.
    pub count: u16,
    /// Its parameters in their units and the bank's order, NaN for those that are not known; empty when none is.
    pub theta: &'t [f32],
    /// How far its kernel reaches; by default twice the squared distance of the nearest prototype of the bank.
    pub reach: Option<Reach>,
    /// A word that comes back with the answers that rest on it.
    pub tag: u32,
}

impl Label<'_> {
    /// One sure observation of a mechanism.
    pub const fn new(mechanism: u8) -> Self {
        Label { mechanism, count: ONE_OBSERVATION, theta: &[], reach: None, tag: 0 }
    }
}

/// Where the bytes of a record belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Appended {
    /// Its number.
    pub record: u16,
    /// Where it starts, from the region's start: a multiple of 32.
    pub offset: usize,
    /// The record that it replaces.
    pub replaces: Option<u16>,
}

impl Additions<'_> {
    /// The header of an empty region, for erased memory.
    ///
    /// `prior_observations` is what the whole bank is worth, 1 to 4,096. By default one for each prototype, so that a label weighs what a
    /// prototype does on average. With few, labels name soon what is new, and soon what is not.
    ///
    /// # Errors
    ///
    /// A model without a bank, or a prior outside its range.
    pub fn header(
        model: &Model<'_>,
        prior_observations: Option<u16>,
    ) -> Result<[u8; HEADER_BYTES], AdditionsError> {
        let bank = model.manifest.bank.as_ref().ok_or(AdditionsError::NoBank)?;
        let shape = Shape::of(model, bank);
        let by_prototype = u16::try_from(bank.prototypes).unwrap_or(MAX_PRIOR).min(MAX_PRIOR);
        let prior = prior_observations.unwrap_or(by_prototype);
        if !(1..=MAX_PRIOR).contains(&prior) {
            return Err(AdditionsError::Shape);
        }
        Ok(header_of(shape, model.fingerprint(), prior))
    }

    /// The record of a labeled window, in the first [`record_bytes`](Self::record_bytes) of `record`.
    ///
    /// A window within one halving of a labeled one of the same mechanism raises that one's count, and moves it to the mean of both: the
    /// record replaces it.
    ///
    /// # Errors
    ///
    /// [`GrowthError`] says what does not fit. Nothing is written then.
    pub fn label(
        &self,
        inference: &Inference<'_, '_, '_>,
        label: &Label<'_>,
        record: &mut [u8],
    ) -> Result<Appended, GrowthError> {
        if !self.is_of(inference) {
            return Err(GrowthError::OtherModel);
        }
        self.check_mechanism(label.mechanism, 0)?;
        if label.count == 0 {
            return Err(GrowthError::Count);
        }
        let mut theta = self.theta_codes(label.theta)?;
        let embedding = inference.embedding();
        let slot = self.open(record)?;
        let same = self.same(embedding, label.mechanism, &theta);
        let (earlier, shift, vector) = same.map_or((0, 0, &[][..]), |same| {
            (u32::from(same.count), u32::from(same.shift), same.vector)
        });
        let own = u32::from(label.count);
        let mean = |q: i16, v: i32| weighted([own, earlier], [i32::from(q), v]);
        // What there is nothing of weighs nothing.
        let before = vector.iter().map(|v| i32::from(v.cast_signed()).wrapping_shl(shift));
        let before = before.chain(core::iter::repeat(0));
        let coordinates = embedding.iter().zip(before).map(|(q, v)| mean(*q, v));
        if let Some(same) = &same {
            for (at, code) in theta.iter_mut().enumerate().take(self.shape.thetas) {
                let mean = weighted([own, earlier], [(*code).into(), same.theta_code(at).into()]);
                *code = u8::try_from(mean).unwrap_or(THETA_ABSENT);
            }
        }
        let count = u16::try_from(own.wrapping_add(earlier)).unwrap_or(u16::MAX);
        let farther = |Reach(code)| Reach(code.saturating_sub(FARTHER));
        let usual = || label.reach.unwrap_or_else(|| farther(self.nearest_reach(inference)));
        let reach = same.map_or_else(usual, |same| same.reach);
        put_head(slot, KIND_EXAMPLE, label.mechanism, count);
        put(slot, 6, &[reach.0]);
        put(slot, 8, &label.tag.to_le_bytes());
        put_vector(slot, coordinates);
        let codes = theta.get(..self.shape.thetas).unwrap_or(&[]);
        put(slot, HEAD_BYTES.wrapping_add(self.shape.width), codes);
        Ok(self.close(slot, same.map(|same| same.record)))
    }

    /// The record that names a mechanism which the region adds; it replaces an earlier name.
    ///
    /// # Errors
    ///
    /// As for [`label`](Self::label), and a name that is empty or longer than [`name_bytes`](Self::name_bytes).
    pub fn name(
        &self,
        mechanism: u8,
        name: &str,
        record: &mut [u8],
    ) -> Result<Appended, GrowthError> {
        self.check_mechanism(mechanism, self.shape.mechanisms)?;
        let (most, found) = (self.name_bytes(), name.len());
        let Some(count) = u16::try_from(found).ok().filter(|_| (1..=most).contains(&found)) else {
            return Err(GrowthError::Name { most, found });
        };
        let slot = self.open(record)?;
        put_head(slot, KIND_NAME, mechanism, count);
        put(slot, HEAD_BYTES, name.as_bytes());
        Ok(self.close(slot, None))
    }

    /// The record that takes a labeled window back.
    ///
    /// # Errors
    ///
    /// As for [`label`](Self::label), and a number that is not that of a labeled window in force.
    pub fn retract(&self, retracted: u16, record: &mut [u8]) -> Result<Appended, GrowthError> {
        let addition = self.at(retracted).ok_or(GrowthError::NotInForce { record: retracted })?;
        let slot = self.open(record)?;
        put_head(slot, KIND_RETRACTION, addition.mechanism, 0);
        Ok(self.close(slot, Some(retracted)))
    }

    /// Writes what is in force into another region, behind a header of its own, and erases the rest of it; how many records.
    ///
    /// # Errors
    ///
    /// A region without room for them.
    pub fn compact(&self, region: &mut [u8]) -> Result<usize, GrowthError> {
        let live = (0..self.used).filter(|record| self.is_live(*record));
        let size = self.shape.record_bytes;
        let needed = size.wrapping_mul(live.clone().count()).wrapping_add(HEADER_BYTES);
        let found = region.len();
        let Some((header, slots)) = region.split_first_chunk_mut().filter(|_| needed <= found)
        else {
            return Err(GrowthError::RoomTooSmall { needed, found });
        };
        *header = *self.header;
        slots.fill(ERASED);
        let mut written = 0_u16;
        let mut rest = slots;
        for record in live {
            // There is room: it was counted.
            let Some((slot, after)) = rest.split_at_mut_checked(size) else { break };
            rest = after;
            put(slot, 0, self.slot(record));
            put(slot, 4, &NONE.to_le_bytes());
            self.seal(slot, written);
            written = written.wrapping_add(1);
        }
        Ok(usize::from(written))
    }

    /// The first mechanism behind the artifact's that the region neither names nor labels; `None` when there is none left.
    pub fn next_mechanism(&self) -> Option<u8> {
        let next = u8::try_from(self.num_mechanisms()).ok()?;
        self.check_mechanism(next, 0).ok().map(|()| next)
    }

    pub(super) fn is_of(&self, inference: &Inference<'_, '_, '_>) -> bool {
        core::ptr::from_ref(inference.model).addr() == core::ptr::from_ref(self.model).addr()
    }

    fn check_mechanism(&self, found: u8, first: usize) -> Result<(), GrowthError> {
        let end = self.shape.mechanisms.wrapping_add(MAX_NEW_MECHANISMS);
        if (first..end).contains(&usize::from(found)) {
            return Ok(());
        }
        let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
        Err(GrowthError::Mechanism { found, known: byte(self.shape.mechanisms), end: byte(end) })
    }

    #[inline(never)]
    fn theta_codes(&self, theta: &[f32]) -> Result<[u8; MAX_THETA], GrowthError> {
        let (needed, found) = (self.shape.thetas, theta.len());
        if found != 0 && found != needed {
            return Err(GrowthError::WrongWidth { needed, found });
        }
        let mut codes = [THETA_ABSENT; MAX_THETA];
        let said = theta.iter().zip(self.bank.theta.iter()).enumerate();
        for ((parameter, (value, range)), code) in said.zip(&mut codes) {
            if value.is_nan() {
                continue;
            }
            if !(range.low..=range.high).contains(value) {
                return Err(GrowthError::Theta { parameter });
            }
            let steps = math::round((value - range.low) / range.step());
            // A range of one value has steps of zero: NaN becomes 0.
            *code = math::within(steps, 0.0, 254.0) as u8;
        }
        Ok(codes)
    }

    /// The reach of the bank's prototype that is nearest to a window.
    pub fn nearest_reach(&self, inference: &Inference<'_, '_, '_>) -> Reach {
        let vectors = self.model.section(self.bank.vectors);
        let nearest = kernel::nearest::<1>(vectors, inference.embedding());
        let prototype = nearest.first().map_or(0, |near| near.prototype);
        let at = usize::try_from(prototype).unwrap_or(0);
        Reach(self.model.section(self.bank.reaches).get(at).copied().unwrap_or(0))
    }

    /// The labeled window that this one is more of: the nearest by its own kernel, of those that have the same parameters.
    #[inline(never)]
    fn same(&self, embedding: &[i16], mechanism: u8, theta: &[u8]) -> Option<Addition<'_>> {
        let exponent = |addition: &Addition<'_>| {
            let distance = addition.squared_distance(embedding);
            addition.reach.exponent(distance, self.bank.reach_shift)
        };
        let alike = |addition: &Addition<'_>| {
            let said = |code: u8| code != THETA_ABSENT;
            let mut codes = theta.iter().enumerate().take(self.shape.thetas);
            codes.all(|(at, code)| said(*code) == said(addition.theta_code(at)))
        };
        self.iter()
            .filter(|addition| addition.mechanism == mechanism && alike(addition))
            .min_by_key(exponent)
            .filter(|addition| exponent(addition) <= SAME)
    }

    /// Zeros for a record behind the last slot that is written.
    #[inline(never)]
    fn open<'b>(&self, record: &'b mut [u8]) -> Result<&'b mut [u8], GrowthError> {
        if self.used >= self.capacity {
            return Err(GrowthError::Full { capacity: self.capacity() });
        }
        let (needed, found) = (self.shape.record_bytes, record.len());
        let slot = record.get_mut(..needed).ok_or(GrowthError::RoomTooSmall { needed, found })?;
        slot.fill(0);
        Ok(slot)
    }

    /// Says what a record replaces, and seals it.
    #[inline(never)]
    fn close(&self, slot: &mut [u8], replaces: Option<u16>) -> Appended {
        put(slot, 4, &replaces.unwrap_or(NONE).to_le_bytes());
        self.seal(slot, self.used);
        let before = usize::from(self.used).wrapping_mul(slot.len());
        Appended { record: self.used, offset: before.wrapping_add(HEADER_BYTES), replaces }
    }

    #[inline(never)]
    fn seal(&self, slot: &mut [u8], record: u16) {
        let body = slot.len().wrapping_sub(CRC_BYTES);
        let crc = record_crc(self.header, record, slot.get(..body).unwrap_or(&[]));
        put(slot, body, &crc.to_le_bytes());
    }
}

fn put_head(slot: &mut [u8], kind: u8, mechanism: u8, count: u16) {
    put(slot, 0, &[kind, mechanism]);
    put(slot, 2, &count.to_le_bytes());
}

/// The mean of two values within 2^10 of zero, with weights below 2^17, rounded to the nearest, ties up.
fn weighted(weights: [u32; 2], values: [i32; 2]) -> i32 {
    let [a, b] = weights.map(u32::cast_signed);
    let [x, y] = values;
    let total = a.wrapping_add(b);
    let sum = a.wrapping_mul(x).wrapping_add(b.wrapping_mul(y));
    let half = sum.wrapping_add(total.wrapping_shr(1));
    half.checked_div_euclid(total).unwrap_or(0)
}

/// Writes coordinates, within 1,023 of zero, as bytes and their shift: as finely as the largest of them allows.
fn put_vector(slot: &mut [u8], coordinates: impl Iterator<Item = i32> + Clone) {
    let fits = |shift: &u8| coordinates.clone().all(|v| rounded(v, *shift).is_some());
    let shift = (0..MAX_SHIFT).find(fits).unwrap_or(MAX_SHIFT);
    put(slot, 7, &[shift]);
    for (byte, v) in slot.iter_mut().skip(HEAD_BYTES).zip(coordinates) {
        *byte = rounded(v, shift).unwrap_or(i8::MAX).cast_unsigned();
    }
}

/// `v / 2^shift`, rounded to the nearest, ties up; `None` for what a byte does not hold.
fn rounded(v: i32, shift: u8) -> Option<i8> {
    let shift = u32::from(shift);
    let half = 1_i32.wrapping_shl(shift).wrapping_shr(1);
    i8::try_from(v.wrapping_add(half).wrapping_shr(shift)).ok()
}
