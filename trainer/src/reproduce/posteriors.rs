//! The joint posterior of an artifact against exact posteriors of two tasks of the field's benchmark (Lueckmann et al. 2021,
//! <https://arxiv.org/abs/2101.04653>), on the way that any corpus takes.
//!
//! A training sees so many simulations and nothing else: rows of x and theta without units or supports, as another program would
//! write them, with the study that `simground init` proposes for them, validation and calibration taken from the same rows. The seed
//! of a training decides simulations, split and weights. Samples come from the integer runtime, and from the float model beside it.
//! Observations, reference samples and the simulations of the log score have a seed of their own: they choose nothing.

mod reference;
mod trained;

use rayon::prelude::*;

use self::reference::Reference;
use self::trained::{Trained, train};
use super::{Experiment, ExperimentError, Findings, Row, Settings, Spread};
use crate::comparison::compare;
use crate::corpus::Corpus;
use crate::named::Named;
use crate::pipeline::Talk;
use crate::simulator::{Simulator, Split};
use crate::study::Study;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "posteriors",
    about: "samples of artifacts from proposed studies against exact posteriors: two moons, Gaussian linear",
    takes: "1 hour",
    seeds: &[1, 2, 3],
    run: |settings, talk| run(settings, talk, Kind::Mixture),
};

pub(super) const FLOW: Experiment = Experiment {
    name: "posteriors-flow",
    about: "the same with a `flow` in the place of the proposed `mixture`",
    takes: "1 hour",
    seeds: &[1, 2, 3],
    run: |settings, talk| run(settings, talk, Kind::Flow),
};

/// The head that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mixture,
    Flow,
}

/// Seed of everything that judges.
const JUDGE: u64 = 8_800;
const OBSERVATIONS: u64 = 5;

/// A task with its exact posterior.
struct Task {
    name: &'static str,
    study: &'static str,
    exact: Reference,
}

const TASKS: [Task; 2] = [
    Task {
        name: "two-moons",
        study: include_str!("../../studies/two-moons.toml"),
        exact: Reference::TwoMoons,
    },
    Task {
        name: "gaussian-linear-uniform",
        study: include_str!("../../studies/gaussian-linear-uniform.toml"),
        exact: Reference::GaussianLinear,
    },
];

/// Observations with samples of their exact posteriors, and simulations for the log score.
struct Judge {
    observations: Corpus,
    /// Of each observation.
    reference: Vec<Vec<f32>>,
    /// Classifier two-sample test of samples of the prior, of each observation.
    prior: Vec<f64>,
    simulations: Corpus,
}

/// One training, judged.
struct Run {
    /// Classifier two-sample test of each observation: of the integers, and of the floats.
    c2st: [Vec<f64>; 2],
    trained: Trained,
}

fn failed(error: impl std::fmt::Display) -> ExperimentError {
    ExperimentError(error.to_string())
}

fn run(settings: &Settings, talk: &mut dyn Talk, kind: Kind) -> Result<Findings, ExperimentError> {
    let (sizes, samples, judged): (&[u64], usize, u64) =
        if settings.quick { (&[250], 250, 250) } else { (&[1_000, 10_000], 10_000, 4_000) };
    let sizes: Vec<u64> = sizes.iter().copied().filter(|size| *size <= settings.at_most).collect();
    if sizes.is_empty() {
        return Err(failed("the smallest training has 1000 simulations"));
    }
    let mut findings = Findings { summary: Named(Vec::new()), ..Findings::default() };
    for task in &TASKS {
        let simulator = Study::parse(task.study, task.name).map_err(failed)?.simulator();
        let simulator = simulator.expect("the task's study has a mechanism");
        talk.stage(&format!("{}: reference samples", task.name));
        let judge = Judge::new(&simulator, task.exact, samples, judged);
        for &size in &sizes {
            let mut runs = Vec::new();
            for &seed in &settings.seeds {
                talk.stage(&format!("{}: {size} simulations, seed {seed}", task.name));
                let corpus = simulator.simulate(seed, Split::Train.first(size));
                let trained = train((task.name, kind), &corpus, seed, &judge.simulations, talk)?;
                let run = judge.judge(trained)?;
                talk.note(&format!(
                    "C2ST {:.4} of the integers, {:.4} of the floats, after {:.0} s of training",
                    mean(&run.c2st[0]),
                    mean(&run.c2st[1]),
                    run.trained.seconds
                ));
                runs.push(run);
            }
            add(&mut findings, task.name, size, &judge, &runs);
        }
    }
    Ok(findings)
}

