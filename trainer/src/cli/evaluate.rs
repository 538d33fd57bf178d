//! `simground evaluate`: what an artifact is worth on fresh or stored simulations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use serde::Serialize;
use simground_runtime::Model;
use simground_trainer::artifact::replace_file;
use simground_trainer::comparison::LEAST_SAMPLES;
use simground_trainer::corpus::{Corpus, Sample};
use simground_trainer::evaluation::{Calibration, EvaluationError, LevelCoverage, Metrics};
use simground_trainer::float_model::FloatModel;
use simground_trainer::parquet_file;
use simground_trainer::pipeline::{self, Evaluation, TEST_SIMULATIONS};
use simground_trainer::report;
use simground_trainer::simulator::Split;
use simground_trainer::source::CorpusOrigin;

use super::output::{say, significant, table};
use super::{Output, Verdict, compare, files, making};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact; the float model must lie beside it. With `--against`, samples in Parquet.
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
    /// Compare two sets of samples instead: a column for each parameter, or one column `theta` of lists. Prints c2st (accuracy of
    /// a classifier that tells the sets apart; 0.5 is best), mmd (squared, unbiased; 0 is best) and sliced_wasserstein.
    #[arg(long, value_name = "REFERENCE.parquet", conflicts_with_all = ["corpus", "count", "gate"])]
    against: Option<PathBuf>,
    /// With `--against`: compare this many samples of each file at most, drawn by the seed.
    #[arg(long, value_name = "N", requires = "against", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(LEAST_SAMPLES as u64..=1 << 24))]
    samples: u64,
    /// Judge on stored simulations: a Parquet file or a folder of them.
    #[arg(long, value_name = "DIR", conflicts_with = "seed")]
    corpus: Option<PathBuf>,
    /// Judge on this many fresh simulations of the artifact's study, 4000 by default; with `--corpus` on this many of the stored ones at
    /// most, drawn at random, by default as many as can be judged in 512 MiB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    count: Option<u64>,
    /// Seed of the fresh simulations, instead of the artifact's; either way none that trained it. With `--against`, seed of the
    /// comparison, 1 by default.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Leave with 1 where a stated probability is off by more than 3 points beyond doubt (a model that is nowhere off by more fails
    /// in at most one case of a hundred), or where quantization changes a metric by more than 1 %.
    #[arg(long)]
    gate: bool,
    /// Draw the calibration into this folder: an SVG for ranks, coverage, reliability and contraction each.
    #[arg(long, value_name = "DIR", conflicts_with = "against")]
    figures: Option<PathBuf>,
}

/// Figures of an artifact, as `--json` prints them.
#[derive(Debug, Serialize)]
pub struct Judgement {
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    num_simulations: usize,
    /// Of a stored corpus, all that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    corpus_simulations: Option<u64>,
    integer: Metrics,
    float: Metrics,
    baselines: BTreeMap<String, Metrics>,
    calibration: Calibration,
    /// Largest relative change from float to integer.
    pub largest_change: Change,
    /// What fails the gate.
    pub gate_failures: Vec<String>,
}

/// A change of one metric.
#[derive(Debug, Serialize)]
pub struct Change {
    /// `metric/target`.
    pub metric: String,
    /// Relative to the float model's value.
    pub relative: f64,
}

