//! What a training is left to find out by itself: how many components a joint posterior has, and where few simulations, when to stop.
//!
//! - Few simulations: each choice is judged by cross-validation over all that may be learned from, training and validation split
//!   alike; the network is then trained on all of them, for as many steps as did best. What the networks of the cross-validation answer
//!   to the simulations that they did not learn from calibrates it, beside the calibration split, which alone is too small for that.
//! - Many: each number of components is tried in a shorter training, judged on the validation split; the best is trained at length,
//!   and stopped by the validation split.
//!
//! A training that is at its best early was still taking large steps then. So a schedule whose steps have become small by that time is
//! tried as well: another cross-validation, or the shorter training that is there already.
//!
//! Numbers of components are tried upward from the least while the held-out loss falls.

use std::ops::{ControlFlow, Range};

use super::last_layers::{self, Until};
use super::plan::interleaved;
use super::{PipelineError, Talk};
use crate::network::FloatNetwork;
use crate::training::{
    self, ExampleSource, Examples, FitConfig, Fitted, Observer, Progress, Stop, Validation,
};

/// Up to this many simulations of both splits are cross-validated.
pub(super) const FEW: u64 = 4_000;
/// Parts of the cross-validation.
const FOLDS: usize = 5;
/// A trial takes this part of the steps.
const TRIAL_SHARE: u64 = 3;
/// Numbers of components in a row that may not pay before no more are tried.
const FAILURES: usize = 2;
/// A larger number of components must lower the loss by this much, per dimension and in nats, to be worth its flash.
const WORTH: f64 = 1e-3;

/// What a number of components came to.
pub(super) trait Judged {
    /// Steps after which the held-out loss was least.
    fn best_step(&self) -> u64;
    /// That loss.
    fn best_loss(&self) -> f64;
}

impl Judged for Fitted {
    fn best_step(&self) -> u64 {
        self.best_step
    }

    fn best_loss(&self) -> f64 {
        self.best_loss
    }
}

/// A cross-validation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CrossValidated {
    /// Steps of the whole schedule.
    schedule: u64,
    steps: u64,
    loss: f64,
    /// The networks, in the order of the folds that they did not learn from.
    folds: Vec<FloatNetwork>,
}

impl Judged for CrossValidated {
    fn best_step(&self) -> u64 {
        self.steps
    }

    fn best_loss(&self) -> f64 {
        self.loss
    }
}

/// The candidate of least loss and what it came to, tried in order until [`FAILURES`] in a row do not pay.
///
/// # Errors
///
/// Those of `judge`.
pub(super) fn best_of<J: Judged>(
    candidates: &[usize],
    talk: &mut dyn Talk,
    mut judge: impl FnMut(usize) -> Result<J, PipelineError>,
) -> Result<(usize, J), PipelineError> {
    let (mut best, mut failures): (Option<(usize, J)>, usize) = (None, 0);
    for &components in candidates {
        let judged = judge(components)?;
        let what = match candidates {
            [_] => "cross-validation".to_owned(),
            _ => format!("{components} components"),
        };
        let (loss, steps) = (judged.best_loss(), judged.best_step());
        talk.note(&format!("{what}: held-out loss {loss:.4} after {steps} steps"));
        if best.as_ref().is_some_and(|(_, least)| judged.best_loss() > least.best_loss() - WORTH) {
            failures += 1;
            if failures == FAILURES {
                break;
            }
        } else {
            (best, failures) = (Some((components, judged)), 0);
        }
    }
    best.ok_or_else(|| PipelineError::Study("no number of components fits the budget".into()))
}

