//! What quantization costs, and the fine-tuning that begins where that is more than [`QUANTIZATION_TOLERANCE`].
//!
//! Both models are judged by the losses of training, the integers by the runtime's own answers, before any posterior calibration. The
//! network is first scaled so that its neurons use their grids alike, then goes on training with activations on these grids; its weights are
//! rounded last, and make up for each other's errors on those very activations (see [`quantization`]), which does better than weights that
//! were rounded to the nearest in each step. It is kept where its integers do clearly better than those of the trained one.

use serde::Serialize;
use simground_runtime::Model;

use super::plan::{Plan, Quantizable, examples, interleaved, output_values};
use super::{Options, PipelineError, QUANTIZATION_TOLERANCE, Talk};
use crate::artifact::WriteError;
use crate::corpus::Corpus;
use crate::evaluation::{self, Judge};
use crate::head::ratio::{self, Judged};
use crate::network::FloatNetwork;
use crate::quantization;
use crate::training::{
    self, Backend, Examples, FitConfig, HeadSpec, Observer, Rounding, Stop, TrainingError,
};

/// Name of the stage, which an observer can stop.
pub const FINE_TUNING: &str = "quantization-aware fine-tuning";

/// It takes one of so many parts of the steps that training made, and [`LEAST_STEPS`] at least.
const STEPS_SHARE: u64 = 5;
const LEAST_STEPS: u64 = 1_000;
/// Part of training's learning rate that it begins with.
const RATE_SHARE: f64 = 0.1;
/// Part of what quantization costs that a fine-tuning must win back to be kept: less is found by chance among so many validations.
const WORTH: f64 = 0.25;
/// Part of the largest output of a layer below which a neuron counts as idle.
const HARDLY: f32 = 1e-3;
/// Times that it is judged.
const VALIDATIONS: u64 = 6;

/// What quantization costs: held-out losses as training judges them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quantization {
    /// Of the float network that training gave.
    pub float_loss: f64,
    /// Of its integers.
    pub integer_loss: f64,
    /// Which losses or metrics it changes by more than [`QUANTIZATION_TOLERANCE`]; null where none.
    pub costly: Option<String>,
    /// What was done about it.
    pub fine_tuning: Option<FineTuning>,
}

/// A fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FineTuning {
    /// Steps made.
    pub steps: u64,
    /// After how many its integers did best.
    pub best_step: u64,
    /// Their held-out loss.
    pub integer_loss: f64,
    /// Whether the artifact is made of them.
    pub kept: bool,
}

/// Simulations that judge, as they are and as training takes them.
struct HeldOut<'c> {
    corpus: &'c Corpus,
    examples: Examples,
}

