//! Growth in the field on the outbreak study: how many labels until what the training never saw is named.
//!
//! The network is trained once without any fault. Each fault is then a mechanism that a person labels on the device, window by window.
//! Beside the grown bank stand the nearest prototype of both parts, whichever part it is of, and the labels alone: a window is new when it
//! is nearer to a label than all but one in twenty simulations are. A bank that never grows names none.

use std::sync::Arc;

use rayon::prelude::*;
use simground_runtime::{Additions, GrownAttribution, Label, Model, Reach};

use super::novelty::fault::{FAULTS, Fault};
use super::{Experiment, ExperimentError, Findings, Row, Settings, Spread};
use crate::growth::Region;
use crate::pipeline::{self, Options, Talk};
use crate::simulator::Split;
use crate::source::Source;
use crate::study::Study;
use crate::training::Silent;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "growth",
    about: "labels in the field: how many until an outbreak that the training never saw is named",
    takes: "6 minutes",
    seeds: &[421, 422, 423, 424, 425],
    run,
};

const STUDY: &str = include_str!("../../studies/outbreak.toml");
/// Faults by their place in the list, each with the level that it has here.
const NEW: [(usize, f64); 7] =
    [(0, 25.0), (0, 45.0), (1, 0.9), (2, 1.2), (3, 0.95), (4, 14.0), (5, 4.0)];
/// Labels of the new mechanism.
const LABELS: [usize; 6] = [0, 1, 2, 4, 8, 16];
/// The labels alone call one simulation in this many new.
const ONE_IN: usize = 20;
/// Seeds on which the settings of a label were compared; none of them is a published one.
const VALIDATION: [u64; 3] = [431, 432, 433];

/// How labels are written.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Setting {
    /// What the bank is worth, in observations; by default one a prototype.
    prior: Option<u16>,
    /// How many times the squared distance of the nearest prototype a label reaches, as a power of two; by default as the runtime has it.
    wider: Option<u8>,
}

const DEFAULT: Setting = Setting { prior: None, wider: None };

fn failed(error: impl std::fmt::Display) -> ExperimentError {
    ExperimentError(error.to_string())
}

/// Windows of one seed, `[count, d_x]` each.
struct Windows {
    /// To label: with the fault.
    labeled: Vec<f32>,
    /// To be named: with the fault.
    new: Vec<f32>,
    /// Simulations without a fault, and their mechanisms.
    clean: Vec<f32>,
    mechanisms: Vec<u8>,
    /// More of them, on which the labels alone are calibrated.
    held_out: Vec<f32>,
}

/// What came of one seed.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    /// Share of windows with the fault that are named as the new mechanism.
    named: f64,
    /// Share of simulations that are.
    false_alarms: f64,
    /// Share of simulations whose own mechanism is named.
    accuracy: f64,
}

/// Trains once with the study's own seed; each seed of the settings is a set of labels and of windows.
fn run(settings: &Settings, talk: &mut dyn Talk) -> Result<Findings, ExperimentError> {
    let mut study = Study::parse(STUDY, "outbreak.toml").map_err(failed)?;
    let mut count = 1_000;
    if settings.quick {
        study.training.simulations = 20_000;
        study.training.steps = 500;
        study.training.validate_every = 250;
        count = 200;
    }
    let simulator = Arc::new(study.simulator().expect("the study has mechanisms"));
    let source = Source::Simulator { simulator: Arc::clone(&simulator), seed: study.seed };
    let outcome = pipeline::run(&study, &source, &Options::default(), &mut Silent, talk);
    let artifact = outcome.map_err(failed)?.artifact;
    let model = Model::from_bytes(&artifact).map_err(failed)?;
    let most = LABELS[LABELS.len() - 1] as u64;
    let windows = |fault: &Fault, level: f64, seed: u64, count: u64| {
        let corpus = simulator.simulate(seed, Split::Test.first(2 * count + most));
        let held_out = simulator.simulate(seed, Split::Calibration.first(count));
        let (d_x, others) = (corpus.schema.d_x(), (count + most) as usize);
        let mut labeled = fault.windows(STUDY, level, seed, count + most).map_err(failed)?;
        let new = labeled.split_off(most as usize * d_x);
        // Windows with a fault are made of the first simulations; these are others.
        let clean = corpus.x[others * d_x..].to_vec();
        let mechanisms = corpus.mechanism[others..].iter().map(|at| *at as u8).collect();
        Ok(Windows { labeled, new, clean, mechanisms, held_out: held_out.x })
    };
    let mut findings = Findings::default();
    for (at, level) in NEW {
        let fault = &FAULTS[at];
        talk.stage(&format!("{}, {level}", fault.name));
        let sets: Vec<Windows> = settings
            .seeds
            .iter()
            .map(|seed| windows(fault, level, *seed, count))
            .collect::<Result<_, _>>()?;
        for labels in LABELS {
            let row = |method: &str| {
                Row::new("new mechanism", fault.name)
                    .text("method", method)
                    .number("level", level)
                    .number("labels", labels as f64)
            };
            for (method, judge) in METHODS {
                let outcomes: Vec<Outcome> =
                    sets.iter().map(|set| judge(&model, set, labels)).collect::<Result<_, _>>()?;
                findings.rows.push(with_outcomes(row(method), &outcomes));
            }
        }
        compare_settings(
            &model,
            fault,
            level,
            &|seed| windows(fault, level, seed, count / 2),
            &mut findings,
        )?;
    }
    summarize(&mut findings);
    Ok(findings)
}

