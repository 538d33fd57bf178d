//! The joint posterior of an artifact as `simground init` proposes it, against exact posteriors of two tasks of the field's benchmark.
//!
//! Each training sees so many simulations and nothing else: the study is the proposal for a stored corpus, and the same rows are split
//! into training, validation, calibration and test. Samples come from the integer runtime, and from the float model beside it. The
//! five observations, their reference samples and the simulations of the log score have a seed of their own: they choose nothing.

mod reference;

use rayon::prelude::*;
use simground_runtime::Model;

use self::reference::Reference;
use super::{Experiment, ExperimentError, Findings, Row, Settings, Spread};
use crate::comparison::compare;
use crate::corpus::Corpus;
use crate::float_model::FloatModel;
use crate::head::{Head, ParameterScaling};
use crate::named::Named;
use crate::pipeline::{self, Options, Talk};
use crate::proposal::propose;
use crate::samples::generator;
use crate::simulator::{Simulator, Split};
use crate::source::Source;
use crate::study::Study;
use crate::training::Silent;

pub(super) const TWO_MOONS: Experiment = Experiment {
    name: "two-moons",
    about: "posterior samples of a proposed study's artifact against the exact posterior: two moons",
    takes: "30 minutes",
    seeds: &[1, 2, 3],
    run: |settings, talk| {
        run(include_str!("../../studies/two-moons.toml"), Reference::TwoMoons, settings, talk)
    },
};

pub(super) const GAUSSIAN_LINEAR: Experiment = Experiment {
    name: "gaussian-linear",
    about: "the same: ten Gaussian means under a uniform prior",
    takes: "60 minutes",
    seeds: &[1, 2, 3],
    run: |settings, talk| {
        let study = include_str!("../../studies/gaussian-linear-uniform.toml");
        run(study, Reference::GaussianLinear, settings, talk)
    },
};

/// Seed of everything that judges.
const JUDGE: u64 = 8_800;
const OBSERVATIONS: u64 = 5;
/// Simulations of the log score.
const JUDGED: u64 = 4_000;

/// How much is computed.
struct Effort {
    sizes: Vec<u64>,
    samples: usize,
}

/// Observations with their exact posteriors, and simulations for the log score.
struct Judge {
    observations: Corpus,
    /// Of each observation.
    reference: Vec<Vec<f32>>,
    simulations: Corpus,
}

/// One training, judged.
struct Run {
    size: u64,
    /// Of each observation.
    integer: Vec<f64>,
    float: Vec<f64>,
    /// Log scores of the integers, the floats and the prior.
    log_score: [f64; 3],
    coverage: f64,
    bytes: usize,
    components: usize,
    seconds: f64,
}

fn failed(error: impl std::fmt::Display) -> ExperimentError {
    ExperimentError(error.to_string())
}

fn run(
    study: &str,
    exact: Reference,
    settings: &Settings,
    talk: &mut dyn Talk,
) -> Result<Findings, ExperimentError> {
    let effort = if settings.quick {
        Effort { sizes: vec![500], samples: 1_000 }
    } else {
        Effort { sizes: vec![1_000, 10_000], samples: 10_000 }
    };
    let simulator =
        Study::parse(study, "study.toml").map_err(failed)?.simulator().expect("has a mechanism");
    let observations = simulator.simulate(JUDGE, Split::Test.first(OBSERVATIONS));
    let reference = |row: usize| exact.samples(observations.x_row(row), effort.samples, row as u64);
    let judge = Judge {
        reference: (0..observations.len()).into_par_iter().map(reference).collect(),
        simulations: simulator.simulate(JUDGE, Split::Validation.first(JUDGED)),
        observations: observations.clone(),
    };
    let prior = |row: usize| {
        let first = OBSERVATIONS + row as u64 * effort.samples as u64;
        let base = Split::Test.base();
        let draws = simulator.simulate(JUDGE, base + first..base + first + effort.samples as u64);
        c2st(&draws.theta, &judge.reference[row], draws.schema.d_theta())
    };
    let prior: Vec<f64> = (0..judge.reference.len()).map(prior).collect();
    let mut runs = Vec::new();
    for &size in effort.sizes.iter().filter(|size| **size <= settings.at_most) {
        for &seed in &settings.seeds {
            talk.stage(&format!("{size} simulations, seed {seed}"));
            runs.push(trained(&simulator, &judge, size, seed, talk)?);
        }
    }
    Ok(findings(&runs, &prior, &effort, settings))
}

/// Classifier two-sample test of two sets of samples `[n, d]`.
fn c2st(samples: &[f32], reference: &[f32], d: usize) -> f64 {
    compare(samples, reference, d, JUDGE).c2st
}