/// The number of steps of least mean loss over [`FOLDS`] trainings, each judged on the fold that it was not trained on.
///
/// # Errors
///
/// Those of training, and [`PipelineError::Interrupted`].
pub(super) fn cross_validate(
    config: &FitConfig,
    all: &Examples,
    observer: &mut dyn Observer,
) -> Result<CrossValidated, PipelineError> {
    let mut curves: Vec<Vec<Validation>> = Vec::new();
    let mut folds = Vec::new();
    for fold in 0..FOLDS {
        let (train, validation) = split(all, fold);
        let count = train.len() as u64;
        let config = FitConfig {
            simulations: count,
            pool_start: count,
            batch: config.batch.min(train.len()),
            checkpoint: None,
            resume: false,
            ..config.clone()
        };
        let fitted = training::fit(&config, Rows(train), &validation, &mut Quiet(observer))?;
        let fitted = uninterrupted(fitted)?;
        folds.push(fitted.network);
        curves.push(fitted.history);
    }
    let common = curves.iter().map(Vec::len).min().unwrap_or(0);
    let mean = |at: usize| curves.iter().map(|curve| curve[at].loss).sum::<f64>() / FOLDS as f64;
    let losses = (0..common).map(|at| (curves[0][at].step, mean(at)));
    let (steps, loss) = losses
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .ok_or(PipelineError::Interrupted { step: 0 })?;
    Ok(CrossValidated { schedule: config.steps, steps, loss, folds })
}

/// The better of a cross-validation and one whose schedule ends at twice the steps that did best.
///
/// # Errors
///
/// Those of [`cross_validate`].
pub(super) fn with_shorter_schedule(
    config: &FitConfig,
    all: &Examples,
    judged: CrossValidated,
    observer: &mut dyn Observer,
    talk: &mut dyn Talk,
) -> Result<CrossValidated, PipelineError> {
    let steps = (2 * judged.steps).max(config.validation_every);
    if steps >= config.steps {
        return Ok(judged);
    }
    let shorter = cross_validate(&shortened(config, steps), all, observer)?;
    talk.note(&format!(
        "with a schedule of {steps} steps: held-out loss {:.4} after {} steps",
        shorter.loss, shorter.steps
    ));
    Ok(if shorter.loss < judged.loss { shorter } else { judged })
}

/// The same training with a schedule of so many steps.
fn shortened(config: &FitConfig, steps: u64) -> FitConfig {
    FitConfig { steps, warmup: config.warmup.min(steps / 10), ..config.clone() }
}

/// A shorter training, judged on the validation split.
///
/// # Errors
///
/// Those of training, and [`PipelineError::Interrupted`].
pub(super) fn trial(
    config: &FitConfig,
    train: impl ExampleSource + 'static,
    validation: &Examples,
    observer: &mut dyn Observer,
) -> Result<Fitted, PipelineError> {
    let steps = (config.steps / TRIAL_SHARE).max(1);
    let config = FitConfig {
        pool_start: config.simulations.min(config.window),
        validation_every: config.validation_every.min(steps.div_ceil(10)),
        checkpoint: None,
        resume: false,
        ..shortened(config, steps)
    };
    uninterrupted(training::fit(&config, train, validation, &mut Quiet(observer))?)
}

/// A network that learned from all examples, and what the networks of the cross-validation say of it.
pub(super) struct Refitted {
    pub fitted: Fitted,
    /// Outputs of all heads, one head behind the other, for each example by the network that did not learn from it.
    pub out_of_fold: Vec<Vec<f32>>,
}

/// Trains on all examples for as many steps as cross-validation found best, whose loss it keeps.
///
/// # Errors
///
/// Those of training.
pub(super) fn refit(
    config: &FitConfig,
    all: Examples,
    judged: CrossValidated,
    observer: &mut dyn Observer,
) -> Result<Refitted, PipelineError> {
    let count = all.len() as u64;
    let (steps, out_of_fold) = out_of_fold(config, &all, judged.folds, observer)?;
    let config = FitConfig {
        simulations: count,
        pool_start: count,
        ends_at: Some(judged.steps),
        ..shortened(config, judged.schedule)
    };
    // What it reports as held out is not: the loss is that of the cross-validation.
    let shown = all.select(0..all.len().min(config.batch));
    let mut fitted = training::fit(&config, Rows(all.clone()), &shown, observer)?;
    if let (Some(step), true) = (steps, fitted.stop != Stop::Observer) {
        let network = &mut fitted.network;
        last_layers::learn(&config, network, &all, Until::Step(step), &mut Quiet(observer))?;
    }
    Ok(Refitted { fitted: Fitted { best_loss: judged.loss, ..fitted }, out_of_fold })
}

