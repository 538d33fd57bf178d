//! Both losses and their gradients, written out.
//!
//! With `z_1 = W_x x + W_theta theta + b_1`, `a_l = phi(z_l)`, `z_(l+1) = W_l a_l + b_(l+1)` and `f` the last `z`, the derivative of `f`
//! along a direction `v` of theta goes forward beside them:
//!
//! ```text
//! t_1 = W_theta v     u_l = phi'(z_l) t_l     t_(l+1) = W_l u_l     v . grad_theta f = the last t
//! ```
//!
//! and backward, for a loss of that derivative, with a bar for the loss's derivative by what is under it:
//!
//! ```text
//! bar t_l = phi'(z_l) bar u_l                                bar u_(l-1) = W^T bar t_l
//! bar z_l = phi'(z_l) bar a_l + phi''(z_l) t_l bar u_l       bar a_(l-1) = W^T bar z_l       bar W = bar t u^T + bar z a^T
//! ```
//!
//! `u` and `a`, and `bar t` and `bar z`, lie below each other, so that each line on the right is one product.

use super::matrix::{add_rows, add_scaled, dot, product, rows, transposed};
use super::network::Layout;
use super::{Batch, RatioNetwork, Shape};

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
    /// `[rows of x, hidden[0]]`.
    x_part: Vec<f32>,
    hidden: Vec<Hidden>,
    logits: Vec<f32>,
    slopes: Vec<f32>,
    /// Gradient of the cross-entropy.
    pub cross_entropy: Vec<f32>,
    /// Gradient of the score's loss; zeros where no pair is scored.
    pub score: Vec<f32>,
}

/// One hidden layer.
#[derive(Debug, Default)]
struct Hidden {
    width: usize,
    z: Vec<f32>,
    a: Vec<f32>,
    /// `bar z` of the cross-entropy.
    back: Vec<f32>,
    tangent: Vec<f32>,
    /// `u` of the scored rows, then `a` of the same rows.
    scored: Vec<f32>,
    /// `bar t` of the scored rows, then `bar z`.
    scored_back: Vec<f32>,
}

impl Workspace {
    /// For networks of this shape.
    pub fn new(shape: &Shape) -> Workspace {
        let hidden = shape.hidden.iter().map(|&width| Hidden { width, ..Hidden::default() });
        Workspace {
            layout: shape.layout(),
            x_part: Vec::new(),
            hidden: hidden.collect(),
            logits: Vec::new(),
            slopes: Vec::new(),
            cross_entropy: vec![0.0; shape.parameters()],
            score: vec![0.0; shape.parameters()],
        }
    }

    /// `f` of the last forward pass.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Losses of a batch; their gradients are in `self`.
    pub fn losses(&mut self, network: &RatioNetwork, batch: &Batch) -> Losses {
        self.forward(network, &batch.x, &batch.theta);
        let cross_entropy = self.cross_entropy_backward(network, batch);
        let score = if batch.scored.slopes.is_empty() {
            0.0
        } else {
            self.tangents(network, &batch.scored.directions);
            self.score_backward(network, batch)
        };
        Losses { cross_entropy, score }
    }

    /// `f` at pairs, as [`RatioNetwork::log_ratio`] describes them.
    pub fn forward(&mut self, network: &RatioNetwork, x: &[f32], theta: &[f32]) {
        let Shape { d_x, d_theta, activation, .. } = network.shape;
        let parameters = &network.parameters;
        let pairs = theta.len() / d_theta;
        let pairs_per_x = pairs / (x.len() / d_x);
        let first = self.hidden[0].width;
        self.x_part.resize(x.len() / d_x * first, 0.0);
        product(
            &mut self.x_part,
            rows(x, d_x),
            transposed(&parameters[self.layout.x.clone()], d_x),
        );
        add_to_rows(&mut self.x_part, &parameters[self.layout.biases[0].clone()]);
        self.hidden[0].z.resize(pairs * first, 0.0);
        let theta_weights = &parameters[self.layout.theta.clone()];
        let z = self.hidden[0].z.chunks_exact_mut(first);
        for (pair, (z, theta)) in z.zip(theta.chunks_exact(d_theta)).enumerate() {
            z.copy_from_slice(&self.x_part[pair / pairs_per_x * first..][..first]);
            for (value, weights) in theta.iter().zip(theta_weights.chunks_exact(first)) {
                add_scaled(z, *value, weights);
            }
        }
        for at in 0..self.hidden.len() {
            let (layer, next) = self.hidden[at..].split_first_mut().expect("a layer");
            layer.a.resize(layer.z.len(), 0.0);
            activation.apply(&layer.z, &mut layer.a);
            let weights = &parameters[self.layout.weights[at].clone()];
            let bias = &parameters[self.layout.biases[at + 1].clone()];
            if let Some(next) = next.first_mut() {
                next.z.resize(pairs * next.width, 0.0);
                let (a, weights) = (rows(&layer.a, layer.width), transposed(weights, layer.width));
                product(&mut next.z, a, weights);
                add_to_rows(&mut next.z, bias);
            } else {
                self.logits.clear();
                let each = layer.a.chunks_exact(layer.width).map(|a| dot(a, weights) + bias[0]);
                self.logits.extend(each);
            }
        }
    }

