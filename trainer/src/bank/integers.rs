//! A bank in the integers of the device.

use rayon::prelude::*;
use simground_runtime::{Reach, THETA_ABSENT, kernel_weight};

use super::exact::{Marginal, share_of_range};
use super::{Embedded, Layout};

/// Code of the upper end of a range.
const CODE_MAX: f32 = 254.0;
/// Shares of the mechanisms in a prototype add up to this.
const WHOLE: f32 = 255.0;

/// A compressed corpus, as the device has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bank {
    /// Width of an embedding, a multiple of four.
    pub d: usize,
    /// Number of mechanisms.
    pub num_mechanisms: usize,
    /// Row in the corpus of each prototype, ascending.
    pub rows: Vec<usize>,
    /// `[n, d]`.
    pub vectors: Vec<i8>,
    /// Mechanism of each prototype itself.
    pub mechanism: Vec<u8>,
    /// Share of the corpus that is nearest to each, in 1/65,536: at least 1 each, at most 65,536 together.
    pub masses: Vec<u16>,
    /// How far each reaches.
    pub reaches: Vec<Reach>,
    /// Shift of all reaches.
    pub reach_shift: u8,
    /// `[n, mechanisms]`: shares in 1/255, 255 together.
    pub shares: Vec<u8>,
    /// `[n, d_theta]`: the prototype's own parameters in 1/254 of their range, 255 where its mechanism has none.
    pub theta: Vec<u8>,
    /// `[n, d_theta]`: mean and standard deviation around the prototype in 1/254 of the range.
    pub moments: Vec<[u8; 2]>,
    /// For each parameter, whether each mechanism has it.
    pub has: Vec<Vec<bool>>,
    /// Squared distances of held-out simulations to the nearest prototype, ascending.
    pub novelty: Vec<u32>,
}

/// What a bank answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Posterior of each mechanism.
    pub mechanism: Vec<f64>,
    /// Posterior of each parameter, in units of its range.
    pub theta: Vec<Marginal>,
    /// Squared distance to the nearest prototype.
    pub least: u32,
    /// Conformal p-value of that distance.
    pub novelty: f64,
}

impl Bank {
    /// A bank of zeros, as large as a real one: what its artifact takes is known before there is a corpus.
    pub fn blank(
        d_embed: usize,
        num_mechanisms: usize,
        d_theta: usize,
        count: usize,
        novelty_entries: usize,
    ) -> Bank {
        let d = d_embed.next_multiple_of(4);
        Bank {
            d,
            num_mechanisms,
            rows: (0..count).collect(),
            vectors: vec![0; d * count],
            mechanism: vec![0; count],
            masses: vec![1; count],
            reaches: vec![Reach(0); count],
            reach_shift: 0,
            shares: vec![0; num_mechanisms * count],
            theta: vec![THETA_ABSENT; d_theta * count],
            moments: vec![[0; 2]; d_theta * count],
            has: vec![vec![true; num_mechanisms]; d_theta],
            novelty: vec![0; novelty_entries],
        }
    }

    /// Number of prototypes.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of all sections.
    pub fn bytes(&self, layout: &Layout) -> usize {
        layout.fixed_bytes(self.d, self.novelty.len()) + self.len() * layout.prototype_bytes(self.d)
    }

    /// Squared distance of an observation, at least `d` wide, to every prototype.
    pub fn distances<'b>(&'b self, query: &'b [i16]) -> impl Iterator<Item = u32> + 'b {
        self.vectors.chunks_exact(self.d).map(move |vector| {
            let square = |(p, q): (&i8, &i16)| (i32::from(*q) - i32::from(*p)).pow(2);
            vector.iter().zip(query).map(square).sum::<i32>().cast_unsigned()
        })
    }

