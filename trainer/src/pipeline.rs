//! The whole way: simulations, training, quantization, calibration, bank, artifact, evaluation.
//!
//! ```text
//! Train        scaling, weights, embedding, prototypes
//! Validation   early stopping, activation ranges, kernel bandwidth
//! Calibration  temperature, conformal offsets, novelty table
//! Test         the figures that are printed, and nothing else
//! ```

mod check;
mod plan;

use std::path::PathBuf;

use simground_runtime::{Model, artifact as format};

use self::plan::Plan;
use crate::artifact::{self, Parts, Provenance, WriteError};
use crate::corpus::Corpus;
use crate::evaluation::{self, Calibration, EvaluationError, Judge, JudgedRatio, Metrics};
use crate::float_model::{FloatModel, hash};
use crate::quantization::{self, QuantizationError};
use crate::simulator::Split;
use crate::source::Source;
use crate::study::Study;
use crate::training::{Backend, Fitted, Observer, Stop, TrainingError};

/// Test simulations behind the figures in an artifact's provenance.
pub const TEST_SIMULATIONS: u64 = 4_000;
/// Largest relative change of a metric from float to integer that passes without a warning.
pub const QUANTIZATION_TOLERANCE: f64 = 0.01;

/// Name of the one stage that an observer can stop.
pub const TRAINING: &str = "training";

/// How to make an artifact, apart from what the study says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which of burn's backends trains.
    pub backend: Backend,
    /// Training state, for `resume`.
    pub checkpoint: Option<PathBuf>,
    /// Go on from `checkpoint` if it exists.
    pub resume: bool,
    /// Threads that simulate; 0 for one a core.
    pub threads: usize,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The artifact.
    pub artifact: Vec<u8>,
    /// The float model beside it.
    pub float_model: Vec<u8>,
    /// How training went.
    pub fitted: Fitted,
    /// On [`TEST_SIMULATIONS`] simulations that nothing else saw.
    pub report: Evaluation,
}

/// Figures of an artifact on one corpus.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Evaluation {
    /// Of the integer runtime.
    pub integer: Metrics,
    /// Of the float model.
    pub float: Metrics,
    /// Of trivial rivals.
    pub baselines: std::collections::BTreeMap<String, Metrics>,
    /// Whether stated probabilities are true.
    pub calibration: Calibration,
    /// Simulations judged.
    pub num_simulations: usize,
    /// Largest relative change of a metric from float to integer, and of which (`ece` is left out).
    pub largest_change: (f64, String),
    /// What fails the calibration gate; empty when it passes.
    pub gate_failures: Vec<String>,
}

/// Why no artifact was made.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The study asks for what cannot be.
    #[error("{0}")]
    Study(String),
    /// The artifact would not fit.
    #[error("{what} of {needed} bytes exceeds the study's budget of {budget} bytes\nhint: {hint}")]
    OverBudget {
        /// Flash or RAM.
        what: &'static str,
        /// Bytes needed.
        needed: usize,
        /// Bytes allowed.
        budget: usize,
        /// What helps.
        hint: String,
    },
    /// The observer stopped the training; with a checkpoint it can go on.
    #[error("interrupted at step {step}")]
    Interrupted {
        /// Steps made.
        step: u64,
    },
    /// Training failed.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// Quantization failed.
    #[error(transparent)]
    Quantization(#[from] QuantizationError),
    /// The format cannot hold the model.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The model cannot be judged.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
}

/// Says what is being done; stages take seconds to minutes.
pub trait Talk {
    /// A stage begins.
    fn stage(&mut self, what: &str);
    /// A fact worth a line.
    fn note(&mut self, what: &str);
}

