//! A binary classifier with two hidden layers, trained as scikit-learn trains its `MLPClassifier` when it is told nothing else.
//!
//! ReLU, a logistic output, weights and biases uniform after Glorot and Bengio 2010, cross-entropy with a squared penalty of
//! the weights, Adam (Kingma and Ba 2015, <https://arxiv.org/abs/1412.6980>) over shuffled batches, until the training loss has not
//! improved on its best by a tolerance for some passes.

use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut, Dyn};

use super::shuffle;
use crate::simulator::sampling::Generator;

const BATCH: usize = 200;
const LEARNING_RATE: f32 = 1e-3;
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;
const PENALTY: f32 = 1e-4;
const TOLERANCE: f64 = 1e-4;
const PATIENCE: usize = 10;
const LONGEST: usize = 10_000;

/// The network.
pub struct Classifier {
    d: usize,
    width: usize,
    /// Weights of the first layer `[width, d]`, of the second `[width, width]`, both column-major, of the output `[width]`; then
    /// the biases of the three layers.
    parameters: Vec<f32>,
}

/// What a batch leaves behind on its way through the network; a column is a row of the data.
struct Activations {
    input: DMatrix<f32>,
    first: DMatrix<f32>,
    second: DMatrix<f32>,
}

/// Lengths of the parts of the parameters.
fn lengths(d: usize, width: usize) -> [usize; 6] {
    [width * d, width * width, width, width, width, 1]
}

fn parts(parameters: &[f32], d: usize, width: usize) -> [&[f32]; 6] {
    let mut rest = parameters;
    lengths(d, width).map(|length| {
        let (part, others) = rest.split_at(length);
        rest = others;
        part
    })
}

fn parts_mut(parameters: &mut [f32], d: usize, width: usize) -> [&mut [f32]; 6] {
    let mut rest = parameters;
    lengths(d, width).map(|length| {
        let (part, others) = std::mem::take(&mut rest).split_at_mut(length);
        rest = others;
        part
    })
}

impl Classifier {
    /// A network before training.
    pub fn new(d: usize, width: usize, generator: &mut Generator) -> Classifier {
        let mut parameters = vec![0.0; lengths(d, width).iter().sum()];
        let fans = [(d, width), (width, width), (width, 1)];
        let bounds = fans.map(|(fan_in, fan_out)| (6.0 / (fan_in + fan_out) as f64).sqrt());
        for (at, part) in parts_mut(&mut parameters, d, width).into_iter().enumerate() {
            let bound = bounds[at % 3];
            part.fill_with(|| (bound * (2.0 * generator.uniform() - 1.0)) as f32);
        }
        Classifier { d, width, parameters }
    }

