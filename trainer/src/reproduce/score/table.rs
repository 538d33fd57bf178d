//! The table over seeds and the few figures that matter.

use super::super::{Findings, Row, Spread};
use super::design::{AUGMENTED, Figures, PLAIN, Run};
use super::equivalence::{Equivalence, equivalence};
use super::exact::Exact;
use super::surface::Surfaces;
use crate::named::Named;

/// Trainings that differ in the seed alone.
struct Group<'r> {
    method: &'static str,
    parameters: usize,
    simulations: usize,
    runs: Vec<&'r Run>,
}

pub(super) fn findings(exact: &Exact, runs: &[Run]) -> Findings {
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        let key = (run.method, run.parameters, run.simulations);
        match groups.iter_mut().find(|g| (g.method, g.parameters, g.simulations) == key) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group {
                method: run.method,
                parameters: run.parameters,
                simulations: run.simulations,
                runs: vec![run],
            }),
        }
    }
    groups.sort_by_key(|group| (group.parameters, group.simulations));
    let right = Figures::new(&exact.surfaces, &exact.score, exact);
    let constant = Surfaces {
        grid: vec![0.0; exact.surfaces.grid.len()],
        truth: vec![0.0; exact.surfaces.truth.len()],
    };
    let constant = Figures::new(&constant, &vec![0.0; exact.score.len()], exact);
    let mut rows = Vec::new();
    for (method, figures) in [("exact likelihood", &right), ("constant ratio", &constant)] {
        rows.push(figure_columns(
            Row::new("method", method).text("parameters", "-").text("simulations", "-"),
            exact,
            |of| Spread::of(&[of(figures)]),
        ));
    }
    let mut times: Vec<f64> = Vec::new();
    let mut bounded = false;
    for group in &groups {
        let row = Row::new("method", group.method)
            .text("parameters", group.parameters.to_string())
            .text("simulations", group.simulations.to_string());
        let mut row = figure_columns(row, exact, |of| group.spread(|run| of(&run.figures)))
            .spread("train_seconds", &group.spread(|run| run.seconds))
            .spread("score_seconds", &group.spread(|run| run.score_seconds));
        if group.method == AUGMENTED {
            let excess = |figures: &Figures| {
                (figures.cross_entropy - right.cross_entropy).max(f64::MIN_POSITIVE)
            };
            let by_loss = group.worth(&groups, excess);
            let by_statistic = group.worth(&groups, |figures| figures.statistic_mse);
            row = row
                .number("data_equivalence_bce", by_loss.times)
                .number("data_equivalence_statistic", by_statistic.times);
            let has_more = groups
                .iter()
                .any(|g| g.parameters == group.parameters && g.simulations > group.simulations);
            if has_more {
                times.extend([by_loss.times, by_statistic.times]);
                bounded |= by_loss.at_least || by_statistic.at_least;
            }
        }
        rows.push(row);
    }
    // Not a number, hence null, where no plain training had more data.
    let mean_log = times.iter().map(|t| libm::log(*t)).sum::<f64>() / times.len() as f64;
    let smallest = if times.is_empty() { f64::NAN } else { Spread::of(&times).min };
    let seconds = |method: &str, of: fn(&Run) -> f64| -> f64 {
        runs.iter().filter(|run| run.method == method).map(of).sum()
    };
    let augmented = seconds(AUGMENTED, |run| run.seconds);
    let ratios: Vec<f64> = groups
        .iter()
        .filter(|group| group.method == AUGMENTED)
        .map(|group| {
            let plain = group.plain(&groups).spread(|run| run.seconds);
            group.spread(|run| run.seconds).mean / plain.mean
        })
        .collect();
    let ratios = Spread::of(&ratios);
    let summary = Named(vec![
        ("data_equivalence".into(), libm::exp(mean_log).into()),
        ("data_equivalence_smallest".into(), smallest.into()),
        ("data_equivalence_is_lower_bound".into(), bounded.into()),
        ("time_ratio".into(), (augmented / seconds(PLAIN, |run| run.seconds)).into()),
        ("time_ratio_smallest".into(), ratios.min.into()),
        ("time_ratio_largest".into(), ratios.max.into()),
        ("train_seconds".into(), augmented.into()),
        ("score_seconds".into(), scores_once(runs).into()),
    ]);
    Findings { rows, summary, figures: Vec::new() }
}

/// Exact scores are computed once for the networks of a size; `train_seconds` counts each network.
fn scores_once(runs: &[Run]) -> f64 {
    let smallest = runs.iter().map(|run| run.parameters).min().unwrap_or(0);
    let once = runs.iter().filter(|run| run.method == AUGMENTED && run.parameters == smallest);
    once.map(|run| run.score_seconds).sum()
}

fn figure_columns(
    row: Row,
    exact: &Exact,
    spread: impl Fn(&dyn Fn(&Figures) -> f64) -> Spread,
) -> Row {
    let mut row = row
        .spread("bce", &spread(&|f| f.cross_entropy))
        .spread("statistic_mse", &spread(&|f| f.statistic_mse));
    for (at, name) in exact.names.iter().enumerate() {
        row = row.spread(&format!("score_error_{name}"), &spread(&|f| f.score_error[at]));
    }
    row.spread("mle_error", &spread(&|f| f.mle_error))
        .spread("coverage95", &spread(&|f| f.coverage))
        .spread("area95", &spread(&|f| f.area))
}

impl Group<'_> {
    fn spread(&self, of: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(&self.runs.iter().map(|run| of(run)).collect::<Vec<_>>())
    }

    /// The plain trainings on the same simulations.
    fn plain<'g>(&self, groups: &'g [Self]) -> &'g Self {
        let same = |g: &&Self| {
            g.method == PLAIN
                && g.parameters == self.parameters
                && g.simulations == self.simulations
        };
        groups.iter().find(same).expect("a plain training beside each augmented one")
    }

    /// What the mean of a figure is worth in plain simulations, on the same network.
    fn worth(&self, groups: &[Self], of: impl Fn(&Figures) -> f64) -> Equivalence {
        let plain = groups.iter().filter(|g| g.method == PLAIN && g.parameters == self.parameters);
        let curve: Vec<(usize, f64)> =
            plain.map(|g| (g.simulations, g.spread(|run| of(&run.figures)).mean)).collect();
        equivalence(&curve, self.simulations, self.spread(|run| of(&run.figures)).mean)
    }
}
