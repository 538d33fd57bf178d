//! A dense stack with ReLU between its layers as one operation: its outputs, and the gradient of anything computed from them.
//!
//! Derived by hand: with activations `x_0` (the inputs), `x_l = relu(x_{l-1} W_l + b_l)` and `g_l` the derivative of the loss by
//! `x_{l-1} W_l + b_l`, the gradients are `x_{l-1}^T g_l` and the sum of the rows of `g_l`, and `g_{l-1} = g_l W_l^T` where `x_{l-1} > 0`.

use std::ops::Range;

use super::rounding::Grid;
use super::tiles::{Nonzero, Sparse, Tiles, affine, affine_relu, by_inputs, by_weights};

/// A dense stack of fixed widths, with the memory that its passes need.
///
/// Parameters and their gradient are flat vectors: per layer the weights, `[d_input, d_output]` row-major, then the biases.
#[derive(Debug)]
pub struct Stack {
    layers: Vec<Layer>,
    /// The input of each layer, and the outputs of the last.
    activations: Vec<Tiles>,
    /// Of each of `activations`.
    nonzero: Vec<Nonzero>,
    nonzero_transposed: Nonzero,
    /// Of each layer, `g_l`.
    by_activation: Vec<Tiles>,
    /// The outputs and the derivative by them, row-major.
    outputs: Vec<f32>,
    by_output: Vec<f32>,
    /// To which the inputs and the outputs of each hidden layer are rounded; empty where they are not.
    grids: Vec<Grid>,
}

#[derive(Debug, Default)]
struct Layer {
    d_input: usize,
    d_output: usize,
    weights: Tiles,
    transposed: Tiles,
    biases: Tiles,
    by_weights: Tiles,
    by_biases: Tiles,
}

/// Rows that pass through the stack at a time: their activations stay in cache. The results do not depend on it.
const BLOCK: usize = 256;

impl Stack {
    /// A stack whose layers have these `(d_input, d_output)`.
    ///
    /// # Panics
    ///
    /// If there is no layer, or a layer does not read what the one before it gives.
    pub fn new(layers: &[(usize, usize)]) -> Stack {
        assert!(!layers.is_empty() && layers.windows(2).all(|pair| pair[0].1 == pair[1].0));
        let layer =
            |&(d_input, d_output): &(usize, usize)| Layer { d_input, d_output, ..Layer::default() };
        // Room for a whole block from the start: what is read side by side must lie alike, whatever number of rows came before.
        let rows = |width: usize| {
            let mut tiles = Tiles::default();
            tiles.clear(BLOCK, width);
            tiles
        };
        let outputs = layers.iter().map(|&(_, d_output)| d_output);
        Stack {
            layers: layers.iter().map(layer).collect(),
            activations: [layers[0].0].into_iter().chain(outputs.clone()).map(rows).collect(),
            nonzero: (0..=layers.len()).map(|_| Nonzero::default()).collect(),
            nonzero_transposed: Nonzero::default(),
            by_activation: outputs.map(rows).collect(),
            outputs: Vec::new(),
            by_output: Vec::new(),
            grids: Vec::new(),
        }
    }

