//! Every answer of a model as words, so that two machines can be compared bit for bit.
//!
//! The host and every board compile this one file. A record begins with the number of words that follow; inside it,
//! each part begins with its own length, or with [`ABSENT`] when the model has no such head.
#![no_std]

pub mod growth;
pub mod sensor;

use rand_core::{Infallible, TryRng};
use simground_runtime::artifact::MAX_THETA;
use simground_runtime::{Axis, Inference, Model};

/// Prototypes asked for in every attribution.
pub const NEAREST: usize = 5;
/// Samples drawn from every joint posterior.
const SAMPLES: usize = 3;
/// Stands for an answer that the model does not give.
pub const ABSENT: u32 = u32::MAX;
/// Stands for an input that `infer` refused.
pub const REFUSED: u32 = u32::MAX - 1;

/// Passes every bit that the model answers for the window `x` to `sink`, floats as their bits.
///
/// `scratch` holds at least `model.scratch_words()` words.
pub fn record(model: &Model<'_>, x: &[f32], scratch: &mut [u32], sink: &mut impl FnMut(u32)) {
    match model.infer(x, scratch) {
        Ok(mut inference) => record_inference(&mut inference, sink),
        Err(_) => sink(REFUSED),
    }
}

fn record_inference(inference: &mut Inference<'_, '_, '_>, sink: &mut impl FnMut(u32)) {
    let report = inference.input_report();
    sink(u32::from(report.missing));
    sink(u32::from(report.clamped));
    sink(u32::from(report.untrained_missing));
    sink(inference.outputs().len() as u32);
    for output in inference.outputs() {
        sink(output.cast_unsigned());
    }
    sink(inference.embedding().len() as u32);
    for value in inference.embedding() {
        sink(i32::from(*value).cast_unsigned());
    }
    record_floats(inference.mechanism_posterior().as_deref(), sink);
    for target in 0.. {
        let quantiles = inference.quantiles(target);
        record_floats(quantiles.as_deref(), sink);
        if quantiles.is_none() {
            break;
        }
    }
    record_theta(inference, sink);
    record_ratio(inference, sink);
    record_flow(inference, sink);
    record_attribution(inference, sink);
}

/// Posterior means, and everything that a joint posterior says; without such heads not a word.
fn record_theta(inference: &Inference<'_, '_, '_>, sink: &mut impl FnMut(u32)) {
    for parameter in 0.. {
        let Some(mean) = inference.point(parameter) else { break };
        sink(bits(mean));
    }
    let Some(mixture) = inference.mixture() else { return };
    record_floats(Some(mixture.weights()), sink);
    let mut theta = [0.0; MAX_THETA];
    let d = mixture.parameters().len();
    let theta = &mut theta[..d.min(MAX_THETA)];
    for (at, value) in theta.iter_mut().enumerate() {
        *value = mixture.mean(at).unwrap_or(f32::NAN);
        sink(bits(*value));
        for level in [0.05, 0.5, 0.95] {
            sink(bits(mixture.quantile(at, level).unwrap_or(f32::NAN)));
        }
        sink(bits(mixture.covariance(at, 0)));
    }
    sink(bits(mixture.log_density(theta)));
    let mut generator = Generator(1);
    for _ in 0..SAMPLES {
        mixture.sample(&mut generator, theta);
        record_floats(Some(theta), sink);
        sink(bits(mixture.log_density(theta)));
    }
}

/// Where the likelihood is largest, a coarse surface and, for some observations, intervals; without such a head not a word.
fn record_ratio(inference: &mut Inference<'_, '_, '_>, sink: &mut impl FnMut(u32)) {
    let some = inference.outputs().first().is_some_and(|acc| acc & 63 == 0);
    let Some(mut ratio) = inference.ratio() else { return };
    let maximum = ratio.maximum();
    record_floats(Some(&maximum.theta), sink);
    sink(bits(maximum.log_ratio));
    sink(bits(ratio.confidence_set(&maximum, 0.95).lowest));
    sink(bits(ratio.log_ratio(&maximum.theta)));
    let mut axes = [Axis { low: 0.0, high: 0.0, points: 1 }; MAX_THETA];
    for (axis, parameter) in axes.iter_mut().zip(ratio.parameters().iter()) {
        let (low, high) = (parameter.from_z(-1.5), parameter.from_z(1.5));
        *axis = Axis { low, high, points: 2 };
    }
    let mut surface = [0.0; 8];
    let d = ratio.parameters().len();
    if ratio.surface(axes.get(..d).unwrap_or(&[]), &mut surface).is_ok() {
        record_floats(Some(&surface), sink);
    }
    for parameter in (0..d).filter(|_| some) {
        let Some((low, high)) = ratio.interval(&maximum, parameter, 0.95) else { break };
        record_floats(Some(&[low, high]), sink);
    }
}

/// Samples; without such a head not a word.
fn record_flow(inference: &mut Inference<'_, '_, '_>, sink: &mut impl FnMut(u32)) {
    let Some(mut flow) = inference.flow() else { return };
    let mut theta = [0.0; MAX_THETA];
    let theta = &mut theta[..flow.parameters().len().min(MAX_THETA)];
    let mut generator = Generator(1);
    for _ in 0..SAMPLES {
        flow.sample(&mut generator, theta);
        record_floats(Some(theta), sink);
    }
}

fn record_attribution(inference: &mut Inference<'_, '_, '_>, sink: &mut impl FnMut(u32)) {
    let Some(attribution) = inference.attribute::<NEAREST>() else {
        sink(ABSENT);
        return;
    };
    sink(attribution.nearest.len() as u32);
    for nearest in &attribution.nearest {
        sink(nearest.prototype);
        sink(nearest.index as u32);
        sink((nearest.index >> 32) as u32);
        sink(u32::from(nearest.mechanism));
        sink(nearest.squared_distance);
        sink(bits(nearest.weight));
    }
    record_floats(Some(&attribution.mechanism_posterior), sink);
    sink(attribution.thetas().count() as u32);
    for theta in attribution.thetas() {
        for value in [theta.present, theta.mean, theta.sd] {
            sink(bits(value));
        }
    }
    sink(bits(attribution.novelty));
}

fn record_floats(values: Option<&[f32]>, sink: &mut impl FnMut(u32)) {
    let Some(values) = values else {
        sink(ABSENT);
        return;
    };
    sink(values.len() as u32);
    for value in values {
        sink(bits(*value));
    }
}

/// A float's bits; every NaN counts as the same, because which NaN an operation makes is not fixed.
fn bits(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

/// A small generator that is the same on every machine (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Generator(pub u64);

impl TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|bits| (bits >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = self.try_next_u64()? as u8;
        }
        Ok(())
    }
}
