//! What a mechanism is: named parameters in units, compartments, and one stochastic path from them.

use super::sampling::Generator;

/// A parameter of a mechanism or of the observation model, with the range outside which it means nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterSpec {
    /// Its name in studies, corpora and answers.
    pub name: &'static str,
    /// Its unit, as a study must write it; `"1"` for a pure number.
    pub unit: &'static str,
    /// Smallest legal value.
    pub lower: f64,
    /// Largest legal value.
    pub upper: f64,
    /// Whether it is a count.
    pub integer: bool,
    /// One line for people.
    pub about: &'static str,
}

/// A compartmental model: structure, without prior or observation.
pub trait Mechanism: Sync + std::fmt::Debug {
    /// Its name in studies and answers.
    fn name(&self) -> &'static str;

    /// Names of the compartments, in the order of [`Path::states`].
    fn states(&self) -> &'static [&'static str];

    /// The parameters, in the order in which [`Mechanism::simulate`] takes them.
    fn parameters(&self) -> &'static [ParameterSpec];

    /// The basic reproduction number, a derived quantity.
    fn basic_reproduction_number(&self, theta: &[f64]) -> f64;

    /// Draws one path of `setting.days` days into `path`.
    ///
    /// Every flow is binomial in its source compartment, so that no compartment can be overdrawn and people are conserved.
    fn simulate(&self, theta: &[f64], setting: Setting, generator: &mut Generator, path: &mut Path);
}

/// What surrounds a mechanism: how many people, for how long, in which steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Number of people.
    pub population: u32,
    /// Number of days.
    pub days: usize,
    /// Integration steps in a day; rates are constant within a step.
    pub steps_per_day: u32,
}

/// The latent days of one simulation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Path {
    /// New infections (people leaving S) in each day.
    pub incidence: Vec<u32>,
    /// People infectious with symptoms at the end of each day.
    pub prevalence: Vec<u32>,
    /// Compartments at the end of each day, day-major: `[days, d_state]`.
    pub states: Vec<u32>,
}

impl Path {
    pub(crate) fn clear(&mut self) {
        self.incidence.clear();
        self.prevalence.clear();
        self.states.clear();
    }

    #[inline]
    pub(crate) fn push(&mut self, incidence: u32, prevalence: u32, states: &[u32]) {
        self.incidence.push(incidence);
        self.prevalence.push(prevalence);
        self.states.extend_from_slice(states);
    }

    /// Fills the days that are left once nothing can happen any more.
    pub(crate) fn extinct(&mut self, days: usize, states: &[u32]) {
        for _ in self.incidence.len()..days {
            self.push(0, 0, states);
        }
    }
}

const MAX_RATE: f64 = 100.0;

/// Transmission rate.
pub(crate) const BETA: ParameterSpec = ParameterSpec {
    name: "beta",
    unit: "1/day",
    lower: 0.0,
    upper: MAX_RATE,
    integer: false,
    about: "transmission rate: infectious contacts of one infectious person in a day",
};
/// Recovery rate.
pub(crate) const GAMMA: ParameterSpec = ParameterSpec {
    name: "gamma",
    unit: "1/day",
    lower: 1e-4,
    upper: MAX_RATE,
    integer: false,
    about: "recovery rate: the inverse of the mean infectious period",
};
/// Rate of becoming infectious.
pub(crate) const SIGMA: ParameterSpec = ParameterSpec {
    name: "sigma",
    unit: "1/day",
    lower: 1e-4,
    upper: MAX_RATE,
    integer: false,
    about: "rate of becoming infectious: the inverse of the mean latent period",
};
/// Share of infections without symptoms.
pub(crate) const ASYMPTOMATIC_FRACTION: ParameterSpec = ParameterSpec {
    name: "asymptomatic_fraction",
    unit: "1",
    lower: 0.0,
    upper: 1.0,
    integer: false,
    about: "share of the infected who never show symptoms",
};
/// People infectious at the start.
pub(crate) const INITIAL_INFECTED: ParameterSpec = ParameterSpec {
    name: "initial_infected",
    unit: "people",
    lower: 0.0,
    upper: 1e9,
    integer: true,
    about: "people infectious when the simulation starts",
};
/// People in the latent period at the start.
pub(crate) const INITIAL_EXPOSED: ParameterSpec = ParameterSpec {
    name: "initial_exposed",
    unit: "people",
    lower: 0.0,
    upper: 1e9,
    integer: true,
    about: "people infected but not yet infectious when the simulation starts",
};
