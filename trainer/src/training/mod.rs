//! Fits the network to simulations; the only folder that names burn.
//!
//! On the CPU a dense stack and its gradient are one operation of our own ([`Stack`]) that skips what a ReLU made zero. Other devices
//! compute with burn's tensors. Each training first computes one gradient in both ways and compares.
//!
//! The caller hands over standardized examples by index ([`ExampleSource`]) and gets a plain [`FloatNetwork`]. A producer thread
//! simulates ahead while one thread optimizes: AdamW, a cosine schedule with warmup, clipped gradients, early stopping on held-out
//! examples, the best weights kept, or the best of their running averages.
//!
//! **Invariant:** every choice of step `s` is a function of the configuration and `s` alone: its batch, its learning rate, and the part
//! of the growing pool it may draw from. So neither timing, nor the number of simulation threads, nor a kill and resume changes one bit
//! of the result on one machine.

mod checkpoint;
mod company;
mod device;
mod examples;
mod fit;
mod graph;
mod loss;
mod model;
mod optimizer;
mod progress;
mod random;
pub mod ratio;
mod rounding;
mod several;
mod spec;
mod stack;
mod start;
#[cfg(test)]
mod tests;
mod tiles;
mod vectors;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use device::{Backend, probe};
pub use examples::{ExampleSource, Examples};
pub use fit::{fine_tune, fit};
pub use loss::head_losses;
pub use loss::mixture::with_outliers;
pub use optimizer::{AdamW, Update};
pub use progress::{Observer, Progress, ProgressObserver, Silent};
pub use rounding::{Grid, Rounding};
pub use several::fit_several;
pub use spec::HeadSpec;
pub use stack::Stack;

use crate::network::FloatNetwork;

/// All that decides the result of [`fit`], and where it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitConfig {
    /// Width of the input.
    pub d_input: usize,
    /// Widths of the hidden layers; the last is the embedding.
    pub hidden: Vec<usize>,
    /// The heads, all on the embedding.
    pub heads: Vec<HeadSpec>,
    /// Of the initial weights and of the batches.
    pub seed: u64,
    /// Optimizer steps, unless training stops early.
    pub steps: u64,
    /// Examples a step.
    pub batch: usize,
    /// Largest learning rate, reached after the warmup.
    pub learning_rate: f64,
    /// Decoupled decay of the weights (biases are spared), times the learning rate, each step.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises linearly.
    pub warmup: u64,
    /// Largest norm of the whole gradient; infinite for none.
    pub clip_norm: f64,
    /// Steps over which weights are averaged, with exponentially fading shares; 0 for the weights of the last step alone.
    pub averaging: u64,
    /// Whether a joint posterior starts at a linear regression rather than at the prior.
    pub linear_start: bool,
    /// Steps after which training ends with the weights that it has then, whatever the held-out loss; otherwise the best weights of
    /// all are kept.
    pub ends_at: Option<u64>,
    /// The head whose loss alone decides which weights are best; all of them, by their shares, where none is named.
    pub judged_by: Option<usize>,
    /// Steps between validations.
    pub validation_every: u64,
    /// Validations without a new best after which training stops.
    pub patience: u64,
    /// Simulations in the whole training: examples `0..simulations` of the source.
    pub simulations: u64,
    /// Simulations in memory, at most. Where there are more, each step draws from the latest of those that have come, and after the
    /// last of them the first comes again.
    pub window: u64,
    /// Simulations that the first step draws from.
    pub pool_start: u64,
    /// Simulations that each step adds to those its successor draws from, up to `simulations`.
    pub fresh_per_step: u64,
    /// Threads that simulate; 0 for one per core. No influence on the result.
    pub simulation_threads: usize,
    /// Which backend computes.
    pub backend: Backend,
    /// File that holds the state of the training; written beside and renamed, so it is whole at any moment.
    pub checkpoint: Option<PathBuf>,
    /// Whether to go on from `checkpoint` if that file exists.
    pub resume: bool,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

/// A trained network and how it came about.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// With the weights that did best on the held-out examples.
    pub network: FloatNetwork,
    /// Their held-out loss.
    pub best_loss: f64,
    /// After how many steps they were reached.
    pub best_step: u64,
    /// Steps made in all, those before a resume included.
    pub steps: u64,
    /// Every validation, in order.
    pub history: Vec<Validation>,
    /// Simulations that at least one step could draw from.
    pub simulations_used: u64,
    /// Why it ended.
    pub stop: Stop,
    /// Time since the call, so since the last resume.
    pub elapsed: Duration,
    /// Part of `elapsed` in which the optimizer waited for simulations.
    pub stalled: Duration,
}

/// Losses at one moment of the training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Steps made.
    pub step: u64,
    /// Mean loss of the batches since the last validation.
    pub train_loss: f64,
    /// Loss on the held-out examples: of the head that decides, where one does.
    pub loss: f64,
    /// Of each head, its `loss_share` not applied.
    pub head_losses: Vec<f64>,
    /// Of the last step.
    pub learning_rate: f64,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// All steps were made.
    Completed,
    /// No new best for `patience` validations.
    Patience,
    /// The observer asked for it; resuming goes on.
    Observer,
}

