//! Growth in the field: windows that a person labeled on the device, in a region beside the artifact.
//!
//! The artifact stays as it is. A region is memory of the caller's, a page of flash for one:
//!
//! ```text
//! header    32 bytes: magic, version, which artifact it belongs to, its shape, CRC-32
//! records   of one size each, a multiple of 32 bytes: written once, one behind the other, each with a CRC-32
//! ```
//!
//! Nothing that is written is ever written again, so flash that only clears bits, and flash that checks a word by a code of its own,
//! hold it. A record replaces an earlier one by its number. One that the power left half written has the wrong checksum: it is
//! skipped, and what it was to replace is still in force. `docs/additions-format.md` has the bytes.
//!
//! The statistics are those of prototypical Bayesian continual learning (Kessler et al. 2023, <https://arxiv.org/abs/2301.01828>,
//! section 7): a prototype is a mean of embeddings and a count, and counts are added to those of a prior, which is the bank.
//!
//! ```
//! use simground_runtime::{Additions, Label, Model, include_model};
//!
//! let bytes = include_model!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/small.sgnn"));
//! let model = Model::from_bytes(bytes).unwrap();
//! let mut scratch = [0; 512];
//! let mut flash = [0xff_u8; 1024]; // erased
//! flash[..32].copy_from_slice(&Additions::header(&model, None).unwrap());
//!
//! // A person says of a window: this is none of the three mechanisms that the model knows.
//! let window = [9.0, 8.0, 26.0, 76.0, 225.0, 298.0, 300.0, 233.0, 189.0, 128.0, 68.0, 29.0, 14.0, 4.0];
//! let inference = model.infer(&window, &mut scratch).unwrap();
//! let additions = Additions::from_bytes(&model, &flash).unwrap();
//! let mut record = [0; 32];
//! let appended = additions.label(&inference, &Label::new(3), &mut record).unwrap();
//! flash[appended.offset..][..32].copy_from_slice(&record);
//!
//! let additions = Additions::from_bytes(&model, &flash).unwrap();
//! let mut inference = model.infer(&window, &mut scratch).unwrap();
//! let mut weights = [0; 8]; // additions.slots_used() or more
//! let answer = inference.attribute_with::<5>(&additions, &mut weights).unwrap();
//! assert_eq!(answer.nearest[0].mechanism, 3);
//! assert!(answer.mechanism_posterior[3].probability > 0.5);
//! ```

mod answer;
mod append;
mod error;

use core::str;

pub use crate::artifact::MAX_THETA;
use crate::artifact::{Bank, MAX_MECHANISMS, Model};
use crate::checksum::Checksum;
use crate::dense::padded;
use crate::reach::Reach;

pub use answer::{BankPart, GrownAttribution, GrownNearest, MechanismShare};
pub use append::{Appended, Label};
pub use error::{AdditionsError, GrowthError};

/// The first four bytes of every region.
pub const MAGIC: [u8; 4] = *b"SGAD";
/// The newest format version of a region, the only one that this runtime reads.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 32;
/// Records have a multiple of this size: what the widest flash words program at once.
pub const RECORD_ALIGNMENT: usize = 32;
/// Most records of a region.
pub const MAX_RECORDS: usize = 256;
/// Mechanisms that a region can add to the artifact's.
pub const MAX_NEW_MECHANISMS: usize = 8;
/// Most mechanisms of a grown answer.
pub const MAX_LABELS: usize = MAX_MECHANISMS + MAX_NEW_MECHANISMS;
/// Largest size of a record: 256 coordinates, 32 parameters.
pub const MAX_RECORD_BYTES: usize = 320;
/// A window that a person is sure of has this count.
pub const ONE_OBSERVATION: u16 = 16;

/// Erased flash.
const ERASED: u8 = 0xff;
/// Bytes of a record before its embedding or its text.
const HEAD_BYTES: usize = 12;
/// Bytes of a record's checksum, which ends it.
const CRC_BYTES: usize = 4;
/// A record that replaces no other.
const NONE: u16 = u16::MAX;
/// Largest shift of an embedding: its coordinates are within [`EMBEDDING_LIMIT`](crate::artifact::EMBEDDING_LIMIT).
const MAX_SHIFT: u8 = 3;
/// What the whole bank weighs; no addition weighs more.
const WHOLE_MASS: u32 = 65_536;
/// Most observations that the bank may be worth.
const MAX_PRIOR: u16 = 4096;

