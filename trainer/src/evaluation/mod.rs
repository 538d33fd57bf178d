//! What an artifact is worth: the integer runtime's answers on simulations it never saw, beside the float model and trivial baselines.

mod calibration;
mod flow;
mod gate;
mod ratio;
mod tail;
mod theta;

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use simground_runtime::Model;

pub use self::calibration::{BAND, Calibration, LevelCoverage, Marginal, ReliabilityBin, ece};
pub use self::flow::JudgedFlow;
pub use self::gate::{Failure, Gate, LEVEL, TOLERANCE};
pub use self::ratio::{JudgedRatio, RatioCalibration};
pub use self::theta::{JointCalibration, energy_score, sample_quantile};

use self::calibration::{class_claims, classes, reliability};
use self::gate::Claim;
use self::theta::{JudgedMixture, JudgedPoint};
use crate::corpus::{Corpus, Schema};
use crate::head::Head;

/// Everything a model says about one window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Posterior over mechanisms; empty without a `categorical` head.
    pub mechanism: Vec<f32>,
    /// Quantiles of each target in raw units, through all `quantiles` heads in order.
    pub quantiles: Vec<Vec<f32>>,
    /// Posterior mean of each parameter of the `point` head.
    pub point: Vec<f32>,
    /// Real outputs of the `mixture` head: the parameters of the posterior.
    pub mixture: Vec<f32>,
    /// What the observation adds to the first layer of a float model's `ratio` head.
    pub ratio_data: Vec<f32>,
    /// The same for its `flow` head.
    pub flow_data: Vec<f32>,
    /// Novelty p-value, where there is a bank.
    pub novelty: Option<f32>,
}

/// `metric -> target -> value`.
pub type Metrics = BTreeMap<String, BTreeMap<String, f64>>;

/// Answers of the integer runtime to windows `[n, d_x]`, in parallel.
///
/// # Panics
///
/// If the windows are not as wide as the model's.
pub fn integer_answers(model: &Model<'_>, x: &[f32]) -> Vec<Answer> {
    let scratch = || vec![0_u32; model.scratch_words()];
    let answer = |scratch: &mut Vec<u32>, window: &[f32]| {
        let mut inference = model.infer(window, scratch).expect("windows of the model's width");
        Answer {
            mechanism: inference.mechanism_posterior().map_or(Vec::new(), |p| p.to_vec()),
            quantiles: (0..).map_while(|at| inference.quantiles(at)).map(|q| q.to_vec()).collect(),
            point: (0..).map_while(|at| inference.point(at)).collect(),
            mixture: inference.mixture().map_or(Vec::new(), |m| m.outputs().collect()),
            ratio_data: Vec::new(),
            flow_data: Vec::new(),
            novelty: inference.attribute::<1>().map(|a| a.novelty),
        }
    };
    x.par_chunks_exact(model.d_values()).map_init(scratch, answer).collect()
}

/// What one answer is worth: from the truth, the quantiles and the target; `None` where it does not apply.
type Score<'s> = &'s dyn Fn(f64, &[f32], &Judged) -> Option<f64>;

/// One target of a `quantiles` head.
#[derive(Debug, Clone, PartialEq)]
struct Judged {
    column: usize,
    name: String,
    series: String,
    levels: Vec<f32>,
    /// Whether relative errors make sense: the support excludes zero or the target is continuous and positive.
    relative: bool,
}

