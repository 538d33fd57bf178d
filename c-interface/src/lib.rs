//! The C interface of `simground-runtime`.
//!
//! ```text
//! simground_model_from_bytes -> simground_model --simground_infer--> simground_inference --+--> mechanism_posterior, quantiles, point, mixture, ratio
//!                                                                                         +--> simground_attribute -> simground_attribution
//! ```
//!
//! Nothing is allocated: the three objects are the caller's memory, and their sizes are macros of the header. Nothing is
//! global: every function may be called from any context, as long as two calls do not use the same object or scratch
//! at the same time. Every function checks its pointers for null and alignment, and its objects for having been made.
#![no_std]

// On a machine with an operating system the standard library has the panic handler.
#[cfg(not(target_os = "none"))]
extern crate std;

mod additions;
mod memory;
mod status;
mod theta;

use core::ffi::c_char;

use simground_runtime::artifact::{
    Head, MAX_LEVELS, MAX_MECHANISMS, MAX_THETA, Parameter, Records,
};
use simground_runtime::{Drift, Model};

pub use additions::*;
pub use memory::{
    SIMGROUND_ADDITIONS_WORDS, SIMGROUND_ATTRIBUTION_WORDS, SIMGROUND_GROWN_WORDS,
    SIMGROUND_INFERENCE_WORDS, SIMGROUND_MODEL_WORDS, simground_additions, simground_attribution,
    simground_grown, simground_inference, simground_model,
};
use memory::{address, array, array_mut};
use simground_status::{
    SIMGROUND_ABSENT, SIMGROUND_LENGTH, SIMGROUND_NOT_READY, SIMGROUND_OK, SIMGROUND_POINTER,
};
pub use status::{simground_error, simground_error_message, simground_part, simground_status};
pub use theta::*;

/// Most simulations that `simground_attribute` names.
pub const SIMGROUND_MAX_NEAREST: usize = 16;
/// Most mechanisms of any model.
pub const SIMGROUND_MAX_MECHANISMS: usize = 16;
/// Most quantile levels of any model.
pub const SIMGROUND_MAX_LEVELS: usize = 16;
/// Most parameters of any model.
pub const SIMGROUND_MAX_THETAS: usize = 32;

const _: () = {
    assert!(SIMGROUND_MAX_MECHANISMS == MAX_MECHANISMS);
    assert!(SIMGROUND_MAX_LEVELS == MAX_LEVELS);
    assert!(SIMGROUND_MAX_THETAS == MAX_THETA);
};

/// What the input transform met.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_input_report {
    /// Values that were NaN and were taken as missing.
    pub missing: u16,
    /// Values outside the range that the grid covers: far from anything the model was trained on.
    pub clamped: u16,
    /// True where a value was missing although the model was not trained with missing values.
    pub untrained_missing: bool,
}

/// One simulation of the bank.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_nearest {
    /// Index of the simulation in its corpus: with the study and the seed, the simulation itself.
    pub index: u64,
    /// Position in the bank.
    pub prototype: u32,
    /// Squared distance in embedding space, in grid units.
    pub squared_distance: u32,
    /// Its share of the kernel posterior, in [0, 1].
    pub weight: f32,
    /// Position of its mechanism.
    pub mechanism: u8,
}

/// Kernel-weighted moments of one parameter.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_theta {
    /// Share of the kernel posterior whose mechanism has this parameter, in [0, 1].
    pub present: f32,
    /// Mean over that share, in the parameter's unit; NaN where `present` is 0.
    pub mean: f32,
    /// Standard deviation over that share; NaN where `present` is 0.
    pub sd: f32,
}

/// A name inside the artifact. Not ended by a zero byte.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_text {
    /// UTF-8.
    pub text: *const c_char,
    /// Bytes.
    pub length: usize,
}

/// A drift monitor: evidence that a stream of windows has stopped looking like the simulations.
///
/// Plain words, to be kept where the power may go. `simground_drift_start` fills them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_drift {
    /// Not for the caller.
    pub words: [u32; 4],
}