    /// Trains on rows `[n, d]` with labels 0 and 1; returns the number of passes over them.
    pub fn fit(&mut self, inputs: &[f32], labels: &[f32], generator: &mut Generator) -> usize {
        let n = labels.len();
        let mut order: Vec<usize> = (0..n).collect();
        let mut gradient = vec![0.0; self.parameters.len()];
        let mut adam = Adam::new(self.parameters.len());
        let (mut best, mut without_progress) = (f64::INFINITY, 0);
        for pass in 1..=LONGEST {
            shuffle(&mut order, generator);
            let mut total = 0.0;
            for rows in order.chunks(BATCH) {
                let batch = rows.iter().flat_map(|&row| &inputs[row * self.d..][..self.d]);
                let batch: Vec<f32> = batch.copied().collect();
                let batch_labels: Vec<f32> = rows.iter().map(|&row| labels[row]).collect();
                let loss = self.gradient(batch, &batch_labels, &mut gradient);
                adam.update(&mut self.parameters, &gradient);
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
    pub fn logits(&self, inputs: &[f32]) -> Vec<f32> {
        let blocks = inputs.chunks(BATCH * self.d);
        blocks.flat_map(|block| self.output(&self.forward(block.to_vec()))).collect()
    }

    fn forward(&self, batch: Vec<f32>) -> Activations {
        let (d, width) = (self.d, self.width);
        let [first_weight, second_weight, _, first_bias, second_bias, _] =
            parts(&self.parameters, d, width);
        let input = DMatrix::from_vec(d, batch.len() / d, batch);
        let layer = |weight: &[f32], bias: &[f32], below: &DMatrix<f32>| {
            let mut out = DMatrix::zeros(width, below.ncols());
            out.gemm(1.0, &DMatrixView::from_slice(weight, width, below.nrows()), below, 0.0);
            for column in out.as_mut_slice().chunks_exact_mut(width) {
                column.iter_mut().zip(bias).for_each(|(z, bias)| *z = (*z + bias).max(0.0));
            }
            out
        };
        let first = layer(first_weight, first_bias, &input);
        let second = layer(second_weight, second_bias, &first);
        Activations { input, first, second }
    }

    fn output(&self, activations: &Activations) -> Vec<f32> {
        let [_, _, weight, _, _, bias] = parts(&self.parameters, self.d, self.width);
        let columns = activations.second.as_slice().chunks_exact(self.width);
        columns.map(|h| h.iter().zip(weight).map(|(h, w)| h * w).sum::<f32>() + bias[0]).collect()
    }

    /// The mean loss of a batch; its gradient is written to `gradient`, laid out like the parameters.
    fn gradient(&self, batch: Vec<f32>, labels: &[f32], gradient: &mut [f32]) -> f64 {
        let (d, width, n) = (self.d, self.width, labels.len());
        let activations = self.forward(batch);
        let logits = self.output(&activations);
        let [first_weight, second_weight, output_weight, ..] = parts(&self.parameters, d, width);
        let weights = || [first_weight, second_weight, output_weight].into_iter();
        let [by_first, by_second, by_output, by_first_bias, by_second_bias, by_output_bias] =
            parts_mut(gradient, d, width);

        let cross_entropy = logits.iter().zip(labels).map(|(z, label)| {
            // log(1 + exp(z)) - label z, without overflow.
            f64::from(z.max(0.0) + (-z.abs()).exp().ln_1p() - label * z)
        });
        let squares = weights().map(sum_of_squares).sum::<f64>();
        let loss = (cross_entropy.sum::<f64>() + 0.5 * f64::from(PENALTY) * squares) / n as f64;

        let by_logit: Vec<f32> = logits
            .iter()
            .zip(labels)
            .map(|(z, label)| (1.0 / (1.0 + (-z).exp()) - label) / n as f32)
            .collect();
        by_output_bias[0] = by_logit.iter().sum();
        by_output.fill(0.0);
        let mut by_above = DMatrix::zeros(width, n);
        let columns = by_above.as_mut_slice().chunks_exact_mut(width);
        let hidden = activations.second.as_slice().chunks_exact(width);
        for ((column, hidden), by_z) in columns.zip(hidden).zip(&by_logit) {
            by_output.iter_mut().zip(hidden).for_each(|(by, h)| *by += by_z * h);
            column.iter_mut().zip(output_weight).for_each(|(by, weight)| *by = by_z * weight);
        }
        stop_at_zero(&mut by_above, &activations.second);
        weight_gradient(&by_above, &activations.first, by_second, by_second_bias);

        let mut by_below = DMatrix::zeros(width, n);
        by_below.gemm(1.0, &transposed(second_weight, width, width), &by_above, 0.0);
        stop_at_zero(&mut by_below, &activations.first);
        weight_gradient(&by_below, &activations.input, by_first, by_first_bias);

        let penalty = PENALTY / n as f32;
        for (by, weight) in [by_first, by_second, by_output].into_iter().zip(weights()) {
            by.iter_mut().zip(weight).for_each(|(by, weight)| *by += penalty * weight);
        }
        loss
    }
}

/// The derivative of ReLU.
fn stop_at_zero(gradient: &mut DMatrix<f32>, activation: &DMatrix<f32>) {
    for (by, h) in gradient.as_mut_slice().iter_mut().zip(activation.as_slice()) {
        // A choice between values rather than a branch, which no processor would foresee.
        *by = if *h > 0.0 { *by } else { 0.0 };
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

/// Gradient of a layer's weights and biases from that of its outputs before the activation.
fn weight_gradient(
    by_output: &DMatrix<f32>,
    input: &DMatrix<f32>,
    by_weight: &mut [f32],
    by_bias: &mut [f32],
) {
    let (width, d) = (by_output.nrows(), input.nrows());
    let input = transposed(input.as_slice(), d, input.ncols());
    DMatrixViewMut::from_slice(by_weight, width, d).gemm(1.0, by_output, &input, 0.0);
    by_bias.fill(0.0);
    for column in by_output.as_slice().chunks_exact(width) {
        by_bias.iter_mut().zip(column).for_each(|(sum, by)| *sum += by);
    }
}

/// A column-major matrix of `rows` and `columns`, seen as its transpose.
fn transposed(values: &[f32], rows: usize, columns: usize) -> DMatrixView<'_, f32, Dyn, Dyn> {
    DMatrixView::from_slice_with_strides_generic(values, Dyn(columns), Dyn(rows), Dyn(rows), Dyn(1))
}

struct Adam {
    step: i32,
    first_moment: Vec<f32>,
    second_moment: Vec<f32>,
}

impl Adam {
    fn new(length: usize) -> Adam {
        Adam { step: 0, first_moment: vec![0.0; length], second_moment: vec![0.0; length] }
    }

    fn update(&mut self, parameters: &mut [f32], gradient: &[f32]) {
        self.step += 1;
        let rate =
            LEARNING_RATE * (1.0 - BETA_2.powi(self.step)).sqrt() / (1.0 - BETA_1.powi(self.step));
        let moments = self.first_moment.iter_mut().zip(&mut self.second_moment);
        for ((parameter, g), (m, v)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *m = BETA_1 * *m + (1.0 - BETA_1) * g;
            *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
            *parameter -= rate * *m / (v.sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut generator = Generator::new(3, 0);
        // Wide enough for both ways through the matrix product.
        for (d, width) in [(2, 7), (7, 8)] {
            let mut network = Classifier::new(d, width, &mut generator);
            let n = 9;
            let inputs: Vec<f32> =
                (0..n * d).map(|_| generator.uniform() as f32 * 2.0 - 1.0).collect();
            let labels: Vec<f32> = (0..n).map(|at| (at % 2) as f32).collect();
            let mut gradient = vec![0.0; network.parameters.len()];
            let mut ignored = gradient.clone();
            network.gradient(inputs.clone(), &labels, &mut gradient);
            let mut kinks = 0;
            for (at, by) in gradient.iter().enumerate() {
                let parameter = network.parameters[at];
                let mut loss_at = |shift: f32| {
                    network.parameters[at] = parameter + shift;
                    network.gradient(inputs.clone(), &labels, &mut ignored)
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