/// What the records of a region look like: it follows from the artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// Coordinates of an embedding, rounded up to a multiple of four.
    width: usize,
    /// Parameters of the bank.
    thetas: usize,
    /// Mechanisms that the artifact knows.
    mechanisms: usize,
    /// Bytes of a record.
    record_bytes: usize,
}

impl Shape {
    fn of(model: &Model<'_>, bank: &Bank<'_>) -> Self {
        let width = padded(bank.embedding.d_output);
        let thetas = bank.theta.len();
        // At most 12 + 256 + 32 + 4.
        let bytes = HEAD_BYTES.wrapping_add(width).wrapping_add(thetas).wrapping_add(CRC_BYTES);
        let record_bytes = bytes.checked_next_multiple_of(RECORD_ALIGNMENT).unwrap_or(bytes);
        Shape { width, thetas, mechanisms: model.manifest.mechanisms.len(), record_bytes }
    }

    fn text_bytes(&self) -> usize {
        self.record_bytes.saturating_sub(HEAD_BYTES.wrapping_add(CRC_BYTES))
    }
}

/// The labeled windows of a region, every byte of which is proved.
///
/// Reads the region in place: after an append, read it anew.
#[derive(Debug, Clone)]
pub struct Additions<'r> {
    model: &'r Model<'r>,
    bank: &'r Bank<'r>,
    shape: Shape,
    header: &'r [u8; HEADER_BYTES],
    slots: &'r [u8],
    /// A bit for each slot: it holds a record that no later one replaces.
    live: [u32; MAX_RECORDS / 32],
    capacity: u16,
    used: u16,
    broken: u16,
    labels: u8,
    prior: u16,
}

/// Labeled windows of one mechanism that were alike: their mean embedding and their count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addition<'r> {
    /// Number of the record.
    pub record: u16,
    /// Position of its mechanism: those of the artifact first, then those that the region adds.
    pub mechanism: u8,
    /// How many observations it stands for, in 1/16.
    pub count: u16,
    /// How far its kernel reaches.
    pub reach: Reach,
    /// The caller's word about the last of its windows: a day, a place in a log.
    pub tag: u32,
    shift: u8,
    vector: &'r [u8],
    theta: &'r [u8],
}

impl<'r> Additions<'r> {
    /// Proves that `region` holds additions to this very model, and finds those in force.
    ///
    /// Reads the model's tensors once and the region twice. A record whose checksum or content is wrong is skipped and counted.
    ///
    /// # Errors
    ///
    /// [`AdditionsError::Blank`] for a region without a header, which [`Additions::header`] writes; otherwise what is wrong with it.
    pub fn from_bytes(model: &'r Model<'r>, region: &'r [u8]) -> Result<Self, AdditionsError> {
        let bank = model.manifest.bank.as_ref().ok_or(AdditionsError::NoBank)?;
        let shape = Shape::of(model, bank);
        let (header, slots) = region
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(AdditionsError::Truncated { needed: HEADER_BYTES, found: region.len() })?;
        let prior = prove_header(model, shape, header)?;
        let capacity = slots.len().checked_div(shape.record_bytes).unwrap_or(0).min(MAX_RECORDS);
        let mut additions = Additions {
            model,
            bank,
            shape,
            header,
            slots,
            live: [0; _],
            capacity: u16::try_from(capacity).unwrap_or(0),
            used: 0,
            broken: 0,
            labels: u8::try_from(shape.mechanisms).unwrap_or(0),
            prior,
        };
        additions.find_live();
        Ok(additions)
    }

    /// Bytes of a record; `None` for a model without a bank.
    pub fn record_bytes(model: &Model<'_>) -> Option<usize> {
        Some(Shape::of(model, model.manifest.bank.as_ref()?).record_bytes)
    }

