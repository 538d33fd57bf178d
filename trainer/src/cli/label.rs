//! `simground label`: what a person says of windows, beside the artifact.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use serde::Serialize;
use simground_runtime::{Additions, AdditionsError, GrowthError, Label, Model};
use simground_trainer::artifact::replace_file;
use simground_trainer::growth::{self, Region};

use super::output::{counted, say};
use super::{Output, Verdict, files};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact. It is read, never written.
    artifact: PathBuf,
    /// The file of additions, as a device has them; made where there is none.
    #[arg(long, value_name = "FILE.sgad")]
    additions: PathBuf,
    /// Windows in CSV or Parquet, as for `predict`; all of them get the label.
    #[arg(long, value_name = "DATA", required_unless_present = "retract")]
    input: Option<PathBuf>,
    /// Label one window alone: number R, from 0.
    #[arg(long, value_name = "R", requires = "input")]
    row: Option<usize>,
    /// What the windows show.
    #[arg(long, value_name = "NAME", required_unless_present = "retract")]
    mechanism: Option<String>,
    /// The mechanism is one that neither the artifact nor the file knows: add it.
    #[arg(long)]
    new: bool,
    /// How many observations each window is worth: less than 1 for one that you are not sure of.
    #[arg(long, default_value_t = 1.0, value_name = "N", value_parser = observations)]
    observations: f32,
    /// A parameter that is known, in its unit; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    theta: Vec<String>,
    /// A number that comes back with the answers that rest on the label.
    #[arg(long, default_value_t = 0, value_name = "N")]
    tag: u32,
    /// How many observations the whole bank of the artifact is worth, for a file that is made: by default one a prototype.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    prior: Option<u16>,
    /// Take the label with this record's number back.
    #[arg(long, value_name = "RECORD", conflicts_with_all = ["input", "mechanism", "new", "theta"])]
    retract: Option<u16>,
}

#[derive(Debug, Serialize)]
struct Document {
    model: String,
    additions: String,
    appended: Vec<Written>,
    records: usize,
    in_force: usize,
    mechanisms: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<usize>,
    record: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<u16>,
    /// Observations that the record stands for now.
    observations: f32,
}

fn observations(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (1.0 / 16.0..=4_095.0).contains(&value) => Ok(value),
        _ => Err("between 0.0625 and 4095 observations".into()),
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let path = &arguments.artifact;
    let bytes = files::read_artifact(path)?;
    let model = files::model(&bytes, path)?;
    let mut region = region(arguments, &model)?;
    let appended = match arguments.retract {
        Some(record) => vec![retract(arguments, &model, &mut region, record)?],
        None => label(arguments, &model, &mut region)?,
    };
    replace_file(&arguments.additions, region.bytes())?;
    let additions = region.read(&model)?;
    let known = 0..additions.num_mechanisms() as u8;
    let document = Document {
        model: model.manifest().name.to_owned(),
        additions: arguments.additions.display().to_string(),
        appended,
        records: additions.slots_used(),
        in_force: additions.iter().count(),
        mechanisms: known.map(|at| growth::mechanism_name(&additions, at)).collect(),
    };
    output.print(&document, text)?;
    Ok(Verdict::Passed)
}

