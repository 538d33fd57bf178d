//! Where a prior seems to end, judged from its draws alone.
//!
//! Beyond a quartile the excesses of a sample over it tell how its distribution ends. A prior that stops abruptly has excesses
//! that are about uniform up to the largest one, `M`; a tail that fades has excesses that are about exponential, with their
//! mean `m`. These are the generalized Pareto distributions of shape -1 and 0 (Pickands 1975, Ann. Stat. 3:119-131), and the
//! logarithm of their likelihood ratio for `k` excesses, each at its maximum, is `k (1 - ln(M / m))`.

/// Logarithm of the likelihood ratio from which an end counts as abrupt: twenty to one.
const LOG_RATIO: f64 = 3.0;
/// An end is sought within this many spacings beyond the outermost draw; of abrupt ends one in eight thousand (`e^-9`) lies farther out, and
/// a corpus may have dozens.
const SPACINGS: f64 = 9.0;
/// A smallest draw below this part of the median has come near 0.
const NEAR_ZERO: f64 = 0.1;
/// Skewness that logarithms leave, relative to that of the draws, where they are what is normal.
const LESS_SKEWED: f64 = 0.5;
/// Whole numbers beyond are no sign of counts: `f32` has hardly any others.
const LARGEST_COUNT: f64 = (1_u64 << 23) as f64;
/// Fewest draws from which an end is judged.
const MIN_DRAWS: usize = 80;

/// The ends of the support of these draws, rounded outward; `None` for an end that fades.
///
/// Whole numbers end half way to the next one, since a density of bare whole numbers has no bound. A lower end alone is an end
/// only where it is 0, as for rates and variances; an upper end alone is none: a fading tail has too often no visible one. Where no end is
/// abrupt, 0 is one if the draws are positive and their logarithms normal rather than they themselves.
pub fn support(draws: &[f32]) -> (Option<f64>, Option<f64>) {
    let mut sorted: Vec<f64> = draws.iter().map(|&draw| f64::from(draw)).collect();
    sorted.sort_by(f64::total_cmp);
    let distinct = sorted.chunk_by(|a, b| a == b).count();
    if draws.len() < MIN_DRAWS || distinct < 3 {
        return (None, None);
    }
    let mirrored: Vec<f64> = sorted.iter().rev().map(|draw| -draw).collect();
    let whole = sorted.iter().all(|draw| draw.fract() == 0.0 && draw.abs() < LARGEST_COUNT);
    let (low, high) = (upper_end(&mirrored, whole).map(|end| 0.0 - end), upper_end(&sorted, whole));
    match (low, high) {
        (Some(low), Some(high)) => (Some(low), Some(high)),
        (Some(low), None) if low == 0.0 && sorted[0] > 0.0 => (Some(0.0), None),
        _ if is_positive(&sorted) => (Some(0.0), None),
        _ => (None, None),
    }
}

/// Whether sorted draws are of a parameter that is positive, such as a lognormal one: a lognormal distribution is likelier than a normal
/// one by [`LOG_RATIO`], each at its maximum; and either their logarithms are hardly skewed, or the draws reach down to 0.
fn is_positive(sorted: &[f64]) -> bool {
    if sorted[0] <= 0.0 {
        return false;
    }
    let logarithms: Vec<f64> = sorted.iter().map(|draw| draw.ln()).collect();
    let ((_, sd, skewness), (log_mean, log_sd, log_skewness)) =
        (moments(sorted), moments(&logarithms));
    let ratio = sorted.len() as f64 * (sd.ln() - log_mean - log_sd.ln());
    let reaches = sorted[0] < NEAR_ZERO * sorted[sorted.len() / 2];
    ratio > LOG_RATIO && (reaches || log_skewness.abs() < LESS_SKEWED * skewness)
}

/// Mean, standard deviation and skewness.
fn moments(values: &[f64]) -> (f64, f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let central = |power: i32| values.iter().map(|v| (v - mean).powi(power)).sum::<f64>() / count;
    let sd = central(2).sqrt();
    (mean, sd, central(3) / sd.powi(3))
}

/// The upper end of sorted draws.
fn upper_end(sorted: &[f64], whole: bool) -> Option<f64> {
    let upper = &sorted[sorted.len() * 3 / 4..];
    let (threshold, largest) = (upper[0], *upper.last()?);
    let excesses = &upper[1..];
    let count = excesses.len() as f64;
    let mean = excesses.iter().sum::<f64>() / count - threshold;
    let longest = largest - threshold;
    // A quarter of the draws at the largest value is an end without any excess to judge.
    if longest > 0.0 && count * (1.0 - (longest / mean).ln()) < LOG_RATIO {
        return None;
    }
    if whole {
        return Some(largest + 0.5);
    }
    // Plus zero: minus zero would be printed as such.
    Some(rounded_up(largest, SPACINGS * longest / count) + 0.0)
}

