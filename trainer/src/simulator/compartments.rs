//! Compartmental epidemics: a structure, and the mechanism that it becomes through a study's observation model.

pub use super::mechanism::ParameterSpec;
use super::mechanism::{Draw, Mechanism};
use super::observation::{self, Effects};
use super::sampling::Generator;
use super::{CASES, R0};
use crate::corpus::Target;
use crate::study::{Epidemic, Prior, Series};

/// A compartmental model: structure, without prior or observation.
pub trait Compartments: Sync + std::fmt::Debug {
    /// Names of the compartments, in the order of [`Path::states`].
    fn states(&self) -> &'static [&'static str];

    /// The parameters, in the order in which [`Compartments::simulate`] takes them.
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

/// Compartments seen through an observation model: the mechanism of an epidemic study.
///
/// Its parameters are those of the structure, then those of the observation model; its derived quantities are R0 and the
/// observed cases of the forecast days.
#[derive(Debug)]
pub(super) struct ObservedEpidemic {
    compartments: &'static dyn Compartments,
    epidemic: Epidemic,
    effects: Vec<ParameterSpec>,
    derived: Vec<Target>,
}

impl ObservedEpidemic {
    /// `priors` are of the structure's parameters: they bound R0.
    pub(super) fn new(
        compartments: &'static dyn Compartments,
        priors: &[Prior],
        epidemic: &Epidemic,
    ) -> Self {
        let effects = observation::parameters(&epidemic.observation);
        let (lower, upper) = reproduction_bounds(compartments, priors);
        let mut derived = vec![Target {
            name: R0.into(),
            group: R0.into(),
            lower: Some(lower),
            upper: Some(upper),
            integer: false,
        }];
        let ceiling = epidemic.ceiling().map(|ceiling| ceiling as f32);
        derived.extend((1..=epidemic.forecast_steps).map(|day| Target {
            name: format!("{CASES}+{day}"),
            group: CASES.into(),
            lower: Some(0.0),
            upper: ceiling,
            integer: true,
        }));
        ObservedEpidemic {
            compartments,
            epidemic: epidemic.clone(),
            effects: effects.into_iter().map(|(spec, _)| spec).collect(),
            derived,
        }
    }
}

impl Mechanism for ObservedEpidemic {
    fn x_names(&self) -> Vec<String> {
        (1..=self.epidemic.steps).map(|day| format!("day_{day}")).collect()
    }

    fn derived(&self) -> &[Target] {
        &self.derived
    }

    fn simulate(&self, theta: &[f64], generator: &mut Generator, draw: &mut Draw) {
        let (structure, nuisance) = theta.split_at(self.compartments.parameters().len());
        let epidemic = &self.epidemic;
        let effects = Effects::new(&epidemic.observation, |name| {
            nuisance.get(self.effects.iter().position(|spec| spec.name == name)?).copied()
        });
        let window = epidemic.steps + epidemic.forecast_steps;
        let setting = Setting {
            population: epidemic.population,
            days: effects.head_start + window,
            steps_per_day: epidemic.steps_per_day,
        };
        let Draw { x, derived, latent } = draw;
        latent.path.clear();
        self.compartments.simulate(structure, setting, generator, &mut latent.path);

        latent.expected.resize(window, 0.0);
        let series = observation::latent_series(epidemic.observation.series, &latent.path);
        effects.expect(series, &mut latent.kernel, &mut latent.expected);
        x.resize(window, 0.0);
        effects.observe(&latent.expected, epidemic.ceiling(), epidemic.steps, generator, x);
        derived.push(self.compartments.basic_reproduction_number(structure) as f32);
        derived.extend(x.drain(epidemic.steps..));
        latent.first_observed_day = effects.head_start;
    }
}

impl Epidemic {
    /// Largest count that can be observed: nobody is in bed twice.
    fn ceiling(&self) -> Option<u32> {
        (self.observation.series == Series::Prevalence).then_some(self.population)
    }
}

/// Extremes of R0 over the corners of the prior: it is monotone in each parameter of every structure here.
fn reproduction_bounds(compartments: &dyn Compartments, priors: &[Prior]) -> (f32, f32) {
    let (mut lower, mut upper) = (f64::INFINITY, 0.0f64);
    for corner in 0..1usize << priors.len() {
        let theta: Vec<f64> = (priors.iter().enumerate())
            .map(|(at, prior)| {
                let (low, high) = prior.bounds();
                if corner >> at & 1 == 0 { low } else { high }
            })
            .collect();
        let value = compartments.basic_reproduction_number(&theta);
        lower = lower.min(value);
        upper = upper.max(value);
    }
    (lower as f32, upper as f32)
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
