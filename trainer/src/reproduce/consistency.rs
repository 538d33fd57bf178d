//! Posterior consistency of attribution (Dudley and Eisenberg 2025, <https://arxiv.org/abs/2509.18990>): with the whole corpus as
//! bank and a shrinking kernel, what the nearest simulations say converges to the posterior.
//!
//! Shown where the posterior is known exactly, in several spaces. Convergence is to the posterior given the embedding: a space
//! that loses information keeps a distance that no corpus closes, and one of many dimensions closes it slowly. The error of a
//! kernel regression falls like `n^(-2 / (4 + d))` at its best bandwidth when the regression is smooth and `d` its dimension
//! (Stone 1982, <https://doi.org/10.1214/aos/1176345969>).

mod counts;
mod embed;
mod gaussian;
mod growth;
mod kernel;
mod world;

use rayon::prelude::*;

use self::counts::Counts;
use self::embed::{Trained, Whitening, on_grid};
use self::gaussian::Gaussian;
use self::growth::Growth;
use self::kernel::{BANDWIDTHS, Bank};
use self::world::{CELLS, Posterior, Simulations, World, cell, exact, simulate};
use super::figure::{self, Curve, Panel};
use super::{Experiment, ExperimentError, Findings, Row, Settings, Spread};
use crate::named::Named;
use crate::pipeline::Talk;
use crate::simulator::Split;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "attribution-consistency",
    about: "attribution by the whole corpus against exact posteriors, by corpus size and bandwidth",
    takes: "10 minutes",
    seeds: &[301, 302, 303, 304, 305],
    run,
};

/// How much is computed.
struct Effort {
    /// Corpus sizes, ascending.
    sizes: Vec<usize>,
    /// Fresh observations that are judged, and as many others that choose the bandwidth.
    observations: usize,
    /// Training steps of the network.
    steps: u64,
}

/// Total variation of the mechanism posterior and Wasserstein distance of theta's, in prior standard deviations.
#[derive(Debug, Clone, Copy, Default)]
struct Distance {
    tv: f64,
    w1: f64,
}

/// One study under one seed.
struct Measured {
    prior: Distance,
    network: Distance,
    spaces: Vec<Space>,
}

/// Attribution in one space.
struct Space {
    name: &'static str,
    /// Bandwidth of the highest held-out score, for each size.
    chosen: Vec<usize>,
    /// By size and bandwidth.
    distances: Vec<[Distance; BANDWIDTHS]>,
}

fn run(settings: &Settings, talk: &mut dyn Talk) -> Result<Findings, ExperimentError> {
    let effort = if settings.quick {
        Effort { sizes: vec![256, 1_024, 4_096], observations: 60, steps: 300 }
    } else {
        let sizes = (4..=9).map(|at| 1 << (2 * at)).collect();
        Effort { sizes, observations: 200, steps: 6_000 }
    };
    let growth = Growth::new();
    let worlds: [&dyn World; 3] = [&Gaussian, &Counts, &growth];
    let mut findings = Findings::default();
    for world in worlds {
        let mut measured = Vec::new();
        for seed in &settings.seeds {
            talk.stage(&format!("{}, seed {seed}", world.name()));
            measured.push(measure(world, *seed, &effort)?);
        }
        report(world, &effort, &measured, &mut findings);
    }
    Ok(findings)
}

/// Trains, embeds the corpus in every space, and measures.
fn measure(world: &dyn World, seed: u64, effort: &Effort) -> Result<Measured, ExperimentError> {
    let largest = effort.sizes.last().copied().unwrap_or(0) as u64;
    let observations = effort.observations as u64;
    let corpus = simulate(world, seed, Split::Train.first(largest));
    let validation = simulate(world, seed, Split::Validation.first(4_096));
    let selection = simulate(world, seed, Split::Calibration.first(observations));
    let test = simulate(world, seed, Split::Test.first(observations));
    let truth: Vec<Posterior> =
        test.x.par_chunks_exact(world.d_x()).map(|x| exact(world, x)).collect();
    let trained = Trained::new(world, &corpus, &validation, seed, effort.steps)?;
    let judge = Judge::new(world, &corpus, truth);
    let own = trained.posteriors(world, &test.x);
    let parts = [&corpus, &selection, &test];
    let hidden = parts.map(|part| trained.hidden(&part.x));
    let bottleneck = |d| {
        let embedding = trained.bottleneck(&corpus, d);
        hidden.each_ref().map(|hidden| on_grid(&embedding, hidden))
    };
    let (wide, narrow) = (bottleneck(16), bottleneck(4));
    let (first, statistics) = statistics(world, parts)?;
    let spaces = [
        (first, statistics),
        ("hidden layer, 32", hidden),
        ("embedding, 16 x i8", wide),
        ("embedding, 4 x i8", narrow),
    ];
    let judged = spaces.into_iter().map(|(name, embedded)| {
        let [bank, selection_rows, test_rows] = embedded;
        let bank = judge.bank(&corpus, bank);
        judge.space(name, &bank, (&selection, &selection_rows), &test_rows, &effort.sizes)
    });
    Ok(Measured {
        prior: judge.mean(|_| judge.prior.clone()),
        network: judge.mean(|at| own[at].clone()),
        spaces: judged.collect(),
    })
}

