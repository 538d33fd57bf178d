//! From the latent path to what a health office sees: fraction, delay, weekend, count noise, missing days; in this order.

use super::mechanism::ParameterSpec;
use super::sampling::{GammaFactor, Generator};
use crate::study::{Observation, Prior, Series};

const fn spec(
    name: &'static str,
    unit: &'static str,
    upper: f64,
    integer: bool,
    about: &'static str,
) -> ParameterSpec {
    ParameterSpec { name, unit, lower: 0.0, upper, integer, about }
}

/// Days between the first infections and the first observed day.
pub const HEAD_START: ParameterSpec = spec(
    "head_start",
    "day",
    365.0,
    true,
    "days between the first infections and the first observed day",
);
/// Share of the latent series that is ever reported.
pub const REPORTING_FRACTION: ParameterSpec =
    spec("reporting_fraction", "1", 1.0, false, "share of the latent series that is ever reported");
/// Mean of the reporting delay before truncation.
pub const REPORTING_DELAY_MEAN: ParameterSpec = spec(
    "reporting_delay_mean",
    "day",
    365.0,
    false,
    "mean of the Poisson reporting delay before truncation",
);
/// Factor of the expected count at weekends.
pub const WEEKEND_FACTOR: ParameterSpec =
    spec("weekend_factor", "1", 10.0, false, "factor of the expected count on two days of seven");
/// Position of the weekend in the window.
pub const WEEKEND_PHASE: ParameterSpec = spec(
    "weekend_phase",
    "day",
    6.0,
    true,
    "first observed day that falls on the first day of a weekend",
);
/// Negative binomial over-dispersion.
pub const OVERDISPERSION: ParameterSpec = spec(
    "overdispersion",
    "1",
    100.0,
    false,
    "a in the variance mu + a mu^2 of the observed counts",
);
/// Share of the input days without a value.
pub const MISSING_FRACTION: ParameterSpec =
    spec("missing_fraction", "1", 1.0, false, "share of the input days without a value");

/// Effects of the observation model that this study uses, with their priors, in the order in which they are drawn.
pub(super) fn parameters(observation: &Observation) -> Vec<(ParameterSpec, Prior)> {
    let delay_mean = observation.reporting_delay.map(|delay| delay.mean);
    // Nobody knows on which day of the week an outbreak is first seen.
    let phase = observation.weekend_factor.map(|_| Prior::Uniform(0.0, 6.0));
    [
        (HEAD_START, observation.head_start),
        (REPORTING_FRACTION, observation.reporting_fraction),
        (REPORTING_DELAY_MEAN, delay_mean),
        (WEEKEND_FACTOR, observation.weekend_factor),
        (WEEKEND_PHASE, phase),
        (OVERDISPERSION, observation.overdispersion),
        (MISSING_FRACTION, observation.missing_fraction),
    ]
    .into_iter()
    .filter_map(|(spec, prior)| Some((spec, prior?)))
    .collect()
}

/// Values of the effects in one simulation; an absent effect has the value that does nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Effects {
    pub(super) head_start: usize,
    pub(super) reporting_fraction: f64,
    /// Mean before truncation, and the longest delay.
    pub(super) reporting_delay: Option<(f64, usize)>,
    /// Factor and phase.
    pub(super) weekend: Option<(f64, usize)>,
    pub(super) overdispersion: f64,
    pub(super) missing_fraction: f64,
}

impl Effects {
    pub(super) fn new(observation: &Observation, value: impl Fn(&str) -> Option<f64>) -> Self {
        let delay = observation.reporting_delay;
        Effects {
            head_start: value(HEAD_START.name).map_or(0, |days| days as usize),
            reporting_fraction: value(REPORTING_FRACTION.name).unwrap_or(1.0),
            reporting_delay: delay
                .and_then(|d| Some((value(REPORTING_DELAY_MEAN.name)?, d.max_days))),
            weekend: value(WEEKEND_FACTOR.name)
                .zip(value(WEEKEND_PHASE.name).map(|phase| phase as usize)),
            overdispersion: value(OVERDISPERSION.name).unwrap_or(0.0),
            missing_fraction: value(MISSING_FRACTION.name).unwrap_or(0.0),
        }
    }

    /// Expected observation of `expected.len()` days from the first observed one, given the latent series from day 0.
    pub(super) fn expect(&self, latent: &[u32], kernel: &mut Vec<f64>, expected: &mut [f64]) {
        expected.fill(0.0);
        match self.reporting_delay {
            None => {
                for (mean, &count) in expected.iter_mut().zip(&latent[self.head_start..]) {
                    *mean = self.reporting_fraction * f64::from(count);
                }
            }
            Some((mean, max_days)) => {
                delay_kernel(mean, max_days, kernel);
                for (lag, &share) in kernel.iter().enumerate() {
                    let share = share * self.reporting_fraction;
                    // Day `head_start + d` receives `share` of what happened `lag` days earlier, if that was simulated.
                    let skip = lag.saturating_sub(self.head_start);
                    let from = (self.head_start + skip).saturating_sub(lag);
                    for (mean, &count) in expected.iter_mut().skip(skip).zip(&latent[from..]) {
                        *mean += share * f64::from(count);
                    }
                }
            }
        }
        if let Some((factor, phase)) = self.weekend {
            for (day, mean) in expected.iter_mut().enumerate() {
                if (day + 7 - phase) % 7 < 2 {
                    *mean *= factor;
                }
            }
        }
    }