/// A schema that lacks what the model answers.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum EvaluationError {
    /// A target of the model that the corpus does not have.
    #[error("the corpus has no target `{name}`, which the model answers; it has {known}")]
    MissingTarget {
        /// The target.
        name: String,
        /// What there is.
        known: String,
    },
    /// A window of another width.
    #[error("the corpus has {found} values a row in `x` where the model takes {needed}")]
    WrongWidth {
        /// Values that the model takes.
        needed: usize,
        /// Values a row.
        found: usize,
    },
    /// A missing value where the model takes none.
    #[error(
        "row {row} of the corpus, column `x`: `{name}` is missing, but the model was trained without missing values"
    )]
    MissingValue {
        /// Row, from 0.
        row: u64,
        /// Name of the value.
        name: String,
    },
    /// A parameter of the model that the corpus does not have.
    #[error("the corpus has no parameter `{name}`, which the model answers; it has {known}")]
    MissingParameter {
        /// The parameter.
        name: String,
        /// What there is.
        known: String,
    },
    /// A parameter outside the support that the model answers within.
    #[error(
        "row {row} of the corpus, column `theta`: `{name}` is {value}, outside the model's support of {low} to {high}"
    )]
    OutsideSupport {
        /// Row, from 0.
        row: u64,
        /// Name of the parameter.
        name: String,
        /// Its value.
        value: f32,
        /// Lower end of the support.
        low: f32,
        /// Upper end of the support.
        high: f32,
    },
    /// A mechanism that the model does not know.
    #[error("the corpus has a mechanism `{name}` that the model does not know; it knows {known}")]
    UnknownMechanism {
        /// The mechanism.
        name: String,
        /// What the model knows.
        known: String,
    },
}

impl EvaluationError {
    /// The same of a corpus in which row `i` is `rows[i]`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn among(mut self, rows: &[u64]) -> EvaluationError {
        if let EvaluationError::MissingValue { row, .. }
        | EvaluationError::OutsideSupport { row, .. } = &mut self
        {
            *row = rows[*row as usize];
        }
        self
    }
}

/// Judges answers on one corpus.
#[derive(Debug, Clone)]
pub struct Judge<'c> {
    corpus: &'c Corpus,
    targets: Vec<Judged>,
    /// Position among the model's mechanisms of each row's mechanism; empty where the model has no `categorical` head.
    mechanism: Vec<usize>,
    mechanisms: Vec<String>,
    point: Option<JudgedPoint>,
    mixture: Option<JudgedMixture>,
}

