//! Simulation `i` of a study: a pure function of (simulator part of the study, seed, `i`).
//!
//! Draws of one simulation, in this order, from one [`Generator`]: the mechanism, its parameters, what the mechanism draws. For
//! an epidemic that is the latent path, the counts, the missing days, and only the days that are needed are simulated.
//! A change of any of this is a new [`SIMULATOR_VERSION`].
//!
//! ```text
//! compartments (sir, seir, seair) + observation -> a mechanism      sis, gaussian_linear, two_moons, ... are mechanisms
//! prior -> theta -> Mechanism::simulate -> x, derived targets       Mechanism::likelihood -> exact likelihood and score
//! ```

mod compartments;
mod gaussian_field;
mod gaussian_linear;
mod kind;
mod mechanism;
mod observation;
mod random_field;
pub(crate) mod sampling;
mod seair;
mod seir;
mod sir;
mod sis;
mod student_t_field;
mod two_moons;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

pub use compartments::{Compartments, Path, Setting};
pub use gaussian_field::GaussianField;
pub use gaussian_linear::GaussianLinear;
pub use kind::{MechanismKind, Structure};
pub use mechanism::{Draw, Latent, Likelihood, LikelihoodAt, Mechanism, ParameterSpec};
pub use observation::{
    HEAD_START, MISSING_FRACTION, OVERDISPERSION, REPORTING_DELAY_MEAN, REPORTING_FRACTION,
    WEEKEND_FACTOR, WEEKEND_PHASE, delay_kernel,
};
pub use sampling::{Chance, GammaFactor, Generator};
pub use seair::Seair;
pub use seir::Seir;
pub use sir::Sir;
pub use sis::Sis;
pub use student_t_field::StudentTField;
pub use two_moons::TwoMoons;

use crate::corpus::{Corpus, Parameter, Schema, Target};
use crate::study::{Head, Prior, Simulation, Study};

/// Changes whenever the same (study, seed, index) would give another simulation.
pub const SIMULATOR_VERSION: u32 = 1;

/// Name of the group of forecast targets.
pub const CASES: &str = "cases";

/// Name of the basic reproduction number among the targets.
pub const R0: &str = "R0";

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

    /// What its simulations are for.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "training",
            Split::Validation => "validation",
            Split::Calibration => "calibration",
            Split::Test => "test",
        }
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
    /// The input window, NaN where missing.
    pub x: Vec<f32>,
    /// Observed counts of the forecast days; empty without a forecast.
    pub forecast: Vec<f32>,
    /// Targets in the schema's order.
    pub target: Vec<f32>,
    /// The latent days of an epidemic.
    pub latent: Latent,
}

/// A study's simulator, ready to run.
#[derive(Debug, Clone)]
pub struct Simulator {
    candidates: Vec<Candidate>,
    targets: Vec<TargetSource>,
    schema: Arc<Schema>,
}

#[derive(Debug, Clone)]
struct Candidate {
    mechanism: Arc<dyn Mechanism>,
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
    Derived(usize),
    Theta(usize),
}

/// Buffers of one thread.
#[derive(Debug, Default)]
struct Workspace {
    theta: Vec<f64>,
    local: Vec<f64>,
    draw: Draw,
}

