//! `simground reproduce`: published experiments, run again.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{anyhow, bail};
use serde::Serialize;
use serde_json::Value;
use simground_trainer::artifact::replace_file;
use simground_trainer::named::Named;
use simground_trainer::reproduce::{Experiment, Row, Settings, experiments};

use super::making::Speaker;
use super::output::{significant, table};
use super::{Output, Verdict};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The experiment.
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Name the experiments.
    #[arg(long, conflicts_with_all = ["name", "seeds", "quick", "at_most", "figures"])]
    list: bool,
    /// Seeds to repeat over, instead of the published ones: `1,2,3` or `201-220`.
    #[arg(long, value_name = "SEEDS", value_parser = seeds)]
    seeds: Option<Seeds>,
    /// A small version in seconds to a minute: it shows that the experiment runs, its figures mean little.
    #[arg(long)]
    quick: bool,
    /// Leave out trainings on more simulations than this, where an experiment has several sizes.
    #[arg(long, value_name = "N")]
    at_most: Option<u64>,
    /// Write the experiment's pictures (SVG) into this folder.
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Seeds(Vec<u64>);

#[derive(Debug, Serialize)]
struct Document {
    rows: Vec<Row>,
    summary: Named<Value>,
    seeds: Vec<u64>,
    command: String,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
    takes: &'static str,
    seeds: &'static [u64],
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let Some(name) = arguments.name.as_deref() else {
        list(output)?;
        return Ok(Verdict::Passed);
    };
    let Some(experiment) = experiments().iter().find(|experiment| experiment.name == name) else {
        let known: Vec<&str> = experiments().iter().map(|experiment| experiment.name).collect();
        bail!("no experiment `{name}`\nhint: there are {}", known.join(", "));
    };
    if let Some(folder) = &arguments.figures {
        std::fs::create_dir_all(folder).map_err(|e| anyhow!("{}: {e}", folder.display()))?;
    }
    let seeds = arguments.seeds.as_ref().map_or(experiment.seeds, |seeds| &seeds.0).to_vec();
    let started = Instant::now();
    let at_most = arguments.at_most.unwrap_or(u64::MAX);
    let settings = Settings { seeds, quick: arguments.quick, at_most };
    let found = (experiment.run)(&settings, &mut Speaker::new(started))?;
    for (file, svg) in &found.figures {
        if let Some(folder) = &arguments.figures {
            replace_file(&folder.join(format!("{file}.svg")), svg.as_bytes())?;
        }
    }
    let document = Document {
        rows: found.rows,
        summary: found.summary,
        command: command(experiment, &settings),
        seeds: settings.seeds,
        seconds: started.elapsed().as_secs_f64(),
    };
    output.print(&document, document_text)?;
    Ok(Verdict::Passed)
}

fn list(output: Output) -> anyhow::Result<()> {
    let listed =
        |e: &Experiment| Listed { name: e.name, about: e.about, takes: e.takes, seeds: e.seeds };
    let all: Vec<Listed> = experiments().iter().map(listed).collect();
    output.print(&all, |all| {
        let row = |e: &Listed| format!("{:<24} {} (about {})\n", e.name, e.about, e.takes);
        all.iter().map(row).collect()
    })
}

/// The command that gives these figures again.
fn command(experiment: &Experiment, settings: &Settings) -> String {
    let seeds: Vec<String> = settings.seeds.iter().map(u64::to_string).collect();
    let quick = if settings.quick { " --quick" } else { "" };
    let at_most = match settings.at_most {
        u64::MAX => String::new(),
        most => format!(" --at-most {most}"),
    };
    format!("simground reproduce {} --seeds {}{quick}{at_most}", experiment.name, seeds.join(","))
}

/// `1,2,3`, `201-220`, or both mixed.
fn seeds(text: &str) -> Result<Seeds, String> {
    let wrong = |part: &str| format!("`{part}` is no seed; write seeds as `1,2,3` or `201-220`");
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last && last - first < 10_000 => {
                all.extend(first..=last);
            }
            _ => return Err(wrong(part)),
        }
    }
    Ok(Seeds(all))
}

/// A table whose columns are those of the rows, in the order of their first appearance.
fn document_text(document: &Document) -> String {
    let mut header: Vec<&str> = Vec::new();
    for (column, _) in document.rows.iter().flat_map(|row| row.0.iter()) {
        if !header.contains(&column.as_str()) {
            header.push(column);
        }
    }
    let cell = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.as_f64().map_or("-".into(), |number| significant(number, 4)),
        None => "-".into(),
    };
    let mut rows = vec![header.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>()];
    rows.extend(
        document
            .rows
            .iter()
            .map(|row| header.iter().map(|column| cell(row.0.value(column))).collect()),
    );
    let summary =
        document.summary.iter().map(|(name, value)| format!("{name}: {}\n", cell(Some(value))));
    format!(
        "{}\n{}{:.0} s, `{}`\n",
        table(&rows),
        summary.collect::<String>(),
        document.seconds,
        document.command
    )
}
