//! `flow`: squared error of the velocity at random places between noise and theta.
//!
//! With `u` an example's coordinates, `e` standard normal noise and `phi` an angle, the place is `y = cos(phi) e + sin(phi) u` and the
//! velocity there `cos(phi) u - sin(phi) e`; its conditional mean is what [`Flow`](simground_runtime::Flow) follows. Both have the variance of
//! the prior at every angle, so that no weight by the angle is needed.

use std::ops::Range;

use super::super::HeadSpec;
use super::super::random::{Purpose, Stream};
use super::super::ratio::Tail;
use super::conditional::{Block, StackLoss, add};
use crate::flow_path;

/// Places of each example in a step.
const DRAWS: usize = 4;
/// Places of each held-out example.
const HELD_OUT_DRAWS: usize = 8;

/// A `flow` head in training.
#[derive(Debug)]
pub(super) struct FlowHead {
    /// Columns of the joint output.
    columns: Range<usize>,
    targets: Vec<usize>,
    share: f32,
    tail: Tail,
    noise: Stream,
    places: Places,
    gradient: Vec<f32>,
    of_block: Vec<f32>,
}

/// Places between noise and theta, several of each row of a block.
#[derive(Debug, Default)]
struct Places {
    /// What the stack reads: `y` times the sharpness, then the time; `[places, d + 4]`.
    points: Vec<f32>,
    /// `[places, d]`.
    velocities: Vec<f32>,
    weights: Vec<f32>,
    sharpness: Vec<f32>,
}

impl FlowHead {
    /// `None` for another kind of head; `columns` are its own among the outputs of all heads.
    pub fn new(spec: &HeadSpec, columns: Range<usize>) -> Option<FlowHead> {
        let HeadSpec::Flow { targets, loss_share, .. } = spec else { return None };
        let shape = spec.tail()?;
        let len = shape.parameters();
        Some(FlowHead {
            columns,
            targets: targets.clone(),
            share: *loss_share,
            tail: Tail::new(shape),
            noise: Stream::new(0, Purpose::Noise, 0),
            places: Places::default(),
            gradient: vec![0.0; len],
            of_block: vec![0.0; len],
        })
    }

    /// The velocities at the places, `count` of each row of the block.
    fn forward(&mut self, parameters: &[f32], block: Block<'_>, count: usize) {
        let width = self.columns.len();
        let data = self.tail.data(block.rows.len() * count).chunks_exact_mut(count * width);
        let mut sharpness = self.places.sharpness.iter();
        for (data, outputs) in data.zip(block.outputs.chunks_exact(block.d_output)) {
            let own = &outputs[self.columns.clone()];
            for (data, sharpness) in data.chunks_exact_mut(width).zip(&mut sharpness) {
                data.iter_mut().zip(own).for_each(|(data, own)| *data = sharpness * own);
            }
        }
        self.tail.forward(parameters, &self.places.points);
    }
}

impl StackLoss for FlowHead {
    fn tail(&self) -> &Tail {
        &self.tail
    }

    fn begin(&mut self, step: u64) {
        self.noise = Stream::new(0, Purpose::Noise, step);
        self.gradient.fill(0.0);
    }

    fn add(
        &mut self,
        parameters: &[f32],
        block: Block<'_>,
        batch_weight: f32,
        by_output: &mut [f32],
        sum: &mut f64,
    ) {
        let per_weight = if batch_weight > 0.0 { 1.0 / batch_weight } else { 0.0 };
        self.places.clear();
        for row in block.rows.clone() {
            self.places.add(block, row, &self.targets, (DRAWS, per_weight), &mut self.noise);
        }
        self.forward(parameters, block, DRAWS);
        let Places { points, velocities, weights, sharpness } = &self.places;
        let loss =
            self.tail.squared_error(parameters, points, velocities, weights, &mut self.of_block);
        *sum += loss * f64::from(batch_weight);
        add(&mut self.gradient, &self.of_block, self.share);
        let by_data = self.tail.by_data().chunks_exact(DRAWS * self.columns.len());
        let mut sharpness = sharpness.iter();
        for (by_data, by_row) in by_data.zip(by_output.chunks_exact_mut(block.d_output)) {
            let own = &mut by_row[self.columns.clone()];
            for (by, sharpness) in by_data.chunks_exact(own.len()).zip(&mut sharpness) {
                add(own, by, self.share * sharpness);
            }
        }
    }

    fn end(&mut self, gradient: &mut [f32]) {
        gradient.copy_from_slice(&self.gradient);
    }

    fn evaluate(&mut self, parameters: &[f32], block: Block<'_>) -> f64 {
        self.places.clear();
        for row in block.rows.clone() {
            // The same places for every network.
            let mut noise = Stream::new(1, Purpose::Noise, row as u64);
            self.places.add(block, row, &self.targets, (HELD_OUT_DRAWS, 1.0), &mut noise);
        }
        self.forward(parameters, block, HELD_OUT_DRAWS);
        let d = self.targets.len();
        let Places { velocities, weights, .. } = &self.places;
        let rows = self.tail.logits().chunks_exact(d).zip(velocities.chunks_exact(d));
        rows.zip(weights)
            .map(|((found, velocity), weight)| {
                let errors = found.iter().zip(velocity).map(|(a, b)| f64::from(a - b).powi(2));
                f64::from(*weight) * errors.sum::<f64>() / d as f64
            })
            .sum()
    }
}

impl Places {
    fn clear(&mut self) {
        self.points.clear();
        self.velocities.clear();
        self.weights.clear();
        self.sharpness.clear();
    }

    /// `count` places of one example, at angles spread over their distribution, together of its weight times `per_weight`.
    fn add(
        &mut self,
        block: Block<'_>,
        row: usize,
        targets: &[usize],
        (count, per_weight): (usize, f32),
        noise: &mut Stream,
    ) {
        let examples = block.examples;
        let d_target = examples.targets.len() / examples.len();
        let values = &examples.targets[row * d_target..][..d_target];
        let weight = examples.weight.get(row).copied().unwrap_or(1.0);
        let first = noise.unit();
        for draw in 0..count {
            let share = (first + draw as f64 / count as f64).fract();
            let angle = flow_path::training_angle(share);
            let (sin, cos) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
            let sharpness = flow_path::sharpness(angle) as f32;
            for &at in targets {
                let (u, e) = (values[at], noise.normal() as f32);
                self.points.push(sharpness * (cos * e + sin * u));
                self.velocities.push(cos * u - sin * e);
            }
            self.points.extend(flow_path::time(angle));
            self.sharpness.push(sharpness);
            self.weights.push(weight * per_weight / count as f32);
        }
    }
}
