//! AdamW with global-norm gradient clipping, over all parameters as one vector.
//!
//! One fused pass costs a small part of what the same update costs as tensor operations, and the state is three vectors that a
//! checkpoint can hold to the bit.

use super::vectors::vectorized;

/// Gradient moments, one entry per parameter.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// Running mean of the gradient.
    pub first_moment: Vec<f32>,
    /// Running mean of its square.
    pub second_moment: Vec<f32>,
}

/// What one update needs besides the gradient.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Number of updates made before this one.
    pub step: u64,
    /// Step size.
    pub learning_rate: f64,
    /// Decoupled decay, times the learning rate.
    pub weight_decay: f64,
    /// The gradient is scaled down to this norm; infinite: never.
    pub clip_norm: f64,
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f32 = 1e-8;

impl AdamW {
    /// Moments of `len` parameters before the first update.
    pub fn new(len: usize) -> AdamW {
        AdamW { first_moment: vec![0.0; len], second_moment: vec![0.0; len] }
    }

    /// Changes `parameters` against `gradient` and returns the gradient's norm before clipping.
    ///
    /// `decayed` lists the parts of the vector that weight decay applies to, in order, with what lies between each and the next:
    /// `(decayed, not decayed)` lengths.
    /// Loshchilov and Hutter 2019, algorithm 2, <https://arxiv.org/abs/1711.05101>.
    pub fn update(
        &mut self,
        parameters: &mut [f32],
        gradient: &[f32],
        decayed: &[(usize, usize)],
        update: Update,
    ) -> f64 {
        let norm = norm(gradient);
        let clip = if norm > update.clip_norm { (update.clip_norm / norm) as f32 } else { 1.0 };
        let exponent = (update.step + 1) as f64;
        let correction_1 = 1.0 - libm::pow(BETA_1, exponent);
        let correction_2 = 1.0 - libm::pow(BETA_2, exponent);
        let rate = (update.learning_rate / correction_1) as f32;
        let root = (1.0 / correction_2.sqrt()) as f32;
        let keep = (1.0 - update.learning_rate * update.weight_decay) as f32;
        let mut start = 0;
        for &(weights, biases) in decayed {
            for (len, keep) in [(weights, keep), (biases, 1.0)] {
                let part = start..start + len;
                let parameters = &mut parameters[part.clone()];
                let first = &mut self.first_moment[part.clone()];
                let second = &mut self.second_moment[part.clone()];
                let gradient = &gradient[part];
                vectorized(
                    #[inline(always)]
                    || adam(parameters, first, second, gradient, [clip, keep, rate, root]),
                );
                start += len;
            }
        }
        norm
    }
}

#[inline(always)]
fn adam(
    parameters: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
    [clip, keep, rate, root]: [f32; 4],
) {
    let (beta_1, beta_2) = (BETA_1 as f32, BETA_2 as f32);
    let moments = first.iter_mut().zip(second);
    for ((parameter, (first, second)), gradient) in parameters.iter_mut().zip(moments).zip(gradient)
    {
        let gradient = clip * gradient;
        *first = beta_1 * *first + (1.0 - beta_1) * gradient;
        *second = beta_2 * *second + (1.0 - beta_2) * gradient * gradient;
        *parameter = keep * *parameter - rate * *first / (second.sqrt() * root + EPSILON);
    }
}

/// Euclidean norm, summed in lanes whose order is fixed.
fn norm(values: &[f32]) -> f64 {
    const LANES: usize = 32;
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0_f64; LANES];
    vectorized(
        #[inline(always)]
        || {
            for chunk in chunks {
                for (lane, &value) in lanes.iter_mut().zip(chunk) {
                    *lane += f64::from(value) * f64::from(value);
                }
            }
        },
    );
    let rest: f64 = rest.iter().map(|&value| f64::from(value).powi(2)).sum();
    (lanes.iter().sum::<f64>() + rest).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Update =
        Update { step: 0, learning_rate: 0.1, weight_decay: 0.0, clip_norm: f64::INFINITY };

    #[test]
    fn updates_equal_burns() {
        use burn::module::Param;
        use burn::optim::{AdamWConfig, GradientsParams};
        use burn::tensor::{Device, Tensor};

        let device = Device::flex().autodiff();
        let values: Vec<f32> = (0..40).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut by_burn = Param::from_tensor(Tensor::<1>::from_floats(values.as_slice(), &device));
        let mut burn = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.3).init();
        let mut parameters = values.clone();
        let mut adam = AdamW::new(40);
        for step in 0..30 {
            let gradient: Vec<f32> = (0..40)
                .map(|i| ((i * (step + 1)) as f32 * 0.37).cos() * 10_f32.powi(i % 5 - 2))
                .collect();
            let learning_rate = 0.01 / f64::from(step + 1);
            let update = Update { step: step as u64, learning_rate, weight_decay: 0.3, ..PLAIN };
            adam.update(&mut parameters, &gradient, &[(40, 0)], update);
            let gradient = Tensor::<1>::from_floats(gradient.as_slice(), &device);
            let gradients = (by_burn.val() * gradient).sum().backward();
            let gradients = GradientsParams::from_grads(gradients, &by_burn);
            by_burn = burn.step(learning_rate, by_burn, gradients);
        }
        let data = by_burn.val().into_data();
        for (own, burn) in parameters.iter().zip(data.as_slice::<f32>().unwrap()) {
            assert!((own - burn).abs() < 1e-6, "{own} {burn}");
        }
        assert_ne!(parameters, values);
    }

    #[test]
    fn the_first_update_moves_by_the_rate() {
        let mut parameters = vec![1.0, -2.0];
        let mut adam = AdamW::new(2);
        adam.update(&mut parameters, &[0.3, -5.0], &[(1, 1)], PLAIN);
        assert!((parameters[0] - 0.9).abs() < 1e-6 && (parameters[1] + 1.9).abs() < 1e-6);
    }

    #[test]
    fn decay_spares_biases() {
        let mut parameters = vec![1.0, 1.0];
        let update = Update { weight_decay: 0.5, ..PLAIN };
        AdamW::new(2).update(&mut parameters, &[0.0, 0.0], &[(1, 1)], update);
        assert_eq!(parameters, [0.95, 1.0]);
    }

    #[test]
    fn clipping_scales_the_whole_gradient() {
        let gradient = [3.0, 4.0];
        let (mut clipped, mut scaled) = (AdamW::new(2), AdamW::new(2));
        let (mut a, mut b) = (vec![0.0; 2], vec![0.0; 2]);
        let update = Update { clip_norm: 0.5, ..PLAIN };
        assert_eq!(clipped.update(&mut a, &gradient, &[(2, 0)], update), 5.0);
        scaled.update(&mut b, &gradient.map(|g| 0.1 * g), &[(2, 0)], PLAIN);
        assert_eq!(clipped.first_moment, scaled.first_moment);
        assert_eq!(a, b);
        // A gradient within the norm is left alone.
        let update = Update { clip_norm: 5.0, ..PLAIN };
        let (mut within, mut free) = (AdamW::new(2), AdamW::new(2));
        within.update(&mut a.clone(), &gradient, &[(2, 0)], update);
        free.update(&mut a, &gradient, &[(2, 0)], PLAIN);
        assert_eq!(within.first_moment, free.first_moment);
    }
}