/// Learns the last layers of the networks of a cross-validation, with the mean number of steps that they took, if any have to be learned; and
/// what each network says of the fold that it did not learn from.
fn out_of_fold(
    config: &FitConfig,
    all: &Examples,
    folds: Vec<FloatNetwork>,
    observer: &mut dyn Observer,
) -> Result<(Option<u64>, Vec<Vec<f32>>), PipelineError> {
    let mut answers = vec![Vec::new(); all.len()];
    let (mut steps, count) = (0, folds.len() as u64);
    let learns = !last_layers::others(config).is_empty();
    for (fold, mut network) in folds.into_iter().enumerate() {
        let (train, held_out) = split(all, fold);
        if learns {
            let until = Until::HeldOut(&held_out);
            let observer = &mut Quiet(observer);
            steps += last_layers::learn(config, &mut network, &train, until, observer)?.0;
        }
        let rows = (fold..all.len()).step_by(FOLDS);
        rows.zip(outputs(&network, &held_out.inputs)).for_each(|(row, own)| answers[row] = own);
    }
    Ok((learns.then(|| (steps / count.max(1)).max(1)), answers))
}

/// What a fold leaves to learn from, and the fold.
fn split(all: &Examples, fold: usize) -> (Examples, Examples) {
    let held_out = |row: &usize| row % FOLDS == fold;
    let rows = || 0..all.len();
    (all.select(rows().filter(|row| !held_out(row))), all.select(rows().filter(held_out)))
}

fn uninterrupted(fitted: Fitted) -> Result<Fitted, PipelineError> {
    match fitted.stop {
        Stop::Observer => Err(PipelineError::Interrupted { step: 0 }),
        _ => Ok(fitted),
    }
}

/// Outputs of all heads for each row, one head behind the other.
fn outputs(network: &FloatNetwork, inputs: &[f32]) -> Vec<Vec<f32>> {
    let width = network.heads.iter().map(|layer| layer.d_output).sum::<usize>().max(1);
    let heads = network.forward_batch(inputs, false).heads;
    interleaved(network, &heads).chunks_exact(width).map(<[f32]>::to_vec).collect()
}

/// Examples in memory.
pub(super) struct Rows(pub Examples);

impl ExampleSource for Rows {
    fn examples(&mut self, indices: Range<u64>) -> Examples {
        self.0.select(indices.start as usize..indices.end as usize)
    }

    fn fingerprint(&self) -> u64 {
        let bytes: Vec<u8> =
            self.0.inputs.iter().chain(&self.0.targets).flat_map(|v| v.to_le_bytes()).collect();
        let hash = crate::float_model::hash(&bytes);
        u64::from_le_bytes(hash[..8].try_into().unwrap_or_default())
    }
}

/// Lets an observer stop a trial, whose progress is of no interest.
struct Quiet<'o>(&'o mut dyn Observer);

impl Observer for Quiet<'_> {
    fn step(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.0.step(progress)
    }
}

#[cfg(test)]
mod tests {
    use simground_runtime::artifact::component_outputs;

    use super::*;
    use crate::training::Silent;

    struct Nobody;

    impl Talk for Nobody {
        fn stage(&mut self, _: &str) {}
        fn note(&mut self, _: &str) {}
    }

