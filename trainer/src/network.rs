//! The trained network as plain numbers: what training hands to quantization, to the bank and to evaluation.
//!
//! Nothing here knows the library that trained it. The forward pass sums in a fixed order that does not depend on the number of
//! threads or on how rows are batched, so an embedding is the same bits wherever it is computed on one machine.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::training::ratio::Activation;

/// A dense layer `y = W x + b`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dense {
    /// Width of `x`.
    pub d_input: usize,
    /// Width of `y`.
    pub d_output: usize,
    /// `W`, row-major `[d_output, d_input]`.
    pub weight: Vec<f32>,
    /// `b`, `[d_output]`.
    pub bias: Vec<f32>,
}

/// A stack of dense layers, ReLU after each, and linear heads on the last of them.
///
/// With an empty trunk the heads read the input itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatNetwork {
    /// Hidden layers, in order; ReLU follows each.
    pub trunk: Vec<Dense>,
    /// Heads, each linear in the last hidden layer (the embedding).
    pub heads: Vec<Dense>,
    /// Stacks that go on from heads and read theta as well.
    pub tails: Vec<Tail>,
}

/// A stack on `[h, theta]` behind a head whose outputs are what `h` adds to its first layer. A smooth rectifier follows each layer but the
/// last, whose outputs are the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    /// Position of the head.
    pub head: usize,
    /// Width of theta.
    pub d_theta: usize,
    /// What theta adds to the first layer: `[outputs of the head, d_theta]`.
    pub theta: Vec<f32>,
    /// What follows the first layer.
    pub layers: Vec<Dense>,
}

impl Tail {
    /// Outputs of each hidden layer for rows of data, `[rows, outputs of the head]`, and of standardized thetas, `[rows, d_theta]`; last
    /// the answers, `[rows, outputs]`.
    pub fn forward(&self, data: &[f32], theta: &[f32]) -> (Vec<Vec<f32>>, Vec<f32>) {
        let first = self.layers[0].d_input;
        let rows = data.len() / first;
        let mut z = data.to_vec();
        for (z, theta) in z.chunks_exact_mut(first).zip(theta.chunks_exact(self.d_theta)) {
            for (z, weights) in z.iter_mut().zip(self.theta.chunks_exact(self.d_theta)) {
                *z += weights.iter().zip(theta).map(|(w, t)| w * t).sum::<f32>();
            }
        }
        let mut hidden = Vec::new();
        for layer in &self.layers {
            let mut a = vec![0.0; z.len()];
            Activation::SmoothRelu.apply(&z, &mut a);
            z = layer.apply(&a, rows);
            hidden.push(a);
        }
        (hidden, z)
    }

    fn check(&self, heads: &[Dense]) -> Result<(), String> {
        let head = heads.get(self.head).ok_or("goes on from a head that is not there")?;
        if self.d_theta == 0 || self.theta.len() != head.d_output * self.d_theta {
            return Err("the weights of theta do not match its widths".into());
        }
        if !self.theta.iter().all(|value| value.is_finite()) {
            return Err("a weight of theta is not finite".into());
        }
        let mut below = head.d_output;
        for layer in &self.layers {
            layer.check(below)?;
            below = layer.d_output;
        }
        if self.layers.is_empty() { Err("has no output".into()) } else { Ok(()) }
    }
}

/// What a network computes for `n` rows; a single row is `n = 1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Activations {
    /// After the ReLU of each trunk layer, row-major `[n, d_output]`; empty unless asked for.
    pub hidden: Vec<Vec<f32>>,
    /// Of each head, row-major `[n, d_output]`.
    pub heads: Vec<Vec<f32>>,
}

/// Widths that do not fit together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{layer}: {message}")]
pub struct ShapeError {
    layer: String,
    message: String,
}

impl FloatNetwork {
    /// Width of the input.
    ///
    /// # Panics
    ///
    /// If the network has neither trunk nor heads.
    pub fn d_input(&self) -> usize {
        self.trunk.first().unwrap_or_else(|| &self.heads[0]).d_input
    }

