//! What a likelihood surface is worth: its classification of pairs, its maximum and its confidence sets.

use rayon::prelude::*;
use simground_runtime::Model;

use super::theta::positions;
use super::{Answer, EvaluationError, Metrics, mean};
use crate::corpus::Corpus;
use crate::float_model::FloatModel;
use crate::head::ratio::{self, Judged, PARTNERS, partner};
use crate::head::{Head, Ratio};
use crate::network::Tail;

/// Level of the sets whose coverage is told.
const LEVEL: f32 = 0.95;

/// A `ratio` head and the corpus that judges it.
#[derive(Debug, Clone)]
pub struct JudgedRatio<'c> {
    head: &'c Ratio,
    tail: &'c Tail,
    corpus: &'c Corpus,
    positions: Vec<usize>,
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
            Head::Ratio(head) => Some((head, model.network.tail(at)?)),
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

    /// Adds the cross-entropy of the float model.
    pub fn add_float(&self, answers: &[Answer], metrics: &mut Metrics) {
        let rows = answers.len();
        let z = self.head.standardize(self.corpus);
        let d = self.head.parameters.len();
        let judge = |(row, answer): (usize, &Answer)| {
            let partners = (0..PARTNERS).map(|p| partner(row, p, rows));
            let theta: Vec<f32> = [row]
                .into_iter()
                .chain(partners)
                .flat_map(|of| z[of * d..][..d].to_vec())
                .collect();
            let data = answer.ratio_data.repeat(1 + PARTNERS);
            let values = self.tail.forward(&data, &theta).1;
            Judged { joint: values[0], marginal: values[1..].to_vec() }
        };
        let pairs: Vec<Judged> = answers.par_iter().enumerate().map(judge).collect();
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
