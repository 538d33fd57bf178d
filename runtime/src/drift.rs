//! A drift monitor: has a stream of observations stopped looking like the simulations?
//!
//! One unusual window is a hint; many are a proof. The monitor bets against the novelty p-values, and its capital, 1 at the
//! start, is a conformal test martingale (Vovk, Gammerman and Shafer 2005, chapter 7; the mixing of bets is the Simple Jumper of
//! Vovk et al. 2021, <https://arxiv.org/abs/2102.10439>). While windows come from the simulator the capital ever reaches `c`
//! with probability at most `1 / c` (Ville 1939), however long the stream.
//!
//! Three bettors share the capital, and after each window every one pays a share of 1/128 that is divided equally, so that a
//! drift that comes late finds somebody willing to bet on it:
//!
//! ```text
//! 1            does not bet
//! 3/2 - p      on windows somewhat less usual than simulations
//! p^(-1/2) / 2 on windows unlike any simulation
//! ```
//!
//! Each integrates to one over `[0, 1]` and falls with `p`, so the bound holds as well for p-values that are too large, as those of
//! a table with few entries are. All arithmetic is in integers and every rounding is downwards: the same bits on every target, and
//! a capital that is never overstated.
//!
//! The windows must not overlap: neighbors that share days are unusual together, and the bound would not hold. And the bound is
//! for p-values that are exact; those of an artifact rest on a finite number of held-out simulations, and over tens of thousands of
//! windows that error can be told as well.

use crate::math;

/// Bettors.
const BETTORS: usize = 3;
/// A share of `1 / JUMP` of every bettor's capital is divided equally after each window.
const JUMP: u64 = 128;
/// `JUMP` times the number of bettors.
const JUMP_EACH: u64 = 384;
/// Fraction bits of the shares at exponent 0.
const POINT: i32 = 30;
/// Fraction bits of p-values and bets.
const BET_POINT: i32 = 16;

/// Evidence against the hypothesis that the windows come from the simulator, in 16 bytes.
///
/// ```
/// use simground_runtime::Drift;
/// let mut drift = Drift::new();
/// for novelty in [0.7, 0.02, 0.9, 0.4] {
///     drift.push(novelty);
/// }
/// assert!(!drift.exceeds(100));
/// for _ in 0..6 {
///     drift.push(1.0 / 256.0); // nothing in the simulations is so far away
/// }
/// assert!(drift.exceeds(100)); // with simulated windows at most one stream in a hundred ever comes here
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Drift {
    /// The bettors' capital in units of `2^(exponent - 30)`; together in `[2^29, 2^31)`, each at least 1.
    shares: [u32; BETTORS],
    exponent: i32,
}

impl Drift {
    /// A capital of 1, equally shared.
    pub const fn new() -> Self {
        Drift { shares: [357_913_942, 357_913_941, 357_913_941], exponent: 0 }
    }

