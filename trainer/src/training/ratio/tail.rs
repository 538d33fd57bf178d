//! What a network on `[h, theta]` does behind the part of its first layer that `h` decides; both losses and their gradients, written out.
//!
//! With `z_1 = data + W_theta theta`, `a_l = phi(z_l)`, `z_(l+1) = W_l a_l + b_(l+1)` and `f` the last `z`, the derivative of `f` along a
//! direction `v` of theta goes forward beside them:
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

use std::ops::Range;

use super::super::random::{Purpose, Stream};
use super::matrix::{add_rows, add_scaled, dot, product, rows, transposed};
use super::{Activation, ScoredRows};

/// A derivative by a logit that no sum of a batch notices.
const NEGLIGIBLE: f32 = 1e-25;

/// Widths of a tail. Its parameters lie in one vector: `theta_weights [d_theta, hidden[0]]` (a row for each parameter, since there are
/// few), then weights `[d_output, d_input]` and biases of each later layer, the output's last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailShape {
    /// Width of theta.
    pub d_theta: usize,
    /// Widths of the hidden layers; the first is the split one.
    pub hidden: Vec<usize>,
    /// Outputs of the last layer.
    pub d_output: usize,
    /// What follows each hidden layer.
    pub activation: Activation,
}

/// Where the parts of a tail's parameters lie.
#[derive(Debug, Clone)]
pub struct TailLayout {
    /// `[d_theta, hidden[0]]`.
    pub theta: Range<usize>,
    /// Weights `[d_output, d_input]` and biases of each later layer.
    pub layers: Vec<(Range<usize>, Range<usize>)>,
}

impl TailShape {
    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.parts().iter().map(|(weights, biases)| weights + biases).sum()
    }

    /// `(weights, biases)` lengths in the order of the vector.
    pub fn parts(&self) -> Vec<(usize, usize)> {
        let outputs = self.hidden[1..].iter().chain([&self.d_output]);
        let later = self.hidden.iter().zip(outputs);
        let later = later.map(|(d_input, d_output)| (d_input * d_output, *d_output));
        [(self.d_theta * self.hidden[0], 0)].into_iter().chain(later).collect()
    }

    /// Where its parts lie.
    pub fn layout(&self) -> TailLayout {
        let mut end = 0;
        let mut take = |len: usize| {
            end += len;
            end - len..end
        };
        let mut parts = self.parts().into_iter();
        let theta = take(parts.next().map_or(0, |(theta, _)| theta));
        let layers = parts.map(|(weights, biases)| (take(weights), take(biases))).collect();
        TailLayout { theta, layers }
    }

    /// Random weights of variance `2 / d_input` (He et al. 2015, <https://arxiv.org/abs/1502.01852>, eq. (10)), uniform; no biases. `d_first`
    /// is the number of inputs of the whole first layer, `layer` the number of this one among those of its seed.
    pub fn initialize(&self, parameters: &mut [f32], d_first: usize, seed: u64, layer: u64) {
        let TailLayout { theta, layers } = self.layout();
        uniform(&mut parameters[theta], d_first, seed, layer);
        for (((weights, _), d_input), layer) in
            layers.into_iter().zip(&self.hidden).zip(layer + 1..)
        {
            uniform(&mut parameters[weights], *d_input, seed, layer);
        }
    }
}

/// Uniform weights of variance `2 / d_input`.
pub(super) fn uniform(weights: &mut [f32], d_input: usize, seed: u64, layer: u64) {
    let mut stream = Stream::new(seed, Purpose::Initialization, layer);
    let limit = (6.0 / d_input as f64).sqrt();
    weights.iter_mut().for_each(|weight| *weight = (limit * (2.0 * stream.unit() - 1.0)) as f32);
}

