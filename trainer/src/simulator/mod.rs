//! Simulation `i` of a study: a pure function of (simulator part of the study, seed, `i`).
//!
//! Draws of one simulation, in this order, from one [`Generator`]: the mechanism, its parameters, the effects of the
//! observation model, the latent path, the counts, the missing days. Only the days that are needed are simulated.
//! A change of any of this is a new [`SIMULATOR_VERSION`].

mod mechanism;
mod observation;
pub(crate) mod sampling;
mod seair;
mod seir;
mod sir;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

pub use mechanism::{Mechanism, ParameterSpec, Path, Setting};
pub use observation::{
    HEAD_START, MISSING_FRACTION, OVERDISPERSION, REPORTING_DELAY_MEAN, REPORTING_FRACTION,
    WEEKEND_FACTOR, WEEKEND_PHASE, delay_kernel,
};
pub use sampling::{Chance, GammaFactor, Generator};
pub use seair::Seair;
pub use seir::Seir;
pub use sir::Sir;

use crate::corpus::{Corpus, Parameter, Schema, Target};
use crate::study::{Head, MechanismPrior, Prior, Series, Simulation, Study};
use observation::Effects;

/// Changes whenever the same (study, seed, index) would give another simulation.
pub const SIMULATOR_VERSION: u32 = 1;

/// Name of the group of forecast targets.
pub const CASES: &str = "cases";

/// Name of the basic reproduction number among the targets.
pub const R0: &str = "R0";

/// The mechanisms that a study can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum MechanismKind {
    /// [`Sir`]
    #[serde(rename = "SIR")]
    Sir,
    /// [`Seir`]
    #[serde(rename = "SEIR")]
    Seir,
    /// [`Seair`]
    #[serde(rename = "SEAIR")]
    Seair,
}

impl MechanismKind {
    /// All of them.
    pub const ALL: [MechanismKind; 3] =
        [MechanismKind::Sir, MechanismKind::Seir, MechanismKind::Seair];

    /// The structure behind the name.
    pub fn mechanism(self) -> &'static dyn Mechanism {
        match self {
            MechanismKind::Sir => &Sir,
            MechanismKind::Seir => &Seir,
            MechanismKind::Seair => &Seair,
        }
    }
}

/// Parts of the index space that never overlap, so that an index alone says what a simulation was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Fits the weights.
    Train,
    /// Stops training early and selects.
    Validation,
    /// Range estimation and posterior calibration.
    Calibration,
    /// Reported metrics; nothing else.
    Test,
}

impl Split {
    const BITS: u32 = 40;

    /// All of them, in the order of their indices.
    pub const ALL: [Split; 4] = [Split::Train, Split::Validation, Split::Calibration, Split::Test];

    /// Index of the split's first simulation.
    pub fn base(self) -> u64 {
        (self as u64) << Self::BITS
    }

    /// The first `count` simulations of the split.
    ///
    /// # Panics
    /// When `count` exceeds `2^40`.
    pub fn first(self, count: u64) -> Range<u64> {
        assert!(count <= 1 << Self::BITS, "a split has 2^40 simulations, not {count}");
        self.base()..self.base() + count
    }

    /// The split to which an index belongs.
    pub fn of(index: u64) -> Option<Split> {
        Self::ALL.get(usize::try_from(index >> Self::BITS).ok()?).copied()
    }
}

/// Everything about one simulation, regenerated.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// Its index.
    pub index: u64,
    /// Position of its mechanism in the schema.
    pub mechanism: usize,
    /// Parameters in the schema's order; NaN where the mechanism has no such parameter.
    pub theta: Vec<f64>,
    /// Basic reproduction number.
    pub basic_reproduction_number: f64,
    /// Names of the compartments of `path.states`.
    pub states: &'static [&'static str],
    /// The latent days from day 0.
    pub path: Path,
    /// Day of the path on which the observed window starts.
    pub first_observed_day: usize,
    /// Expected counts of window and forecast, given the path.
    pub expected: Vec<f64>,
    /// The input window, NaN where missing.
    pub x: Vec<f32>,
    /// Observed counts of the forecast days.
    pub forecast: Vec<f32>,
    /// Targets in the schema's order.
    pub target: Vec<f32>,
}

