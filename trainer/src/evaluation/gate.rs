//! The calibration gate: fails a model only where a probability that it states is off by more than the tolerance, beyond doubt.
//!
//! Everything a model states is a claim: in `n` simulations, an event that it gives probability `p` came true `k` times. For each
//! claim two exact binomial tests ask whether the true frequency lies within `p - tolerance ..= p + tolerance`; the gate fails where
//! a p-value is at most [`LEVEL`] divided by the number of tests (Bonferroni). So
//!
//! - a model that is nowhere off by more than [`TOLERANCE`] fails with a probability of at most [`LEVEL`], whatever the number of
//!   simulations and however its claims depend on each other;
//! - more simulations find smaller faults, but never one within the tolerance.
//!
//! Where events are not equally probable (a bin of a reliability diagram) `p` is their mean: the binomial's tails are then the
//! wider ones (Hoeffding 1956, <https://doi.org/10.1214/aoms/1177728178>, theorem 4), and the tests conservative.

use serde::Serialize;

use super::tail::{binomial_at_least, binomial_at_most, binomial_band};

/// Probability, at most, that the gate fails a model which is nowhere off by more than [`TOLERANCE`].
pub const LEVEL: f64 = 0.01;
/// Difference of a stated and a true probability that harms nobody.
pub const TOLERANCE: f64 = 0.03;

/// An event of stated probability, and how often it came true.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Claims of one group are reported by the worst of them.
    pub group: String,
    /// The sentence of a failure up to the observed share, such as `the 90 % interval of R0 covers`.
    pub sentence: String,
    /// Stated probability.
    pub stated: f64,
    /// Simulations.
    pub trials: u64,
    /// In which it came true, ties included.
    pub at_most: u64,
    /// In which it came true, ties left out. A count that sits on a quantile is below it and above it as one pleases: the claim is
    /// wrong only if neither reading saves it.
    pub at_least: u64,
}

/// What the gate found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gate {
    /// [`LEVEL`].
    pub level: f64,
    /// [`TOLERANCE`].
    pub tolerance: f64,
    /// Tests among which the level is divided.
    pub tests: usize,
    /// Difference at a stated probability of one half from which these many simulations tell a fault.
    pub resolution: f64,
    /// What fails.
    pub failures: Vec<Failure>,
}

/// A stated probability that is not true.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// In words.
    pub what: String,
    /// Stated probability.
    pub stated: f64,
    /// Observed share.
    pub observed: f64,
    /// Probability of as large a difference, were the fault within the tolerance.
    pub p_value: f64,
    /// Further failures of the same kind, which this is the worst of.
    pub others: usize,
}

impl Claim {
    /// Too often and too rarely, each with its p-value; a test without room on its side is none.
    fn tests(&self) -> impl Iterator<Item = (f64, u64)> {
        let often = self.stated + TOLERANCE < 1.0;
        let often = often.then(|| {
            let p = binomial_at_least(self.trials, self.stated + TOLERANCE, self.at_least);
            (p, self.at_least)
        });
        let rarely = self.stated - TOLERANCE > 0.0;
        let rarely = rarely.then(|| {
            let p = binomial_at_most(self.trials, self.stated - TOLERANCE, self.at_most);
            (p, self.at_most)
        });
        often.into_iter().chain(rarely)
    }
}

impl Gate {
    /// Judges all claims of a model at once.
    pub fn of(claims: &[Claim]) -> Gate {
        let claims = || claims.iter().filter(|claim| claim.trials > 0);
        let tests = claims().map(|claim| claim.tests().count()).sum::<usize>();
        let each = LEVEL / tests.max(1) as f64;
        let mut failures: Vec<(&str, Failure)> = Vec::new();
        for claim in claims() {
            let Some((p_value, hits)) = claim.tests().find(|(p, _)| *p <= each) else { continue };
            let observed = hits as f64 / claim.trials as f64;
            let what = format!("{} {:.1} %", claim.sentence, 100.0 * observed);
            let failure = Failure { what, stated: claim.stated, observed, p_value, others: 0 };
            match failures.iter_mut().find(|(group, _)| *group == claim.group) {
                None => failures.push((&claim.group, failure)),
                Some((_, worst)) => {
                    let others = worst.others + 1;
                    if failure.p_value < worst.p_value {
                        *worst = failure;
                    }
                    worst.others = others;
                }
            }
        }
        let trials = claims().map(|claim| claim.trials).max().unwrap_or(0);
        Gate {
            level: LEVEL,
            tolerance: TOLERANCE,
            tests,
            resolution: resolution(trials, each),
            failures: failures.into_iter().map(|(_, failure)| failure).collect(),
        }
    }

    /// The failures in words.
    pub fn messages(&self) -> Vec<String> {
        let message = |failure: &Failure| match failure.others {
            0 => failure.what.clone(),
            others => format!("{} (the worst of {} alike)", failure.what, others + 1),
        };
        self.failures.iter().map(message).collect()
    }
}

/// How far from one half a share of `trials` must lie to fail.
fn resolution(trials: u64, each: f64) -> f64 {
    if trials == 0 {
        return 1.0;
    }
    let (_, high) = binomial_band(trials, 0.5 + TOLERANCE, 2.0 * each);
    ((high + 1) as f64 / trials as f64).min(1.0) - 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(stated: f64, trials: u64, hits: u64) -> Claim {
        let sentence = "it covers".to_owned();
        Claim { group: "it".into(), sentence, stated, trials, at_most: hits, at_least: hits }
    }

    #[test]
    fn a_harmless_deviation_passes_however_many_simulations() {
        for trials in [100, 10_000, 10_000_000] {
            for share in [0.87, 0.9, 0.93] {
                let hits = (trials as f64 * share) as u64;
                assert_eq!(Gate::of(&[claim(0.9, trials, hits)]).failures, []);
            }
        }
    }

    #[test]
    fn faults_are_found_named_and_counted() {
        let gate = Gate::of(&[claim(0.9, 1_000, 800), claim(0.9, 1_000, 780), claim(0.5, 0, 0)]);
        assert_eq!(gate.tests, 4);
        assert_eq!(gate.messages(), ["it covers 78.0 % (the worst of 2 alike)"]);
        // A tie excuses what it can.
        let tied = Claim { at_most: 900, ..claim(0.9, 1_000, 0) };
        assert_eq!(Gate::of(&[tied]).failures, []);
        // The resolution is where failures begin.
        let hits =
            (1_000.0 * (0.5 + Gate::of(&[claim(0.5, 1_000, 500)]).resolution)).round() as u64;
        assert_eq!(Gate::of(&[claim(0.5, 1_000, hits)]).failures.len(), 1);
        assert_eq!(Gate::of(&[claim(0.5, 1_000, hits - 1)]).failures, []);
    }
}