impl Plan<'_> {
    /// Judges the integers of a trained network, and fine-tunes it where they cost too much: the network that is to be kept instead, if any.
    pub(super) fn quantize_well(
        &self,
        trained: &Quantizable,
        steps: u64,
        (validation, calibration): (&Corpus, &Corpus),
        options: &Options,
        (observer, talk): (&mut dyn Observer, &mut dyn Talk),
    ) -> Result<(Quantization, Option<Quantizable>), PipelineError> {
        // What a network was trained on says nothing of an overfit.
        let held_out = self.held_out(if self.learns_from_all() { calibration } else { validation });
        let mut cost = self.cost(trained, &held_out, options)?;
        let Some(costly) = &cost.costly else { return Ok((cost, None)) };
        // What a flow's integers cost is no loss of one pass, so nothing would judge what becomes of it.
        if self.specs.iter().any(|spec| matches!(spec, HeadSpec::Flow { .. })) {
            talk.note(&format!(
                "quantization changes {costly}; a network with a flow is not fine-tuned"
            ));
            return Ok((cost, None));
        }
        talk.note(&format!(
            "quantization raises the held-out loss from {:.4} to {:.4} and changes {costly}",
            cost.float_loss, cost.integer_loss
        ));
        talk.stage(FINE_TUNING);
        let start = self.quantizable(self.equalized(&trained.network, validation), validation);
        // The grids of activations stay: the network comes to depend on where they are.
        let on_grids = |network: &FloatNetwork| Quantizable {
            network: network.clone(),
            ranges: self.ranges(network, validation).on_grids_of(&start.ranges),
            embedding: start.embedding.clone(),
        };
        let rounding = Rounding {
            start: &start.network,
            grids: quantization::grids(&self.quantize(&start)?, &start.ranges),
            judge: Box::new(|network| {
                let bytes = self.unfinished(&on_grids(network)).ok()?;
                self.integer_losses(&Model::from_bytes(&bytes).ok()?, &held_out).into()
            }),
        };
        let config = fine_tuning(&self.config(options, None), steps, options);
        let train = self.training_examples();
        let tuned = training::fine_tune(&config, rounding, train, &held_out.examples, observer);
        let tuned = match tuned {
            Ok(tuned) if tuned.stop == Stop::Observer => {
                return Err(PipelineError::Interrupted { step: tuned.steps });
            }
            Ok(tuned) => tuned,
            // The network is as good as it was before.
            Err(error @ TrainingError::NonFinite { .. }) => {
                talk.note(&format!("not fine-tuned: {error}"));
                return Ok((cost, None));
            }
            Err(error) => return Err(error.into()),
        };
        let gain = cost.integer_loss - tuned.best_loss;
        let kept = gain > WORTH * (cost.integer_loss - cost.float_loss).max(0.0);
        talk.note(&format!(
            "{} steps, held-out loss of the integers {:.4} at step {}{}, {:.1} s",
            tuned.steps,
            tuned.best_loss,
            tuned.best_step,
            if kept { "" } else { ": hardly better, not kept" },
            tuned.elapsed.as_secs_f64()
        ));
        cost.fine_tuning = Some(FineTuning {
            steps: tuned.steps,
            best_step: tuned.best_step,
            integer_loss: tuned.best_loss,
            kept,
        });
        let kept = kept.then(|| Quantizable {
            embedding: self.fit_embedding(&tuned.network),
            ..on_grids(&tuned.network)
        });
        Ok((cost, kept))
    }

    /// The same answers by neurons that use the grid that they share more alike: each is scaled by the square root of what its largest output
    /// falls short of its layer's. Half of the way, because a reader's weight for a neuron that is scaled up is the smaller beside the others.
    ///
    /// After Nagel et al. 2019, <https://arxiv.org/abs/1906.04721>, section 4.1.
    fn equalized(&self, network: &FloatNetwork, corpus: &Corpus) -> FloatNetwork {
        let hidden = network.forward_batch(&self.input.apply_rows(&corpus.x), true).hidden;
        let mut equalized = network.clone();
        for (layer, values) in hidden.iter().enumerate() {
            let mut largest = vec![0.0_f32; network.trunk[layer].d_output];
            for row in values.chunks_exact(largest.len()) {
                largest.iter_mut().zip(row).for_each(|(max, value)| *max = max.max(*value));
            }
            let most = largest.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            let gain = |max: &f32| (most / max.max(HARDLY * most)).sqrt();
            equalized.rescale(layer, &largest.iter().map(gain).collect::<Vec<_>>());
        }
        equalized
    }

    fn held_out<'c>(&self, corpus: &'c Corpus) -> HeldOut<'c> {
        HeldOut { corpus, examples: examples(corpus, &self.input, &self.columns) }
    }

    /// What the integers of a network cost, and the heads or the metric for which that is too much.
    fn cost(
        &self,
        subject: &Quantizable,
        held_out: &HeldOut<'_>,
        options: &Options,
    ) -> Result<Quantization, PipelineError> {
        let bytes = self.unfinished(subject)?;
        let model = Model::from_bytes(&bytes).map_err(WriteError::Refused)?;
        let float = self.float_losses(&subject.network, held_out);
        let integer = self.integer_losses(&model, held_out);
        let config = self.config(options, None);
        let heads = self.specs.iter().zip(float.iter().zip(&integer));
        let heads =
            heads.filter(|(spec, (float, integer))| *integer - *float > allowance(spec, **float));
        let mut costly: Vec<String> =
            heads.map(|(spec, _)| format!("the loss of `{}`", spec.kind())).collect();
        // So few simulations as a joint posterior is cross-validated on hardly determine a share.
        if costly.is_empty() && !self.learns_from_all() {
            let (change, metric) = self.change(&model, subject, held_out.corpus)?;
            if change > QUANTIZATION_TOLERANCE {
                costly.push(format!("{metric} by {:.1} %", 100.0 * change));
            }
        }
        Ok(Quantization {
            float_loss: judged(&config, &float),
            integer_loss: judged(&config, &integer),
            costly: (!costly.is_empty()).then(|| costly.join(", ")),
            fine_tuning: None,
        })
    }

    /// Largest change of a metric, of heads that do not read theta.
    fn change(
        &self,
        model: &Model<'_>,
        subject: &Quantizable,
        corpus: &Corpus,
    ) -> Result<(f64, String), PipelineError> {
        let float_model = self.float_model(&subject.network, &subject.embedding);
        let mechanisms = &float_model.schema.mechanisms;
        let judge = Judge::new(corpus, &float_model.heads, mechanisms, model.d_values())?;
        let integer = judge.metrics(&evaluation::integer_answers(model, &corpus.x));
        let float = judge.metrics(&float_model.answer(&corpus.x));
        Ok(evaluation::largest_change(&integer, &float, corpus.len()))
    }

    /// Mean loss of each head by the float network.
    fn float_losses(&self, network: &FloatNetwork, held_out: &HeldOut<'_>) -> Vec<f64> {
        let HeldOut { corpus, examples } = held_out;
        let outputs = network.forward_batch(&examples.inputs, false).heads;
        let mut losses =
            training::head_losses(&self.specs, &interleaved(network, &outputs), examples);
        for (at, head) in self.ratios() {
            let Some(tail) = network.tail(at) else { continue };
            losses[at] = mean_cross_entropy(&ratio::float_pairs(head, tail, &outputs[at], corpus));
        }
        losses
    }

    /// Mean loss of each head by the integer runtime.
    fn integer_losses(&self, model: &Model<'_>, held_out: &HeldOut<'_>) -> Vec<f64> {
        let outputs = output_values(model, &held_out.corpus.x).concat();
        let mut losses = training::head_losses(&self.specs, &outputs, &held_out.examples);
        for (at, head) in self.ratios() {
            losses[at] = mean_cross_entropy(&ratio::pairs(head, model, held_out.corpus));
        }
        losses
    }
}

