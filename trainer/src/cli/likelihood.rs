//! What a `ratio` head says of one window: its maximum, intervals, and samples of the posterior by resampling the prior.

use std::path::Path;

use anyhow::bail;
use rand_chacha::rand_core::Rng;
use serde::Serialize;
use simground_runtime::artifact::{Head, Manifest};
use simground_runtime::{Inference, Model, Ratio};
use simground_trainer::corpus::Scratch;
use simground_trainer::named::Named;
use simground_trainer::simulator::Split;
use simground_trainer::source::IN_MEMORY_BYTES;

use super::files;
use super::output::{say, significant};

/// Level of the intervals.
const LEVEL: f32 = 0.95;
/// Draws of the prior that are weighted by the ratio.
const PRIOR_DRAWS: u64 = 65_536;
/// Fewer draws than this in effect are warned of.
const LEAST_EFFECTIVE: f64 = 100.0;

/// The likelihood of one window.
#[derive(Debug, Serialize)]
pub struct Likelihood {
    /// Where it is largest.
    pub maximum: Named<f32>,
    /// Each parameter's interval by its profile.
    pub interval95: Named<[f32; 2]>,
    /// Logarithm of the ratio at the maximum.
    pub log_ratio: f32,
}

impl Likelihood {
    /// `None` without a `ratio` head.
    pub fn of(inference: &mut Inference<'_, '_, '_>) -> Option<Likelihood> {
        let mut ratio = inference.ratio()?;
        let maximum = ratio.maximum();
        let names: Vec<String> = ratio.parameters().iter().map(|p| p.name.to_owned()).collect();
        let interval = |(at, name): (usize, &String)| {
            let (low, high) = ratio.interval(&maximum, at, LEVEL)?;
            Some((name.clone(), [low, high]))
        };
        let interval95 = names.iter().enumerate().filter_map(interval).collect();
        let log_ratio = maximum.log_ratio;
        Some(Likelihood {
            maximum: names.into_iter().zip(maximum.theta).collect(),
            interval95,
            log_ratio,
        })
    }

    /// A line for each parameter.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![vec![String::new(), "MLE".into(), "95 % from".into(), "to".into()]];
        for ((name, value), (_, [low, high])) in self.maximum.iter().zip(self.interval95.iter()) {
            let values = [value, low, high].map(|value| significant(f64::from(*value), 4));
            rows.push([name.clone()].into_iter().chain(values).collect());
        }
        rows
    }
}

/// Names of the parameters of a model's `ratio` head.
pub fn parameters(manifest: &Manifest<'_>) -> Option<Vec<String>> {
    manifest.heads.iter().find_map(|head| {
        let Head::Ratio { parameters, .. } = head else { return None };
        Some(parameters.iter().map(|parameter| parameter.name.to_owned()).collect())
    })
}

/// Draws of theta before anything is observed.
#[derive(Debug)]
pub struct Prior {
    d: usize,
    /// `[draws, d]`.
    thetas: Vec<f32>,
}

impl Prior {
    /// Draws of the study's prior, or the thetas of a stored corpus.
    pub fn new(model: &Model<'_>, artifact: &Path, corpus: Option<&Path>) -> anyhow::Result<Prior> {
        let names = parameters(model.manifest()).unwrap_or_default();
        let float_model = files::float_model(model, artifact)?;
        let study = files::study_of(&float_model)?;
        let all = match (corpus, study.simulator()) {
            (Some(dir), _) => {
                let reader = files::stored(dir, &study)?;
                let most = IN_MEMORY_BYTES / Scratch::row_bytes_of(&reader);
                let sample = reader.sample(most, model.manifest().provenance.seed)?;
                if let Some(part) = sample.left_out() {
                    say(&format!("note: {}: the prior is that of {part}", dir.display()));
                }
                let corpus = sample.corpus;
                if corpus.schema.theta != float_model.schema.theta {
                    bail!(
                        "{}: its theta is not that of the corpus that trained {}",
                        dir.display(),
                        artifact.display()
                    );
                }
                corpus.theta
            }
            (None, Some(simulator)) => {
                let seed = model.manifest().provenance.seed;
                simulator.thetas(seed, Split::Test.first(PRIOR_DRAWS))
            }
            (None, None) => bail!(
                "{}: trained on a foreign corpus, so its prior is known from that corpus alone\nhint: `--corpus DIR` takes its thetas; or add a [[head]] of kind `mixture` to the study",
                artifact.display()
            ),
        };
        let known = &float_model.schema.theta;
        let positions: Vec<usize> =
            names.iter().filter_map(|name| known.iter().position(|p| p.name == *name)).collect();
        let rows = all.chunks_exact(known.len());
        let thetas = rows.flat_map(|row| positions.iter().map(|&at| row[at])).collect();
        Ok(Prior { d: positions.len(), thetas })
    }

    /// Weighs every draw by the ratio of one window.
    pub fn weigh(&self, ratio: &mut Ratio<'_, '_>, place: &str) -> Resampling<'_> {
        let logs: Vec<f32> =
            self.thetas.chunks_exact(self.d).map(|theta| ratio.log_ratio(theta)).collect();
        let largest = logs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (mut total, mut squares) = (0.0, 0.0);
        let cumulative = logs.iter().map(|log| {
            let weight = f64::from(log - largest).exp();
            total += weight;
            squares += weight * weight;
            total
        });
        let cumulative: Vec<f64> = cumulative.collect();
        let effective = total * total / squares;
        if effective < LEAST_EFFECTIVE {
            say(&format!(
                "warning: {place}: samples are {effective:.0} draws of the prior in effect, so many repeat\nhint: a `mixture` head draws without this limit"
            ));
        }
        Resampling { prior: self, cumulative }
    }
}

/// Draws of the prior with their weights: sampling-importance-resampling (Rubin 1988).
#[derive(Debug)]
pub struct Resampling<'p> {
    prior: &'p Prior,
    cumulative: Vec<f64>,
}

impl Resampling<'_> {
    /// One draw of the posterior.
    pub fn draw(&self, rng: &mut impl Rng, theta: &mut [f32]) {
        let unit = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let at = self.cumulative.partition_point(|sum| *sum <= unit * total);
        let d = self.prior.d;
        let at = at.min(self.cumulative.len() - 1);
        theta.copy_from_slice(&self.prior.thetas[at * d..][..d]);
    }
}