    /// Records for which the region has room.
    pub fn capacity(&self) -> usize {
        usize::from(self.capacity)
    }

    /// Slots up to the last that is written: what [`attribute_with`](crate::Inference::attribute_with) takes as weights.
    pub fn slots_used(&self) -> usize {
        usize::from(self.used)
    }

    /// Slots that are written but hold no record: the power failed, or the bytes changed.
    pub fn broken(&self) -> usize {
        usize::from(self.broken)
    }

    /// Mechanisms of a grown answer: the artifact's, and those up to the last that the region names or labels.
    pub fn num_mechanisms(&self) -> usize {
        usize::from(self.labels)
    }

    /// Mechanisms that the artifact knows.
    pub fn num_artifact_mechanisms(&self) -> usize {
        self.shape.mechanisms
    }

    /// How many observations the whole bank is worth.
    pub fn prior_observations(&self) -> u16 {
        self.prior
    }

    /// Longest name of a new mechanism, in bytes.
    pub fn name_bytes(&self) -> usize {
        self.shape.text_bytes()
    }

    /// Labeled windows in force, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = Addition<'r>> + '_ {
        (0..self.used).filter_map(|record| self.at(record))
    }

    /// The labeled windows in a record that is in force.
    pub fn at(&self, record: u16) -> Option<Addition<'r>> {
        if self.is_live(record) { self.example(record) } else { None }
    }

    /// The name of a mechanism: the artifact's, or the one that the region gives it. `None` for one without a name.
    pub fn mechanism_name(&self, mechanism: u8) -> Option<&'r str> {
        if usize::from(mechanism) < self.shape.mechanisms {
            return self.model.manifest.mechanisms.at(usize::from(mechanism));
        }
        (0..self.used).find_map(|record| match self.live_record(record)? {
            Record::Name { mechanism: named, text } if named == mechanism => Some(text),
            _ => None,
        })
    }

    #[inline(never)]
    fn live_record(&self, record: u16) -> Option<Record<'r>> {
        if self.is_live(record) { self.read(record) } else { None }
    }

    fn is_live(&self, record: u16) -> bool {
        let word = self.live.get(usize::from(record >> 5)).copied().unwrap_or(0);
        word.wrapping_shr(u32::from(record & 31)) & 1 == 1
    }

    fn set_live(&mut self, record: u16, live: bool) {
        let bit = 1_u32.wrapping_shl(u32::from(record & 31));
        if let Some(word) = self.live.get_mut(usize::from(record >> 5)) {
            *word = if live { *word | bit } else { *word & !bit };
        }
    }

    fn find_live(&mut self) {
        for record in 0..self.capacity {
            let blank = self.slot(record).iter().all(|byte| *byte == ERASED);
            if blank {
                continue;
            }
            self.used = record.wrapping_add(1);
            if self.admit(record).is_none() {
                self.broken = self.broken.wrapping_add(1);
            }
        }
    }

    /// Brings a record into force; `None` for one that must not be read.
    #[inline(never)]
    fn admit(&mut self, record: u16) -> Option<()> {
        let slot = self.slot(record);
        let (body, crc) = slot.split_last_chunk::<CRC_BYTES>()?;
        if record_crc(self.header, record, body).to_le_bytes() != *crc {
            return None;
        }
        let read = self.read(record)?;
        let mechanism = read.mechanism();
        let replaced = word16(slot, 4);
        if replaced != NONE {
            // An example or a retraction replaces an example of its mechanism that is in force and stands before it.
            let earlier = self.at(replaced).filter(|_| replaced < record)?;
            if earlier.mechanism != mechanism {
                return None;
            }
        }
        match read {
            Record::Retraction { .. } if replaced == NONE => return None,
            Record::Name { .. } if replaced != NONE => return None,
            Record::Name { .. } => {
                for other in 0..record {
                    if let Some(Record::Name { mechanism: named, .. }) = self.live_record(other)
                        && named == mechanism
                    {
                        self.set_live(other, false);
                    }
                }
            }
            Record::Example(_) | Record::Retraction { .. } => (),
        }
        if replaced != NONE {
            self.set_live(replaced, false);
        }
        if !matches!(read, Record::Retraction { .. }) {
            self.set_live(record, true);
            self.labels = self.labels.max(mechanism.saturating_add(1));
        }
        Some(())
    }

    fn slot(&self, record: u16) -> &'r [u8] {
        let start = usize::from(record).wrapping_mul(self.shape.record_bytes);
        self.slots.get(start..start.wrapping_add(self.shape.record_bytes)).unwrap_or(&[])
    }

    /// What a slot says, whether or not it is in force; `None` for a content that no writer writes.
    fn read(&self, record: u16) -> Option<Record<'r>> {
        let slot = self.slot(record);
        let [kind, mechanism, ..] = *slot else { return None };
        let labels = self.shape.mechanisms.wrapping_add(MAX_NEW_MECHANISMS);
        if usize::from(mechanism) >= labels {
            return None;
        }
        let count = word16(slot, 2);
        let content = slot.get(HEAD_BYTES..)?;
        match kind {
            KIND_EXAMPLE => {
                let sound = |a: &Addition<'_>| a.count != 0 && a.shift <= MAX_SHIFT;
                self.example(record).filter(sound).map(Record::Example)
            }
            KIND_NAME if usize::from(mechanism) >= self.shape.mechanisms => {
                let bytes = content.get(..usize::from(count).min(self.shape.text_bytes()))?;
                let whole = !bytes.is_empty() && bytes.len() == usize::from(count);
                let text = str::from_utf8(bytes).ok().filter(|_| whole)?;
                Some(Record::Name { mechanism, text })
            }
            KIND_RETRACTION => Some(Record::Retraction { mechanism }),
            _ => None,
        }
    }

    /// The labeled windows that a slot holds; `None` for one that holds something else.
    fn example(&self, record: u16) -> Option<Addition<'r>> {
        let [head @ .., tag0, tag1, tag2, tag3] = self.slot(record).first_chunk::<HEAD_BYTES>()?;
        let [KIND_EXAMPLE, mechanism, low, high, _, _, reach, shift] = *head else { return None };
        let content = self.slot(record).get(HEAD_BYTES..)?;
        let (vector, rest) = content.split_at_checked(self.shape.width)?;
        Some(Addition {
            record,
            mechanism,
            count: u16::from_le_bytes([low, high]),
            reach: Reach(reach),
            tag: u32::from_le_bytes([*tag0, *tag1, *tag2, *tag3]),
            shift,
            vector,
            theta: rest.get(..self.shape.thetas)?,
        })
    }

    /// What an addition weighs, in units of 1/65,536 of the bank: its observations over those that the bank is worth.
    fn mass(&self, addition: &Addition<'_>) -> u32 {
        // Below 2^16 * 2^12.
        let mass = u32::from(addition.count).wrapping_mul(WHOLE_MASS >> 4);
        let mass = mass.checked_div(u32::from(self.prior)).unwrap_or(0);
        mass.clamp(1, WHOLE_MASS)
    }
}