impl Judgement {
    /// Of simulations with this seed.
    pub fn new(model: &Model<'_>, seed: impl Into<Option<u64>>, evaluation: &Evaluation) -> Self {
        let evaluation = evaluation.clone();
        let (relative, metric) = evaluation.largest_change;
        Judgement {
            model: model.manifest().name.to_owned(),
            seed: seed.into(),
            num_simulations: evaluation.num_simulations,
            corpus_simulations: None,
            integer: evaluation.integer,
            float: evaluation.float,
            baselines: evaluation.baselines,
            calibration: evaluation.calibration,
            largest_change: Change { metric, relative },
            gate_failures: evaluation.gate_failures,
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    if let Some(reference) = &arguments.against {
        let wanted = arguments.samples as usize;
        let seed = arguments.seed.unwrap_or(1);
        return compare::run(&arguments.artifact, reference, wanted, seed, output);
    }
    let path = &arguments.artifact;
    if parquet_file::has_magic(path) {
        bail!(
            "{}: a Parquet file, not an artifact\nhint: `--against REFERENCE.parquet` compares samples",
            path.display()
        );
    }
    let bytes = files::read_artifact(path)?;
    let model = files::model(&bytes, path)?;
    let float_model = files::float_model(&model, path)?;
    let seed = arguments.seed.unwrap_or(model.manifest().provenance.seed);
    let subject = Subject { model: &model, float_model: &float_model, path };
    let Judged { evaluation, of, .. } = match &arguments.corpus {
        Some(dir) => subject.judge_stored(dir, arguments.count, seed)?,
        None => subject.judge_fresh(arguments.count, seed)?,
    };
    let mut judgement = Judgement::new(&model, of.is_none().then_some(seed), &evaluation);
    judgement.corpus_simulations = of;
    let change = &judgement.largest_change;
    if change.relative > pipeline::QUANTIZATION_TOLERANCE {
        judgement.gate_failures.push(format!(
            "quantization changes {} by {:.1} %",
            change.metric,
            100.0 * change.relative
        ));
    }
    if let Some(folder) = &arguments.figures {
        draw(folder, &judgement)?;
    }
    output.print(&judgement, judgement_text)?;
    making::warn_of_change(&judgement);
    if !arguments.gate || judgement.gate_failures.is_empty() {
        return Ok(Verdict::Passed);
    }
    for failure in &judgement.gate_failures {
        say(&format!("gate failed: {failure}"));
    }
    Ok(Verdict::GateFailed)
}

/// Writes the figures of a model's calibration, each whole or not at all.
fn draw(folder: &Path, judgement: &Judgement) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| anyhow!("{}: {}", folder.display(), error.kind()))?;
    for figure in report::figures(&judgement.calibration) {
        let path = folder.join(figure.file).with_extension("svg");
        replace_file(&path, figure.svg(&judgement.model).as_bytes())?;
        say(&format!("{}", path.display()));
    }
    Ok(())
}

/// Warns where stored simulations are some that the artifact was trained on, which flatters it.
///
/// A foreign corpus may have any index, so the first row in question is simulated again: only the very simulation counts.
fn warn_of_training_rows(subject: &Subject<'_>, corpus: &Corpus, dir: &Path) {
    let Subject { model, float_model, .. } = subject;
    let provenance = &model.manifest().provenance;
    // Of a stored corpus any part may have been drawn.
    let seed = float_model.corpus.seed(provenance.seed).unwrap_or(provenance.seed);
    let drawn = match float_model.corpus {
        CorpusOrigin::Simulated => provenance.num_simulations.min(1 << 40),
        CorpusOrigin::Stored { .. } | CorpusOrigin::Foreign => 1 << 40,
    };
    let trained = Split::Train.first(drawn);
    let seen = || corpus.index.iter().enumerate().filter(|(_, index)| trained.contains(index));
    let Some((row, &index)) = seen().next() else { return };
    let Some(simulator) = files::study_of(float_model).ok().and_then(|study| study.simulator())
    else {
        return;
    };
    let again = simulator.replay(seed, index).x;
    let stored = corpus.x_row(row).iter();
    if stored.map(|x| x.to_bits()).eq(again.iter().map(|x| x.to_bits())) {
        say(&format!(
            "warning: {}: {} of {} simulations were open to the training of this artifact, so these figures flatter it\nhint: leave `--corpus` out, or simulate the corpus with another `--seed`",
            dir.display(),
            seen().count(),
            corpus.len(),
        ));
    }
}

/// An artifact that is to be judged.
pub struct Subject<'s> {
    /// The artifact.
    pub model: &'s Model<'s>,
    /// The float model beside it.
    pub float_model: &'s FloatModel,
    /// Where it lies.
    pub path: &'s Path,
}

/// Figures of an artifact, and the simulations that they are of.
pub struct Judged {
    /// The simulations.
    pub corpus: Corpus,
    /// The figures.
    pub evaluation: Evaluation,
    /// Of stored simulations, all that there are.
    pub of: Option<u64>,
}