    /// Width of the embedding, which is what the heads read.
    ///
    /// # Panics
    ///
    /// If the network has neither trunk nor heads.
    pub fn d_embed(&self) -> usize {
        self.trunk.last().map_or_else(|| self.d_input(), |layer| layer.d_output)
    }

    /// Multiplies what each neuron of a hidden layer gives by its `gains`, and divides what reads it: the same answers, but for rounding.
    ///
    /// # Panics
    ///
    /// If a gain is not positive, or there are not as many as neurons.
    pub fn rescale(&mut self, layer: usize, gains: &[f32]) {
        let (below, above) = self.trunk.split_at_mut(layer + 1);
        let dense = &mut below[layer];
        assert!(gains.len() == dense.d_output && gains.iter().all(|gain| *gain > 0.0));
        let rows = dense.weight.chunks_exact_mut(dense.d_input).zip(&mut dense.bias);
        for ((row, bias), gain) in rows.zip(gains) {
            row.iter_mut().chain([bias]).for_each(|value| *value *= gain);
        }
        let readers = match above.first_mut() {
            Some(next) => std::slice::from_mut(next),
            None => &mut self.heads[..],
        };
        for row in readers.iter_mut().flat_map(|dense| dense.weight.chunks_exact_mut(gains.len())) {
            row.iter_mut().zip(gains).for_each(|(weight, gain)| *weight /= gain);
        }
    }

    /// Number of weights and biases.
    pub fn num_parameters(&self) -> usize {
        let of_tails = self.tails.iter().flat_map(|tail| &tail.layers);
        let layers = self.trunk.iter().chain(&self.heads).chain(of_tails);
        let of_theta = self.tails.iter().map(|tail| tail.theta.len()).sum::<usize>();
        of_theta + layers.map(|layer| layer.weight.len() + layer.bias.len()).sum::<usize>()
    }

    /// Proves that the widths fit together and that every number is finite; call it on a network that was read from a file.
    ///
    /// # Errors
    ///
    /// Names the first layer that does not fit.
    pub fn check(&self) -> Result<(), ShapeError> {
        let fail = |layer: String, message: String| Err(ShapeError { layer, message });
        if self.heads.is_empty() {
            return fail("network".into(), "has no heads".into());
        }
        let d_embed = self.d_embed();
        let trunk = self.trunk.iter().enumerate();
        let trunk = trunk.map(|(i, layer)| {
            let below = if i == 0 { self.d_input() } else { self.trunk[i - 1].d_output };
            (format!("trunk layer {i}"), layer, below)
        });
        let heads = self.heads.iter().enumerate();
        let heads = heads.map(|(i, layer)| (format!("head {i}"), layer, d_embed));
        for (layer, dense, below) in trunk.chain(heads) {
            dense.check(below).map_err(|message| ShapeError { layer, message })?;
        }
        for tail in &self.tails {
            let layer = format!("stack of head {}", tail.head);
            tail.check(&self.heads).map_err(|message| ShapeError { layer, message })?;
        }
        Ok(())
    }

    /// The stack that goes on from a head.
    pub fn tail(&self, head: usize) -> Option<&Tail> {
        self.tails.iter().find(|tail| tail.head == head)
    }

    /// One row through the network, with all hidden activations.
    ///
    /// # Panics
    ///
    /// If `input` is not `d_input` wide.
    pub fn forward(&self, input: &[f32]) -> Activations {
        assert_eq!(input.len(), self.d_input(), "width of the input");
        self.forward_rows(input, 1, true)
    }

