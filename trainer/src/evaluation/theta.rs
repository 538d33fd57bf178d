//! Scores of the heads that answer theta: errors of the posterior mean; density, coverage and CRPS of a joint posterior.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

use super::{Answer, EvaluationError, LevelCoverage, mean, names};
use crate::corpus::Corpus;
use crate::head::{Mixture, ParameterScaling, Point};

/// Draws from each posterior: with a calibrated one, the truth's rank among them is uniform on `0..=99`.
const SAMPLES: usize = 99;
/// Levels at which the coverage of highest-density regions is shown.
const LEVELS: [f32; 6] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95];

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
                row,
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
    /// Of each parameter.
    crps: Vec<f64>,
    /// Samples at which the density is higher than at the truth.
    rank: usize,
}

impl JudgedMixture {
    pub fn new(head: &Mixture, corpus: &Corpus) -> Result<JudgedMixture, EvaluationError> {
        let positions = positions(&head.parameters, corpus)?;
        Ok(JudgedMixture { head: head.clone(), positions })
    }

    /// The rival that answers the same for every observation: one Gaussian with the prior's moments in the unbounded space. Of a
    /// uniform prior that is the prior itself.
    pub fn prior(&self) -> (JudgedMixture, Vec<f32>) {
        let head = Mixture { components: 1, ..self.head.clone() };
        let outputs = vec![0.0; head.outputs()];
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
        metrics.extend(self.head.parameters.iter().enumerate().map(|(at, parameter)| {
            ("crps", parameter.name.as_str(), mean(scores.iter().map(|s| s.crps[at])))
        }));
        metrics
    }

    /// How often the truth lies in the highest-density region of each level.
    pub fn coverage(&self, answers: &[Answer], corpus: &Corpus) -> Vec<LevelCoverage> {
        let scores = self.scores(answers, corpus);
        let share = |level: f32| {
            let covered = scores.iter().filter(|s| covers(s.rank, level)).count();
            LevelCoverage { level, observed: covered as f64 / scores.len() as f64 }
        };
        LEVELS.map(share).to_vec()
    }

    fn scores(&self, answers: &[Answer], corpus: &Corpus) -> Vec<Scores> {
        let rows = answers.par_iter().enumerate();
        rows.map(|(row, answer)| self.score(&answer.mixture, corpus, row)).collect()
    }

    fn score(&self, outputs: &[f32], corpus: &Corpus, row: usize) -> Scores {
        let records: Vec<_> = self.head.parameters.iter().map(ParameterScaling::record).collect();
        let theta: Vec<f32> = self.positions.iter().map(|&at| corpus.theta_row(row)[at]).collect();
        let gaussians = self.head.gaussians(outputs);
        let weights = gaussians.weights();
        let z: Vec<f32> = records.iter().zip(&theta).map(|(r, theta)| r.to_z(*theta)).collect();
        let density = gaussians.log_density(&weights, &z);
        let slope: f32 = records.iter().zip(&theta).map(|(r, theta)| r.log_slope(*theta)).sum();

        let mut rng = ChaCha8Rng::seed_from_u64(row as u64);
        let mut samples = vec![Vec::with_capacity(SAMPLES); records.len()];
        let mut rank = 0;
        let mut sample = vec![0.0; records.len()];
        for _ in 0..SAMPLES {
            gaussians.sample(&weights, &mut rng, &mut sample);
            rank += usize::from(gaussians.log_density(&weights, &sample) > density);
            for ((values, record), z) in samples.iter_mut().zip(&records).zip(&sample) {
                values.push(record.from_z(*z));
            }
        }
        let crps = samples.iter_mut().zip(&theta).map(|(values, truth)| crps(values, *truth));
        Scores { log_score: f64::from(density + slope), crps: crps.collect(), rank }
    }
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
    }
}
