//! `ratio`: cross-entropy of joint against marginal pairs, and the exact score where it is known.
//!
//! See [`ratio`](crate::training::ratio) for the losses. Here the data's part of the first layer comes from the trunk that all heads share, and
//! `lambda` balances the gradients by the parameters of the head alone, with the averages of the steps before.

use std::ops::Range;

use super::super::HeadSpec;
use super::super::random::{Purpose, Stream};
use super::super::ratio::{Balance, ScoredRows, Tail, Weighting, cross_entropy};
use super::conditional::{Block, StackLoss, add};

/// One of so many joint pairs of a batch is scored: each costs three products over two rows in every layer of the stack.
const SCORED_SHARE: usize = 8;
/// Marginal pairs of each held-out example.
const HELD_OUT_PARTNERS: usize = 4;

/// A `ratio` head in training.
#[derive(Debug)]
pub(super) struct RatioHead {
    /// Columns of the joint output.
    columns: Range<usize>,
    targets: Vec<usize>,
    scores: Vec<usize>,
    score_scales: Vec<f32>,
    share: f32,
    tail: Tail,
    balance: Balance,
    /// `lambda` of the step under way.
    factor: Option<f64>,
    directions: Stream,
    pairs: Pairs,
    by_cross_entropy: Vec<f32>,
    by_score: Vec<f32>,
    of_block: Vec<f32>,
}

#[derive(Debug, Default)]
struct Pairs {
    theta: Vec<f32>,
    target: Vec<f32>,
    weight: Vec<f32>,
    scored: ScoredRows,
}

impl RatioHead {
    /// `None` for another kind of head; `columns` are its own among the outputs of all heads.
    pub fn new(spec: &HeadSpec, columns: Range<usize>) -> Option<RatioHead> {
        let HeadSpec::Ratio { targets, scores, score_scales, loss_share, .. } = spec else {
            return None;
        };
        let shape = spec.tail()?;
        let len = shape.parameters();
        Some(RatioHead {
            columns,
            targets: targets.clone(),
            scores: scores.clone(),
            score_scales: score_scales.clone(),
            share: *loss_share,
            tail: Tail::new(shape),
            balance: Balance::new(Weighting::Balanced),
            factor: None,
            directions: Stream::new(0, Purpose::Direction, 0),
            pairs: Pairs::default(),
            by_cross_entropy: vec![0.0; len],
            by_score: vec![0.0; len],
            of_block: vec![0.0; len],
        })
    }
}

impl StackLoss for RatioHead {
    fn tail(&self) -> &Tail {
        &self.tail
    }

    fn averages(&self) -> [f64; 2] {
        self.balance.averages()
    }

    fn restore(&mut self, averages: [f64; 2]) {
        self.balance.restore(averages);
    }

    fn begin(&mut self, step: u64) {
        self.directions = Stream::new(0, Purpose::Direction, step);
        self.by_cross_entropy.fill(0.0);
        self.by_score.fill(0.0);
        self.factor = self.balance.current();
    }