impl Quantization {
    /// As an artifact carries it: nothing unless a fine-tuning was kept.
    pub fn figures(&self) -> Vec<(String, f32)> {
        let Some(tuned) = self.fine_tuning.as_ref().filter(|tuned| tuned.kept) else {
            return Vec::new();
        };
        let figures = [
            ("float", self.float_loss),
            ("rounded", self.integer_loss),
            ("fine_tuned", tuned.integer_loss),
        ];
        figures.map(|(of, loss)| (format!("loss/{of}"), loss as f32)).into()
    }
}

/// Settings of the fine-tuning that follows a training of `steps` steps.
fn fine_tuning(training: &FitConfig, steps: u64, options: &Options) -> FitConfig {
    let steps = (steps / STEPS_SHARE).max(LEAST_STEPS);
    let every = steps.div_ceil(VALIDATIONS);
    FitConfig {
        steps,
        learning_rate: RATE_SHARE * training.learning_rate,
        warmup: steps / 50,
        averaging: steps / 50,
        linear_start: false,
        validation_every: every,
        patience: VALIDATIONS,
        fresh_per_step: (training.simulations - training.pool_start).div_ceil((steps / 2).max(1)),
        backend: Backend::Flex,
        checkpoint: options.fine_tuning_checkpoint(),
        checkpoint_every: every,
        ..training.clone()
    }
}

/// The loss by which training judges.
fn judged(config: &FitConfig, losses: &[f64]) -> f64 {
    let shares = config.heads.iter().map(|head| f64::from(head.loss_share()));
    match config.judged_by {
        Some(head) => losses[head],
        None => shares.zip(losses).map(|(share, loss)| share * loss).sum(),
    }
}

