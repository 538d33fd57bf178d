//! What `run` and `train` share: options, files, the way from a study to an artifact.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use serde::Serialize;
use simground_runtime::Model;
use simground_trainer::artifact::replace_file;
use simground_trainer::float_model::FloatModel;
use simground_trainer::pipeline::{
    self, Options, Outcome, PipelineError, QUANTIZATION_TOLERANCE, Quantization, TEST_SIMULATIONS,
    Talk,
};
use simground_trainer::report::{self, Subject};
use simground_trainer::simulator::Split;
use simground_trainer::source::Source;
use simground_trainer::study::Study;
use simground_trainer::training::{Backend, ProgressObserver};

use super::Verdict;
use super::evaluate::{Judgement, judgement_text};
use super::lock::Lock;
use super::output::{Output, say};
use super::place::{self, Kind};
use super::probe;

/// Options of every command that trains.
#[derive(Debug, clap::Args)]
pub struct Making {
    /// What trains.
    #[arg(long, value_enum, default_value_t = BackendName::Flex)]
    backend: BackendName,
    /// Go on from the checkpoint that an interrupted training left.
    #[arg(long)]
    resume: bool,
    /// Threads that simulate; 0 for one a core. The result does not depend on it.
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Seed of everything that is random, instead of the study's.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Train this many networks at once, from the seed and those after it, and keep the one with the least held-out loss.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    seeds: u64,
    /// Write the artifact of a model that fails the calibration gate too; its manifest, `inspect` and the report say so. With
    /// `--resume` it comes from the training that was refused.
    #[arg(long)]
    allow_uncalibrated: bool,
}

/// A backend on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum BackendName {
    /// The CPU.
    Flex,
    /// The CPU by burn-ndarray, deprecated by burn; needs a build with `--features ndarray`.
    #[value(name = "ndarray")]
    NdArray,
    /// A GPU through Vulkan, Metal or Direct3D 12; needs a build with `--features wgpu`.
    Wgpu,
    /// An NVIDIA GPU; needs a build with `--features cuda`, which downloads LLVM and was never made or run by this project.
    Cuda,
}

impl From<BackendName> for Backend {
    fn from(name: BackendName) -> Backend {
        match name {
            BackendName::Flex => Backend::Flex,
            BackendName::NdArray => Backend::NdArray,
            BackendName::Wgpu => Backend::Wgpu,
            BackendName::Cuda => Backend::Cuda,
        }
    }
}

/// The files that a training leaves.
#[derive(Debug)]
pub struct Files {
    artifact: PathBuf,
    float: PathBuf,
    report: PathBuf,
    checkpoint: PathBuf,
    _lock: Lock,
}

impl Files {
    /// Names them after the artifact, and proves that its folder takes files and that no other training writes them: now rather than
    /// after the training.
    pub fn new(artifact: &Path) -> anyhow::Result<Files> {
        let shown = artifact.display();
        if artifact.is_dir() || artifact.file_name().is_none() {
            bail!("{shown}: is a folder\nhint: name a file, such as `--out outbreak.sgnn`");
        }
        let extension = artifact.extension().and_then(|e| e.to_str()).unwrap_or("");
        if ["float", "html", "checkpoint", "lock", "toml"].contains(&extension) {
            bail!(
                "{shown}: `.{extension}` is not an artifact's ending\nhint: name it `{}`",
                artifact.with_extension("sgnn").display()
            );
        }
        let folder = artifact.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        tempfile::NamedTempFile::new_in(folder)
            .map_err(|error| anyhow!("{shown}: cannot write into the folder: {}", error.kind()))?;
        place::check(artifact, Kind::Artifact, &[])?;
        place::check(&FloatModel::path_beside(artifact), Kind::FloatModel, &[])?;
        place::check(&artifact.with_extension("html"), Kind::Page, &[])?;
        let files = Files {
            _lock: Lock::take(artifact)?,
            artifact: artifact.to_owned(),
            float: FloatModel::path_beside(artifact),
            report: artifact.with_extension("html"),
            checkpoint: artifact.with_extension("checkpoint"),
        };
        for file in [&files.float, &files.report, &files.checkpoint] {
            if file.is_dir() {
                bail!("{}: is a folder in the way of a file", file.display());
            }
        }
        Ok(files)
    }
}

