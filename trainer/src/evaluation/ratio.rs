//! What a likelihood surface is worth: its classification of pairs, its maximum and its confidence sets.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use simground_runtime::Model;

use super::calibration::rank_claims;
use super::gate::Claim;
use super::theta::{LEVELS, positions};
use super::{Answer, EvaluationError, LevelCoverage, Metrics, mean};
use crate::corpus::Corpus;
use crate::float_model::FloatModel;
use crate::head::ratio::{self, Judged};
use crate::head::{Head, Ratio};
use crate::network::Tail;

/// Level of the sets whose coverage is told.
const LEVEL: f32 = 0.95;
/// Thetas of other simulations among which the truth is told by its ratio.
const OTHERS: usize = 255;
/// Cells of the ranks that come of it.
const CELLS: usize = 100;

/// A `ratio` head and the corpus that judges it.
#[derive(Debug, Clone)]
pub struct JudgedRatio<'c> {
    head: &'c Ratio,
    tail: &'c Tail,
    corpus: &'c Corpus,
    positions: Vec<usize>,
}

/// Whether a likelihood surface tells true thetas from others as surely as it says.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioCalibration {
    /// Coverage of the regions of highest ratio.
    pub(super) regions: Vec<LevelCoverage>,
    /// The same as the gate takes it.
    pub(super) claims: Vec<Claim>,
}

/// What is found for one observation.
struct Found {
    maximum: Vec<f32>,
    /// Whether the joint set holds the truth, then whether each parameter's interval does.
    covered: Vec<bool>,
}

impl<'c> JudgedRatio<'c> {
    /// `None` for a model without such a head.
    ///
    /// # Errors
    ///
    /// [`EvaluationError`] when the corpus lacks a parameter, or has one outside the support.
    pub fn of(
        model: &'c FloatModel,
        corpus: &'c Corpus,
    ) -> Result<Option<JudgedRatio<'c>>, EvaluationError> {
        let mut heads = model.heads.iter().enumerate();
        let found = heads.find_map(|(at, head)| match head {
            Head::Ratio(head) => Some((head, model.answering().tail(at)?)),
            _ => None,
        });
        let Some((head, tail)) = found else { return Ok(None) };
        let positions = positions(&head.parameters, corpus)?;
        Ok(Some(JudgedRatio { head, tail, corpus, positions }))
    }

    /// Adds what the integer model is worth.
    ///
    /// - `bce`: cross-entropy of joint against marginal pairs; a constant ratio has `ln 2 = 0.693`.
    /// - `mae_mle`, `rmse_mle`: error of the maximum, against the theta that was simulated.
    /// - `coverage95`: how often sets by Wilks's theorem hold the truth: the joint one (`theta`), each parameter's by its profile.
    pub fn add_integer(&self, model: &Model<'_>, metrics: &mut Metrics) {
        self.add_cross_entropy(&ratio::pairs(self.head, model, self.corpus), metrics);
        let scratch = || vec![0_u32; model.scratch_words()];
        let rows = (0..self.corpus.len()).into_par_iter();
        let found: Vec<Found> =
            rows.map_init(scratch, |scratch, row| self.found(model, scratch, row)).collect();
        let maxima: Vec<&[f32]> = found.iter().map(|found| &found.maximum[..]).collect();
        self.add_errors(&maxima, metrics);
        let names = self.head.parameters.iter().map(|p| p.name.as_str());
        for (at, target) in ["theta"].into_iter().chain(names).enumerate() {
            let covered = mean(found.iter().map(|found| f64::from(u8::from(found.covered[at]))));
            metrics.entry("coverage95".into()).or_default().insert(target.into(), covered);
        }
    }

    /// Coverage of regions of highest ratio among a finite set of thetas: the truth and up to 255 that other simulations were drawn with.
    ///
    /// With the true ratio, element `j` of the set is the truth with probability `r_j / sum r`, whatever the size of the set: so the mass of
    /// all elements above the truth, and a random share of its own, is uniform. (Expected coverage of a posterior, Hermans et al. 2022,
    /// <https://arxiv.org/abs/2110.06581>, section 2.2, for the prior that is uniform on the set.)
    pub fn calibration(&self, model: &Model<'_>) -> RatioCalibration {
        let thetas: Vec<Vec<f32>> =
            (0..self.corpus.len()).map(|row| self.head.theta(self.corpus, row)).collect();
        let scratch = || vec![0_u32; model.scratch_words()];
        let rank = |scratch: &mut Vec<u32>, row: usize| {
            let mut inference =
                model.infer(self.corpus.x_row(row), scratch).expect("windows of the model's width");
            let mut ratio = inference.ratio().expect("a model with a ratio head");
            let others = (1..thetas.len().min(OTHERS + 1)).map(|by| (row + by) % thetas.len());
            let others: Vec<f32> = others.map(|of| ratio.log_ratio(&thetas[of])).collect();
            rank(ratio.log_ratio(&thetas[row]), &others, row as u64)
        };
        let rows = (0..thetas.len()).into_par_iter();
        let ranks: Vec<usize> = rows.map_init(scratch, rank).collect();
        let levels = LEVELS.map(super::percent).map(|percent| percent / 100.0);
        let claims = rank_claims("ratio", &ranks, CELLS, &levels, |level| {
            format!("the {:.0} % region of highest likelihood covers theta in", 100.0 * level)
        });
        let region = |(level, claim): (f32, &Claim)| LevelCoverage {
            level,
            observed: claim.at_most as f64 / claim.trials.max(1) as f64,
        };
        RatioCalibration { regions: LEVELS.into_iter().zip(&claims).map(region).collect(), claims }
    }

    /// Adds the cross-entropy of the float model.
    pub fn add_float(&self, answers: &[Answer], metrics: &mut Metrics) {
        let data: Vec<f32> =
            answers.iter().flat_map(|answer| &answer.ratio_data).copied().collect();
        let pairs = ratio::float_pairs(self.head, self.tail, &data, self.corpus);
        self.add_cross_entropy(&pairs, metrics);
    }

    /// Adds what a ratio of 1 everywhere and the center of the prior are worth.
    pub fn add_baseline(&self, metrics: &mut Metrics) {
        let constant = Judged { joint: 0.0, marginal: vec![0.0] };
        self.add_cross_entropy(&[constant], metrics);
        let center: Vec<f32> =
            self.head.parameters.iter().map(|p| p.record().from_z(0.0)).collect();
        self.add_errors(&vec![&center[..]; self.corpus.len()], metrics);
    }

    fn add_cross_entropy(&self, pairs: &[Judged], metrics: &mut Metrics) {
        let value = mean(pairs.iter().map(|pair| pair.cross_entropy(1.0)));
        metrics.entry("bce".into()).or_default().insert("theta".into(), value);
    }

    fn add_errors(&self, maxima: &[&[f32]], metrics: &mut Metrics) {
        for (at, parameter) in self.head.parameters.iter().enumerate() {
            let errors = maxima.iter().enumerate().map(|(row, maximum)| {
                f64::from(maximum[at] - self.corpus.theta_row(row)[self.positions[at]])
            });
            let mae = mean(errors.clone().map(f64::abs));
            let rmse = mean(errors.map(|error| error * error)).sqrt();
            for (metric, value) in [("mae_mle", mae), ("rmse_mle", rmse)] {
                metrics.entry(metric.into()).or_default().insert(parameter.name.clone(), value);
            }
        }
    }

    fn found(&self, model: &Model<'_>, scratch: &mut [u32], row: usize) -> Found {
        let mut inference =
            model.infer(self.corpus.x_row(row), scratch).expect("windows of the model's width");
        let mut ratio = inference.ratio().expect("a model with a ratio head");
        let theta = self.head.theta(self.corpus, row);
        let maximum = ratio.maximum();
        let joint = ratio.confidence_set(&maximum, LEVEL).contains(ratio.log_ratio(&theta));
        let inside = |(at, theta): (usize, &f32)| {
            ratio.interval_contains(&maximum, at, *theta, LEVEL).unwrap_or(false)
        };
        let each = theta.iter().enumerate().map(inside);
        let covered = [joint].into_iter().chain(each).collect();
        Found { maximum: maximum.theta.to_vec(), covered }
    }
}

