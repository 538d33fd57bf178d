//! The simulations that the device keeps: a corpus compressed to a budget of bytes.
//!
//! ```text
//! corpus -> exact posterior -> coreset -> mixture -> moments -> integers
//!           what to agree      real       reach,     mean, sd   what the
//!           with               simulations shares    of theta   device reads
//! ```
//!
//! A [`Bank`] answers as an exact search through the corpus would, from a few hundred prototypes. It is fitted on simulations of the training
//! split, each left out of its own posterior; how many dimensions of the embedding the budget is best spent on is decided on
//! validation simulations.

pub mod agreement;
mod cells;
mod coreset;
mod embedded;
pub mod exact;
mod mixture;
mod moments;
mod product;

use rayon::prelude::*;
use simground_runtime::kernel_weight;

pub use cells::squared_distance;
use coreset::Candidates;
pub use coreset::Selection;
pub use embedded::Embedded;
use exact::{Exact, Posterior, share_of_range};
use mixture::{Mixture, Neighborhoods};
use moments::Moments;
pub use product::Codec;

use crate::prototypes::{integer_shares, on_grid};

/// Simulations of the corpus that the mixture is fitted to.
const LESSONS: usize = 16_384;
/// Simulations of the corpus that prototypes are chosen among.
const CANDIDATES: usize = 65_536;
/// Widths of the embedding that are tried.
const WIDTHS: [usize; 5] = [4, 8, 12, 16, 32];
/// Highest code of a share, of a parameter and of its moments.
const CODE_MAX: f32 = 255.0;

/// What one prototype and the bank as a whole take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Width of the hidden layer that the embedding reads.
    pub d_hidden: usize,
    /// Number of mechanisms.
    pub mechanisms: usize,
    /// Number of parameters.
    pub d_theta: usize,
    /// Bytes of a simulation's index.
    pub index_bytes: usize,
    /// How embeddings are stored.
    pub codec: Codec,
}

impl Layout {
    /// Bytes of one prototype: embedding, mechanism, mass, reach, shares of all mechanisms but the last, index, parameters, their moments.
    pub fn prototype_bytes(&self, d: usize) -> usize {
        let each = 1 + 2 + 1 + (self.mechanisms - 1) + self.index_bytes + 3 * self.d_theta;
        self.codec.prototype_bytes(d) + each
    }

    /// Entries of the novelty table: a sixteenth of the budget, p-values in steps of at most 1/16.
    pub fn novelty_entries(budget: usize) -> usize {
        (budget / 64).saturating_sub(1).clamp(15, 255)
    }

    /// Bytes that do not depend on the number of prototypes: the embedding's layer, codebooks and the novelty table.
    pub fn fixed_bytes(&self, d: usize, novelty_entries: usize) -> usize {
        let block = self.d_hidden.next_multiple_of(4) * 4 + 32;
        block * d.div_ceil(4) + self.codec.codebook_bytes(d) + 4 * novelty_entries
    }

    /// Prototypes that a budget holds.
    pub fn prototypes(&self, d: usize, budget: usize) -> usize {
        let fixed = self.fixed_bytes(d, Layout::novelty_entries(budget));
        budget.saturating_sub(fixed) / self.prototype_bytes(d)
    }
}

/// How large a bank is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Leading dimensions of the embedding that it uses, a multiple of four.
    pub d: usize,
    /// Prototypes; a few less where the corpus repeats itself.
    pub count: usize,
    /// Entries of the novelty table.
    pub novelty_entries: usize,
}

/// What is known of a corpus before any bank is made of it.
#[derive(Debug)]
pub struct Subject<'c> {
    /// The corpus.
    pub corpus: &'c Embedded,
    /// The search through all of it.
    pub exact: Exact,
    /// Half-life of the exact kernel.
    pub half_life: f64,
    /// Rows of the corpus that banks are fitted to.
    lessons: Vec<usize>,
    /// Their exact posteriors, each without itself.
    posteriors: Vec<Posterior>,
    /// Simulations that choose the width of the embedding, and their exact posteriors.
    validation: &'c Embedded,
    validation_posteriors: Vec<Posterior>,
    /// Simulations that make the novelty table.
    held_out: &'c Embedded,
    num_mechanisms: usize,
}