/// The roundest number from `value` to `value + room`.
fn rounded_up(value: f64, room: f64) -> f64 {
    if room.is_nan() || room <= 0.0 {
        return value;
    }
    let coarsest = value.abs().max(room).log10().ceil() as i32;
    for power in (-45..=coarsest).rev() {
        for fifths in [10.0, 5.0, 2.0] {
            // By division where the step is a fraction: 0.3 and not 0.30000000000000004.
            let step_is = |multiple: f64| match power - 1 {
                power @ 0.. => multiple * fifths * 10_f64.powi(power),
                power => multiple * fifths / 10_f64.powi(-power),
            };
            let rounded = step_is((value / step_is(1.0)).ceil());
            if rounded >= value && rounded <= value + room {
                return rounded;
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    /// Draws of a distribution by the inverse of its distribution function.
    fn draws(count: usize, seed: u64, inverse: impl Fn(f64) -> f64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let uniform = |rng: &mut ChaCha8Rng| (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        (0..count).map(|_| inverse(uniform(&mut rng)) as f32).collect()
    }

    fn normal(u: f64) -> f64 {
        // Logistic draws have heavier tails than normal ones; Shore's approximation is normal to 1 % in the tails.
        let half = |p: f64| 5.5556 * (1.0 - (p / (1.0 - p)).powf(0.1186));
        if u < 0.5 { -half(u) } else { half(1.0 - u) }
    }

    /// Share of a hundred samples for which `expected` holds.
    fn share(count: usize, inverse: fn(f64) -> f64, expected: fn((f64, f64)) -> bool) -> usize {
        let found = |seed: &u64| {
            let (low, high) = support(&draws(count, *seed, inverse));
            expected((low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY)))
        };
        (0..100).filter(found).count()
    }

    #[test]
    fn a_uniform_prior_has_ends_and_a_normal_one_has_none() {
        for count in [160, 1_000, 10_000] {
            let uniform = share(count, |u| 2.0 * u - 1.0, |ends| ends == (-1.0, 1.0));
            assert!(uniform >= 80, "{count} draws: {uniform} of 100");
            let normal = share(count, normal, |ends| ends == (f64::NEG_INFINITY, f64::INFINITY));
            assert!(normal >= if count == 160 { 85 } else { 99 }, "{count} draws: {normal} of 100");
        }
    }

    #[test]
    fn one_end_alone_is_zero() {
        let rate = share(1_000, |u| -(1.0 - u).ln(), |ends| ends == (0.0, f64::INFINITY));
        assert!(rate >= 90, "{rate} of 100");
        let late = share(
            1_000,
            |u| 3.3 - (1.0 - u).ln(),
            |(low, high)| low.is_finite() || high.is_finite(),
        );
        assert!(late <= 2, "{late} of 100");
    }

    #[test]
    fn a_positive_parameter_without_an_abrupt_end_has_one_at_zero() {
        let positive = |ends: (f64, f64)| ends == (0.0, f64::INFINITY);
        for count in [160, 1_000, 10_000] {
            let wide = share(count, |u| (0.5 * normal(u)).exp(), positive);
            assert!(wide >= 90, "{count} draws: {wide} of 100");
        }
        // As narrow as the recovery rate of an epidemic: enough draws tell it from a normal one.
        assert!(share(1_000, |u| 0.125 * (0.2 * normal(u)).exp(), positive) >= 95);
        assert!(share(10_000, |u| (normal(u) / 10.0).exp(), positive) >= 95);
        // Of the shape of a gamma distribution.
        assert!(share(1_000, |u| (2.0 + 0.5 * normal(u)).max(0.0).powi(3), positive) >= 90);
        for far in [|u| 10.0 + normal(u), |u| 2.5 + 0.5 * normal(u), |u: f64| normal(u).powi(3)] {
            let found = share(1_000, far, |(low, _)| low.is_finite());
            assert!(found <= 2, "{found} of 100");
        }
    }

    #[test]
    fn log_uniform_priors_and_counts_end_too() {
        let decades = share(
            1_000,
            |u| 0.01 * 100_f64.powf(u),
            |(low, high)| low > 0.0 && low <= 0.01 && (1.0..1.2).contains(&high),
        );
        assert!(decades >= 60, "{decades} of 100");
        let counts = share(1_000, |u| (5.0 + 45.0 * u).floor(), |ends| ends == (4.5, 49.5));
        assert!(counts >= 99, "{counts} of 100");
        let huge = share(1_000, |u| 1e12 * u, |ends| ends == (0.0, 1e12));
        assert!(huge >= 80, "{huge} of 100");
        assert_eq!(support(&[1.0; 500]), (None, None));
        assert_eq!(support(&draws(79, 1, |u| u)), (None, None));
    }

    #[test]
    fn ends_lie_outside_and_are_round() {
        assert_eq!(rounded_up(0.987, 0.03), 1.0);
        assert_eq!(rounded_up(0.297, 0.005), 0.3);
        assert_eq!(rounded_up(-0.004, 0.01), 0.0);
        assert_eq!(rounded_up(1_234.5, 0.1), 1_234.5);
        assert_eq!(rounded_up(4_983.0, 30.0), 5_000.0);
        assert_eq!(rounded_up(7.0, 0.0), 7.0);
    }
}
