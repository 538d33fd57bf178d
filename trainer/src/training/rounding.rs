//! Quantization-aware fine-tuning: what a training needs to go on with the activations that the integers will have.
//!
//! Each step computes with the inputs and the outputs of hidden layers on their grids, and takes the gradient as if rounding changed nothing
//! (the straight-through estimator: Bengio, Leonard and Courville 2013, <https://arxiv.org/abs/1308.3432>; Jacob et al. 2018, section 3,
//! <https://arxiv.org/abs/1712.05877>). The activations of a stack on `[h, theta]`, whose grids are finer, are left alone.

use crate::network::FloatNetwork;

/// The values that an activation may have: multiples of `unit` in `low..=high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Distance of neighbors.
    pub unit: f32,
    /// Smallest value.
    pub low: f32,
    /// Largest value.
    pub high: f32,
}

impl Grid {
    /// The nearest value of the grid, ties upward as in the runtime; NaN stays.
    #[inline(always)]
    pub fn round(self, value: f32) -> f32 {
        ((value / self.unit + 0.5).floor() * self.unit).clamp(self.low, self.high)
    }
}

/// Held-out loss of each head once a network is integers; `None` if it cannot be.
pub type Judge<'a> = Box<dyn FnMut(&FloatNetwork) -> Option<Vec<f64>> + Send + 'a>;

/// Where a fine-tuning starts, and what judges it.
pub struct Rounding<'a> {
    /// The trained network.
    pub start: &'a FloatNetwork,
    /// Of the inputs and of each hidden layer's outputs.
    pub grids: Vec<Grid>,
    /// Judges the integers.
    pub judge: Judge<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_rounds_and_clips() {
        let grid = Grid { unit: 0.5, low: 0.0, high: 2.0 };
        let found = [-1.0, 0.2, 0.25, 0.8, 1.9, 7.0].map(|value| grid.round(value));
        assert_eq!(found, [0.0, 0.0, 0.5, 1.0, 2.0, 2.0]);
        assert!(grid.round(f32::NAN).is_nan());
    }
}