    /// `v . grad_theta f` at the first pairs of the last forward pass, one direction for each.
    ///
    /// # Shapes
    /// `directions`: `[s, d_theta]`; out: `[s]`.
    pub fn tangents(&mut self, network: &RatioNetwork, directions: &[f32]) -> &[f32] {
        let Shape { d_theta, activation, .. } = network.shape;
        let parameters = &network.parameters;
        let scored = directions.len() / d_theta;
        let first = self.hidden[0].width;
        self.hidden[0].tangent.resize(scored * first, 0.0);
        self.hidden[0].tangent.fill(0.0);
        let theta_weights = &parameters[self.layout.theta.clone()];
        let tangent = self.hidden[0].tangent.chunks_exact_mut(first);
        for (tangent, direction) in tangent.zip(directions.chunks_exact(d_theta)) {
            for (value, weights) in direction.iter().zip(theta_weights.chunks_exact(first)) {
                add_scaled(tangent, *value, weights);
            }
        }
        for at in 0..self.hidden.len() {
            let (layer, next) = self.hidden[at..].split_first_mut().expect("a layer");
            let len = scored * layer.width;
            layer.scored.resize(2 * len, 0.0);
            let (u, a) = layer.scored.split_at_mut(len);
            u.copy_from_slice(&layer.tangent);
            a.copy_from_slice(&layer.a[..len]);
            activation.times_slope(u, &layer.z[..len], a);
            let weights = &parameters[self.layout.weights[at].clone()];
            if let Some(next) = next.first_mut() {
                next.tangent.resize(scored * next.width, 0.0);
                let (u, weights) = (rows(u, layer.width), transposed(weights, layer.width));
                product(&mut next.tangent, u, weights);
            } else {
                self.slopes.clear();
                self.slopes.extend(u.chunks_exact(layer.width).map(|u| dot(u, weights)));
            }
        }
        &self.slopes
    }

    fn cross_entropy_backward(&mut self, network: &RatioNetwork, batch: &Batch) -> f64 {
        let Shape { d_x, d_theta, activation, .. } = network.shape;
        let (parameters, layout) = (&network.parameters, &self.layout);
        let gradient = &mut self.cross_entropy;
        let pairs = self.logits.len();
        let last = self.hidden.len() - 1;
        let out = &mut self.hidden[last];
        out.back.resize(out.a.len(), 0.0);
        let weights = &parameters[layout.weights[last].clone()];
        let (mut loss, mut bias) = (0.0, 0.0);
        gradient[layout.weights[last].clone()].fill(0.0);
        let each = out.a.chunks_exact(out.width).zip(out.back.chunks_exact_mut(out.width));
        for ((a, back), (&f, &target)) in each.zip(self.logits.iter().zip(&batch.target)) {
            let decay = libm::expf(-f.abs());
            loss += f64::from(f.max(0.0) - target * f + libm::log1pf(decay));
            let probability = if f > 0.0 { 1.0 / (1.0 + decay) } else { decay / (1.0 + decay) };
            let by_f = (probability - target) / pairs as f32;
            bias += by_f;
            add_scaled(&mut gradient[layout.weights[last].clone()], by_f, a);
            back.iter_mut().zip(weights).for_each(|(back, weight)| *back = by_f * weight);
        }
        gradient[layout.biases[last + 1].clone()][0] = bias;
        for at in (0..=last).rev() {
            let (before, layer) = self.hidden.split_at_mut(at);
            let layer = &mut layer[0];
            activation.times_slope(&mut layer.back, &layer.z, &layer.a);
            let bias = &mut gradient[layout.biases[at].clone()];
            bias.fill(0.0);
            add_rows(bias, &layer.back);
            let Some(below) = before.last_mut() else { break };
            let range = layout.weights[at - 1].clone();
            product(
                &mut gradient[range.clone()],
                transposed(&layer.back, layer.width),
                rows(&below.a, below.width),
            );
            below.back.resize(below.a.len(), 0.0);
            let weights = rows(&parameters[range], below.width);
            product(&mut below.back, rows(&layer.back, layer.width), weights);
        }
        let back = &self.hidden[0].back;
        let width = self.hidden[0].width;
        let by_theta = &mut gradient[layout.theta.clone()];
        by_theta.fill(0.0);
        add_outer(by_theta, &batch.theta, d_theta, back, width);
        sum_over_pairs(&mut self.x_part, back, pairs / (batch.x.len() / d_x), width);
        let by_x = &mut gradient[layout.x.clone()];
        product(by_x, transposed(&self.x_part, width), rows(&batch.x, d_x));
        loss / pairs as f64
    }