/// What a training made.
#[derive(Debug, Serialize)]
struct Made {
    /// Null where the calibration gate refuses it.
    artifact: Option<PathBuf>,
    float_model: Option<PathBuf>,
    report: PathBuf,
    flash_bytes: usize,
    ram_bytes: usize,
    budget: Budget,
    training: Training,
    quantization: Quantization,
    evaluation: Judgement,
}

#[derive(Debug, Serialize)]
struct Budget {
    flash_bytes: usize,
    ram_bytes: usize,
}

#[derive(Debug, Serialize)]
struct Training {
    steps: u64,
    best_step: u64,
    best_loss: f64,
    num_simulations: u64,
    seconds: f64,
}

/// Reads a study, with the seed that the user may have given instead, and proves that what is to train it computes.
pub fn read_study(path: &Path, making: &Making) -> anyhow::Result<Study> {
    let mut study = Study::load(path)?;
    study.seed = making.seed.unwrap_or(study.seed);
    probe::prove(making.backend.into())?;
    Ok(study)
}

/// Trains and writes everything; `again` is the command that would go on after an interruption.
pub fn make(
    study: &Study,
    source: &Source,
    making: &Making,
    files: &Files,
    again: &str,
    output: Output,
) -> anyhow::Result<Verdict> {
    let started = Instant::now();
    let mut again = making.seed.map_or(again.to_owned(), |seed| format!("{again} --seed {seed}"));
    if making.seeds > 1 {
        again += &format!(" --seeds {}", making.seeds);
    }
    let backend = Backend::from(making.backend);
    if backend != Backend::default() {
        again += &format!(" --backend {}", backend.name());
    }
    let interrupt = Interrupt::install()?;
    let options = Options {
        backend,
        checkpoint: Some(files.checkpoint.clone()),
        resume: making.resume,
        threads: making.threads,
        seeds: making.seeds,
    };
    let checkpoints: Vec<PathBuf> =
        options.members(study.seed).into_iter().filter_map(|(_, path)| path).collect();
    for missing in checkpoints.iter().filter(|path| making.resume && !path.exists()) {
        say(&format!("{}: no such checkpoint, starting anew", missing.display()));
    }
    let mut observer = ProgressObserver::new().with_interrupt(Arc::clone(&interrupt.asked));
    let mut talk = Speaker { training: Arc::clone(&interrupt.training), started };
    let outcome = pipeline::run(study, source, &options, &mut observer, &mut talk);
    let outcome = outcome.map_err(|error| match error {
        PipelineError::Interrupted { step } => anyhow!(
            "interrupted at step {step}; {} keeps the training\nhint: `{again} --resume` goes on",
            files.checkpoint.display()
        ),
        PipelineError::Study(_) | PipelineError::OverBudget { .. } => {
            anyhow!("{}: {error}", study.file)
        }
        other => other.into(),
    })?;
    let refused = !outcome.report.gate_failures.is_empty() && !making.allow_uncalibrated;
    let made = write(study, source, files, outcome, started, refused)?;
    // What they held is done; one that cannot be removed is overwritten by the next training.
    let fine_tuning = options.fine_tuning_checkpoint();
    for checkpoint in checkpoints.iter().chain(&fine_tuning).filter(|_| !refused) {
        let _ = std::fs::remove_file(checkpoint);
    }
    output.print(&made, made_text)?;
    warn_of_change(&made.evaluation);
    let word = if refused { "gate failed" } else { "warning" };
    for failure in &made.evaluation.gate_failures {
        say(&format!("{word}: not calibrated: {failure}"));
    }
    if !refused {
        return Ok(Verdict::Passed);
    }
    say(&format!(
        "{}: not written\nhint: more simulations for `calibration`, a wider network or another head may help; `{again} --resume --allow-uncalibrated` writes it as it is, without training again",
        files.artifact.display()
    ));
    Ok(Verdict::GateFailed)
}

