//! `simground replay`: one simulation again, from its index, verified against the bank.

use std::path::PathBuf;

use anyhow::anyhow;
use serde::Serialize;
use simground_runtime::Model;
use simground_trainer::artifact::replace_file;
use simground_trainer::named::Named;
use simground_trainer::replay::Replayed;

use super::files::Replays;
use super::output::{say, series, significant, table};
use super::place::{self, Kind};
use super::{Output, Verdict, files};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact; the study to simulate lies in the float model beside it.
    artifact: PathBuf,
    /// Index of the simulation, as `explain` and the device name it.
    #[arg(long, value_name = "I")]
    index: u64,
    /// Draw the simulation: what was observed of it, over what was to be expected.
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    replays: Replays,
}

#[derive(Debug, Serialize)]
struct Document {
    model: String,
    seed: u64,
    theta_units: Named<String>,
    #[serde(skip)]
    counts: Vec<String>,
    #[serde(flatten)]
    replayed: Replayed,
    /// Share of the corpus that the bank's entry stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    mass: Option<f32>,
    #[serde(skip)]
    prototypes: u32,
    #[serde(skip)]
    channels: Vec<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let path = &arguments.artifact;
    if let Some(svg) = &arguments.svg {
        place::check(svg, Kind::Picture, &[])?;
    }
    let bytes = files::read_artifact(path)?;
    let model = files::model(&bytes, path)?;
    let index = arguments.index;
    let replayer = arguments.replays.replayer(&model, path).map_err(|error| match error
        .downcast_ref::<files::Foreign>(
    ) {
        Some(_) => anyhow!("{}", foreign(&model, index, &error.to_string())),
        None => error,
    })?;
    let replayed = replayer.index(index).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let manifest = model.manifest();
    let mass = replayed.prototype.and_then(|prototype| model.prototype_mass(prototype));
    let schema = replayer.simulator().schema();
    let document = Document {
        model: manifest.name.to_owned(),
        seed: replayer.seed(),
        theta_units: schema.theta.iter().map(|p| (p.name.clone(), p.unit.clone())).collect(),
        counts: schema.theta.iter().filter(|p| p.integer).map(|p| p.name.clone()).collect(),
        replayed,
        mass: mass.map(|mass| f32::from(mass) / 65_536.0),
        prototypes: manifest.bank.as_ref().map_or(0, |bank| bank.prototypes),
        channels: files::frame(&model).channels.into_iter().map(|(name, _)| name).collect(),
    };
    if let Some(svg) = &arguments.svg {
        replace_file(svg, picture(&model, &document).as_bytes())?;
    }
    output.print(&document, text)?;
    if !document.replayed.verified {
        say(&format!(
            "note: the bank has no simulation {index}, so nothing but the simulator's hash vouches for it"
        ));
    }
    Ok(Verdict::Passed)
}

/// What can be said of a simulation that somebody else made.
fn foreign(model: &Model<'_>, index: u64, error: &str) -> String {
    let bank = model.manifest().bank.as_ref();
    let prototypes = 0..bank.map_or(0, |bank| bank.prototypes);
    let entry = prototypes.into_iter().find(|at| model.prototype_index(*at) == Some(index));
    let stored = entry.zip(bank).map_or_else(
        || "the bank does not have it either".to_owned(),
        |(prototype, bank)| {
            let mechanism = model.prototype_mechanism(prototype).map(usize::from);
            let mechanism = mechanism.and_then(|at| model.manifest().mechanisms.at(at));
            let theta = bank.theta.iter().enumerate().filter_map(|(at, theta)| {
                let value = model.prototype_theta(prototype, at)?;
                Some(format!("{} = {}", theta.name, significant(f64::from(value), 4)))
            });
            let known = mechanism.map(str::to_owned).into_iter().chain(theta);
            let known = known.collect::<Vec<_>>().join(", ");
            format!("prototype {prototype} of the bank: {known}")
        },
    );
    format!(
        "{error}; simulation {index}: {stored}\nhint: look for the row with index {index} in the corpus that it was trained on"
    )
}

impl Document {
    /// A parameter's value and unit, as exactly as `digits` say; counts whole.
    fn parameter(&self, name: &str, value: f32, digits: i32) -> (String, &str) {
        let unit = self.theta_units.value(name).map_or("", String::as_str);
        let count = self.counts.iter().any(|count| count == name);
        let value =
            if count { format!("{value:.0}") } else { significant(f64::from(value), digits) };
        (value, if unit == "1" { "" } else { unit })
    }
}

fn text(document: &Document) -> String {
    let replayed = &document.replayed;
    let mut text = format!(
        "simulation {} of {}: {}, from the {} split under seed {}\n",
        replayed.index, document.model, replayed.mechanism, replayed.split, document.seed
    );
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, value) in replayed.theta.iter() {
        let (value, unit) = document.parameter(name, *value, 4);
        rows.push(vec![name.clone(), value, unit.to_owned()]);
    }
    // The steps of a forecast are a series below.
    let targets = replayed.target.iter();
    for (name, value) in
        targets.filter(|(name, _)| !name.contains('+') && replayed.theta.value(name).is_none())
    {
        rows.push(vec![name.clone(), significant(f64::from(*value), 4), String::new()]);
    }
    text += &super::output::indented(&table(&rows));
    let all = || replayed.x.iter().chain(&replayed.forecast).copied().filter(|x| x.is_finite());
    let (low, high) = (all().fold(0.0, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
    let mut lines = series("observed", &replayed.x, &document.channels, low, high);
    if !replayed.forecast.is_empty() {
        lines.extend(series("then", &replayed.forecast, &document.channels, low, high));
    }
    text += &super::output::indented(&table(&lines));
    text += &format!("  from {low} to {high}\n");
    text += &match (replayed.prototype, document.mass) {
        (Some(prototype), Some(mass)) => format!(
            "  verified: prototype {prototype} of {}, which stands for {:.2} % of the corpus, has the very embedding and parameters\n",
            document.prototypes,
            100.0 * mass
        ),
        _ => "  not in the bank: there is no entry to verify it against\n".to_owned(),
    };
    text
}

fn picture(model: &Model<'_>, document: &Document) -> String {
    let replayed = &document.replayed;
    /// Characters that fit a line of the picture.
    const LINE: usize = 125;
    let mut theta = String::new();
    for (name, value) in replayed.theta.iter() {
        let (value, unit) = document.parameter(name, *value, 3);
        let one = format!("{name} {value} {unit}");
        let separator = if theta.is_empty() { "" } else { ", " };
        if theta.len() + one.len() > LINE {
            theta += ", ...";
            break;
        }
        theta += separator;
        theta += one.trim_end();
    }
    let verified = match replayed.prototype {
        Some(prototype) => format!("verified against prototype {prototype} of the bank"),
        None => "not in the bank".to_owned(),
    };
    let title =
        format!("Simulation {} of {}: {}", replayed.index, document.model, replayed.mechanism);
    let subtitles =
        [theta, format!("{} split, seed {}; {verified}", replayed.split, document.seed)];
    files::frame(model).simulation(&title, &subtitles, replayed)
}