impl simground_drift {
    fn monitor(self) -> Result<Drift, simground_status> {
        Drift::from_words(self.words).ok_or(SIMGROUND_NOT_READY)
    }
}

/// A `Result` without a value, from a function body that uses `?`.
fn status(outcome: Result<(), simground_status>) -> simground_status {
    outcome.err().unwrap_or(SIMGROUND_OK)
}

/// Writes what `diagnose` finds into `*error`, and gives its status.
///
/// # Safety
///
/// As for [`address`].
unsafe fn diagnosis(
    error: *mut simground_error,
    diagnose: impl FnOnce() -> Result<simground_error, simground_status>,
) -> simground_status {
    // SAFETY: the caller's promise.
    let error = match unsafe { address(error) } {
        Ok(error) => error,
        Err(status) => return status,
    };
    *error =
        diagnose().unwrap_or_else(|status| simground_error { status, ..simground_error::NONE });
    error.status
}

/// Proves that the bytes are an artifact that this library can run on this core, and makes `model` of them.
///
/// The bytes are read in place, from then on: they stay where they are, unchanged, as long as the model is used. Align
/// them to 16.
///
/// # Safety
///
/// `model` points to a `simground_model`, `bytes` to `length` bytes that outlive it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_model_from_bytes(
    model: *mut simground_model,
    bytes: *const u8,
    length: usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let model = unsafe { address(model) }?;
        model.clear();
        // SAFETY: the caller's promise.
        let bytes = unsafe { array(bytes, length) }?;
        model.store(Model::from_bytes(bytes)?);
        Ok(())
    })())
}

/// Values in a window: steps times channels. 0 without a model.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_d_values(model: *const simground_model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { simground_model::get(model) }.map_or(0, Model::d_values)
}

/// Words of scratch that `simground_infer` takes. 0 without a model.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_scratch_words(model: *const simground_model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { simground_model::get(model) }.map_or(0, Model::scratch_words)
}

/// Mechanisms of the model: the length of `simground_mechanism_posterior`'s answer. 0 without a model.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_num_mechanisms(model: *const simground_model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { simground_model::get(model) }.map_or(0, |model| model.manifest().mechanisms.len())
}

/// Parameters of the bank: the length of `simground_thetas`' answer. 0 without a bank.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_num_thetas(model: *const simground_model) -> usize {
    // SAFETY: the caller's promise.
    let model = unsafe { simground_model::get(model) };
    model.ok().and_then(|m| m.manifest().bank.as_ref()).map_or(0, |bank| bank.theta.len())
}

/// The name of a mechanism, inside the artifact.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`; `name` is null or points to a `simground_text`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_mechanism_name(
    model: *const simground_model,
    mechanism: usize,
    name: *mut simground_text,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (model, name) = unsafe { (simground_model::get(model)?, address(name)?) };
        let text = model.manifest().mechanisms.at(mechanism).ok_or(SIMGROUND_ABSENT)?;
        *name = simground_text { text: text.as_ptr().cast(), length: text.len() };
        Ok(())
    })())
}

/// Levels of a target's quantiles, probabilities in their order; targets count as for `simground_quantiles`. `*found` is set to how
/// many. Past the last target the status is `SIMGROUND_ABSENT`.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`, `levels` to `length` floats, `found` to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_levels(
    model: *const simground_model,
    target: usize,
    levels: *mut f32,
    length: usize,
    found: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let model = unsafe { simground_model::get(model) }?;
        let mut left = target;
        for head in model.manifest().heads.iter() {
            let Head::Quantiles { levels: own, targets, .. } = head else { continue };
            match left.checked_sub(targets.len()) {
                Some(rest) => left = rest,
                // SAFETY: the caller's promise.
                None => return unsafe { give(own.iter(), levels, length, found) },
            }
        }
        Err(SIMGROUND_ABSENT)
    })())
}

/// Parameters of the joint posterior: the length of a theta in every call that takes or gives one. A `mixture`'s or a `flow`'s, without
/// them a `ratio`'s, without it a `point`'s; 0 without any.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_num_parameters(model: *const simground_model) -> usize {
    // SAFETY: the caller's promise.
    let model = unsafe { simground_model::get(model) };
    model.ok().and_then(parameters).map_or(0, |parameters| parameters.len())
}

