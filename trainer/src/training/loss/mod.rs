//! What the heads minimize, with its gradient. One file a kind of head.
//!
//! Values and gradients of all heads are computed in one pass over the outputs: as tensor operations they would cost more than the
//! matrix products of a compact network.

mod categorical;
pub(super) mod conditional;
mod flow;
pub(super) mod mixture;
mod point;
mod quantiles;
mod ratio;

use std::fmt::Debug;
use std::ops::Range;

use simground_runtime::Ends;

use super::HeadSpec;
use super::examples::Examples;

/// The heads' losses over the columns of one joint output, `[n, d_output]`.
#[derive(Debug)]
pub(super) struct Loss {
    heads: Vec<HeadLoss>,
    /// Width of the outputs of all heads together.
    pub d_output: usize,
    d_target: usize,
}

#[derive(Debug)]
struct HeadLoss {
    /// First column of this head.
    first: usize,
    d_output: usize,
    share: f32,
    rows: Box<dyn RowLoss>,
}

/// What one example teaches a head.
#[derive(Clone, Copy, Debug)]
struct Truth<'e> {
    targets: &'e [f32],
    mechanism: usize,
}

/// The loss of one head for one example.
trait RowLoss: Debug + Send + Sync {
    /// The loss; writes `scale` times its derivative by each output to `gradient`, unless that is empty.
    ///
    /// `scratch` is memory to use, whose contents do not matter.
    fn row(
        &self,
        outputs: &[f32],
        truth: Truth<'_>,
        scale: f32,
        gradient: &mut [f32],
        scratch: &mut Vec<f32>,
    ) -> f32;
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
            let d_output = spec.d_output();
            let head = HeadLoss { first, d_output, share: spec.loss_share(), rows: rows(spec) };
            first += d_output;
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
        self.pass(outputs, examples, rows, 1.0, &mut [], sums);
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
        self.pass(outputs, batch, rows, batch_weight, gradient, sums);
    }

    /// `gradient` is empty or as long as `outputs`.
    fn pass(
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
        let mut scratch = Vec::new();
        let mut gradients = gradient.chunks_exact_mut(self.d_output);
        for (row, outputs) in rows.zip(outputs.chunks_exact(self.d_output)) {
            let weight = examples.weight.get(row).copied().unwrap_or(1.0);
            sums.weight += f64::from(weight);
            let truth = Truth {
                targets: &examples.targets[row * self.d_target..(row + 1) * self.d_target],
                mechanism: usize::from(examples.mechanism[row]),
            };
            let gradient = gradients.next().unwrap_or_default();
            for (head, sum) in self.heads.iter().zip(&mut sums.heads) {
                let scale = weight * per_weight * head.share;
                let columns = head.first..head.first + head.d_output;
                let gradient = gradient.get_mut(columns.clone()).unwrap_or_default();
                let loss = head.rows.row(&outputs[columns], truth, scale, gradient, &mut scratch);
                *sum += f64::from(weight * loss);
            }
        }
    }
}

/// Mean loss of each head over examples, from outputs of all heads, `[n, d_output]`; 0 of a head that reads theta, whose loss is one of pairs.
pub fn head_losses(specs: &[HeadSpec], outputs: &[f32], examples: &Examples) -> Vec<f64> {
    let d_target = examples.targets.len() / examples.len().max(1);
    let mut sums = LossSums::default();
    Loss::new(specs, d_target).add(outputs, examples, 0..examples.len(), &mut sums);
    sums.heads.iter().map(|sum| sum / sums.weight.max(f64::MIN_POSITIVE)).collect()
}

fn rows(spec: &HeadSpec) -> Box<dyn RowLoss> {
    match spec {
        HeadSpec::Categorical { .. } => Box::new(categorical::CrossEntropy),
        HeadSpec::Quantiles { targets, levels, target_weights, .. } => {
            Box::new(quantiles::Pinball::new(targets, levels, target_weights))
        }
        HeadSpec::Point { targets, .. } => {
            Box::new(point::SquaredError { targets: targets.clone() })
        }
        HeadSpec::Mixture { targets, ends, components, .. } => {
            let ends = ends.iter().map(|&(low, high)| Ends { low, high }).collect();
            let (targets, components) = (targets.clone(), *components);
            Box::new(mixture::LogLikelihood { targets, ends, components })
        }
        HeadSpec::Ratio { .. } | HeadSpec::Flow { .. } => Box::new(Elsewhere),
    }
}

/// The loss of a head that goes on with a stack of its own: [`conditional`] adds it.
#[derive(Debug)]
struct Elsewhere;

impl RowLoss for Elsewhere {
    fn row(&self, _: &[f32], _: Truth<'_>, _: f32, _: &mut [f32], _: &mut Vec<f32>) -> f32 {
        0.0
    }
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
