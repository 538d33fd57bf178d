//! `simground explain`: the simulations behind an answer, and with `--replay` the simulations themselves.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use serde::Serialize;
use simground_runtime::Model;
use simground_trainer::explanation::{self, Explanation, MAX_NEAREST};
use simground_trainer::named::Named;
use simground_trainer::study::Study;

use super::output::{indented, significant, sparkline, table};
use super::predict::probabilities;
use super::{Output, Verdict, files};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact.
    artifact: PathBuf,
    /// Windows in CSV or Parquet, as for `predict`.
    #[arg(long, value_name = "DATA")]
    input: PathBuf,
    /// How many simulations to name.
    #[arg(short, default_value_t = 5, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=MAX_NEAREST as i64))]
    k: u16,
    /// Regenerate each named simulation, verify it against the artifact, and show it beside the observation. Needs the float
    /// model beside the artifact, which holds the study.
    #[arg(long)]
    replay: bool,
    /// Study to replay from, instead of the one in the float model.
    #[arg(long, requires = "replay", value_name = "STUDY")]
    study: Option<PathBuf>,
    /// Seed to replay with, instead of the one in the float model or the artifact.
    #[arg(long, requires = "replay", value_name = "S")]
    seed: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Document {
    model: String,
    seed: u64,
    theta_units: Named<String>,
    explanations: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    row: usize,
    x: Vec<f32>,
    #[serde(flatten)]
    explanation: Explanation,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let path = &arguments.artifact;
    let bytes = files::read_artifact(path)?;
    let model = files::model(&bytes, path)?;
    let input = files::windows(&arguments.input, &model, path)?;
    // Answers need no float model; where there is one, it knows whether the corpus had a seed of its own.
    let of_corpus = || files::float_model(&model, path).ok().and_then(|float| float.corpus_seed);
    let seed = arguments.seed.or_else(of_corpus).unwrap_or(model.manifest().provenance.seed);
    let mut explanations = Vec::with_capacity(input.len());
    for (row, window) in input.windows().enumerate() {
        let Some(explanation) = explanation::explain(&model, window, usize::from(arguments.k))
        else {
            bail!("{}: has no bank, so no simulations to name", path.display());
        };
        explanations.push(Row { row, x: window.to_vec(), explanation });
    }
    if arguments.replay {
        replay(arguments, &model, seed, &mut explanations)?;
    }
    let parameters = model.manifest().bank.iter().flat_map(|bank| bank.theta.iter());
    let document = Document {
        model: model.manifest().name.to_owned(),
        seed,
        theta_units: parameters.map(|p| (p.name.to_owned(), p.unit.to_owned())).collect(),
        explanations,
    };
    output.print(&document, document_text)?;
    Ok(Verdict::Passed)
}

fn replay(
    arguments: &Arguments,
    model: &Model<'_>,
    seed: u64,
    explanations: &mut [Row],
) -> anyhow::Result<()> {
    let path = &arguments.artifact;
    let study = match &arguments.study {
        Some(study) => Study::load(study)?,
        None => files::study_of(&files::float_model(model, path)?)?,
    };
    let simulator = files::simulator_of(&study, path)?;
    let hash = study.simulator_hash();
    for row in explanations {
        for near in &mut row.explanation.nearest {
            let replayed = explanation::replay(model, &simulator, &hash, seed, near)
                .map_err(|error| anyhow!("{}: {error}", path.display()))?;
            near.replay = Some(replayed);
        }
    }
    Ok(())
}

fn document_text(document: &Document) -> String {
    document.explanations.iter().map(|row| row_text(row, &document.theta_units)).collect()
}

fn row_text(row: &Row, units: &Named<String>) -> String {
    let explanation = &row.explanation;
    let mut text = format!("row {}\n", row.row);
    if !explanation.mechanism.is_empty() {
        text += &format!(
            "  mechanism, by the network      {}\n",
            probabilities(&explanation.mechanism)
        );
    }
    text += &format!(
        "  mechanism, by the simulations  {}\n",
        probabilities(&explanation.kernel_mechanism)
    );
    text += &format!("  novelty {:.3}: {}\n", explanation.novelty, explanation.novelty_words);
    // Parameters that none of the named mechanisms has would be empty columns.
    let has = |name: &str| explanation.nearest.iter().any(|near| near.theta.value(name).is_some());
    let names: Vec<&str> =
        explanation.theta.iter().map(|(name, _)| name.as_str()).filter(|name| has(name)).collect();
    let unit = |name: &&str| match units.value(name).map(String::as_str) {
        None | Some("" | "1") => String::new(),
        Some(unit) => unit.to_owned(),
    };
    let header = ["simulation", "mechanism", "distance", "mass", "weight"].into_iter();
    let mut rows = vec![
        header.chain(names.iter().copied()).map(str::to_owned).collect::<Vec<_>>(),
        std::iter::repeat_n(String::new(), 5).chain(names.iter().map(unit)).collect(),
    ];
    // A foreign corpus has no units.
    rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
    for near in &explanation.nearest {
        let mut cells = vec![
            near.index.to_string(),
            near.mechanism.clone(),
            significant(f64::from(near.distance), 3),
            format!("{:.2} %", 100.0 * near.mass),
            format!("{:.1} %", 100.0 * near.weight),
        ];
        cells.extend(names.iter().map(|name| {
            near.theta.value(name).map_or("-".into(), |value| significant(f64::from(*value), 3))
        }));
        rows.push(cells);
    }
    text += &indented(&table(&rows));
    let replays = explanation.nearest.iter().filter_map(|near| Some((near, near.replay.as_ref()?)));
    let series: Vec<&[f32]> = replays.clone().map(|(_, replay)| replay.x.as_slice()).collect();
    if !series.is_empty() {
        // One scale for all, so that heights compare.
        let all = || series.iter().copied().chain([row.x.as_slice()]).flatten().copied();
        let high = all().filter(|x| x.is_finite()).fold(f32::NEG_INFINITY, f32::max);
        let low = all().filter(|x| x.is_finite()).fold(0.0, f32::min);
        let mut lines = vec![vec!["observed".into(), sparkline(&row.x, low, high)]];
        lines.extend(replays.map(|(near, replay)| {
            let verified = if replay.verified { "verified" } else { "not verified" };
            vec![near.index.to_string(), sparkline(&replay.x, low, high), verified.into()]
        }));
        text += &indented(&table(&lines));
    }
    text
}
