//! A binary classifier with two hidden layers, trained as scikit-learn trains its `MLPClassifier` when it is told nothing else.
//!
//! ReLU, a logistic output, weights and biases uniform after Glorot and Bengio 2010, cross-entropy with a squared penalty of
//! the weights, Adam (Kingma and Ba 2015, <https://arxiv.org/abs/1412.6980>) over shuffled batches, until the training loss has not
//! improved on its best by a tolerance for some passes.

use super::shuffle;
use crate::simulator::sampling::Generator;
use crate::training::{AdamW, Stack, Update};

const BATCH: usize = 200;
const LEARNING_RATE: f64 = 1e-3;
const PENALTY: f32 = 1e-4;
const TOLERANCE: f64 = 1e-4;
const PATIENCE: usize = 10;
const LONGEST: usize = 10_000;

/// The network.
pub struct Classifier {
    d: usize,
    stack: Stack,
    /// Of each layer the weights and the biases: the halves of the parameters, in order.
    parts: Vec<(usize, usize)>,
    parameters: Vec<f32>,
}

impl Classifier {
    /// A network before training: two hidden layers of `width`.
    pub fn new(d: usize, width: usize, generator: &mut Generator) -> Classifier {
        let layers = [(d, width), (width, width), (width, 1)];
        let draws = |(d_input, d_output): (usize, usize)| {
            let bound = (6.0 / (d_input + d_output) as f64).sqrt();
            let draw = |_| (bound * (2.0 * generator.uniform() - 1.0)) as f32;
            (0..(d_input + 1) * d_output).map(draw).collect::<Vec<f32>>()
        };
        Classifier {
            d,
            stack: Stack::new(&layers),
            parts: layers.map(|(d_input, d_output)| (d_input * d_output, d_output)).to_vec(),
            parameters: layers.into_iter().flat_map(draws).collect(),
        }
    }

    /// Trains on rows `[n, d]` with labels 0 and 1; returns the number of passes over them.
    pub fn fit(&mut self, inputs: &[f32], labels: &[f32], generator: &mut Generator) -> usize {
        let n = labels.len();
        let mut order: Vec<usize> = (0..n).collect();
        let mut gradient = vec![0.0; self.parameters.len()];
        let mut adam = AdamW::new(self.parameters.len());
        let mut step = 0;
        let (mut best, mut without_progress) = (f64::INFINITY, 0);
        for pass in 1..=LONGEST {
            shuffle(&mut order, generator);
            let mut total = 0.0;
            for rows in order.chunks(BATCH) {
                let batch = rows.iter().flat_map(|&row| &inputs[row * self.d..][..self.d]);
                let batch: Vec<f32> = batch.copied().collect();
                let batch_labels: Vec<f32> = rows.iter().map(|&row| labels[row]).collect();
                let loss = self.gradient(&batch, &batch_labels, &mut gradient);
                let update = Update {
                    step,
                    learning_rate: LEARNING_RATE,
                    weight_decay: 0.0,
                    clip_norm: f64::INFINITY,
                };
                adam.update(&mut self.parameters, &gradient, &self.parts, update);
                step += 1;
                total += loss * rows.len() as f64;
            }
            let loss = total / n as f64;
            without_progress = if loss > best - TOLERANCE { without_progress + 1 } else { 0 };
            best = best.min(loss);
            if without_progress > PATIENCE {
                return pass;
            }
        }
        LONGEST
    }

    /// Log-odds of label 1 for rows `[n, d]`.
    pub fn logits(&mut self, inputs: &[f32]) -> Vec<f32> {
        let mut logits = Vec::with_capacity(inputs.len() / self.d);
        self.stack.outputs(&self.parameters, inputs, |_, outputs| logits.extend(outputs));
        logits
    }

    /// The mean loss of a batch; its gradient is written to `gradient`, laid out like the parameters.
    fn gradient(&mut self, batch: &[f32], labels: &[f32], gradient: &mut [f32]) -> f64 {
        let n = labels.len() as f32;
        let mut loss = 0.0;
        self.stack.gradient(&self.parameters, batch, gradient, |rows, logits, by_logit| {
            for ((z, label), by) in logits.iter().zip(&labels[rows]).zip(by_logit) {
                // log(1 + exp(z)) - label z, without overflow.
                loss += f64::from(z.max(0.0) + (-z.abs()).exp().ln_1p() - label * z);
                *by = (1.0 / (1.0 + (-z).exp()) - label) / n;
            }
        });
        let mut start = 0;
        for &(weights, biases) in &self.parts {
            let part = start..start + weights;
            let weights = &self.parameters[part.clone()];
            for (by, weight) in gradient[part].iter_mut().zip(weights) {
                *by += PENALTY / n * weight;
            }
            loss += 0.5 * f64::from(PENALTY) * sum_of_squares(weights);
            start += weights.len() + biases;
        }
        loss / f64::from(n)
    }
}

/// In sixteen sums, so that they fit vectors.
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0_f32; 16];
    let (blocks, rest) = values.as_chunks::<16>();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value * value);
    }
    sums.iter().copied().chain(rest.iter().map(|value| value * value)).map(f64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut generator = Generator::new(3, 0);
        for (d, width) in [(2, 7), (7, 8)] {
            let mut network = Classifier::new(d, width, &mut generator);
            let n = 9;
            let inputs: Vec<f32> =
                (0..n * d).map(|_| generator.uniform() as f32 * 2.0 - 1.0).collect();
            let labels: Vec<f32> = (0..n).map(|at| (at % 2) as f32).collect();
            let mut gradient = vec![0.0; network.parameters.len()];
            let mut ignored = gradient.clone();
            network.gradient(&inputs, &labels, &mut gradient);
            let mut kinks = 0;
            for (at, by) in gradient.iter().enumerate() {
                let parameter = network.parameters[at];
                let mut loss_at = |shift: f32| {
                    network.parameters[at] = parameter + shift;
                    network.gradient(&inputs, &labels, &mut ignored)
                };
                let step = 1e-3;
                let (above, here, below) = (loss_at(step), loss_at(0.0), loss_at(-step));
                network.parameters[at] = parameter;
                let (right, left) = (above - here, here - below);
                let found = f64::from(*by) * f64::from(step);
                // At a kink of ReLU the slopes differ, and the gradient is one of them or between.
                let error = (found - right).abs().min((found - left).abs());
                assert!(error < 2e-6, "{d}, {at}: {found} against {left} and {right}");
                kinks += usize::from((right - left).abs() > 1e-5);
            }
            assert!(kinks < gradient.len() / 10, "{kinks}");
        }
    }
}
