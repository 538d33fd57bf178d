//! The spaces in which attribution measures distance, and the network that makes two of them.

use std::ops::Range;
use std::sync::Arc;

use nalgebra::{DMatrix, DVector};

use super::world::{CELLS, Posterior, Simulations, World};
use crate::embedding;
use crate::head::softmax;
use crate::network::{Dense, FloatNetwork};
use crate::reproduce::ExperimentError;
use crate::training::{self, ExampleSource, Examples, FitConfig, HeadSpec, Silent};

/// Quantile levels of the network's answer: the middles of equal shares.
const LEVELS: usize = 16;
/// Simulations from which scalings and embeddings are fitted.
const SAMPLE: usize = 16_384;
const HIDDEN: [usize; 3] = [64, 64, 32];

/// A network trained on a corpus.
pub(super) struct Trained {
    network: FloatNetwork,
    x: Vec<Moments>,
    theta: Moments,
}

#[derive(Debug, Clone, Copy)]
struct Moments {
    mean: f64,
    sd: f64,
}

impl Moments {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Moments {
        let n = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / n;
        let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        Moments { mean, sd: variance.sqrt() }
    }
}

/// Examples in memory.
struct Stored(Arc<Examples>);

impl ExampleSource for Stored {
    fn examples(&mut self, indices: Range<u64>) -> Examples {
        let rows = indices.start as usize..indices.end as usize;
        let d = self.0.inputs.len() / self.0.len();
        Examples {
            inputs: self.0.inputs[rows.start * d..rows.end * d].to_vec(),
            targets: self.0.targets[rows.clone()].to_vec(),
            mechanism: self.0.mechanism[rows].to_vec(),
            weight: Vec::new(),
        }
    }
}

impl Trained {
    /// Trains on a corpus; stops early on held-out simulations.
    pub fn new(
        world: &dyn World,
        corpus: &Simulations,
        held_out: &Simulations,
        seed: u64,
        steps: u64,
    ) -> Result<Trained, ExperimentError> {
        let levels: Vec<f32> = (0..LEVELS).map(|at| (at as f32 + 0.5) / LEVELS as f32).collect();
        let heads = vec![
            HeadSpec::Categorical { d_output: world.mechanisms(), loss_share: 1.0 },
            HeadSpec::Quantiles {
                targets: vec![0],
                levels,
                target_weights: vec![1.0],
                loss_share: 20.0,
            },
        ];
        let d_x = world.d_x();
        let sample = &corpus.x[..corpus.x.len().min(SAMPLE * d_x)];
        let mut trained = Trained {
            network: FloatNetwork { trunk: Vec::new(), heads: Vec::new(), tails: Vec::new() },
            x: (0..d_x)
                .map(|at| Moments::of(sample.iter().skip(at).step_by(d_x).copied()))
                .collect(),
            theta: Moments::of(corpus.theta.iter().take(SAMPLE).copied()),
        };
        let config = FitConfig {
            seed,
            steps,
            validation_every: (steps / 12).max(1),
            simulations: corpus.theta.len() as u64,
            pool_start: corpus.theta.len() as u64,
            ..FitConfig::new(d_x, HIDDEN.to_vec(), heads)
        };
        let source = Stored(Arc::new(trained.examples(corpus)));
        let fitted = training::fit(&config, source, &trained.examples(held_out), &mut Silent);
        trained.network = fitted.map_err(|e| ExperimentError(e.to_string()))?.network;
        Ok(trained)
    }

    fn examples(&self, simulations: &Simulations) -> Examples {
        let target = |theta: &f64| ((theta - self.theta.mean) / self.theta.sd) as f32;
        Examples {
            inputs: self.inputs(&simulations.x),
            targets: simulations.theta.iter().map(target).collect(),
            mechanism: simulations.mechanism.clone(),
            weight: Vec::new(),
        }
    }

    fn inputs(&self, x: &[f64]) -> Vec<f32> {
        x.iter().zip(self.x.iter().cycle()).map(|(x, m)| ((x - m.mean) / m.sd) as f32).collect()
    }

    /// The network's own posteriors.
    pub fn posteriors(&self, world: &dyn World, x: &[f64]) -> Vec<Posterior> {
        let mut heads = self.network.forward_batch(&self.inputs(x), false).heads.into_iter();
        let (logits, quantiles) =
            (heads.next().unwrap_or_default(), heads.next().unwrap_or_default());
        let range = world.theta();
        let in_cells = |z: &f32| {
            let theta = f64::from(*z) * self.theta.sd + self.theta.mean;
            (theta - range.start) / (range.end - range.start) * CELLS as f64
        };
        let rows = logits.chunks_exact(world.mechanisms()).zip(quantiles.chunks_exact(LEVELS));
        rows.map(|(logits, quantiles)| {
            let mut quantiles: Vec<f64> = quantiles.iter().map(in_cells).collect();
            quantiles.sort_by(f64::total_cmp);
            Posterior {
                mechanism: softmax(logits).iter().map(|p| f64::from(*p)).collect(),
                cells: cells_of_quantiles(&quantiles),
            }
        })
        .collect()
    }

