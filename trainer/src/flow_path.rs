//! The arc from noise to theta that a `flow` head is trained along, and the steps that an artifact takes on it.

use simground_runtime::artifact::{FLOW_TIMES, FlowStep};

/// Least and largest logarithm of the ratio of theta to noise that a velocity is told.
const LOG_RATIO: (f64, f64) = (-4.0, 6.0);
/// Location and scale of the logistic distribution of that logarithm in training: noise from a hundredth of theta's spread to several times
/// it, most often a third. (A log-normal distribution of noise levels is that of Karras et al. 2022, <https://arxiv.org/abs/2206.00364>, table 1.)
const TRAINED: (f64, f64) = (1.0, 0.9);

/// Largest [`sharpness`].
const SHARPEST: f64 = 32.0;

/// Angle at a share of the training's distribution; 0 is noise, a right angle theta.
pub fn training_angle(share: f64) -> f64 {
    let (location, scale) = TRAINED;
    let share = share.clamp(1e-9, 1.0 - 1e-9);
    libm::atan(libm::exp(location + scale * libm::log(share / (1.0 - share))))
}

/// What a velocity is told of an angle; each magnitude is at most 4.
pub fn time(angle: f64) -> [f32; FLOW_TIMES] {
    let log_ratio = libm::log(libm::tan(angle).clamp(1e-6, 1e6)).clamp(LOG_RATIO.0, LOG_RATIO.1);
    let log_ratio = log_ratio / 3.0;
    [log_ratio, log_ratio * log_ratio, libm::cos(angle), libm::sin(angle)].map(|value| value as f32)
}

/// How closely a velocity looks at an angle: one over the noise that is left there, up to 32.
///
/// What a stack reads of theta and of the data is multiplied by it, so that a layer's units are as narrow as what there is to tell apart.
/// Without it a small network blurs: it would have to learn, at each noise level anew, how steep its answers are.
pub fn sharpness(angle: f64) -> f64 {
    1.0 / libm::hypot(libm::cos(angle), 1.0 / SHARPEST)
}

/// Steps from noise to theta.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    /// How many.
    pub steps: usize,
    /// Noise over theta falls off with this power of the share of the steps that is left: with 1 as a straight path would have it, with
    /// more the last steps are closer to theta.
    pub power: f64,
}

impl Schedule {
    /// Angle before step `k`; the last is a right angle.
    fn angle(&self, k: usize) -> f64 {
        let left = libm::pow(1.0 - k as f64 / self.steps as f64, self.power);
        libm::atan2(1.0 - left, left)
    }

    /// The steps, with what the velocity is told on a grid of so many points a unit, up to the magnitude `most`; see [`FlowStep`].
    pub fn records(&self, grid: f32, most: i16) -> Vec<FlowStep> {
        let turn = |k: usize| self.angle(k + 1) - self.angle(k);
        let record = |k: usize| FlowStep {
            sharpness: (sharpness(self.angle(k)) * f64::from(1 << 20)).round() as i32,
            time: time(self.angle(k))
                .map(|value| ((value * grid).round() as i16).clamp(-most, most)),
            keep: libm::cos(turn(k)) as f32,
            gain: libm::sin(turn(k)) as f32,
            correction: if k == 0 { 0.0 } else { (0.5 * turn(k) / turn(k - 1)) as f32 },
        };
        (0..self.steps).map(record).collect()
    }

    /// What the velocity is told before each step, unrounded.
    pub fn times(&self) -> Vec<(f32, [f32; FLOW_TIMES])> {
        let at = |angle| (sharpness(angle) as f32, time(angle));
        (0..self.steps).map(|k| at(self.angle(k))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_turn_noise_into_theta() {
        for power in [1.0, 2.0] {
            let records = Schedule { steps: 7, power }.records(100.0, i16::MAX);
            let turned: f64 = records.iter().map(|s| f64::from(s.gain).asin()).sum();
            assert!((turned - std::f64::consts::FRAC_PI_2).abs() < 1e-5, "{turned}");
            assert_eq!(records[0].time[2..], [100, 0]);
            assert!(records.iter().all(|s| (s.keep * s.keep + s.gain * s.gain - 1.0).abs() < 1e-6));
        }
    }

    #[test]
    fn angles_of_the_training_reach_both_ends() {
        let angle = |share| training_angle(share).to_degrees();
        assert!(angle(0.0) < 0.1 && angle(1.0) > 89.9);
        let noise = 1.0 / training_angle(0.5).tan();
        assert!((noise - (-1.0_f64).exp()).abs() < 1e-9);
        assert!(
            (0..=1_000)
                .all(|i| time(training_angle(f64::from(i) / 1e3)).iter().all(|t| t.abs() <= 4.0))
        );
    }
}
