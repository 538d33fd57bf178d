//! The whole way: simulations, training, quantization, calibration, bank, artifact, evaluation.
//!
//! ```text
//! Train        scaling, weights, embedding, prototypes
//! Validation   early stopping, activation ranges, kernel bandwidth
//! Calibration  temperature, conformal offsets, novelty table
//! Test         the figures that are printed, and nothing else
//! ```

mod check;
mod fine_tuning;
mod last_layers;
mod plan;
mod selection;

use std::path::PathBuf;
use std::sync::Arc;

use simground_runtime::{Model, artifact as format};

pub use self::fine_tuning::{FINE_TUNING, FineTuning, Quantization};

use self::plan::{Compressed, Plan};
use crate::artifact::{self, Parts, Provenance, WriteError};
use crate::bank::agreement::{self, Agreement};
use crate::corpus::{Corpus, Reader, Schema, Scratch};
use crate::evaluation::{
    self, Answer, Calibration, EvaluationError, Judge, JudgedFlow, JudgedRatio, Metrics,
};
use crate::float_model::{FloatModel, hash};
use crate::quantization::QuantizationError;
use crate::simulator::Split;
use crate::source::Source;
use crate::study::{Diagnostic, Study};
use crate::training::{Backend, Fitted, Observer, Stop, TrainingError};

/// Test simulations behind the figures in an artifact's provenance.
pub const TEST_SIMULATIONS: u64 = 4_000;
/// Test simulations on which the bank is compared with an exact search.
const COMPARED_SIMULATIONS: u64 = 1_000;
/// Memory for stored simulations on which a model is judged, and for what is computed of them.
const JUDGED_BYTES: u64 = 512 << 20;
/// Largest relative change of a metric from float to integer that passes without a warning; a larger rise of a head's held-out loss starts
/// a fine-tuning.
pub const QUANTIZATION_TOLERANCE: f64 = 0.01;

/// Name of the stage that trains; an observer can stop it, and [`FINE_TUNING`].
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
    /// Networks to train, from the study's seed and those after it; the one with the least held-out loss is kept. 0 and 1 mean one.
    pub seeds: u64,
}

impl Options {
    /// Where a fine-tuning keeps its state: beside that of the training.
    pub fn fine_tuning_checkpoint(&self) -> Option<PathBuf> {
        self.checkpoint.as_ref().map(|path| path.with_extension("integers.checkpoint"))
    }

    /// The networks to train from `first` on: the seed of each, and where its training state is kept.
    pub fn members(&self, first: u64) -> Vec<(u64, Option<PathBuf>)> {
        if self.seeds < 2 {
            return vec![(first, self.checkpoint.clone())];
        }
        let seeds = (0..self.seeds).map(|after| first.wrapping_add(after));
        let of_seed = |seed| {
            let named = |path: &PathBuf| path.with_extension(format!("{seed}.checkpoint"));
            (seed, self.checkpoint.as_ref().map(named))
        };
        seeds.map(of_seed).collect()
    }
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
    /// What quantization cost, and what was done about it.
    pub quantization: Quantization,
    /// On [`TEST_SIMULATIONS`] simulations that nothing else saw.
    pub report: Evaluation,
    /// Of the bank, beside an exact search through the corpus that it stands for.
    pub agreement: Agreement,
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
    /// The same, of a head.
    #[error(transparent)]
    Head(Box<Diagnostic>),
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
    let mut plan = Plan::new(study, source)?;
    plan.check_budget()?;
    talk.stage(TRAINING);
    let all = plan.train(options, observer, talk)?;
    if let Some(stopped) = all.iter().find(|fitted| fitted.stop == Stop::Observer) {
        return Err(PipelineError::Interrupted { step: stopped.steps });
    }
    if all.len() > 1 {
        talk.note(&spread(study.seed, &all));
    }
    let best = all.into_iter().min_by(|a, b| a.best_loss.total_cmp(&b.best_loss));
    let mut fitted = best.expect("one network or more was trained");
    talk.note(&format!(
        "{} steps, best held-out loss {:.4} at step {}, {} simulations, {:.1} s ({:.1} s waiting for simulations)",
        fitted.steps,
        fitted.best_loss,
        fitted.best_step,
        fitted.simulations_used,
        fitted.elapsed.as_secs_f64(),
        fitted.stalled.as_secs_f64(),
    ));
    talk.stage("quantization");
    let validation = plan.source.simulations(Split::Validation, 0..plan.validation);
    let held_out = plan.source.simulations(Split::Calibration, 0..plan.calibration);
    let mut trained = plan.quantizable(fitted.network.clone(), &validation);
    let (cost, tuned) = plan.quantize_well(
        &trained,
        fitted.steps,
        (&validation, &held_out),
        options,
        (observer, talk),
    )?;
    talk.stage("posterior calibration");
    plan.calibrate(&mut trained, &held_out)?;
    let (subject, before_fine_tuning) = match tuned {
        None => (trained, None),
        Some(mut tuned) => {
            plan.calibrate(&mut tuned, &held_out)?;
            (tuned, Some(trained.network))
        }
    };
    let mut network = plan.quantize(&subject)?;
    fitted.network = subject.network;

    talk.stage("bank");
    let provenance = Provenance::default();
    let compared = plan.source.available(Split::Test, COMPARED_SIMULATIONS);
    let compared = plan.source.simulations(Split::Test, 0..compared);
    let parts = plan.parts_of(&network, &provenance);
    let Compressed { table: bank, corpus_hash, exact } = plan.bank(&parts, &held_out, &compared)?;
    // The bank may need less of the embedding than it was offered.
    network.embedding = network.embedding.leading(bank.d_embed);
    let embedding = subject.embedding.leading(bank.d_embed);
    let float_model =
        FloatModel { before_fine_tuning, ..plan.float_model(&fitted.network, &embedding) };
    let float_bytes = float_model.to_bytes();
    let mut provenance = Provenance {
        study_hash: hash(study.source.as_bytes()),
        simulator_hash: study.simulator_hash(),
        float_hash: hash(&float_bytes),
        seed: study.seed,
        num_simulations: fitted.simulations_used,
        corpus_hash,
        ..Provenance::default()
    };
    let windows = plan.self_test_windows(&validation);