/// In which of [`CELLS`] the truth's rank among all masses lies.
fn rank(truth: f32, others: &[f32], row: u64) -> usize {
    let highest = others.iter().copied().fold(truth, f32::max);
    let mass = |log_ratio: f32| f64::from(log_ratio - highest).exp();
    let sum = |holds: &dyn Fn(f32) -> bool| -> f64 {
        others.iter().filter(|f| holds(**f)).map(|f| mass(*f)).sum()
    };
    let (above, equal) = (sum(&|f| f > truth), mass(truth) + sum(&|f| f == truth));
    let all = above + equal + sum(&|f| f < truth);
    let mut rng = ChaCha8Rng::seed_from_u64(row);
    let share = f64::from(rng.next_u32()) / 2_f64.powi(32);
    let place = (above + share * equal) / all;
    ((place * CELLS as f64) as usize).min(CELLS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normal theta and noise, whose ratio is known; `temper` makes it as sure as that times too much.
    fn coverage(temper: f32) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut normal = || super::super::theta::normal(&mut rng);
        let ranks: Vec<usize> = (0..4_000)
            .map(|row| {
                let truth = normal();
                let x = truth + 0.5 * normal();
                let log_ratio = |theta: f32| temper * -2.0 * (x - theta) * (x - theta);
                let others: Vec<f32> = (0..OTHERS).map(|_| log_ratio(normal())).collect();
                rank(log_ratio(truth), &others, row)
            })
            .collect();
        let share = |level: &f32| {
            let inside = ranks.iter().filter(|&&rank| (rank as f32) < level * CELLS as f32 - 0.5);
            inside.count() as f64 / ranks.len() as f64
        };
        LEVELS.iter().map(share).collect()
    }

    #[test]
    fn the_true_ratio_covers_what_it_says_and_a_sharper_one_less() {
        for (observed, level) in coverage(1.0).into_iter().zip(LEVELS) {
            // Three standard errors.
            let error = 3.0 * (f64::from(level * (1.0 - level)) / 4_000.0).sqrt();
            assert!((observed - f64::from(level)).abs() < error, "{level} {observed}");
        }
        assert!(coverage(2.0)[4] < 0.85);
        assert!(coverage(0.5)[4] > 0.93);
    }
}
