//! The outbreak study as science: the integer model against trivial rivals, on simulations that nothing else saw.

use std::sync::Arc;

use simground_runtime::Model;
use simground_trainer::evaluation::Metrics;
use simground_trainer::float_model::FloatModel;
use simground_trainer::pipeline::{self, Evaluation, Options, Talk};
use simground_trainer::simulator::Split;
use simground_trainer::source::Source;
use simground_trainer::study::Study;
use simground_trainer::training::Silent;

struct Quiet;

impl Talk for Quiet {
    fn stage(&mut self, _: &str) {}
    fn note(&mut self, _: &str) {}
}

fn outbreak(adjust: impl Fn(&mut Study)) -> Study {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/studies/outbreak.toml");
    let mut study = Study::load(path).expect("a valid study");
    adjust(&mut study);
    study
}

/// Trains once, then judges on 4,000 test simulations of each seed.
fn evaluations(study: &Study, seeds: impl Iterator<Item = u64>) -> Vec<Evaluation> {
    let simulator = Arc::new(study.simulator().expect("a study with mechanisms"));
    let source = Source::Simulator { simulator: Arc::clone(&simulator), seed: study.seed };
    let outcome = pipeline::run(study, &source, &Options::default(), &mut Silent, &mut Quiet)
        .expect("an artifact");
    assert!(outcome.artifact.len() <= study.budget.flash_kib * 1024);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("outbreak.sgnn");
    std::fs::write(FloatModel::path_beside(&path), &outcome.float_model)
        .expect("a writable folder");
    let model = Model::from_bytes(&outcome.artifact).expect("a sound artifact");
    let hash = model.manifest().provenance.float_hash;
    let float_model =
        FloatModel::read_beside(&path, hash).expect("the float model of this artifact");
    seeds
        .map(|seed| {
            let corpus = simulator.simulate(seed, Split::Test.first(4_000));
            pipeline::evaluate(&model, &float_model, &corpus).expect("the study's own corpus")
        })
        .collect()
}

fn value(metrics: &Metrics, metric: &str, target: &str) -> f64 {
    metrics[metric][target]
}

fn mean(evaluations: &[Evaluation], of: impl Fn(&Evaluation) -> f64) -> f64 {
    evaluations.iter().map(of).sum::<f64>() / evaluations.len() as f64
}

/// What must hold of any trained model of this study, short training or long.
fn beats_baselines(evaluation: &Evaluation) {
    let Evaluation { integer, baselines, .. } = evaluation;
    let (prior, last) = (&baselines["prior"], &baselines["last_value"]);
    let mae = value(integer, "mae", "cases");
    assert!(mae < 0.5 * value(last, "mae", "cases"), "forecast MAE {mae}, {last:?}");
    assert!(mae < 0.3 * value(prior, "mae", "cases"), "forecast MAE {mae}, {prior:?}");
    let mape = value(integer, "mape", "R0");
    assert!(mape < 0.5 * value(prior, "mape", "R0"), "R0 MAPE {mape}, {prior:?}");
    let accuracy = value(integer, "accuracy", "mechanism");
    assert!(accuracy > 0.15 + value(prior, "accuracy", "mechanism"), "accuracy {accuracy}");
    let (change, place) = &evaluation.largest_change;
    assert!(*change < 0.01, "{place} changes by {change} from float to integer");
    assert!(evaluation.gate_failures.is_empty(), "{:?}", evaluation.gate_failures);
}

#[test]
fn a_short_training_beats_the_baselines() {
    let study = outbreak(|study| {
        study.training.simulations = 100_000;
        study.training.steps = 4_000;
        study.training.batch = 256;
        study.training.learning_rate = 1e-3;
        study.training.validate_every = 1_000;
    });
    for evaluation in evaluations(&study, [301, 302].into_iter()) {
        beats_baselines(&evaluation);
    }
}

/// The published figures: MAE 172 and RMSE 359 in the mean over test sets; sets of 4,000 differ by about 5 and 9.
#[test]
#[ignore = "slow: the full training takes minutes"]
fn the_full_training_reaches_the_published_scale() {
    let study = outbreak(|_| ());
    let evaluations = evaluations(&study, 201..=210);
    evaluations.iter().for_each(beats_baselines);
    let mae = mean(&evaluations, |e| value(&e.integer, "mae", "cases"));
    let rmse = mean(&evaluations, |e| value(&e.integer, "rmse", "cases"));
    let last = mean(&evaluations, |e| value(&e.baselines["last_value"], "mae", "cases"));
    println!("MAE {mae:.1}, RMSE {rmse:.1}, last value {last:.1}");
    assert!((490.0..535.0).contains(&last), "the published scale: last value {last}");
    assert!(mae <= 172.0, "{mae}");
    assert!(rmse <= 359.0, "{rmse}");
    let coverage = mean(&evaluations, |e| value(&e.integer, "coverage90", "R0"));
    assert!((0.87..=0.93).contains(&coverage), "{coverage}");
}