impl Simulator {
    /// The simulator of a study's simulation part, with the targets that its heads ask for.
    ///
    /// Without a `quantiles` head the targets are what the mechanisms derive (R0, the forecast), or all of theta where they
    /// derive nothing.
    pub fn new(simulation: &Simulation, heads: &[Head]) -> Self {
        let mut theta: Vec<Parameter> = Vec::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        for prior in &simulation.mechanisms {
            let mechanism = prior.mechanism(simulation.epidemic.as_ref());
            let parameters = prior.kind.parameters().iter().zip(&prior.priors);
            let parameters =
                parameters.map(|(spec, prior)| Slot::new(*spec, *prior, &mut theta)).collect();
            candidates.push(Candidate { mechanism, parameters });
        }
        // Nuisances of the observation come after the parameters of every structure.
        if let Some(epidemic) = &simulation.epidemic {
            for (spec, prior) in observation::parameters(&epidemic.observation) {
                for candidate in &mut candidates {
                    candidate.parameters.push(Slot::new(spec, prior, &mut theta));
                }
            }
        }
        let (sources, targets) = targets(&candidates, &theta, heads);
        let schema = Arc::new(Schema {
            x_names: candidates[0].mechanism.x_names(),
            theta,
            targets,
            mechanisms: simulation.mechanisms.iter().map(|m| m.name.clone()).collect(),
        });
        Simulator { candidates, targets: sources, schema }
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
                        x[row * d_x..][..d_x].copy_from_slice(&workspace.draw.x);
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
        let Workspace { theta, draw: Draw { x, derived, latent }, .. } = workspace;
        let named = self.candidates[mechanism].mechanism.derived().iter().zip(derived);
        let forecast = named.filter(|(target, _)| target.group == CASES);
        Replay {
            index,
            mechanism,
            theta,
            x,
            forecast: forecast.map(|(_, value)| value).collect(),
            target,
            latent,
        }
    }

    /// Whether every mechanism has an exact likelihood, hence every simulation a score.
    pub fn has_scores(&self) -> bool {
        self.candidates.iter().all(|candidate| candidate.mechanism.likelihood().is_some())
    }

    /// Adds the exact score to each simulation of a corpus: the gradient of `log p(x | theta)` at the corpus's own x and
    /// theta, NaN for a parameter that the mechanism lacks.
    ///
    /// # Panics
    /// When some mechanism has no likelihood, or the corpus is not of this simulator's schema.
    pub fn add_scores(&self, corpus: &mut Corpus) {
        assert_eq!(self.schema, corpus.schema, "a corpus of another simulator");
        let d_theta = self.schema.d_theta();
        let mut scores = vec![f32::NAN; corpus.len() * d_theta];
        scores.par_chunks_mut(d_theta).enumerate().for_each(|(row, scores)| {
            let mechanism = usize::from(corpus.mechanism[row]);
            let at = self.likelihood_at(mechanism, corpus.theta_row(row));
            let slots = &self.candidates[mechanism].parameters;
            let mut score = vec![0.0; slots.len()];
            at.expect("the caller has asked").score(corpus.x_row(row), &mut score);
            for (slot, score) in slots.iter().zip(score) {
                scores[slot.at] = score as f32;
            }
        });
        corpus.score = Some(scores);
    }

    /// Logarithm of the exact `p(x | theta)` of a mechanism, where there is one.
    pub fn log_likelihood(&self, mechanism: usize, theta: &[f32], x: &[f32]) -> Option<f64> {
        Some(self.likelihood_at(mechanism, theta)?.log_likelihood(x))
    }

    fn likelihood_at(&self, mechanism: usize, theta: &[f32]) -> Option<Box<dyn LikelihoodAt + '_>> {
        let candidate = &self.candidates[mechanism];
        let local: Vec<f64> =
            candidate.parameters.iter().map(|slot| f64::from(theta[slot.at])).collect();
        Some(candidate.mechanism.likelihood()?.at(&local))
    }

    /// Draws of the prior alone: the thetas of these simulations, `[indices, d_theta]`.
    pub fn thetas(&self, seed: u64, indices: Range<u64>) -> Vec<f32> {
        let mut workspace = Workspace::default();
        let draw = |index: u64| {
            self.draw_theta(&mut Generator::new(seed, index), &mut workspace);
            workspace.theta.iter().map(|value| *value as f32).collect::<Vec<f32>>()
        };
        indices.flat_map(draw).collect()
    }

    fn run(&self, seed: u64, index: u64, workspace: &mut Workspace) -> usize {
        let generator = &mut Generator::new(seed, index);
        let chosen = self.draw_theta(generator, workspace);
        let Workspace { local, draw, .. } = workspace;
        draw.clear();
        self.candidates[chosen].mechanism.simulate(local, generator, draw);
        chosen
    }

    /// A mechanism and its parameters.
    fn draw_theta(&self, generator: &mut Generator, workspace: &mut Workspace) -> usize {
        let Workspace { theta, local, .. } = workspace;
        theta.clear();
        theta.resize(self.schema.d_theta(), f64::NAN);
        local.clear();
        let chosen = generator.integer(0, self.candidates.len() as u64 - 1) as usize;
        for slot in &self.candidates[chosen].parameters {
            theta[slot.at] = slot.sample(generator);
            local.push(theta[slot.at]);
        }
        chosen
    }

    fn write_targets(&self, workspace: &Workspace, target: &mut [f32]) {
        for (out, source) in target.iter_mut().zip(&self.targets) {
            *out = match *source {
                TargetSource::Derived(at) => workspace.draw.derived[at],
                TargetSource::Theta(at) => workspace.theta[at] as f32,
            };
        }
    }
}

