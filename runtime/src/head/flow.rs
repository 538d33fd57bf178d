//! `flow`: samples of a joint posterior of any shape, each carried from noise to theta in a fixed number of steps.
//!
//! Noise `e` and a standardized theta `u` lie on the ends of the arc `y(phi) = cos(phi) e + sin(phi) u`. The network knows the mean velocity
//! `F(y, phi) = E[cos(phi) u - sin(phi) e | y, x]`, and the solution of `dy / dphi = F` from noise at `phi = 0` is a draw of the posterior at
//! `phi = pi / 2` (Lipman et al. 2023, <https://arxiv.org/abs/2210.02747>, theorem 1, for a path of constant variance; Albergo, Boffi and
//! Vanden-Eijnden 2023, <https://arxiv.org/abs/2303.08797>, section 2). A step through the angle `a` that takes `e` and `u` for constant is
//! a rotation, `y <- cos(a) y + sin(a) F`: exact where the posterior is a point, and where it is the prior. It expects the velocity
//! `cos(a) F - sin(a) y` behind the step, and what is found there beyond that corrects the next step to second order, without a further
//! pass (a two-step method of Adams and Bashforth on the deviation from the rotation).
//!
//! A step costs one pass through a stack of integer layers; its three numbers ([`FlowStep`]) are the exporter's to choose.

use heapless::Vec;
use rand_core::Rng;

use super::gaussians::Ends;
use super::parameter;
use crate::artifact::{
    Coordinate, FLOAT_LIMIT, FLOW_TIMES, FlowStep, Head, MAX_FLOW_STEPS, MAX_FLOW_THETA, Parameter,
    Records,
};
use crate::conditional::{self, Stack, Work};
use crate::error::{ArtifactError, Part};
use crate::math;
use crate::network::Inference;

/// Largest standard deviation of the noise, and largest magnitude of a step's numbers.
const FACTOR_LIMIT: f32 = 16.0;

/// Unit of a step's sharpness.
const SHARPNESS_UNIT: f32 = 1.0 / 1_048_576.0;

/// The joint posterior of one observation, as a source of samples.
#[derive(Debug)]
pub struct Flow<'i, 'a> {
    parameters: Records<'a, Parameter<'a>>,
    coordinates: Records<'a, Coordinate>,
    noise: f32,
    steps: Records<'a, FlowStep>,
    stack: Stack<'a>,
    work: Work<'i>,
}

impl<'a> Inference<'_, '_, 'a> {
    /// The joint posterior of theta by samples; `None` without a `flow` head.
    pub fn flow(&mut self) -> Option<Flow<'_, 'a>> {
        let mut heads = self.model.manifest.heads.iter().enumerate();
        heads
            .find_map(|(position, head)| {
                let Head::Flow { layer, parameters, coordinates, noise, steps, stack } = head
                else {
                    return None;
                };
                Some((position, layer.d_output, parameters, coordinates, noise, steps, stack))
            })
            .and_then(|(position, rows, parameters, coordinates, noise, steps, record)| {
                let (stack, work) = self.stack(position, rows, &record, true)?;
                Some(Flow { parameters, coordinates, noise, steps, stack, work })
            })
    }
}