    /// Rounds the inputs and the outputs of each hidden layer from now on. Gradients are those of a stack that does not, at the rounded
    /// values.
    pub fn round_to(&mut self, grids: Vec<Grid>) {
        self.grids = grids;
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> usize {
        self.layers.iter().map(|layer| (layer.d_input + 1) * layer.d_output).sum()
    }

    /// The outputs for `inputs`, `[n, d_input]`, some rows at a time.
    ///
    /// `each` gets a range of rows and their outputs, `[rows, d_output]`.
    ///
    /// # Panics
    ///
    /// If `parameters` or `inputs` have another length than the layers ask for.
    pub fn outputs(
        &mut self,
        parameters: &[f32],
        inputs: &[f32],
        mut each: impl FnMut(Range<usize>, &[f32]),
    ) {
        self.set(parameters);
        for rows in self.blocks(inputs) {
            self.forward(inputs, &rows);
            each(rows, &self.outputs);
        }
    }

    /// Writes the derivative of a loss by each parameter to `gradient`.
    ///
    /// `loss` gets a range of the rows of `inputs`, `[n, d_input]`, and their outputs, `[rows, d_output]`; it writes the derivative of the
    /// whole loss by each of these outputs into its last argument, which is of the same shape and holds zeros.
    ///
    /// # Panics
    ///
    /// If `parameters`, `inputs` or `gradient` have another length than the layers ask for.
    pub fn gradient(
        &mut self,
        parameters: &[f32],
        inputs: &[f32],
        gradient: &mut [f32],
        mut loss: impl FnMut(Range<usize>, &[f32], &mut [f32]),
    ) {
        assert_eq!(gradient.len(), self.num_parameters(), "length of the gradient");
        self.set(parameters);
        for layer in &mut self.layers {
            layer.transposed.transpose(&layer.weights);
        }
        for rows in self.blocks(inputs) {
            let first = rows.start == 0;
            self.forward(inputs, &rows);
            self.by_output.clear();
            self.by_output.resize(self.outputs.len(), 0.0);
            loss(rows, &self.outputs, &mut self.by_output);
            self.backward(!first);
        }
        if let [first, _, ..] = &mut self.layers[..] {
            std::mem::swap(&mut first.by_weights, &mut first.transposed);
            first.by_weights.transpose(&first.transposed);
        }
        let mut rest = gradient;
        for layer in &self.layers {
            let (weights, others) = rest.split_at_mut(layer.d_input * layer.d_output);
            let (biases, others) = others.split_at_mut(layer.d_output);
            layer.by_weights.copy_to(weights);
            layer.by_biases.copy_to(biases);
            rest = others;
        }
    }

    fn set(&mut self, parameters: &[f32]) {
        assert_eq!(parameters.len(), self.num_parameters(), "number of parameters");
        let mut rest = parameters;
        for layer in &mut self.layers {
            let (weights, others) = rest.split_at(layer.d_input * layer.d_output);
            let (biases, others) = others.split_at(layer.d_output);
            layer.weights.copy(weights, layer.d_input, layer.d_output);
            layer.biases.copy(biases, 1, layer.d_output);
            rest = others;
        }
    }

    fn blocks(&self, inputs: &[f32]) -> impl Iterator<Item = Range<usize>> + use<> {
        let d_input = self.layers[0].d_input;
        assert_eq!(inputs.len() % d_input, 0, "whole rows of inputs");
        let n = inputs.len() / d_input;
        (0..n).step_by(BLOCK).map(move |first| first..n.min(first + BLOCK))
    }

    fn forward(&mut self, inputs: &[f32], rows: &Range<usize>) {
        let d_input = self.layers[0].d_input;
        let inputs = &inputs[rows.start * d_input..rows.end * d_input];
        self.activations[0].copy(inputs, rows.len(), d_input);
        if let Some(grid) = self.grids.first() {
            self.activations[0].round(*grid);
        }
        self.nonzero[0].find(&self.activations[0]);
        let last = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            let (below, above) = self.activations.split_at_mut(i + 1);
            let (nonzero_below, nonzero) = self.nonzero.split_at_mut(i + 1);
            let inputs = Sparse(&below[i], &nonzero_below[i]);
            if i < last {
                let (above, nonzero) = (&mut above[0], &mut nonzero[0]);
                affine_relu((&mut *above, &mut *nonzero), inputs, &layer.weights, &layer.biases);
                if let Some(grid) = self.grids.get(i + 1) {
                    above.round(*grid);
                    nonzero.find(above);
                }
            } else {
                affine(&mut above[0], inputs, &layer.weights, &layer.biases);
            }
        }
        self.outputs.resize(rows.len() * self.layers[last].d_output, 0.0);
        self.activations[last + 1].copy_to(&mut self.outputs);
    }