/// Makes an artifact from a study.
///
/// A function of the study, the source and the backend alone: the same bytes every time on one machine.
///
/// # Errors
///
/// [`PipelineError`]; what cannot fit the budget is refused before training.
pub fn run(
    study: &Study,
    source: &Source,
    options: &Options,
    observer: &mut dyn Observer,
    talk: &mut dyn Talk,
) -> Result<Outcome, PipelineError> {
    let plan = Plan::new(study, source)?;
    plan.check_budget()?;
    talk.stage(TRAINING);
    let mut fitted = plan.train(options, observer)?;
    if fitted.stop == Stop::Observer {
        return Err(PipelineError::Interrupted { step: fitted.steps });
    }
    talk.note(&format!(
        "{} steps, best held-out loss {:.4} at step {}, {} simulations, {:.1} s ({:.1} s waiting for simulations)",
        fitted.steps,
        fitted.best_loss,
        fitted.best_step,
        fitted.simulations_used,
        fitted.elapsed.as_secs_f64(),
        fitted.stalled.as_secs_f64(),
    ));
    talk.stage("quantization and posterior calibration");
    let validation = plan.source.simulations(Split::Validation, 0..plan.validation);
    let ranges = plan.ranges(&fitted.network, &validation);
    let embedding = plan.fit_embedding(&fitted.network);
    let held_out = plan.source.simulations(Split::Calibration, 0..plan.calibration);
    plan.calibrate(&mut fitted.network, &ranges, &embedding, &held_out)?;
    let network = quantization::quantize(&fitted.network, &ranges, &embedding)?;

    talk.stage("bank");
    let float_model = plan.float_model(&fitted.network, &embedding);
    let float_bytes = float_model.to_bytes();
    let mut provenance = Provenance {
        study_hash: hash(study.source.as_bytes()),
        simulator_hash: study.simulator_hash(),
        float_hash: hash(&float_bytes),
        seed: study.seed,
        num_simulations: fitted.simulations_used,
        ..Provenance::default()
    };
    let (bank, corpus_hash) = plan.bank(&plan.parts_of(&network, &provenance), &held_out)?;
    provenance.corpus_hash = corpus_hash;
    let windows = plan.self_test_windows(&validation);

    talk.stage("evaluation");
    let test = plan
        .source
        .simulations(Split::Test, 0..plan.source.available(Split::Test, TEST_SIMULATIONS));
    let parts = Parts { bank: &bank, self_test: &windows, ..plan.parts_of(&network, &provenance) };
    let unjudged = artifact::write(&parts)?;
    let model = Model::from_bytes(&unjudged).map_err(WriteError::Refused)?;
    let report = evaluate(&model, &float_model, &test)?;
    provenance.calibrated = report.gate_failures.is_empty();
    provenance.metrics = figures(&report.integer);
    let parts = Parts { bank: &bank, self_test: &windows, ..plan.parts_of(&network, &provenance) };
    let artifact = artifact::write(&parts)?;
    plan.check_flash(artifact.len(), bank.len())?;
    Ok(Outcome { artifact, float_model: float_bytes, fitted, report })
}

/// Proves that a study fits its source and its budget, as [`run`] does before it trains.
///
/// # Errors
///
/// [`PipelineError`] for what [`run`] would refuse before training.
pub fn check(study: &Study, source: &Source) -> Result<(), PipelineError> {
    Plan::new(study, source)?.check_budget()
}

/// Judges an artifact and its float model on a corpus.
///
/// # Errors
///
/// [`EvaluationError`] when the corpus lacks what the model answers.
pub fn evaluate(
    model: &Model<'_>,
    float_model: &FloatModel,
    corpus: &Corpus,
) -> Result<Evaluation, EvaluationError> {
    let mechanisms = &float_model.schema.mechanisms;
    let judge = Judge::new(corpus, &float_model.heads, mechanisms, model.d_values())?;
    let missing = corpus.x.iter().position(|x| x.is_nan());
    if let (format::Missing::Refuse, Some(at)) = (float_model.input.missing, missing) {
        let (row, column) = (at / model.d_values(), at % model.d_values());
        let name = corpus.schema.x_names[column].clone();
        return Err(EvaluationError::MissingValue { row, name });
    }
    let integer_answers = evaluation::integer_answers(model, &corpus.x);
    let mut integer = judge.metrics(&integer_answers);
    let float_answers = float_model.answer(&corpus.x);
    let mut float = judge.metrics(&float_answers);
    let mut baselines = judge.baselines(evaluation::forecast_series(&float_model.schema));
    if let Some(ratio) = JudgedRatio::of(float_model, corpus)? {
        ratio.add_integer(model, &mut integer);
        ratio.add_float(&float_answers, &mut float);
        ratio.add_baseline(baselines.entry("prior".into()).or_default());
    }
    Ok(Evaluation {
        largest_change: evaluation::largest_change(&integer, &float),
        gate_failures: evaluation::gate(&integer, corpus.len()),
        baselines,
        calibration: judge.calibration(&integer_answers),
        num_simulations: corpus.len(),
        integer,
        float,
    })
}

/// Metrics as an artifact carries them.
fn figures(metrics: &Metrics) -> Vec<(String, f32)> {
    let each = |(metric, targets): (&String, &std::collections::BTreeMap<String, f64>)| {
        let named =
            targets.iter().map(|(target, value)| (format!("{metric}/{target}"), *value as f32));
        named.collect::<Vec<_>>()
    };
    metrics.iter().flat_map(each).collect()
}

/// The largest RAM that a caller provides for one model: the model itself, its scratch and a window.
pub fn ram_bytes(model: &Model<'_>) -> usize {
    4 * model.scratch_words() + 4 * model.d_values() + size_of::<Model<'_>>()
}