fn trained(
    simulator: &Simulator,
    judge: &Judge,
    size: u64,
    seed: u64,
    talk: &mut dyn Talk,
) -> Result<Run, ExperimentError> {
    let corpus = simulator.simulate(seed, Split::Train.first(size));
    let started = std::time::Instant::now();
    let proposal = propose("posteriors", corpus.clone(), false).map_err(failed)?;
    let mut study = Study::parse(&proposal.text, "study.toml").map_err(failed)?;
    study.seed = seed;
    let source = Source::stored(corpus, seed, None);
    let outcome = pipeline::run(&study, &source, &Options::default(), &mut Silent, talk);
    let outcome = outcome.map_err(failed)?;
    let seconds = started.elapsed().as_secs_f64();
    let model = Model::from_bytes(&outcome.artifact).map_err(failed)?;
    let path = std::path::Path::new("posteriors.float");
    let float_model = FloatModel::from_bytes(&outcome.float_model, path).map_err(failed)?;
    let judged = pipeline::evaluate(&model, &float_model, &judge.simulations).map_err(failed)?;
    let metric = |metrics: &crate::evaluation::Metrics, name: &str| metrics[name]["theta"];
    let components = float_model.heads.iter().find_map(|head| match head {
        Head::Mixture(mixture) => Some(mixture.components),
        _ => None,
    });
    let (rows, d) = (0..judge.observations.len(), judge.observations.schema.d_theta());
    let compared = |samples: &dyn Fn(usize) -> Vec<f32>| -> Vec<f64> {
        rows.clone().map(|row| c2st(&samples(row), &judge.reference[row], d)).collect()
    };
    let count = judge.reference[0].len() / d;
    Ok(Run {
        size,
        integer: compared(&|row| {
            integer_samples(&model, judge.observations.x_row(row), count, row)
        }),
        float: compared(&|row| {
            float_samples(&float_model, judge.observations.x_row(row), count, row)
        }),
        log_score: [
            metric(&judged.integer, "log_score"),
            metric(&judged.float, "log_score"),
            metric(&judged.baselines["prior"], "log_score"),
        ],
        coverage: metric(&judged.integer, "coverage90"),
        bytes: outcome.artifact.len(),
        components: components.unwrap_or(0),
        seconds,
    })
}

/// As `predict --samples` draws them.
fn integer_samples(model: &Model<'_>, x: &[f32], count: usize, row: usize) -> Vec<f32> {
    let mut scratch = vec![0; model.scratch_words()];
    let inference = model.infer(x, &mut scratch).expect("a window of the model's width");
    let mixture = inference.mixture().expect("a proposal has a joint posterior");
    let d = mixture.parameters().len();
    let mut rng = generator(JUDGE, row);
    let mut samples = vec![0.0; count * d];
    samples.chunks_exact_mut(d).for_each(|theta| mixture.sample(&mut rng, theta));
    samples
}

fn float_samples(model: &FloatModel, x: &[f32], count: usize, row: usize) -> Vec<f32> {
    let answer = model.answer(x).swap_remove(0);
    let mixture = model.heads.iter().find_map(|head| match head {
        Head::Mixture(mixture) => Some(mixture),
        _ => None,
    });
    let mixture = mixture.expect("a proposal has a joint posterior");
    let records: Vec<_> = mixture.parameters.iter().map(ParameterScaling::record).collect();
    let gaussians = mixture.gaussians(&answer.mixture);
    let (weights, ends) = (gaussians.weights(), mixture.ends());
    let mut rng = generator(JUDGE, row);
    let mut samples = vec![0.0; count * records.len()];
    for theta in samples.chunks_exact_mut(records.len()) {
        gaussians.sample(&weights, &ends, &mut rng, theta);
        theta.iter_mut().zip(&records).for_each(|(value, record)| *value = record.from_z(*value));
    }
    samples
}

fn findings(runs: &[Run], prior: &[f64], effort: &Effort, settings: &Settings) -> Findings {
    let (mut rows, mut summary) = (Vec::new(), Named(Vec::new()));
    let spread = |runs: &[&Run], of: &dyn Fn(&Run) -> f64| {
        Spread::of(&runs.iter().map(|run| of(run)).collect::<Vec<_>>())
    };
    for &size in effort.sizes.iter().filter(|size| **size <= settings.at_most) {
        let own: Vec<&Run> = runs.iter().filter(|run| run.size == size).collect();
        for (at, prior) in prior.iter().enumerate() {
            rows.push(
                Row::new("simulations", size.to_string())
                    .text("observation", (at + 1).to_string())
                    .spread("c2st_integer", &spread(&own, &|run| run.integer[at]))
                    .spread("c2st_float", &spread(&own, &|run| run.float[at]))
                    .number("c2st_prior", *prior),
            );
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let integer = spread(&own, &|run| mean(&run.integer));
        let float = spread(&own, &|run| mean(&run.float));
        let mut put =
            |name: &str, value: f64| summary.0.push((format!("{name}_{size}"), value.into()));
        put("c2st_integer", integer.mean);
        put("c2st_integer_sd", integer.sd);
        put("c2st_float", float.mean);
        put("c2st_prior", mean(prior));
        put("log_score_integer", spread(&own, &|run| run.log_score[0]).mean);
        put("log_score_float", spread(&own, &|run| run.log_score[1]).mean);
        put("log_score_prior", spread(&own, &|run| run.log_score[2]).mean);
        put("coverage90", spread(&own, &|run| run.coverage).mean);
        put("flash_bytes", spread(&own, &|run| run.bytes as f64).max);
        put("components_least", spread(&own, &|run| run.components as f64).min);
        put("components_most", spread(&own, &|run| run.components as f64).max);
        put("train_seconds", spread(&own, &|run| run.seconds).mean);
    }
    Findings { rows, summary, figures: Vec::new() }
}