/// A study's simulator, ready to run.
#[derive(Debug, Clone)]
pub struct Simulator {
    simulation: Simulation,
    mechanisms: Vec<Candidate>,
    effects: Vec<Slot>,
    targets: Vec<TargetSource>,
    schema: Arc<Schema>,
}

#[derive(Debug, Clone)]
struct Candidate {
    mechanism: &'static dyn Mechanism,
    parameters: Vec<Slot>,
}

/// A parameter with its prior and its place in theta.
#[derive(Debug, Clone, Copy)]
struct Slot {
    spec: ParameterSpec,
    prior: Prior,
    at: usize,
}

#[derive(Debug, Clone, Copy)]
enum TargetSource {
    BasicReproductionNumber,
    ForecastDay(usize),
    Theta(usize),
}

/// Buffers of one thread.
#[derive(Debug, Default)]
struct Workspace {
    theta: Vec<f64>,
    local: Vec<f64>,
    path: Path,
    kernel: Vec<f64>,
    expected: Vec<f64>,
    observed: Vec<f32>,
    basic_reproduction_number: f64,
    first_observed_day: usize,
}

impl Simulator {
    /// The simulator of a study's simulation part, with the targets that its heads ask for.
    ///
    /// Without a `quantiles` head the targets are R0 and, if there is a forecast, the cases.
    pub fn new(simulation: &Simulation, heads: &[Head]) -> Self {
        let mut theta: Vec<Parameter> = Vec::new();
        let mut place = |spec: ParameterSpec, prior: Prior| {
            let (lower, upper) = prior.bounds();
            let (lower, upper) = (lower as f32, upper as f32);
            let at = theta.iter().position(|p| p.name == spec.name).unwrap_or_else(|| {
                theta.push(Parameter {
                    name: spec.name.to_owned(),
                    unit: spec.unit.to_owned(),
                    lower: Some(lower),
                    upper: Some(upper),
                    integer: spec.integer,
                });
                theta.len() - 1
            });
            theta[at].lower = theta[at].lower.map(|old| old.min(lower));
            theta[at].upper = theta[at].upper.map(|old| old.max(upper));
            Slot { spec, prior, at }
        };
        let mechanisms: Vec<Candidate> = (simulation.mechanisms.iter())
            .map(|MechanismPrior { kind, priors, .. }| {
                let mechanism = kind.mechanism();
                let parameters = mechanism
                    .parameters()
                    .iter()
                    .zip(priors)
                    .map(|(spec, prior)| place(*spec, *prior))
                    .collect();
                Candidate { mechanism, parameters }
            })
            .collect();
        let effects: Vec<Slot> = (observation::parameters(&simulation.observation).into_iter())
            .map(|(spec, prior)| place(spec, prior))
            .collect();

        let (sources, targets) = targets(simulation, &mechanisms, &theta, heads);
        let schema = Arc::new(Schema {
            x_names: (1..=simulation.steps).map(|day| format!("day_{day}")).collect(),
            theta,
            targets,
            mechanisms: simulation.mechanisms.iter().map(|m| m.name.clone()).collect(),
        });
        Simulator { simulation: simulation.clone(), mechanisms, effects, targets: sources, schema }
    }