impl Slot {
    /// Finds or makes the parameter's place in theta, whose bounds widen to this prior's.
    fn new(spec: ParameterSpec, prior: Prior, theta: &mut Vec<Parameter>) -> Slot {
        let (lower, upper) = prior.bounds();
        let bound = |value: f64| value.is_finite().then_some(value as f32);
        let (lower, upper) = (bound(lower), bound(upper));
        if let Some(at) = theta.iter().position(|parameter| parameter.name == spec.name) {
            let known = &mut theta[at];
            known.lower = known.lower.zip(lower).map(|(a, b)| a.min(b));
            known.upper = known.upper.zip(upper).map(|(a, b)| a.max(b));
            return Slot { spec, prior, at };
        }
        theta.push(Parameter {
            name: spec.name.to_owned(),
            unit: spec.unit.to_owned(),
            lower,
            upper,
            integer: spec.integer,
        });
        Slot { spec, prior, at: theta.len() - 1 }
    }

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
            Prior::Normal(mean, sd) => {
                let mut z = [0.0];
                generator.normals(&mut z);
                mean + sd * z[0]
            }
        }
    }
}

/// The targets that the heads ask for, in their order, each once.
fn targets(
    candidates: &[Candidate],
    theta: &[Parameter],
    heads: &[Head],
) -> (Vec<TargetSource>, Vec<Target>) {
    let derived = derived(candidates);
    let mut wanted: Vec<&str> = Vec::new();
    for head in heads {
        if let Head::Quantiles { targets, .. } = head {
            wanted.extend(targets.iter().map(String::as_str));
        }
    }
    if wanted.is_empty() {
        wanted.extend(derived.iter().map(|target| target.group.as_str()));
    }
    if wanted.is_empty() {
        wanted.extend(theta.iter().map(|parameter| parameter.name.as_str()));
    }
    let mut sources = Vec::new();
    let mut targets: Vec<Target> = Vec::new();
    for name in wanted {
        if targets.iter().any(|target| target.group == name) {
            continue;
        }
        for (at, target) in derived.iter().enumerate().filter(|(_, t)| t.group == name) {
            targets.push(target.clone());
            sources.push(TargetSource::Derived(at));
        }
        if let Some(at) = theta.iter().position(|parameter| parameter.name == name) {
            let Parameter { lower, upper, integer, .. } = theta[at];
            let (name, group) = (name.to_owned(), name.to_owned());
            targets.push(Target { name, group, lower, upper, integer });
            sources.push(TargetSource::Theta(at));
        }
    }
    (sources, targets)
}

/// What the mechanisms derive, with bounds that hold for each of them; a checked study makes them agree in everything else.
fn derived(candidates: &[Candidate]) -> Vec<Target> {
    let mut widest = candidates[0].mechanism.derived().to_vec();
    for candidate in &candidates[1..] {
        for (known, other) in widest.iter_mut().zip(candidate.mechanism.derived()) {
            known.lower = known.lower.zip(other.lower).map(|(a, b)| a.min(b));
            known.upper = known.upper.zip(other.upper).map(|(a, b)| a.max(b));
        }
    }
    widest
}

/// Simulation `index` of a study, with everything that led to it; `None` for a study without mechanisms.
pub fn replay(study: &Study, seed: u64, index: u64) -> Option<Replay> {
    Some(study.simulator()?.replay(seed, index))
}

#[cfg(test)]
mod tests;
