//! Scores of the heads that answer theta: errors of the posterior mean; density, coverage and CRPS of a joint posterior.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use simground_runtime::artifact::Parameter;

use super::calibration::{Marginal, rank_claims, width90};
use super::gate::Claim;
use super::{Answer, EvaluationError, LevelCoverage, mean, names};
use crate::corpus::Corpus;
use crate::head::{Mixture, ParameterScaling, Point};

/// Draws from each posterior: with a calibrated one, the truth's rank among them is uniform on `0..=99`.
pub(super) const SAMPLES: usize = 99;
/// Levels at which the coverage of highest-density regions is shown.
pub(super) const LEVELS: [f32; 6] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95];
/// Levels of a parameter's marginal that the gate tests.
const MARGINAL_LEVELS: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];
/// Cells of a rank histogram.
const CELLS: usize = 20;

/// Positions of a head's parameters in a corpus, whose every value lies in the support.
///
/// # Errors
///
/// [`EvaluationError`] for a parameter that the corpus lacks, or a value that no answer can reach.
pub(super) fn positions(
    parameters: &[ParameterScaling],
    corpus: &Corpus,
) -> Result<Vec<usize>, EvaluationError> {
    let schema = &corpus.schema;
    let position = |parameter: &ParameterScaling| {
        let at = schema.theta.iter().position(|p| p.name == parameter.name);
        let at = at.ok_or_else(|| EvaluationError::MissingParameter {
            name: parameter.name.clone(),
            known: names(schema.theta.iter().map(|p| &p.name)),
        })?;
        let inside = |value: f32| parameter.low <= value && value <= parameter.high;
        match (0..corpus.len()).find(|&row| !inside(corpus.theta_row(row)[at])) {
            None => Ok(at),
            Some(row) => Err(EvaluationError::OutsideSupport {
                row: row as u64,
                name: parameter.name.clone(),
                value: corpus.theta_row(row)[at],
                low: parameter.low,
                high: parameter.high,
            }),
        }
    };
    parameters.iter().map(position).collect()
}

/// A `point` head and where its truths stand.
#[derive(Debug, Clone)]
pub(super) struct JudgedPoint {
    head: Point,
    positions: Vec<usize>,
}

impl JudgedPoint {
    pub fn new(head: &Point, corpus: &Corpus) -> Result<JudgedPoint, EvaluationError> {
        let positions = positions(&head.parameters, corpus)?;
        Ok(JudgedPoint { head: head.clone(), positions })
    }

    /// The same answer for every observation: the mean of the prior.
    pub fn prior(&self) -> Vec<f32> {
        self.head.parameters.iter().map(|parameter| parameter.record().from_z(0.0)).collect()
    }

    /// Name, mean absolute error and root mean squared error of each parameter.
    pub fn errors(&self, answers: &[Answer], corpus: &Corpus) -> Vec<(&str, f64, f64)> {
        let mut errors = Vec::new();
        for (at, parameter) in self.head.parameters.iter().enumerate() {
            let error = |(row, answer): (usize, &Answer)| {
                f64::from(answer.point[at] - corpus.theta_row(row)[self.positions[at]])
            };
            let each = || answers.iter().enumerate().map(error);
            let rmse = mean(each().map(|e| e * e)).sqrt();
            errors.push((parameter.name.as_str(), mean(each().map(f64::abs)), rmse));
        }
        errors
    }
}

/// A `mixture` head and where its truths stand.
#[derive(Debug, Clone)]
pub(super) struct JudgedMixture {
    head: Mixture,
    positions: Vec<usize>,
}

/// What one joint posterior is worth.
struct Scores {
    /// Log density of the truth, in physical units.
    log_score: f64,
    /// Samples at which the density is higher than at the truth.
    rank: usize,
    /// Of its samples.
    samples: SampleScores,
}

/// What samples of one joint posterior are worth.
pub(super) struct SampleScores {
    /// Of each parameter.
    pub crps: Vec<f64>,
    /// In standardized units.
    pub energy: f64,
    /// Samples nearer to a random point than the truth is.
    tarp_rank: usize,
    /// Of each parameter: samples below the truth.
    ranks: Vec<usize>,
    /// Of each parameter.
    moments: Vec<Moments>,
}

