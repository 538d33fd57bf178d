//! Quantization-aware fine-tuning: what a training needs to go on with the weights and activations that the integers will have.
//!
//! Each step computes with rounded weights and rounded activations, takes the gradient as if rounding changed nothing (the
//! straight-through estimator: Bengio, Leonard and Courville 2013, <https://arxiv.org/abs/1308.3432>; Jacob et al. 2018, section 3,
//! <https://arxiv.org/abs/1712.05877>), and moves the weights that were not rounded. Biases have a grid so fine that they are left alone, and
//! so are the activations of a stack on `[h, theta]`.

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

/// Where a fine-tuning starts, and what judges it.
pub struct Rounding<'a> {
    /// The trained network.
    pub start: &'a FloatNetwork,
    /// Of the inputs and of each hidden layer's outputs.
    pub grids: Vec<Grid>,
    /// Held-out loss of each head once a network is integers; `None` if it cannot be.
    pub judge: Box<dyn FnMut(&FloatNetwork) -> Option<Vec<f64>> + Send + 'a>,
}

/// Levels on each side of zero of a row's weights.
const LEVELS: f32 = 127.0;

/// Rounds rows of weights, each to 127 levels a side up to its largest magnitude: weight `i` belongs to row `row_of(i)` of `rows`.
pub(super) fn round_rows(weights: &mut [f32], rows: usize, row_of: impl Fn(usize) -> usize) {
    let mut scales = vec![0.0_f32; rows];
    for (at, weight) in weights.iter().enumerate() {
        let scale = &mut scales[row_of(at)];
        *scale = scale.max(weight.abs() / LEVELS);
    }
    for (at, weight) in weights.iter_mut().enumerate() {
        let scale = scales[row_of(at)];
        if scale > 0.0 {
            *weight = (*weight / scale).round() * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_largest_weight_and_few_levels() {
        // Two rows side by side, as in `[d_input, d_output]`.
        let mut weights = [1.27, 0.0, -0.0149, 0.0, 0.5051, 0.0];
        round_rows(&mut weights, 2, |at| at % 2);
        let expected = [1.27, 0.0, -0.01, 0.0, 0.51, 0.0];
        for (found, expected) in weights.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{weights:?}");
        }
        let once = weights;
        round_rows(&mut weights, 2, |at| at % 2);
        assert_eq!(weights, once);
    }

    #[test]
    fn a_grid_rounds_and_clips() {
        let grid = Grid { unit: 0.5, low: 0.0, high: 2.0 };
        let found = [-1.0, 0.2, 0.25, 0.8, 1.9, 7.0].map(|value| grid.round(value));
        assert_eq!(found, [0.0, 0.0, 0.5, 1.0, 2.0, 2.0]);
        assert!(grid.round(f32::NAN).is_nan());
    }
}