    /// Names, units and bounds of what it produces.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The simulations of an index range, in parallel on the current rayon pool; the same whatever the pool.
    pub fn simulate(&self, seed: u64, indices: Range<u64>) -> Corpus {
        let n = usize::try_from(indices.end.saturating_sub(indices.start))
            .expect("a range that fits in memory");
        let (d_x, d_theta, d_target) =
            (self.schema.d_x(), self.schema.d_theta(), self.schema.d_target());
        let mut x = vec![0.0; n * d_x];
        let mut theta = vec![0.0; n * d_theta];
        let mut target = vec![0.0; n * d_target];
        let mut mechanism = vec![0; n];
        let first = indices.start;
        // Long enough to amortize a task, short enough to keep every thread busy to the end. A study always has a theta
        // (a rate at least) and an x; targets may be none, and an empty slice has no chunks.
        const CHUNK: usize = 64;
        let targets: Vec<&mut [f32]> = if d_target == 0 {
            (0..n.div_ceil(CHUNK)).map(|_| &mut [][..]).collect()
        } else {
            target.chunks_mut(CHUNK * d_target).collect()
        };
        (
            x.par_chunks_mut(CHUNK * d_x),
            theta.par_chunks_mut(CHUNK * d_theta),
            mechanism.par_chunks_mut(CHUNK),
            targets,
        )
            .into_par_iter()
            .enumerate()
            .for_each_init(
                Workspace::default,
                |workspace, (chunk, (x, theta, mechanism, target))| {
                    for (row, chosen) in mechanism.iter_mut().enumerate() {
                        let index = first + (chunk * CHUNK + row) as u64;
                        *chosen = self.run(seed, index, workspace) as u16;
                        x[row * d_x..][..d_x].copy_from_slice(&workspace.observed[..d_x]);
                        for (out, &value) in
                            theta[row * d_theta..][..d_theta].iter_mut().zip(&workspace.theta)
                        {
                            *out = value as f32;
                        }
                        self.write_targets(workspace, &mut target[row * d_target..][..d_target]);
                    }
                },
            );
        Corpus {
            schema: Arc::clone(&self.schema),
            x,
            theta,
            target,
            mechanism,
            index: indices.collect(),
            weight: None,
            score: None,
        }
    }

    /// One simulation with everything that led to it.
    pub fn replay(&self, seed: u64, index: u64) -> Replay {
        let mut workspace = Workspace::default();
        let mechanism = self.run(seed, index, &mut workspace);
        let mut target = vec![0.0; self.schema.d_target()];
        self.write_targets(&workspace, &mut target);
        let forecast = workspace.observed.split_off(self.simulation.steps);
        Replay {
            index,
            mechanism,
            theta: workspace.theta,
            basic_reproduction_number: workspace.basic_reproduction_number,
            states: self.mechanisms[mechanism].mechanism.states(),
            path: workspace.path,
            first_observed_day: workspace.first_observed_day,
            expected: workspace.expected,
            x: workspace.observed,
            forecast,
            target,
        }
    }

    fn run(&self, seed: u64, index: u64, workspace: &mut Workspace) -> usize {
        let generator = &mut Generator::new(seed, index);
        let theta = &mut workspace.theta;
        theta.clear();
        theta.resize(self.schema.d_theta(), f64::NAN);

        let chosen = generator.integer(0, self.mechanisms.len() as u64 - 1) as usize;
        let candidate = &self.mechanisms[chosen];
        workspace.local.clear();
        for slot in &candidate.parameters {
            theta[slot.at] = slot.sample(generator);
            workspace.local.push(theta[slot.at]);
        }
        for slot in &self.effects {
            theta[slot.at] = slot.sample(generator);
        }
        let effects = Effects::new(&self.simulation.observation, |name| {
            self.effects.iter().find(|slot| slot.spec.name == name).map(|slot| theta[slot.at])
        });

        let window = self.simulation.steps + self.simulation.forecast_steps;
        let setting = Setting {
            population: self.simulation.population,
            days: effects.head_start + window,
            steps_per_day: self.simulation.steps_per_day,
        };
        workspace.path.clear();
        candidate.mechanism.simulate(&workspace.local, setting, generator, &mut workspace.path);

        let series = self.simulation.observation.series;
        workspace.expected.resize(window, 0.0);
        workspace.observed.resize(window, 0.0);
        let latent = observation::latent_series(series, &workspace.path);
        effects.expect(latent, &mut workspace.kernel, &mut workspace.expected);
        let ceiling = (series == Series::Prevalence).then_some(self.simulation.population);
        effects.observe(
            &workspace.expected,
            ceiling,
            self.simulation.steps,
            generator,
            &mut workspace.observed,
        );
        workspace.basic_reproduction_number =
            candidate.mechanism.basic_reproduction_number(&workspace.local);
        workspace.first_observed_day = effects.head_start;
        chosen
    }

