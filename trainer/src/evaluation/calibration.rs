//! Whether stated probabilities are true: simulation-based calibration, coverage, reliability, sharpness.
//!
//! Of a simulation whose theta came from the prior, the truth is one more draw from the true posterior: its rank among what
//! a calibrated model answers is uniform (Talts et al. 2018, <https://arxiv.org/abs/1804.06788>, theorem 1).

use std::collections::BTreeMap;

use serde::Serialize;

use super::gate::{Claim, Gate};
use super::tail::{binomial_band, chi_squared_at_least};

/// Confidence with which a whole picture of a calibrated model lies inside its bands.
pub const BAND: f64 = 0.95;

/// Whether stated probabilities are true.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Reliability of the most probable mechanism.
    pub mechanism: Vec<ReliabilityBin>,
    /// Reliability of the probability of each mechanism.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mechanisms: BTreeMap<String, Vec<ReliabilityBin>>,
    /// For each series and level: the share of truths at or below the quantile.
    pub quantiles: BTreeMap<String, Vec<LevelCoverage>>,
    /// For some levels: how often theta lies in the joint posterior's highest-density region.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub theta: Vec<LevelCoverage>,
    /// For some levels: expected coverage of the joint posterior by TARP (Lemos et al. 2023, <https://arxiv.org/abs/2302.03026>).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tarp: Vec<LevelCoverage>,
    /// For some levels: how often theta lies in the likelihood's region of highest ratio, among thetas of the prior.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ratio: Vec<LevelCoverage>,
    /// Simulation-based calibration of each parameter and target.
    pub sbc: Vec<Marginal>,
    /// For some limits: the share of novelty p-values at or below.
    pub novelty: Vec<LevelCoverage>,
    /// What the gate says to all of this.
    pub gate: Gate,
}

/// Answers of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Mean of the stated probability.
    pub confidence: f64,
    /// How often it came true.
    pub accuracy: f64,
    /// Answers in the bin.
    pub count: usize,
}

/// A stated level and what was observed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LevelCoverage {
    /// Stated.
    pub level: f32,
    /// Observed.
    pub observed: f64,
}

/// Ranks of the truths of one parameter or target, and how sharp its answers are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Marginal {
    /// Kind of the head that answers.
    pub head: &'static str,
    /// The parameter or target.
    pub target: String,
    /// The series that it is a step of, or its own name.
    pub series: String,
    /// Ends of the cells of the rank histogram, from 0 to 1.
    pub edges: Vec<f64>,
    /// Truths in each cell.
    pub counts: Vec<u64>,
    /// Smallest and largest count of each cell that a calibrated model has, with 95 % confidence for all cells at once.
    pub count_bands: Vec<(u64, u64)>,
    /// The same for the number of truths below each inner edge.
    pub below_bands: Vec<(u64, u64)>,
    /// Distance from uniform ranks.
    pub chi_squared: f64,
    /// Probability of as large a distance, were the model calibrated to the last digit.
    pub p_value: f64,
    /// Mean width of the central 90 % interval; absent without these levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width90: Option<f64>,
    /// The same over the truths themselves: how little a prior says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior_width90: Option<f64>,
    /// How much narrower than the prior the posterior is: 1 - mean posterior variance / prior variance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contraction: Option<f64>,
    /// Mean of (posterior mean - truth) / posterior standard deviation: 0 without bias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub z_mean: Option<f64>,
    /// Its standard deviation: 1 where posteriors are as wide as their errors, above where they are too narrow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub z_sd: Option<f64>,
}

impl Marginal {
    /// From the number of truths in each cell between `edges`.
    pub fn new(head: &'static str, target: &str, edges: Vec<f64>, counts: Vec<u64>) -> Marginal {
        let n: u64 = counts.iter().sum();
        let widths: Vec<f64> = edges.windows(2).map(|e| e[1] - e[0]).collect();
        let each = (1.0 - BAND) / widths.len() as f64;
        let expected = widths.iter().map(|width| n as f64 * width);
        let squares = counts.iter().zip(expected).map(|(&k, e)| (k as f64 - e).powi(2) / e);
        let chi_squared = if n == 0 { 0.0 } else { squares.sum() };
        Marginal {
            head,
            target: target.to_owned(),
            series: target.to_owned(),
            p_value: chi_squared_at_least(widths.len() - 1, chi_squared),
            chi_squared,
            count_bands: widths.iter().map(|&width| binomial_band(n, width, each)).collect(),
            below_bands: edges[1..widths.len()]
                .iter()
                .map(|&e| binomial_band(n, e, each))
                .collect(),
            edges,
            counts,
            width90: None,
            prior_width90: None,
            contraction: None,
            z_mean: None,
            z_sd: None,
        }
    }

    /// Truths.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Share of truths below each inner edge.
    pub fn below(&self) -> Vec<f64> {
        let total = self.total().max(1) as f64;
        let sums = self.counts.iter().scan(0, |sum, &count| {
            *sum += count;
            Some(*sum as f64 / total)
        });
        sums.take(self.edges.len() - 2).collect()
    }
}

/// Bins of equal width for reliability.
const CLASS_BINS: usize = 10;

