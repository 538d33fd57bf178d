//! Growth in the field: labels beside the artifact, and answers by both parts of the bank.

use core::ffi::c_char;
use core::str;

use simground_runtime::additions::{
    HEADER_BYTES, MAX_LABELS, MAX_RECORD_BYTES, MAX_RECORDS, ONE_OBSERVATION,
};
use simground_runtime::{Additions, AdditionsError, Appended, BankPart, GrowthError, Label, Reach};

use crate::memory::{address, array, array_mut};
use crate::status::simground_error;
use crate::status::simground_status::{self, *};
use crate::{
    SIMGROUND_MAX_NEAREST, diagnosis, give, simground_additions, simground_grown,
    simground_inference, simground_model, simground_text, simground_theta, status,
};

/// Bytes of a region's header.
pub const SIMGROUND_HEADER_BYTES: usize = 32;
/// Largest size of a record; `simground_record_bytes` has that of a model.
pub const SIMGROUND_MAX_RECORD_BYTES: usize = 320;
/// Most records of a region.
pub const SIMGROUND_MAX_RECORDS: usize = 256;
/// Most mechanisms of an answer by both parts: the model's and eight that a region adds.
pub const SIMGROUND_MAX_LABELS: usize = 24;
/// The count of a window that a person is sure of.
pub const SIMGROUND_ONE_OBSERVATION: u16 = 16;

const _: () = {
    assert!(SIMGROUND_HEADER_BYTES == HEADER_BYTES);
    assert!(SIMGROUND_MAX_RECORD_BYTES == MAX_RECORD_BYTES);
    assert!(SIMGROUND_MAX_RECORDS == MAX_RECORDS);
    assert!(SIMGROUND_MAX_LABELS == MAX_LABELS);
    assert!(SIMGROUND_ONE_OBSERVATION == ONE_OBSERVATION);
};

/// What a region holds.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_additions_report {
    /// Records for which the region has room.
    pub capacity: u16,
    /// Slots up to the last that is written: the words of weights that `simground_attribute_with` takes.
    pub slots_used: u16,
    /// Slots that are written but hold no record: the power failed, or the bytes changed.
    pub broken: u16,
    /// Labeled windows in force.
    pub in_force: u16,
    /// Mechanisms of an answer by both parts.
    pub num_mechanisms: u16,
}

/// What a person says of a window.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_label {
    /// Its parameters in their units and the bank's order, NaN for those that are not known; null when none is.
    pub thetas: *const f32,
    /// How many: as many as the bank has, or 0.
    pub num_thetas: usize,
    /// A word that comes back with the answers that rest on it.
    pub tag: u32,
    /// How many observations it is worth, in 1/16: `SIMGROUND_ONE_OBSERVATION`, or less where the person is not sure.
    pub count: u16,
    /// How far its kernel reaches: a code of 0 to 255, or negative for twice the squared distance of the nearest prototype.
    pub reach: i16,
    /// Position of its mechanism: the model's first, behind them up to eight that the region adds.
    pub mechanism: u8,
}

/// Where the bytes of a record belong.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_appended {
    /// Where the record starts, from the region's start: a multiple of 32.
    pub offset: usize,
    /// Its number.
    pub record: u16,
    /// The record that it replaces, or 65,535.
    pub replaces: u16,
}

/// One prototype of either part.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_grown_nearest {
    /// Index of the simulation in its corpus; in the field the label's tag.
    pub index: u64,
    /// Position in the artifact's bank, or number of the field's record.
    pub prototype: u32,
    /// Squared distance in embedding space, in grid units.
    pub squared_distance: u32,
    /// Its share of the kernel posterior, in [0, 1].
    pub weight: f32,
    /// Position of its mechanism.
    pub mechanism: u8,
    /// Where it comes from: false for a simulation of the artifact, true for labeled windows of the field.
    pub from_field: bool,
}

/// How probable a mechanism is, and on whose word.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_mechanism_share {
    /// Its share of the kernel posterior, in [0, 1].
    pub probability: f32,
    /// How much of that comes from the field: at most `probability`.
    pub from_field: f32,
}

