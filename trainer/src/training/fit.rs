//! The loop: draw, differentiate, update; now and then validate and save.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::checkpoint::{self, Best, State};
use super::examples::{Pool, Widths};
use super::loss::Loss;
use super::model::Model;
use super::optimizer::{AdamW, Update};
use super::{
    ExampleSource, Examples, FitConfig, Fitted, HeadSpec, Observer, Progress, Stop, TrainingError,
    Validation, random,
};

/// Trains a network on the examples of `train`, and keeps the weights that do best on `validation`.
///
/// # Errors
///
/// Settings or examples that cannot work, a checkpoint that is damaged or belongs to another run, and a loss that is not finite.
///
/// # Panics
///
/// With the panic of `train`, if it panics.
pub fn fit(
    config: &FitConfig,
    train: impl ExampleSource + 'static,
    validation: &Examples,
    observer: &mut dyn Observer,
) -> Result<Fitted, TrainingError> {
    // burn takes its threads from the pool that calls it. A pool of its own keeps a step from queueing behind the simulations, and one
    // thread is what a compact network keeps busy.
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(|i| format!("train-{i}"))
        .build()?;
    threads.install(|| Fit::prepare(config, &train, validation)?.run(train, observer))
}

struct Fit<'a> {
    config: &'a FitConfig,
    validation: &'a Examples,
    widths: Widths,
    model: Model,
    loss: Loss,
    /// Identifies the run in checkpoints.
    run: u64,
    started: Instant,
}

