//! The calibration gate: fails a model only where a probability that it states is off by more than can be asked of it, beyond doubt.
//!
//! Everything a model states is a claim: in `n` simulations, an event that it gives probability `p` came true `k` times. What may be
//! off is the tolerance, and what the `m` simulations that calibrated the model leave open.
//!
//! Of an event whose threshold is an order statistic of `m` exchangeable residuals (split conformal prediction) the true frequency is a
//! draw from the beta distribution of mean `r / (m + 1)` and concentration `m + 1`, `r` the rank, whatever the distribution of the
//! residuals (Vovk 2012, <https://arxiv.org/abs/1209.2673>, section 3): a standard deviation of six points at `m = 70` and a stated 50 %.
//! Between two thresholds, whose events are nested, it is the same with the difference of the ranks. A temperature or a width that
//! maximizes the likelihood of `m` simulations spreads the frequencies that follow from it no more, since no estimator of a model's one
//! parameter is worse, for many simulations, than the empirical frequency.
//!
//! For each claim two exact tests ask whether the true frequency is such a draw around a point of `p - tolerance ..= p + tolerance`: `k` is
//! then beta-binomial. The gate fails where a p-value is at most [`LEVEL`] divided by the number of tests (Bonferroni). So
//!
//! - a model that is nowhere off by more than [`TOLERANCE`] and the luck of its calibration fails with a probability of at most [`LEVEL`],
//!   whatever the number of simulations and however its claims depend on each other;
//! - more simulations find smaller faults, but never one within the tolerance, nor one that the calibration could not see.
//!
//! Where events are not equally probable (a bin of a reliability diagram) `p` is their mean: the binomial's tails are then the
//! wider ones (Hoeffding 1956, <https://doi.org/10.1214/aoms/1177728178>, theorem 4), and the tests conservative.

use serde::Serialize;

use super::tail::{beta_binomial_at_least, beta_binomial_at_most};

/// Probability, at most, that the gate fails a model which is nowhere off by more than [`TOLERANCE`] and what its calibration leaves open.
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
    /// Simulations that calibrated the model; 0 for one whose calibration is taken as certain.
    pub calibrated_on: u64,
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
    fn tests(&self, concentration: f64) -> impl Iterator<Item = (f64, u64)> {
        let often = self.stated + TOLERANCE < 1.0;
        let often = often.then(|| {
            let mean = self.stated + TOLERANCE;
            (beta_binomial_at_least(self.trials, mean, concentration, self.at_least), self.at_least)
        });
        let rarely = self.stated - TOLERANCE > 0.0;
        let rarely = rarely.then(|| {
            let mean = self.stated - TOLERANCE;
            (beta_binomial_at_most(self.trials, mean, concentration, self.at_most), self.at_most)
        });
        often.into_iter().chain(rarely)
    }
}

impl Gate {
    /// Judges all claims of a model that so many simulations calibrated at once; of none (0), what the calibration left open is nothing.
    pub fn of(claims: &[Claim], calibrated_on: u64) -> Gate {
        let concentration = match calibrated_on {
            0 => f64::INFINITY,
            count => (count + 1) as f64,
        };
        let claims = || claims.iter().filter(|claim| claim.trials > 0);
        let tests = claims().map(|claim| claim.tests(concentration).count()).sum::<usize>();
        let each = LEVEL / tests.max(1) as f64;
        let mut failures: Vec<(&str, Failure)> = Vec::new();
        for claim in claims() {
            let Some((p_value, hits)) = claim.tests(concentration).find(|(p, _)| *p <= each) else {
                continue;
            };
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
            calibrated_on,
            tests,
            resolution: resolution(trials, concentration, each),
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
fn resolution(trials: u64, concentration: f64, each: f64) -> f64 {
    if trials == 0 {
        return 1.0;
    }
    // The least count that fails.
    let (mut low, mut high) = (0, trials + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if beta_binomial_at_least(trials, 0.5 + TOLERANCE, concentration, middle) <= each {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    (low as f64 / trials as f64).min(1.0) - 0.5
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
                assert_eq!(Gate::of(&[claim(0.9, trials, hits)], 0).failures, []);
            }
        }
    }

    #[test]
    fn what_a_small_calibration_leaves_open_is_no_fault() {
        // 62 % of a stated 50 %: two standard deviations of what 70 simulations can determine, many of what 5,000 can.
        let claims = [claim(0.5, 10_000, 6_200)];
        for (calibrated_on, failures) in [(70, 0), (5_000, 1), (0, 1)] {
            let gate = Gate::of(&claims, calibrated_on);
            assert_eq!(gate.failures.len(), failures, "{calibrated_on}");
        }
        assert_eq!(Gate::of(&[claim(0.5, 10_000, 7_500)], 70).failures.len(), 1);
    }

    #[test]
    fn faults_are_found_named_and_counted() {
        let gate = Gate::of(&[claim(0.9, 1_000, 800), claim(0.9, 1_000, 780), claim(0.5, 0, 0)], 0);
        assert_eq!(gate.tests, 4);
        assert_eq!(gate.messages(), ["it covers 78.0 % (the worst of 2 alike)"]);
        // A tie excuses what it can.
        let tied = Claim { at_most: 900, ..claim(0.9, 1_000, 0) };
        assert_eq!(Gate::of(&[tied], 0).failures, []);
        // The resolution is where failures begin.
        let hits =
            (1_000.0 * (0.5 + Gate::of(&[claim(0.5, 1_000, 500)], 0).resolution)).round() as u64;
        assert_eq!(Gate::of(&[claim(0.5, 1_000, hits)], 0).failures.len(), 1);
        assert_eq!(Gate::of(&[claim(0.5, 1_000, hits - 1)], 0).failures, []);
    }
}
