//! `quantiles`: marginal quantiles of each target, never crossing.

use heapless::Vec;

use super::output_values;
use crate::artifact::{Head, MAX_LEVELS, Records, Target, TargetTransform};
use crate::error::{ArtifactError, Part};
use crate::math;
use crate::network::Inference;

impl Inference<'_, '_, '_> {
    /// Quantiles of one target in physical units, ascending, in the order of the head's levels.
    ///
    /// `target` counts through the targets of all `quantiles` heads. `None` past the last.
    pub fn quantiles(&self, target: usize) -> Option<Vec<f32, MAX_LEVELS>> {
        let mut before = 0_usize;
        for (position, head) in self.model.manifest.heads.iter().enumerate() {
            let Head::Quantiles { levels, targets, .. } = head else { continue };
            let (layer, outputs) = self.head(position)?;
            let Some(own) = target.checked_sub(before).filter(|own| *own < targets.len()) else {
                before = before.saturating_add(targets.len());
                continue;
            };
            let first = own.saturating_mul(levels.len());
            let record = targets.at(own)?;
            let values = output_values(layer, outputs, first).take(levels.len());
            let mut z: Vec<f32, MAX_LEVELS> = crate::first_items(values);
            rearrange(&mut z);
            for value in &mut z {
                *value = physical(&record, *value);
            }
            return Some(z);
        }
        None
    }
}

/// Proves what is peculiar to this head; the outputs it must have.
pub(crate) fn outputs(
    levels: &Records<'_, f32>,
    targets: &Records<'_, Target<'_>>,
    part: Part,
) -> Result<usize, ArtifactError> {
    if !(levels.is_valid() && targets.is_valid()) {
        return Err(ArtifactError::Undecodable(part));
    }
    if levels.is_empty() || levels.len() > MAX_LEVELS || targets.is_empty() {
        return Err(ArtifactError::Shape(part));
    }
    let mut below = 0.0;
    for level in levels.iter() {
        if !(level > below && level < 1.0) {
            return Err(ArtifactError::Value(part));
        }
        below = level;
    }
    let sound = targets.iter().all(|t| {
        t.center.is_finite() && t.spread.is_finite() && t.spread > 0.0 && t.lower <= t.upper
    });
    if sound {
        Ok(levels.len().saturating_mul(targets.len()))
    } else {
        Err(ArtifactError::Value(part))
    }
}

/// Sorts the values of one target's levels, so that quantiles never cross.
///
/// Monotone rearrangement never moves an estimated quantile curve away from the true one (Chernozhukov,
/// Fernandez-Val and Galichon 2010, Proposition 4, <https://doi.org/10.3982/ECTA7880>).
///
/// ```
/// let mut z = [0.1, -0.2, 0.4];
/// simground_runtime::rearrange(&mut z);
/// assert_eq!(z, [-0.2, 0.1, 0.4]);
/// ```
pub fn rearrange(z: &mut [f32]) {
    // Insertion by neighbors: at most sixteen values, nearly always sorted already.
    for end in 1..=z.len() {
        let mut rest = z.get_mut(..end).unwrap_or(&mut []);
        while let [front @ .., a, b] = rest {
            if *a <= *b {
                break;
            }
            core::mem::swap(a, b);
            let keep = front.len().saturating_add(1);
            rest = rest.get_mut(..keep).unwrap_or(&mut []);
        }
    }
}

/// From a standardized value to physical units, inside the target's support.
fn physical(target: &Target<'_>, z: f32) -> f32 {
    let y = target.center + target.spread * z;
    let value = match target.transform {
        TargetTransform::Identity => y,
        TargetTransform::Log1p => math::exp_m1(y),
        TargetTransform::Log => math::exp(y),
        TargetTransform::Sqrt => {
            let root = y.max(0.0);
            root * root
        }
    };
    math::within(value, target.lower, target.upper)
}