/// Buffers of one thread for a tail of one shape.
#[derive(Debug)]
pub struct Tail {
    shape: TailShape,
    layout: TailLayout,
    hidden: Vec<Hidden>,
    logits: Vec<f32>,
    by_logits: Vec<f32>,
    slopes: Vec<f32>,
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

impl Tail {
    /// For tails of this shape.
    pub fn new(shape: TailShape) -> Tail {
        let hidden = shape.hidden.iter().map(|&width| Hidden { width, ..Hidden::default() });
        Tail {
            layout: shape.layout(),
            hidden: hidden.collect(),
            logits: Vec::new(),
            by_logits: Vec::new(),
            slopes: Vec::new(),
            shape,
        }
    }

    /// Its widths.
    pub fn shape(&self) -> &TailShape {
        &self.shape
    }

    /// Where the caller writes the data's part of the first layer, `[pairs, hidden[0]]`, before each [`Tail::forward`].
    pub fn data(&mut self, pairs: usize) -> &mut [f32] {
        let first = &mut self.hidden[0];
        first.z.resize(pairs * first.width, 0.0);
        &mut first.z
    }

    /// `f` of the last forward pass, `[pairs, d_output]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// `f` at pairs whose data is written; `theta`: `[pairs, d_theta]`.
    pub fn forward(&mut self, parameters: &[f32], theta: &[f32]) {
        let TailShape { d_theta, activation, .. } = self.shape;
        let pairs = theta.len() / d_theta;
        let first = self.hidden[0].width;
        let theta_weights = &parameters[self.layout.theta.clone()];
        let z = self.hidden[0].z.chunks_exact_mut(first);
        for (z, theta) in z.zip(theta.chunks_exact(d_theta)) {
            for (value, weights) in theta.iter().zip(theta_weights.chunks_exact(first)) {
                add_scaled(z, *value, weights);
            }
        }
        for (at, (weights, bias)) in self.layout.layers.iter().enumerate() {
            let (layer, next) = self.hidden[at..].split_first_mut().expect("a layer");
            layer.a.resize(layer.z.len(), 0.0);
            activation.apply(&layer.z, &mut layer.a);
            let (weights, bias) = (&parameters[weights.clone()], &parameters[bias.clone()]);
            if let Some(next) = next.first_mut() {
                next.z.resize(pairs * next.width, 0.0);
                let (a, weights) = (rows(&layer.a, layer.width), transposed(weights, layer.width));
                product(&mut next.z, a, weights);
                next.z.chunks_exact_mut(bias.len()).for_each(|z| add_scaled(z, 1.0, bias));
            } else {
                self.logits.clear();
                let neurons = || weights.chunks_exact(layer.width).zip(bias);
                let pairs = layer.a.chunks_exact(layer.width);
                let each = pairs.flat_map(|a| neurons().map(move |(w, bias)| dot(a, w) + bias));
                self.logits.extend(each);
            }
        }
    }

