//! The loop: draw, differentiate, update; now and then validate and save.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::checkpoint::{self, Best, State};
use super::company::Seat;
use super::examples::{Pool, Span, Widths};
use super::loss::{Loss, LossSums};
use super::model::Model;
use super::optimizer::{AdamW, Update};
use super::rounding::Rounding;
use super::{
    Backend, ExampleSource, Examples, FitConfig, Fitted, HeadSpec, Observer, Progress, Stop,
    TrainingError, Validation, random, start,
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
    fit_seated(config, train, validation, observer, None)
}

/// [`fit`] from a trained network on, with the activations that its integers have, and with the judge's losses. It computes on the CPU.
///
/// # Errors
///
/// Those of [`fit`]; a network that the judge refuses has a loss that is not finite.
///
/// # Panics
///
/// With the panic of `train`, if it panics.
pub fn fine_tune(
    config: &FitConfig,
    rounding: Rounding<'_>,
    train: impl ExampleSource + 'static,
    validation: &Examples,
    observer: &mut dyn Observer,
) -> Result<Fitted, TrainingError> {
    let config = FitConfig { backend: Backend::Flex, linear_start: false, ..config.clone() };
    one_thread()?.install(|| {
        let mut fit = Fit::prepare(&config, &train, validation)?;
        fit.model.round_activations(rounding.grids.clone());
        let grids = rounding.grids.iter().flat_map(|grid| [grid.unit, grid.low, grid.high]);
        let start = fit.model.parameters(rounding.start);
        fit.run = checkpoint::continued(fit.run, start.into_iter().chain(grids));
        fit.rounding = Some(rounding);
        fit.run(train, observer)
    })
}

/// [`fit`], with gradients computed at a seat.
pub(super) fn fit_seated(
    config: &FitConfig,
    train: impl ExampleSource + 'static,
    validation: &Examples,
    observer: &mut dyn Observer,
    seat: Option<Seat>,
) -> Result<Fitted, TrainingError> {
    one_thread()?.install(|| {
        let mut fit = Fit::prepare(config, &train, validation)?;
        if let Some(seat) = seat {
            fit.model.sit(seat);
        }
        fit.run(train, observer)
    })
}

/// burn takes its threads from the pool that calls it. A pool of its own keeps a step from queueing behind the simulations, and one
/// thread is what a compact network keeps busy.
fn one_thread() -> Result<rayon::ThreadPool, TrainingError> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(1);
    Ok(threads.thread_name(|i| format!("train-{i}")).build()?)
}

/// Simulations on which a start is regressed.
const START_EXAMPLES: u64 = 8_192;