impl<'c> Subject<'c> {
    /// Searches the corpus exactly: the bandwidth by the held-out score, then the posteriors that banks are fitted to.
    ///
    /// `ranges` are the ends of each parameter's codes.
    pub fn new(
        corpus: &'c Embedded,
        validation: &'c Embedded,
        held_out: &'c Embedded,
        num_mechanisms: usize,
        ranges: &[(f32, f32)],
    ) -> Subject<'c> {
        let exact = Exact::new(corpus, num_mechanisms, ranges);
        let half_life = exact.choose_half_life(validation);
        let count = corpus.len().min(LESSONS);
        let lessons: Vec<usize> = (0..count).map(|at| at * corpus.len() / count).collect();
        let posterior = |&row: &usize| exact.posterior(corpus.row(row), half_life, Some(row));
        let posteriors = lessons.par_iter().map(posterior).collect();
        let posterior = |at: usize| exact.posterior(validation.row(at), half_life, None);
        let validation_posteriors = (0..validation.len()).into_par_iter().map(posterior).collect();
        Subject {
            corpus,
            exact,
            half_life,
            lessons,
            posteriors,
            validation,
            validation_posteriors,
            held_out,
            num_mechanisms,
        }
    }

    /// The validation simulations and their exact posteriors.
    pub fn validation(&self) -> (&Embedded, &[Posterior]) {
        (self.validation, &self.validation_posteriors)
    }

    /// The simulations that make the novelty table.
    pub fn held_out(&self) -> &Embedded {
        self.held_out
    }

    /// Compresses the corpus to `budget` bytes; `None` where not even a prototype a mechanism fits.
    ///
    /// A narrower embedding leaves room for more prototypes: the width is the one that agrees best with the exact posteriors of the
    /// validation simulations.
    pub fn compress(
        &self,
        layout: &Layout,
        budget: usize,
        selection: Selection,
        seed: u64,
    ) -> Option<Bank> {
        let widths = WIDTHS.into_iter().filter(|d| *d <= self.corpus.d);
        let banks = widths.filter_map(|d| {
            let bank = self.compress_to(d, layout, budget, selection, seed)?;
            let judged = agreement::judge(&bank, self.validation, &self.validation_posteriors);
            Some((judged.mechanism_tv + judged.theta_distance, bank))
        });
        banks.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, bank)| bank)
    }

    /// The same in the first `d` dimensions of the embedding.
    pub fn compress_to(
        &self,
        d: usize,
        layout: &Layout,
        budget: usize,
        selection: Selection,
        seed: u64,
    ) -> Option<Bank> {
        let count = layout.prototypes(d, budget).min(self.corpus.len() / 2);
        let size = Size { d, count, novelty_entries: Layout::novelty_entries(budget) };
        let enough = count >= self.num_mechanisms;
        enough.then(|| self.bank(size, layout.codec, selection, seed))
    }

    /// A bank of a given size.
    pub fn bank(&self, size: Size, codec: Codec, selection: Selection, seed: u64) -> Bank {
        let Size { d, count, novelty_entries } = size;
        let vectors = self.corpus.leading(d);
        let rows = self.choose(&vectors, d, count, selection, seed);
        let prototypes: Vec<i16> = rows
            .iter()
            .flat_map(|&row| vectors[row * d..][..d].iter().map(|q| i16::from(on_grid(*q))))
            .collect();
        let prototypes = codec.decoded(prototypes, d);
        let cells = CellMoments::new(self, &vectors, &prototypes, d);
        let observations: Vec<i16> =
            self.lessons.iter().flat_map(|&row| &vectors[row * d..][..d]).copied().collect();
        let near = Neighborhoods::new(&observations, &prototypes, d);
        let exact: Vec<f32> =
            self.posteriors.iter().flat_map(|p| &p.mechanism).map(|p| *p as f32).collect();
        let mut mixture = Mixture::new(&cells.masses, cells.shares.clone(), 1.0);
        let typical = cells.typical_distance.max(1.0);
        mixture.fit_common_reach(&near, &exact, typical);
        mixture.fit(&near, &exact, false);
        // The shares are fitted once more beside the reaches as the device has them.
        let (reaches, shift) = Reach::encode(&mixture.half_lives().collect::<Vec<_>>());
        for (rate, reach) in mixture.log_rate.iter_mut().zip(&reaches) {
            *rate = (std::f64::consts::LN_2 / reach.half_life(shift)).ln() as f32;
        }
        mixture.fit(&near, &exact, true);
        let shares = mixture.shares();
        let has = self.mechanisms_with();
        let present: Vec<Vec<f32>> = has
            .iter()
            .map(|has| {
                let present = |shares: &[f32]| shares.iter().zip(has).map(|(s, h)| s * h).sum();
                shares.chunks_exact(self.num_mechanisms).map(present).collect()
            })
            .collect();
        let moments = moments::fit(&mixture, &near, &self.posteriors, &present, &cells.moments);
        let ranges = self.exact.ranges();
        let mut bank = Bank {
            d,
            num_mechanisms: self.num_mechanisms,
            vectors: prototypes.iter().map(|q| *q as i8).collect(),
            mechanism: rows.iter().map(|&row| self.corpus.mechanism[row] as u8).collect(),
            masses: integer_shares(&cells.masses),
            reaches,
            shift,
            shares: shares.chunks_exact(self.num_mechanisms).flat_map(share_codes).collect(),
            theta: rows
                .iter()
                .flat_map(|&row| self.corpus.theta[row * ranges.len()..].iter().zip(ranges))
                .map(|(value, range)| code(share_of_range(*value, *range)))
                .collect(),
            moments: (0..rows.len())
                .flat_map(|at| moments.iter().map(move |m| [m.mean[at], m.sd[at]].map(code)))
                .collect(),
            has: has.iter().map(|has| has.iter().map(|h| *h > 0.0).collect()).collect(),
            novelty: Vec::new(),
            rows,
        };
        bank.novelty = bank.novelty_table(self.held_out, novelty_entries);
        bank
    }

    fn choose(
        &self,
        vectors: &[i16],
        d: usize,
        count: usize,
        selection: Selection,
        seed: u64,
    ) -> Vec<usize> {
        let sampled = self.corpus.len().min(CANDIDATES.max(8 * count));
        let rows: Vec<usize> = (0..sampled).map(|at| at * self.corpus.len() / sampled).collect();
        let sample: Vec<i16> =
            rows.iter().flat_map(|&row| &vectors[row * d..][..d]).copied().collect();
        let candidates = Candidates {
            vectors: &sample,
            d,
            mechanism: &rows.iter().map(|&row| self.corpus.mechanism[row]).collect::<Vec<_>>(),
            weight: &rows.iter().map(|&row| self.corpus.weight(row)).collect::<Vec<_>>(),
        };
        let chosen = coreset::choose(candidates, count, selection, seed);
        chosen.into_iter().map(|at| rows[at]).collect()
    }

    /// For each parameter, 1 for the mechanisms that have it and 0 for the others.
    fn mechanisms_with(&self) -> Vec<Vec<f32>> {
        let d_theta = self.exact.ranges().len();
        let mut has = vec![vec![0.0; self.num_mechanisms]; d_theta];
        for (theta, mechanism) in
            self.corpus.theta.chunks_exact(d_theta.max(1)).zip(&self.corpus.mechanism)
        {
            for (has, _) in has.iter_mut().zip(theta).filter(|(_, value)| !value.is_nan()) {
                has[usize::from(*mechanism)] = 1.0;
            }
        }
        has
    }
}