/// Sufficient statistics, decorrelated; x itself where there are none.
fn statistics(
    world: &dyn World,
    parts: [&Simulations; 3],
) -> Result<(&'static str, [Vec<f32>; 3]), ExperimentError> {
    let rows = |part: &Simulations| -> Option<Vec<f64>> {
        let each: Option<Vec<Vec<f64>>> =
            part.x.chunks_exact(world.d_x()).map(|x| world.sufficient(x)).collect();
        each.map(|rows| rows.concat())
    };
    let Some(corpus) = rows(parts[0]) else {
        return Ok(("x itself", parts.map(|part| part.x.iter().map(|x| *x as f32).collect())));
    };
    let whitening = Whitening::fit(&corpus, corpus.len() / parts[0].theta.len())?;
    let white = parts.map(|part| whitening.apply(&rows(part).unwrap_or_default()));
    Ok(("sufficient statistics", white))
}

/// Exact posteriors of the test observations, and the units of the distances.
struct Judge<'w> {
    world: &'w dyn World,
    truth: Vec<Posterior>,
    prior: Posterior,
    /// Variance of theta in the corpus, in cells squared.
    variance: f64,
}

impl<'w> Judge<'w> {
    fn new(world: &'w dyn World, corpus: &Simulations, truth: Vec<Posterior>) -> Judge<'w> {
        let n = corpus.theta.len() as f64;
        let mut prior =
            Posterior { mechanism: vec![0.0; world.mechanisms()], cells: vec![0.0; CELLS] };
        for (theta, mechanism) in corpus.theta.iter().zip(&corpus.mechanism) {
            prior.mechanism[usize::from(*mechanism)] += 1.0 / n;
            prior.cells[cell(&world.theta(), *theta)] += 1.0 / n;
        }
        let mean = prior.mean_cell();
        let spread = |(cell, p): (usize, &f64)| p * (cell as f64 - mean).powi(2);
        let variance = prior.cells.iter().enumerate().map(spread).sum();
        Judge { world, truth, prior, variance }
    }

    fn bank(&self, corpus: &Simulations, embedding: Vec<f32>) -> Bank {
        Bank {
            d: embedding.len() / corpus.theta.len(),
            embedding,
            mechanism: corpus.mechanism.clone(),
            cell: corpus.theta.iter().map(|theta| cell(&self.world.theta(), *theta)).collect(),
            mechanisms: self.world.mechanisms(),
        }
    }

    fn distance(&self, at: usize, posterior: &Posterior) -> Distance {
        Distance {
            tv: self.truth[at].total_variation(posterior),
            w1: self.truth[at].wasserstein(posterior) / self.variance.sqrt(),
        }
    }

    /// Mean distance of one posterior for each test observation.
    fn mean(&self, posterior: impl Fn(usize) -> Posterior) -> Distance {
        let n = self.truth.len() as f64;
        let each = (0..self.truth.len()).map(|at| self.distance(at, &posterior(at)));
        each.fold(Distance::default(), |sum, d| Distance {
            tv: sum.tv + d.tv / n,
            w1: sum.w1 + d.w1 / n,
        })
    }

    /// Attribution by `bank`: distances on the test observations, bandwidths by the selection's.
    ///
    /// The score is the product's: log probability of the true mechanism minus squared error of theta's mean in prior variances.
    fn space(
        &self,
        name: &'static str,
        bank: &Bank,
        (selection, selection_rows): (&Simulations, &[f32]),
        test_rows: &[f32],
        sizes: &[usize],
    ) -> Space {
        let width = bank.width();
        let judge_row = |score: &(dyn Fn(&Posterior) -> [f64; 2] + Sync), row: &[f32]| {
            let mut scores = vec![[[0.0; 2]; BANDWIDTHS]; sizes.len()];
            bank.posteriors(row, width, sizes, |size, bandwidth, posterior| {
                scores[size][bandwidth] = score(posterior);
            });
            scores
        };
        let held_out = |(at, row): (usize, &[f32])| {
            let own = cell(&self.world.theta(), selection.theta[at]) as f64;
            let mechanism = usize::from(selection.mechanism[at]);
            let score = |posterior: &Posterior| {
                let error = (posterior.mean_cell() - own).powi(2) / self.variance;
                [posterior.mechanism[mechanism].max(1e-4).ln() - error, 0.0]
            };
            judge_row(&score, row)
        };
        let judged = |(at, row): (usize, &[f32])| {
            let score = |posterior: &Posterior| {
                let distance = self.distance(at, posterior);
                [distance.tv, distance.w1]
            };
            judge_row(&score, row)
        };
        let selection: Vec<_> =
            selection_rows.par_chunks_exact(bank.d).enumerate().map(held_out).collect();
        let test: Vec<_> = test_rows.par_chunks_exact(bank.d).enumerate().map(judged).collect();
        let mean = |rows: &[Vec<[[f64; 2]; BANDWIDTHS]>], size: usize, bandwidth: usize, of| {
            rows.iter().map(|scores| scores[size][bandwidth][of]).sum::<f64>() / rows.len() as f64
        };
        let best = |size| {
            let score = |bandwidth: &usize| mean(&selection, size, *bandwidth, 0);
            (0..BANDWIDTHS).max_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or(0)
        };
        let distances = |size| {
            std::array::from_fn(|bandwidth| Distance {
                tv: mean(&test, size, bandwidth, 0),
                w1: mean(&test, size, bandwidth, 1),
            })
        };
        Space {
            name,
            chosen: (0..sizes.len()).map(best).collect(),
            distances: (0..sizes.len()).map(distances).collect(),
        }
    }
}

impl Space {
    /// At the bandwidth that the selection chose.
    fn at(&self, size: usize) -> Distance {
        self.distances[size][self.chosen[size]]
    }
}

/// A bandwidth in units of the corpus's width.
fn bandwidth(at: usize) -> f64 {
    libm::exp2(-0.5 * at as f64)
}

/// Slope of `log y` over `log x`, by least squares.
fn rate(x: &[usize], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let logs: Vec<(f64, f64)> =
        x.iter().zip(y).map(|(x, y)| (libm::log(*x as f64), libm::log(*y))).collect();
    let mean_x = logs.iter().map(|p| p.0).sum::<f64>() / n;
    let mean_y = logs.iter().map(|p| p.1).sum::<f64>() / n;
    let products: f64 = logs.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    products / logs.iter().map(|p| (p.0 - mean_x).powi(2)).sum::<f64>()
}

/// One of the two distances, by name.
type Metric = (&'static str, fn(&Distance) -> f64);

const METRICS: [Metric; 2] = [("tv", |d| d.tv), ("w1", |d| d.w1)];

/// Adds rows, rates and figures of one study.
fn report(world: &dyn World, effort: &Effort, measured: &[Measured], findings: &mut Findings) {
    let sizes = &effort.sizes;
    let spread = |distance: &dyn Fn(&Measured) -> Distance, of: fn(&Distance) -> f64| {
        Spread::of(&measured.iter().map(|m| of(&distance(m))).collect::<Vec<_>>())
    };
    let row = |method: &str| Row::new("study", world.name()).text("method", method);
    let with_distances = |row: Row, distance: &dyn Fn(&Measured) -> Distance| {
        METRICS.iter().fold(row, |row, (name, of)| row.spread(name, &spread(distance, *of)))
    };
    findings.rows.push(with_distances(row("prior"), &|m| m.prior));
    findings.rows.push(with_distances(row("network"), &|m| m.network));
    for (at, space) in measured[0].spaces.iter().enumerate() {
        for (size, simulations) in sizes.iter().enumerate() {
            let widths = measured.iter().map(|m| bandwidth(m.spaces[at].chosen[size]));
            let row = row(space.name)
                .number("simulations", *simulations as f64)
                .number("bandwidth", Spread::of(&widths.collect::<Vec<_>>()).mean);
            findings.rows.push(with_distances(row, &|m| m.spaces[at].at(size)));
        }
        for (metric, of) in METRICS {
            let rates: Vec<f64> = measured
                .iter()
                .map(|m| {
                    let values = (0..sizes.len()).map(|size| of(&m.spaces[at].at(size)));
                    rate(sizes, &values.collect::<Vec<_>>())
                })
                .collect();
            let rates = Spread::of(&rates);
            let name = format!("{} / {} / {metric} rate", world.name(), space.name);
            let Named(summary) = &mut findings.summary;
            summary.push((name.clone(), rates.mean.into()));
            summary.push((format!("{name}, sd over seeds"), rates.sd.into()));
        }
    }
    let panels = METRICS.map(|metric| by_size(metric, sizes, measured));
    findings.figures.push((format!("consistency-{}", world.name()), figure::draw(&panels)));
    let panels: Vec<Panel> = [0, 2].map(|space| by_bandwidth(space, sizes, measured)).into();
    let name = format!("consistency-{}-bandwidth", world.name());
    findings.figures.push((name, figure::draw(&panels)));
}

fn mean(measured: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    measured.iter().map(of).sum::<f64>() / measured.len() as f64
}

fn y_label(metric: &str) -> &'static str {
    match metric {
        "tv" => "total variation, mechanism",
        _ => "Wasserstein, prior sd",
    }
}

/// Distance over corpus size at the held-out bandwidth, every space, with network and prior as levels.
fn by_size((metric, of): Metric, sizes: &[usize], measured: &[Measured]) -> Panel {
    let mut curves: Vec<Curve> = Vec::new();
    for (at, space) in measured[0].spaces.iter().enumerate() {
        let value = |size: usize| mean(measured, |m| of(&m.spaces[at].at(size)));
        let points = sizes.iter().enumerate().map(|(size, n)| (*n as f64, value(size)));
        curves.push(Curve { name: space.name.into(), points: points.collect(), reference: false });
    }
    let network = mean(measured, |m| of(&m.network));
    let prior = mean(measured, |m| of(&m.prior));
    for (name, value) in [("network", network), ("prior", prior)] {
        let points = sizes.iter().map(|n| (*n as f64, value)).collect();
        curves.push(Curve { name: name.into(), points, reference: true });
    }
    Panel {
        title: String::new(),
        x_label: "simulations in the bank",
        y_label: y_label(metric),
        logarithmic: (true, true),
        curves,
    }
}

/// Total variation over bandwidth, a curve for each size, in one space.
fn by_bandwidth(space: usize, sizes: &[usize], measured: &[Measured]) -> Panel {
    let curve = |(size, simulations): (usize, &usize)| {
        let value = |at: usize| mean(measured, |m| m.spaces[space].distances[size][at].tv);
        let points = (0..BANDWIDTHS).map(|at| (bandwidth(at), value(at))).collect();
        Curve { name: format!("{simulations} simulations"), points, reference: false }
    };
    Panel {
        title: measured[0].spaces[space].name.into(),
        x_label: "bandwidth / width of the corpus",
        y_label: y_label("tv"),
        logarithmic: (true, true),
        curves: sizes.iter().enumerate().map(curve).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_slopes_of_logarithms() {
        let x = [10, 100, 1_000];
        let y = x.map(|x| 3.0 / (x as f64).sqrt());
        assert!((rate(&x, &y) + 0.5).abs() < 1e-12);
    }

    /// The theorem where it must hold: in the space of sufficient statistics, with the bandwidth chosen on other simulations,
    /// sixteen times the corpus halves both distances nearly (`16^(-1/3)` is 0.40), and the prior is far off.
    #[test]
    fn attribution_converges_to_the_posterior() {
        let world: &dyn World = &Gaussian;
        let sizes = [512, 8_192];
        let corpus = simulate(world, 11, Split::Train.first(8_192));
        let selection = simulate(world, 11, Split::Calibration.first(150));
        let test = simulate(world, 11, Split::Test.first(150));
        let truth = test.x.chunks_exact(world.d_x()).map(|x| exact(world, x)).collect();
        let judge = Judge::new(world, &corpus, truth);
        let (_, [bank, selection_rows, test_rows]) =
            statistics(world, [&corpus, &selection, &test]).unwrap();
        let bank = judge.bank(&corpus, bank);
        let found =
            judge.space("statistics", &bank, (&selection, &selection_rows), &test_rows, &sizes);
        let (small, large, prior) = (found.at(0), found.at(1), judge.mean(|_| judge.prior.clone()));
        assert!(large.tv < 0.65 * small.tv && large.tv < 0.3 * prior.tv, "{small:?} {large:?}");
        assert!(large.w1 < 0.65 * small.w1 && large.w1 < 0.1 * prior.w1, "{small:?} {large:?}");
    }
}
