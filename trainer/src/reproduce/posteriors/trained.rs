//! A training as a stranger's corpus gets it, and samples of what it made.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use simground_runtime::Model;

use super::failed;
use crate::corpus::{Corpus, Parameter, Schema, Target};
use crate::evaluation::Metrics;
use crate::float_model::FloatModel;
use crate::head::{Head, Mixture, ParameterScaling};
use crate::pipeline::{self, Options, Talk};
use crate::proposal::propose;
use crate::reproduce::ExperimentError;
use crate::samples::generator;
use crate::source::Source;
use crate::study::Study;
use crate::training::Silent;

/// What a training made, and what it is worth on simulations that nothing else saw.
pub(super) struct Trained {
    pub artifact: Vec<u8>,
    float_model: FloatModel,
    /// Of the integers, the floats and the prior.
    pub log_score: [f64; 3],
    /// Of the integers' joint 90 % region of highest density.
    pub coverage: f64,
    pub components: usize,
    /// From the first look at the corpus to the artifact.
    pub seconds: f64,
}

/// Trains on rows of x and theta with the study that is proposed for them.
pub(super) fn train(
    name: &str,
    rows: &Corpus,
    seed: u64,
    judged: &Corpus,
    talk: &mut dyn Talk,
) -> Result<Trained, ExperimentError> {
    let started = Instant::now();
    let mut corpus = bare(rows);
    let proposal = propose(name, corpus.clone(), false).map_err(failed)?;
    let mut study = Study::parse(&proposal.text, "study.toml").map_err(failed)?;
    study.seed = seed;
    Arc::make_mut(&mut corpus.schema).declare(&study.parameters, false).map_err(failed)?;
    let source = Source::stored(corpus, seed, None);
    let outcome = pipeline::run(&study, &source, &Options::default(), &mut Silent, talk);
    let outcome = outcome.map_err(failed)?;
    let seconds = started.elapsed().as_secs_f64();
    let float_model = FloatModel::from_bytes(&outcome.float_model, Path::new("study.float"));
    let float_model = float_model.map_err(failed)?;
    let artifact = outcome.artifact;
    let judged = {
        let model = Model::from_bytes(&artifact).map_err(failed)?;
        pipeline::evaluate(&model, &float_model, &bare(judged)).map_err(failed)?
    };
    let log_score = |metrics: &Metrics| metrics["log_score"]["theta"];
    Ok(Trained {
        log_score: [
            log_score(&judged.integer),
            log_score(&judged.float),
            log_score(&judged.baselines["prior"]),
        ],
        coverage: judged.integer["coverage90"]["theta"],
        components: mixture(&float_model).components,
        artifact,
        float_model,
        seconds,
    })
}

/// The rows as another program would write them: x and theta, no units, no supports.
fn bare(rows: &Corpus) -> Corpus {
    let known = &rows.schema;
    let parameter = |known: &Parameter| Parameter {
        name: known.name.clone(),
        unit: String::new(),
        lower: None,
        upper: None,
        integer: false,
    };
    let target = |known: &Parameter| Target {
        name: known.name.clone(),
        group: known.name.clone(),
        lower: None,
        upper: None,
        integer: false,
    };
    let schema = Schema {
        x_names: known.x_names.clone(),
        theta: known.theta.iter().map(parameter).collect(),
        targets: known.theta.iter().map(target).collect(),
        mechanisms: Vec::new(),
    };
    Corpus {
        x: rows.x.clone(),
        theta: rows.theta.clone(),
        target: rows.theta.clone(),
        mechanism: vec![0; rows.len()],
        index: (0..rows.len() as u64).collect(),
        ..Corpus::empty(Arc::new(schema))
    }
}

fn mixture(model: &FloatModel) -> &Mixture {
    let mixture = model.heads.iter().find_map(|head| match head {
        Head::Mixture(mixture) => Some(mixture),
        _ => None,
    });
    mixture.expect("a proposal for parameters that vary has a joint posterior")
}

impl Trained {
    /// Samples given one window, `[count, d]`: as `predict --samples` draws them from the integers, and of the floats.
    pub fn samples(
        &self,
        x: &[f32],
        count: usize,
        seed: u64,
        row: usize,
    ) -> Result<(Vec<f32>, Vec<f32>), ExperimentError> {
        let model = Model::from_bytes(&self.artifact).map_err(failed)?;
        let mut scratch = vec![0; model.scratch_words()];
        let inference = model.infer(x, &mut scratch).map_err(failed)?;
        let posterior = inference.mixture().expect("the artifact has the float model's heads");
        let d = posterior.parameters().len();
        let (mut rng, mut integer) = (generator(seed, row), vec![0.0; count * d]);
        integer.chunks_exact_mut(d).for_each(|theta| posterior.sample(&mut rng, theta));

        let head = mixture(&self.float_model);
        let records: Vec<_> = head.parameters.iter().map(ParameterScaling::record).collect();
        let answer = self.float_model.answer(x).swap_remove(0);
        let gaussians = head.gaussians(&answer.mixture);
        let (weights, ends) = (gaussians.weights(), head.ends());
        let (mut rng, mut float) = (generator(seed, row), vec![0.0; count * d]);
        for theta in float.chunks_exact_mut(d) {
            gaussians.sample(&weights, &ends, &mut rng, theta);
            let raw = theta.iter_mut().zip(&records);
            raw.for_each(|(value, record)| *value = record.from_z(*value));
        }
        Ok((integer, float))
    }
}
