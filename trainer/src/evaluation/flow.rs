//! What the samples of a `flow` head are worth.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use simground_runtime::Model;

use super::theta::{
    JointCalibration, SAMPLES, SampleScores, joint_calibration, judge_samples, normal, positions,
};
use super::{Answer, EvaluationError, Metrics, mean};
use crate::corpus::Corpus;
use crate::float_model::FloatModel;
use crate::head::{Flow, Head, ParameterScaling};
use crate::network::Tail;

/// A `flow` head and the corpus that judges it.
#[derive(Debug, Clone)]
pub struct JudgedFlow<'c> {
    head: &'c Flow,
    tail: &'c Tail,
    corpus: &'c Corpus,
    positions: Vec<usize>,
    /// Whether another head answers theta's distribution, and has the plain names.
    beside: bool,
}

/// What samples of each answer are worth.
pub struct Judged(Vec<SampleScores>);

impl<'c> JudgedFlow<'c> {
    /// `None` for a model without such a head.
    ///
    /// # Errors
    ///
    /// [`EvaluationError`] when the corpus lacks a parameter, or has one outside the support.
    pub fn of(
        model: &'c FloatModel,
        corpus: &'c Corpus,
    ) -> Result<Option<JudgedFlow<'c>>, EvaluationError> {
        let mut heads = model.heads.iter().enumerate();
        let found = heads.find_map(|(at, head)| match head {
            Head::Flow(head) => Some((head, model.network.tail(at)?)),
            _ => None,
        });
        let Some((head, tail)) = found else { return Ok(None) };
        let positions = positions(&head.parameters, corpus)?;
        let beside = model.heads.iter().any(|head| matches!(head, Head::Mixture(_)));
        Ok(Some(JudgedFlow { head, tail, corpus, positions, beside }))
    }

    /// Judges the integer model.
    pub fn integer(&self, model: &Model<'_>) -> Judged {
        let scratch = || vec![0_u32; model.scratch_words()];
        self.judge(scratch, |scratch, row, rng| {
            self.head.integer_samples(model, scratch, self.corpus.x_row(row), rng, SAMPLES)
        })
    }

    /// Judges the float model's answers.
    pub fn float(&self, answers: &[Answer]) -> Judged {
        self.judge(Vec::new, |_, row, rng| {
            self.head.float_samples(self.tail, &answers[row].flow_data, rng, SAMPLES)
        })
    }

    /// Judges noise in the place of answers.
    pub fn baseline(&self) -> Judged {
        self.judge(Vec::new, |_, _, rng| self.head.prior_samples(rng, SAMPLES))
    }

    /// Judges samples, `[SAMPLES, parameters]` in physical units, of every row.
    fn judge(
        &self,
        scratch: impl Fn() -> Vec<u32> + Sync + Send,
        samples: impl Fn(&mut Vec<u32>, usize, &mut ChaCha8Rng) -> Vec<f32> + Sync + Send,
    ) -> Judged {
        let records: Vec<_> = self.head.parameters.iter().map(ParameterScaling::record).collect();
        let judge = |scratch: &mut Vec<u32>, row: usize| {
            // The same noise for the integer and for the float model.
            let mut rng = ChaCha8Rng::seed_from_u64(row as u64);
            let mut ties = ChaCha8Rng::seed_from_u64(row as u64);
            ties.set_stream(1);
            let point: Vec<f32> = records.iter().map(|_| normal(&mut ties)).collect();
            let drawn = samples(scratch, row, &mut rng);
            let mut drawn = drawn.chunks_exact(records.len());
            let theta = self.head.truth(self.corpus, row);
            judge_samples(&records, &theta, &point, &mut ties, |z| {
                let theta = drawn.next().expect("as many samples as are judged");
                z.copy_from_slice(&self.head.standardized(theta));
            })
        };
        Judged((0..self.corpus.len()).into_par_iter().map_init(scratch, judge).collect())
    }

    /// Adds `crps` of each parameter, and `energy_score` of theta.
    pub fn add(&self, Judged(scores): &Judged, metrics: &mut Metrics) {
        let named = |name: &str| {
            if self.beside { format!("{name} (flow)") } else { name.to_owned() }
        };
        let mut put = |metric: &str, name: &str, value: f64| {
            metrics.entry(metric.into()).or_default().insert(named(name), value);
        };
        put("energy_score", "theta", mean(scores.iter().map(|s| s.energy)));
        for (at, parameter) in self.head.parameters.iter().enumerate() {
            put("crps", &parameter.name, mean(scores.iter().map(|s| s.crps[at])));
        }
    }

    /// Ranks of the truth among the samples.
    pub fn calibration(&self, Judged(scores): &Judged) -> JointCalibration {
        let parameters = &self.head.parameters;
        joint_calibration("flow", parameters, &self.positions, scores, self.corpus)
    }
}