/// What the simulations nearest to each prototype are like.
struct CellMoments {
    /// Share of the corpus.
    masses: Vec<f64>,
    /// `[count, mechanisms]`.
    shares: Vec<f32>,
    /// Of each parameter.
    moments: Vec<Moments>,
    /// Median squared distance of a simulation to its prototype.
    typical_distance: f64,
}

impl CellMoments {
    fn new(subject: &Subject<'_>, vectors: &[i16], prototypes: &[i16], d: usize) -> CellMoments {
        let (corpus, k) = (subject.corpus, subject.num_mechanisms);
        let count = prototypes.len() / d;
        let nearest = cells::nearest_centers(vectors, prototypes, d);
        let mut distances: Vec<u32> = nearest.iter().map(|nearest| nearest.1).collect();
        let middle = distances.len() / 2;
        let typical_distance = f64::from(*distances.select_nth_unstable(middle).1);
        let mut shares = vec![0.0_f64; count * k];
        let ranges = subject.exact.ranges();
        let mut sums = vec![[0.0_f64; 3]; count * ranges.len()];
        for (row, (cell, _)) in nearest.into_iter().enumerate() {
            let weight = corpus.weight(row);
            shares[cell * k + usize::from(corpus.mechanism[row])] += weight;
            let theta = corpus.theta[row * ranges.len()..].iter().zip(ranges);
            for (sums, (value, range)) in sums[cell * ranges.len()..].iter_mut().zip(theta) {
                let share = f64::from(share_of_range(*value, *range));
                if !share.is_nan() {
                    sums[0] += weight;
                    sums[1] += weight * share;
                    sums[2] += weight * share * share;
                }
            }
        }
        let masses: Vec<f64> = shares.chunks_exact(k).map(|cell| cell.iter().sum()).collect();
        let total: f64 = masses.iter().sum();
        let moments = (0..ranges.len()).map(|at| {
            let cell = sums.iter().skip(at).step_by(ranges.len());
            // A cell without the parameter says nothing of it: the middle of its range, as unsure as can be.
            let mean = |s: &[f64; 3]| if s[0] > 0.0 { s[1] / s[0] } else { 0.5 };
            let square = |s: &[f64; 3]| if s[0] > 0.0 { s[2] / s[0] } else { 1.0 / 3.0 };
            Moments {
                mean: cell.clone().map(|s| mean(s) as f32).collect(),
                sd: cell.map(|s| (square(s) - mean(s).powi(2)).max(0.0).sqrt() as f32).collect(),
            }
        });
        CellMoments {
            moments: moments.collect(),
            shares: shares
                .chunks_exact(k)
                .zip(&masses)
                .flat_map(|(cell, mass)| cell.iter().map(move |s| (s / mass.max(1e-12)) as f32))
                .collect(),
            masses: masses.iter().map(|mass| mass / total).collect(),
            typical_distance,
        }
    }
}