impl<'c> Judge<'c> {
    /// Prepares to judge a model with these heads and mechanisms on `corpus`.
    ///
    /// # Errors
    ///
    /// [`EvaluationError`] when the corpus lacks what the model answers.
    pub fn new(
        corpus: &'c Corpus,
        heads: &[Head],
        mechanisms: &[String],
        d_x: usize,
    ) -> Result<Judge<'c>, EvaluationError> {
        let schema = &corpus.schema;
        if schema.d_x() != d_x {
            return Err(EvaluationError::WrongWidth { needed: d_x, found: schema.d_x() });
        }
        let mut targets = Vec::new();
        let (mut point, mut mixture) = (None, None);
        for head in heads {
            let head = match head {
                Head::Categorical(_) | Head::Ratio(_) | Head::Flow(_) => continue,
                Head::Quantiles(head) => head,
                Head::Point(head) => {
                    point = Some(JudgedPoint::new(head, corpus)?);
                    continue;
                }
                Head::Mixture(head) => {
                    mixture = Some(JudgedMixture::new(head, corpus)?);
                    continue;
                }
            };
            for scaling in &head.targets {
                let column = schema.targets.iter().position(|t| t.name == scaling.name);
                let column = column.ok_or_else(|| EvaluationError::MissingTarget {
                    name: scaling.name.clone(),
                    known: names(schema.targets.iter().map(|t| &t.name)),
                })?;
                targets.push(Judged {
                    column,
                    name: scaling.name.clone(),
                    series: scaling.series.clone(),
                    levels: head.levels.clone(),
                    relative: scaling.lower >= 0.0 && !schema.targets[column].integer,
                });
            }
        }
        let categorical = heads.iter().any(|head| matches!(head, Head::Categorical(_)));
        let position = |name: &String| {
            mechanisms.iter().position(|m| m == name).ok_or_else(|| {
                EvaluationError::UnknownMechanism {
                    name: name.clone(),
                    known: names(mechanisms.iter()),
                }
            })
        };
        let mechanism = if categorical && !schema.mechanisms.is_empty() {
            let positions: Vec<usize> =
                schema.mechanisms.iter().map(position).collect::<Result<_, _>>()?;
            corpus.mechanism.iter().map(|&m| positions[usize::from(m)]).collect()
        } else {
            Vec::new()
        };
        let mechanisms = mechanisms.to_vec();
        Ok(Judge { corpus, targets, mechanism, mechanisms, point, mixture })
    }

    /// All metrics of these answers; over the steps of a series errors are pooled.
    pub fn metrics(&self, answers: &[Answer]) -> Metrics {
        let mut metrics = Metrics::new();
        let mut put = |metric: &str, target: &str, value: f64| {
            metrics.entry(metric.into()).or_default().insert(target.into(), value);
        };
        for series in self.series() {
            let members: Vec<(usize, &Judged)> =
                self.targets.iter().enumerate().filter(|(_, t)| t.series == series).collect();
            let pooled = |value: Score<'_>| {
                let each = members.iter().flat_map(|(at, target)| {
                    let rows = answers.iter().enumerate();
                    rows.filter_map(|(row, answer)| {
                        value(self.truth(row, target), &answer.quantiles[*at], target)
                    })
                });
                mean(each)
            };
            put("mae", series, pooled(&|y, q, t| Some((y - t.median(q)).abs())));
            put("rmse", series, pooled(&|y, q, t| Some((y - t.median(q)).powi(2))).sqrt());
            if members.iter().all(|(_, target)| target.relative) {
                put(
                    "mape",
                    series,
                    pooled(&|y, q, t| (y > 0.0).then(|| ((y - t.median(q)) / y).abs())),
                );
            }
            let coverage = pooled(&|y, q, t| {
                let (low, high) = (t.level(q, 0.05)?, t.level(q, 0.95)?);
                Some(f64::from(u8::from(low <= y && y <= high)))
            });
            if coverage.is_finite() {
                put("coverage90", series, coverage);
            }
            put("wis", series, pooled(&|y, q, t| Some(2.0 * t.pinball(y, q))));
        }
        if !self.mechanism.is_empty() {
            let rows = || answers.iter().map(|a| &a.mechanism).zip(&self.mechanism);
            put(
                "accuracy",
                "mechanism",
                mean(rows().map(|(p, &m)| f64::from(u8::from(argmax(p) == m)))),
            );
            put(
                "log_score",
                "mechanism",
                mean(rows().map(|(p, &m)| f64::from(p[m].max(1e-12)).ln())),
            );
            let brier = rows().map(|(p, &m)| {
                p.iter()
                    .enumerate()
                    .map(|(at, &p)| (f64::from(p) - f64::from(u8::from(at == m))).powi(2))
                    .sum()
            });
            put("brier", "mechanism", mean(brier));
            put("ece", "mechanism", ece(&self.reliability(answers)));
        }
        if let Some(point) = &self.point {
            for (name, mae, rmse) in point.errors(answers, self.corpus) {
                // A `quantiles` head of the same name is judged by its median.
                let shared = self.targets.iter().any(|target| target.series == name);
                let name = if shared { format!("{name} (mean)") } else { name.to_owned() };
                put("mae", &name, mae);
                put("rmse", &name, rmse);
            }
        }
        if let Some(mixture) = &self.mixture {
            for (metric, target, value) in mixture.metrics(answers, self.corpus) {
                put(metric, target, value);
            }
        }
        metrics
    }

    /// The trivial rivals: the prior (marginal quantiles and mechanism shares, here of the judged corpus itself, which favors the
    /// baseline) and, for a forecast of the observed series, its last value.
    pub fn baselines(&self, forecast: Option<&str>) -> BTreeMap<String, Metrics> {
        let n = self.corpus.len();
        let mut prior = Answer::default();
        if !self.mechanism.is_empty() {
            prior.mechanism = vec![0.0; self.mechanisms.len()];
            self.mechanism.iter().for_each(|&m| prior.mechanism[m] += 1.0 / n as f32);
        }
        for target in &self.targets {
            let mut values: Vec<f32> = (0..n).map(|row| self.truth(row, target) as f32).collect();
            values.sort_by(f32::total_cmp);
            let at = |level: f32| values[((n as f32 * level) as usize).min(n - 1)];
            prior.quantiles.push(target.levels.iter().map(|&level| at(level)).collect());
        }
        if let Some(point) = &self.point {
            prior.point = point.prior();
        }
        let mut judge = self.clone();
        if let Some(mixture) = &self.mixture {
            let (mixture, outputs) = mixture.prior();
            (judge.mixture, prior.mixture) = (Some(mixture), outputs);
        }
        let mut baselines = BTreeMap::new();
        baselines.insert("prior".into(), judge.metrics(&vec![prior; n]));
        if let Some(series) = forecast {
            let last = |row: usize| {
                let observed = self.corpus.x_row(row).iter().rev().find(|x| !x.is_nan());
                let value = observed.copied().unwrap_or(0.0);
                Answer {
                    mechanism: vec![1.0 / self.mechanisms.len() as f32; self.mechanisms.len()],
                    quantiles: self.targets.iter().map(|t| vec![value; t.levels.len()]).collect(),
                    ..Answer::default()
                }
            };
            let answers: Vec<Answer> = (0..n).map(last).collect();
            let judge = Judge { point: None, mixture: None, ..self.clone() };
            let mut metrics = judge.metrics(&answers);
            // A single value is a point forecast: it says nothing of intervals, nor of anything but its series.
            metrics.retain(|metric, _| ["mae", "rmse"].contains(&metric.as_str()));
            metrics.values_mut().for_each(|targets| targets.retain(|target, _| target == series));
            baselines.insert("last_value".into(), metrics);
        }
        baselines
    }

    /// Whether stated probabilities are true, and what the gate says to that, of a model that so many simulations calibrated; `ratio` and
    /// `flow` are what was found of heads of these kinds.
    pub fn calibration(
        &self,
        answers: &[Answer],
        calibrated_on: u64,
        ratio: Option<RatioCalibration>,
        flow: Option<JointCalibration>,
    ) -> Calibration {
        let mut quantiles: BTreeMap<String, Vec<LevelCoverage>> = BTreeMap::new();
        for series in self.series() {
            let members: Vec<(usize, &Judged)> =
                self.targets.iter().enumerate().filter(|(_, t)| t.series == series).collect();
            let levels = members.first().map_or(Vec::new(), |(_, t)| t.levels.clone());
            let coverage = |(position, &level): (usize, &f32)| {
                let below = members.iter().flat_map(|(at, target)| {
                    answers.iter().enumerate().map(|(row, answer)| {
                        // A count can sit exactly on a quantile: half of a tie counts as below.
                        let (y, q) =
                            (self.truth(row, target), f64::from(answer.quantiles[*at][position]));
                        if y < q {
                            1.0
                        } else if y > q {
                            0.0
                        } else {
                            0.5
                        }
                    })
                });
                LevelCoverage { level, observed: mean(below) }
            };
            quantiles.insert(series.into(), levels.iter().enumerate().map(coverage).collect());
        }
        let p_values: Vec<f32> = answers.iter().filter_map(|a| a.novelty).collect();
        let share = |limit: f32| {
            let below = p_values.iter().filter(|p| **p <= limit).count();
            LevelCoverage { level: limit, observed: below as f64 / p_values.len() as f64 }
        };
        let mut sbc: Vec<Marginal> =
            self.targets.iter().enumerate().map(|(at, t)| self.marginal(t, at, answers)).collect();
        let mut claims: Vec<Claim> = self
            .targets
            .iter()
            .enumerate()
            .flat_map(|(at, t)| self.claims(t, at, answers))
            .collect();
        let (mechanism, mechanisms) = if self.mechanism.is_empty() {
            (Vec::new(), BTreeMap::new())
        } else {
            let stated: Vec<&[f32]> = answers.iter().map(|a| a.mechanism.as_slice()).collect();
            (self.reliability(answers), classes(&self.mechanisms, &stated, &self.mechanism))
        };
        claims.extend(if mechanism.is_empty() {
            Vec::new()
        } else {
            class_claims(&mechanism, &mechanisms)
        });
        let (mut theta, mut tarp) = (Vec::new(), Vec::new());
        if let Some(mixture) = &self.mixture {
            let judged = mixture.calibration(answers, self.corpus);
            (theta, tarp) = (judged.regions, judged.tarp);
            sbc.extend(judged.marginals);
            claims.extend(judged.claims);
        }
        if let Some(judged) = flow {
            // A mixture's, where there is one, are those that are drawn.
            if tarp.is_empty() {
                tarp = judged.tarp;
            }
            sbc.extend(judged.marginals);
            claims.extend(judged.claims);
        }
        let mut regions = Vec::new();
        if let Some(judged) = ratio {
            regions = judged.regions;
            claims.extend(judged.claims);
        }
        Calibration {
            mechanism,
            mechanisms,
            quantiles,
            theta,
            tarp,
            ratio: regions,
            sbc,
            novelty: if p_values.is_empty() {
                Vec::new()
            } else {
                [0.01, 0.05, 0.1, 0.25, 0.5].map(share).to_vec()
            },
            gate: Gate::of(&claims, calibrated_on),
        }
    }

    /// Ranks of one target's truths among its quantiles, the `at`-th of the answers.
    fn marginal(&self, target: &Judged, at: usize, answers: &[Answer]) -> Marginal {
        let levels: Vec<f64> = target.levels.iter().map(|level| f64::from(*level)).collect();
        let mut edges = vec![0.0];
        edges.extend(levels.iter().copied().chain([1.0]));
        let mut counts = vec![0; levels.len() + 1];
        for (row, answer) in answers.iter().enumerate() {
            let y = self.truth(row, target);
            let q = &answer.quantiles[at];
            let below = q.iter().filter(|q| f64::from(**q) < y).count();
            let ties = q.iter().filter(|q| f64::from(**q) == y).count();
            let cell = if ties == 0 {
                below
            } else {
                // Anywhere between the levels that the tie spans.
                let mut rng = ChaCha8Rng::seed_from_u64(row as u64);
                rng.set_stream(1 + at as u64);
                let share = f64::from(rng.next_u32()) / f64::from(u32::MAX);
                let rank = edges[below] + share * (edges[below + ties + 1] - edges[below]);
                levels.partition_point(|level| *level <= rank)
            };
            counts[cell] += 1;
        }
        let mut marginal = Marginal::new("quantiles", &target.name, edges, counts);
        marginal.series.clone_from(&target.series);
        let widths = || {
            answers.iter().filter_map(|answer| {
                let q = &answer.quantiles[at];
                Some(target.level(q, 0.95)? - target.level(q, 0.05)?)
            })
        };
        if widths().next().is_some() {
            let mut truths: Vec<f64> =
                (0..answers.len()).map(|row| self.truth(row, target)).collect();
            marginal.width90 = Some(mean(widths()));
            marginal.prior_width90 = Some(calibration::width90(&mut truths));
        }
        marginal
    }

    /// What one target's quantiles claim: each level by itself, and each interval between two symmetric ones.
    fn claims(&self, target: &Judged, at: usize, answers: &[Answer]) -> Vec<Claim> {
        let count = |holds: &dyn Fn(f64, &[f32]) -> bool| {
            let rows = answers.iter().enumerate();
            rows.filter(|(row, a)| holds(self.truth(*row, target), &a.quantiles[at])).count() as u64
        };
        let claim = |kind: &str, sentence, stated: f32, at_most, at_least| Claim {
            group: format!("{kind} of {}", target.series),
            sentence,
            stated: f64::from(stated),
            trials: answers.len() as u64,
            at_most,
            at_least,
        };
        let mut claims = Vec::new();
        for (position, &level) in target.levels.iter().enumerate() {
            let sentence = format!(
                "the {} % quantile of {} is above the truth in",
                percent(level),
                target.name
            );
            let weak = count(&|y, q| y <= f64::from(q[position]));
            let strict = count(&|y, q| y < f64::from(q[position]));
            claims.push(claim("quantiles", sentence, level, weak, strict));
            let upper = target.levels.iter().position(|l| (l + level - 1.0).abs() < 1e-6);
            let Some(upper) = upper.filter(|&upper| upper > position) else { continue };
            let stated = target.levels[upper] - level;
            let sentence = format!("the {} % interval of {} covers", percent(stated), target.name);
            let closed = count(&|y, q| f64::from(q[position]) <= y && y <= f64::from(q[upper]));
            let open = count(&|y, q| f64::from(q[position]) < y && y < f64::from(q[upper]));
            claims.push(claim("intervals", sentence, stated, closed, open));
        }
        claims
    }

    fn series(&self) -> Vec<&str> {
        let mut series: Vec<&str> = Vec::new();
        for target in &self.targets {
            if !series.contains(&target.series.as_str()) {
                series.push(&target.series);
            }
        }
        series
    }

    fn truth(&self, row: usize, target: &Judged) -> f64 {
        f64::from(self.corpus.target_row(row)[target.column])
    }

    /// Fifteen bins of equal width over the largest probability.
    fn reliability(&self, answers: &[Answer]) -> Vec<ReliabilityBin> {
        if self.mechanism.is_empty() {
            return Vec::new();
        }
        let pair = |(answer, &m): (&Answer, &usize)| {
            let best = argmax(&answer.mechanism);
            (f64::from(answer.mechanism[best]), best == m)
        };
        reliability(answers.iter().zip(&self.mechanism).map(pair), 15)
    }
}

