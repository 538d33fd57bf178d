//! The network: its shape, its parameters in one vector, its answers.

use std::ops::Range;

use super::tail::uniform;
use super::{Activation, TailShape, Workspace};

/// Widths of a ratio network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Width of x.
    pub d_x: usize,
    /// Width of theta.
    pub d_theta: usize,
    /// Widths of the hidden layers; at least one.
    pub hidden: Vec<usize>,
    /// What follows each hidden layer.
    pub activation: Activation,
}

impl Shape {
    /// Two equal hidden layers, a multiple of four wide, with about this many parameters in all.
    pub fn with_parameters(d_x: usize, d_theta: usize, parameters: usize) -> Shape {
        let of = |width: usize| Shape {
            d_x,
            d_theta,
            hidden: vec![width; 2],
            activation: Activation::SmoothRelu,
        };
        let distance = |width: &usize| of(*width).parameters().abs_diff(parameters);
        let width = (4..=1024).step_by(4).min_by_key(distance).expect("widths to choose from");
        of(width)
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        let widths = self.hidden.iter().chain([&1]);
        let inputs = [self.d_x + self.d_theta];
        let inputs = inputs.iter().chain(&self.hidden);
        inputs.zip(widths).map(|(d_input, d_output)| (d_input + 1) * d_output).sum()
    }

    pub(super) fn layout(&self) -> Layout {
        let first = self.hidden[0];
        let (x, bias) = (first * self.d_x, first);
        Layout { x: 0..x, bias: x..x + bias, tail: x + bias..self.parameters() }
    }

    /// What follows the part of the first layer that x decides.
    pub fn tail(&self) -> TailShape {
        TailShape {
            d_theta: self.d_theta,
            hidden: self.hidden.clone(),
            d_output: 1,
            activation: self.activation,
        }
    }
}

/// Where the parts of the parameter vector lie.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// `[hidden[0], d_x]`.
    pub x: Range<usize>,
    /// Of the first hidden layer.
    pub bias: Range<usize>,
    /// As in [`TailShape`].
    pub tail: Range<usize>,
}

/// `f(x, theta)`, an estimate of `log r(x, theta)`.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioNetwork {
    /// Its widths.
    pub shape: Shape,
    /// All parameters: `x_weights [hidden[0], d_x]`, biases of the first layer, then those of the [tail](TailShape).
    pub parameters: Vec<f32>,
}

impl RatioNetwork {
    /// Random weights of variance `2 / d_input` (He et al. 2015, <https://arxiv.org/abs/1502.01852>, eq. (10)), uniform; no biases.
    pub fn new(shape: Shape, seed: u64) -> RatioNetwork {
        let layout = shape.layout();
        let mut parameters = vec![0.0; shape.parameters()];
        let first = shape.d_x + shape.d_theta;
        uniform(&mut parameters[layout.x], first, seed, 0);
        shape.tail().initialize(&mut parameters[layout.tail], first, seed, 1);
        RatioNetwork { shape, parameters }
    }

    /// `f` at pairs: row `p` of `theta` goes with row `p * x_rows / theta_rows` of `x`, whose part of the first layer is computed
    /// once.
    ///
    /// # Shapes
    /// `x`: `[n, d_x]`; `theta`: `[n * m, d_theta]`; out: `[n * m]`.
    pub fn log_ratio(&self, x: &[f32], theta: &[f32]) -> Vec<f32> {
        let mut workspace = Workspace::new(&self.shape);
        workspace.forward(self, x, theta);
        workspace.logits().to_vec()
    }

    /// The gradient of `f` with respect to theta, pairs as in [`log_ratio`](Self::log_ratio).
    ///
    /// # Shapes
    /// out: `[n * m, d_theta]`.
    pub fn score(&self, x: &[f32], theta: &[f32]) -> Vec<f32> {
        let d_theta = self.shape.d_theta;
        let mut workspace = Workspace::new(&self.shape);
        workspace.forward(self, x, theta);
        let mut score = vec![0.0; theta.len()];
        for parameter in 0..d_theta {
            let mut directions = vec![0.0; theta.len()];
            directions.iter_mut().skip(parameter).step_by(d_theta).for_each(|v| *v = 1.0);
            let slopes = workspace.tangents(self, &directions);
            for (out, slope) in score.iter_mut().skip(parameter).step_by(d_theta).zip(slopes) {
                *out = *slope;
            }
        }
        score
    }
}
