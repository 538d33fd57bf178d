//! What the heads minimize, with its gradient.
//!
//! Values and gradients of all heads are computed in one pass over the outputs: as tensor operations they would cost more than the
//! matrix products of a compact network.

use std::ops::Range;

use super::HeadSpec;
use super::examples::Examples;

/// The heads' losses over the columns of one joint output, `[n, d_output]`.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    heads: Vec<HeadLoss>,
    /// Width of the outputs of all heads together.
    pub d_output: usize,
    d_target: usize,
}

#[derive(Clone, Debug)]
struct HeadLoss {
    /// First column of this head.
    first: usize,
    share: f32,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Categorical {
        d_output: usize,
    },
    Quantiles {
        /// Target column of each target.
        targets: Vec<usize>,
        columns: Columns,
    },
}

/// Of each output column of a quantile head.
#[derive(Clone, Debug)]
struct Columns {
    level: Vec<f32>,
    /// Sums to 1.
    weight: Vec<f32>,
}

/// Weighted sums of losses over examples.
#[derive(Clone, Debug, Default)]
pub(super) struct LossSums {
    /// Of each head, its share not applied.
    pub heads: Vec<f64>,
    /// Sum of the examples' weights.
    pub weight: f64,
}

impl Loss {
    pub fn new(specs: &[HeadSpec], d_target: usize) -> Loss {
        let mut first = 0;
        let head = |spec: &HeadSpec| {
            let kind = match spec {
                HeadSpec::Categorical { d_output, .. } => Kind::Categorical { d_output: *d_output },
                HeadSpec::Quantiles { targets, levels, target_weights, .. } => {
                    let norm = target_weights.iter().sum::<f32>() * levels.len() as f32;
                    let of_target = |weight| levels.iter().map(move |_| weight / norm);
                    Kind::Quantiles {
                        targets: targets.clone(),
                        columns: Columns {
                            level: levels.repeat(targets.len()),
                            weight: target_weights.iter().flat_map(of_target).collect(),
                        },
                    }
                }
            };
            let head = HeadLoss { first, share: spec.loss_share(), kind };
            first += spec.d_output();
            head
        };
        let heads = specs.iter().map(head).collect();
        Loss { heads, d_output: first, d_target }
    }

    /// The loss that training minimizes: each head's mean over examples, times its share.
    pub fn total(&self, sums: &LossSums) -> f64 {
        let heads = self.heads.iter().zip(&sums.heads);
        heads
            .map(|(head, sum)| f64::from(head.share) * sum / sums.weight.max(f64::MIN_POSITIVE))
            .sum()
    }

    /// Adds the losses of some rows of `examples` to `sums`; `outputs` is `[rows, d_output]`.
    pub fn add(
        &self,
        outputs: &[f32],
        examples: &Examples,
        rows: Range<usize>,
        sums: &mut LossSums,
    ) {
        self.pass::<false>(outputs, examples, rows, 1.0, &mut [], sums);
    }

    /// Adds the losses of some rows of a batch to `sums`, and writes to `gradient`, `[rows, d_output]`, the derivative of [`Loss::total`]
    /// of the whole batch by each output; `batch_weight` is [`Examples::total_weight`] of the batch.
    pub fn add_with_gradient(
        &self,
        outputs: &[f32],
        batch: &Examples,
        rows: Range<usize>,
        batch_weight: f32,
        gradient: &mut [f32],
        sums: &mut LossSums,
    ) {
        self.pass::<true>(outputs, batch, rows, batch_weight, gradient, sums);
    }

    fn pass<const GRADIENT: bool>(
        &self,
        outputs: &[f32],
        examples: &Examples,
        rows: Range<usize>,
        batch_weight: f32,
        gradient: &mut [f32],
        sums: &mut LossSums,
    ) {
        sums.heads.resize(self.heads.len(), 0.0);
        // A batch of zero weight teaches nothing, and must not divide by zero either.
        let per_weight = if batch_weight > 0.0 { 1.0 / batch_weight } else { 0.0 };
        let mut z = Vec::new();
        let mut gradients = gradient.chunks_exact_mut(self.d_output);
        for (row, outputs) in rows.zip(outputs.chunks_exact(self.d_output)) {
            let weight = examples.weight.get(row).copied().unwrap_or(1.0);
            sums.weight += f64::from(weight);
            let targets = &examples.targets[row * self.d_target..(row + 1) * self.d_target];
            let gradient = gradients.next().unwrap_or_default();
            for (head, sum) in self.heads.iter().zip(&mut sums.heads) {
                let scale = weight * per_weight * head.share;
                let columns = head.first..head.first + head.kind.d_output();
                let outputs = &outputs[columns.clone()];
                let gradient = gradient.get_mut(columns).unwrap_or_default();
                let loss = match &head.kind {
                    Kind::Categorical { .. } => {
                        let mechanism = usize::from(examples.mechanism[row]);
                        cross_entropy::<GRADIENT>(outputs, mechanism, scale, gradient)
                    }
                    Kind::Quantiles { targets: of, columns } => {
                        z.clear();
                        for &target in of {
                            let levels = columns.level.len() / of.len();
                            z.extend(std::iter::repeat_n(targets[target], levels));
                        }
                        pinball::<GRADIENT>(outputs, &z, columns, scale, gradient)
                    }
                };
                *sum += f64::from(weight * loss);
            }
        }
    }
}