impl Judge {
    fn new(simulator: &Simulator, exact: Reference, samples: usize, judged: u64) -> Judge {
        let observations = simulator.simulate(JUDGE, Split::Test.first(OBSERVATIONS));
        let d = observations.schema.d_theta();
        let rows = || (0..observations.len()).into_par_iter();
        let reference: Vec<Vec<f32>> =
            rows().map(|row| exact.samples(observations.x_row(row), samples, row as u64)).collect();
        let prior = |row: usize| {
            let first = Split::Test.base() + OBSERVATIONS + (row * samples) as u64;
            let draws = simulator.simulate(JUDGE, first..first + samples as u64).theta;
            c2st(&draws, &reference[row], d)
        };
        Judge {
            prior: rows().map(prior).collect(),
            simulations: simulator.simulate(JUDGE, Split::Validation.first(judged)),
            reference,
            observations,
        }
    }

    fn judge(&self, trained: Trained) -> Result<Run, ExperimentError> {
        let d = self.observations.schema.d_theta();
        let count = self.reference[0].len() / d;
        let compared = |row: usize| -> Result<[f64; 2], ExperimentError> {
            let x = self.observations.x_row(row);
            let (integer, float) = trained.samples(x, count, JUDGE, row)?;
            Ok([integer, float].map(|samples| c2st(&samples, &self.reference[row], d)))
        };
        let rows = (0..self.observations.len()).into_par_iter();
        let each: Vec<[f64; 2]> = rows.map(compared).collect::<Result<_, _>>()?;
        let c2st = [0, 1].map(|model| each.iter().map(|row| row[model]).collect());
        Ok(Run { c2st, trained })
    }
}

/// Classifier two-sample test of two sets of samples `[n, d]`.
fn c2st(samples: &[f32], reference: &[f32], d: usize) -> f64 {
    compare(samples, reference, d, JUDGE).c2st
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Adds the runs of one task and size.
fn add(findings: &mut Findings, task: &str, size: u64, judge: &Judge, runs: &[Run]) {
    let spread = |of: &dyn Fn(&Run) -> f64| Spread::of(&runs.iter().map(of).collect::<Vec<_>>());
    for (at, prior) in judge.prior.iter().enumerate() {
        findings.rows.push(
            Row::new("task", task)
                .text("simulations", size.to_string())
                .text("observation", (at + 1).to_string())
                .spread("c2st_integer", &spread(&|run| run.c2st[0][at]))
                .spread("c2st_float", &spread(&|run| run.c2st[1][at]))
                .number("c2st_prior", *prior),
        );
    }
    let integer = spread(&|run| mean(&run.c2st[0]));
    let trained = |of: fn(&Trained) -> f64| spread(&|run| of(&run.trained));
    let components = trained(|trained| trained.components);
    let all = [
        ("c2st_integer", integer.mean),
        ("c2st_integer_sd", integer.sd),
        ("c2st_float", spread(&|run| mean(&run.c2st[1])).mean),
        ("c2st_prior", mean(&judge.prior)),
        ("energy_score_integer", trained(|trained| trained.energy_score[0]).mean),
        ("energy_score_float", trained(|trained| trained.energy_score[1]).mean),
        ("energy_score_prior", trained(|trained| trained.energy_score[2]).mean),
        ("log_score_integer", trained(|trained| trained.log_score[0]).mean),
        ("log_score_float", trained(|trained| trained.log_score[1]).mean),
        ("log_score_prior", trained(|trained| trained.log_score[2]).mean),
        ("coverage90", trained(|trained| trained.coverage).mean),
        ("components_least", components.min),
        ("components_most", components.max),
        ("steps_most", trained(|trained| trained.steps).max),
        ("flash_bytes", trained(|trained| trained.artifact.len() as f64).max),
        ("train_seconds", trained(|trained| trained.seconds).mean),
    ];
    let named = |(name, value): (&str, f64)| (format!("{task}_{size}_{name}"), value.into());
    // A flow has no density and no components, a mixture no steps.
    let known = all.into_iter().filter(|(_, value)| value.is_finite());
    findings.summary.0.extend(known.map(named));
}