impl<'a> Flow<'_, 'a> {
    /// The parameters, in the order of every theta of this posterior.
    pub fn parameters(&self) -> Records<'a, Parameter<'a>> {
        self.parameters
    }

    /// Draws one theta in physical units, inside the support, into as much of `theta` as there are parameters.
    ///
    /// Takes one word of `rng` for each parameter; nothing is drawn again.
    pub fn sample(&mut self, rng: &mut (impl Rng + ?Sized), theta: &mut [f32]) {
        let d = self.parameters.len();
        let mut y: Vec<f32, MAX_FLOW_THETA> =
            crate::first_items((0..d).map(|_| self.noise * math::normal_of_bits(rng.next_u32())));
        let mut own = [0.0; 2 * MAX_FLOW_THETA];
        let own = own.get_mut(..d.saturating_mul(2)).unwrap_or(&mut []);
        let Flow { stack, work, steps, .. } = self;
        integrate(steps.iter(), &mut y, own, |y, step, velocity| {
            let mut point = conditional::origin(d.saturating_add(FLOW_TIMES));
            work.sharpen(step.sharpness);
            let sharpness = math::float(step.sharpness) * SHARPNESS_UNIT;
            let places = y.iter().map(|y| stack.quantize(*y * sharpness)).chain(step.time);
            point.iter_mut().zip(places).for_each(|(q, place)| *q = place);
            let accumulators = stack.run(work, &point);
            for ((value, acc), row) in velocity.iter_mut().zip(accumulators).zip(0..) {
                *value = math::float(*acc) * stack.scale(row);
            }
        });
        let records = self.parameters.iter().zip(self.coordinates.iter());
        for ((theta, y), (parameter, coordinate)) in theta.iter_mut().zip(&y).zip(records) {
            *theta = parameter.from_z(coordinate.z(parameter.ends(), *y));
        }
    }
}

/// Carries `y`, any number of values, through the steps; `velocity` writes that at its first argument and at a step's time to its last.
///
/// `work` is twice as long as `y`; what it lacks is not carried.
pub fn integrate(
    steps: impl Iterator<Item = FlowStep>,
    y: &mut [f32],
    work: &mut [f32],
    mut velocity: impl FnMut(&[f32], &FlowStep, &mut [f32]),
) {
    let (found, expected) = work.split_at_mut(y.len().min(work.len()));
    for (at, step) in steps.enumerate() {
        let FlowStep { keep, gain, correction, .. } = step;
        velocity(y, &step, found);
        let correction = if at == 0 { 0.0 } else { correction };
        for ((y, found), expected) in y.iter_mut().zip(&*found).zip(&mut *expected) {
            let corrected = found + correction * (found - *expected);
            *expected = keep * found - gain * *y;
            *y = keep * *y + gain * corrected;
        }
    }
}

impl Coordinate {
    /// A parameter's `z`, whose ends these are, at `y`.
    ///
    /// ```
    /// use simground_runtime::{Ends, artifact::Coordinate};
    /// let plain = Coordinate { center: 0.0, spread: 1.0 };
    /// assert_eq!(plain.z(Ends::NONE, 0.5), 0.5);
    /// let ends = Ends { low: -1.0, high: 3.0 };
    /// assert_eq!(plain.z(ends, 0.0), 1.0);
    /// assert!((plain.y(ends, plain.z(ends, 0.7)) - 0.7).abs() < 1e-5);
    /// ```
    pub fn z(&self, ends: Ends, y: f32) -> f32 {
        let w = self.center + self.spread * y;
        if !is_box(ends) {
            return w;
        }
        let Ends { low, high } = ends;
        // From the nearer end, where a share keeps its digits.
        let z = if w < 0.0 {
            low + (high - low) * math::normal_cdf(w)
        } else {
            high - (high - low) * math::normal_cdf(-w)
        };
        math::within(z, low, high)
    }

    /// The other way around: at an end, as within `10^-6` of the width beside it.
    pub fn y(&self, ends: Ends, z: f32) -> f32 {
        /// Smallest share of the width.
        const LEAST: f32 = 1e-6;
        let w = if is_box(ends) {
            let width = ends.high - ends.low;
            let (below, above) = ((z - ends.low) / width, (ends.high - z) / width);
            if below < above {
                math::normal_quantile(below.max(LEAST))
            } else {
                -math::normal_quantile(above.max(LEAST))
            }
        } else {
            z
        };
        (w - self.center) / self.spread
    }
}

fn is_box(ends: Ends) -> bool {
    ends.low.is_finite() && ends.high.is_finite()
}