/// What an answer by both parts says as a whole.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_grown_summary {
    /// Share of the kernel posterior that comes from the field, in [0, 1].
    pub from_field: f32,
    /// How unusual the distance to the nearest simulation is: the p-value of `simground_novelty`, which labels do not touch.
    pub novelty: f32,
    /// The same of the distance to the nearest of both parts: at least `novelty`.
    pub novelty_of_both: f32,
}

impl From<Appended> for simground_appended {
    fn from(appended: Appended) -> Self {
        simground_appended {
            offset: appended.offset,
            record: appended.record,
            replaces: appended.replaces.unwrap_or(u16::MAX),
        }
    }
}

/// Bytes of a record of a model's regions. 0 without a bank.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_record_bytes(model: *const simground_model) -> usize {
    // SAFETY: the caller's promise.
    let model = unsafe { simground_model::get(model) };
    model.ok().and_then(Additions::record_bytes).unwrap_or(0)
}

/// Writes the header of an empty region, `SIMGROUND_HEADER_BYTES` long, for the start of erased memory.
///
/// `prior_observations` is what the whole bank is worth, 1 to 4,096; 0 for one observation a prototype.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`, `header` to 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_additions_header(
    model: *const simground_model,
    prior_observations: u16,
    header: *mut u8,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (model, to) =
            unsafe { (simground_model::get(model)?, array_mut(header, HEADER_BYTES)?) };
        let prior = (prior_observations != 0).then_some(prior_observations);
        let header = Additions::header(model, prior)?;
        for (to, from) in to.iter_mut().zip(header) {
            *to = from;
        }
        Ok(())
    })())
}

/// Proves that the bytes are a region of additions to this model, and makes `additions` of them.
///
/// The bytes are read in place: after an append, make `additions` anew. `SIMGROUND_BLANK` says that the region is erased and wants a
/// header. A record whose checksum or content is wrong is skipped and counted.
///
/// # Safety
///
/// `additions` points to a `simground_additions`, `model` is null or points to a `simground_model`, `bytes` to `length` bytes. `model`
/// and the bytes outlive `additions`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_additions_from_bytes(
    additions: *mut simground_additions,
    model: *const simground_model,
    bytes: *const u8,
    length: usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let additions = unsafe { address(additions) }?;
        additions.clear();
        // SAFETY: the caller's promise.
        let (model, bytes) = unsafe { (simground_model::get(model)?, array(bytes, length)?) };
        additions.store(Additions::from_bytes(model, bytes)?);
        Ok(())
    })())
}

/// Says of a region that `simground_additions_from_bytes` refused what is wrong with it, and with which numbers: the bytes of a header
/// and those there are, the two checksums, the model's fingerprint and the region's. `*error` is all zeros, as the status is, when
/// nothing is wrong.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`, `bytes` is null or points to `length` bytes, `error` to a `simground_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_additions_diagnose(
    model: *const simground_model,
    bytes: *const u8,
    length: usize,
    error: *mut simground_error,
) -> simground_status {
    let diagnosed = || {
        // SAFETY: the caller's promise.
        let (model, bytes) = unsafe { (simground_model::get(model)?, array(bytes, length)?) };
        Ok(Additions::from_bytes(model, bytes).err().map_or(simground_error::NONE, Into::into))
    };
    // SAFETY: the caller's promise.
    unsafe { diagnosis(error, diagnosed) }
}

/// What a region holds.
///
/// # Safety
///
/// `additions` is null or points to a `simground_additions`, `report` to a `simground_additions_report`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_additions_describe(
    additions: *const simground_additions,
    report: *mut simground_additions_report,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (additions, report) =
            unsafe { (simground_additions::get(additions)?, address(report)?) };
        let half = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        *report = simground_additions_report {
            capacity: half(additions.capacity()),
            slots_used: half(additions.slots_used()),
            broken: half(additions.broken()),
            in_force: half(additions.iter().count()),
            num_mechanisms: half(additions.num_mechanisms()),
        };
        Ok(())
    })())
}

