//! What is trained, and one training judged.

use super::super::ExperimentError;
use super::exact::Exact;
use super::problem::{Data, Problem};
use super::surface::{GRID, Surfaces};
use crate::pipeline::Talk;
use crate::training::ratio::{Pairs, RatioNetwork, Settings, Shape, Trained, Training, Weighting};

/// Sizes of everything.
pub(super) struct Design {
    /// Test simulations.
    pub test: usize,
    /// Numbers of parameters of the networks, about.
    parameters: &'static [usize],
    sizes: Vec<Size>,
    /// Sizes at which variants of the method are compared, on the first network.
    ablated: &'static [usize],
}

/// A number of simulations.
struct Size {
    simulations: usize,
    /// Of a training on them.
    steps: u64,
    /// Whether they are scored, or only what plain training is compared by.
    augmented: bool,
}

/// One training.
pub(super) struct Run {
    /// `plain`, `augmented`, or a variant of the latter.
    pub method: &'static str,
    pub parameters: usize,
    pub simulations: usize,
    pub figures: Figures,
    /// CPU seconds of the training steps.
    pub seconds: f64,
    /// CPU seconds of the exact scores of its simulations; 0 for plain training.
    pub score_seconds: f64,
}

/// How a network compares with the exact likelihood.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    pub cross_entropy: f64,
    /// Mean squared error of the likelihood-ratio statistic at the true theta.
    pub statistic_mse: f64,
    /// Of each parameter's score at the true theta: mean squared error over mean square.
    pub score_error: Vec<f64>,
    /// Root mean squared distance of the maximum-likelihood estimate from the exact one, in prior standard deviations.
    pub mle_error: f64,
    pub coverage: f64,
    pub area: f64,
}

pub(super) const PLAIN: &str = "plain";
pub(super) const AUGMENTED: &str = "augmented";

/// Simulations in a batch, each with two pairs.
const BATCH: usize = 256;

/// Steps that one training makes before the other has its turn.
const TURN: u64 = 100;

impl Design {
    /// Without the sizes above `at_most`.
    ///
    /// # Errors
    /// When that leaves none.
    pub fn new(quick: bool, at_most: u64) -> Result<Design, ExperimentError> {
        let size = |simulations, steps, augmented| Size { simulations, steps, augmented };
        let mut design = if quick {
            Design {
                test: 60,
                parameters: &[1_000],
                sizes: vec![size(300, 200, true), size(1_000, 200, true)],
                ablated: &[],
            }
        } else {
            Design {
                test: 500,
                parameters: &[3_000, 30_000],
                sizes: vec![
                    size(1_000, 6_000, true),
                    size(10_000, 12_000, true),
                    size(100_000, 12_000, false),
                ],
                ablated: &[1_000, 10_000],
            }
        };
        let smallest = design.sizes[0].simulations;
        design.sizes.retain(|size| size.simulations as u64 <= at_most);
        if design.sizes.is_empty() {
            return Err(ExperimentError(format!(
                "the smallest training has {smallest} simulations"
            )));
        }
        Ok(design)
    }

