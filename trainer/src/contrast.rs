//! Why this mechanism and not another: the nearest simulation of each, and the inputs that separate the two.
//!
//! Let `a` be the nearest simulation of the favored mechanisms, `b` that of the contrasted one, and `f(z)` the squared distance of
//! an input `z` (standardized, as the network reads it) from the observation in the bank's space. On the straight way from `a` to
//! `b` input `i` adds to this distance
//!
//! ```text
//! share_i = (b_i - a_i)  integral over t in [0, 1] of  d f / d z_i (a + t (b - a))
//! ```
//!
//! These are the integrated gradients of Sundararajan, Taly and Yan 2017 (eq. (1), <https://arxiv.org/abs/1703.01365>), so the shares
//! of all inputs sum to `f(b) - f(a)`: by how much `b` is farther from the observation than `a`. A positive share speaks for `a`, a
//! negative one for `b`. The gradients are the float network's; the integers' distances differ from its by rounding.

use serde::Serialize;
use simground_runtime::Model;

use crate::explanation::{NearSimulation, nearest_of};
use crate::float_model::FloatModel;
use crate::network::Dense;
use crate::replay::{ReplayError, Replayer};

/// Midpoints at which the gradient is taken. It is piecewise linear along the way, with a break where a neuron switches.
const STEPS: usize = 512;

/// The nearest simulation of a mechanism, and of all others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contrast {
    /// The contrasted mechanism.
    pub mechanism: String,
    /// Its nearest simulation, replayed.
    pub nearest: NearSimulation,
    /// The nearest simulation of all other mechanisms, replayed.
    pub against: NearSimulation,
    /// Squared distance of `nearest` less that of `against`, in grid units of the bank, by the integer runtime.
    pub difference: i64,
    /// The same by the float model: what the shares sum to.
    pub float_difference: f32,
    /// Every input of the window, in order.
    pub inputs: Vec<Separation>,
}

/// What one input contributes to the difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Separation {
    /// Position in the window.
    pub at: usize,
    /// Its value in the observation.
    pub observed: f32,
    /// Its value in [`Contrast::against`].
    pub against: f32,
    /// Its value in [`Contrast::nearest`].
    pub nearest: f32,
    /// Its share of [`Contrast::float_difference`]: positive where it speaks against the contrasted mechanism.
    pub share: f32,
}

impl Contrast {
    /// The inputs that separate the two, the most separating first.
    pub fn ranked(&self) -> Vec<Separation> {
        let mut inputs = self.inputs.clone();
        inputs.sort_by(|a, b| b.share.abs().total_cmp(&a.share.abs()).then(a.at.cmp(&b.at)));
        inputs
    }
}

/// Contrasts the answer to a window with a mechanism; `None` where the bank lacks a simulation on either side.
///
/// # Errors
///
/// [`ReplayError`] when a simulation does not verify.
///
/// # Panics
///
/// If the window is not as wide as the model's.
pub fn contrast(
    model: &Model<'_>,
    float_model: &FloatModel,
    replayer: &Replayer<'_>,
    window: &[f32],
    mechanism: &str,
) -> Result<Option<Contrast>, ReplayError> {
    let nearest = nearest_of(model, window, |name| name == mechanism);
    let against = nearest_of(model, window, |name| name != mechanism);
    let Some((mut nearest, mut against)) = nearest.zip(against) else { return Ok(None) };
    let (a, b) = (replayer.prototype(against.prototype)?, replayer.prototype(nearest.prototype)?);
    let shares = separation(float_model, window, &a.x, &b.x);
    let inputs = shares.iter().enumerate().map(|(at, share)| Separation {
        at,
        observed: window[at],
        against: a.x[at],
        nearest: b.x[at],
        share: *share,
    });
    let inputs = inputs.collect();
    (against.replay, nearest.replay) = (Some(a), Some(b));
    Ok(Some(Contrast {
        mechanism: mechanism.to_owned(),
        difference: i64::from(nearest.squared_distance) - i64::from(against.squared_distance),
        float_difference: shares.iter().sum(),
        nearest,
        against,
        inputs,
    }))
}