    /// Gradient with respect to the input of what has the gradient `above` with respect to the last hidden layer.
    ///
    /// `hidden` is what [`FloatNetwork::forward`] gives for the input. Where a ReLU stands at exactly zero its derivative is zero.
    ///
    /// # Panics
    ///
    /// If the widths do not match.
    pub fn input_gradient(&self, hidden: &[Vec<f32>], above: &[f32]) -> Vec<f32> {
        assert_eq!(hidden.len(), self.trunk.len(), "activations of every hidden layer");
        assert_eq!(above.len(), self.d_embed(), "width of the last hidden layer");
        let mut gradient = above.to_vec();
        for (layer, active) in self.trunk.iter().zip(hidden).rev() {
            let mut below = vec![0.0; layer.d_input];
            let neurons = layer.weight.chunks_exact(layer.d_input).zip(active).zip(&gradient);
            for ((weight, _), slope) in neurons.filter(|((_, active), _)| **active > 0.0) {
                below.iter_mut().zip(weight).for_each(|(sum, w)| *sum += slope * w);
            }
            gradient = below;
        }
        gradient
    }

    /// Rows `[n, d_input]` through the network, in parallel; equal to [`FloatNetwork::forward`] row by row, to the bit.
    ///
    /// # Panics
    ///
    /// If `inputs` is not a whole number of rows.
    pub fn forward_batch(&self, inputs: &[f32], keep_hidden: bool) -> Activations {
        /// Rows a task takes: enough to amortize it, few enough that their activations stay in cache.
        const BLOCK: usize = 64;
        let d_input = self.d_input();
        assert_eq!(inputs.len() % d_input, 0, "whole rows");
        let blocks: Vec<Activations> = inputs
            .par_chunks(BLOCK * d_input)
            .map(|rows| self.forward_rows(rows, rows.len() / d_input, keep_hidden))
            .collect();
        let join = |part: fn(&Activations) -> &[Vec<f32>], count: usize| {
            let joined =
                |i: usize| blocks.iter().flat_map(|block| part(block)[i].iter().copied()).collect();
            (0..count).map(joined).collect()
        };
        let kept = if keep_hidden { self.trunk.len() } else { 0 };
        Activations {
            hidden: join(|block| &block.hidden, kept),
            heads: join(|block| &block.heads, self.heads.len()),
        }
    }

    fn forward_rows(&self, inputs: &[f32], rows: usize, keep_hidden: bool) -> Activations {
        let mut hidden: Vec<Vec<f32>> = Vec::new();
        for layer in &self.trunk {
            let below = hidden.last().map_or(inputs, Vec::as_slice);
            let mut above = layer.apply(below, rows);
            for value in &mut above {
                *value = value.max(0.0);
            }
            if !keep_hidden {
                hidden.clear();
            }
            hidden.push(above);
        }
        let embedding = hidden.last().map_or(inputs, Vec::as_slice);
        let heads = self.heads.iter().map(|head| head.apply(embedding, rows)).collect();
        if !keep_hidden {
            hidden.clear();
        }
        Activations { hidden, heads }
    }
}

impl Dense {
    /// The first `d_output` rows alone.
    pub fn leading(mut self, d_output: usize) -> Dense {
        self.d_output = d_output.min(self.d_output);
        self.weight.truncate(self.d_output * self.d_input);
        self.bias.truncate(self.d_output);
        self
    }

    /// Proves that the layer reads `below` values, that its widths fit together and that every number is finite.
    ///
    /// # Errors
    ///
    /// What does not fit.
    pub fn check(&self, below: usize) -> Result<(), String> {
        if self.d_input != below {
            return Err(format!(
                "reads {} values, but the layer below gives {below}",
                self.d_input
            ));
        }
        if self.d_input == 0 || self.d_output == 0 {
            return Err("has no inputs or no outputs".into());
        }
        if self.weight.len() != self.d_input * self.d_output || self.bias.len() != self.d_output {
            return Err("weights or biases do not match its widths".into());
        }
        if !self.weight.iter().chain(&self.bias).all(|value| value.is_finite()) {
            return Err("a weight or bias is not finite".into());
        }
        Ok(())
    }

