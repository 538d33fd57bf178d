//! The published figures: the demo's artifact on several fresh test sets, with their spread.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use simground_tests::{root, target_dir};

/// Simulations of each test set.
const COUNT: u32 = 4_000;

/// Prints mean, standard deviation, smallest and largest value of every metric over the seeds `first..=last`.
pub fn run(first: u32, last: u32) -> Result<()> {
    let artifact = target_dir().join("demo/outbreak.sgnn");
    let mut table: BTreeMap<(String, String), BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    let mut changes = Vec::new();
    for seed in first..=last {
        let mut command = Command::new(target_dir().join("release/simground"));
        command.current_dir(root()).arg("evaluate").arg(&artifact);
        command.args(["--json", "--count", &COUNT.to_string(), "--seed", &seed.to_string()]);
        let output =
            command.output().context("cannot start simground: run `cargo xtask demo` first")?;
        if !output.status.success() {
            bail!("{command:?} ended with {}", output.status);
        }
        let document: Value = serde_json::from_slice(&output.stdout)?;
        changes.extend(document["largest_change"]["relative"].as_f64());
        let sources = [
            ("integer", &document["integer"]),
            ("float", &document["float"]),
            ("last value", &document["baselines"]["last_value"]),
            ("prior", &document["baselines"]["prior"]),
        ];
        for (source, metrics) in sources {
            for (metric, targets) in metrics.as_object().into_iter().flatten() {
                for (target, value) in targets.as_object().into_iter().flatten() {
                    let row = table.entry((metric.clone(), target.clone())).or_default();
                    row.entry(source).or_default().extend(value.as_f64());
                }
            }
        }
    }
    println!(
        "{COUNT} fresh simulations for each seed {first}..={last}: mean +- sd [smallest, largest]\n"
    );
    println!("{:<11} {:<10} {:<11} figures", "metric", "target", "model");
    for ((metric, target), row) in &table {
        for (source, values) in row {
            println!("{metric:<11} {target:<10} {source:<11} {}", spread(values));
        }
    }
    println!("\nlargest relative change of a metric from float to integer: {}", spread(&changes));
    Ok(())
}

fn spread(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let digits = if mean.abs() >= 10.0 { 1 } else { 4 };
    format!("{mean:.digits$} +- {sd:.digits$} [{low:.digits$}, {high:.digits$}]")
}