/// The name of a mechanism, the model's or one that the region gives, where it lies.
///
/// # Safety
///
/// `additions` is null or points to a `simground_additions`, `name` to a `simground_text`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_additions_mechanism_name(
    additions: *const simground_additions,
    mechanism: u8,
    name: *mut simground_text,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (additions, name) = unsafe { (simground_additions::get(additions)?, address(name)?) };
        let text = additions.mechanism_name(mechanism).ok_or(SIMGROUND_ABSENT)?;
        *name = simground_text { text: text.as_ptr().cast(), length: text.len() };
        Ok(())
    })())
}

/// Writes the record of a labeled window: `simground_record_bytes` bytes, which belong at `appended->offset` of the region.
///
/// A window like one that has the same label raises that one's count: the record replaces it.
///
/// # Safety
///
/// `additions` is null or points to a `simground_additions`, `inference` to a `simground_inference`, `label` to a `simground_label` whose
/// `thetas` is null or points to `num_thetas` floats, `record` to `length` bytes, `appended` to a `simground_appended`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_additions_label(
    additions: *const simground_additions,
    inference: *const simground_inference,
    label: *const simground_label,
    record: *mut u8,
    length: usize,
    appended: *mut simground_appended,
) -> simground_status {
    // SAFETY: the caller's promise.
    unsafe {
        append(additions, record, length, appended, |additions, record| {
            let inference = simground_inference::get(inference)?;
            let label = array(label, 1)?.first().ok_or(SIMGROUND_POINTER)?;
            let theta = array(label.thetas, label.num_thetas)?;
            let reach = match u8::try_from(label.reach) {
                Ok(code) => Some(Reach(code)),
                Err(_) if label.reach < 0 => None,
                Err(_) => return Err(SIMGROUND_LENGTH),
            };
            let (mechanism, count, tag) = (label.mechanism, label.count, label.tag);
            let label = Label { mechanism, count, theta, reach, tag };
            Ok(additions.label(inference, &label, record)?)
        })
    }
}

/// Writes the record that names a mechanism which the region adds; otherwise as `simground_additions_label`.
///
/// # Safety
///
/// As there; `name` is null or points to `name_length` bytes of UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_additions_name(
    additions: *const simground_additions,
    mechanism: u8,
    name: *const c_char,
    name_length: usize,
    record: *mut u8,
    length: usize,
    appended: *mut simground_appended,
) -> simground_status {
    // SAFETY: the caller's promise.
    unsafe {
        append(additions, record, length, appended, |additions, record| {
            let name = array(name.cast::<u8>(), name_length)?;
            let name = str::from_utf8(name).map_err(|_| SIMGROUND_NAME)?;
            Ok(additions.name(mechanism, name, record)?)
        })
    }
}

/// Writes the record that takes a labeled window back; otherwise as `simground_additions_label`.
///
/// # Safety
///
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_additions_retract(
    additions: *const simground_additions,
    retracted: u16,
    record: *mut u8,
    length: usize,
    appended: *mut simground_appended,
) -> simground_status {
    // SAFETY: the caller's promise.
    unsafe {
        append(additions, record, length, appended, |additions, record| {
            Ok(additions.retract(retracted, record)?)
        })
    }
}

/// Writes what is in force into another region, and erases the rest of it. `*records` is set to how many.
///
/// # Safety
///
/// `additions` is null or points to a `simground_additions`, `region` to `length` bytes apart from its own, `records` to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_additions_compact(
    additions: *const simground_additions,
    region: *mut u8,
    length: usize,
    records: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (additions, records) =
            unsafe { (simground_additions::get(additions)?, address(records)?) };
        // SAFETY: the caller's promise.
        *records = additions.compact(unsafe { array_mut(region, length) }?)?;
        Ok(())
    })())
}