/// Float model first and artifact last, so that an artifact never lacks its float model. One that is refused leaves its report, and its
/// training for `--resume`.
fn write(
    study: &Study,
    source: &Source,
    files: &Files,
    outcome: Outcome,
    started: Instant,
    refused: bool,
) -> anyhow::Result<Made> {
    let model = Model::from_bytes(&outcome.artifact).map_err(|e| anyhow!("{e}"))?;
    let made = Made {
        artifact: (!refused).then(|| files.artifact.clone()),
        float_model: (!refused).then(|| files.float.clone()),
        report: files.report.clone(),
        flash_bytes: outcome.artifact.len(),
        ram_bytes: pipeline::ram_bytes(&model),
        budget: Budget {
            flash_bytes: study.budget.flash_kib * 1024,
            ram_bytes: study.budget.ram_kib * 1024,
        },
        training: Training {
            steps: outcome.fitted.steps,
            best_step: outcome.fitted.best_step,
            best_loss: outcome.fitted.best_loss,
            num_simulations: outcome.fitted.simulations_used,
            seconds: started.elapsed().as_secs_f64(),
        },
        quantization: outcome.quantization,
        evaluation: Judgement::new(&model, study.seed, &outcome.report),
    };
    let float_model = FloatModel::from_bytes(&outcome.float_model, &files.float)?;
    let count = source.available(Split::Test, TEST_SIMULATIONS);
    let page = report::page(&Subject {
        model: &model,
        flash_bytes: outcome.artifact.len(),
        float_model: &float_model,
        evaluation: &outcome.report,
        corpus: &source.simulations(Split::Test, 0..count),
        corpus_simulations: None,
        study,
        seed: study.seed,
    });
    replace_file(&files.report, page.as_bytes())?;
    if refused {
        return Ok(made);
    }
    replace_file(&files.float, &outcome.float_model)?;
    replace_file(&files.artifact, &outcome.artifact)?;
    Ok(made)
}

fn made_text(made: &Made) -> String {
    let kib = |bytes: usize| format!("{:.1} KiB", bytes as f64 / 1024.0);
    let written = [&made.artifact, &made.float_model, &Some(made.report.clone())];
    let written = written.into_iter().flatten().map(|path| path.display().to_string());
    format!(
        "{}\nflash {} of {}, RAM {} of {}\n{}\n",
        judgement_text(&made.evaluation),
        kib(made.flash_bytes),
        kib(made.budget.flash_bytes),
        kib(made.ram_bytes),
        kib(made.budget.ram_bytes),
        written.collect::<Vec<_>>().join(", "),
    )
}

/// Warns on stderr where the integers answer noticeably worse than the floats.
pub fn warn_of_change(judgement: &Judgement) {
    let change = &judgement.largest_change;
    if change.relative > QUANTIZATION_TOLERANCE {
        say(&format!(
            "warning: quantization changes {} by {:.1} %, more than {:.0} %",
            change.metric,
            100.0 * change.relative,
            100.0 * QUANTIZATION_TOLERANCE
        ));
    }
}

/// Stages to stderr, with the time since the start.
pub struct Speaker {
    training: Arc<AtomicBool>,
    started: Instant,
}

impl Speaker {
    /// For a command that nothing but its end interrupts.
    pub fn new(started: Instant) -> Speaker {
        Speaker { training: Arc::default(), started }
    }
}

impl Talk for Speaker {
    fn stage(&mut self, what: &str) {
        let trains = [pipeline::TRAINING, pipeline::FINE_TUNING].contains(&what);
        self.training.store(trains, Ordering::SeqCst);
        say(&format!("[{:6.1} s] {what}", self.started.elapsed().as_secs_f64()));
    }

    fn note(&mut self, what: &str) {
        say(&format!("           {what}"));
    }
}

/// Ctrl-C: in a training it asks for an end with a checkpoint, anywhere else and the second time it ends at once.
struct Interrupt {
    asked: Arc<AtomicBool>,
    training: Arc<AtomicBool>,
}

impl Interrupt {
    fn install() -> anyhow::Result<Interrupt> {
        let (asked, training) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_asked, is_training) = (Arc::clone(&asked), Arc::clone(&training));
        ctrlc::set_handler(move || {
            let again = is_asked.swap(true, Ordering::SeqCst);
            if again || !is_training.load(Ordering::SeqCst) {
                std::process::exit(2);
            }
        })?;
        Ok(Interrupt { asked, training })
    }
}