struct Fit<'a> {
    config: &'a FitConfig,
    validation: &'a Examples,
    widths: Widths,
    model: Model,
    loss: Loss,
    /// Identifies the run in checkpoints.
    run: u64,
    started: Instant,
    /// Of a fine-tuning.
    rounding: Option<Rounding<'a>>,
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
            rounding: None,
        })
    }

    fn run(
        mut self,
        train: impl ExampleSource + 'static,
        observer: &mut dyn Observer,
    ) -> Result<Fitted, TrainingError> {
        let config = self.config;
        let resumed = self.resumed()?;
        if let Some(state) = &resumed {
            self.model.restore(&state.averages);
        }
        if let Some(state) = resumed.as_ref().filter(|state| state.stop.is_some()) {
            return self.fitted(state.clone(), Duration::ZERO, None);
        }
        let first_step = resumed.as_ref().map_or(0, |state| state.step);
        let mut pool =
            Pool::start(train, self.span(first_step), config.simulation_threads, self.widths)?;
        let mut state = match resumed {
            Some(state) => state,
            None => self.start(&mut pool)?,
        };
        // A start that is a fit of its own may be the best there is.
        if (config.linear_start || self.rounding.is_some()) && state.step == 0 {
            let start = self.validate(&mut state, 0.0)?;
            if !start.loss.is_finite() {
                let (what, value) = ("the held-out loss", start.loss);
                return Err(TrainingError::NonFinite { what, value, step: 0, learning_rate: 0.0 });
            }
            if config.ends_at == Some(0) {
                state.stop = Some(Stop::Completed);
                return self.fitted(state, pool.stalled, None);
            }
        }
        let mut adam = AdamW {
            first_moment: std::mem::take(&mut state.first_moment),
            second_moment: std::mem::take(&mut state.second_moment),
        };
        let parts = self.model.parts();
        let mut gradient = vec![0.0; self.model.len()];
        let mut indices = vec![0; config.batch];
        let mut batch = Examples::default();
        let stop = loop {
            let step = state.step;
            let places = config.pool_at(step);
            let available = places.end - places.start;
            pool.move_to(places.clone())?;
            let mut draw = random::Stream::new(config.seed, random::Purpose::Batch, step);
            indices.fill_with(|| places.start + draw.below(available));
            pool.gather(&indices, &mut batch);

            let learning_rate = config.learning_rate_at(step);
            let finite = |what, value: f64| {
                if value.is_finite() {
                    return Ok(value);
                }
                Err(TrainingError::NonFinite { what, value, step, learning_rate })
            };
            let (parameters, by) = (&state.parameters, &mut gradient);
            let sums = self.model.gradient(parameters, &batch, &self.loss, step, by)?;
            let loss = finite("the loss", self.loss.total(&sums))?;
            // What burn computes, it does not round.
            if step == first_step && self.rounding.is_none() {
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
            average(&mut state.average, &state.parameters, step, config.averaging);
            state.step += 1;
            state.loss_sum += loss;
            state.loss_count += 1;

            let progress = self.progress(&state, first_step, loss, learning_rate, available);
            let validated = state.step % config.validation_every == 0
                || state.step == config.steps
                || Some(state.step) == config.ends_at;
            if validated {
                let latest = self.validate(&mut state, learning_rate)?;
                finite("the held-out loss", latest.loss)?;
                observer.validation(&progress, &latest, state.without_best == 0);
            }
            if state.step == config.steps || Some(state.step) == config.ends_at {
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
        self.fitted(state, pool.stalled, Some(stop))
    }

    /// What a training from this step on draws from.
    fn span(&self, step: u64) -> Span {
        let config = self.config;
        let end =
            if config.slides() { config.pool_at(config.steps - 1).end } else { config.simulations };
        Span { first: config.pool_at(step).start, end, period: config.period() }
    }

    /// The state of the checkpoint, if there is one to resume.
    fn resumed(&self) -> Result<Option<State>, TrainingError> {
        match &self.config.checkpoint {
            Some(path) if self.config.resume => State::load(path, self.run, self.model.len()),
            _ => Ok(None),
        }
    }

    /// A state before the first step.
    fn start(&self, pool: &mut Pool) -> Result<State, TrainingError> {
        let config = self.config;
        let mut parameters = match &self.rounding {
            Some(rounding) => self.model.parameters(rounding.start),
            None => self.model.initial(config.seed, &config.heads),
        };
        if config.linear_start {
            let count = config.simulations.min(START_EXAMPLES);
            pool.move_to(0..count)?;
            let mut examples = Examples::default();
            pool.gather(&(0..count).collect::<Vec<_>>(), &mut examples);
            start::linear_start(&mut parameters, self.model.layers(), &config.heads, &examples);
        }
        let AdamW { first_moment, second_moment } = AdamW::new(self.model.len());
        let average = if config.averaging > 0 { parameters.clone() } else { Vec::new() };
        Ok(State {
            step: 0,
            parameters,
            average,
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

    fn validate(
        &mut self,
        state: &mut State,
        learning_rate: f64,
    ) -> Result<Validation, TrainingError> {
        let parameters = if state.average.is_empty() { &state.parameters } else { &state.average };
        let parameters = parameters.clone();
        let sums = self.held_out(&parameters)?;
        let validation = Validation {
            step: state.step,
            train_loss: state.loss_sum / state.loss_count.max(1) as f64,
            loss: self.judged(&sums),
            head_losses: sums.heads.iter().map(|sum| sum / sums.weight).collect(),
            learning_rate,
        };
        (state.loss_sum, state.loss_count) = (0.0, 0);
        state.history.push(validation.clone());
        let better = match &state.best {
            Some(best) if self.config.ends_at.is_none() => validation.loss < best.loss,
            _ => true,
        };
        if better {
            state.without_best = 0;
            state.best = Some(Best { loss: validation.loss, step: state.step, parameters });
        } else {
            state.without_best += 1;
        }
        Ok(validation)
    }

    /// Losses on the held-out examples: of a fine-tuning those of its integers.
    fn held_out(&mut self, parameters: &[f32]) -> Result<LossSums, TrainingError> {
        let Some(rounding) = &mut self.rounding else {
            return self.model.evaluate(parameters, self.validation, &self.loss);
        };
        let heads = (rounding.judge)(&self.model.network(parameters));
        let refused = || vec![f64::INFINITY; self.config.heads.len()];
        Ok(LossSums { heads: heads.unwrap_or_else(refused), weight: 1.0 })
    }

    /// What decides which weights are best.
    fn judged(&self, sums: &LossSums) -> f64 {
        match self.config.judged_by {
            Some(head) => sums.heads[head] / sums.weight.max(f64::MIN_POSITIVE),
            None => self.loss.total(sums),
        }
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
            seed: None,
        }
    }

    fn fitted(
        &mut self,
        mut state: State,
        stalled: Duration,
        stop: Option<Stop>,
    ) -> Result<Fitted, TrainingError> {
        let stop = stop.or(state.stop).expect("a finished state says why it ended");
        let steps = state.step;
        let best = match state.best.take() {
            Some(best) => best,
            // Stopped before the first validation.
            None => {
                let sums = self.model.evaluate(&state.parameters, self.validation, &self.loss)?;
                Best { loss: self.judged(&sums), step: steps, parameters: state.parameters }
            }
        };
        Ok(Fitted {
            network: self.model.network(&best.parameters),
            best_loss: best.loss,
            best_step: best.step,
            steps,
            history: state.history,
            simulations_used: (self.config.pool_at(steps.saturating_sub(1)).end)
                .min(self.config.period()),
            stop,
            elapsed: self.started.elapsed(),
            stalled,
        })
    }
}

/// Moves a running average, if there is one, by a share of `1 / horizon`; by more at first, so that the start is forgotten.
///
/// The share of step `t` is at least `9 / (10 + t)`: the average lags a tenth of the steps made.
fn average(average: &mut [f32], parameters: &[f32], step: u64, horizon: u64) {
    let share = (1.0 / horizon.max(1) as f64).max(9.0 / (10.0 + step as f64)) as f32;
    for (average, parameter) in average.iter_mut().zip(parameters) {
        *average += share * (parameter - *average);
    }
}
