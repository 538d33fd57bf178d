//! Novelty on the outbreak study: uniform on simulations, and how often it notices what the study does not know.
//!
//! Beside it two trivial rivals on standardized inputs, each with its own held-out table: the distance to the nearest training
//! simulation, and the Mahalanobis distance from the training mean. A stream of windows of each fault also goes through the
//! device's drift monitor.

pub(super) mod fault;
mod rival;

use std::path::Path;
use std::sync::Arc;

use simground_runtime::{Drift, Model};

use self::fault::{FAULTS, Fault};
use self::rival::{Mahalanobis, NearestInput, Rival, Table};
use super::figure::{self, Curve, Panel};
use super::{Experiment, ExperimentError, Findings, Row, Settings, Spread};
use crate::evaluation;
use crate::float_model::FloatModel;
use crate::named::Named;
use crate::pipeline::{self, Options, Talk};
use crate::simulator::Split;
use crate::source::Source;
use crate::study::Study;
use crate::training::Silent;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "novelty-power",
    about: "novelty of outbreaks: uniform on simulations, power against faults, beside trivial distances",
    takes: "5 minutes",
    seeds: &[401, 402, 403, 404, 405],
    run,
};

const STUDY: &str = include_str!("../../studies/outbreak.toml");
/// Training simulations that the rivals know.
const KNOWN: u64 = 8_192;
/// Held-out simulations of the rivals' tables, as many as the study's own.
const HELD_OUT: u64 = 4_096;
/// A window is called novel at or below this p-value.
const LEVEL: f64 = 0.05;
/// Windows in a stream of the drift monitor, and the odds of its alarm.
const STREAM: usize = 100;
const ODDS: u32 = 100;

/// The p-values that one method gives.
type Method<'m> = (&'static str, Box<dyn Fn(&[f32]) -> Vec<f64> + 'm>);

fn failed(error: impl std::fmt::Display) -> ExperimentError {
    ExperimentError(error.to_string())
}

/// Trains once with the study's own seed; each seed of the settings is a test set.
fn run(settings: &Settings, talk: &mut dyn Talk) -> Result<Findings, ExperimentError> {
    let mut study = Study::parse(STUDY, "outbreak.toml").map_err(failed)?;
    let (mut known, mut count) = (KNOWN, 1_000);
    if settings.quick {
        study.training.simulations = 20_000;
        study.training.steps = 500;
        study.training.validate_every = 250;
        (known, count) = (1_024, 300);
    }
    let simulator = Arc::new(study.simulator().expect("the study has mechanisms"));
    let source = Source::Simulator { simulator: Arc::clone(&simulator), seed: study.seed };
    let outcome = pipeline::run(&study, &source, &Options::default(), &mut Silent, talk);
    let outcome = outcome.map_err(failed)?;
    let model = Model::from_bytes(&outcome.artifact).map_err(failed)?;
    let scaling = FloatModel::from_bytes(&outcome.float_model, Path::new("outbreak.float"))
        .map_err(failed)?
        .input;
    talk.stage("rivals");
    let z = |range| scaling.apply_rows(&simulator.simulate(study.seed, range).x);
    let (training, held_out) =
        (z(Split::Train.first(known)), z(Split::Calibration.first(HELD_OUT)));
    let nearest = NearestInput::new(training.clone(), scaling.d_input());
    let mahalanobis = Mahalanobis::fit(&training, scaling.d_input());
    let nearest_table = Table::new(nearest.distances(&held_out));
    let mahalanobis_table = Table::new(mahalanobis.distances(&held_out));
    let of_device = |x: &[f32]| {
        let answers = evaluation::integer_answers(&model, x);
        answers.iter().filter_map(|answer| answer.novelty.map(f64::from)).collect()
    };
    let rival = |rival: &dyn Rival, table: &Table, x: &[f32]| -> Vec<f64> {
        rival.distances(&scaling.apply_rows(x)).iter().map(|d| table.p_value(*d)).collect()
    };
    let methods: [Method<'_>; 3] = [
        ("novelty on the device", Box::new(of_device)),
        ("nearest training x", Box::new(|x| rival(&nearest, &nearest_table, x))),
        ("Mahalanobis of x", Box::new(|x| rival(&mahalanobis, &mahalanobis_table, x))),
    ];
    let mut findings = Findings::default();
    talk.stage("simulations without a fault");
    let clean: Vec<Vec<f32>> = settings
        .seeds
        .iter()
        .map(|seed| simulator.simulate(*seed, Split::Test.first(4 * count)).x)
        .collect();
    let held_out = study.training.calibration.min(HELD_OUT);
    uniformity(&methods, &clean, held_out, &mut findings);
    let mut panels = Vec::new();
    for fault in FAULTS {
        talk.stage(fault.name);
        panels.push(power(&fault, &methods, &settings.seeds, count, &mut findings)?);
    }
    for (part, panels) in panels.chunks(3).enumerate() {
        findings.figures.push((format!("novelty-power-{}", part + 1), figure::draw(panels)));
    }
    Ok(findings)
}