/// Integrated gradients of the squared distance from `observed` on the way from `a` to `b`, for each value of the window; an
/// indicator of a missing value counts with its value.
fn separation(float_model: &FloatModel, observed: &[f32], a: &[f32], b: &[f32]) -> Vec<f32> {
    let FloatModel { input, network, embedding, .. } = float_model;
    let standardized = |x: &[f32]| input.apply_rows(x);
    let (observed, a, b) = (standardized(observed), standardized(a), standardized(b));
    let embed = |z: &[f32]| {
        let hidden = network.forward(z).hidden;
        let point = embedding.apply(hidden.last().map_or(z, Vec::as_slice), 1);
        (hidden, point)
    };
    let target = embed(&observed).1;
    let mut sums = vec![0.0_f64; a.len()];
    for step in 0..STEPS {
        let t = (step as f32 + 0.5) / STEPS as f32;
        let z: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + t * (b - a)).collect();
        let (hidden, point) = embed(&z);
        let difference: Vec<f32> = point.iter().zip(&target).map(|(p, q)| 2.0 * (p - q)).collect();
        let gradient = network.input_gradient(&hidden, &transposed(embedding, &difference));
        sums.iter_mut().zip(gradient).for_each(|(sum, slope)| *sum += f64::from(slope));
    }
    let mut shares = vec![0.0; input.d_x()];
    for (at, sum) in sums.iter().enumerate() {
        let share = sum / STEPS as f64 * f64::from(b[at] - a[at]);
        shares[at % input.d_x()] += share as f32;
    }
    shares
}

/// `W^T y`.
fn transposed(layer: &Dense, y: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; layer.d_input];
    for (weight, y) in layer.weight.chunks_exact(layer.d_input).zip(y) {
        out.iter_mut().zip(weight).for_each(|(sum, w)| *sum += w * y);
    }
    out
}

#[cfg(test)]
mod tests {
    use simground_runtime::artifact::{Missing, Transform};

    use super::*;
    use crate::corpus::Schema;
    use crate::network::FloatNetwork;
    use crate::source::CorpusOrigin;
    use crate::standardization::InputScaling;

    /// Three values with indicators, a hidden layer with a bend, two dimensions.
    fn model() -> FloatModel {
        let weight = |count: usize, step: f32| -> Vec<f32> {
            (0..count).map(|at| (at as f32 * step).sin()).collect()
        };
        FloatModel {
            study: String::new(),
            study_file: String::new(),
            corpus: CorpusOrigin::Foreign,
            schema: Schema {
                x_names: Vec::new(),
                theta: Vec::new(),
                targets: Vec::new(),
                mechanisms: Vec::new(),
            },
            input: InputScaling {
                transforms: vec![Transform::Identity; 3],
                center: vec![1.0, 0.0, 0.0],
                spread: vec![2.0, 1.0, 0.5],
                missing: Missing::Indicator,
            },
            heads: Vec::new(),
            calibrated_on: 0,
            network: FloatNetwork {
                trunk: vec![Dense {
                    d_input: 6,
                    d_output: 5,
                    weight: weight(30, 1.3),
                    bias: weight(5, 0.7),
                }],
                heads: vec![Dense {
                    d_input: 5,
                    d_output: 1,
                    weight: weight(5, 0.1),
                    bias: vec![0.0],
                }],
                tails: Vec::new(),
            },
            embedding: Dense {
                d_input: 5,
                d_output: 2,
                weight: weight(10, 2.1),
                bias: vec![1.0, -1.0],
            },
            before_fine_tuning: None,
        }
    }

    #[test]
    fn shares_sum_to_the_difference_and_spare_what_is_equal() {
        let model = model();
        let (observed, a, b) = ([1.0, 2.0, -1.0], [0.5, 1.0, f32::NAN], [3.0, 1.0, 0.4]);
        let distance = |x: &[f32]| -> f32 {
            let point = |x: &[f32]| {
                let hidden = model.network.forward(&model.input.apply_rows(x)).hidden;
                model.embedding.apply(&hidden[0], 1)
            };
            point(x).iter().zip(point(&observed)).map(|(p, q)| (p - q).powi(2)).sum()
        };
        let shares = separation(&model, &observed, &a, &b);
        let expected = distance(&b) - distance(&a);
        let sum: f32 = shares.iter().sum();
        assert!((sum - expected).abs() < 1e-3 * expected.abs().max(1.0), "{sum} {expected}");
        assert_eq!(shares[1], 0.0);
        assert!(shares[0] != 0.0 && shares[2] != 0.0);
        // The way back has the opposite sign.
        let back = separation(&model, &observed, &b, &a);
        shares.iter().zip(back).for_each(|(there, back)| assert!((there + back).abs() < 1e-4));
    }
}