    fn add(
        &mut self,
        parameters: &[f32],
        block: Block<'_>,
        batch_weight: f32,
        by_output: &mut [f32],
        sum: &mut f64,
    ) {
        let n = block.rows.len();
        let per_weight = if batch_weight > 0.0 { 1.0 / batch_weight } else { 0.0 };
        self.pairs(block, &[1], per_weight);
        let Pairs { theta, target, weight, scored } = &mut self.pairs;
        self.tail.forward(parameters, theta);
        let loss = self.tail.cross_entropy(parameters, theta, target, weight, &mut self.of_block);
        *sum += loss * f64::from(batch_weight);
        add(&mut self.by_cross_entropy, &self.of_block, 1.0);
        let width = self.columns.len();
        let rows = || self.columns.clone();
        let by_data = self.tail.by_data().chunks_exact(width);
        for (at, by_data) in by_data.enumerate() {
            let row = &mut by_output[at % n * block.d_output..][rows()];
            row.iter_mut().zip(by_data).for_each(|(sum, by)| *sum += self.share * by);
        }
        if self.scores.is_empty() {
            return;
        }
        scored.clear();
        for row in block.rows.clone().take(n.div_ceil(SCORED_SHARE)) {
            let d_target = block.examples.targets.len() / block.examples.len();
            let values = &block.examples.targets[row * d_target..][..d_target];
            let score: Vec<f32> = self.scores.iter().map(|&at| values[at]).collect();
            scored.push(&score, &self.score_scales, &mut self.directions);
        }
        self.tail.tangents(parameters, &scored.directions);
        self.tail.score(parameters, theta, scored, &mut self.of_block);
        let part = n as f32 / block.examples.len() as f32;
        add(&mut self.by_score, &self.of_block, part);
        let (by_cross_entropy, by_score) = (&self.by_cross_entropy, &self.by_score);
        let balance = &mut self.balance;
        let factor =
            *self.factor.get_or_insert_with(|| balance.clone().factor(by_cross_entropy, by_score));
        let scale = self.share * part * factor as f32;
        for (at, by_data) in self.tail.score_by_data().chunks_exact(width).enumerate() {
            let row = &mut by_output[at * block.d_output..][rows()];
            row.iter_mut().zip(by_data).for_each(|(sum, by)| *sum += scale * by);
        }
    }

    fn end(&mut self, gradient: &mut [f32]) {
        gradient.fill(0.0);
        add(gradient, &self.by_cross_entropy, self.share);
        if let Some(factor) = self.factor {
            add(gradient, &self.by_score, self.share * factor as f32);
        }
    }

    fn learn(&mut self) {
        if !self.scores.is_empty() {
            self.balance.factor(&self.by_cross_entropy, &self.by_score);
        }
    }

    fn evaluate(&mut self, parameters: &[f32], block: Block<'_>) -> f64 {
        let partners: Vec<usize> = (1..=HELD_OUT_PARTNERS).collect();
        self.pairs(block, &partners, 1.0);
        let Pairs { theta, target, weight, .. } = &self.pairs;
        self.tail.forward(parameters, theta);
        let each = self.tail.logits().iter().zip(target.iter().zip(weight));
        each.map(|(&f, (&target, &weight))| f64::from(weight) * cross_entropy(f, target)).sum()
    }
}

impl RatioHead {
    /// Joint pairs of all rows of a block, then for each of `partners` the marginal pairs with the theta of so many rows further; the data of
    /// each is written. Joint and marginal pairs have half the weight of the examples each.
    fn pairs(&mut self, block: Block<'_>, partners: &[usize], per_weight: f32) {
        let Block { examples, rows, outputs, d_output } = block;
        let (n, width) = (rows.len(), self.columns.len());
        let d_target = examples.targets.len() / examples.len();
        let Pairs { theta, target, weight, .. } = &mut self.pairs;
        [&mut *theta, &mut *target, &mut *weight].into_iter().for_each(Vec::clear);
        let weight_of = |row: usize| examples.weight.get(rows.start + row).copied().unwrap_or(1.0);
        let total: f32 = (0..n).map(weight_of).sum();
        let to_mean = if total > 0.0 { n as f32 / total } else { 0.0 };
        for partner in [0].iter().chain(partners) {
            for row in 0..n {
                let other = (row + partner) % n;
                let values = &examples.targets[(rows.start + other) * d_target..][..d_target];
                theta.extend(self.targets.iter().map(|&at| values[at]));
                let joint = *partner == 0;
                target.push(if joint { 1.0 } else { 0.0 });
                let marginal = || weight_of(other) * to_mean / partners.len() as f32;
                let share = if joint { 0.5 } else { 0.5 * marginal() };
                weight.push(share * weight_of(row) * per_weight);
            }
        }
        let data = self.tail.data(n * (1 + partners.len())).chunks_exact_mut(width);
        for (at, data) in data.enumerate() {
            data.copy_from_slice(&outputs[at % n * d_output..][self.columns.clone()]);
        }
    }
}