    /// The last hidden layer, `[n, 32]`.
    pub fn hidden(&self, x: &[f64]) -> Vec<f32> {
        self.network.forward_batch(&self.inputs(x), true).hidden.pop().unwrap_or_default()
    }

    /// The product's embedding of width `d`, fitted on a corpus: a linear image of the last hidden layer.
    pub fn bottleneck(&self, corpus: &Simulations, d: usize) -> Dense {
        let sample = SAMPLE.min(corpus.theta.len()) * self.x.len();
        embedding::fit(&self.network, &self.hidden(&corpus.x[..sample]), d)
    }
}

/// On the bank's grid: integers of eight bits.
pub(super) fn on_grid(embedding: &Dense, hidden: &[f32]) -> Vec<f32> {
    let rows = hidden.len() / embedding.d_input;
    let exact = embedding.apply(hidden, rows);
    exact.into_iter().map(|v| v.round().clamp(-127.0, 127.0)).collect()
}

/// Mass of each cell under the distribution whose quantile function runs straight between the levels, and beyond them with
/// the slope of the outermost pair.
fn cells_of_quantiles(quantiles: &[f64]) -> Vec<f64> {
    let last = quantiles.len() - 1;
    let mut ends = vec![quantiles[0] - 0.5 * (quantiles[1] - quantiles[0])];
    ends.extend(quantiles);
    ends.push(quantiles[last] + 0.5 * (quantiles[last] - quantiles[last - 1]));
    let mut cells = vec![0.0; CELLS];
    for (at, pair) in ends.windows(2).enumerate() {
        let share = if at == 0 || at == last + 1 { 0.5 } else { 1.0 } / quantiles.len() as f64;
        // A dozen points a piece: cells are far narrower than what is measured, pieces are not.
        const POINTS: usize = 12;
        for point in 0..POINTS {
            let position = pair[0] + (pair[1] - pair[0]) * (point as f64 + 0.5) / POINTS as f64;
            cells[position.clamp(0.0, (CELLS - 1) as f64) as usize] += share / POINTS as f64;
        }
    }
    cells
}

/// Decorrelates statistics and gives them unit variance, as fitted on `sample` (`[n, d]`).
pub(super) struct Whitening {
    mean: DVector<f64>,
    inverse: DMatrix<f64>,
}

impl Whitening {
    /// Fits it.
    pub fn fit(sample: &[f64], d: usize) -> Result<Whitening, ExperimentError> {
        let rows = DMatrix::from_row_slice(sample.len() / d, d, sample);
        let mean = rows.row_mean().transpose();
        let mut centered = rows;
        centered.row_iter_mut().for_each(|mut row| row -= mean.transpose());
        let covariance = centered.transpose() * &centered / centered.nrows() as f64;
        let inverse = covariance.cholesky().and_then(|factor| factor.l().try_inverse());
        let constant = || ExperimentError("statistics that determine each other".into());
        Ok(Whitening { mean, inverse: inverse.ok_or_else(constant)? })
    }

    /// Rows `[n, d]`.
    pub fn apply(&self, statistics: &[f64]) -> Vec<f32> {
        let rows = statistics.chunks_exact(self.mean.len());
        let white = rows.map(|row| &self.inverse * (DVector::from_row_slice(row) - &self.mean));
        white.flat_map(|row| row.iter().map(|v| *v as f32).collect::<Vec<_>>()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_become_a_distribution() {
        // A uniform distribution on cells 100 to 132: its quantiles at (k + 1/2) / 16 lie two cells apart.
        let quantiles: Vec<f64> = (0..16).map(|at| 101.0 + 2.0 * f64::from(at)).collect();
        let cells = cells_of_quantiles(&quantiles);
        assert!((cells.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(
            cells[100..132].iter().all(|p| (p - 1.0 / 32.0).abs() < 1e-9),
            "{:?}",
            &cells[95..140]
        );
    }

    #[test]
    fn whitening_whitens() {
        let sample = [1.0, 1.0, 2.0, 2.5, 3.0, 2.0, 4.0, 4.5];
        let white = Whitening::fit(&sample, 2).unwrap().apply(&sample);
        let product = |a: usize, b: usize| {
            white.chunks_exact(2).map(|row| f64::from(row[a]) * f64::from(row[b])).sum::<f64>()
                / 4.0
        };
        assert!((product(0, 0) - 1.0).abs() < 1e-5 && (product(1, 1) - 1.0).abs() < 1e-5);
        assert!(product(0, 1).abs() < 1e-5);
    }
}