    talk.stage("evaluation");
    let test = plan
        .source
        .simulations(Split::Test, 0..plan.source.available(Split::Test, TEST_SIMULATIONS));
    let parts = Parts { bank: &bank, self_test: &windows, ..plan.parts_of(&network, &provenance) };
    let unjudged = artifact::write(&parts)?;
    let model = Model::from_bytes(&unjudged).map_err(WriteError::Refused)?;
    let report = evaluate(&model, &float_model, &test)?;
    let answers = agreement::runtime_answers(&model, &compared.x);
    let agreement = agreement::judge_answers(&answers, &exact);
    talk.note(&format!(
        "{} prototypes for {} simulations; beside the exact search through all of them: mechanism posterior within {:.3} (total variation), the same most probable mechanism for {:.1} %",
        bank.bank.len(),
        bank.num_simulations,
        agreement.mechanism_tv,
        100.0 * agreement.top1_agreement,
    ));
    provenance.calibrated = report.gate_failures.is_empty();
    provenance.metrics = figures(&report.integer);
    provenance.metrics.extend([
        ("bank_tv/mechanism".into(), agreement.mechanism_tv as f32),
        ("bank_agreement/mechanism".into(), agreement.top1_agreement as f32),
        ("bank_distance/theta".into(), agreement.theta_distance as f32),
    ]);
    provenance.metrics.extend(cost.figures());
    let parts = Parts { bank: &bank, self_test: &windows, ..plan.parts_of(&network, &provenance) };
    let artifact = artifact::write(&parts)?;
    plan.check_flash(artifact.len(), bank.bank.len())?;
    Ok(Outcome {
        artifact,
        float_model: float_bytes,
        fitted,
        quantization: cost,
        report,
        agreement,
    })
}

/// How much seeds differ, in a line.
fn spread(first: u64, all: &[Fitted]) -> String {
    let losses = all.iter().map(|fitted| fitted.best_loss);
    let mean = losses.clone().sum::<f64>() / all.len() as f64;
    let sd =
        (losses.map(|loss| (loss - mean).powi(2)).sum::<f64>() / (all.len() - 1) as f64).sqrt();
    let each =
        all.iter().zip(first..).map(|(fitted, seed)| format!("{seed}: {:.4}", fitted.best_loss));
    let each = each.collect::<Vec<_>>().join(", ");
    format!("held-out loss of {} seeds {mean:.4} +- {sd:.4} ({each}); the least is kept", all.len())
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
        let (row, column) = ((at / model.d_values()) as u64, at % model.d_values());
        let name = corpus.schema.x_names[column].clone();
        return Err(EvaluationError::MissingValue { row, name });
    }
    let integer_answers = evaluation::integer_answers(model, &corpus.x);
    let mut integer = judge.metrics(&integer_answers);
    let float_answers = float_model.answer(&corpus.x);
    let mut float = judge.metrics(&float_answers);
    let mut baselines = judge.baselines(evaluation::forecast_series(&float_model.schema));
    let ratio = JudgedRatio::of(float_model, corpus)?;
    if let Some(ratio) = &ratio {
        ratio.add_integer(model, &mut integer);
        ratio.add_float(&float_answers, &mut float);
        ratio.add_baseline(baselines.entry("prior".into()).or_default());
    }
    let ratio = ratio.map(|ratio| ratio.calibration(model));
    let flow = JudgedFlow::of(float_model, corpus)?.map(|flow| {
        let found = flow.integer(model);
        flow.add(&found, &mut integer);
        flow.add(&flow.float(&float_answers), &mut float);
        flow.add(&flow.baseline(), baselines.entry("prior".into()).or_default());
        flow.calibration(&found)
    });
    let calibration = judge.calibration(&integer_answers, float_model.calibrated_on, ratio, flow);
    Ok(Evaluation {
        largest_change: evaluation::largest_change(&integer, &float, corpus.len()),
        gate_failures: calibration.gate.messages(),
        baselines,
        calibration,
        num_simulations: corpus.len(),
        integer,
        float,
    })
}

/// Proves that a corpus has what a model answers and takes, before any row of it is read.
///
/// # Errors
///
/// [`EvaluationError`] when it has not.
pub fn check_schema(
    model: &Model<'_>,
    float_model: &FloatModel,
    schema: &Arc<Schema>,
) -> Result<(), EvaluationError> {
    let blank = Corpus::empty(Arc::clone(schema));
    Judge::new(&blank, &float_model.heads, &float_model.schema.mechanisms, model.d_values())?;
    JudgedRatio::of(float_model, &blank)?;
    JudgedFlow::of(float_model, &blank)?;
    Ok(())
}

/// Stored simulations that 512 MiB hold while a model is judged on them: each lies there as it is and as the network takes it,
/// with the answers of the integers, the floats and two baselines.
pub fn simulations_judged_at_once(float_model: &FloatModel, reader: &Reader) -> u64 {
    let widths = float_model.network.heads.iter().map(|head| head.d_output);
    let vectors = widths.len() + reader.schema().d_target();
    let answer = size_of::<Answer>() + vectors * size_of::<Vec<f32>>() + 4 * widths.sum::<usize>();
    let input = 4 * float_model.network.d_input();
    JUDGED_BYTES / (Scratch::row_bytes_of(reader) + (input + 4 * answer) as u64)
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