/// One parameter's samples, in few numbers.
struct Moments {
    mean: f64,
    variance: f64,
    width90: f64,
}

/// Whether a joint posterior's probabilities are true.
#[derive(Debug, Clone)]
pub struct JointCalibration {
    /// Coverage of highest-density regions.
    pub regions: Vec<LevelCoverage>,
    /// Expected coverage by TARP.
    pub tarp: Vec<LevelCoverage>,
    /// Of each parameter.
    pub marginals: Vec<Marginal>,
    /// Everything that the posterior claims.
    pub claims: Vec<Claim>,
}

impl JudgedMixture {
    pub fn new(head: &Mixture, corpus: &Corpus) -> Result<JudgedMixture, EvaluationError> {
        let positions = positions(&head.parameters, corpus)?;
        Ok(JudgedMixture { head: head.clone(), positions })
    }

    /// The rival that answers the same for every observation: one Gaussian with the prior's moments in the standardized space;
    /// between two ends, the uniform distribution (the widest Gaussian, cut).
    pub fn prior(&self) -> (JudgedMixture, Vec<f32>) {
        let head = Mixture { components: 1, ..self.head.clone() };
        let mut outputs = vec![0.0; head.outputs()];
        let ends = head.ends();
        let log_precisions = outputs.iter_mut().skip(1 + ends.len());
        for (log_precision, ends) in log_precisions.zip(&ends) {
            if ends.low.is_finite() && ends.high.is_finite() {
                *log_precision = simground_runtime::LOG_PRECISION_RANGE.0;
            }
        }
        (JudgedMixture { head, positions: self.positions.clone() }, outputs)
    }

    /// `(metric, target, value)` over all answers.
    pub fn metrics(&self, answers: &[Answer], corpus: &Corpus) -> Vec<(&str, &str, f64)> {
        let scores = self.scores(answers, corpus);
        let covered = |s: &Scores| f64::from(u8::from(covers(s.rank, 0.9)));
        let mut metrics = vec![
            ("log_score", "theta", mean(scores.iter().map(|s| s.log_score))),
            ("coverage90", "theta", mean(scores.iter().map(covered))),
        ];
        metrics.push(("energy_score", "theta", mean(scores.iter().map(|s| s.samples.energy))));
        metrics.extend(self.head.parameters.iter().enumerate().map(|(at, parameter)| {
            ("crps", parameter.name.as_str(), mean(scores.iter().map(|s| s.samples.crps[at])))
        }));
        metrics
    }

    /// Ranks of the truth: along each parameter, in density, and in the distance to a random point.
    pub fn calibration(&self, answers: &[Answer], corpus: &Corpus) -> JointCalibration {
        let scores = self.scores(answers, corpus);
        let densities: Vec<usize> = scores.iter().map(|s| s.rank).collect();
        let mut claims =
            claims_of("regions", &densities, &claimed_levels(), "highest-density region of theta");
        let samples: Vec<SampleScores> = scores.into_iter().map(|s| s.samples).collect();
        let judged =
            joint_calibration("mixture", &self.head.parameters, &self.positions, &samples, corpus);
        claims.extend(judged.claims);
        JointCalibration { regions: coverage(&densities), claims, ..judged }
    }

    fn scores(&self, answers: &[Answer], corpus: &Corpus) -> Vec<Scores> {
        let rows = answers.par_iter().enumerate();
        rows.map(|(row, answer)| self.score(&answer.mixture, corpus, row)).collect()
    }

