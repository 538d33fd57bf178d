//! `categorical`: posterior over the mechanisms.

use heapless::Vec;

use super::output_values;
use crate::artifact::{Head, MAX_MECHANISMS};
use crate::math;
use crate::network::Inference;

impl Inference<'_, '_, '_> {
    /// Posterior probabilities in the order of the manifest's mechanisms; `None` without a `categorical` head.
    ///
    /// `softmax(acc * scale)`; the calibration temperature is part of the scale.
    pub fn mechanism_posterior(&self) -> Option<Vec<f32, MAX_MECHANISMS>> {
        let position = self
            .model
            .manifest
            .heads
            .iter()
            .position(|head| matches!(head, Head::Categorical { .. }))?;
        let (layer, outputs) = self.head(position)?;
        let mut logits: Vec<f32, MAX_MECHANISMS> =
            crate::first_items(output_values(layer, outputs, 0));
        softmax(&mut logits);
        Some(logits)
    }
}

/// Probabilities from logits, in place. Subtracting the largest keeps every exponential at or below 1.
pub(crate) fn softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = math::exp(*logit - largest);
        sum += *logit;
    }
    for p in logits {
        *p /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_of_hand_values() {
        let mut logits = [0.0, libm::logf(3.0)];
        softmax(&mut logits);
        assert!((logits[0] - 0.25).abs() < 1e-6 && (logits[1] - 0.75).abs() < 1e-6);
        let mut far = [-1e30, 0.0, 3e30];
        softmax(&mut far);
        assert_eq!(far, [0.0, 0.0, 1.0]);
    }
}
