//! `simground explain`: the simulations behind an answer, and with `--replay` the simulations themselves.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use serde::Serialize;
use simground_runtime::Model;
use simground_trainer::artifact::replace_file;
use simground_trainer::contrast::{self, Contrast};
use simground_trainer::explanation::{self, Explanation, MAX_NEAREST, NearSimulation};
use simground_trainer::growth::{self, Grown};
use simground_trainer::input_table::InputTable;
use simground_trainer::named::Named;
use simground_trainer::picture::ExplanationPicture;
use simground_trainer::replay::Replayer;

use super::files::Replays;
use super::output::{indented, series, significant, table};
use super::place::{self, Kind};
use super::predict::{probabilities, warn_of_clamped};
use super::{Output, Verdict, files, label};

/// Simulations side by side on a screen of 80 columns.
const ACROSS: usize = 5;
/// Title of the row of the simulations' mechanisms.
const MECHANISM: &str = "mechanism";
/// Inputs that a contrast names; the others are summed up.
const SEPARATING: usize = 5;

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact.
    artifact: PathBuf,
    /// Windows in CSV or Parquet, as for `predict`.
    #[arg(long, value_name = "DATA")]
    input: PathBuf,
    /// Explain one window alone: number R, from 0.
    #[arg(long, value_name = "R")]
    row: Option<usize>,
    /// How many simulations to name, 1 to 32.
    #[arg(short, default_value_t = 5, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=MAX_NEAREST as i64))]
    k: u16,
    /// Regenerate each named simulation, verify it against the artifact, and show it beside the observation. Needs the float
    /// model beside the artifact, which holds the study.
    #[arg(long)]
    replay: bool,
    /// Show the nearest simulation of this mechanism, and which inputs separate it from the nearest of the others: integrated
    /// gradients of the squared distance from the observation.
    #[arg(long, value_name = "MECHANISM")]
    contrast: Option<String>,
    /// Draw the observation over the replayed simulations; with `--contrast` over the two that are contrasted.
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
    /// Windows that `label` or a device labeled: answer by both parts of the bank, beside the artifact's own answer.
    #[arg(long, value_name = "FILE.sgad")]
    additions: Option<PathBuf>,
    #[command(flatten)]
    replays: Replays,
}

#[derive(Debug, Serialize)]
struct Document {
    model: String,
    seed: u64,
    theta_units: Named<String>,
    explanations: Vec<Row>,
    #[serde(skip)]
    columns: Vec<String>,
    #[serde(skip)]
    channels: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    row: usize,
    x: Vec<f32>,
    /// Names of the inputs outside the range of the simulations.
    clamped: Vec<String>,
    #[serde(flatten)]
    explanation: Explanation,
    /// With the field's labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    grown: Option<Grown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contrast: Option<Contrast>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let path = &arguments.artifact;
    if let Some(svg) = &arguments.svg {
        place::check(svg, Kind::Picture, &[])?;
    }
    let bytes = files::read_artifact(path)?;
    let model = files::model(&bytes, path)?;
    let input = files::windows(&arguments.input, &model, path)?;
    let rows = rows(arguments, &input)?;
    let manifest = model.manifest();
    check_contrast(arguments, &model)?;
    let region = arguments.additions.as_ref().map(|file| label::read(file, path, &model));
    let region = region.transpose()?;
    let mut explanations = Vec::with_capacity(rows.len());
    for row in rows {
        let window = input.windows().nth(row).expect("a row of the table");
        let Some(explanation) = explanation::explain(&model, window, usize::from(arguments.k))
        else {
            bail!("{}: has no bank, so no simulations to name", path.display());
        };
        let clamped = explanation::clamped(&model, window);
        let clamped: Vec<String> = clamped.iter().map(|at| input.columns[*at].clone()).collect();
        warn_of_clamped(&input.place(row), &clamped);
        let x = window.to_vec();
        let grown = region.as_ref().map(|region| {
            growth::explain(&model, &region.read(&model)?, window, usize::from(arguments.k))
                .map_err(anyhow::Error::from)
        });
        let grown = grown.transpose()?;
        explanations.push(Row { row, x, clamped, explanation, grown, contrast: None });
    }
    let replaying = arguments.replay || arguments.svg.is_some() || arguments.contrast.is_some();
    // Answers need no float model; where there is one, it knows whether the corpus had a seed of its own.
    let of_corpus = || files::float_model(&model, path).ok()?.corpus.seed(manifest.provenance.seed);
    let mut seed = arguments.replays.seed.or_else(of_corpus).unwrap_or(manifest.provenance.seed);
    if replaying {
        let replayer = arguments.replays.replayer(&model, path)?;
        seed = replayer.seed();
        for row in &mut explanations {
            replay(arguments, &model, &replayer, row)?;
        }
    } else if arguments.replays.given() {
        bail!("`--study` and `--seed` say what to replay\nhint: add `--replay`");
    }
    let parameters = manifest.bank.iter().flat_map(|bank| bank.theta.iter());
    let document = Document {
        model: manifest.name.to_owned(),
        seed,
        theta_units: parameters.map(|p| (p.name.to_owned(), p.unit.to_owned())).collect(),
        explanations,
        columns: input.columns.clone(),
        channels: files::frame(&model).channels.into_iter().map(|(name, _)| name).collect(),
    };
    if let Some(svg) = &arguments.svg {
        replace_file(svg, picture(&model, &document).as_bytes())?;
    }
    output.print(&document, document_text)?;
    Ok(Verdict::Passed)
}