/// The name of a parameter of the joint posterior, inside the artifact; counted as in a theta.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`; `name` is null or points to a `simground_text`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_parameter_name(
    model: *const simground_model,
    parameter: usize,
    name: *mut simground_text,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (model, name) = unsafe { (simground_model::get(model)?, address(name)?) };
        let record = parameters(model).and_then(|parameters| parameters.at(parameter));
        let text = record.ok_or(SIMGROUND_ABSENT)?.name;
        *name = simground_text { text: text.as_ptr().cast(), length: text.len() };
        Ok(())
    })())
}

fn parameters(model: &Model<'static>) -> Option<Records<'static, Parameter<'static>>> {
    let heads = || model.manifest().heads.iter();
    let joint = heads().find_map(|head| match head {
        Head::Mixture { parameters, .. } | Head::Flow { parameters, .. } => Some(parameters),
        _ => None,
    });
    let other = |ratio: bool| {
        heads().find_map(move |head| match head {
            Head::Ratio { parameters, .. } if ratio => Some(parameters),
            Head::Point { parameters, .. } if !ratio => Some(parameters),
            _ => None,
        })
    };
    joint.or_else(|| other(true)).or_else(|| other(false))
}

/// Runs every self-test vector of the artifact: proves at boot that this device computes what the host computed.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`, `scratch` to `scratch_words` words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_self_test(
    model: *const simground_model,
    scratch: *mut u32,
    scratch_words: usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (model, scratch) =
            unsafe { (simground_model::get(model)?, array_mut(scratch, scratch_words)?) };
        Ok(model.self_test(scratch)?)
    })())
}

/// Runs the network on a window in raw units; NaN is a missing value.
///
/// `x` is time-major and `d_values` long. `inference` uses `model` and `scratch` as long as it is asked; the next call
/// with the same scratch replaces it.
///
/// # Safety
///
/// `model` is null or points to a `simground_model`, `x` to `d_values` floats, `scratch` to `scratch_words` words, and
/// `inference` to a `simground_inference`. `model` and `scratch` outlive `inference`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_infer(
    model: *const simground_model,
    x: *const f32,
    d_values: usize,
    scratch: *mut u32,
    scratch_words: usize,
    inference: *mut simground_inference,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let inference = unsafe { address(inference) }?;
        inference.clear();
        // SAFETY: the caller's promise.
        let (model, x) = unsafe { (simground_model::get(model)?, array(x, d_values)?) };
        // SAFETY: the caller's promise.
        let scratch = unsafe { array_mut(scratch, scratch_words) }?;
        inference.store(model.infer(x, scratch)?);
        Ok(())
    })())
}

/// What the input transform met.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `report` to a `simground_input_report`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_inference_input_report(
    inference: *const simground_inference,
    report: *mut simground_input_report,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (inference, report) =
            unsafe { (simground_inference::get(inference)?, address(report)?) };
        let found = inference.input_report();
        *report = simground_input_report {
            missing: found.missing,
            clamped: found.clamped,
            untrained_missing: found.untrained_missing,
        };
        Ok(())
    })())
}

/// The accumulators of all heads, one behind the other, each rounded up to a multiple of four: `*outputs` and `*length`
/// are set to where they lie in the scratch.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`; `outputs` and `length` are null or point to their types.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_outputs(
    inference: *const simground_inference,
    outputs: *mut *const i32,
    length: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (inference, outputs, length) =
            unsafe { (simground_inference::get(inference)?, address(outputs)?, address(length)?) };
        (*outputs, *length) = (inference.outputs().as_ptr(), inference.outputs().len());
        Ok(())
    })())
}

/// The observation in the bank's space, rounded up to a multiple of four, empty without a bank: `*embedding` and
/// `*length` are set to where it lies in the scratch.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`; `embedding` and `length` are null or point to their types.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_embedding(
    inference: *const simground_inference,
    embedding: *mut *const i16,
    length: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (inference, embedding, length) = unsafe {
            (simground_inference::get(inference)?, address(embedding)?, address(length)?)
        };
        (*embedding, *length) = (inference.embedding().as_ptr(), inference.embedding().len());
        Ok(())
    })())
}

