//! `quantiles`: pinball loss.

use super::{RowLoss, Truth};

/// Weighted mean of the pinball losses of all targets and levels.
#[derive(Debug)]
pub(super) struct Pinball {
    /// Column of each target.
    targets: Vec<usize>,
    columns: Columns,
}

/// Of each output column.
#[derive(Debug)]
struct Columns {
    level: Vec<f32>,
    /// Sums to 1.
    weight: Vec<f32>,
}

impl Pinball {
    pub fn new(targets: &[usize], levels: &[f32], target_weights: &[f32]) -> Pinball {
        let norm = target_weights.iter().sum::<f32>() * levels.len() as f32;
        let of_target = |weight| levels.iter().map(move |_| weight / norm);
        Pinball {
            targets: targets.to_vec(),
            columns: Columns {
                level: levels.repeat(targets.len()),
                weight: target_weights.iter().flat_map(of_target).collect(),
            },
        }
    }
}

impl RowLoss for Pinball {
    fn row(
        &self,
        outputs: &[f32],
        truth: Truth<'_>,
        scale: f32,
        gradient: &mut [f32],
        scratch: &mut Vec<f32>,
    ) -> f32 {
        let levels = self.columns.level.len() / self.targets.len();
        scratch.clear();
        for &target in &self.targets {
            scratch.extend(std::iter::repeat_n(truth.targets[target], levels));
        }
        pinball(outputs, scratch, &self.columns, scale, gradient)
    }
}

/// Sum over columns of `weight * e * slope`, with `e = z - o` and `slope` the level `q`, or `q - 1` where `z <= o`; the derivative by `o` is
/// `-weight * slope`.
fn pinball(outputs: &[f32], z: &[f32], columns: &Columns, scale: f32, gradient: &mut [f32]) -> f32 {
    // Lanes let the compiler use vectors without changing the order of additions.
    const LANES: usize = 8;
    let slope = |z: f32, output: f32, level: f32| level - if z <= output { 1.0 } else { 0.0 };
    let mut lanes = [0.0_f32; LANES];
    let (outputs_chunks, outputs_rest) = outputs.as_chunks::<LANES>();
    let (z_chunks, z_rest) = z.as_chunks::<LANES>();
    let (level_chunks, level_rest) = columns.level.as_chunks::<LANES>();
    let (weight_chunks, weight_rest) = columns.weight.as_chunks::<LANES>();
    let chunks = outputs_chunks.iter().zip(z_chunks);
    for ((o, z), (q, w)) in chunks.zip(level_chunks.iter().zip(weight_chunks)) {
        for lane in 0..LANES {
            lanes[lane] += w[lane] * (z[lane] - o[lane]) * slope(z[lane], o[lane], q[lane]);
        }
    }
    let mut loss: f32 = lanes.iter().sum();
    let rest = outputs_rest.iter().zip(z_rest);
    for ((o, z), (q, w)) in rest.zip(level_rest.iter().zip(weight_rest)) {
        loss += w * (z - o) * slope(*z, *o, *q);
    }
    let columns = columns.level.iter().zip(&columns.weight);
    let outputs = outputs.iter().zip(z).zip(columns);
    for (gradient, ((&output, &z), (&level, &weight))) in gradient.iter_mut().zip(outputs) {
        *gradient = -scale * weight * slope(z, output, level);
    }
    loss
}