/// The rows to explain.
fn rows(arguments: &Arguments, input: &InputTable) -> anyhow::Result<Vec<usize>> {
    let shown = arguments.input.display();
    match arguments.row {
        Some(row) if row >= input.len() => {
            bail!("{shown}: no row {row}\nhint: its rows are 0 to {}", input.len() - 1)
        }
        Some(row) => Ok(vec![row]),
        None if arguments.svg.is_some() && input.len() > 1 => bail!(
            "{shown}: {} windows, and a picture shows one\nhint: choose it with `--row R`, from 0",
            input.len()
        ),
        None => Ok((0..input.len()).collect()),
    }
}

fn check_contrast(arguments: &Arguments, model: &Model<'_>) -> anyhow::Result<()> {
    let Some(mechanism) = &arguments.contrast else { return Ok(()) };
    let names: Vec<&str> = model.manifest().mechanisms.iter().collect();
    if names.len() < 2 {
        bail!("{}: has no two mechanisms to contrast", arguments.artifact.display());
    }
    if !names.contains(&mechanism.as_str()) {
        bail!(
            "{}: no mechanism `{mechanism}`\nhint: it knows {}",
            arguments.artifact.display(),
            names.join(", ")
        );
    }
    Ok(())
}

fn replay(
    arguments: &Arguments,
    model: &Model<'_>,
    replayer: &Replayer<'_>,
    row: &mut Row,
) -> anyhow::Result<()> {
    let path = &arguments.artifact;
    for near in &mut row.explanation.nearest {
        let replayed = replayer.prototype(near.prototype);
        near.replay = Some(replayed.map_err(|error| anyhow!("{}: {error}", path.display()))?);
    }
    if let Some(mechanism) = &arguments.contrast {
        let float_model = files::float_model(model, path)?;
        let contrast = contrast::contrast(model, &float_model, replayer, &row.x, mechanism)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        if contrast.is_none() {
            bail!(
                "{}: the bank has no simulation of `{mechanism}`, or of no other mechanism",
                path.display()
            );
        }
        row.contrast = contrast;
    }
    Ok(())
}