    fn write_targets(&self, workspace: &Workspace, target: &mut [f32]) {
        for (out, source) in target.iter_mut().zip(&self.targets) {
            *out = match *source {
                TargetSource::BasicReproductionNumber => workspace.basic_reproduction_number as f32,
                TargetSource::ForecastDay(day) => workspace.observed[self.simulation.steps + day],
                TargetSource::Theta(at) => workspace.theta[at] as f32,
            };
        }
    }
}

impl Slot {
    fn sample(&self, generator: &mut Generator) -> f64 {
        match self.prior {
            Prior::Fixed(value) => value,
            Prior::Uniform(lower, upper) if self.spec.integer => {
                generator.integer(lower as u64, upper as u64) as f64
            }
            Prior::Uniform(lower, upper) => lower + (upper - lower) * generator.uniform(),
            Prior::LogUniform(lower, upper) => {
                let (lower_log, upper_log) = (libm::log(lower), libm::log(upper));
                let value = libm::exp(lower_log + (upper_log - lower_log) * generator.uniform());
                let value = if self.spec.integer { value.round() } else { value };
                // Rounding of the logarithm must not step out of the prior.
                value.clamp(lower, upper)
            }
        }
    }
}

/// The targets that the heads ask for, in their order, each once.
fn targets(
    simulation: &Simulation,
    mechanisms: &[Candidate],
    theta: &[Parameter],
    heads: &[Head],
) -> (Vec<TargetSource>, Vec<Target>) {
    let mut wanted: Vec<&str> = Vec::new();
    for head in heads {
        if let Head::Quantiles { targets, .. } = head {
            wanted.extend(targets.iter().map(String::as_str));
        }
    }
    if wanted.is_empty() {
        wanted.push(R0);
        if simulation.forecast_steps > 0 {
            wanted.push(CASES);
        }
    }
    let mut sources = Vec::new();
    let mut targets: Vec<Target> = Vec::new();
    for name in wanted {
        if targets.iter().any(|target| target.group == name) {
            continue;
        }
        let mut target = Target {
            name: name.to_owned(),
            group: name.to_owned(),
            lower: Some(0.0),
            upper: None,
            integer: false,
        };
        if name == R0 {
            let (lower, upper) = reproduction_bounds(mechanisms);
            (target.lower, target.upper) = (Some(lower), Some(upper));
            targets.push(target);
            sources.push(TargetSource::BasicReproductionNumber);
        } else if name == CASES {
            target.integer = true;
            if simulation.observation.series == Series::Prevalence {
                target.upper = Some(simulation.population as f32);
            }
            for day in 0..simulation.forecast_steps {
                targets.push(Target { name: format!("{CASES}+{}", day + 1), ..target.clone() });
                sources.push(TargetSource::ForecastDay(day));
            }
        } else if let Some(at) = theta.iter().position(|parameter| parameter.name == name) {
            let Parameter { lower, upper, integer, .. } = theta[at];
            targets.push(Target { lower, upper, integer, ..target });
            sources.push(TargetSource::Theta(at));
        }
    }
    (sources, targets)
}

/// Extremes of R0 over the corners of each mechanism's prior: it is monotone in each parameter of every mechanism here.
fn reproduction_bounds(mechanisms: &[Candidate]) -> (f32, f32) {
    let (mut lower, mut upper) = (f64::INFINITY, 0.0f64);
    for candidate in mechanisms {
        let n = candidate.parameters.len();
        for corner in 0..1usize << n {
            let theta: Vec<f64> = (candidate.parameters.iter().enumerate())
                .map(|(at, slot)| {
                    let (low, high) = slot.prior.bounds();
                    if corner >> at & 1 == 0 { low } else { high }
                })
                .collect();
            let value = candidate.mechanism.basic_reproduction_number(&theta);
            lower = lower.min(value);
            upper = upper.max(value);
        }
    }
    (lower as f32, upper as f32)
}

/// Simulation `index` of a study, with everything that led to it; `None` for a study without mechanisms.
pub fn replay(study: &Study, seed: u64, index: u64) -> Option<Replay> {
    Some(study.simulator()?.replay(seed, index))
}

#[cfg(test)]
mod tests;