/// Proves what is peculiar to this head; `q_max` is that of its stack.
pub(crate) fn prove(
    parameters: &Records<'_, Parameter<'_>>,
    coordinates: &Records<'_, Coordinate>,
    noise: f32,
    steps: &Records<'_, FlowStep>,
    q_max: i16,
    part: Part,
) -> Result<(), ArtifactError> {
    let d = parameter::prove(parameters, part)?;
    if !(coordinates.is_valid() && steps.is_valid()) {
        return Err(ArtifactError::Undecodable(part));
    }
    let counts = d <= MAX_FLOW_THETA
        && coordinates.len() == d
        && (1..=MAX_FLOW_STEPS).contains(&steps.len());
    if !counts {
        return Err(ArtifactError::Shape(part));
    }
    let moderate = |value: f32| value.abs() <= FACTOR_LIMIT;
    let placed = coordinates
        .iter()
        .all(|c| c.center.abs() <= FLOAT_LIMIT && c.spread > 0.0 && c.spread <= FLOAT_LIMIT);
    let stepped = steps.iter().all(|step| {
        let read = step.time.iter().all(|q| q.unsigned_abs() <= q_max.unsigned_abs());
        read && step.sharpness > 0
            && [step.keep, step.gain, step.correction].into_iter().all(moderate)
    });
    let sound = placed && stepped && moderate(noise) && noise > 0.0;
    if sound { Ok(()) } else { Err(ArtifactError::Value(part)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_coordinate_goes_there_and_back(y in -3.0_f32..3.0, center in -1.0_f32..1.0, spread in 0.2_f32..1.3) {
            let coordinate = Coordinate { center, spread };
            for ends in [Ends::NONE, Ends { low: -1.0, high: 0.5 }, Ends { low: 0.0, high: f32::INFINITY }] {
                prop_assume!((center + spread * y).abs() < 4.0);
                let z = coordinate.z(ends, y);
                prop_assert!((coordinate.y(ends, z) - y).abs() < 5e-3, "{} {}", z, coordinate.y(ends, z));
            }
        }

        #[test]
        fn a_coordinate_stays_between_the_ends(bits: u32) {
            let coordinate = Coordinate { center: 0.1, spread: 0.7 };
            let ends = Ends { low: -1.0, high: 0.5 };
            let z = coordinate.z(ends, f32::from_bits(bits));
            prop_assert!(ends.low <= z && z <= ends.high, "{}", z);
        }
    }

    /// Steps of equal angle, of the first or of the second order.
    fn steps(count: u16, order: u16) -> impl Iterator<Item = FlowStep> {
        let angle = core::f32::consts::FRAC_PI_2 / f32::from(count);
        (0..count).map(move |_| FlowStep {
            time: [0; FLOW_TIMES],
            sharpness: 1 << 20,
            keep: libm::cosf(angle),
            gain: libm::sinf(angle),
            correction: if order == 2 { 0.5 } else { 0.0 },
        })
    }

    #[test]
    fn steps_end_where_the_equation_says() {
        // Where theta is normal with mean 0 and deviation s, F = (s^2 - 1) sin cos y / (cos^2 + s^2 sin^2) and y ends at s times the noise.
        let s = 0.4_f32;
        let end = |count: u16, order: u16| {
            let mut y = [1.0_f32, -0.5];
            let mut at = 0.0_f32;
            integrate(steps(count, order), &mut y, &mut [0.0; 4], |y, _, velocity| {
                let (sin, cos) = (libm::sinf(at), libm::cosf(at));
                let slope = (s * s - 1.0) * sin * cos / (cos * cos + s * s * sin * sin);
                velocity.iter_mut().zip(y).for_each(|(velocity, y)| *velocity = slope * y);
                at += core::f32::consts::FRAC_PI_2 / f32::from(count);
            });
            assert!((y[0] + 2.0 * y[1]).abs() < 1e-5);
            (y[0] - s).abs()
        };
        assert!(
            end(64, 1) < 0.02 && end(64, 1) < 0.6 * end(32, 1),
            "{} {}",
            end(32, 1),
            end(64, 1)
        );
        assert!(end(64, 2) < 0.1 * end(64, 1), "{} {}", end(64, 1), end(64, 2));
    }
}