/// Names the `k` nearest prototypes of the bank and of the field's labels together, nearest first, and makes `grown` of what they say.
///
/// `k` is at most `SIMGROUND_MAX_NEAREST`; `*found` is set to how many there are, at most `k`. `weights` has as many words as the region
/// has slots used, and `grown` uses it, `additions` and the scratch of `inference` as long as it is asked.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `additions` to a `simground_additions`, `weights` to `words` words, `nearest`
/// to `k` of `simground_grown_nearest`, `found` to a `size_t`, `grown` to a `simground_grown`. What they use outlives `grown`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_attribute_with(
    inference: *mut simground_inference,
    additions: *const simground_additions,
    weights: *mut u32,
    words: usize,
    nearest: *mut simground_grown_nearest,
    k: usize,
    found: *mut usize,
    grown: *mut simground_grown,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let grown = unsafe { address(grown) }?;
        grown.clear();
        if k > SIMGROUND_MAX_NEAREST {
            return Err(SIMGROUND_LENGTH);
        }
        // SAFETY: the caller's promise.
        let (inference, additions, weights) = unsafe {
            let inference = simground_inference::made(inference)?;
            (inference, simground_additions::get(additions)?, array_mut(weights, words)?)
        };
        // SAFETY: made by `simground_infer`, and nothing else uses it during the call.
        let inference = unsafe { &mut *inference };
        let answer = inference.attribute_with::<SIMGROUND_MAX_NEAREST>(additions, weights)?;
        let entries = answer.nearest.iter().take(k).map(|near| simground_grown_nearest {
            index: near.index,
            prototype: near.prototype,
            squared_distance: near.squared_distance,
            weight: near.weight,
            mechanism: near.mechanism,
            from_field: near.part == BankPart::Field,
        });
        // SAFETY: the caller's promise.
        unsafe { give(entries, nearest, k, found) }?;
        grown.store(answer);
        Ok(())
    })())
}

/// Kernel posterior over the mechanisms, the model's and then those that the region adds. `*found` is set to how many.
///
/// # Safety
///
/// `grown` is null or points to a `simground_grown`, `shares` to `length` of `simground_mechanism_share`, `found` to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_grown_mechanism_posterior(
    grown: *const simground_grown,
    shares: *mut simground_mechanism_share,
    length: usize,
    found: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let grown = unsafe { simground_grown::get(grown) }?;
        let entries = grown.mechanism_posterior.iter().map(|share| simground_mechanism_share {
            probability: share.probability,
            from_field: share.from_field,
        });
        // SAFETY: the caller's promise.
        unsafe { give(entries, shares, length, found) }
    })())
}

/// Kernel posterior of each parameter, in the bank's order; a label counts for the parameters that it has. `*found` is set to how many.
///
/// # Safety
///
/// `grown` is null or points to a `simground_grown`, `thetas` to `length` of `simground_theta`, `found` to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_grown_thetas(
    grown: *const simground_grown,
    thetas: *mut simground_theta,
    length: usize,
    found: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let grown = unsafe { simground_grown::get(grown) }?;
        let entries = grown.thetas().map(|theta| simground_theta {
            present: theta.present,
            mean: theta.mean,
            sd: theta.sd,
        });
        // SAFETY: the caller's promise.
        unsafe { give(entries, thetas, length, found) }
    })())
}

/// How much of an answer comes from the field, and how unusual the window is.
///
/// # Safety
///
/// `grown` is null or points to a `simground_grown`, `summary` to a `simground_grown_summary`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_grown_summarize(
    grown: *const simground_grown,
    summary: *mut simground_grown_summary,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (grown, summary) = unsafe { (simground_grown::get(grown)?, address(summary)?) };
        *summary = simground_grown_summary {
            from_field: grown.from_field,
            novelty: grown.novelty,
            novelty_of_both: grown.novelty_of_both,
        };
        Ok(())
    })())
}

/// What every append has in common.
///
/// # Safety
///
/// `additions` is null or points to a `simground_additions`, `record` to `length` bytes, `appended` to a `simground_appended`.
unsafe fn append(
    additions: *const simground_additions,
    record: *mut u8,
    length: usize,
    appended: *mut simground_appended,
    write: impl FnOnce(&Additions<'_>, &mut [u8]) -> Result<Appended, simground_status>,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (additions, appended) =
            unsafe { (simground_additions::get(additions)?, address(appended)?) };
        // SAFETY: the caller's promise.
        let record = unsafe { array_mut(record, length) }?;
        *appended = write(additions, record)?.into();
        Ok(())
    })())
}

impl From<AdditionsError> for simground_status {
    fn from(error: AdditionsError) -> Self {
        simground_status::with_code(error.code(), SIMGROUND_ARTIFACT)
    }
}

impl From<GrowthError> for simground_status {
    fn from(error: GrowthError) -> Self {
        simground_status::with_code(error.code(), SIMGROUND_CALL)
    }
}