impl Subject<'_> {
    /// Judges on stored simulations, `count` at most and no more than memory should hold, drawn by the seed. All of them are held to
    /// the supports that the study declares, drawn or not.
    pub fn judge_stored(
        &self,
        dir: &Path,
        count: Option<u64>,
        seed: u64,
    ) -> anyhow::Result<Judged> {
        let study = files::study_of(self.float_model)?;
        let reader = files::stored(dir, &study)?;
        let named = |error: EvaluationError| anyhow!("{}: {error}", dir.display());
        pipeline::check_schema(self.model, self.float_model, reader.schema()).map_err(named)?;
        let fit = pipeline::simulations_judged_at_once(self.float_model, &reader);
        let sample = reader.sample(count.unwrap_or(fit).min(fit), seed)?;
        if let Some(part) = sample.left_out() {
            let why = if count.is_some_and(|count| count <= fit) {
                ""
            } else {
                ", as many as can be judged in 512 MiB"
            };
            say(&format!("note: {}: judged on {part}{why}", dir.display()));
        }
        let Sample { corpus, rows, of } = sample;
        let evaluation = pipeline::evaluate(self.model, self.float_model, &corpus)
            .map_err(|error| named(error.among(&rows)))?;
        warn_of_training_rows(self, &corpus, dir);
        Ok(Judged { corpus, evaluation, of: Some(of) })
    }

    /// Judges on fresh simulations of the split that no training sees.
    pub fn judge_fresh(&self, count: Option<u64>, seed: u64) -> anyhow::Result<Judged> {
        let study = files::study_of(self.float_model)?;
        let Some(simulator) = study.simulator() else {
            bail!(
                "{}: trained on a foreign corpus, its study has nothing to simulate\nhint: judge it on stored simulations with `--corpus DIR`",
                self.path.display()
            );
        };
        let count = count.unwrap_or(TEST_SIMULATIONS);
        let corpus = simulator.simulate(seed, Split::Test.first(count));
        let evaluation = pipeline::evaluate(self.model, self.float_model, &corpus)?;
        Ok(Judged { corpus, evaluation, of: None })
    }
}

/// A table: a row for each metric and target.
pub fn judgement_text(judgement: &Judgement) -> String {
    let mut header = vec!["metric".to_owned(), "target".to_owned(), "integer".to_owned()];
    header.push("float".into());
    header.extend(judgement.baselines.keys().cloned());
    let mut rows = vec![header];
    let cell = |metrics: &Metrics, metric: &str, target: &str| {
        let value = metrics.get(metric).and_then(|targets| targets.get(target));
        value.map_or("-".into(), |value| significant(*value, 4))
    };
    for (metric, targets) in &judgement.integer {
        for target in targets.keys() {
            let mut row = vec![metric.clone(), target.clone()];
            row.push(cell(&judgement.integer, metric, target));
            row.push(cell(&judgement.float, metric, target));
            let baselines = judgement.baselines.values();
            row.extend(baselines.map(|metrics| cell(metrics, metric, target)));
            rows.push(row);
        }
    }
    format!(
        "{}\n{}\n{} simulations; largest change from float to integer {:.2} % ({})\n{}\n",
        table(&rows),
        calibration_text(&judgement.calibration),
        judgement.num_simulations,
        100.0 * judgement.largest_change.relative,
        judgement.largest_change.metric,
        gate_text(judgement),
    )
}

/// Ranks, sharpness and coverage: a row for each marginal, a line for each kind of region.
fn calibration_text(calibration: &Calibration) -> String {
    let header =
        ["target", "head", "p of ranks", "90 % width", "prior's", "contraction", "z mean", "z sd"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let number = |value: Option<f64>| value.map_or("-".into(), |value| significant(value, 3));
    for marginal in &calibration.sbc {
        rows.push(vec![
            marginal.target.clone(),
            marginal.head.to_owned(),
            significant(marginal.p_value, 2),
            number(marginal.width90),
            number(marginal.prior_width90),
            number(marginal.contraction),
            number(marginal.z_mean),
            number(marginal.z_sd),
        ]);
    }
    let mut text = if rows.len() > 1 { table(&rows) } else { String::new() };
    let mut line = |what: &str, levels: &[LevelCoverage]| {
        let each = levels
            .iter()
            .map(|c| format!("{:.0} % in {:.1} %", 100.0 * c.level, 100.0 * c.observed));
        if !levels.is_empty() {
            text += &format!("{what}: {}\n", each.collect::<Vec<_>>().join(", "));
        }
    };
    line("coverage of highest-density regions", &calibration.theta);
    line("expected coverage by TARP", &calibration.tarp);
    line("coverage of regions of highest likelihood", &calibration.ratio);
    text
}

fn gate_text(judgement: &Judgement) -> String {
    let gate = &judgement.calibration.gate;
    match judgement.gate_failures.as_slice() {
        [] => format!(
            "calibration gate passed: {} tests at a joint level of {:.0} %; here it sees a fault of {:.1} points at a stated 50 %",
            gate.tests,
            100.0 * gate.level,
            100.0 * gate.resolution
        ),
        failures => format!("calibration gate failed: {}", failures.join("; ")),
    }
}