/// A file of additions that is there.
pub fn read(path: &Path, artifact: &Path, model: &Model<'_>) -> anyhow::Result<Region> {
    let bytes = std::fs::read(path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let region = Region::from_bytes(bytes);
    let additions = region.read(model).map_err(|error| refused(path, artifact, error))?;
    let (broken, written) = (additions.broken(), additions.slots_used());
    if broken > 0 {
        say(&format!(
            "warning: {}: {broken} of {written} records are broken and left out: the power failed while they were written, or bytes changed",
            path.display()
        ));
    }
    if region.is_cut(model) {
        say(&format!(
            "warning: {}: ends within a record: the file was cut, and what followed is lost\nhint: read the whole page from the device again",
            path.display()
        ));
    }
    Ok(region)
}

fn refused(path: &Path, artifact: &Path, error: AdditionsError) -> anyhow::Error {
    let hint = match error {
        AdditionsError::OtherArtifact { .. } => format!(
            "\nhint: an embedding means something to its own artifact alone; label the windows anew with {}",
            artifact.display()
        ),
        AdditionsError::NoBank => "\nhint: add a [bank] to the study".into(),
        _ => String::new(),
    };
    anyhow!("{}: {error}{hint}", path.display())
}

fn region(arguments: &Arguments, model: &Model<'_>) -> anyhow::Result<Region> {
    let path = &arguments.additions;
    if !path.exists() && arguments.retract.is_none() {
        return Region::new(model, arguments.prior)
            .map_err(|error| refused(&arguments.artifact, &arguments.artifact, error));
    }
    let region = read(path, &arguments.artifact, model)?;
    let prior = region.read(model)?.prior_observations();
    match arguments.prior {
        Some(other) if other != prior => bail!(
            "{}: its bank is worth {prior} observations, and that stays\nhint: leave `--prior` out, or begin another file",
            path.display()
        ),
        _ => Ok(region),
    }
}

fn label(
    arguments: &Arguments,
    model: &Model<'_>,
    region: &mut Region,
) -> anyhow::Result<Vec<Written>> {
    let (Some(input), Some(name)) = (&arguments.input, &arguments.mechanism) else {
        unreachable!("clap asks for both")
    };
    let table = files::windows(input, model, &arguments.artifact)?;
    let rows = match arguments.row {
        Some(row) if row >= table.len() => {
            bail!("{}: no row {row}\nhint: its rows are 0 to {}", input.display(), table.len() - 1)
        }
        Some(row) => row..row + 1,
        None => 0..table.len(),
    };
    let theta = thetas(&arguments.theta, model)?;
    let failed = |error: GrowthError| anyhow!("{}: {error}", arguments.additions.display());
    let mechanism = mechanism(arguments, name, model, region)?;
    let label = Label {
        count: (arguments.observations * 16.0).round() as u16,
        theta: &theta,
        tag: arguments.tag,
        ..Label::new(mechanism)
    };
    let mut written = Vec::new();
    for row in rows {
        let window = table.windows().nth(row).expect("a row of the table");
        let appended = region.label(model, window, &label).map_err(failed)?;
        let count = region.read(model)?.at(appended.record).map_or(0, |addition| addition.count);
        written.push(Written {
            row: Some(row),
            record: appended.record,
            mechanism: Some(name.clone()),
            replaces: appended.replaces,
            observations: f32::from(count) / 16.0,
        });
    }
    Ok(written)
}

fn retract(
    arguments: &Arguments,
    model: &Model<'_>,
    region: &mut Region,
    record: u16,
) -> anyhow::Result<Written> {
    let appended = region.append(model, |additions, bytes| additions.retract(record, bytes));
    let appended = appended.map_err(|error| {
        let additions = region.read(model);
        let records = additions.iter().flat_map(Additions::iter).map(|a| a.record.to_string());
        let records = records.collect::<Vec<_>>().join(", ");
        let records = if records.is_empty() { "none".into() } else { records };
        anyhow!("{}: {error}\nhint: in force are {records}", arguments.additions.display())
    })?;
    Ok(Written {
        row: None,
        record: appended.record,
        mechanism: None,
        replaces: appended.replaces,
        observations: 0.0,
    })
}

/// The position of the mechanism, which gets a name in the region where it is new.
fn mechanism(
    arguments: &Arguments,
    name: &str,
    model: &Model<'_>,
    region: &mut Region,
) -> anyhow::Result<u8> {
    let shown = arguments.additions.display();
    if name.chars().any(char::is_control) {
        bail!("--mechanism {name:?}: a name of printable characters");
    }
    let additions = region.read(model)?;
    if let Some(known) = growth::mechanism(&additions, name) {
        return Ok(known);
    }
    if !arguments.new {
        let all = 0..additions.num_mechanisms() as u8;
        let all: Vec<String> = all.map(|at| growth::mechanism_name(&additions, at)).collect();
        bail!(
            "no mechanism `{name}`\nhint: there are {}; to add `{name}` in {shown}, say `--new`",
            all.join(", ")
        );
    }
    let Some(next) = additions.next_mechanism() else {
        bail!(
            "{shown}: has all the mechanisms that a region can add\nhint: with so many, train an artifact that knows them"
        );
    };
    let appended = region.append(model, |additions, record| additions.name(next, name, record));
    appended.map_err(|error| anyhow!("{shown}: {error}"))?;
    Ok(next)
}

/// Values of the parameters in the bank's order, NaN for those that the user did not say.
fn thetas(said: &[String], model: &Model<'_>) -> anyhow::Result<Vec<f32>> {
    let bank = model.manifest().bank.as_ref();
    let ranges: Vec<_> = bank.iter().flat_map(|bank| bank.theta.iter()).collect();
    let mut theta = vec![f32::NAN; ranges.len()];
    for text in said {
        let parsed = text.split_once('=').and_then(|(name, value)| {
            Some((name.trim(), value.trim().parse::<f32>().ok().filter(|value| value.is_finite())?))
        });
        let Some((name, value)) = parsed else {
            bail!("--theta {text}: not a name and a number\nhint: write `--theta R0=2.5`");
        };
        let Some(at) = ranges.iter().position(|range| range.name == name) else {
            let names: Vec<&str> = ranges.iter().map(|range| range.name).collect();
            bail!("--theta {text}: no parameter `{name}`\nhint: there are {}", names.join(", "));
        };
        let (low, high) = (ranges[at].low, ranges[at].high);
        if !(low..=high).contains(&value) {
            bail!("--theta {text}: the simulations have {name} from {low} to {high}");
        }
        if !theta[at].is_nan() {
            bail!("--theta {text}: `{name}` was said before");
        }
        theta[at] = value;
    }
    Ok(theta)
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    for written in &document.appended {
        text += &match (written.row, &written.mechanism) {
            (Some(row), Some(mechanism)) => {
                let more = written.replaces.map_or(String::new(), |replaced| {
                    format!(", more of record {replaced}: {} observations", written.observations)
                });
                format!("row {row}: {mechanism}, record {}{more}\n", written.record)
            }
            _ => format!(
                "record {}: takes record {} back\n",
                written.record,
                written.replaces.unwrap_or_default()
            ),
        };
    }
    text += &format!(
        "{}: {}, {} in force\n",
        document.additions,
        counted(document.records, "record"),
        counted(document.in_force, "label")
    );
    text
}