    /// `v . grad_theta f` of a single output at the first pairs of the last forward pass, one direction for each.
    ///
    /// # Shapes
    /// `directions`: `[s, d_theta]`; out: `[s]`.
    pub fn tangents(&mut self, parameters: &[f32], directions: &[f32]) -> &[f32] {
        let TailShape { d_theta, activation, .. } = self.shape;
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
        for (at, (weights, _)) in self.layout.layers.iter().enumerate() {
            let (layer, next) = self.hidden[at..].split_first_mut().expect("a layer");
            let len = scored * layer.width;
            layer.scored.resize(2 * len, 0.0);
            let (u, a) = layer.scored.split_at_mut(len);
            u.copy_from_slice(&layer.tangent);
            a.copy_from_slice(&layer.a[..len]);
            activation.times_slope(u, &layer.z[..len], a);
            let weights = &parameters[weights.clone()];
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

    /// Sum over the pairs of the last forward pass of `weight` times the cross-entropy of `target`, for a single output; its derivative by
    /// each parameter is written to `gradient`.
    ///
    /// # Shapes
    /// `theta`: `[pairs, d_theta]`; `target`, `weight`: `[pairs]`.
    pub fn cross_entropy(
        &mut self,
        parameters: &[f32],
        theta: &[f32],
        target: &[f32],
        weight: &[f32],
        gradient: &mut [f32],
    ) -> f64 {
        let mut loss = 0.0;
        self.by_logits.clear();
        for (&f, (&target, &weight)) in self.logits.iter().zip(target.iter().zip(weight)) {
            let decay = libm::expf(-f.abs());
            loss += f64::from(weight) * f64::from(f.max(0.0) - target * f + libm::log1pf(decay));
            let probability = if f > 0.0 { 1.0 / (1.0 + decay) } else { decay / (1.0 + decay) };
            let by_f = (probability - target) * weight;
            // What so small a derivative sends back is subnormal, for which processors take a hundred times as long.
            self.by_logits.push(if by_f.abs() < NEGLIGIBLE { 0.0 } else { by_f });
        }
        self.backward(parameters, theta, gradient);
        loss
    }

    /// Sum over the pairs of the last forward pass of `weight` times the mean squared error of the outputs, whose derivative by each
    /// parameter is written to `gradient`.
    ///
    /// # Shapes
    /// `theta`: `[pairs, d_theta]`; `target`: `[pairs, d_output]`; `weight`: `[pairs]`.
    pub fn squared_error(
        &mut self,
        parameters: &[f32],
        theta: &[f32],
        target: &[f32],
        weight: &[f32],
        gradient: &mut [f32],
    ) -> f64 {
        let d = self.shape.d_output;
        let mut loss = 0.0;
        self.by_logits.clear();
        let rows = self.logits.chunks_exact(d).zip(target.chunks_exact(d));
        for ((found, target), weight) in rows.zip(weight) {
            for (found, target) in found.iter().zip(target) {
                let (error, share) = (found - target, weight / d as f32);
                loss += f64::from(share * error * error);
                self.by_logits.push(2.0 * share * error);
            }
        }
        self.backward(parameters, theta, gradient);
        loss
    }

    /// Writes to `gradient` the derivative by each parameter of what has the derivative `by_logits` by the outputs.
    fn backward(&mut self, parameters: &[f32], theta: &[f32], gradient: &mut [f32]) {
        let TailShape { d_theta, activation, d_output, .. } = self.shape;
        let layers = &self.layout.layers;
        let last = self.hidden.len() - 1;
        let out = &mut self.hidden[last];
        out.back.clear();
        out.back.resize(out.a.len(), 0.0);
        let (of_weights, of_bias) = layers[last].clone();
        gradient[of_weights.clone()].fill(0.0);
        gradient[of_bias.clone()].fill(0.0);
        let each = out.a.chunks_exact(out.width).zip(out.back.chunks_exact_mut(out.width));
        for ((a, back), by_outputs) in each.zip(self.by_logits.chunks_exact(d_output)) {
            let neurons = parameters[of_weights.clone()].chunks_exact(out.width);
            let by_neurons = gradient[of_weights.clone()].chunks_exact_mut(out.width);
            for ((by_f, weights), by_weights) in by_outputs.iter().zip(neurons).zip(by_neurons) {
                add_scaled(by_weights, *by_f, a);
                add_scaled(back, *by_f, weights);
            }
        }
        add_rows(&mut gradient[of_bias], &self.by_logits);
        for at in (0..=last).rev() {
            let (before, layer) = self.hidden.split_at_mut(at);
            let layer = &mut layer[0];
            activation.times_slope(&mut layer.back, &layer.z, &layer.a);
            let Some(below) = before.last_mut() else { break };
            let (weights, bias) = layers[at - 1].clone();
            gradient[bias.clone()].fill(0.0);
            add_rows(&mut gradient[bias], &layer.back);
            product(
                &mut gradient[weights.clone()],
                transposed(&layer.back, layer.width),
                rows(&below.a, below.width),
            );
            below.back.resize(below.a.len(), 0.0);
            let weights = rows(&parameters[weights], below.width);
            product(&mut below.back, rows(&layer.back, layer.width), weights);
        }
        let by_theta = &mut gradient[self.layout.theta.clone()];
        by_theta.fill(0.0);
        add_outer(by_theta, theta, d_theta, &self.hidden[0].back, self.hidden[0].width);
    }

    /// The derivative of the last [`Tail::cross_entropy`] or [`Tail::squared_error`] by the data, `[pairs, hidden[0]]`.
    pub fn by_data(&self) -> &[f32] {
        &self.hidden[0].back
    }

    /// Mean of the weighted squared error of the last [`Tail::tangents`], which were along the directions of `scored`; its derivative by
    /// each parameter is written to `gradient`. `theta` is that of the last forward pass.
    pub fn score(
        &mut self,
        parameters: &[f32],
        theta: &[f32],
        scored: &ScoredRows,
        gradient: &mut [f32],
    ) -> f64 {
        let TailShape { d_theta, activation, .. } = self.shape;
        let layers = &self.layout.layers;
        let count = self.slopes.len();
        let last = self.hidden.len() - 1;
        let out = &mut self.hidden[last];
        out.scored_back.clear();
        out.scored_back.resize(2 * count * out.width, 0.0);
        let weights = &parameters[layers[last].0.clone()];
        gradient[layers[last].0.clone()].fill(0.0);
        let mut loss = 0.0;
        let each = out.scored.chunks_exact(out.width);
        let each = each.zip(out.scored_back.chunks_exact_mut(out.width));
        let goals = scored.slopes.iter().zip(&scored.weights);
        for ((u, back), (slope, (goal, weight))) in each.zip(self.slopes.iter().zip(goals)) {
            let error = slope - goal;
            loss += f64::from(weight * error * error);
            let by_slope = 2.0 * weight * error / count as f32;
            add_scaled(&mut gradient[layers[last].0.clone()], by_slope, u);
            back.iter_mut().zip(weights).for_each(|(back, weight)| *back = by_slope * weight);
        }
        gradient[layers[last].1.clone()][0] = 0.0;
        for at in (0..=last).rev() {
            let (before, layer) = self.hidden.split_at_mut(at);
            let layer = &mut layer[0];
            let len = count * layer.width;
            let (by_u, by_a) = layer.scored_back.split_at_mut(len);
            let values = layer.z.iter().zip(&layer.a).zip(&layer.tangent);
            for ((by_u, by_a), ((&z, &a), &tangent)) in by_u.iter_mut().zip(&mut *by_a).zip(values)
            {
                let (slope, curvature) = activation.derivatives(z, a);
                *by_a = slope * *by_a + curvature * tangent * *by_u;
                *by_u *= slope;
            }
            let Some(below) = before.last_mut() else { break };
            let (weights, bias) = layers[at - 1].clone();
            gradient[bias.clone()].fill(0.0);
            add_rows(&mut gradient[bias], by_a);
            product(
                &mut gradient[weights.clone()],
                transposed(&layer.scored_back, layer.width),
                rows(&below.scored, below.width),
            );
            below.scored_back.resize(2 * count * below.width, 0.0);
            let weights = rows(&parameters[weights], below.width);
            product(&mut below.scored_back, rows(&layer.scored_back, layer.width), weights);
        }
        let width = self.hidden[0].width;
        let (by_tangent, by_z) = self.hidden[0].scored_back.split_at(count * width);
        let by_theta = &mut gradient[self.layout.theta.clone()];
        by_theta.fill(0.0);
        add_outer(by_theta, &scored.directions, d_theta, by_tangent, width);
        add_outer(by_theta, theta, d_theta, by_z, width);
        loss / count as f64
    }

    /// The derivative of the last [`Tail::score`] by the data of the scored pairs, `[s, hidden[0]]`.
    pub fn score_by_data(&self) -> &[f32] {
        let first = &self.hidden[0];
        &first.scored_back[first.scored_back.len() / 2..]
    }
}

/// Adds `theta^T back` to `[d_theta, width]`, over as many rows as `back` has.
fn add_outer(sum: &mut [f32], theta: &[f32], d_theta: usize, back: &[f32], width: usize) {
    for (theta, back) in theta.chunks_exact(d_theta).zip(back.chunks_exact(width)) {
        for (value, sum) in theta.iter().zip(sum.chunks_exact_mut(width)) {
            add_scaled(sum, *value, back);
        }
    }
}