impl Judged {
    fn median(&self, q: &[f32]) -> f64 {
        self.level(q, 0.5).unwrap_or_else(|| {
            // Between the two middle levels where 0.5 itself is not one.
            let upper = self.levels.partition_point(|l| *l < 0.5).clamp(1, q.len().max(2) - 1);
            f64::from(q[upper - 1] + q[upper.min(q.len() - 1)]) / 2.0
        })
    }

    fn level(&self, q: &[f32], level: f32) -> Option<f64> {
        let at = self.levels.iter().position(|l| (l - level).abs() < 1e-6)?;
        q.get(at).map(|q| f64::from(*q))
    }

    /// Mean pinball loss over the levels; twice it is the weighted interval score (Bracher et al. 2021,
    /// <https://doi.org/10.1371/journal.pcbi.1008618>, eq. (3)) of levels symmetric around the median.
    fn pinball(&self, y: f64, q: &[f32]) -> f64 {
        let each = self.levels.iter().zip(q).map(|(&level, &q)| {
            let (level, error) = (f64::from(level), y - f64::from(q));
            f64::max(level * error, (level - 1.0) * error)
        });
        mean(each)
    }
}

/// Largest change from float to integer, relative to the float model's value, and where.
///
/// The expected calibration error is left out: a few thousand simulations hardly determine its value, which is mostly noise. Shares of
/// the `simulations` that were judged may differ by two of them, which rounding turns over where an answer was on the edge.
pub fn largest_change(integer: &Metrics, float: &Metrics, simulations: usize) -> (f64, String) {
    let mut largest = (0.0, String::new());
    for (metric, targets) in integer.iter().filter(|(metric, _)| *metric != "ece") {
        for (target, value) in targets {
            let Some(reference) = float.get(metric).and_then(|targets| targets.get(target)) else {
                continue;
            };
            // The difference of two logarithms is a relative change already.
            let size = if metric == "log_score" { 1.0 } else { reference.abs().max(1e-12) };
            let is_share = matches!(metric.as_str(), "coverage90" | "accuracy");
            let grain = if is_share { 2.0 / simulations.max(1) as f64 } else { 0.0 };
            let change = ((value - reference).abs() - grain) / size;
            if change > largest.0 {
                largest = (change, format!("{metric}/{target}"));
            }
        }
    }
    largest
}

/// The position of the largest probability; the first of equals.
pub fn argmax(p: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in p.iter().enumerate() {
        if *value > p[best] {
            best = at;
        }
    }
    best
}

/// The series that the simulator's forecast continues, if the schema has several steps of one.
pub fn forecast_series(schema: &Schema) -> Option<&str> {
    let group = schema.targets.iter().find(|t| t.group != t.name)?;
    Some(&group.group)
}

/// A share in percent, without a fraction that it does not have.
fn percent(share: f32) -> f64 {
    (1e4 * f64::from(share)).round() / 100.0
}

fn names<'n>(names: impl Iterator<Item = &'n String>) -> String {
    names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests;
