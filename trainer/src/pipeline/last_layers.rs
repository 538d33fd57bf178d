//! The last layers of the heads that do not decide when training ends, learned again on the hidden layers that it left.
//!
//! A joint posterior starts at a regression and may be at its best after a few steps, when the other heads have hardly begun. They are
//! linear in the last hidden layer, so that what they can know of it is soon learned, and without harm to the posterior.

use super::PipelineError;
use crate::network::{Dense, FloatNetwork};
use crate::training::{self, Examples, FitConfig, HeadSpec, Observer};

/// Training simulations from which they are learned, at most.
pub(super) const MOST: u64 = 16_384;
const STEPS: u64 = 2_000;
const RATE: f64 = 5e-3;
const VALIDATE_EVERY: u64 = 50;
const PATIENCE: u64 = 8;

/// What ends the learning.
#[derive(Clone, Copy)]
pub(super) enum Until<'e> {
    /// The least loss of these examples.
    HeldOut(&'e Examples),
    /// So many steps.
    Step(u64),
}

/// Heads whose last layers are learned again: none where all heads decide, and none that goes on with a stack.
pub(super) fn others(config: &FitConfig) -> Vec<usize> {
    let Some(deciding) = config.judged_by else { return Vec::new() };
    let plain = |(at, head): &(usize, &HeadSpec)| *at != deciding && head.tail().is_none();
    config.heads.iter().enumerate().filter(plain).map(|(at, _)| at).collect()
}

/// Replaces the last layers of [`others`]; returns the steps that it took, and the loss of all of them.
///
/// # Errors
///
/// Those of training.
pub(super) fn learn(
    config: &FitConfig,
    network: &mut FloatNetwork,
    train: &Examples,
    until: Until<'_>,
    observer: &mut dyn Observer,
) -> Result<(u64, f64), PipelineError> {
    let others = others(config);
    let specs: Vec<HeadSpec> = others.iter().map(|&at| config.heads[at].clone()).collect();
    let scaling = Scaling::of(&hidden(network, &train.inputs), network.d_embed());
    let on_hidden = |examples: &Examples| Examples {
        inputs: scaling.apply(&hidden(network, &examples.inputs)),
        ..examples.clone()
    };
    let count = train.len() as u64;
    let batch = config.batch.min(train.len());
    let (held_out, ends_at) = match until {
        Until::HeldOut(examples) => (on_hidden(examples), None),
        Until::Step(step) => (on_hidden(&train.select(0..batch)), Some(step)),
    };
    let config = FitConfig {
        steps: STEPS,
        batch,
        learning_rate: RATE,
        warmup: VALIDATE_EVERY,
        averaging: VALIDATE_EVERY,
        ends_at,
        validation_every: VALIDATE_EVERY,
        patience: PATIENCE,
        simulations: count,
        pool_start: count,
        seed: config.seed,
        simulation_threads: 1,
        ..FitConfig::new(network.d_embed(), Vec::new(), specs)
    };
    let rows = super::selection::Rows(on_hidden(train));
    let fitted = training::fit(&config, rows, &held_out, observer)?;
    for (&at, layer) in others.iter().zip(&fitted.network.heads) {
        network.heads[at] = scaling.folded(layer);
    }
    Ok((fitted.best_step, fitted.best_loss))
}

/// The loss of [`others`] as [`learn`] counts it.
pub(super) fn loss(config: &FitConfig, network: &FloatNetwork, examples: &Examples) -> f64 {
    let outputs = network.forward_batch(&examples.inputs, false).heads;
    let outputs = super::plan::interleaved(network, &outputs);
    let losses = training::head_losses(&config.heads, &outputs, examples);
    let share = |at: usize| f64::from(config.heads[at].loss_share());
    others(config).into_iter().map(|at| share(at) * losses[at]).sum()
}

/// What the heads read.
fn hidden(network: &FloatNetwork, inputs: &[f32]) -> Vec<f32> {
    network.forward_batch(inputs, true).hidden.pop().unwrap_or_else(|| inputs.to_vec())
}

/// Center and spread of each hidden value.
struct Scaling(Vec<(f32, f32)>);

impl Scaling {
    fn of(hidden: &[f32], width: usize) -> Scaling {
        let moments = |at: usize| {
            let own = hidden.iter().skip(at).step_by(width).copied();
            let (center, spread) = crate::standardization::moments(own);
            (center as f32, spread as f32)
        };
        Scaling((0..width).map(moments).collect())
    }

    fn apply(&self, hidden: &[f32]) -> Vec<f32> {
        let places = self.0.iter().cycle();
        hidden.iter().zip(places).map(|(h, (center, spread))| (h - center) / spread).collect()
    }

    /// A layer on scaled values as one on the values themselves.
    fn folded(&self, layer: &Dense) -> Dense {
        let mut folded = layer.clone();
        let rows = folded.weight.chunks_exact_mut(layer.d_input).zip(&mut folded.bias);
        for (weights, bias) in rows {
            for (weight, (center, spread)) in weights.iter_mut().zip(&self.0) {
                *weight /= spread;
                *bias -= *weight * center;
            }
        }
        folded
    }
}
