//! SIS: infection without immunity, in continuous time, with the number of infected counted exactly at fixed intervals.

use std::cell::OnceCell;
use std::sync::Arc;

use super::kind::Structure;
use super::mechanism::{Draw, Likelihood, LikelihoodAt, Mechanism, ParameterSpec};
use super::sampling::Generator;

/// Weiss and Dishon 1971, "On the asymptotic behavior of the stochastic and deterministic models of an epidemic",
/// <https://doi.org/10.1016/0025-5564(71)90087-3>, as a Markov chain on `0..=N` infected.
///
/// From `i` infected of `N`: to `i + 1` at rate `infection_rate i (N - i) / N`, to `i - 1` at rate `recovery_rate i`; `x` is
/// `i` at the end of each interval. Simulated event by event (Gillespie 1977). The likelihood is the product of the entries
/// of `P = exp(Q interval)` that `x` steps through.
///
/// `exp` is summed by uniformization (Jensen 1953; Stewart 1994, *Introduction to the Numerical Solution of Markov Chains*,
/// section 8.2): `P = sum_k w_k M^k` with `M = I + Q / L`, `L` no smaller than any rate of leaving a state and `w_k` the
/// Poisson probabilities of mean `L interval`. No term is negative, so that even the least probable step has its full relative
/// precision, which a Padé approximation would not give. Since `L` may be held fixed, the derivative is that of each term:
/// `d(p M) = dp M + p dQ / L`.
#[derive(Debug)]
pub struct Sis {
    susceptible: usize,
    infected: usize,
    observations: usize,
    interval: f64,
}

const fn rate(name: &'static str, about: &'static str) -> ParameterSpec {
    ParameterSpec { name, unit: "1/day", lower: 0.0, upper: 100.0, integer: false, about }
}

const PARAMETERS: [ParameterSpec; 2] = [
    rate("infection_rate", "infectious contacts of one infected person in a day"),
    rate("recovery_rate", "the inverse of the mean infection"),
];

const fn count(name: &'static str, unit: &'static str, about: &'static str) -> ParameterSpec {
    ParameterSpec { name, unit, lower: 1.0, upper: 200.0, integer: true, about }
}

const SETTINGS: [ParameterSpec; 4] = [
    count("initial_susceptible", "people", "people not infected when the simulation starts"),
    count("initial_infected", "people", "people infected when the simulation starts"),
    count("observations", "1", "how many times the infected are counted"),
    ParameterSpec {
        name: "interval",
        unit: "day",
        lower: 1e-3,
        upper: 100.0,
        integer: false,
        about: "days from one count to the next",
    },
];

/// Largest mean of the Poisson weights: `exp(-400)` is far from underflow.
const LARGEST_MEAN: f64 = 400.0;

impl Sis {
    pub(super) const STRUCTURE: Structure = Structure::Complete {
        parameters: &PARAMETERS,
        settings: &SETTINGS,
        make: |settings| {
            Arc::new(Sis {
                susceptible: settings[0] as usize,
                infected: settings[1] as usize,
                observations: settings[2] as usize,
                interval: settings[3],
            })
        },
    };

    fn population(&self) -> usize {
        self.susceptible + self.infected
    }
}

impl Mechanism for Sis {
    fn x_names(&self) -> Vec<String> {
        (1..=self.observations).map(|at| format!("infected_{at}")).collect()
    }

    fn simulate(&self, theta: &[f64], generator: &mut Generator, draw: &mut Draw) {
        let population = self.population() as f64;
        let mut infected = self.infected as f64;
        // Time of the next event; the process has no memory, but redrawing at each count would waste variates.
        let mut next = 0.0;
        let mut drawn = false;
        for observation in 1..=self.observations {
            let end = observation as f64 * self.interval;
            loop {
                let up = theta[0] * infected * (population - infected) / population;
                let down = theta[1] * infected;
                if up + down <= 0.0 {
                    break;
                }
                if !drawn {
                    next += generator.exponential() / (up + down);
                    drawn = true;
                }
                if next > end {
                    break;
                }
                drawn = false;
                let step = if generator.uniform() * (up + down) < up { 1.0 } else { -1.0 };
                infected += step;
            }
            draw.x.push(infected as f32);
        }
    }

    fn likelihood(&self) -> Option<&dyn Likelihood> {
        Some(self)
    }
}

impl Likelihood for Sis {
    fn at<'l>(&'l self, theta: &[f64]) -> Box<dyn LikelihoodAt + 'l> {
        let population = self.population();
        let n = population as f64;
        let contacts: Vec<f64> = (0..=population).map(|i| i as f64 * (n - i as f64) / n).collect();
        let fastest = (0..=population)
            .map(|i| theta[0] * contacts[i] + theta[1] * i as f64)
            .fold(f64::MIN_POSITIVE, f64::max);
        let parts = (fastest * self.interval / LARGEST_MEAN).ceil().max(1.0);
        Box::new(At {
            sis: self,
            theta: [theta[0], theta[1]],
            contacts,
            fastest,
            mean: fastest * self.interval / parts,
            parts: parts as usize,
            rows: vec![OnceCell::new(); population + 1],
        })
    }
}