/// Why a training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// Settings that cannot work.
    #[error("training settings: {message}")]
    Config {
        /// Which setting, what it holds and what it may hold.
        message: String,
    },
    /// Examples of the wrong shape or with values that cannot be learned from.
    #[error("training examples: {message}")]
    Examples {
        /// Which example and which column.
        message: String,
    },
    /// The loss or its gradient left the range of numbers.
    #[error(
        "{what} is {value} at step {step} (learning rate {learning_rate:.2e})\nhint: lower `learning_rate`, lengthen `warmup`, or look for inputs and targets far outside the standardized range"
    )]
    NonFinite {
        /// What it was.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Steps made before.
        step: u64,
        /// Of this step.
        learning_rate: f64,
    },
    /// Two ways to compute one gradient disagree: this processor, or this driver, runs a path that is wrong.
    #[error(
        "the gradients of burn and of the CPU's own code differ by {difference:.1e} of their norm\nhint: please report this processor and driver; another `--backend` computes in another way"
    )]
    Gradient {
        /// Norm of the difference over the norm.
        difference: f64,
    },
    /// No device, or one whose driver gave up.
    #[error("backend {backend}: {message}\nhint: {others} works without it")]
    Device {
        /// Its name.
        backend: &'static str,
        /// What was said.
        message: String,
        /// Options that do without it.
        others: String,
    },
    /// A checkpoint that cannot be resumed from.
    #[error("checkpoint {}: {message}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the cure.
        message: String,
    },
    /// A checkpoint that could not be read or written.
    #[error("checkpoint {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The simulation thread did not start.
    #[error("cannot start the simulation thread: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// A thread pool did not start.
    #[error("cannot start a thread pool: {0}")]
    ThreadPool(#[from] rayon::ThreadPoolBuildError),
}

impl FitConfig {
    /// Sound settings for compact networks; change the public fields from here.
    pub fn new(d_input: usize, hidden: Vec<usize>, heads: Vec<HeadSpec>) -> FitConfig {
        FitConfig {
            d_input,
            hidden,
            heads,
            seed: 0,
            steps: 20_000,
            batch: 256,
            learning_rate: 2e-3,
            weight_decay: 1e-2,
            warmup: 200,
            clip_norm: 1.0,
            averaging: 0,
            linear_start: false,
            ends_at: None,
            judged_by: None,
            validation_every: 500,
            patience: 12,
            simulations: 200_000,
            window: u64::MAX,
            pool_start: 8_192,
            fresh_per_step: 64,
            simulation_threads: 0,
            backend: Backend::Flex,
            checkpoint: None,
            resume: false,
            checkpoint_every: 500,
        }
    }

    /// Learning rate of step `step`, counted from 0: a linear warmup, then half a cosine down to almost 0 at the last step.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).max(1);
        let done = (step - self.warmup) as f64 / span as f64;
        self.learning_rate * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done.min(1.0)))
    }

    /// Places in the stream of simulations that step `step`, counted from 0, draws from. Place `p` is simulation `p`, and past the last
    /// simulation the first comes again.
    pub fn pool_at(&self, step: u64) -> Range<u64> {
        let fresh = self.fresh_per_step.saturating_mul(step);
        let end = self.pool_start.saturating_add(fresh);
        if !self.slides() {
            return 0..end.min(self.simulations);
        }
        end.saturating_sub(self.window)..end
    }

    /// Simulations that come before the first comes again; a part of a chunk is left out where they do not all fit.
    fn period(&self) -> u64 {
        if self.slides() {
            self.simulations / examples::CHUNK * examples::CHUNK
        } else {
            self.simulations
        }
    }

    /// Whether memory holds a part of the simulations at a time.
    fn slides(&self) -> bool {
        self.window < self.simulations
    }

    /// Proves what [`fit`] relies on, `d_target` being the number of target columns.
    fn check(&self, d_target: usize) -> Result<(), TrainingError> {
        let problem = self.problem(d_target);
        problem.map_or(Ok(()), |message| Err(TrainingError::Config { message }))
    }

    fn problem(&self, d_target: usize) -> Option<String> {
        let counts = [
            ("d_input", self.d_input as u64),
            ("steps", self.steps),
            ("batch", self.batch as u64),
            ("validation_every", self.validation_every),
            ("patience", self.patience),
            ("simulations", self.simulations),
            ("window", self.window),
            ("pool_start", self.pool_start),
            ("checkpoint_every", self.checkpoint_every),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Some(format!("`{name}` is 0; at least 1 is needed"));
        }
        if self.slides() && self.window < examples::CHUNK {
            return Some(format!(
                "`window` is {}; where not all simulations fit, at least {} are needed",
                self.window,
                examples::CHUNK
            ));
        }
        if self.slides() && self.pool_start > self.window {
            return Some(format!(
                "`pool_start` is {}, more than the `window` of {}",
                self.pool_start, self.window
            ));
        }
        if self.hidden.contains(&0) {
            return Some("`hidden` has a layer of width 0".into());
        }
        let rate = self.learning_rate;
        if !(rate > 0.0 && rate.is_finite()) {
            return Some(format!("`learning_rate` is {rate}; a positive number is needed"));
        }
        let decay = self.weight_decay;
        if !(decay >= 0.0 && decay * rate < 1.0) {
            return Some(format!(
                "`weight_decay` is {decay}; it must not be negative, and times `learning_rate` below 1"
            ));
        }
        if self.clip_norm.is_nan() || self.clip_norm <= 0.0 {
            return Some(format!("`clip_norm` is {}; a positive number is needed", self.clip_norm));
        }
        if self.resume && self.checkpoint.is_none() {
            return Some("`resume` needs a `checkpoint` file".into());
        }
        if !self.heads.iter().any(|head| head.loss_share() > 0.0) {
            return Some("no head has a positive `loss_share`".into());
        }
        if self.judged_by.is_some_and(|head| head >= self.heads.len()) {
            return Some(format!(
                "`judged_by` is {:?} of {} heads",
                self.judged_by,
                self.heads.len()
            ));
        }
        let mut heads = self.heads.iter().enumerate();
        heads.find_map(|(i, head)| Some(format!("head {i}: {}", head.problem(d_target)?)))
    }
}