    /// Bets on the novelty of the next window, which must not overlap the one before.
    ///
    /// `novelty` is [`Attribution::novelty`](crate::Attribution::novelty); NaN counts as 1, values outside `(0, 1]` as the nearest
    /// inside.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "p is in 1..=2^16, bets in 2^15..=2^23, shares below 2^31: everything stays below 2^56"
    )]
    pub fn push(&mut self, novelty: f32) {
        let p = u64::from(probability(novelty));
        let bets = [
            1 << BET_POINT,
            (3 << (BET_POINT - 1)) - p,
            (1_u64 << 46).checked_div(p).unwrap_or(0).isqrt(),
        ];
        let mut grown = [0_u64; BETTORS];
        for ((grown, share), bet) in grown.iter_mut().zip(self.shares).zip(bets) {
            *grown = u64::from(share) * bet;
        }
        let gift = grown.iter().sum::<u64>() / JUMP_EACH;
        for grown in &mut grown {
            *grown = *grown - grown.div_ceil(JUMP) + gift;
        }
        let bits = 64 - grown.iter().sum::<u64>().leading_zeros();
        let shift = bits.saturating_sub(31);
        for (share, grown) in self.shares.iter_mut().zip(grown) {
            *share = u32::try_from(grown >> shift).unwrap_or(u32::MAX);
        }
        let shift = i32::try_from(shift).unwrap_or(0);
        self.exponent = self.exponent.saturating_add(shift - BET_POINT);
    }

    /// Whether the capital is `odds` or more. Raise an alarm on `exceeds(100)` and at most one stream of simulated windows in a
    /// hundred ever has a false one.
    pub fn exceeds(&self, odds: u32) -> bool {
        let total = self.total();
        let scaled = match self.exponent {
            33.. => return true,
            0..33 => total << self.exponent,
            _ => total.checked_shr(self.exponent.unsigned_abs()).unwrap_or(0),
        };
        scaled >= u64::from(odds) << POINT
    }

    /// The capital: how many times more probable the bets made the stream than the simulator does. Infinite or 0 beyond `f32`.
    pub fn capital(&self) -> f32 {
        libm::ldexpf(math::float_u64(self.total()), self.exponent.saturating_sub(POINT))
    }

    /// The state, to keep where the power may go.
    pub const fn to_words(&self) -> [u32; 4] {
        let [idle, mild, strong] = self.shares;
        [idle, mild, strong, self.exponent.cast_unsigned()]
    }

    /// The state that [`Drift::to_words`] gave; `None` for words that it cannot have given.
    pub fn from_words(words: [u32; 4]) -> Option<Self> {
        let [idle, mild, strong, exponent] = words;
        let drift = Drift { shares: [idle, mild, strong], exponent: exponent.cast_signed() };
        let sound = (1 << 29..1 << 31).contains(&drift.total()) && !drift.shares.contains(&0);
        sound.then_some(drift)
    }

    fn total(&self) -> u64 {
        self.shares.iter().map(|share| u64::from(*share)).fold(0, u64::wrapping_add)
    }
}

impl Default for Drift {
    fn default() -> Self {
        Self::new()
    }
}

