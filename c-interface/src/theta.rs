//! The heads that answer theta: posterior means, the joint posterior, the likelihood surface.

use core::convert::Infallible;
use core::ffi::c_void;

use rand_core::TryRng;
use simground_runtime::{Axis, Ratio};

use crate::give;
use crate::memory::{address, array, array_mut, simground_inference};
use crate::status;
use crate::status::simground_status::{self, SIMGROUND_ABSENT, SIMGROUND_LENGTH};

/// Equally spaced values of one parameter, both ends included.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_axis {
    /// First value.
    pub low: f32,
    /// Last value.
    pub high: f32,
    /// How many, at least 1; a single one is `low`.
    pub points: u16,
}

/// Gives 32 random bits; `context` is what the caller passed beside it.
#[allow(non_camel_case_types, reason = "C's name")]
pub type simground_random = Option<unsafe extern "C" fn(context: *mut c_void) -> u32>;

/// Posterior mean of one parameter of the `point` head, in its unit. Past the last parameter, or without such a head, the status is
/// `SIMGROUND_ABSENT`.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `mean` to a float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_point(
    inference: *const simground_inference,
    parameter: usize,
    mean: *mut f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (inference, mean) = unsafe { (simground_inference::get(inference)?, address(mean)?) };
        *mean = inference.point(parameter).ok_or(SIMGROUND_ABSENT)?;
        Ok(())
    })())
}

/// Mean of one parameter under the joint posterior of the `mixture` head, in its unit. Past the last parameter, or without such a head,
/// the status is `SIMGROUND_ABSENT`.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `mean` to a float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_mixture_mean(
    inference: *const simground_inference,
    parameter: usize,
    mean: *mut f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (inference, mean) = unsafe { (simground_inference::get(inference)?, address(mean)?) };
        let mixture = inference.mixture().ok_or(SIMGROUND_ABSENT)?;
        *mean = mixture.mean(parameter).ok_or(SIMGROUND_ABSENT)?;
        Ok(())
    })())
}

/// Quantile of one parameter under the joint posterior of the `mixture` head, in its unit; `level` lies between 0 and 1.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `quantile` to a float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_mixture_quantile(
    inference: *const simground_inference,
    parameter: usize,
    level: f32,
    quantile: *mut f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (inference, quantile) =
            unsafe { (simground_inference::get(inference)?, address(quantile)?) };
        let mixture = inference.mixture().ok_or(SIMGROUND_ABSENT)?;
        *quantile = mixture.quantile(parameter, level).ok_or(SIMGROUND_ABSENT)?;
        Ok(())
    })())
}

/// Logarithm of the joint posterior's density at `theta`; minus infinity outside the support.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `theta` to `length` floats, `log_density` to a float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_mixture_log_density(
    inference: *const simground_inference,
    theta: *const f32,
    length: usize,
    log_density: *mut f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (inference, log_density) =
            unsafe { (simground_inference::get(inference)?, address(log_density)?) };
        // SAFETY: the caller's promise.
        let theta = unsafe { array(theta, length) }?;
        let mixture = inference.mixture().ok_or(SIMGROUND_ABSENT)?;
        if mixture.parameters().len() != theta.len() {
            return Err(SIMGROUND_LENGTH);
        }
        *log_density = mixture.log_density(theta);
        Ok(())
    })())
}

/// Draws one theta from the joint posterior of the `mixture` head. `random` is called once for the component and once for each
/// parameter.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `theta` to `length` floats; `random` may be called with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_mixture_sample(
    inference: *const simground_inference,
    random: simground_random,
    context: *mut c_void,
    theta: *mut f32,
    length: usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let inference = unsafe { simground_inference::get(inference) }?;
        // SAFETY: the caller's promise.
        let theta = unsafe { array_mut(theta, length) }?;
        let random = random.ok_or(simground_status::SIMGROUND_POINTER)?;
        let mixture = inference.mixture().ok_or(SIMGROUND_ABSENT)?;
        if mixture.parameters().len() != theta.len() {
            return Err(SIMGROUND_LENGTH);
        }
        mixture.sample(&mut Callback { random, context }, theta);
        Ok(())
    })())
}

/// Draws one theta from the joint posterior of the `flow` head. `random` is called once for each parameter. Of several threads, or of a task
/// and an interrupt, only one may use the inference meanwhile.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `theta` to `length` floats; `random` may be called with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_flow_sample(
    inference: *mut simground_inference,
    random: simground_random,
    context: *mut c_void,
    theta: *mut f32,
    length: usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let inference = unsafe { simground_inference::made(inference) }?;
        // SAFETY: made by `simground_infer`, and nothing else uses it during the call.
        let inference = unsafe { &mut *inference };
        // SAFETY: the caller's promise.
        let theta = unsafe { array_mut(theta, length) }?;
        let random = random.ok_or(simground_status::SIMGROUND_POINTER)?;
        let mut flow = inference.flow().ok_or(SIMGROUND_ABSENT)?;
        if flow.parameters().len() != theta.len() {
            return Err(SIMGROUND_LENGTH);
        }
        flow.sample(&mut Callback { random, context }, theta);
        Ok(())
    })())
}

