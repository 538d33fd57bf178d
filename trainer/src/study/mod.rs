//! The study: the user's one description of simulator, network, answers and budget, in TOML.
//!
//! A [`Study`] in hand is consistent: every rate is legal and in its unit, every target exists, every section agrees with
//! the others. What is wrong is said with line and column, before anything runs.

mod document;
mod read;

use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};
use simground_runtime::artifact::Layout;

pub use document::{Diagnostic, StudyError};

use crate::simulator::{MechanismKind, SIMULATOR_VERSION, Simulator};

/// A whole study, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Study {
    /// Its name, which the artifact carries.
    pub name: String,
    /// Seed of everything that is random, unless the caller gives another.
    pub seed: u64,
    /// What the network reads.
    pub input: Input,
    /// How to simulate; `None` when the study trains on a foreign corpus.
    pub simulation: Option<Simulation>,
    /// The trunk.
    pub network: Network,
    /// The answers, in order.
    pub heads: Vec<Head>,
    /// What the study says of the parameters of a foreign corpus.
    pub parameters: Vec<DeclaredParameter>,
    /// The simulations that the device keeps.
    pub bank: Bank,
    /// What the artifact may cost.
    pub budget: Budget,
    /// How to train.
    pub training: Training,
    /// The file, as errors name it.
    pub file: String,
    /// The text that was parsed.
    pub source: String,
}

/// How inputs are treated before the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Change of scale.
    pub transform: Transform,
    /// Whether missing values are legal inputs.
    pub missing: Missing,
}

/// Change of scale of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// Chosen from the corpus: `log1p` for counts that span decades.
    Auto,
    /// As it is.
    Identity,
    /// `log(1 + x)`.
    Log1p,
}

/// Whether missing values are legal inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A missing value is an error.
    Refuse,
    /// The network is trained to do without some values.
    Allow,
}

/// Everything that decides what simulation `i` is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulation {
    /// The candidate mechanisms, equally probable a priori.
    pub mechanisms: Vec<MechanismPrior>,
    /// What compartmental mechanisms share; `None` for mechanisms that come to their x by themselves.
    pub epidemic: Option<Epidemic>,
}

/// Around the compartments: how many people, for how long, seen how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Epidemic {
    /// Observed days.
    pub steps: usize,
    /// Days from one observation to the next; 1.
    pub period_days: u32,
    /// Days to forecast; 0 for none.
    pub forecast_steps: usize,
    /// Number of people.
    pub population: u32,
    /// Integration steps in a day.
    pub steps_per_day: u32,
    /// From the latent path to what a health office sees.
    pub observation: Observation,
}

/// A mechanism with the prior of its parameters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MechanismPrior {
    /// Its name in answers.
    pub name: String,
    /// Its structure.
    pub kind: MechanismKind,
    /// One number per setting of the kind, in the kind's order.
    pub settings: Vec<f64>,
    /// One prior per parameter of the kind, in the kind's order.
    pub priors: Vec<Prior>,
}

/// Prior of one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Prior {
    /// Between two bounds; whole numbers, both bounds included, where the parameter is a count.
    Uniform(f64, f64),
    /// Uniform in the logarithm.
    LogUniform(f64, f64),
    /// Of this mean and standard deviation, without bounds.
    Normal(f64, f64),
    /// Known.
    Fixed(f64),
}

impl Prior {
    /// Smallest and largest value; infinite for a normal prior.
    pub fn bounds(self) -> (f64, f64) {
        match self {
            Prior::Uniform(lower, upper) | Prior::LogUniform(lower, upper) => (lower, upper),
            Prior::Normal(..) => (f64::NEG_INFINITY, f64::INFINITY),
            Prior::Fixed(value) => (value, value),
        }
    }
}

/// The observation model, applied in the order of its fields. An effect that is `None` is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observation {
    /// The latent series that is observed.
    pub series: Series,
    /// Days between the first infections and the first observed day.
    pub head_start: Option<Prior>,
    /// Share of the latent series that is ever reported.
    pub reporting_fraction: Option<Prior>,
    /// Days from event to report.
    pub reporting_delay: Option<ReportingDelay>,
    /// Factor of the expected count on two days of seven, whose phase is unknown.
    pub weekend_factor: Option<Prior>,
    /// Negative binomial counts, variance `mu + a mu^2`; without it they are Poisson.
    pub overdispersion: Option<Prior>,
    /// Share of the input days without a value.
    pub missing_fraction: Option<Prior>,
}

/// The latent series that is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Series {
    /// New infections a day.
    Incidence,
    /// People infectious with symptoms at the end of a day; never more are counted than there are people.
    Prevalence,
}

/// A Poisson delay truncated to `0..=max_days` and normalized.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReportingDelay {
    /// Prior of the mean of the Poisson distribution before truncation.
    pub mean: Prior,
    /// Longest delay.
    pub max_days: usize,
}

/// The trunk of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
}