/// Rise of a head's loss that is allowed: a part of it, or where the loss is a logarithm, whose differences are relative already, so many
/// nats a simulation.
fn allowance(spec: &HeadSpec, float: f64) -> f64 {
    QUANTIZATION_TOLERANCE
        * match spec {
            HeadSpec::Categorical { .. } | HeadSpec::Ratio { .. } | HeadSpec::Flow { .. } => 1.0,
            // A mean over coordinates.
            HeadSpec::Mixture { targets, .. } => 1.0 / targets.len() as f64,
            HeadSpec::Quantiles { .. } | HeadSpec::Point { .. } => float,
        }
}

fn mean_cross_entropy(pairs: &[Judged]) -> f64 {
    pairs.iter().map(|pair| pair.cross_entropy(1.0)).sum::<f64>() / pairs.len() as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use simground_runtime::artifact::Layout;

    use super::*;
    use crate::simulator::Split;
    use crate::source::Source;
    use crate::study::Study;
    use crate::training::Silent;

    struct Nobody;

    impl Talk for Nobody {
        fn stage(&mut self, what: &str) {
            eprintln!("{what}");
        }
        fn note(&mut self, what: &str) {
            eprintln!("{what}");
        }
    }

    /// Losses on test simulations: of the float network, of its integers, and of the integers that are kept.
    fn losses(study: &Study) -> (Quantization, [f64; 3]) {
        let simulator = Arc::new(study.simulator().unwrap());
        let source = Source::Simulator { simulator, seed: study.seed };
        let mut plan = Plan::new(study, &source).unwrap();
        let options = Options { threads: 1, ..Options::default() };
        let fitted = plan.train(&options, &mut Silent, &mut Nobody).unwrap().remove(0);
        let validation = source.simulations(Split::Validation, 0..plan.validation);
        let calibration = source.simulations(Split::Calibration, 0..plan.calibration);
        let test = source.simulations(Split::Test, 0..8_000);
        let test = plan.held_out(&test);
        let trained = plan.quantizable(fitted.network, &validation);
        let before = plan.cost(&trained, &test, &options).unwrap();
        let (found, tuned) = plan
            .quantize_well(
                &trained,
                fitted.steps,
                (&validation, &calibration),
                &options,
                (&mut Silent, &mut Nobody),
            )
            .unwrap();
        let after = plan.cost(&tuned.unwrap_or(trained), &test, &options).unwrap();
        let losses = [before.float_loss, before.integer_loss, after.integer_loss];
        (found, losses)
    }

    /// Two moons, whose posterior is sharp, for bytes.
    #[test]
    fn fine_tuning_recovers_what_eight_bits_cost() {
        let text = include_str!("../../studies/two-moons.toml");
        let head = "[[head]]\nkind = \"mixture\"\ncomponents = 8\n\n[training]";
        let text = text.replace("[64, 64]", "[32, 32]").replace("[training]", head);
        let mut study = Study::parse(&text, "moons.toml").unwrap();
        study.budget.layout = Layout::Bytes;
        study.training.steps = 3_000;
        study.training.simulations = 50_000;
        let (found, [float, before, after]) = losses(&study);
        eprintln!("{found:?} {float} {before} {after}");
        assert!(found.costly.is_some() && found.fine_tuning.as_ref().is_some_and(|t| t.kept));
        assert!(before - after > 0.25 * (before - float), "{float} {before} {after}");
        assert_eq!(found.figures().len(), 3);
    }

    #[test]
    #[ignore = "prints a table of docs/calibration.md; takes ten minutes"]
    fn cost_of_eight_bits() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/studies/boarding-school.toml");
        for seed in 11..=13 {
            let mut study = Study::load(path).unwrap();
            study.seed = seed;
            study.budget.layout = Layout::Bytes;
            let (found, [float, before, after]) = losses(&study);
            println!(
                "seed {seed}: float {float:.4}, integers {before:.4}, kept {after:.4}; {found:?}"
            );
        }
    }
}