/// Logarithm of `p(x | theta) / p(x)` by the `ratio` head; minus infinity outside the support.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `theta` to `length` floats, `log_ratio` to a float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_log_ratio(
    inference: *mut simground_inference,
    theta: *const f32,
    length: usize,
    log_ratio: *mut f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (theta, log_ratio) = unsafe { (array(theta, length)?, address(log_ratio)?) };
        // SAFETY: the caller's promise.
        let mut ratio = unsafe { ratio(inference) }?;
        if ratio.parameters().len() != theta.len() {
            return Err(SIMGROUND_LENGTH);
        }
        *log_ratio = ratio.log_ratio(theta);
        Ok(())
    })())
}

/// Logarithms of the ratio on a grid, an axis for each parameter, the last one's values running fastest. `length` is the product of
/// the axes' points.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `axes` to `num_axes` of `simground_axis`, `surface` to `length` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_surface(
    inference: *mut simground_inference,
    axes: *const simground_axis,
    num_axes: usize,
    surface: *mut f32,
    length: usize,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (axes, surface) = unsafe { (array(axes, num_axes)?, array_mut(surface, length)?) };
        // SAFETY: the caller's promise.
        let mut ratio = unsafe { ratio(inference) }?;
        let mut own = [Axis { low: 0.0, high: 0.0, points: 1 }; crate::SIMGROUND_MAX_THETAS];
        for (own, axis) in own.iter_mut().zip(axes) {
            *own = Axis { low: axis.low, high: axis.high, points: axis.points };
        }
        let own = own.get(..axes.len()).ok_or(SIMGROUND_LENGTH)?;
        Ok(ratio.surface(own, surface)?)
    })())
}

/// The theta with the largest likelihood, and the logarithm of the ratio there. `*found` is set to the number of parameters.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `theta` to `length` floats, `found` to a `size_t`, `log_ratio` to a float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_maximum(
    inference: *mut simground_inference,
    theta: *mut f32,
    length: usize,
    found: *mut usize,
    log_ratio: *mut f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let log_ratio = unsafe { address(log_ratio) }?;
        // SAFETY: the caller's promise.
        let maximum = unsafe { ratio(inference) }?.maximum();
        *log_ratio = maximum.log_ratio;
        // SAFETY: the caller's promise.
        unsafe { give(maximum.theta.iter().copied(), theta, length, found) }
    })())
}

/// The ends of one parameter's interval by its profile likelihood; `level` is 0.95 for 95 %. Past the last parameter the status is
/// `SIMGROUND_ABSENT`.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `low` and `high` to floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_interval(
    inference: *mut simground_inference,
    parameter: usize,
    level: f32,
    low: *mut f32,
    high: *mut f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let (low, high) = unsafe { (address(low)?, address(high)?) };
        // SAFETY: the caller's promise.
        let mut ratio = unsafe { ratio(inference) }?;
        let maximum = ratio.maximum();
        (*low, *high) = ratio.interval(&maximum, parameter, level).ok_or(SIMGROUND_ABSENT)?;
        Ok(())
    })())
}

/// The smallest logarithm of the ratio inside the confidence set of all parameters at this level.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference`, `lowest` to a float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simground_confidence_limit(
    inference: *mut simground_inference,
    level: f32,
    lowest: *mut f32,
) -> simground_status {
    status((|| {
        // SAFETY: the caller's promise.
        let lowest = unsafe { address(lowest) }?;
        // SAFETY: the caller's promise.
        let mut ratio = unsafe { ratio(inference) }?;
        let maximum = ratio.maximum();
        *lowest = ratio.confidence_set(&maximum, level).lowest;
        Ok(())
    })())
}

/// The surface of an inference, which works in its scratch.
///
/// # Safety
///
/// `inference` is null or points to a `simground_inference` that nothing else uses as long as the surface.
unsafe fn ratio<'c>(
    inference: *mut simground_inference,
) -> Result<Ratio<'c, 'static>, simground_status> {
    // SAFETY: the caller's promise.
    let inference = unsafe { simground_inference::made(inference) }?;
    // SAFETY: made by `simground_infer`, and nothing else uses it during the call.
    let inference = unsafe { &mut *inference };
    inference.ratio().ok_or(SIMGROUND_ABSENT)
}

/// A generator of C's.
struct Callback {
    random: unsafe extern "C" fn(*mut c_void) -> u32,
    context: *mut c_void,
}

impl TryRng for Callback {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // SAFETY: the promise of the caller of `simground_mixture_sample` or `simground_flow_sample`.
        Ok(unsafe { (self.random)(self.context) })
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let (low, high) = (self.try_next_u32()?, self.try_next_u32()?);
        Ok(u64::from(low) | (u64::from(high) << 32))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for bytes in bytes.chunks_mut(4) {
            for (byte, random) in bytes.iter_mut().zip(self.try_next_u32()?.to_le_bytes()) {
                *byte = random;
            }
        }
        Ok(())
    }
}