    /// `W x + b` for each row of `inputs`, `[rows, d_input]`; the result is `[rows, d_output]`.
    pub fn apply(&self, inputs: &[f32], rows: usize) -> Vec<f32> {
        let mut outputs = vec![0.0; rows * self.d_output];
        // The weights' row is the outer loop: it stays in cache while the block's rows pass by.
        let neurons = self.weight.chunks_exact(self.d_input).zip(&self.bias);
        for (neuron, (weight, bias)) in neurons.enumerate() {
            for (row, input) in inputs.chunks_exact(self.d_input).enumerate() {
                outputs[row * self.d_output + neuron] = bias + dot(weight, input);
            }
        }
        outputs
    }
}

/// Sums in sixteen lanes, so that the compiler may use vectors without changing the order of additions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> FloatNetwork {
        let trunk = Dense {
            d_input: 2,
            d_output: 2,
            weight: vec![1.0, 2.0, -1.0, 0.5],
            bias: vec![0.5, -0.25],
        };
        let head = Dense { d_input: 2, d_output: 1, weight: vec![2.0, 4.0], bias: vec![-1.0] };
        FloatNetwork { trunk: vec![trunk], heads: vec![head], tails: Vec::new() }
    }

    #[test]
    fn forward_by_hand() {
        // Hidden: 1 + 6 + 0.5 = 7.5 and -1 + 1.5 - 0.25 = 0.25; head: 15 + 1 - 1.
        let found = example().forward(&[1.0, 3.0]);
        assert_eq!(found.hidden, [[7.5, 0.25]]);
        assert_eq!(found.heads, [[15.0]]);
        // Hidden: -1.5 is cut to 0; 1 + 0 - 0.25 = 0.75 ... times 4, minus 1.
        assert_eq!(example().forward(&[-1.0, 0.0]).heads, [[2.0]]);
    }

    #[test]
    fn input_gradient_equals_differences() {
        let network = example();
        // Both neurons active: 2 (1, 2) + 4 (-1, 0.5); the second one cut: 2 (1, 2).
        for (input, expected) in [([1.0, 3.0], [-2.0, 6.0]), ([3.0, 1.0], [2.0, 4.0])] {
            let hidden = network.forward(&input).hidden;
            assert_eq!(network.input_gradient(&hidden, &network.heads[0].weight), expected);
            let output = |x: [f32; 2]| network.forward(&x).heads[0][0];
            let step = output(input) - output([input[0] - 0.5, input[1]]);
            assert_eq!(step / 0.5, expected[0]);
        }
    }

    #[test]
    fn rescaled_neurons_answer_the_same() {
        let (network, mut rescaled) = (example(), example());
        rescaled.rescale(0, &[4.0, 0.5]);
        let found = rescaled.forward(&[1.0, 3.0]);
        assert_eq!(found.hidden, [[30.0, 0.125]]);
        assert_eq!(found.heads, network.forward(&[1.0, 3.0]).heads);
    }

    #[test]
    fn batch_equals_rows() {
        let network = example();
        let inputs: Vec<f32> = (0..300).map(|i| (i as f32 * 0.37).sin()).collect();
        let batch = network.forward_batch(&inputs, true);
        for (row, input) in inputs.chunks_exact(2).enumerate() {
            let single = network.forward(input);
            assert_eq!(single.hidden[0], batch.hidden[0][row * 2..row * 2 + 2]);
            assert_eq!(single.heads[0], batch.heads[0][row..row + 1]);
        }
        assert!(network.forward_batch(&inputs, false).hidden.is_empty());
        assert_eq!(network.forward_batch(&[], true).heads, [[]; 1] as [[f32; 0]; 1]);
    }

    #[test]
    fn check_names_the_layer() {
        assert_eq!(example().check(), Ok(()));
        let mut wide = example();
        wide.heads[0].d_input = 3;
        let message = wide.check().unwrap_err().to_string();
        assert_eq!(message, "head 0: reads 3 values, but the layer below gives 2");
        let mut nan = example();
        nan.trunk[0].bias[1] = f32::NAN;
        assert!(nan.check().unwrap_err().to_string().contains("trunk layer 0"));
    }
}