/// Kolmogorov and Smirnov's test of the p-values of simulations, and alarms of the drift monitor on them.
fn uniformity(methods: &[Method<'_>], clean: &[Vec<f32>], held_out: u64, findings: &mut Findings) {
    for (name, p_values) in methods {
        let each: Vec<Vec<f64>> = clean.iter().map(|x| p_values(x)).collect();
        let found: Vec<(f64, f64)> = each.iter().map(|p| kolmogorov_smirnov(p, held_out)).collect();
        let column =
            |of: fn(&(f64, f64)) -> f64| Spread::of(&found.iter().map(of).collect::<Vec<_>>());
        let below: Vec<f64> = each.iter().map(|p| share_at(p, LEVEL)).collect();
        let alarms: Vec<f64> = each.iter().map(|p| alarms(p).0).collect();
        let (ks, significance) = (column(|f| f.0), column(|f| f.1));
        findings.rows.push(
            Row::new("fault", "none")
                .text("method", *name)
                .spread("power", &Spread::of(&below))
                .number("alarms", Spread::of(&alarms).mean)
                .number("ks", ks.mean)
                .number("ks_p_min", significance.min),
        );
        let Named(summary) = &mut findings.summary;
        summary.push((
            format!("{name}: smallest p of Kolmogorov and Smirnov"),
            significance.min.into(),
        ));
    }
}

/// Power against one fault at every level: rows, and the picture.
fn power(
    fault: &Fault,
    methods: &[Method<'_>],
    seeds: &[u64],
    count: u64,
    findings: &mut Findings,
) -> Result<Panel, ExperimentError> {
    let mut curves: Vec<Curve> = methods
        .iter()
        .map(|(name, _)| Curve { name: (*name).into(), ..Curve::default() })
        .collect();
    for level in fault.levels {
        let windows: Result<Vec<Vec<f32>>, _> =
            seeds.iter().map(|seed| fault.windows(STUDY, level, *seed, count)).collect();
        let windows = windows.map_err(failed)?;
        for ((name, p_values), curve) in methods.iter().zip(&mut curves) {
            let each: Vec<Vec<f64>> = windows.iter().map(|x| p_values(x)).collect();
            let powers: Vec<f64> = each.iter().map(|p| share_at(p, LEVEL)).collect();
            let alarmed: Vec<(f64, f64)> = each.iter().map(|p| alarms(p)).collect();
            let mean = |of: fn(&(f64, f64)) -> f64| {
                alarmed.iter().map(of).sum::<f64>() / alarmed.len() as f64
            };
            let power = Spread::of(&powers);
            curve.points.push((level, power.mean));
            findings.rows.push(
                Row::new("fault", fault.name)
                    .text("method", *name)
                    .number("level", level)
                    .spread("power", &power)
                    .number("alarms", mean(|a| a.0))
                    .number("windows_to_alarm", mean(|a| a.1)),
            );
        }
    }
    let points = fault.levels.iter().map(|level| (*level, LEVEL)).collect();
    curves.push(Curve { name: "no power".into(), points, reference: true });
    Ok(Panel {
        title: fault.name.into(),
        x_label: fault.unit,
        y_label: "share with p <= 0.05",
        logarithmic: (false, false),
        curves,
    })
}

fn share_at(p_values: &[f64], level: f64) -> f64 {
    p_values.iter().filter(|p| **p <= level).count() as f64 / p_values.len() as f64
}

/// Share of streams in which the drift monitor raises an alarm, and the mean number of windows until then (the whole stream
/// where it never does).
fn alarms(p_values: &[f64]) -> (f64, f64) {
    let delay = |stream: &[f64]| {
        let mut drift = Drift::new();
        stream.iter().position(|p| {
            drift.push(*p as f32);
            drift.exceeds(ODDS)
        })
    };
    let delays: Vec<Option<usize>> = p_values.chunks_exact(STREAM).map(delay).collect();
    let n = delays.len() as f64;
    let alarmed = delays.iter().flatten().count() as f64;
    let windows = delays.iter().map(|d| d.map_or(STREAM, |at| at + 1) as f64).sum::<f64>();
    (alarmed / n, windows / n)
}

/// Largest gap between p-values and the uniform distribution, and how probable a larger one is.
///
/// Both the p-values and the `held_out` simulations behind the table are a sample, so this is the test of two samples; the gap is
/// measured where a table of 255 entries has its steps.
fn kolmogorov_smirnov(p_values: &[f64], held_out: u64) -> (f64, f64) {
    let mut sorted = p_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = |level: f64| sorted.partition_point(|p| *p <= level + 1e-7) as f64;
    let gap = |at: u32| {
        let level = f64::from(at) / 256.0;
        (below(level) / sorted.len() as f64 - level).abs()
    };
    let gap = (1..256).map(gap).fold(0.0, f64::max);
    let (n, m) = (sorted.len() as f64, held_out as f64);
    let scaled = gap * (n * m / (n + m)).sqrt();
    // Kolmogorov's series; it is one where it does not converge.
    let terms = (1..100).map(|k| {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        sign * libm::exp(-2.0 * f64::from(k * k) * scaled * scaled)
    });
    (gap, if scaled < 0.2 { 1.0 } else { terms.sum::<f64>().clamp(0.0, 1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_p_values_pass_and_others_do_not() {
        let uniform: Vec<f64> = (0..1_024).map(|at| f64::from(at % 256 + 1) / 256.0).collect();
        let (gap, p) = kolmogorov_smirnov(&uniform, 4_096);
        assert!(gap < 1e-6 && p == 1.0, "{gap} {p}");
        let squares: Vec<f64> = uniform.iter().map(|p| p * p).collect();
        let (gap, p) = kolmogorov_smirnov(&squares, 4_096);
        assert!((gap - 0.25).abs() < 0.01 && p < 1e-10, "{gap} {p}");
        // 1.358 is the critical value at one in twenty.
        let shifted: Vec<f64> = uniform.iter().map(|p| (p + 0.047_4).min(1.0)).collect();
        let (_, p) = kolmogorov_smirnov(&shifted, 4_096);
        assert!((p - 0.05).abs() < 0.025, "{p}");
    }

    #[test]
    fn alarms_come_with_their_delay() {
        assert_eq!(alarms(&[0.5; 200]), (0.0, 100.0));
        let (share, windows) = alarms(&[1.0 / 256.0; 200]);
        assert!(share == 1.0 && windows < 6.0, "{windows}");
    }
}