const KIND_EXAMPLE: u8 = 1;
const KIND_NAME: u8 = 2;
const KIND_RETRACTION: u8 = 3;

/// What a record says.
enum Record<'r> {
    /// Windows of a mechanism.
    Example(Addition<'r>),
    /// A new mechanism's name.
    Name { mechanism: u8, text: &'r str },
    /// What it replaces was a mistake.
    Retraction { mechanism: u8 },
}

impl Record<'_> {
    fn mechanism(&self) -> u8 {
        match self {
            Record::Example(addition) => addition.mechanism,
            Record::Name { mechanism, .. } | Record::Retraction { mechanism } => *mechanism,
        }
    }
}

impl Addition<'_> {
    /// The embedding, rounded up to a multiple of four coordinates, each within 1,024 of zero.
    pub fn vector(&self) -> impl Iterator<Item = i16> + Clone + '_ {
        let shift = u32::from(self.shift);
        self.vector.iter().map(move |v| i16::from(v.cast_signed()).wrapping_shl(shift))
    }

    /// Code of a parameter; [`THETA_ABSENT`](crate::THETA_ABSENT) where the person did not say it.
    pub fn theta_code(&self, theta: usize) -> u8 {
        self.theta.get(theta).copied().unwrap_or(crate::THETA_ABSENT)
    }

    /// Squared distance of an embedded observation, whose coordinates are within 1,023 of zero: at most `256 * 2,047^2`.
    fn squared_distance(&self, embedding: &[i16]) -> u32 {
        let shift = u32::from(self.shift);
        self.vector.iter().zip(embedding).fold(0, |sum, (v, q)| {
            let v = i32::from(v.cast_signed()).wrapping_shl(shift);
            let difference = i32::from(*q).wrapping_sub(v);
            sum.wrapping_add(difference.wrapping_mul(difference).cast_unsigned())
        })
    }
}

