//! A training as a stranger's corpus gets it, and samples of what it made.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use simground_runtime::Model;

use super::{Kind, failed};
use crate::corpus::{Corpus, Parameter, Schema, Target};
use crate::evaluation::Metrics;
use crate::float_model::FloatModel;
use crate::head::{Flow, Head, Mixture, ParameterScaling, flow};
use crate::network::Tail;
use crate::pipeline::{self, Options, Talk};
use crate::proposal::propose;
use crate::reproduce::ExperimentError;
use crate::samples::generator;
use crate::source::Source;
use crate::study::{self, Study};
use crate::training::Silent;

/// What a training made, and what it is worth on simulations that nothing else saw.
pub(super) struct Trained {
    pub artifact: Vec<u8>,
    float_model: FloatModel,
    /// Of the integers, the floats and the prior.
    pub energy_score: [f64; 3],
    /// The same; NaN where there is no density, as in the three below.
    pub log_score: [f64; 3],
    /// Of the integers' joint 90 % region of highest density.
    pub coverage: f64,
    pub components: f64,
    pub steps: f64,
    /// From the first look at the corpus to the artifact.
    pub seconds: f64,
}

/// Trains on rows of x and theta with the study that is proposed for them.
pub(super) fn train(
    (name, kind): (&str, Kind),
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
    if kind == Kind::Flow {
        for head in &mut study.heads {
            if let study::Head::Mixture { parameters, .. } = head {
                let (parameters, hidden) = (parameters.take(), flow::HIDDEN.to_vec());
                *head = study::Head::Flow { parameters, hidden };
            }
        }
    }
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
    let figure = |metrics: &Metrics, name: &str| {
        metrics.get(name).and_then(|of| of.get("theta")).copied().unwrap_or(f64::NAN)
    };
    let figures = |name: &str| {
        [&judged.integer, &judged.float, &judged.baselines["prior"]].map(|of| figure(of, name))
    };
    let (components, steps) = match joint(&float_model) {
        Joint::Mixture(head) => (head.components as f64, f64::NAN),
        Joint::Flow(head, _) => (f64::NAN, head.schedule.steps as f64),
    };
    Ok(Trained {
        energy_score: figures("energy_score"),
        log_score: figures("log_score"),
        coverage: figure(&judged.integer, "coverage90"),
        components,
        steps,
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

/// The head that answers the joint posterior.
enum Joint<'m> {
    Mixture(&'m Mixture),
    Flow(&'m Flow, &'m Tail),
}

fn joint(model: &FloatModel) -> Joint<'_> {
    let mut heads = model.heads.iter().enumerate();
    let joint = heads.find_map(|(at, head)| match head {
        Head::Mixture(mixture) => Some(Joint::Mixture(mixture)),
        Head::Flow(flow) => Some(Joint::Flow(flow, model.network.tail(at)?)),
        _ => None,
    });
    joint.expect("a proposal for parameters that vary has a joint posterior")
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
        let head = match joint(&self.float_model) {
            Joint::Mixture(head) => head,
            Joint::Flow(flow, tail) => {
                let (mut rng, mut same) = (generator(seed, row), generator(seed, row));
                let answer = self.float_model.answer(x).swap_remove(0);
                return Ok((
                    flow.integer_samples(&model, &mut scratch, x, &mut rng, count),
                    flow.float_samples(tail, &answer.flow_data, &mut same, count),
                ));
            }
        };
        let inference = model.infer(x, &mut scratch).map_err(failed)?;
        let posterior = inference.mixture().expect("the artifact has the float model's heads");
        let d = posterior.parameters().len();
        let (mut rng, mut integer) = (generator(seed, row), vec![0.0; count * d]);
        integer.chunks_exact_mut(d).for_each(|theta| posterior.sample(&mut rng, theta));

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