    /// Answers for an embedded observation, in the integers of the device up to the last division.
    pub fn answer(&self, query: &[i16]) -> Answer {
        let distances: Vec<u32> = self.distances(query).collect();
        let exponents: Vec<u32> = distances
            .iter()
            .zip(&self.reaches)
            .map(|(distance, reach)| reach.exponent(*distance, self.reach_shift))
            .collect();
        let least_exponent = exponents.iter().copied().min().unwrap_or(0);
        let weights = exponents.iter().zip(&self.masses).map(|(exponent, mass)| {
            u64::from(kernel_weight(exponent - least_exponent)) * u64::from(*mass)
        });
        let mut mechanism = vec![0_u64; self.num_mechanisms];
        let mut sums = vec![[0_u64; 3]; self.has.len()];
        for (at, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0) {
            let shares = &self.shares[at * self.num_mechanisms..][..self.num_mechanisms];
            let masses = shares.iter().map(|share| weight * u64::from(*share));
            mechanism.iter_mut().zip(masses).for_each(|(sum, mass)| *sum += mass);
            let moments = &self.moments[at * self.has.len()..];
            for ((sums, has), [mean, sd]) in sums.iter_mut().zip(&self.has).zip(moments) {
                let present = shares.iter().zip(has).filter(|(_, has)| **has);
                let present = weight * present.map(|(share, _)| u64::from(*share)).sum::<u64>();
                let (mean, sd) = (u64::from(*mean), u64::from(*sd));
                sums[0] += present;
                sums[1] += present * mean;
                sums[2] += present * (mean * mean + sd * sd);
            }
        }
        let total: u64 = mechanism.iter().sum();
        let marginal = |&[present, first, second]: &[u64; 3]| {
            let (weight, mean) = (present as f64, first as f64 / present as f64);
            let variance = (second as f64 / weight - mean * mean).max(0.0);
            let unit = f64::from(CODE_MAX);
            let present = weight / total as f64;
            Marginal { present, mean: mean / unit, sd: variance.sqrt() / unit }
        };
        let least = distances.iter().copied().min().unwrap_or(0);
        let at_or_above = self.novelty.len() - self.novelty.partition_point(|t| *t < least);
        Answer {
            mechanism: mechanism.iter().map(|mass| *mass as f64 / total as f64).collect(),
            theta: sums.iter().map(marginal).collect(),
            least,
            novelty: (1 + at_or_above) as f64 / (1 + self.novelty.len()) as f64,
        }
    }

    /// Evenly spaced quantiles of the held-out distances to the nearest prototype, ascending.
    pub(super) fn novelty_table(&self, held_out: &Embedded, entries: usize) -> Vec<u32> {
        let mut least: Vec<u32> = (0..held_out.len())
            .into_par_iter()
            .map(|at| self.distances(held_out.row(at)).min().unwrap_or(0))
            .collect();
        least.sort_unstable();
        let entries = entries.min(least.len());
        // Upper ends of equal slices: rounding a quantile up makes a p-value larger, never smaller.
        (1..=entries).map(|entry| least[entry * least.len() / entries - 1]).collect()
    }
}

/// The code of a share of a range: 1/254 of it; 255 for NaN.
pub(super) fn share_code(share: f32) -> u8 {
    let code = (share.clamp(0.0, 1.0) * CODE_MAX).round();
    if share.is_nan() { THETA_ABSENT } else { code as u8 }
}

/// The code of a parameter whose codes span a range.
///
/// ```
/// use simground_trainer::bank::theta_code;
/// assert_eq!(theta_code(0.3, (0.2, 0.4)), 127);
/// assert_eq!(theta_code(f32::NAN, (0.2, 0.4)), 255); // its mechanism has no such parameter
/// ```
pub fn theta_code(value: f32, range: (f32, f32)) -> u8 {
    share_code(share_of_range(value, range))
}

/// A coordinate on the bank's `i8` grid.
pub fn on_grid(q: i16) -> i8 {
    q.clamp(-127, 127) as i8
}

/// Masses as shares of 65,536: at least 1 each, at most 65,536 together.
pub(super) fn integer_masses(masses: &[f64]) -> Vec<u16> {
    let total: f64 = masses.iter().sum();
    let room = 65_536.0 - masses.len() as f64;
    let share = |mass: &f64| 1.0 + (mass / total * room).floor();
    masses.iter().map(|mass| share(mass).min(65_535.0) as u16).collect()
}

/// Shares in 1/255 that sum to 255: rounded down, and what is left to those that lost the most.
pub(super) fn share_codes(shares: &[f32]) -> Vec<u8> {
    let exact: Vec<f32> = shares.iter().map(|share| share * WHOLE).collect();
    let mut codes: Vec<u8> = exact.iter().map(|share| share.floor() as u8).collect();
    let mut order: Vec<usize> = (0..codes.len()).collect();
    let lost = |at: usize| exact[at] - exact[at].floor();
    order.sort_by(|&a, &b| lost(b).total_cmp(&lost(a)).then(a.cmp(&b)));
    let sum: u32 = codes.iter().map(|code| u32::from(*code)).sum();
    for at in order.into_iter().cycle().take(255_u32.saturating_sub(sum) as usize) {
        codes[at] += 1;
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_codes_sum_to_255() {
        assert_eq!(share_codes(&[1.0 / 3.0; 3]), [85, 85, 85]);
        assert_eq!(share_codes(&[0.5, 0.5]), [128, 127]);
        assert_eq!(share_codes(&[1.0]), [255]);
        assert_eq!(share_codes(&[0.999, 0.0005, 0.0005]), [255, 0, 0]);
    }
}