    /// All trainings of a seed.
    pub fn run(
        &self,
        problem: &Problem,
        exact: &Exact,
        seed: u64,
        talk: &mut dyn Talk,
    ) -> Vec<Run> {
        let mut runs = Vec::new();
        for &Size { simulations, steps, augmented } in &self.sizes {
            talk.stage(&format!("seed {seed}: {simulations} simulations"));
            let mut data = problem.data(seed, simulations, augmented);
            let variants = data.augmented.take().map(|pairs| {
                let hard = pairs.clone().map(|pairs| Pairs::Contrastive(pairs.with_hard_labels()));
                (pairs.map(Pairs::Contrastive), hard)
            });
            let settings = |weighting| Settings {
                steps,
                batch: BATCH,
                learning_rate: 2e-3,
                weight_decay: 1e-2,
                weighting,
                seed,
            };
            for &parameters in self.parameters {
                let shape = Shape::with_parameters(problem.d_x(), problem.d_theta(), parameters);
                let training = |weighting| (&shape, settings(weighting));
                let mut trainings = vec![(PLAIN, begun(&data.plain, training(Weighting::Plain)))];
                if let Some((scored, hard)) = &variants {
                    trainings.push((AUGMENTED, begun(scored, training(Weighting::Balanced))));
                    if self.ablated.contains(&simulations) && parameters == self.parameters[0] {
                        let choices = [
                            ("labels of 0 and 1", hard, Weighting::Balanced),
                            ("lambda = 0", scored, Weighting::Fixed(0.0)),
                            ("lambda = 0.01", scored, Weighting::Fixed(0.01)),
                            ("lambda = 0.1", scored, Weighting::Fixed(0.1)),
                            ("lambda = 1", scored, Weighting::Fixed(1.0)),
                        ];
                        let variants = choices.map(|(method, pairs, weighting)| {
                            (method, begun(pairs, training(weighting)))
                        });
                        trainings.extend(variants);
                    }
                }
                for (method, trained) in in_turns(trainings) {
                    let run = judged(method, parameters, simulations, &trained, &data, exact);
                    talk.note(&format!(
                        "{method} of {parameters}: cross-entropy {:.4}, statistic {:.3}, step {}, {:.1} s",
                        run.figures.cross_entropy,
                        run.figures.statistic_mse,
                        trained.step,
                        run.seconds
                    ));
                    runs.push(run);
                }
            }
        }
        runs
    }
}

fn begun<'d>(
    [train, held_out]: &'d [Pairs; 2],
    (shape, settings): (&Shape, Settings),
) -> Training<'d> {
    Training::new(shape, train, held_out, settings)
}

fn in_turns<'m>(mut trainings: Vec<(&'m str, Training)>) -> Vec<(&'m str, Trained)> {
    let mut left = true;
    while left {
        left = false;
        for (_, training) in &mut trainings {
            left |= training.advance(TURN);
        }
    }
    trainings.into_iter().map(|(method, training)| (method, training.finish())).collect()
}

fn judged(
    method: &'static str,
    parameters: usize,
    simulations: usize,
    trained: &Trained,
    data: &Data,
    exact: &Exact,
) -> Run {
    let x = data.scaling.apply_rows(&exact.x);
    let score = trained.network.score(&x, &exact.theta);
    Run {
        method,
        parameters,
        simulations,
        figures: Figures::new(
            &surfaces(&trained.network, &x, exact),
            &score.iter().map(|&s| f64::from(s)).collect::<Vec<_>>(),
            exact,
        ),
        seconds: trained.seconds,
        score_seconds: if method.starts_with(PLAIN) { 0.0 } else { data.score_seconds },
    }
}

fn surfaces(network: &RatioNetwork, x: &[f32], exact: &Exact) -> Surfaces {
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from);
    let truth = wide(network.log_ratio(x, &exact.theta)).collect();
    let mut grid = Vec::with_capacity(exact.surfaces.grid.len());
    for x in x.chunks_exact(network.shape.d_x) {
        grid.extend(wide(network.log_ratio(x, &exact.grid)));
    }
    debug_assert_eq!(grid.len(), x.len() / network.shape.d_x * GRID * GRID);
    Surfaces { grid, truth }
}

impl Figures {
    /// Of surfaces and of scores at the true theta, `[t, d_theta]`.
    pub fn new(surfaces: &Surfaces, score: &[f64], exact: &Exact) -> Figures {
        let (found, right) = (surfaces.read(), exact.surfaces.read());
        let count = right.statistic.len() as f64;
        let squares =
            |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
        let d_theta = exact.names.len();
        let column = |values: &[f64], parameter: usize| -> Vec<f64> {
            values.iter().skip(parameter).step_by(d_theta).copied().collect()
        };
        let score_error = |parameter: usize| {
            let right = column(&exact.score, parameter);
            let zero = vec![0.0; right.len()];
            squares(&column(score, parameter), &right) / squares(&zero, &right)
        };
        let distance: f64 = found.mle.iter().zip(&right.mle).map(|(a, b)| squares(a, b)).sum();
        Figures {
            cross_entropy: found.cross_entropy,
            statistic_mse: squares(&found.statistic, &right.statistic) / count,
            score_error: (0..d_theta).map(score_error).collect(),
            mle_error: (distance / count).sqrt(),
            coverage: found.coverage,
            area: found.area,
        }
    }
}
