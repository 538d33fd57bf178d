//! From raw units to the integer grid of the first layer.

use crate::artifact::{Input, Missing, Transform};
use crate::math;

/// What the input transform met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InputReport {
    /// Values that were NaN and were taken as missing.
    pub missing: u16,
    /// Values outside the range that the grid covers: far from anything the model was trained on.
    pub clamped: u16,
    /// True where a value was missing although the model was not trained with missing values.
    pub untrained_missing: bool,
}

/// Center and resolution of one value: `q = round((t(x) - center) * grid_per_unit)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine {
    pub center: f32,
    pub grid_per_unit: f32,
}

/// Bytes of one [`Affine`] in the artifact.
pub(crate) const AFFINE_BYTES: usize = 8;

impl Affine {
    pub(crate) fn read(bytes: &[u8]) -> Option<Affine> {
        let (center, rest) = bytes.split_first_chunk::<4>()?;
        let (scale, _) = rest.split_first_chunk::<4>()?;
        Some(Affine {
            center: f32::from_le_bytes(*center),
            grid_per_unit: f32::from_le_bytes(*scale),
        })
    }
}

/// Applies the transform to one finite or infinite value.
fn transformed(x: f32, transform: Transform) -> (f32, bool) {
    match transform {
        Transform::Identity => (x, false),
        Transform::Log1p => {
            if x < 0.0 {
                (0.0, true)
            } else {
                (math::ln_1p(x), false)
            }
        }
        Transform::SignedLog1p => {
            if x < 0.0 {
                (-math::ln_1p(-x), false)
            } else {
                (math::ln_1p(x), false)
            }
        }
    }
}

/// Quantizes a window onto `[-q_max, q_max]`. `out` holds the values, then (with [`Missing::Indicator`]) one
/// indicator for each, then zeros.
pub(crate) fn quantize(
    input: &Input<'_>,
    x: impl ExactSizeIterator<Item = f32>,
    affine: &[u8],
    out: &mut [i16],
) -> InputReport {
    let Input { q_max, missing, .. } = *input;
    let mut report = InputReport::default();
    out.fill(0);
    let (values, rest) = out.split_at_mut_checked(x.len()).unwrap_or((&mut [], &mut []));
    let indicators = if missing == Missing::Indicator { rest } else { &mut [] };
    let mut indicators = indicators.iter_mut();
    let limit = i32::from(q_max);
    for (((value, transform), bytes), q) in
        x.zip(input.transforms.iter()).zip(affine.chunks_exact(AFFINE_BYTES)).zip(values)
    {
        let indicator = indicators.next();
        if value.is_nan() {
            report.missing = report.missing.saturating_add(1);
            report.untrained_missing |= missing == Missing::Refuse;
            if let Some(indicator) = indicator {
                *indicator = input.indicator;
            }
            continue;
        }
        let Some(affine) = Affine::read(bytes) else { continue };
        let (t, outside) = transformed(value, transform);
        let nearest = math::nearest_i32((t - affine.center) * affine.grid_per_unit);
        let on_grid = nearest.min(limit).max(limit.wrapping_neg());
        if outside || on_grid != nearest {
            report.clamped = report.clamped.saturating_add(1);
        }
        *q = i16::try_from(on_grid).unwrap_or(0);
    }
    report
}