    fn chosen(losses: &[(usize, f64)]) -> (usize, usize) {
        let mut tried = 0;
        let candidates: Vec<usize> = losses.iter().map(|(components, _)| *components).collect();
        let judge = |components: usize| {
            tried += 1;
            let loss = losses.iter().find(|(c, _)| *c == components).unwrap().1;
            Ok(CrossValidated { schedule: 1, steps: 1, loss, folds: Vec::new() })
        };
        let best = best_of(&candidates, &mut Nobody, judge).unwrap().0;
        (best, tried)
    }

    #[test]
    fn components_are_added_while_they_pay() {
        assert_eq!(chosen(&[(1, 2.0), (2, 1.5), (4, 1.2), (8, 1.1)]), (8, 4));
        assert_eq!(chosen(&[(1, 1.0), (2, 1.5), (4, 1.2), (8, 0.2)]), (1, 3));
        assert_eq!(chosen(&[(1, 1.0), (2, 1.1), (4, 0.2)]), (4, 3));
        assert_eq!(chosen(&[(1, 1.0), (2, 0.9995)]), (1, 2));
    }

    /// A line through noise: more steps than needed fit the noise.
    fn line_through_noise() -> (FitConfig, Examples) {
        let mut all = Examples::default();
        for row in 0..120_u32 {
            let noise = |salt: u32| {
                let mixed = (row * 16 + salt).wrapping_mul(2_654_435_761) >> 8;
                (mixed % 10_007) as f32 / 5_003.5 - 1.0
            };
            all.inputs.extend((0..6).map(noise));
            all.targets.push(0.8 * noise(0) + 0.9 * noise(9));
            all.mechanism.push(0);
        }
        let heads = vec![training::HeadSpec::Mixture {
            targets: vec![0],
            ends: vec![(f32::NEG_INFINITY, f32::INFINITY)],
            components: 2,
            loss_share: 1.0,
        }];
        let config = FitConfig {
            steps: 600,
            batch: 32,
            warmup: 10,
            learning_rate: 5e-3,
            averaging: 20,
            linear_start: true,
            validation_every: 20,
            patience: 1_000,
            ..FitConfig::new(6, vec![32, 32], heads)
        };
        (config, all)
    }

    #[test]
    fn a_training_on_few_examples_ends_where_cross_validation_says() {
        let (config, all) = line_through_noise();
        let judged = cross_validate(&config, &all, &mut Silent).unwrap();
        assert!(judged.steps < 600, "{}", judged.steps);
        let (steps, loss) = (judged.steps, judged.loss);
        let Refitted { fitted, out_of_fold } = refit(&config, all, judged, &mut Silent).unwrap();
        assert_eq!((fitted.steps, fitted.best_step), (steps, steps));
        assert_eq!(fitted.best_loss, loss);
        let widths = out_of_fold.iter().map(Vec::len);
        assert_eq!(widths.collect::<Vec<_>>(), vec![2 * component_outputs(1); 120]);
    }

    #[test]
    fn a_schedule_that_ends_earlier_is_tried_and_kept_where_it_does_better() {
        let (config, all) = line_through_noise();
        let long = cross_validate(&config, &all, &mut Silent).unwrap();
        let steps = 2 * long.steps;
        let by_hand = cross_validate(&shortened(&config, steps), &all, &mut Silent).unwrap();
        assert_eq!((by_hand.schedule, long.schedule), (steps, 600));
        let better = if by_hand.loss < long.loss { by_hand } else { long.clone() };
        let found =
            with_shorter_schedule(&config, &all, long.clone(), &mut Silent, &mut Nobody).unwrap();
        assert_eq!(found, better);
        // The networks that answer belong to the schedule that is trained.
        let fitted = refit(&config, all.clone(), found, &mut Silent).unwrap().fitted;
        assert_eq!(fitted.steps, better.steps);

        // A training at its best near its end has no shorter schedule.
        let late = CrossValidated { steps: 400, ..long };
        let found = with_shorter_schedule(&config, &all, late.clone(), &mut Silent, &mut Nobody);
        assert_eq!(found.unwrap(), late);
    }
}