struct At<'l> {
    sis: &'l Sis,
    theta: [f64; 2],
    /// `i (N - i) / N`.
    contacts: Vec<f64>,
    /// `L`.
    fastest: f64,
    /// `L interval / parts`.
    mean: f64,
    /// The interval is cut into so many, to keep the weights representable.
    parts: usize,
    /// Computed when an x first steps from this state.
    rows: Vec<OnceCell<Row>>,
}

/// A row of `P`, with its derivatives by infection and recovery rate.
#[derive(Debug, Clone)]
struct Row {
    p: Vec<f64>,
    slopes: [Vec<f64>; 2],
}

impl LikelihoodAt for At<'_> {
    fn log_likelihood(&self, x: &[f32]) -> f64 {
        self.steps(x).map(|step| step.map_or(0.0, |(row, to)| row.p[to])).map(libm::log).sum()
    }

    fn score(&self, x: &[f32], score: &mut [f64]) {
        score.fill(0.0);
        for step in self.steps(x) {
            for (at, score) in score.iter_mut().enumerate() {
                *score += match step {
                    Some((row, to)) if row.p[to] > 0.0 => row.slopes[at][to] / row.p[to],
                    _ => f64::NAN,
                };
            }
        }
    }
}

impl At<'_> {
    /// Row of `P` and column of each step of `x`; `None` for a step to or from what is no state.
    fn steps<'s>(&'s self, x: &'s [f32]) -> impl Iterator<Item = Option<(&'s Row, usize)>> {
        let state = |x: f32| (0..self.rows.len()).contains(&(x as usize)).then_some(x as usize);
        let exact = move |x: f32| state(x).filter(|i| *i as f32 == x);
        let from = std::iter::once(Some(self.sis.infected)).chain(x.iter().map(move |&x| exact(x)));
        from.zip(x).map(move |(from, &to)| {
            let from = from?;
            Some((self.rows[from].get_or_init(|| self.row(from)), exact(to)?))
        })
    }

    fn row(&self, from: usize) -> Row {
        let states = self.rows.len();
        let mut row = Row { p: vec![0.0; states], slopes: [vec![0.0; states], vec![0.0; states]] };
        row.p[from] = 1.0;
        // Weights beyond ten standard deviations vanish beside the others; the least probable state is `states` steps away.
        let terms = (self.mean + 10.0 * self.mean.sqrt() + 30.0) as usize + states;
        for _ in 0..self.parts {
            let mut term = row.clone();
            let mut next = row.clone();
            let mut weight = libm::exp(-self.mean);
            row.scale(weight);
            for k in 1..=terms {
                self.multiply(&term, &mut next);
                std::mem::swap(&mut term, &mut next);
                weight *= self.mean / k as f64;
                row.add(weight, &term);
            }
        }
        row
    }

    /// `next = term M`, with the derivatives.
    fn multiply(&self, term: &Row, next: &mut Row) {
        let inverse = 1.0 / self.fastest;
        let [infection, recovery] = self.theta;
        let last = self.rows.len() - 1;
        for to in 0..=last {
            // Each neighbor's share of what flows along, per unit of its rate.
            let below = if to > 0 { self.contacts[to - 1] * inverse } else { 0.0 };
            let above = if to < last { (to + 1) as f64 * inverse } else { 0.0 };
            let (up, down) = (self.contacts[to] * inverse, to as f64 * inverse);
            let stay = 1.0 - infection * up - recovery * down;
            let (lower, upper) = (to.saturating_sub(1), (to + 1).min(last));
            let flow = |v: &[f64]| {
                v[to] * stay + v[lower] * (infection * below) + v[upper] * (recovery * above)
            };
            let p = &term.p;
            next.p[to] = flow(p);
            next.slopes[0][to] = flow(&term.slopes[0]) + (p[lower] * below - p[to] * up);
            next.slopes[1][to] = flow(&term.slopes[1]) + (p[upper] * above - p[to] * down);
        }
    }
}

impl Row {
    fn scale(&mut self, weight: f64) {
        let Row { p, slopes: [first, second] } = self;
        p.iter_mut().chain(first).chain(second).for_each(|value| *value *= weight);
    }

    fn add(&mut self, weight: f64, other: &Row) {
        let Row { p, slopes: [first, second] } = self;
        for (sum, term) in [(p, &other.p), (first, &other.slopes[0]), (second, &other.slopes[1])] {
            sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += weight * term);
        }
    }
}
