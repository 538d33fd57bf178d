//! Score-augmented training of a likelihood ratio against plain training with more data, judged by the exact likelihood.
//!
//! Both trainings of a pair see the same simulations in the same order, from the same initial weights, for the same number of
//! steps; each keeps the weights of its best cross-entropy on the same held-out tenth. They advance in turn, a hundred steps
//! each, so that their CPU times compare on a busy machine.

mod design;
mod equivalence;
mod exact;
mod integral;
mod problem;
mod surface;
mod table;

use problem::Grid;

use super::{Experiment, ExperimentError, Findings, Settings};
use crate::pipeline::Talk;

pub(super) const SIS: Experiment = Experiment {
    name: "score-sis",
    about: "likelihood ratio of an SIS epidemic: score-augmented against plain training with more data",
    takes: TAKES,
    seeds: &SEEDS,
    run: |settings, talk| {
        run("sis.toml", include_str!("../../studies/sis.toml"), None, settings, talk)
    },
};

pub(super) const GAUSSIAN: Experiment = Experiment {
    name: "score-gaussian",
    about: "the same for a Gaussian random field",
    takes: TAKES,
    seeds: &SEEDS,
    run: |settings, talk| {
        let study = include_str!("../../studies/gaussian-field.toml");
        let grid = Grid { side: 8, replicates: 1 };
        run("gaussian-field.toml", study, Some(grid), settings, talk)
    },
};

pub(super) const STUDENT_T: Experiment = Experiment {
    name: "score-student-t",
    about: "the same for a Student-t random field",
    takes: TAKES,
    seeds: &SEEDS,
    run: |settings, talk| {
        let study = include_str!("../../studies/student-t-field.toml");
        let grid = Grid { side: 4, replicates: 8 };
        run("student-t-field.toml", study, Some(grid), settings, talk)
    },
};

const TAKES: &str = "25 minutes";
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

fn run(
    file: &str,
    study: &str,
    grid: Option<Grid>,
    settings: &Settings,
    talk: &mut dyn Talk,
) -> Result<Findings, ExperimentError> {
    let problem = problem::Problem::parse(file, study, grid)?;
    let design = design::Design::new(settings.quick, settings.at_most)?;
    talk.stage(&format!("exact likelihood of {} test simulations", design.test));
    let exact = exact::Exact::new(&problem, design.test);
    let mut runs = Vec::new();
    for &seed in &settings.seeds {
        runs.extend(design.run(&problem, &exact, seed, talk));
    }
    Ok(table::findings(&exact, &runs))
}