    fn score(&self, outputs: &[f32], corpus: &Corpus, row: usize) -> Scores {
        let records: Vec<_> = self.head.parameters.iter().map(ParameterScaling::record).collect();
        let theta: Vec<f32> = self.positions.iter().map(|&at| corpus.theta_row(row)[at]).collect();
        let gaussians = self.head.gaussians(outputs);
        let (weights, ends) = (gaussians.weights(), self.head.ends());
        let z: Vec<f32> = records.iter().zip(&theta).map(|(r, theta)| r.to_z(*theta)).collect();
        let density = gaussians.log_density(&weights, &ends, &z);
        let slope: f32 = records.iter().zip(&theta).map(|(r, theta)| r.log_slope(*theta)).sum();

        let mut rng = ChaCha8Rng::seed_from_u64(row as u64);
        let mut ties = ChaCha8Rng::seed_from_u64(row as u64);
        ties.set_stream(1);
        // The prior is standardized in this space: a point from about it, which knows nothing of the observation.
        let point: Vec<f32> = records.iter().map(|_| normal(&mut ties)).collect();
        // A whole number stands for its whole cell, as it did in training: in the middle the density is above the cell's mean.
        let anywhere = records.iter().zip(&theta).map(|(record, theta)| {
            let offset = if record.integer { within_cell(&mut ties) } else { 0.0 };
            record.to_z(theta + offset)
        });
        let density_of_truth =
            gaussians.log_density(&weights, &ends, &anywhere.collect::<Vec<f32>>());
        let mut rank = 0;
        let samples = judge_samples(&records, &theta, &point, &mut ties, |sample| {
            gaussians.sample(&weights, &ends, &mut rng, sample);
            rank += usize::from(gaussians.log_density(&weights, &ends, sample) > density_of_truth);
        });
        Scores { log_score: f64::from(density + slope), rank, samples }
    }
}

