//! Where a prior seems to end, judged from its draws alone.
//!
//! Beyond a quartile the excesses of a sample over it tell how its distribution ends. A prior that stops abruptly has excesses
//! that are about uniform up to the largest one, `M`; a tail that fades has excesses that are about exponential, with their
//! mean `m`. These are the generalized Pareto distributions of shape -1 and 0 (Pickands 1975, Ann. Stat. 3:119-131), and the
//! logarithm of their likelihood ratio for `k` excesses, each at its maximum, is `k (1 - ln(M / m))`.

/// Logarithm of the likelihood ratio from which an end counts as abrupt: twenty to one.
const LOG_RATIO: f64 = 3.0;
/// An end is sought within this many spacings beyond the outermost draw; of abrupt ends one in a thousand (`e^-7`) lies farther out.
const SPACINGS: f64 = 7.0;
/// Fewest draws from which an end is judged.
const MIN_DRAWS: usize = 80;

/// The ends of the support of these draws, rounded outward; `None` for an end that fades.
///
/// Whole numbers end half way to the next one, since a density of bare whole numbers has no bound. A lower end alone is an end
/// only where it is 0, as for rates and variances; an upper end alone is none: a fading tail has too often no visible one.
pub fn support(draws: &[f32]) -> (Option<f64>, Option<f64>) {
    let mut sorted: Vec<f64> = draws.iter().map(|&draw| f64::from(draw)).collect();
    sorted.sort_by(f64::total_cmp);
    let distinct = sorted.chunk_by(|a, b| a == b).count();
    if draws.len() < MIN_DRAWS || distinct < 3 {
        return (None, None);
    }
    let mirrored: Vec<f64> = sorted.iter().rev().map(|draw| -draw).collect();
    let whole = sorted.iter().all(|draw| draw.fract() == 0.0);
    let (low, high) = (upper_end(&mirrored, whole).map(|end| 0.0 - end), upper_end(&sorted, whole));
    match (low, high) {
        (Some(low), Some(high)) => (Some(low), Some(high)),
        (Some(low), None) if low == 0.0 && sorted[0] > 0.0 => (Some(0.0), None),
        _ => (None, None),
    }
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
    fn log_uniform_priors_and_counts_end_too() {
        let decades = share(
            1_000,
            |u| 0.01 * 100_f64.powf(u),
            |(low, high)| low > 0.0 && low <= 0.01 && (1.0..1.2).contains(&high),
        );
        assert!(decades >= 60, "{decades} of 100");
        let counts = share(1_000, |u| (5.0 + 45.0 * u).floor(), |ends| ends == (4.5, 49.5));
        assert!(counts >= 99, "{counts} of 100");
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