/// A p-value in 1/65,536, rounded up: `1..=65_536`.
#[expect(
    clippy::as_conversions,
    reason = "float-to-int `as` saturates; the product with a power of two is exact"
)]
fn probability(p: f32) -> u32 {
    let up = libm::ceilf(p * 65_536.0);
    if up.is_nan() { 65_536 } else { (up as u32).clamp(1, 65_536) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The same in floats, unrounded.
    fn reference(stream: &[f32]) -> f64 {
        let mut shares = [1.0 / 3.0; 3];
        for &p in stream {
            let p = f64::from(probability(p)) / 65_536.0;
            let bets = [1.0, 1.5 - p, 0.5 / p.sqrt()];
            let grown: Vec<f64> = shares.iter().zip(bets).map(|(s, b)| s * b).collect();
            let gift = grown.iter().sum::<f64>() / 384.0;
            for (share, grown) in shares.iter_mut().zip(grown) {
                *share = grown * 127.0 / 128.0 + gift;
            }
        }
        shares.iter().sum()
    }

    /// Uniform on the p-values of a table with 255 entries, or on powers of them.
    struct Stream(u64);

    impl Stream {
        fn next(&mut self) -> f32 {
            // Steele, Lea and Flood 2014, SplitMix64.
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (((z ^ (z >> 31)) >> 56) + 1) as f32 / 256.0
        }
    }

    #[test]
    fn state_is_sixteen_bytes() {
        assert_eq!(size_of::<Drift>(), 16);
        assert_eq!(Drift::new().total(), 1 << POINT);
        assert_eq!(Drift::new().capital(), 1.0);
        assert!(Drift::new().exceeds(1) && !Drift::new().exceeds(2));
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over many values: hours")]
    fn ville_bounds_false_alarms() {
        let streams = 4_000;
        for odds in [10, 20, 100] {
            let alarms = (0..streams).filter(|&seed| {
                let mut stream = Stream(seed << 32);
                let mut drift = Drift::new();
                (0..1_000).any(|_| {
                    drift.push(stream.next());
                    drift.exceeds(odds)
                })
            });
            let (found, bound) = (alarms.count() as f64, streams as f64 / f64::from(odds));
            assert!(found < bound + 3.0 * bound.sqrt(), "{found} alarms at {odds}, bound {bound}");
            // Not by never betting: an alarm is some tenths as frequent as the bound allows.
            assert!(found > 0.1 * bound, "{found} alarms at {odds}, bound {bound}");
        }
    }

    /// After 500 windows without drift, p-values that are the square or the cube of uniform ones, or all the least possible.
    #[test]
    #[cfg_attr(miri, ignore = "arithmetic over many values: hours")]
    fn detects_drift_soon() {
        let delay = |seed: u64, power: i32| {
            let mut stream = Stream(seed << 32);
            let mut drift = Drift::new();
            (0..500).for_each(|_| drift.push(stream.next()));
            let mut next = || if power == 0 { 1.0 / 256.0 } else { stream.next().powi(power) };
            let alarm = (1..2_000).find(|_| {
                drift.push(next());
                drift.exceeds(100)
            });
            alarm.unwrap_or(2_000)
        };
        for (power, longest) in [(0, 10), (3, 50), (2, 110)] {
            let mut delays: Vec<i32> = (0..400).map(|seed| delay(seed, power)).collect();
            delays.sort_unstable();
            let median = delays[200];
            assert!(median <= longest, "{power}: {median} windows");
        }
    }

    #[test]
    fn strange_p_values_do_not_raise_evidence() {
        for strange in [f32::NAN, f32::INFINITY, 1.0, 7.0] {
            let mut drift = Drift::new();
            drift.push(strange);
            assert!(drift.capital() < 1.0, "{strange}");
        }
        assert!(Drift::from_words([0; 4]).is_none());
        assert!(Drift::from_words([u32::MAX; 4]).is_none());
    }

    fn any_state() -> impl Strategy<Value = Drift> {
        (proptest::collection::vec(0.0_f32..1.0, 0..300), 0_i32..3).prop_map(|(stream, power)| {
            let mut drift = Drift::new();
            stream.iter().for_each(|p| drift.push(p.powi(power)));
            drift
        })
    }

    proptest! {
        /// The heart of the bound, in exact arithmetic: over the p-values of any table the mean capital does not grow.
        #[test]
        fn is_a_supermartingale(before in any_state(), entries in 1_u32..600) {
            let n = u128::from(entries) + 1;
            let mean: u128 = (1..=entries + 1).map(|k| {
                let mut after = before;
                after.push(k as f32 / (entries + 1) as f32);
                let exponent = u32::try_from(after.exponent - before.exponent + 40).unwrap();
                u128::from(after.total()) << exponent
            }).sum();
            prop_assert!(mean <= (u128::from(before.total()) << 40) * n);
        }

        #[test]
        fn equals_the_reference_but_for_rounding(
            stream in proptest::collection::vec(0.0_f32..=1.0, 0..200)
        ) {
            let mut drift = Drift::new();
            stream.iter().for_each(|p| drift.push(*p));
            let exact = reference(&stream);
            let found = drift.total() as f64 * f64::powi(2.0, drift.exponent - POINT);
            // A bet of the third bettor is 2^15 or more, rounded down twice.
            let least = exact * f64::powi(1.0 - 1.0 / 16_384.0, stream.len() as i32);
            prop_assert!(found <= exact * (1.0 + 1e-12) && found >= least, "{found} {exact}");
        }

        #[test]
        fn every_state_survives_every_p_value(
            bits in proptest::collection::vec(any::<u32>(), 0..50), words in any::<[u32; 4]>()
        ) {
            let mut drift = Drift::from_words(words).unwrap_or_default();
            for bits in bits {
                drift.push(f32::from_bits(bits));
                prop_assert_eq!(Drift::from_words(drift.to_words()), Some(drift));
            }
            let _ = drift.exceeds(u32::MAX);
            prop_assert!(drift.capital() >= 0.0);
        }
    }
}