/// Judges [`SAMPLES`] standardized samples that `draw` writes by the truth, in physical units, and a random point.
pub(super) fn judge_samples(
    records: &[Parameter<'_>],
    theta: &[f32],
    point: &[f32],
    ties: &mut ChaCha8Rng,
    mut draw: impl FnMut(&mut [f32]),
) -> SampleScores {
    let z: Vec<f32> = records.iter().zip(theta).map(|(r, theta)| r.to_z(*theta)).collect();
    let truth_distance = squared_distance(&z, point);
    let mut samples = vec![Vec::with_capacity(SAMPLES); records.len()];
    let (mut nearer, mut as_near) = (0, 0);
    let mut drawn = vec![vec![0.0; records.len()]; SAMPLES];
    for sample in &mut drawn {
        draw(sample);
        for ((values, record), z) in samples.iter_mut().zip(records).zip(&mut *sample) {
            values.push(record.from_z(*z));
            *z = on_grid(record, *z);
        }
        let distance = squared_distance(sample, point);
        nearer += usize::from(distance < truth_distance);
        as_near += usize::from(distance == truth_distance);
    }
    let ranks = samples.iter().zip(theta).map(|(values, truth)| {
        let below = values.iter().filter(|value| *value < truth).count();
        let equal = values.iter().filter(|value| *value == truth).count();
        below + among(ties, equal)
    });
    let ranks = ranks.collect();
    let tarp_rank = nearer + among(ties, as_near);
    let crps = samples.iter_mut().zip(theta).map(|(values, truth)| crps(values, *truth));
    let crps = crps.collect();
    let moments = samples.iter().map(|values| Moments::of(values)).collect();
    SampleScores { crps, energy: energy_score(&drawn, &z), tarp_rank, ranks, moments }
}

/// Energy score of samples, the fair estimator: `mean ||x_i - y|| - mean over pairs ||x_i - x_j|| / 2`; the continuous ranked probability
/// score of a vector (Gneiting and Raftery 2007, <https://doi.org/10.1198/016214506000001437>, eq. (22)).
pub fn energy_score(samples: &[Vec<f32>], truth: &[f32]) -> f64 {
    let distance = |a: &[f32], b: &[f32]| f64::from(squared_distance(a, b)).sqrt();
    let error = mean(samples.iter().map(|x| distance(x, truth)));
    let pairs = samples
        .iter()
        .enumerate()
        .flat_map(|(i, x)| samples[..i].iter().map(move |other| distance(x, other)));
    error - 0.5 * mean(pairs)
}

/// Coverage of regions by the ranks of truths.
fn coverage(ranks: &[usize]) -> Vec<LevelCoverage> {
    let share = |level: f32| {
        let covered = ranks.iter().filter(|&&rank| covers(rank, level)).count();
        LevelCoverage { level, observed: covered as f64 / ranks.len() as f64 }
    };
    LEVELS.map(share).to_vec()
}

fn claimed_levels() -> [f64; 6] {
    LEVELS.map(super::percent).map(|percent| percent / 100.0)
}

fn claims_of(group: &str, ranks: &[usize], levels: &[f64], what: &str) -> Vec<Claim> {
    rank_claims(group, ranks, SAMPLES + 1, levels, |level| {
        format!("the {:.0} % {what} covers", 100.0 * level)
    })
}

/// What samples say of a joint posterior: ranks of the truth along each parameter, and in the distance to a random point. Regions of
/// highest density are left to those who know densities.
pub(super) fn joint_calibration(
    head: &'static str,
    parameters: &[ParameterScaling],
    positions: &[usize],
    scores: &[SampleScores],
    corpus: &Corpus,
) -> JointCalibration {
    let distances: Vec<usize> = scores.iter().map(|s| s.tarp_rank).collect();
    let what = "region of theta around a random point (TARP)";
    let mut claims = claims_of("tarp", &distances, &claimed_levels(), what);
    let mut marginals = Vec::new();
    for (at, parameter) in parameters.iter().enumerate() {
        let name = &parameter.name;
        let own: Vec<usize> = scores.iter().map(|s| s.ranks[at]).collect();
        claims.extend(rank_claims(
            &format!("quantiles of {name} by the {head}"),
            &own,
            SAMPLES + 1,
            &MARGINAL_LEVELS,
            |level| {
                format!(
                    "the {:.0} % quantile of {name} by the {head} is above the truth in",
                    100.0 * level
                )
            },
        ));
        // The rank of an interval: how far from the middle.
        let central: Vec<usize> = own.iter().map(|&rank| central(rank)).collect();
        let what = format!("interval of {name} by the {head}");
        claims.extend(claims_of(&what, &central, &[0.5, 0.9], &what));
        let truth = |row: usize| f64::from(corpus.theta_row(row)[positions[at]]);
        let truths: Vec<f64> = (0..scores.len()).map(truth).collect();
        let moments: Vec<&Moments> = scores.iter().map(|s| &s.moments[at]).collect();
        marginals.push(marginal(head, name, &own, &moments, truths));
    }
    JointCalibration { regions: Vec::new(), tarp: coverage(&distances), marginals, claims }
}

fn marginal(
    head: &'static str,
    name: &str,
    ranks: &[usize],
    moments: &[&Moments],
    mut truths: Vec<f64>,
) -> Marginal {
    let mut counts = vec![0; CELLS];
    ranks.iter().for_each(|rank| counts[rank * CELLS / (SAMPLES + 1)] += 1);
    let edges = (0..=CELLS).map(|edge| edge as f64 / CELLS as f64).collect();
    let mut marginal = Marginal::new(head, name, edges, counts);
    let prior_mean = mean(truths.iter().copied());
    let prior_variance = mean(truths.iter().map(|y| (y - prior_mean).powi(2)));
    let z: Vec<f64> = moments
        .iter()
        .zip(&truths)
        .filter(|(m, _)| m.variance > 0.0)
        .map(|(m, truth)| (m.mean - truth) / m.variance.sqrt())
        .collect();
    if prior_variance > 0.0 && !z.is_empty() {
        let z_mean = mean(z.iter().copied());
        let contraction = 1.0 - mean(moments.iter().map(|m| m.variance)) / prior_variance;
        marginal.contraction = Some(contraction);
        marginal.z_mean = Some(z_mean);
        marginal.z_sd = Some(mean(z.iter().map(|z| (z - z_mean).powi(2))).sqrt());
    }
    marginal.width90 = Some(mean(moments.iter().map(|m| m.width90)));
    marginal.prior_width90 = Some(width90(&mut truths));
    marginal
}

impl Moments {
    /// Of sorted samples.
    fn of(values: &[f32]) -> Moments {
        let mean = mean(values.iter().map(|value| f64::from(*value)));
        let squares = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
        let variance = squares / (values.len() - 1) as f64;
        let width90 = sample_quantile(values, 0.95) - sample_quantile(values, 0.05);
        Moments { mean, variance, width90 }
    }
}

/// Quantile of sorted samples: nearly unbiased whatever the distribution (Hyndman and Fan 1996, <https://doi.org/10.2307/2684934>,
/// definition 8). Beyond the outermost samples it is the outermost one.
///
/// ```
/// let samples = [1.0, 2.0, 3.0];
/// let quantile = |level| simground_trainer::evaluation::sample_quantile(&samples, level);
/// assert_eq!([quantile(0.0), quantile(0.5), quantile(1.0)], [1.0, 2.0, 3.0]);
/// ```
///
/// # Panics
///
/// Without samples.
pub fn sample_quantile(sorted: &[f32], level: f64) -> f64 {
    let place = level * (sorted.len() as f64 + 1.0 / 3.0) - 2.0 / 3.0;
    let place = place.clamp(0.0, (sorted.len() - 1) as f64);
    let (at, share) = (place as usize, place.fract());
    let next = sorted[(at + 1).min(sorted.len() - 1)];
    f64::from(sorted[at]) * (1.0 - share) + f64::from(next) * share
}

/// A whole number's place in the standardized space, where truths have theirs.
fn on_grid(record: &Parameter<'_>, z: f32) -> f32 {
    if record.integer { record.to_z(record.from_z(z)) } else { z }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// A standard normal number.
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    // Box and Muller's; the first factor's argument is never 0.
    let (u, v) = (f64::from(rng.next_u32()) + 0.5, f64::from(rng.next_u32()));
    let range = 4_294_967_296.0;
    ((-2.0 * (u / range).ln()).sqrt() * (std::f64::consts::TAU * v / range).cos()) as f32
}

/// Uniform in -1/2 to 1/2.
fn within_cell(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32 - 0.5
}

/// The rank of a truth among `equal` samples that equal it: each of `0..=equal` as likely.
fn among(rng: &mut ChaCha8Rng, equal: usize) -> usize {
    if equal == 0 { 0 } else { (rng.next_u64() % (equal as u64 + 1)) as usize }
}

/// Of a rank on `0..=99`, how far from the middle it is: uniform on the even numbers of `0..=98`.
fn central(rank: usize) -> usize {
    (2 * rank + 1).abs_diff(SAMPLES + 1) - 1
}

/// Whether the highest-density region of this level holds a truth of this rank.
fn covers(rank: usize, level: f32) -> bool {
    (rank as f32) < level * (SAMPLES + 1) as f32 - 0.5
}

/// Continuous ranked probability score of samples, the fair estimator: `mean |x_i - y| - mean over pairs |x_i - x_j| / 2`.
///
/// Unbiased for the score of the distribution that was sampled (Ferro 2014, <https://doi.org/10.1002/qj.2270>, eq. (3)). Sorts the samples.
fn crps(samples: &mut [f32], truth: f32) -> f64 {
    samples.sort_by(f32::total_cmp);
    let n = samples.len() as f64;
    let error = mean(samples.iter().map(|x| f64::from(x - truth).abs()));
    let spread =
        samples.iter().enumerate().map(|(i, x)| (2.0 * i as f64 + 1.0 - n) * f64::from(*x));
    error - spread.sum::<f64>() / (n * (n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crps_of_hand_values() {
        // Errors 1, 0, 3; pairs 1, 4, 3.
        let found = crps(&mut [4.0, 0.0, 1.0], 1.0);
        assert!((found - (4.0 / 3.0 - 8.0 / 3.0 / 2.0)).abs() < 1e-9, "{found}");
    }

    #[test]
    fn ninety_of_a_hundred_ranks_are_covered() {
        assert_eq!((0..=SAMPLES).filter(|&rank| covers(rank, 0.9)).count(), 90);
        assert_eq!((0..=SAMPLES).filter(|&rank| covers(rank, 0.25)).count(), 25);
        let inside = |level| (0..=SAMPLES).filter(|&rank| covers(central(rank), level)).count();
        assert_eq!((inside(0.5), inside(0.9)), (50, 90));
    }
}