/// Posterior probabilities of the mechanisms, in their order. `*found` is set to how many.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `probabilities` to `length` floats, `found` to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_mechanism_posterior(
    inference: *const simground_inference,
    probabilities: *mut f32,
    length: usize,
    found: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let inference = unsafe { simground_inference::get(inference) }?;
        let posterior = inference.mechanism_posterior().ok_or(SIMGROUND_ABSENT)?;
        // SAFETY: the caller's promise.
        unsafe { give(posterior.iter().copied(), probabilities, length, found) }
    })())
}

/// Quantiles of one target in physical units, ascending, one for each level. `*found` is set to how many. Past the last
/// target the status is `SIMGROUND_ABSENT`.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `quantiles` to `length` floats, `found` to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_quantiles(
    inference: *const simground_inference,
    target: usize,
    quantiles: *mut f32,
    length: usize,
    found: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let inference = unsafe { simground_inference::get(inference) }?;
        let answer = inference.quantiles(target).ok_or(SIMGROUND_ABSENT)?;
        // SAFETY: the caller's promise.
        unsafe { give(answer.iter().copied(), quantiles, length, found) }
    })())
}

/// Names the `k` nearest simulations of the bank, nearest first, and makes `attribution` of what they say.
///
/// `k` is at most `SIMGROUND_MAX_NEAREST`; `*found` is set to how many there are, at most `k`. `attribution` uses the
/// scratch of `inference` as long as it is asked; the next call with the same inference or scratch replaces it.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `nearest` to `k` of `simground_nearest`, `found` to a `size_t`,
/// `attribution` to a `simground_attribution`. What `inference` uses outlives `attribution`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_attribute(
    inference: *mut simground_inference,
    nearest: *mut simground_nearest,
    k: usize,
    found: *mut usize,
    attribution: *mut simground_attribution,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let attribution = unsafe { address(attribution) }?;
        attribution.clear();
        if k > SIMGROUND_MAX_NEAREST {
            return Err(SIMGROUND_LENGTH);
        }
        // SAFETY: the caller's promise.
        let inference = unsafe { simground_inference::made(inference) }?;
        // SAFETY: made by `simground_infer`, and nothing else uses it during the call.
        let inference = unsafe { &mut *inference };
        let answer = inference.attribute::<SIMGROUND_MAX_NEAREST>().ok_or(SIMGROUND_ABSENT)?;
        let entries = answer.nearest.iter().take(k).map(|near| simground_nearest {
            index: near.index,
            prototype: near.prototype,
            squared_distance: near.squared_distance,
            weight: near.weight,
            mechanism: near.mechanism,
        });
        // SAFETY: the caller's promise.
        unsafe { give(entries, nearest, k, found) }?;
        attribution.store(answer);
        Ok(())
    })())
}

/// Kernel posterior over the mechanisms, in their order. `*found` is set to how many.
///
/// # Safety
///
/// `attribution` is null or points to a `simground_attribution`, `probabilities` to `length` floats, `found` to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_attribution_mechanism_posterior(
    attribution: *const simground_attribution,
    probabilities: *mut f32,
    length: usize,
    found: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let attribution = unsafe { simground_attribution::get(attribution) }?;
        let posterior = attribution.mechanism_posterior.iter().copied();
        // SAFETY: the caller's promise.
        unsafe { give(posterior, probabilities, length, found) }
    })())
}

/// Kernel posterior of each parameter, in the bank's order. `*found` is set to how many.
///
/// # Safety
///
/// `attribution` is null or points to a `simground_attribution`, `thetas` to `length` of `simground_theta`, `found` to a
/// `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_thetas(
    attribution: *const simground_attribution,
    thetas: *mut simground_theta,
    length: usize,
    found: *mut usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let attribution = unsafe { simground_attribution::get(attribution) }?;
        let entries = attribution.thetas().map(|theta| simground_theta {
            present: theta.present,
            mean: theta.mean,
            sd: theta.sd,
        });
        // SAFETY: the caller's promise.
        unsafe { give(entries, thetas, length, found) }
    })())
}

