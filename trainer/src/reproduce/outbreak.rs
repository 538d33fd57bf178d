//! The forecaster of the outbreak study against the last value and the prior, on fresh simulations.

use std::collections::BTreeMap;
use std::path::Path;

use simground_runtime::Model;

use super::{Experiment, ExperimentError, Findings, Row, Settings, Spread};
use crate::float_model::FloatModel;
use crate::named::Named;
use crate::pipeline::{self, Evaluation, Options, Talk};
use crate::simulator::Split;
use crate::source::Source;
use crate::study::Study;
use crate::training::Silent;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "outbreak",
    about: "forecast, R0 and mechanism of simulated outbreaks, against last value and prior",
    takes: "3 minutes",
    seeds: &SEEDS,
    run,
};

/// 201 to 220.
const SEEDS: [u64; 20] = {
    let mut seeds = [201; 20];
    let mut at = 1;
    while at < seeds.len() {
        seeds[at] = seeds[at - 1] + 1;
        at += 1;
    }
    seeds
};

const STUDY: &str = include_str!("../../studies/outbreak.toml");

fn failed(error: impl std::fmt::Display) -> ExperimentError {
    ExperimentError(error.to_string())
}

/// Trains once with the study's own seed; each seed of the settings is a test set.
fn run(settings: &Settings, talk: &mut dyn Talk) -> Result<Findings, ExperimentError> {
    let mut study = Study::parse(STUDY, "outbreak.toml").map_err(failed)?;
    let mut count = 4_000;
    if settings.quick {
        study.training.simulations = 20_000;
        study.training.steps = 500;
        study.training.validate_every = 250;
        count = 500;
    }
    let simulator = std::sync::Arc::new(study.simulator().expect("the study has mechanisms"));
    let source = Source::Simulator { simulator: simulator.clone(), seed: study.seed };
    let outcome = pipeline::run(&study, &source, &Options::default(), &mut Silent, talk);
    let outcome = outcome.map_err(failed)?;
    let model = Model::from_bytes(&outcome.artifact).map_err(failed)?;
    let float_model = FloatModel::from_bytes(&outcome.float_model, Path::new("outbreak.float"))
        .map_err(failed)?;
    talk.stage(&format!("{} test sets of {count} simulations", settings.seeds.len()));
    let evaluate = |seed: &u64| {
        let corpus = simulator.simulate(*seed, Split::Test.first(count));
        pipeline::evaluate(&model, &float_model, &corpus).map_err(failed)
    };
    let evaluations: Vec<Evaluation> =
        settings.seeds.iter().map(evaluate).collect::<Result<_, _>>()?;
    Ok(findings(&evaluations, outcome.artifact.len()))
}

fn findings(evaluations: &[Evaluation], bytes: usize) -> Findings {
    let mut table: BTreeMap<(&str, &str, &str), Vec<f64>> = BTreeMap::new();
    for evaluation in evaluations {
        let baselines = evaluation.baselines.iter().map(|(name, metrics)| (name.as_str(), metrics));
        let models = [("integer", &evaluation.integer), ("float", &evaluation.float)];
        for (model, metrics) in models.into_iter().chain(baselines) {
            for (metric, targets) in metrics {
                for (target, value) in targets {
                    table.entry((metric, target, model)).or_default().push(*value);
                }
            }
        }
    }
    let row = |((metric, target, model), values): (&(&str, &str, &str), &Vec<f64>)| {
        Row::new("metric", *metric)
            .text("target", *target)
            .text("model", *model)
            .spread("value", &Spread::of(values))
    };
    let mean = |metric, target, model| {
        table.get(&(metric, target, model)).map(|values| Spread::of(values).mean)
    };
    let changes: Vec<f64> = evaluations.iter().map(|e| e.largest_change.0).collect();
    let summary = Named(vec![
        ("mae".into(), mean("mae", "cases", "integer").into()),
        ("rmse".into(), mean("rmse", "cases", "integer").into()),
        ("last_value_mae".into(), mean("mae", "cases", "last_value").into()),
        ("largest_change_mean".into(), Spread::of(&changes).mean.into()),
        ("largest_change".into(), Spread::of(&changes).max.into()),
        ("bytes".into(), bytes.into()),
    ]);
    Findings { rows: table.iter().map(row).collect(), summary, figures: Vec::new() }
}
