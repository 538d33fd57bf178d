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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::Silent;

    /// One input, and a target that is that with uniform noise of -1/2 to 1/2.
    fn examples(rows: u32) -> Examples {
        let unit = |row: u32, salt: u32| {
            ((row * 16 + salt).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32
        };
        let mut examples = Examples::default();
        for row in 0..rows {
            let x = 4.0 * unit(row, 1) - 2.0;
            examples.inputs.push(x);
            examples.targets.push(x + unit(row, 7) - 0.5);
            examples.mechanism.push(0);
        }
        examples
    }

    fn dense(d_input: usize, d_output: usize, weight: impl Fn(usize) -> f32) -> Dense {
        let weight = (0..d_input * d_output).map(weight).collect();
        Dense { d_input, d_output, weight, bias: vec![0.0; d_output] }
    }

    #[test]
    fn quantiles_that_a_joint_posterior_left_behind_are_learned() {
        let ends = vec![(f32::NEG_INFINITY, f32::INFINITY)];
        let heads = vec![
            HeadSpec::Mixture { targets: vec![0], ends, components: 1, loss_share: 1.0 },
            HeadSpec::Quantiles {
                targets: vec![0],
                levels: vec![0.1, 0.5, 0.9],
                target_weights: vec![1.0],
                loss_share: 1.0,
            },
        ];
        let config = FitConfig { judged_by: Some(0), ..FitConfig::new(1, vec![4], heads) };
        let mut network = FloatNetwork {
            trunk: vec![dense(1, 4, |at| [1.0, -1.0, 20.0, -0.01][at])],
            heads: vec![dense(4, 3, |at| at as f32), dense(4, 3, |_| 0.0)],
            tails: Vec::new(),
        };
        assert_eq!(others(&config), [1]);
        let (train, held_out) = (examples(2_000), examples(2_400).select(2_000..2_400));
        let before = (network.clone(), loss(&config, &network, &held_out));
        let until = Until::HeldOut(&held_out);
        let (steps, learned) = learn(&config, &mut network, &train, until, &mut Silent).unwrap();
        let after = loss(&config, &network, &held_out);
        assert!((after - learned).abs() < 1e-4, "{after} {learned}");
        // Pinball loss of the true quantiles at level a of a uniform distribution: a (1 - a) / 2, here its mean.
        let best = (2.0 * 0.09 + 0.25) / 6.0;
        assert!(after < 1.1 * best && before.1 > 3.0 * best, "{} {after} {best}", before.1);
        assert_eq!((&network.trunk, &network.heads[0]), (&before.0.trunk, &before.0.heads[0]));
        let until = Until::Step(steps.max(100));
        learn(&config, &mut network, &train, until, &mut Silent).unwrap();
        assert!(loss(&config, &network, &held_out) < 1.1 * best);
    }

    #[test]
    fn nothing_is_learned_where_all_heads_decide() {
        let heads = vec![HeadSpec::Point { targets: vec![0], loss_share: 1.0 }];
        assert!(others(&FitConfig::new(1, vec![4], heads)).is_empty());
    }
}