fn picture(model: &Model<'_>, document: &Document) -> String {
    let row = &document.explanations[0];
    let explanation = &row.explanation;
    let probabilities_of = |by: &str, named: &Named<f32>| match named.is_empty() {
        true => String::new(),
        false => format!("{by} {}", probabilities(named)),
    };
    let by_network = probabilities_of("by the network", &explanation.mechanism);
    let by_simulations = match explanation.kernel_mechanism.0.len() {
        ..2 => String::new(),
        _ => probabilities_of("by the simulations", &explanation.kernel_mechanism),
    };
    let answers: Vec<String> =
        [by_network, by_simulations].into_iter().filter(|text| !text.is_empty()).collect();
    let picture = ExplanationPicture {
        title: match &row.contrast {
            None => format!("{}: an observation and its nearest simulations", document.model),
            Some(Contrast { against, nearest, .. }) => {
                format!("{}: {} or {}?", document.model, against.mechanism, nearest.mechanism)
            }
        },
        subtitles: [
            answers.join("; "),
            format!("novelty {:.3}: {}", explanation.novelty, explanation.novelty_words),
        ],
        observed: &row.x,
        nearest: &explanation.nearest,
        contrast: row.contrast.as_ref(),
    };
    files::frame(model).explanation(&picture)
}

fn document_text(document: &Document) -> String {
    document.explanations.iter().map(|row| row_text(row, document)).collect()
}

fn row_text(row: &Row, document: &Document) -> String {
    let units = &document.theta_units;
    let explanation = &row.explanation;
    let mut text = format!("row {}\n", row.row);
    if !explanation.mechanism.is_empty() {
        text += &format!(
            "  mechanism, by the network      {}\n",
            probabilities(&explanation.mechanism)
        );
    }
    if explanation.kernel_mechanism.0.len() > 1 {
        text += &format!(
            "  mechanism, by the simulations  {}\n",
            probabilities(&explanation.kernel_mechanism)
        );
    }
    text += &format!("  novelty {:.3}: {}\n", explanation.novelty, explanation.novelty_words);
    for block in explanation.nearest.chunks(ACROSS) {
        let mut rows = simulations(block, units);
        // One mechanism says nothing.
        rows.retain(|row| row[0] != MECHANISM || explanation.kernel_mechanism.0.len() > 1);
        text += &indented(&table(&rows));
    }
    if let Some(grown) = &row.grown {
        text += &grown_text(grown);
        text += &indented(&table(&grown_nearest(grown)));
    }
    text += &indented(&table(&replays(row, &document.channels)));
    if let Some(contrast) = &row.contrast {
        text += &indented(&contrast_text(contrast, &document.columns));
    }
    text
}

/// The simulations side by side, with the parameters that one of them has.
fn simulations(nearest: &[NearSimulation], units: &Named<String>) -> Vec<Vec<String>> {
    let row = |title: &str, cell: &dyn Fn(&NearSimulation) -> String| {
        [title.to_owned()].into_iter().chain(nearest.iter().map(cell)).collect::<Vec<_>>()
    };
    let mut rows = vec![
        row("simulation", &|near| near.index.to_string()),
        row(MECHANISM, &|near| near.mechanism.clone()),
        row("distance", &|near| significant(f64::from(near.distance), 3)),
        row("share of the corpus", &|near| format!("{:.2} %", 100.0 * near.mass)),
        row("weight", &|near| format!("{:.1} %", 100.0 * near.weight)),
    ];
    for (name, unit) in units.iter() {
        if nearest.iter().all(|near| near.theta.value(name).is_none()) {
            continue;
        }
        // A foreign corpus has no units, and a pure number needs none.
        let title = match unit.as_str() {
            "" | "1" => name.clone(),
            unit => format!("{name}, {unit}"),
        };
        let value = |near: &NearSimulation| {
            near.theta.value(name).map_or("-".into(), |value| significant(f64::from(*value), 3))
        };
        rows.push(row(&title, &value));
    }
    rows
}

/// What both parts of the bank say, in two lines.
pub fn grown_text(grown: &Grown) -> String {
    let share = |(name, share): &(String, growth::Share)| {
        let of_field = match share.from_field {
            0.0 => String::new(),
            field => format!(" (field {:.1} %)", 100.0 * field),
        };
        format!("{name} {:.1} %{of_field}", 100.0 * share.probability)
    };
    let shares: Vec<String> = grown.mechanism.iter().map(share).collect();
    let novelty = grown.novelty_of_both;
    format!(
        "  mechanism, with the field      {}\n  novelty, with the field {novelty:.3}: {}\n",
        shares.join(", "),
        explanation::novelty_words(novelty)
    )
}