/// One answer of the network.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// Posterior over mechanisms.
    Categorical,
    /// Marginal quantiles.
    Quantiles {
        /// Names of targets, or of groups of them such as `cases`.
        targets: Vec<String>,
        /// Probability levels: strictly increasing, symmetric around 1/2.
        levels: Vec<f64>,
    },
    /// Posterior mean of theta.
    Point {
        /// Entries of theta; by default all that every mechanism has.
        parameters: Option<Vec<String>>,
    },
    /// Joint posterior of theta as a mixture of Gaussians.
    Mixture {
        /// Entries of theta; by default all that every mechanism has.
        parameters: Option<Vec<String>>,
        /// Number of components, unless it is left to the budget.
        components: Option<usize>,
    },
    /// Likelihood-to-evidence ratio at any theta.
    Ratio {
        /// Entries of theta; by default all that every mechanism has.
        parameters: Option<Vec<String>>,
        /// Widths of the hidden layers on what the trunk made of an observation, and theta.
        hidden: Vec<usize>,
    },
    /// Joint posterior of theta of any shape.
    Flow {
        /// Entries of theta; by default all that every mechanism has.
        parameters: Option<Vec<String>>,
        /// Widths of the hidden layers on what the trunk made of an observation, theta and the time.
        hidden: Vec<usize>,
    },
}

impl Head {
    /// The word of the study.
    pub fn kind(&self) -> &'static str {
        match self {
            Head::Categorical => "categorical",
            Head::Quantiles { .. } => "quantiles",
            Head::Point { .. } => "point",
            Head::Mixture { .. } => "mixture",
            Head::Ratio { .. } => "ratio",
            Head::Flow { .. } => "flow",
        }
    }
}

/// Support and unit of one parameter of a foreign corpus.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredParameter {
    /// Its name among the corpus's `theta_names`.
    pub name: String,
    /// Lower end of its support, if it has one.
    pub low: Option<f32>,
    /// Upper end of its support, if it has one.
    pub high: Option<f32>,
    /// Unit; empty when unknown.
    pub unit: String,
}

/// The simulations that the device keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bank {
    /// How many, or how many bytes they get.
    pub size: BankSize,
    /// Width of their embeddings; the largest that is tried where bytes are given.
    pub embedding: usize,
    /// How many are returned for an observation.
    pub neighbors: usize,
}

/// How large a bank is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BankSize {
    /// So many prototypes.
    Prototypes(usize),
    /// So many KiB, best spent: the width of the embedding and the number of prototypes follow.
    Kib(usize),
}

/// What the artifact may cost on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Flash in KiB.
    pub flash_kib: usize,
    /// RAM in KiB.
    pub ram_kib: usize,
    /// For which kernels the weights are laid out: what `target` names.
    pub layout: Layout,
}

/// How to train.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// Ceiling of distinct training simulations.
    pub simulations: u64,
    /// Ceiling of optimizer steps.
    pub steps: u64,
    /// Simulations in one step.
    pub batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up to the peak.
    pub warmup: u64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub gradient_clip: f64,
    /// Held-out simulations for early stopping.
    pub validation: u64,
    /// Steps between two validations.
    pub validate_every: u64,
    /// Validations without improvement before training stops.
    pub patience: u64,
    /// Held-out simulations for range estimation and posterior calibration.
    pub calibration: u64,
}

impl Study {
    /// Reads and checks a study.
    ///
    /// # Errors
    /// When the file cannot be read, or its first fault, with line and column.
    pub fn load(path: impl AsRef<Path>) -> Result<Study, StudyError> {
        let name = path.as_ref().display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Study::parse(&text, &name),
            Err(source) => Err(StudyError::Read { path: name, source }),
        }
    }

    /// Checks the text of a study; `name` is its file in messages.
    ///
    /// # Errors
    /// The first fault, with line and column.
    pub fn parse(text: &str, name: &str) -> Result<Study, StudyError> {
        read::study(text, name)
    }

    /// A complaint that points at a name in the lists of a head, or of any head (`None`); where it is in none, at the head.
    pub fn complaint(&self, head: Option<usize>, name: Option<&str>, message: &str) -> Diagnostic {
        let document = document::Document { file: &self.file, text: &self.source };
        let (message, hint) = match message.split_once("\nhint: ") {
            Some((message, hint)) => (message, Some(hint.to_owned())),
            None => (message, None),
        };
        document.diagnostic(document.place_in_heads(head, name), message, hint)
    }

    /// The simulator of this study; `None` when it is for a foreign corpus.
    pub fn simulator(&self) -> Option<Simulator> {
        Some(Simulator::new(self.simulation.as_ref()?, &self.heads))
    }

    /// SHA-256 of everything that decides what simulation `i` is under a seed, the simulator's version included.
    ///
    /// Formatting, comments, network, heads and training settings do not change it. Zeros for a study without mechanisms.
    pub fn simulator_hash(&self) -> [u8; 32] {
        self.simulator_hash_of(SIMULATOR_VERSION)
    }

    /// The same under another version of the simulator.
    pub(crate) fn simulator_hash_of(&self, version: u32) -> [u8; 32] {
        let Some(simulation) = &self.simulation else {
            return [0; 32];
        };
        let canonical =
            serde_json::to_string(simulation).expect("a simulation has only plain fields");
        Sha256::digest(format!("simground simulator {version}\n{canonical}")).into()
    }
}
