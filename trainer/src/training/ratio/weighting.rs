//! How much the score counts.

use super::matrix::squared_norm;

/// The factor `lambda` of the score's gradient beside the classifier's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weighting {
    /// No score: plain classification.
    Plain,
    /// `lambda = sqrt(E |g_B|^2 / E |g_S|^2)`, the expectations being exponential averages over the steps (0.99, bias-corrected).
    ///
    /// Both losses then move the weights by the same length in the mean square. A fixed factor would depend on the unit of
    /// theta, the number of scored rows and the stage of training: BCE's gradient falls to its sampling noise and stays there,
    /// while the score's residual, which has no noise, keeps falling; the ratio follows. The norms are those of gradients
    /// which both training steps compute anyway.
    Balanced,
    /// A constant, for comparison.
    Fixed(f64),
}

/// The running averages of [`Weighting::Balanced`].
#[derive(Debug, Clone)]
pub(in super::super) struct Balance {
    weighting: Weighting,
    cross_entropy: f64,
    score: f64,
}

const KEEP: f64 = 0.99;

impl Balance {
    pub fn new(weighting: Weighting) -> Balance {
        Balance { weighting, cross_entropy: 0.0, score: 0.0 }
    }

    /// The averages, for a checkpoint: of the cross-entropy and of the score.
    pub fn averages(&self) -> [f64; 2] {
        [self.cross_entropy, self.score]
    }

    /// Goes on from [`Balance::averages`].
    pub fn restore(&mut self, averages: [f64; 2]) {
        [self.cross_entropy, self.score] = averages;
    }

    /// `lambda` by the averages alone; `None` before the first step.
    pub fn current(&self) -> Option<f64> {
        (self.score > 0.0).then(|| (self.cross_entropy / self.score).sqrt())
    }

    /// `lambda` of this step, whose gradients are given. The bias corrections of both averages cancel.
    pub fn factor(&mut self, cross_entropy: &[f32], score: &[f32]) -> f64 {
        match self.weighting {
            Weighting::Plain => 0.0,
            Weighting::Fixed(factor) => factor,
            Weighting::Balanced => {
                let average =
                    |old: f64, gradient| KEEP * old + (1.0 - KEEP) * squared_norm(gradient);
                self.cross_entropy = average(self.cross_entropy, cross_entropy);
                self.score = average(self.score, score);
                self.current().unwrap_or(0.0)
            }
        }
    }
}
