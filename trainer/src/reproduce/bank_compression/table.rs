//! Runs under several seeds as one table, a summary and a figure.

use serde_json::Value;

use super::judge::Scores;
use super::{MAIN_BUDGET, Measured, Run};
use crate::named::Named;
use crate::reproduce::figure::{self, Curve, Panel};
use crate::reproduce::{Findings, Row, Spread};

/// A column of the table and what it shows.
type Column = (&'static str, fn(&Scores) -> f64);

const COLUMNS: [Column; 6] = [
    ("mechanism_tv", |s| s.mechanism_tv),
    ("top1_agreement", |s| s.top1_agreement),
    ("theta_distance", |s| s.theta_distance),
    ("theta_w1", |s| s.theta_w1),
    ("recall", |s| s.recall),
    ("novelty_ks", |s| s.novelty_ks),
];

/// The same method at the same budget under every seed.
type Group<'r> = Vec<&'r Measured>;

pub(super) fn findings(runs: &[Run], simulations: u64) -> Findings {
    let groups = groups(runs);
    let shipped = groups.iter().find(|g| is(g[0], "ours", MAIN_BUDGET));
    let mut summary: Vec<(String, Value)> = Vec::new();
    if let Some(group) = shipped {
        for (name, value) in COLUMNS {
            summary.push((name.into(), spread(group, value).mean.into()));
        }
        let largest = group.iter().filter_map(|m| m.bytes).max();
        summary.push(("bytes".into(), largest.into()));
    }
    summary.push(("simulations".into(), simulations.into()));
    let of_runs =
        |value: &dyn Fn(&Run) -> f64| Spread::of(&runs.iter().map(value).collect::<Vec<_>>());
    summary.push(("build_seconds".into(), of_runs(&|r| r.build.time.as_secs_f64()).max.into()));
    let peak = runs.iter().filter_map(|run| run.build.peak_bytes).max();
    summary.push(("build_peak_bytes".into(), peak.into()));
    let effective = of_runs(&|run| run.effective_simulations).mean;
    summary.push(("effective_simulations".into(), effective.into()));
    summary.push(("half_life".into(), of_runs(&|run| run.bandwidth.mechanism).mean.into()));
    summary.push(("half_life_of_theta".into(), of_runs(&|run| run.bandwidth.theta).mean.into()));
    let faiss = match &runs[0].faiss {
        Ok(version) => version.clone(),
        Err(reason) => format!("left out: {reason}"),
    };
    summary.push(("faiss".into(), faiss.into()));
    Findings {
        rows: groups.iter().map(row).collect(),
        summary: Named(summary),
        figures: vec![("bank-compression".into(), picture(&groups))],
    }
}

fn is(measured: &Measured, method: &str, budget: usize) -> bool {
    measured.method == method && measured.budget == Some(budget)
}

fn groups(runs: &[Run]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for measured in runs.iter().flat_map(|run| &run.measured) {
        let same = |group: &&mut Group<'_>| {
            group[0].method == measured.method && group[0].budget == measured.budget
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(measured),
            None => groups.push(vec![measured]),
        }
    }
    groups
}

fn spread(group: &Group<'_>, value: fn(&Scores) -> f64) -> Spread {
    Spread::of(&group.iter().map(|m| value(&m.scores)).collect::<Vec<_>>())
}

fn row(group: &Group<'_>) -> Row {
    let mean = |value: &dyn Fn(&Measured) -> f64| {
        Spread::of(&group.iter().map(|m| value(m)).collect::<Vec<_>>()).mean
    };
    let count = |value: Option<usize>| value.map_or(f64::NAN, |value| value as f64);
    let mut row = Row::new("method", group[0].method)
        .number("kib", count(group[0].budget) / 1024.0)
        .number("bytes", mean(&|m| count(m.bytes)))
        .number("prototypes", mean(&|m| m.prototypes as f64))
        .number("d", mean(&|m| m.d as f64));
    for (name, value) in COLUMNS {
        row = row.spread(name, &spread(group, value));
    }
    row.number("seconds", mean(&|m| m.seconds))
        .number("search_us", mean(&|m| m.search.unwrap_or(f64::NAN)))
}

fn picture(groups: &[Group<'_>]) -> String {
    let curve = |method: &str, value: fn(&Scores) -> f64| Curve {
        name: method.into(),
        points: groups
            .iter()
            .filter(|group| group[0].method == method)
            .filter_map(|group| Some((group[0].budget? as f64 / 1024.0, spread(group, value).mean)))
            .collect(),
        reference: false,
    };
    let level = |value: fn(&Scores) -> f64| {
        let method = "exact over other simulations";
        let group = groups.iter().find(|group| group[0].method == method);
        let level = group.map_or(f64::NAN, |group| spread(group, value).mean);
        let ends = [1.0, 256.0];
        Curve { name: method.into(), points: ends.map(|x| (x, level)).into(), reference: true }
    };
    let panel = |title: &str, y_label, value: fn(&Scores) -> f64| Panel {
        title: title.into(),
        x_label: "bank, KiB",
        y_label,
        logarithmic: (true, true),
        curves: ["ours", "hard labels", "FAISS product quantization"]
            .into_iter()
            .map(|method| curve(method, value))
            .chain([level(value)])
            .filter(|curve| !curve.points.is_empty())
            .collect(),
    };
    figure::draw(&[
        panel("Mechanism posterior", "total variation", |s| s.mechanism_tv),
        panel("Most probable mechanism", "disagreement", |s| 1.0 - s.top1_agreement),
        panel("Parameter posterior", "Wasserstein distance, ranges", |s| s.theta_distance),
    ])
}