impl<'a> Fit<'a> {
    fn prepare(
        config: &'a FitConfig,
        train: &impl ExampleSource,
        validation: &'a Examples,
    ) -> Result<Fit<'a>, TrainingError> {
        let started = Instant::now();
        let d_target = validation.targets.len() / validation.len().max(1);
        config.check(d_target)?;
        let widths = Widths {
            d_input: config.d_input,
            d_target,
            mechanisms: config.heads.iter().filter_map(HeadSpec::mechanisms).min(),
        };
        if validation.is_empty() {
            let message = "no held-out examples".into();
            return Err(TrainingError::Examples { message });
        }
        let named = |error| match error {
            TrainingError::Examples { message } => {
                TrainingError::Examples { message: format!("held out: {message}") }
            }
            other => other,
        };
        validation.check(validation.len(), 0, widths).map_err(named)?;
        if !validation.weight.is_empty() && validation.weight.iter().all(|&weight| weight == 0.0) {
            let message = "held out: every weight is 0".into();
            return Err(TrainingError::Examples { message });
        }
        Ok(Fit {
            config,
            validation,
            widths,
            model: Model::new(config.d_input, &config.hidden, &config.heads, config.backend)?,
            loss: Loss::new(&config.heads, d_target),
            run: checkpoint::run(config, train.fingerprint(), validation),
            started,
        })
    }

    fn run(
        mut self,
        train: impl ExampleSource + 'static,
        observer: &mut dyn Observer,
    ) -> Result<Fitted, TrainingError> {
        let config = self.config;
        let mut state = self.start()?;
        self.model.restore(&state.averages);
        if state.stop.is_some() {
            return Ok(self.fitted(state, Duration::ZERO, None));
        }
        let mut pool =
            Pool::start(train, config.simulations, config.simulation_threads, self.widths)?;
        let mut adam = AdamW {
            first_moment: std::mem::take(&mut state.first_moment),
            second_moment: std::mem::take(&mut state.second_moment),
        };
        let parts = self.model.parts();
        let mut gradient = vec![0.0; self.model.len()];
        let mut indices = vec![0; config.batch];
        let mut batch = Examples::default();
        let first_step = state.step;
        let stop = loop {
            let step = state.step;
            let available = config.pool_at(step);
            pool.grow_to(available)?;
            let mut draw = random::Stream::new(config.seed, random::Purpose::Batch, step);
            indices.fill_with(|| draw.below(available));
            pool.gather(&indices, &mut batch);

            let learning_rate = config.learning_rate_at(step);
            let finite = |what, value: f64| {
                if value.is_finite() {
                    return Ok(value);
                }
                Err(TrainingError::NonFinite { what, value, step, learning_rate })
            };
            let (parameters, by) = (&state.parameters, &mut gradient);
            let sums = self.model.gradient(parameters, &batch, &self.loss, step, by);
            let loss = finite("the loss", self.loss.total(&sums))?;
            if step == first_step {
                self.model.check_gradient(parameters, &batch, &self.loss, step, by)?;
            }
            self.model.learn();
            let update = Update {
                step,
                learning_rate,
                weight_decay: config.weight_decay,
                clip_norm: config.clip_norm,
            };
            let norm = adam.update(&mut state.parameters, &gradient, &parts, update);
            finite("the norm of the gradient", norm)?;
            state.step += 1;
            state.loss_sum += loss;
            state.loss_count += 1;

            let progress = self.progress(&state, first_step, loss, learning_rate, available);
            let validated = state.step % config.validation_every == 0 || state.step == config.steps;
            if validated {
                let latest = self.validate(&mut state, learning_rate);
                finite("the held-out loss", latest.loss)?;
                observer.validation(&progress, &latest, state.without_best == 0);
            }
            if state.step == config.steps {
                state.stop = Some(Stop::Completed);
            } else if validated && state.without_best >= config.patience {
                state.stop = Some(Stop::Patience);
            }
            let asked = observer.step(&progress);
            let ends = state.stop.is_some() || asked == ControlFlow::Break(());
            if let Some(path) = &config.checkpoint
                && (ends || state.step % config.checkpoint_every == 0)
            {
                state.first_moment = adam.first_moment;
                state.second_moment = adam.second_moment;
                state.averages = self.model.averages();
                state.save(path, self.run)?;
                adam = AdamW {
                    first_moment: std::mem::take(&mut state.first_moment),
                    second_moment: std::mem::take(&mut state.second_moment),
                };
            }
            if ends {
                break state.stop.unwrap_or(Stop::Observer);
            }
        };
        observer.finish(stop);
        Ok(self.fitted(state, pool.stalled, Some(stop)))
    }

    /// The state of the checkpoint if there is one to resume, else a new one.
    fn start(&self) -> Result<State, TrainingError> {
        if self.config.resume
            && let Some(path) = &self.config.checkpoint
            && let Some(state) = State::load(path, self.run, self.model.len())?
        {
            return Ok(state);
        }
        let AdamW { first_moment, second_moment } = AdamW::new(self.model.len());
        Ok(State {
            step: 0,
            parameters: self.model.initial(self.config.seed, &self.config.heads),
            first_moment,
            second_moment,
            best: None,
            without_best: 0,
            history: Vec::new(),
            loss_sum: 0.0,
            loss_count: 0,
            stop: None,
            averages: self.model.averages(),
        })
    }

    fn validate(&mut self, state: &mut State, learning_rate: f64) -> Validation {
        let sums = self.model.evaluate(&state.parameters, self.validation, &self.loss);
        let validation = Validation {
            step: state.step,
            train_loss: state.loss_sum / state.loss_count as f64,
            loss: self.loss.total(&sums),
            head_losses: sums.heads.iter().map(|sum| sum / sums.weight).collect(),
            learning_rate,
        };
        (state.loss_sum, state.loss_count) = (0.0, 0);
        state.history.push(validation.clone());
        let better = state.best.as_ref().is_none_or(|best| validation.loss < best.loss);
        if better {
            state.without_best = 0;
            state.best = Some(Best {
                loss: validation.loss,
                step: state.step,
                parameters: state.parameters.clone(),
            });
        } else {
            state.without_best += 1;
        }
        validation
    }

    fn progress(
        &self,
        state: &State,
        first_step: u64,
        loss: f64,
        learning_rate: f64,
        pool: u64,
    ) -> Progress {
        let elapsed = self.started.elapsed().as_secs_f64();
        let per_step = elapsed / (state.step - first_step) as f64;
        Progress {
            step: state.step,
            steps: self.config.steps,
            loss,
            validation_loss: state.history.last().map(|validation| validation.loss),
            learning_rate,
            steps_per_second: per_step.recip(),
            remaining: Duration::from_secs_f64(per_step * (self.config.steps - state.step) as f64),
            pool,
        }
    }

    fn fitted(&mut self, mut state: State, stalled: Duration, stop: Option<Stop>) -> Fitted {
        let stop = stop.or(state.stop).expect("a finished state says why it ended");
        let steps = state.step;
        let best = state.best.take().unwrap_or_else(|| {
            // Stopped before the first validation.
            let sums = self.model.evaluate(&state.parameters, self.validation, &self.loss);
            Best { loss: self.loss.total(&sums), step: steps, parameters: state.parameters }
        });
        Fitted {
            network: self.model.network(&best.parameters),
            best_loss: best.loss,
            best_step: best.step,
            steps,
            history: state.history,
            simulations_used: self.config.pool_at(steps.saturating_sub(1)),
            stop,
            elapsed: self.started.elapsed(),
            stalled,
        }
    }
}