    /// Adds the gradient of a block to that of the blocks before it, or starts with it.
    fn backward(&mut self, add: bool) {
        let last = self.layers.len() - 1;
        let d_output = self.layers[last].d_output;
        let rows = self.by_output.len() / d_output;
        self.by_activation[last].copy(&self.by_output, rows, d_output);
        self.nonzero[last + 1].find(&self.by_activation[last]);
        self.layers[last].by_biases.sum_rows(add, &self.by_activation[last]);
        for i in (0..=last).rev() {
            let (below, layers) = self.layers.split_at_mut(i);
            let layer = &mut layers[0];
            let (by_below, by_above) = self.by_activation.split_at_mut(i);
            let inputs = &self.activations[i];
            // Of the two factors the one with more zeros goes left; only the first layer's inputs come from no ReLU.
            let (of, left, right) = if i == 0 && last > 0 {
                (1, &by_above[0], inputs)
            } else {
                (i, inputs, &by_above[0])
            };
            self.nonzero_transposed.transposed(&self.nonzero[of]);
            let left = Sparse(left, &self.nonzero_transposed);
            by_weights(&mut layer.by_weights, add, left, right);
            if let (Some(by_below), Some(below)) = (by_below.last_mut(), below.last_mut()) {
                // `g_l` is zero where `x_l` is, so what is known of one holds for the other.
                let by_above = Sparse(&by_above[0], &self.nonzero[i + 1]);
                let sums = (add, &mut below.by_biases);
                by_inputs(by_below, by_above, &layer.transposed, inputs, sums);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::training::graph::Graph;
    use crate::training::random::{Purpose, Stream};
    use crate::training::vectors::test::{LIMIT, WIDTHS};

    struct Case {
        layers: Vec<(usize, usize)>,
        parameters: Vec<f32>,
        inputs: Vec<f32>,
        targets: Vec<f32>,
        grids: Vec<Grid>,
    }

    fn case(widths: &[usize], n: usize) -> Case {
        let layers: Vec<_> = widths.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let mut noise = Stream::new(n as u64, Purpose::Initialization, widths.len() as u64);
        let mut values = |count: usize, bound: f64| -> Vec<f32> {
            (0..count).map(|_| (bound * (2.0 * noise.unit() - 1.0)) as f32).collect()
        };
        let of_layer = |&(d_input, d_output): &(usize, usize)| {
            [values(d_input * d_output, (6.0 / d_input as f64).sqrt()), values(d_output, 0.5)]
                .concat()
        };
        let parameters = layers.iter().flat_map(of_layer).collect();
        let mut inputs = values(n * widths[0], 1.0);
        // Zeros that no ReLU made.
        inputs.iter_mut().step_by(7).for_each(|input| *input = 0.0);
        let targets = values(n * widths[widths.len() - 1], 1.0);
        Case { layers, parameters, inputs, targets, grids: Vec::new() }
    }

    impl Case {
        fn by_stack(&self) -> (Vec<f32>, Vec<f32>) {
            let mut stack = Stack::new(&self.layers);
            stack.round_to(self.grids.clone());
            // More rows than the gradient is of, as in a validation between two steps.
            stack.outputs(&self.parameters, &self.inputs.repeat(5), |_, _| ());
            let mut outputs = Vec::new();
            stack
                .outputs(&self.parameters, &self.inputs, |_, rows| outputs.extend_from_slice(rows));
            let mut gradient = vec![f32::NAN; self.parameters.len()];
            // The second pass finds the memory that the first has left.
            for _ in 0..2 {
                let of_rows = |rows, outputs: &[f32], by_output: &mut [f32]| {
                    self.squared_error(rows, outputs, by_output);
                };
                stack.gradient(&self.parameters, &self.inputs, &mut gradient, of_rows);
            }
            (outputs, gradient)
        }

        fn squared_error(&self, rows: Range<usize>, outputs: &[f32], by_output: &mut [f32]) {
            let width = self.layers[self.layers.len() - 1].1;
            let targets = &self.targets[rows.start * width..rows.end * width];
            assert!(outputs.len() == targets.len() && by_output.len() == targets.len());
            for (by_output, (output, target)) in
                by_output.iter_mut().zip(outputs.iter().zip(targets))
            {
                *by_output = output - target;
            }
        }

        /// One chain of fused multiply-adds for each number, in the order that [`super::super::tiles`] promises.
        fn by_definition(&self) -> (Vec<f32>, Vec<f32>) {
            let n = self.inputs.len() / self.layers[0].0;
            let rounded = |at: usize, value: f32| match self.grids.get(at) {
                Some(grid) => grid.round(value),
                None => value,
            };
            let mut activations: Vec<Vec<f32>> =
                vec![self.inputs.iter().map(|x| rounded(0, *x)).collect()];
            let mut rest = &self.parameters[..];
            let mut weights = Vec::new();
            for (i, &(d_input, d_output)) in self.layers.iter().enumerate() {
                let (weight, others) = rest.split_at(d_input * d_output);
                let (bias, others) = others.split_at(d_output);
                (rest, weights) = (others, [weights, vec![weight]].concat());
                let x = activations[i].clone();
                let entry = |at: usize| {
                    let (row, column) = (at / d_output, at % d_output);
                    let sum = (0..d_input).fold(bias[column], |sum, k| {
                        x[row * d_input + k].mul_add(weight[k * d_output + column], sum)
                    });
                    if i + 1 < self.layers.len() { rounded(i + 1, sum.max(0.0)) } else { sum }
                };
                activations.push((0..n * d_output).map(entry).collect());
            }
            let outputs = activations.pop().unwrap();
            let mut by_above = vec![0.0; outputs.len()];
            self.squared_error(0..n, &outputs, &mut by_above);
            let mut gradient = Vec::new();
            for (i, &(d_input, d_output)) in self.layers.iter().enumerate().rev() {
                let x = &activations[i];
                let by_weight = (0..d_input * d_output).map(|at| {
                    let (k, column) = (at / d_output, at % d_output);
                    (0..n).fold(0.0, |sum, row| {
                        x[row * d_input + k].mul_add(by_above[row * d_output + column], sum)
                    })
                });
                let by_bias = (0..d_output).map(|column| {
                    (0..n).fold(0.0, |sum, row| sum + by_above[row * d_output + column])
                });
                gradient = by_weight.chain(by_bias).chain(gradient).collect();
                let by_below = (0..n * d_input).map(|at| {
                    let (row, k) = (at / d_input, at % d_input);
                    let sum = (0..d_output).fold(0.0, |sum, column| {
                        by_above[row * d_output + column]
                            .mul_add(weights[i][k * d_output + column], sum)
                    });
                    if x[at] > 0.0 { sum } else { 0.0 }
                });
                by_above = by_below.collect();
            }
            (outputs, gradient)
        }
    }

    impl Case {
        /// Whether another order of summation may put the input of a ReLU on the other side of zero, where the gradient jumps.
        fn is_near_a_kink(&self) -> bool {
            /// Rounding of sums of some hundred numbers of about 1.
            const ROUNDING: f32 = 2e-6;
            let (mut x, mut rest) = (self.inputs.clone(), &self.parameters[..]);
            let (_, hidden) = self.layers.split_last().unwrap();
            for &(d_input, d_output) in hidden {
                let (weight, others) = rest.split_at(d_input * d_output);
                let (bias, others) = others.split_at(d_output);
                rest = others;
                let sums = x.chunks_exact(d_input).flat_map(|x| {
                    (0..d_output).map(move |column| {
                        x.iter().enumerate().fold(bias[column], |sum, (k, x)| {
                            x.mul_add(weight[k * d_output + column], sum)
                        })
                    })
                });
                let sums: Vec<f32> = sums.collect();
                if sums.iter().any(|sum| sum.abs() < ROUNDING) {
                    return true;
                }
                x = sums.into_iter().map(|sum| sum.max(0.0)).collect();
            }
            false
        }
    }

    fn distance(a: &[f32], b: &[f32]) -> f64 {
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
        difference / norm(&mut b.iter().map(|&b| f64::from(b)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

        #[test]
        fn outputs_and_gradient_are_their_definition_to_the_bit_and_burns_but_for_rounding(
            widths in prop::collection::vec(1_usize..150, 2..5),
            n in prop::sample::select(vec![1_usize, 2, 63, 64, 65, 255, 256, 257, 530]),
        ) {
            let case = case(&widths, n);
            let (outputs, gradient) = case.by_definition();
            for &width in WIDTHS {
                LIMIT.set(width);
                let (found_outputs, found_gradient) = case.by_stack();
                prop_assert_eq!(&found_outputs, &outputs, "{:?}", width);
                prop_assert_eq!(&found_gradient, &gradient, "{:?}", width);
            }
            if case.is_near_a_kink() {
                return Ok(());
            }
            let graph = Graph { layers: case.layers.clone(), device: Device::flex() };
            let mut by_burn = vec![0.0; gradient.len()];
            graph.gradient(&case.parameters, &case.inputs, &mut by_burn, |rows, outputs, by_output| {
                case.squared_error(rows, outputs, by_output);
            });
            prop_assert!(distance(&gradient, &by_burn) < 1e-5, "{}", distance(&gradient, &by_burn));
        }
    }

    #[test]
    fn rounded_activations_and_the_gradient_at_them() {
        let mut case = case(&[5, 70, 66, 3], 130);
        case.grids = vec![
            Grid { unit: 0.25, low: -0.75, high: 0.75 },
            Grid { unit: 0.125, low: 0.0, high: 1.5 },
            Grid { unit: 0.0625, low: 0.0, high: 2.0 },
        ];
        assert_eq!(case.by_stack(), case.by_definition());
        let rounded = case.by_stack();
        case.grids.clear();
        assert_ne!(case.by_stack(), rounded);
    }

    #[test]
    fn nan_reaches_the_outputs() {
        let mut case = case(&[3, 70, 70, 2], 5);
        case.inputs[4] = f32::NAN;
        let (outputs, _) = case.by_stack();
        let nan: Vec<bool> = outputs.iter().map(|output| output.is_nan()).collect();
        assert_eq!(nan, [false, false, true, true, false, false, false, false, false, false]);
    }
}