    fn score_backward(&mut self, network: &RatioNetwork, batch: &Batch) -> f64 {
        let Shape { d_x, d_theta, activation, .. } = network.shape;
        let (parameters, layout) = (&network.parameters, &self.layout);
        let gradient = &mut self.score;
        let scored = self.slopes.len();
        let last = self.hidden.len() - 1;
        let out = &mut self.hidden[last];
        out.scored_back.clear();
        out.scored_back.resize(2 * scored * out.width, 0.0);
        let weights = &parameters[layout.weights[last].clone()];
        gradient[layout.weights[last].clone()].fill(0.0);
        let mut loss = 0.0;
        let each = out.scored.chunks_exact(out.width);
        let each = each.zip(out.scored_back.chunks_exact_mut(out.width));
        let goals = batch.scored.slopes.iter().zip(&batch.scored.weights);
        for ((u, back), (slope, (goal, weight))) in each.zip(self.slopes.iter().zip(goals)) {
            let error = slope - goal;
            loss += f64::from(weight * error * error);
            let by_slope = 2.0 * weight * error / scored as f32;
            add_scaled(&mut gradient[layout.weights[last].clone()], by_slope, u);
            back.iter_mut().zip(weights).for_each(|(back, weight)| *back = by_slope * weight);
        }
        gradient[layout.biases[last + 1].clone()][0] = 0.0;
        for at in (0..=last).rev() {
            let (before, layer) = self.hidden.split_at_mut(at);
            let layer = &mut layer[0];
            let len = scored * layer.width;
            let (by_u, by_a) = layer.scored_back.split_at_mut(len);
            let values = layer.z.iter().zip(&layer.a).zip(&layer.tangent);
            for ((by_u, by_a), ((&z, &a), &tangent)) in by_u.iter_mut().zip(&mut *by_a).zip(values)
            {
                let (slope, curvature) = activation.derivatives(z, a);
                *by_a = slope * *by_a + curvature * tangent * *by_u;
                *by_u *= slope;
            }
            let bias = &mut gradient[layout.biases[at].clone()];
            bias.fill(0.0);
            add_rows(bias, by_a);
            let Some(below) = before.last_mut() else { break };
            let range = layout.weights[at - 1].clone();
            product(
                &mut gradient[range.clone()],
                transposed(&layer.scored_back, layer.width),
                rows(&below.scored, below.width),
            );
            below.scored_back.resize(2 * scored * below.width, 0.0);
            let weights = rows(&parameters[range], below.width);
            product(&mut below.scored_back, rows(&layer.scored_back, layer.width), weights);
        }
        let width = self.hidden[0].width;
        let (by_tangent, by_z) = self.hidden[0].scored_back.split_at(scored * width);
        let by_theta = &mut gradient[layout.theta.clone()];
        by_theta.fill(0.0);
        add_outer(by_theta, &batch.scored.directions, d_theta, by_tangent, width);
        add_outer(by_theta, &batch.theta, d_theta, by_z, width);
        let pairs_per_x = batch.pairs_per_x(d_x, d_theta);
        let x_rows = scored / pairs_per_x;
        self.x_part.resize(x_rows * width, 0.0);
        sum_over_pairs(&mut self.x_part, by_z, pairs_per_x, width);
        let by_x = &mut gradient[layout.x.clone()];
        product(by_x, transposed(&self.x_part, width), rows(&batch.x[..x_rows * d_x], d_x));
        loss / scored as f64
    }
}

fn add_to_rows(data: &mut [f32], row: &[f32]) {
    data.chunks_exact_mut(row.len()).for_each(|data| add_scaled(data, 1.0, row));
}

/// Adds `theta^T back` to `[d_theta, width]`, over as many rows as `back` has.
fn add_outer(sum: &mut [f32], theta: &[f32], d_theta: usize, back: &[f32], width: usize) {
    for (theta, back) in theta.chunks_exact(d_theta).zip(back.chunks_exact(width)) {
        for (value, sum) in theta.iter().zip(sum.chunks_exact_mut(width)) {
            add_scaled(sum, *value, back);
        }
    }
}

/// What the pairs of each x send back to it, summed.
fn sum_over_pairs(out: &mut [f32], back: &[f32], pairs_per_x: usize, width: usize) {
    for (out, back) in out.chunks_exact_mut(width).zip(back.chunks_exact(pairs_per_x * width)) {
        out.copy_from_slice(&back[..width]);
        back[width..].chunks_exact(width).for_each(|row| add_scaled(out, 1.0, row));
    }
}