/// How unusual the distance to the nearest simulation is: a p-value in (0, 1]. A small one says that the window is like
/// nothing that the model was trained on.
///
/// # Safety
///
/// `attribution` is null or points to a `simground_attribution`, `novelty` to a float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_novelty(
    attribution: *const simground_attribution,
    novelty: *mut f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (attribution, novelty) =
            unsafe { (simground_attribution::get(attribution)?, address(novelty)?) };
        *novelty = attribution.novelty;
        Ok(())
    })())
}

/// Says of bytes that `simground_model_from_bytes` or `simground_self_test` refused what is wrong with them, where, and with which
/// numbers. `*error` is all zeros, as the status is, when nothing is wrong.
///
/// `scratch` is what the self-test takes; with a `scratch_words` of 0, which needs no array, the bytes alone are looked at. What it
/// costs is what those two functions cost, and a model's size of stack more.
///
/// # Safety
///
/// `bytes` is null or points to `length` bytes, `scratch` to `scratch_words` words, `error` to a `simground_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_diagnose(
    bytes: *const u8,
    length: usize,
    scratch: *mut u32,
    scratch_words: usize,
    error: *mut simground_error,
) -> simground_status {
    let diagnosed = || {
        // SAFETY: the caller's promise.
        let (bytes, scratch) =
            unsafe { (array(bytes, length)?, array_mut(scratch, scratch_words)?) };
        let model = match Model::from_bytes(bytes) {
            Ok(model) => model,
            Err(error) => return Ok(error.into()),
        };
        if scratch.is_empty() {
            return Ok(simground_error::NONE);
        }
        Ok(model.self_test(scratch).err().map_or(simground_error::NONE, Into::into))
    };
    // SAFETY: the caller's promise.
    unsafe { diagnosis(error, diagnosed) }
}

/// Makes a drift monitor that has seen nothing.
///
/// # Safety
///
/// `drift` is null or points to a `simground_drift`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_drift_start(drift: *mut simground_drift) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        *unsafe { address(drift) }? = simground_drift { words: Drift::new().to_words() };
        Ok(())
    })())
}

/// Tells a drift monitor the novelty of the next window, which must not overlap the one before.
///
/// # Safety
///
/// `drift` is null or points to a `simground_drift`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_drift_push(
    drift: *mut simground_drift,
    novelty: f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let drift = unsafe { address(drift) }?;
        let mut monitor = drift.monitor()?;
        monitor.push(novelty);
        drift.words = monitor.to_words();
        Ok(())
    })())
}

/// Sets `*exceeds` to whether the evidence is `odds` to 1 or more. Of streams of simulated windows at most one in `odds`
/// ever comes there, however long it is.
///
/// # Safety
///
/// `drift` is null or points to a `simground_drift`, `exceeds` to a `bool`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_drift_exceeds(
    drift: *const simground_drift,
    odds: u32,
    exceeds: *mut bool,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let exceeds = unsafe { address(exceeds) }?;
        // SAFETY: the caller's promise.
        let drift = unsafe { array(drift, 1) }?.first().ok_or(SIMGROUND_POINTER)?;
        *exceeds = drift.monitor()?.exceeds(odds);
        Ok(())
    })())
}

/// Writes all items, or none when there are more than `length`.
///
/// # Safety
///
/// `items` is null or points to `length` of `T`, `found` to a `usize`.
unsafe fn give<T>(
    values: impl Iterator<Item = T>,
    items: *mut T,
    length: usize,
    found: *mut usize,
) -> Result<(), simground_status> {
    // SAFETY: the caller's promise.
    let found = unsafe { address(found) }?;
    *found = 0;
    let mut written = 0;
    for value in values {
        if written >= length {
            return Err(SIMGROUND_LENGTH);
        }
        let item = items.wrapping_add(written);
        // SAFETY: `written < length`, so the item is one of the caller's.
        *unsafe { address(item) }? = value;
        written += 1;
    }
    *found = written;
    Ok(())
}

/// No panic is reachable from these functions; the linker drops this handler.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