/// Reliability of one stated probability: pairs of it and whether it came true.
pub(super) fn reliability(
    pairs: impl Iterator<Item = (f64, bool)>,
    bins: usize,
) -> Vec<ReliabilityBin> {
    let mut sums = vec![(0.0, 0_usize, 0_usize); bins];
    for (stated, came_true) in pairs {
        let bin = &mut sums[((stated * bins as f64) as usize).min(bins - 1)];
        *bin = (bin.0 + stated, bin.1 + usize::from(came_true), bin.2 + 1);
    }
    let filled = sums.into_iter().filter(|bin| bin.2 > 0);
    filled
        .map(|(stated, hits, count)| ReliabilityBin {
            confidence: stated / count as f64,
            accuracy: hits as f64 / count as f64,
            count,
        })
        .collect()
}

/// Reliability of each mechanism's probability, by name. `answers` are posteriors over `names`, `truth` the positions that were true.
pub(super) fn classes(
    names: &[String],
    answers: &[&[f32]],
    truth: &[usize],
) -> BTreeMap<String, Vec<ReliabilityBin>> {
    let of = |at: usize| {
        let pairs = answers.iter().zip(truth).map(move |(p, &m)| (f64::from(p[at]), m == at));
        reliability(pairs, CLASS_BINS)
    };
    names.iter().enumerate().map(|(at, name)| (name.clone(), of(at))).collect()
}

/// What the `categorical` head claims: each bin of each mechanism, each mechanism as a whole, and the most probable one as a whole.
pub(super) fn class_claims(
    top: &[ReliabilityBin],
    mechanisms: &BTreeMap<String, Vec<ReliabilityBin>>,
) -> Vec<Claim> {
    let claim = |group: &str, event: &str, bins: &[ReliabilityBin]| {
        let trials: usize = bins.iter().map(|bin| bin.count).sum();
        let of = |value: &dyn Fn(&ReliabilityBin) -> f64| {
            bins.iter().map(|bin| value(bin) * bin.count as f64).sum::<f64>()
        };
        let (stated, hits) = (of(&|bin| bin.confidence), of(&|bin| bin.accuracy).round() as u64);
        let stated = stated / trials.max(1) as f64;
        let sentence = format!("{event}, stated as {:.1} %, comes true in", 100.0 * stated);
        Claim {
            group: group.to_owned(),
            sentence,
            stated,
            trials: trials as u64,
            at_most: hits,
            at_least: hits,
        }
    };
    let mut claims = vec![claim("top", "that the most probable mechanism is right", top)];
    for (name, bins) in mechanisms {
        let event = format!("the mechanism {name}");
        claims.push(claim(&event, &event, bins));
        claims.extend(bins.chunks(1).map(|bin| claim(&event, &event, bin)));
    }
    claims
}

/// A claim for each level: the share of `ranks`, uniform on `0..count` if calibrated, that are below it.
pub(super) fn rank_claims(
    group: &str,
    ranks: &[usize],
    count: usize,
    levels: &[f64],
    sentence: impl Fn(f64) -> String,
) -> Vec<Claim> {
    let claim = |&level: &f64| {
        // Half a rank below the limit, so that rounding moves none across.
        let limit = level * count as f64 - 0.5;
        let hits = ranks.iter().filter(|&&rank| (rank as f64) < limit).count() as u64;
        Claim {
            group: group.to_owned(),
            sentence: sentence(level),
            stated: level,
            trials: ranks.len() as u64,
            at_most: hits,
            at_least: hits,
        }
    };
    levels.iter().map(claim).collect()
}

/// Width between the 5 % and the 95 % quantile of values; sorts them.
pub(super) fn width90(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |level: f64| values[((values.len() as f64 * level) as usize).min(values.len() - 1)];
    at(0.95) - at(0.05)
}

/// Expected calibration error (Guo et al. 2017, eq. (3)).
pub fn ece(bins: &[ReliabilityBin]) -> f64 {
    let total: usize = bins.iter().map(|bin| bin.count).sum();
    bins.iter()
        .map(|bin| (bin.confidence - bin.accuracy).abs() * bin.count as f64 / total as f64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_error_of_hand_values() {
        let bin = |confidence, accuracy, count| ReliabilityBin { confidence, accuracy, count };
        let found = ece(&[bin(0.9, 0.8, 30), bin(0.5, 0.6, 10)]);
        assert!((found - 0.1).abs() < 1e-12);
    }

    #[test]
    fn ranks_of_hand_values() {
        let edges = vec![0.0, 0.25, 0.75, 1.0];
        let marginal = Marginal::new("quantiles", "y", edges, vec![20, 60, 20]);
        // Expected 25, 50, 25.
        assert!((marginal.chi_squared - (1.0 + 2.0 + 1.0)).abs() < 1e-12);
        assert!((marginal.p_value - (-2.0_f64).exp()).abs() < 1e-12);
        assert_eq!(marginal.below(), [0.2, 0.8]);
        let claims = rank_claims("y", &[0, 9, 10, 50, 99], 100, &[0.1], |_| String::new());
        assert_eq!((claims[0].at_least, claims[0].trials), (2, 5));
    }
}
