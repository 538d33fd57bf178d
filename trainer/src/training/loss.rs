//! What the heads minimize, with its gradient.
//!
//! Values and gradients of all heads are computed in one pass over the outputs: as tensor operations they would cost more than the
//! matrix products of a compact network.

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
    /// Target column and weight of each target; the weights sum to `1 / levels.len()`.
    Quantiles {
        targets: Vec<(usize, f32)>,
        levels: Vec<f32>,
    },
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
                    let weights = target_weights.iter().map(|weight| weight / norm);
                    Kind::Quantiles {
                        targets: targets.iter().copied().zip(weights).collect(),
                        levels: levels.clone(),
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
        heads.map(|(head, sum)| f64::from(head.share) * sum / sums.weight).sum()
    }

    /// Adds the losses of a batch to `sums`; `outputs` is `[n, d_output]`.
    pub fn add(&self, outputs: &[f32], batch: &Examples, sums: &mut LossSums) {
        self.pass::<false>(outputs, batch, &mut [], sums);
    }

    /// Losses of a batch, and in `gradient`, `[n, d_output]`, the derivative of [`Loss::total`] by each output.
    pub fn with_gradient(
        &self,
        outputs: &[f32],
        batch: &Examples,
        gradient: &mut [f32],
    ) -> LossSums {
        let mut sums = LossSums::default();
        self.pass::<true>(outputs, batch, gradient, &mut sums);
        sums
    }

    fn pass<const GRADIENT: bool>(
        &self,
        outputs: &[f32],
        batch: &Examples,
        gradient: &mut [f32],
        sums: &mut LossSums,
    ) {
        sums.heads.resize(self.heads.len(), 0.0);
        let batch_weight =
            if batch.weight.is_empty() { batch.len() as f32 } else { batch.weight.iter().sum() };
        sums.weight += f64::from(batch_weight);
        // A batch of zero weight teaches nothing, and must not divide by zero either.
        let per_weight = if batch_weight > 0.0 { 1.0 / batch_weight } else { 0.0 };
        for row in 0..batch.len() {
            let weight = batch.weight.get(row).copied().unwrap_or(1.0);
            let outputs = &outputs[row * self.d_output..(row + 1) * self.d_output];
            let targets = &batch.targets[row * self.d_target..(row + 1) * self.d_target];
            let mut gradient = if GRADIENT {
                &mut gradient[row * self.d_output..(row + 1) * self.d_output]
            } else {
                &mut []
            };
            for (head, sum) in self.heads.iter().zip(&mut sums.heads) {
                let scale = weight * per_weight * head.share;
                let (outputs, gradient) = if GRADIENT {
                    let width = head.kind.d_output();
                    let (mine, rest) = std::mem::take(&mut gradient).split_at_mut(width);
                    gradient = rest;
                    (&outputs[head.first..head.first + width], mine)
                } else {
                    (&outputs[head.first..head.first + head.kind.d_output()], &mut [][..])
                };
                let loss = match &head.kind {
                    Kind::Categorical { .. } => {
                        let mechanism = usize::from(batch.mechanism[row]);
                        cross_entropy::<GRADIENT>(outputs, mechanism, scale, gradient)
                    }
                    Kind::Quantiles { targets: columns, levels } => {
                        pinball::<GRADIENT>(outputs, targets, columns, levels, scale, gradient)
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
            Kind::Quantiles { targets, levels } => targets.len() * levels.len(),
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
    let sum: f32 = outputs.iter().map(|output| (output - largest).exp()).sum();
    if GRADIENT {
        for (gradient, output) in gradient.iter_mut().zip(outputs) {
            *gradient = scale * (output - largest).exp() / sum;
        }
        gradient[mechanism] -= scale;
    }
    sum.ln() + largest - outputs[mechanism]
}

/// Weighted mean over targets and levels `q` of `max(q e, (q - 1) e)`, `e = z - o`; its derivative by `o` is `1 - q` where `z <= o`, else `-q`.
fn pinball<const GRADIENT: bool>(
    outputs: &[f32],
    targets: &[f32],
    columns: &[(usize, f32)],
    levels: &[f32],
    scale: f32,
    gradient: &mut [f32],
) -> f32 {
    let mut loss = 0.0;
    let mut rows = gradient.chunks_exact_mut(levels.len());
    for (outputs, &(column, weight)) in outputs.chunks_exact(levels.len()).zip(columns) {
        let z = targets[column];
        let mut sum = 0.0;
        for (&output, &level) in outputs.iter().zip(levels) {
            let error = z - output;
            sum += (level * error).max((level - 1.0) * error);
        }
        loss += weight * sum;
        if GRADIENT {
            let row = rows.next().expect("as many rows as targets");
            for ((gradient, &output), &level) in row.iter_mut().zip(outputs).zip(levels) {
                let above = if z <= output { 1.0 } else { 0.0 };
                *gradient = scale * weight * (above - level);
            }
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
        let sums = loss.with_gradient(&outputs, &batch, &mut gradient);
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
        loss.add(&outputs, &once, &mut weighted);
        let copied = Examples {
            targets: [&once.targets[..], &once.targets[2..]].concat(),
            mechanism: vec![2, 0, 0],
            ..Examples::default()
        };
        let mut plain = LossSums::default();
        loss.add(&[&outputs[..], &outputs[7..]].concat(), &copied, &mut plain);
        assert!((loss.total(&weighted) - loss.total(&plain)).abs() < 1e-7);
    }
}
