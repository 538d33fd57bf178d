//! `simground predict`: answers to windows in a CSV file, by the integer runtime.

use std::path::PathBuf;

use serde::Serialize;
use simground_runtime::Model;
use simground_runtime::artifact::Head;
use simground_trainer::explanation::{self, novelty_words};
use simground_trainer::input_table::{Expectation, InputTable};
use simground_trainer::named::Named;

use super::output::{say, significant, table};
use super::{Output, Verdict, files};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact.
    artifact: PathBuf,
    /// Windows in CSV: a header with a name per column, one window a row, time-major; an empty cell, NA or NaN is a missing
    /// value.
    #[arg(long, value_name = "DATA.csv")]
    input: PathBuf,
}

#[derive(Debug, Serialize)]
struct Document {
    model: String,
    predictions: Vec<Prediction>,
}

#[derive(Debug, Serialize)]
struct Prediction {
    row: usize,
    #[serde(skip_serializing_if = "Named::is_empty")]
    mechanism: Named<f32>,
    #[serde(skip_serializing_if = "Named::is_empty")]
    quantiles: Named<Named<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    novelty: Option<f32>,
    missing: u16,
    clamped: u16,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let bytes = files::read_artifact(&arguments.artifact)?;
    let model = files::model(&bytes, &arguments.artifact)?;
    let input = InputTable::read(&arguments.input, &Expectation::of(&model))?;
    let document = Document {
        model: model.manifest().name.to_owned(),
        predictions: predictions(&model, &input),
    };
    output.print(&document, document_text)?;
    for (window, line) in input.windows().zip(&input.lines) {
        let clamped = explanation::clamped(&model, window);
        let names: Vec<String> = clamped.iter().map(|at| input.columns[*at].clone()).collect();
        warn_of_clamped(&arguments.input, *line, &names);
    }
    Ok(Verdict::Passed)
}

/// Warns of values that no simulation came near to, by the names of their columns.
pub fn warn_of_clamped(input: &std::path::Path, line: u64, clamped: &[String]) {
    /// Names in one warning.
    const NAMED: usize = 8;
    if clamped.is_empty() {
        return;
    }
    let more = if clamped.len() > NAMED { ", ..." } else { "" };
    say(&format!(
        "warning: {}:{line}: {} values lie outside the range of the simulations and were clamped: {}{more}",
        input.display(),
        clamped.len(),
        clamped[..clamped.len().min(NAMED)].join(", "),
    ));
}

fn predictions(model: &Model<'_>, input: &InputTable) -> Vec<Prediction> {
    let manifest = model.manifest();
    let mut targets: Vec<(String, Vec<String>)> = Vec::new();
    for head in manifest.heads.iter() {
        if let Head::Quantiles { levels, targets: answered, .. } = head {
            // The shortest decimal that is this number: 0.05, not 0.05000000074505806.
            let levels: Vec<String> = levels.iter().map(|level| level.to_string()).collect();
            targets.extend(answered.iter().map(|t| (t.name.to_owned(), levels.clone())));
        }
    }
    let mut scratch = vec![0; model.scratch_words()];
    let mut predict = |(row, window): (usize, &[f32])| {
        let mut inference =
            model.infer(window, &mut scratch).expect("the table has the model's width");
        let report = inference.input_report();
        let mechanism = inference.mechanism_posterior();
        let names = manifest.mechanisms.iter().map(str::to_owned);
        let quantiles = targets.iter().enumerate().filter_map(|(at, (name, levels))| {
            let values = inference.quantiles(at)?;
            Some((name.clone(), levels.iter().cloned().zip(values).collect()))
        });
        let quantiles: Named<Named<f32>> = quantiles.collect();
        Prediction {
            row,
            mechanism: mechanism.map_or_else(Named::default, |p| names.zip(p).collect()),
            quantiles,
            novelty: inference.attribute::<1>().map(|attribution| attribution.novelty),
            missing: report.missing,
            clamped: report.clamped,
        }
    };
    input.windows().enumerate().map(&mut predict).collect()
}

fn document_text(document: &Document) -> String {
    let mut text = String::new();
    for prediction in &document.predictions {
        text += &format!("row {}\n", prediction.row);
        if !prediction.mechanism.is_empty() {
            text += &format!("  mechanism  {}\n", probabilities(&prediction.mechanism));
        }
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut header: Vec<&str> = Vec::new();
        for (target, quantiles) in prediction.quantiles.iter() {
            let levels: Vec<&str> = quantiles.iter().map(|(level, _)| level.as_str()).collect();
            if levels != header {
                let titles = levels.iter().map(|level| (*level).to_owned());
                rows.push([String::new()].into_iter().chain(titles).collect());
                header = levels;
            }
            let values = quantiles.iter().map(|(_, q)| significant(f64::from(*q), 4));
            rows.push([target.clone()].into_iter().chain(values).collect());
        }
        text += &super::output::indented(&table(&rows));
        if let Some(novelty) = prediction.novelty {
            text += &format!("  novelty    {novelty:.3}: {}\n", novelty_words(novelty));
        }
        if prediction.missing > 0 {
            text += &format!("  missing    {} values\n", prediction.missing);
        }
    }
    text
}

/// `SIR 2 %, SEIR 91 %`.
pub fn probabilities(named: &Named<f32>) -> String {
    let each = named.iter().map(|(name, p)| format!("{name} {:.1} %", 100.0 * p));
    each.collect::<Vec<_>>().join(", ")
}
