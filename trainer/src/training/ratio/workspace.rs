//! A ratio network of its own: the product with x, and what follows it.

use super::matrix::{add_rows, add_scaled, product, rows, transposed};
use super::network::Layout;
use super::{Batch, RatioNetwork, Shape, Tail};

/// Mean losses of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Losses {
    /// Binary cross-entropy, natural logarithm.
    pub cross_entropy: f64,
    /// Weighted squared error of the score along the batch's directions; 0 where no pair is scored.
    pub score: f64,
}

/// Buffers of one thread, and the gradients of the last batch.
#[derive(Debug)]
pub struct Workspace {
    layout: Layout,
    tail: Tail,
    /// `[rows of x, hidden[0]]`.
    x_part: Vec<f32>,
    weight: Vec<f32>,
    /// Gradient of the cross-entropy.
    pub cross_entropy: Vec<f32>,
    /// Gradient of the score's loss; zeros where no pair is scored.
    pub score: Vec<f32>,
}

impl Workspace {
    /// For networks of this shape.
    pub fn new(shape: &Shape) -> Workspace {
        Workspace {
            layout: shape.layout(),
            tail: Tail::new(shape.tail()),
            x_part: Vec::new(),
            weight: Vec::new(),
            cross_entropy: vec![0.0; shape.parameters()],
            score: vec![0.0; shape.parameters()],
        }
    }

    /// `f` of the last forward pass.
    pub fn logits(&self) -> &[f32] {
        self.tail.logits()
    }

    /// Losses of a batch; their gradients are in `self`.
    pub fn losses(&mut self, network: &RatioNetwork, batch: &Batch) -> Losses {
        self.forward(network, &batch.x, &batch.theta);
        let Shape { d_x, d_theta, .. } = network.shape;
        let Layout { x, bias, tail } = self.layout.clone();
        let parameters = &network.parameters[tail.clone()];
        let pairs_per_x = batch.pairs_per_x(d_x, d_theta);
        self.weight.clear();
        self.weight.resize(batch.target.len(), 1.0 / batch.target.len() as f32);
        let gradient = &mut self.cross_entropy;
        let cross_entropy = self.tail.cross_entropy(
            parameters,
            &batch.theta,
            &batch.target,
            &self.weight,
            &mut gradient[tail.clone()],
        );
        let of_x = (&batch.x[..], d_x, pairs_per_x);
        first_layer(of_x, self.tail.by_data(), &mut self.x_part, &mut gradient[x.start..bias.end]);
        let mut score = 0.0;
        if !batch.scored.slopes.is_empty() {
            let gradient = &mut self.score;
            self.tail.tangents(parameters, &batch.scored.directions);
            score = self.tail.score(parameters, &batch.theta, &batch.scored, &mut gradient[tail]);
            let by_data = self.tail.score_by_data();
            first_layer(of_x, by_data, &mut self.x_part, &mut gradient[x.start..bias.end]);
        }
        Losses { cross_entropy, score }
    }

    /// `f` at pairs, as [`RatioNetwork::log_ratio`] describes them.
    pub fn forward(&mut self, network: &RatioNetwork, x: &[f32], theta: &[f32]) {
        let Shape { d_x, d_theta, .. } = network.shape;
        let parameters = &network.parameters;
        let pairs = theta.len() / d_theta;
        let pairs_per_x = pairs / (x.len() / d_x);
        let bias = &parameters[self.layout.bias.clone()];
        let first = bias.len();
        self.x_part.resize(x.len() / d_x * first, 0.0);
        product(
            &mut self.x_part,
            rows(x, d_x),
            transposed(&parameters[self.layout.x.clone()], d_x),
        );
        self.x_part.chunks_exact_mut(first).for_each(|row| add_scaled(row, 1.0, bias));
        for (pair, data) in self.tail.data(pairs).chunks_exact_mut(first).enumerate() {
            data.copy_from_slice(&self.x_part[pair / pairs_per_x * first..][..first]);
        }
        self.tail.forward(&parameters[self.layout.tail.clone()], theta);
    }

    /// `v . grad_theta f` at the first pairs of the last forward pass, one direction for each.
    ///
    /// # Shapes
    /// `directions`: `[s, d_theta]`; out: `[s]`.
    pub fn tangents(&mut self, network: &RatioNetwork, directions: &[f32]) -> &[f32] {
        self.tail.tangents(&network.parameters[self.layout.tail.clone()], directions)
    }
}

/// Gradient of the weights of x and of the first layer's biases, from the derivative by the data of the first pairs.
fn first_layer(
    (x, d_x, pairs_per_x): (&[f32], usize, usize),
    by_data: &[f32],
    sums: &mut Vec<f32>,
    gradient: &mut [f32],
) {
    let width = gradient.len() / (d_x + 1);
    let (by_x, bias) = gradient.split_at_mut(d_x * width);
    bias.fill(0.0);
    add_rows(bias, by_data);
    let x_rows = by_data.len() / width / pairs_per_x;
    sums.resize(x_rows * width, 0.0);
    sum_over_pairs(sums, by_data, pairs_per_x, width);
    product(by_x, transposed(sums, width), rows(&x[..x_rows * d_x], d_x));
}

/// What the pairs of each x send back to it, summed.
fn sum_over_pairs(out: &mut [f32], back: &[f32], pairs_per_x: usize, width: usize) {
    for (out, back) in out.chunks_exact_mut(width).zip(back.chunks_exact(pairs_per_x * width)) {
        out.copy_from_slice(&back[..width]);
        back[width..].chunks_exact(width).for_each(|row| add_scaled(out, 1.0, row));
    }
}