/// The number of observations that the bank is worth, from a header that fits the model.
fn prove_header(
    model: &Model<'_>,
    shape: Shape,
    header: &[u8; HEADER_BYTES],
) -> Result<u16, AdditionsError> {
    if header.iter().all(|byte| *byte == ERASED) {
        return Err(AdditionsError::Blank);
    }
    if let Some((magic, _)) = header.split_first_chunk::<4>()
        && *magic != MAGIC
    {
        return Err(AdditionsError::NotAdditions { found: *magic });
    }
    let version = word16(header, 4);
    if version != VERSION {
        return Err(AdditionsError::UnsupportedVersion { found: version, supported: VERSION });
    }
    let (body, stored) = header.split_last_chunk::<CRC_BYTES>().unwrap_or((&[], &[0; _]));
    let (expected, found) = (u32::from_le_bytes(*stored), crc(&[body]));
    if expected != found {
        return Err(AdditionsError::ChecksumMismatch { expected, found });
    }
    let found = body.get(8..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_le_bytes(*b));
    let expected = model.fingerprint();
    if expected != found {
        return Err(AdditionsError::OtherArtifact { expected, found });
    }
    let prior = word16(header, 12);
    if *header != header_of(shape, found, prior) || !(1..=MAX_PRIOR).contains(&prior) {
        return Err(AdditionsError::Shape);
    }
    Ok(prior)
}

#[inline(never)]
fn header_of(shape: Shape, fingerprint: u32, prior: u16) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let half = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
    put(&mut header, 0, &MAGIC);
    put(&mut header, 4, &VERSION.to_le_bytes());
    put(&mut header, 6, &half(shape.record_bytes));
    put(&mut header, 8, &fingerprint.to_le_bytes());
    put(&mut header, 12, &prior.to_le_bytes());
    put(&mut header, 14, &half(shape.width));
    put(&mut header, 16, &half(shape.thetas));
    put(&mut header, 18, &half(shape.mechanisms));
    let (body, _) = header.split_last_chunk::<CRC_BYTES>().unwrap_or((&[], &[0; _]));
    let crc = crc(&[body]).to_le_bytes();
    put(&mut header, HEADER_BYTES.wrapping_sub(CRC_BYTES), &crc);
    header
}

impl Model<'_> {
    /// A checksum of what an embedding and its labels mean: everything that is computed with, and the names. [`Additions`] are to one
    /// model, which this number in their header says.
    ///
    /// The self-test's checksums among the tensors depend on what the manifest says beside them.
    pub fn fingerprint(&self) -> u32 {
        let manifest = &self.manifest;
        let thetas = manifest.bank.as_ref().map_or(&[][..], |bank| bank.theta.bytes());
        let parts =
            [self.tensors, manifest.mechanisms.bytes(), thetas, manifest.provenance.float_hash];
        self.fingerprint.unwrap_or_else(|| crc(&parts))
    }
}

/// The header stands for the region: what an older one left behind has another checksum.
fn record_crc(header: &[u8; HEADER_BYTES], record: u16, body: &[u8]) -> u32 {
    crc(&[header, &record.to_le_bytes(), body])
}

#[inline(never)]
fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = Checksum::new();
    for part in parts {
        crc.update(part);
    }
    crc.finish()
}

fn word16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u16::from_le_bytes(*b))
}

#[inline(never)]
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}