/// The nearest of both parts, one a line.
fn grown_nearest(grown: &Grown) -> Vec<Vec<String>> {
    let title = ["nearest of both", "mechanism", "distance", "weight"].map(str::to_owned);
    let line = |near: &growth::Near| {
        let name = match (near.index, near.record) {
            (Some(index), _) => format!("simulation {index}"),
            (None, record) => format!(
                "field, record {}, tag {}",
                record.unwrap_or_default(),
                near.tag.unwrap_or_default()
            ),
        };
        let distance = significant(f64::from(near.distance), 3);
        vec![name, near.mechanism.clone(), distance, format!("{:.1} %", 100.0 * near.weight)]
    };
    [title.to_vec()].into_iter().chain(grown.nearest.iter().map(line)).collect()
}

/// The observation and the replayed simulations as sparklines; nothing where nothing was replayed.
fn replays(row: &Row, channels: &[String]) -> Vec<Vec<String>> {
    let contrasted =
        row.contrast.iter().flat_map(|contrast| [&contrast.against, &contrast.nearest]);
    let mut shown: Vec<&NearSimulation> = row.explanation.nearest.iter().collect();
    // The contrasted simulations may be beyond the nearest ones.
    for near in contrasted {
        if shown.iter().all(|other| other.prototype != near.prototype) {
            shown.push(near);
        }
    }
    let replays = shown.into_iter().filter_map(|near| Some((near, near.replay.as_ref()?)));
    let replays: Vec<_> = replays.collect();
    if replays.is_empty() {
        return Vec::new();
    }
    // One scale for all, so that heights compare.
    let all = || replays.iter().flat_map(|(_, replay)| &replay.x).chain(&row.x).copied();
    let high = all().filter(|x| x.is_finite()).fold(f32::NEG_INFINITY, f32::max);
    let low = all().filter(|x| x.is_finite()).fold(0.0, f32::min);
    let mut lines = series("observed", &row.x, channels, low, high);
    for (near, replay) in replays {
        let verified = if replay.verified { "verified" } else { "not verified" };
        let mut own = series(&near.index.to_string(), &replay.x, channels, low, high);
        own.iter_mut().for_each(|line| line.push(verified.to_owned()));
        lines.extend(own);
    }
    lines
}

/// The inputs that separate two mechanisms' nearest simulations.
fn contrast_text(contrast: &Contrast, columns: &[String]) -> String {
    let Contrast { against, nearest, .. } = contrast;
    let farther = |by: f64| if by >= 0.0 { "farther" } else { "nearer" };
    let (difference, float) = (contrast.difference as f64, f64::from(contrast.float_difference));
    let rounded = if (difference - float).abs() < 1.0 {
        String::new()
    } else {
        format!("\n({} by {:.0} without the integers' rounding)", farther(float), float.abs())
    };
    let mut text = format!(
        "{} {} or {} {}? The latter is {} by {} in squared distance{rounded}; of this\n",
        against.mechanism,
        against.index,
        nearest.mechanism,
        nearest.index,
        farther(difference),
        difference.abs()
    );
    let cell =
        |value: f32| if value.is_nan() { "-".into() } else { significant(f64::from(value), 3) };
    let mut rows = vec![
        ["input", "observed", &against.mechanism, &nearest.mechanism, "share", "for"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let ranked = contrast.ranked();
    let (named, others) = ranked.split_at(SEPARATING.min(ranked.len()));
    let share = |share: f32| {
        [
            format!("{share:+.0}"),
            if share < 0.0 { &nearest.mechanism } else { &against.mechanism }.clone(),
        ]
    };
    for input in named {
        let name = columns.get(input.at).cloned().unwrap_or_default();
        let values = [name, cell(input.observed), cell(input.against), cell(input.nearest)];
        rows.push(values.into_iter().chain(share(input.share)).collect());
    }
    if !others.is_empty() {
        let rest = others.iter().map(|input| input.share).sum();
        let label =
            [format!("{} others", others.len()), String::new(), String::new(), String::new()];
        rows.push(label.into_iter().chain(share(rest)).collect());
    }
    text += &table(&rows);
    text
}