/// How far a prototype's kernel reaches, as one byte: its half-life is `2^(12 + shift) / ((16 + low) 2^high)` of the byte's nibbles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach(pub u8);

impl Reach {
    /// Codes of half-lives, and the shift that lets the widest be said.
    fn encode(half_lives: &[f64]) -> (Vec<Reach>, u8) {
        let widest = half_lives.iter().copied().fold(1.0, f64::max);
        let shift = (0..20).find(|shift| Reach(0).half_life(*shift) >= widest).unwrap_or(20);
        let nearest = |half_life: &f64| {
            let error = |code: u8| (Reach(code).half_life(shift) / half_life).ln().abs();
            Reach((0..=255).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(0))
        };
        (half_lives.iter().map(nearest).collect(), shift)
    }

    /// Squared distance over which the kernel halves.
    pub fn half_life(self, shift: u8) -> f64 {
        let (high, low) = (self.0 >> 4, self.0 & 15);
        libm::exp2(f64::from(shift) + 8.0 - f64::from(high)) / (16.0 + f64::from(low))
    }

    /// Halvings of the kernel at a squared distance, in 1/256.
    pub fn exponent(self, squared_distance: u32, shift: u8) -> u32 {
        let (high, low) = (self.0 >> 4, self.0 & 15);
        let product = (u64::from(squared_distance) * (16 + u64::from(low))) << high;
        u32::try_from(product >> shift).unwrap_or(u32::MAX)
    }
}

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
    /// Shift of the reaches.
    pub shift: u8,
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
    pub theta: Vec<exact::Marginal>,
    /// Squared distance to the nearest prototype.
    pub least: u32,
    /// Conformal p-value of that distance.
    pub novelty: f64,
}

impl Bank {
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
            .map(|(distance, reach)| reach.exponent(*distance, self.shift))
            .collect();
        let least_exponent = exponents.iter().copied().min().unwrap_or(0);
        let weights = exponents.iter().zip(&self.masses).map(|(exponent, mass)| {
            u64::from(kernel_weight(exponent - least_exponent, 1 << 16)) * u64::from(*mass)
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
            let unit = f64::from(CODE_MAX - 1.0);
            let present = weight / total as f64;
            exact::Marginal { present, mean: mean / unit, sd: variance.sqrt() / unit }
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
    fn novelty_table(&self, held_out: &Embedded, entries: usize) -> Vec<u32> {
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

/// A share of a range in 1/254; 255 for NaN.
fn code(share: f32) -> u8 {
    let code = (share.clamp(0.0, 1.0) * (CODE_MAX - 1.0)).round();
    if share.is_nan() { u8::MAX } else { code as u8 }
}

/// Shares in 1/255 that sum to 255: rounded down, and what is left to those that lost the most.
fn share_codes(shares: &[f32]) -> Vec<u8> {
    let exact: Vec<f32> = shares.iter().map(|share| share * CODE_MAX).collect();
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
    fn reaches_are_within_a_thirtieth() {
        let half_lives: Vec<f64> =
            (0..60).map(|at| 0.05 * libm::exp2(f64::from(at) / 4.0)).collect();
        let (reaches, shift) = Reach::encode(&half_lives);
        for (half_life, reach) in half_lives.iter().zip(reaches) {
            let found = reach.half_life(shift);
            assert!((found / half_life - 1.0).abs() < 1.0 / 30.0, "{found} {half_life}");
            let halvings = f64::from(reach.exponent(40_000, shift)) / 256.0;
            assert!((halvings - 40_000.0 / found).abs() <= 1.0 / 256.0, "{halvings}");
        }
    }

    #[test]
    fn share_codes_sum_to_255() {
        assert_eq!(share_codes(&[1.0 / 3.0; 3]), [85, 85, 85]);
        assert_eq!(share_codes(&[0.5, 0.5]), [128, 127]);
        assert_eq!(share_codes(&[1.0]), [255]);
        assert_eq!(share_codes(&[0.999, 0.0005, 0.0005]), [255, 0, 0]);
    }
}