    /// Draws the counts, and loses some of the first `d_x`.
    pub(super) fn observe(
        &self,
        expected: &[f64],
        ceiling: Option<u32>,
        d_x: usize,
        generator: &mut Generator,
        observed: &mut [f32],
    ) {
        let mut factor = (self.overdispersion > 0.0).then(|| GammaFactor::new(self.overdispersion));
        for (count, &mean) in observed.iter_mut().zip(expected) {
            let mean = match &mut factor {
                Some(factor) if mean > 0.0 => mean * factor.sample(generator),
                _ => mean,
            };
            *count = generator.poisson(mean) as f32;
            if let Some(ceiling) = ceiling {
                *count = count.min(ceiling as f32);
            }
        }
        if self.missing_fraction > 0.0 {
            for value in &mut observed[..d_x] {
                if generator.uniform() < self.missing_fraction {
                    *value = f32::NAN;
                }
            }
        }
    }
}

/// Poisson probabilities of `0..=max_days`, normalized to sum to one.
pub fn delay_kernel(mean: f64, max_days: usize, kernel: &mut Vec<f64>) {
    kernel.clear();
    // Relative weights suffice. They rise from one to at most e^365, far from overflow, for any mean that is legal.
    let mut term = 1.0;
    let mut total = 0.0;
    for day in 0..=max_days {
        if day > 0 {
            term *= mean / day as f64;
        }
        total += term;
        kernel.push(term);
    }
    for share in kernel {
        *share /= total;
    }
}

/// The series that a study observes.
pub(super) fn latent_series(series: Series, path: &super::Path) -> &[u32] {
    match series {
        Series::Incidence => &path.incidence,
        Series::Prevalence => &path.prevalence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Effects = Effects {
        head_start: 0,
        reporting_fraction: 1.0,
        reporting_delay: None,
        weekend: None,
        overdispersion: 0.0,
        missing_fraction: 0.0,
    };

    #[test]
    fn delay_kernel_is_a_distribution_with_the_mean_asked_for() {
        let mut kernel = Vec::new();
        for (mean, max_days) in [(0.0, 3), (1.5, 14), (3.0, 30), (5.0, 0), (300.0, 365)] {
            delay_kernel(mean, max_days, &mut kernel);
            assert_eq!(kernel.len(), max_days + 1);
            assert!((kernel.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{mean} {max_days}");
            assert!(kernel.iter().all(|p| p.is_finite() && *p >= 0.0));
        }
        delay_kernel(3.0, 30, &mut kernel);
        let mean: f64 = kernel.iter().enumerate().map(|(day, p)| day as f64 * p).sum();
        assert!((mean - 3.0).abs() < 1e-9);
    }

    #[test]
    fn expectation_equals_the_plain_sum() {
        let latent: Vec<u32> = (0..40u32).map(|day| day * day % 37).collect();
        for head_start in [0usize, 3, 20] {
            let effects = Effects {
                head_start,
                reporting_fraction: 0.7,
                reporting_delay: Some((2.5, 14)),
                ..PLAIN
            };
            let mut expected = vec![0.0; 20];
            let mut kernel = Vec::new();
            effects.expect(&latent, &mut kernel, &mut expected);
            for (day, &mean) in expected.iter().enumerate() {
                let today = head_start + day;
                let plain: f64 = (0..=14)
                    .filter(|&lag| lag <= today)
                    .map(|lag| 0.7 * kernel[lag] * f64::from(latent[today - lag]))
                    .sum();
                assert!(
                    (mean - plain).abs() < 1e-9,
                    "start {head_start} day {day}: {mean} {plain}"
                );
            }
        }
    }

    #[test]
    fn a_weekend_is_two_days_of_seven_from_its_phase() {
        let effects = Effects { weekend: Some((0.5, 3)), ..PLAIN };
        let mut expected = vec![0.0; 14];
        effects.expect(&[10; 14], &mut Vec::new(), &mut expected);
        let low: Vec<usize> = (0..14).filter(|&day| expected[day] == 5.0).collect();
        assert_eq!(low, [3, 4, 10, 11]);
    }

    #[test]
    fn counts_have_the_negative_binomial_moments() {
        let (mean, a) = (80.0, 0.04);
        let effects = Effects { overdispersion: a, ..PLAIN };
        let mut observed = vec![0.0f32; 200_000];
        effects.observe(&vec![mean; 200_000], None, 0, &mut Generator::new(11, 5), &mut observed);
        let n = observed.len() as f64;
        let m = observed.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = observed.iter().map(|&v| (f64::from(v) - m).powi(2)).sum::<f64>() / n;
        let expected_variance = mean + a * mean * mean;
        assert!((m - mean).abs() < 5.0 * (expected_variance / n).sqrt(), "mean {m}");
        assert!(
            (variance / expected_variance - 1.0).abs() < 0.03,
            "variance {variance} for {expected_variance}"
        );
    }

    #[test]
    fn missing_days_have_the_fraction_and_spare_the_forecast() {
        let effects = Effects { missing_fraction: 0.3, ..PLAIN };
        let mut observed = vec![0.0f32; 20_000];
        effects.observe(
            &vec![4.0; 20_000],
            Some(5),
            10_000,
            &mut Generator::new(1, 2),
            &mut observed,
        );
        let missing = observed[..10_000].iter().filter(|v| v.is_nan()).count();
        assert!((2_800..3_200).contains(&missing), "{missing}");
        assert!(observed[10_000..].iter().all(|v| *v <= 5.0));
    }
}