impl Kind {
    fn d_output(&self) -> usize {
        match self {
            Kind::Categorical { d_output } => *d_output,
            Kind::Quantiles { columns, .. } => columns.level.len(),
        }
    }
}

/// `log sum_j exp(o_j) - o_m` for mechanism `m`; its gradient is `softmax(o) - e_m`.
fn cross_entropy<const GRADIENT: bool>(
    outputs: &[f32],
    mechanism: usize,
    scale: f32,
    gradient: &mut [f32],
) -> f32 {
    let largest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = outputs.iter().map(|output| libm::expf(output - largest)).sum();
    if GRADIENT {
        for (gradient, output) in gradient.iter_mut().zip(outputs) {
            *gradient = scale * libm::expf(output - largest) / sum;
        }
        gradient[mechanism] -= scale;
    }
    libm::logf(sum) + largest - outputs[mechanism]
}

/// Sum over columns of `weight * e * slope`, with `e = z - o` and `slope` the level `q`, or `q - 1` where `z <= o`; the derivative by `o` is
/// `-weight * slope`.
fn pinball<const GRADIENT: bool>(
    outputs: &[f32],
    z: &[f32],
    columns: &Columns,
    scale: f32,
    gradient: &mut [f32],
) -> f32 {
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
    if GRADIENT {
        let columns = columns.level.iter().zip(&columns.weight);
        let outputs = outputs.iter().zip(z).zip(columns);
        for (gradient, ((&output, &z), (&level, &weight))) in gradient.iter_mut().zip(outputs) {
            *gradient = -scale * weight * slope(z, output, level);
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<HeadSpec> {
        vec![
            HeadSpec::Categorical { d_output: 3, loss_share: 2.0 },
            HeadSpec::Quantiles {
                targets: vec![1, 0],
                levels: vec![0.1, 0.5],
                target_weights: vec![3.0, 1.0],
                loss_share: 0.5,
            },
        ]
    }

    #[test]
    fn values_by_hand() {
        let loss = Loss::new(&specs(), 2);
        assert_eq!(loss.d_output, 7);
        let batch =
            Examples { targets: vec![2.0, -1.0], mechanism: vec![1], ..Examples::default() };
        let outputs = [0.0, 2.0_f32.ln(), 0.0, -2.0, 1.0, 1.0, 2.0];
        let mut gradient = [0.0; 7];
        let mut sums = LossSums::default();
        loss.add_with_gradient(&outputs, &batch, 0..1, 1.0, &mut gradient, &mut sums);
        // Softmax is (1, 2, 1) / 4.
        assert!((sums.heads[0] - 2.0_f64.ln()).abs() < 1e-6);
        // Target column 1 (z = -1): 0.1 * 1 and 0.5 * 2; column 0 (z = 2): 0.1 * 1 and 0.
        let pinball = (0.75 * (0.1 + 1.0) + 0.25 * 0.1) / 2.0;
        assert!((sums.heads[1] - pinball).abs() < 1e-6);
        assert!((loss.total(&sums) - 2.0 * 2.0_f64.ln() - 0.5 * pinball).abs() < 1e-6);
        // Shares: 2 for the logits; 0.5 / 2 levels, times 0.75 or 0.25, for the quantiles.
        let expected = [0.5, -1.0, 0.5, -0.1 * 0.1875, 0.5 * 0.1875, -0.1 * 0.0625, 0.5 * 0.0625];
        for (found, expected) in gradient.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn weights_count_as_copies() {
        let loss = Loss::new(&specs(), 2);
        let outputs = [0.3, -0.2, 0.9, 0.1, 0.2, 0.3, 0.4, 1.3, 0.0, -0.5, -0.3, 0.0, 0.2, 0.6];
        let once = Examples {
            targets: vec![0.5, -0.4, 1.1, 0.25],
            mechanism: vec![2, 0],
            weight: vec![1.0, 2.0],
            ..Examples::default()
        };
        let mut weighted = LossSums::default();
        loss.add(&outputs, &once, 0..2, &mut weighted);
        let copied = Examples {
            targets: [&once.targets[..], &once.targets[2..]].concat(),
            mechanism: vec![2, 0, 0],
            ..Examples::default()
        };
        let mut plain = LossSums::default();
        loss.add(&[&outputs[..], &outputs[7..]].concat(), &copied, 0..3, &mut plain);
        assert!((loss.total(&weighted) - loss.total(&plain)).abs() < 1e-7);
    }
}