type Method = fn(&Model<'_>, &Windows, usize) -> Result<Outcome, ExperimentError>;

const METHODS: [(&str, Method); 3] = [
    ("grown bank", |model, set, labels| by_bank(model, set, labels, DEFAULT)),
    ("nearest of both", nearest_of_both),
    ("labels alone", labels_alone),
];

fn with_outcomes(row: Row, outcomes: &[Outcome]) -> Row {
    let column = |of: fn(&Outcome) -> f64| Spread::of(&outcomes.iter().map(of).collect::<Vec<_>>());
    row.spread("named", &column(|o| o.named))
        .spread("false_alarms", &column(|o| o.false_alarms))
        .spread("accuracy", &column(|o| o.accuracy))
}

/// Other priors and reaches, on seeds of their own.
fn compare_settings(
    model: &Model<'_>,
    fault: &Fault,
    level: f64,
    windows: &dyn Fn(u64) -> Result<Windows, ExperimentError>,
    findings: &mut Findings,
) -> Result<(), ExperimentError> {
    let sets: Vec<Windows> =
        VALIDATION.iter().map(|seed| windows(*seed)).collect::<Result<_, _>>()?;
    let prototypes = model.manifest().bank.as_ref().map_or(0, |bank| bank.prototypes) as u16;
    for prior in [3, prototypes / 10, prototypes] {
        for wider in [0, 1, 2, 3] {
            for labels in [1, 4, 16] {
                let setting = Setting { prior: Some(prior), wider: Some(wider) };
                let outcomes: Vec<Outcome> = sets
                    .iter()
                    .map(|set| by_bank(model, set, labels, setting))
                    .collect::<Result<_, _>>()?;
                let row = Row::new("new mechanism", fault.name)
                    .text("method", "validation")
                    .number("level", level)
                    .number("labels", labels as f64)
                    .number("prior", f64::from(prior))
                    .number("reach", f64::from(1_u8 << wider));
                findings.rows.push(with_outcomes(row, &outcomes));
            }
        }
    }
    Ok(())
}

/// Labels the first windows as one new mechanism.
fn grow(
    model: &Model<'_>,
    set: &Windows,
    labels: usize,
    setting: Setting,
) -> Result<Region, ExperimentError> {
    let mut region = Region::new(model, setting.prior).map_err(failed)?;
    let new = model.manifest().mechanisms.len() as u8;
    for window in set.labeled.chunks_exact(model.d_values()).take(labels) {
        let mut label = Label::new(new);
        if let Some(wider) = setting.wider {
            let mut scratch = vec![0; model.scratch_words()];
            let inference = model.infer(window, &mut scratch).expect("a window");
            let Reach(code) = region.read(model).map_err(failed)?.nearest_reach(&inference);
            // The upper nibble is the exponent of a power of two.
            label.reach = Some(Reach(code.saturating_sub(wider << 4)));
        }
        region.label(model, window, &label).map_err(failed)?;
    }
    Ok(region)
}

/// The most probable mechanism of both parts.
fn by_bank(
    model: &Model<'_>,
    set: &Windows,
    labels: usize,
    setting: Setting,
) -> Result<Outcome, ExperimentError> {
    let region = grow(model, set, labels, setting)?;
    let additions = region.read(model).map_err(failed)?;
    Ok(judge(model, set, |window| with_answer(model, &additions, window, most_probable)))
}

/// What both parts of the bank say of a window, read by `read`.
fn with_answer<T>(
    model: &Model<'_>,
    additions: &Additions<'_>,
    window: &[f32],
    read: impl FnOnce(&GrownAttribution<'_, 1>) -> T,
) -> T {
    let mut scratch = vec![0; model.scratch_words()];
    let mut weights = vec![0; additions.slots_used()];
    let mut inference = model.infer(window, &mut scratch).expect("a window");
    read(&inference.attribute_with::<1>(additions, &mut weights).expect("fits"))
}

/// The most probable mechanism.
fn most_probable(answer: &GrownAttribution<'_, 1>) -> u8 {
    let probability = |at: &usize| answer.mechanism_posterior[*at].probability;
    let all = 0..answer.mechanism_posterior.len();
    all.max_by(|a, b| probability(a).total_cmp(&probability(b))).map_or(0, |at| at as u8)
}

/// The mechanism of the nearest prototype, whichever part it is of.
fn nearest_of_both(
    model: &Model<'_>,
    set: &Windows,
    labels: usize,
) -> Result<Outcome, ExperimentError> {
    let region = grow(model, set, labels, DEFAULT)?;
    let additions = region.read(model).map_err(failed)?;
    Ok(judge(model, set, |window| {
        with_answer(model, &additions, window, |answer| {
            answer.nearest.first().map_or(0, |near| near.mechanism)
        })
    }))
}

/// The new mechanism where a label is near enough, otherwise the bank's answer.
fn labels_alone(
    model: &Model<'_>,
    set: &Windows,
    labels: usize,
) -> Result<Outcome, ExperimentError> {
    let region = grow(model, set, labels, DEFAULT)?;
    let additions = region.read(model).map_err(failed)?;
    let empty = Region::new(model, None).map_err(failed)?;
    let empty = empty.read(model).map_err(failed)?;
    let mut held_out: Vec<f64> = set
        .held_out
        .par_chunks_exact(model.d_values())
        .map(|window| nearest_label(model, &additions, window))
        .collect();
    held_out.sort_by(f64::total_cmp);
    let threshold = held_out[held_out.len() / ONE_IN];
    let new = model.manifest().mechanisms.len() as u8;
    let name = |window: &[f32]| {
        if nearest_label(model, &additions, window) < threshold {
            return new;
        }
        with_answer(model, &empty, window, most_probable)
    };
    Ok(judge(model, set, name))
}

/// Squared distance to the nearest label; infinite without one.
fn nearest_label(model: &Model<'_>, additions: &Additions<'_>, window: &[f32]) -> f64 {
    let mut scratch = vec![0; model.scratch_words()];
    let inference = model.infer(window, &mut scratch).expect("a window");
    let distance = |vector: &mut dyn Iterator<Item = i16>| -> f64 {
        let pairs = vector.zip(inference.embedding());
        pairs.map(|(v, q)| (f64::from(v) - f64::from(*q)).powi(2)).sum()
    };
    let each = additions.iter().map(|addition| distance(&mut addition.vector()));
    each.fold(f64::INFINITY, f64::min)
}

fn judge(model: &Model<'_>, set: &Windows, name: impl Fn(&[f32]) -> u8 + Sync) -> Outcome {
    let new = model.manifest().mechanisms.len() as u8;
    let names = |windows: &[f32]| -> Vec<u8> {
        windows.par_chunks_exact(model.d_values()).map(&name).collect()
    };
    let share = |hits: usize, of: usize| hits as f64 / of as f64;
    let (with_fault, clean) = (names(&set.new), names(&set.clean));
    let right = clean.iter().zip(&set.mechanisms).filter(|(found, own)| found == own).count();
    Outcome {
        named: share(with_fault.iter().filter(|at| **at == new).count(), with_fault.len()),
        false_alarms: share(clean.iter().filter(|at| **at == new).count(), clean.len()),
        accuracy: share(right, clean.len()),
    }
}

/// Over all new mechanisms: what sixteen labels do.
fn summarize(findings: &mut Findings) {
    for (method, _) in METHODS {
        for labels in [1.0, 4.0, 16.0] {
            let rows = findings.rows.iter().filter(|row| {
                row.0.value("method").is_some_and(|value| value == method)
                    && row.0.value("labels").and_then(serde_json::Value::as_f64) == Some(labels)
            });
            let of = |column: &str| {
                let values = rows.clone().filter_map(|row| row.0.value(column)?.as_f64());
                Spread::of(&values.collect::<Vec<_>>()).mean
            };
            let (named, false_alarms) = (of("named"), of("false_alarms"));
            findings.summary.0.push((format!("{method}, {labels} labels: named"), named.into()));
            let name = format!("{method}, {labels} labels: false alarms");
            findings.summary.0.push((name, false_alarms.into()));
        }
    }
}
