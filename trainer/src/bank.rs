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
mod cell_moments;
mod cells;
mod coreset;
mod embedded;
pub mod exact;
mod integers;
mod layout;
mod mixture;
mod moments;
mod product;
pub mod reach;

use std::collections::HashSet;

use rayon::prelude::*;

use cell_moments::CellMoments;
pub use cells::squared_distance;
use coreset::Candidates;
pub use coreset::Selection;
pub use embedded::Embedded;
use exact::{Bandwidth, Exact, Posterior};
pub use integers::{Answer, Bank, on_grid, theta_code};
use integers::{integer_masses, share_code, share_codes};
pub use layout::{Layout, Size};
use mixture::{Mixture, Neighborhoods, Places};
pub use product::Codec;

/// Simulations of the corpus that the mixture is fitted to: one of sixteen, but no fewer and no more than these.
const LESSONS: [usize; 2] = [16_384, 65_536];
/// Simulations of the corpus that prototypes are chosen among.
const CANDIDATES: usize = 65_536;
/// Widths of the embedding that are tried, ascending.
pub const WIDTHS: [usize; 5] = [4, 8, 12, 16, 32];

/// What is known of a corpus before any bank is made of it.
#[derive(Debug)]
pub struct Subject<'c> {
    /// The corpus.
    pub corpus: &'c Embedded,
    /// The search through all of it.
    pub exact: Exact,
    /// Of the exact kernel.
    pub bandwidth: Bandwidth,
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
        let bandwidth = exact.choose_bandwidth(validation);
        let count = (corpus.len() / 16).clamp(LESSONS[0], LESSONS[1]).min(corpus.len());
        let lessons: Vec<usize> = (0..count).map(|at| at * corpus.len() / count).collect();
        let posterior = |&row: &usize| exact.posterior(corpus.row(row), bandwidth, Some(row));
        let posteriors = lessons.par_iter().map(posterior).collect();
        let posterior = |at: usize| exact.posterior(validation.row(at), bandwidth, None);
        let validation_posteriors = (0..validation.len()).into_par_iter().map(posterior).collect();
        Subject {
            corpus,
            exact,
            bandwidth,
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
    /// validation simulations. In that width the prototypes move, which stays if it agrees better still.
    pub fn compress(&self, layout: &Layout, budget: usize, seed: u64) -> Option<Bank> {
        let widths = WIDTHS.into_iter().filter(|d| *d <= self.corpus.d);
        let banks = widths
            .filter_map(|d| self.compress_to(d, layout, budget, Selection::Medoids, seed))
            .map(|bank| (self.disagreement(&bank), bank));
        let best = banks.min_by(|a, b| a.0.total_cmp(&b.0))?.1;
        let size = self.size(best.d, layout, budget);
        Some(self.better_moved(best, size, layout.codec, seed))
    }

    /// A bank of a given size, whose prototypes move where that makes it agree better with the validation simulations.
    pub fn sized(&self, size: Size, codec: Codec, seed: u64) -> Bank {
        let bank = self.bank(size, codec, Selection::Medoids, seed);
        self.better_moved(bank, size, codec, seed)
    }

    fn better_moved(&self, bank: Bank, size: Size, codec: Codec, seed: u64) -> Bank {
        // With one mechanism there is nothing to move for.
        if self.num_mechanisms < 2 {
            return bank;
        }
        let moved = self.moved(size, codec, seed);
        if self.disagreement(&moved) < self.disagreement(&bank) { moved } else { bank }
    }

    /// With the exact posteriors of the validation simulations.
    fn disagreement(&self, bank: &Bank) -> f64 {
        let judged = agreement::judge(bank, self.validation, &self.validation_posteriors);
        judged.mechanism_tv + judged.theta_distance
    }

    /// The same in the first `d` dimensions of the embedding, with prototypes of any selection, which stay where they are.
    pub fn compress_to(
        &self,
        d: usize,
        layout: &Layout,
        budget: usize,
        selection: Selection,
        seed: u64,
    ) -> Option<Bank> {
        let size = self.size(d, layout, budget);
        let enough = size.count >= self.num_mechanisms;
        enough.then(|| self.bank(size, layout.codec, selection, seed))
    }

    fn size(&self, d: usize, layout: &Layout, budget: usize) -> Size {
        let count = layout.prototypes(d, budget).min(self.corpus.len() / 2);
        Size { d, count, novelty_entries: Layout::novelty_entries(budget) }
    }

    /// A bank of a given size.
    pub fn bank(&self, size: Size, codec: Codec, selection: Selection, seed: u64) -> Bank {
        let vectors = self.corpus.leading(size.d);
        let rows = self.choose(&vectors, size.d, size.count, selection, seed);
        self.fitted(&vectors, size, codec, rows, None)
    }

    /// A bank of a given size whose prototypes are the simulations nearest to where k-medoids move when places, reaches and shares are
    /// fitted together.
    fn moved(&self, size: Size, codec: Codec, seed: u64) -> Bank {
        let vectors = self.corpus.leading(size.d);
        let rows = self.choose(&vectors, size.d, size.count, Selection::Medoids, seed);
        let (observations, exact) = self.lessons_in(&vectors, size.d);
        let (rows, start) = self.refined(&vectors, size.d, &rows, &observations, &exact);
        self.fitted(&vectors, size, codec, rows, Some(start))
    }

    /// Embeddings of the lessons in the first `d` dimensions, and their mechanism posteriors.
    fn lessons_in(&self, vectors: &[i16], d: usize) -> (Vec<i16>, Vec<f32>) {
        let observations = self.lessons.iter().flat_map(|&row| &vectors[row * d..][..d]);
        let exact = self.posteriors.iter().flat_map(|p| &p.mechanism).map(|p| *p as f32);
        (observations.copied().collect(), exact.collect())
    }

    /// A bank of the simulations in `rows`, whose reaches and shares are fitted from `start` on, or from their cells.
    fn fitted(
        &self,
        vectors: &[i16],
        size: Size,
        codec: Codec,
        rows: Vec<usize>,
        start: Option<Mixture>,
    ) -> Bank {
        let Size { d, novelty_entries, .. } = size;
        let (observations, exact) = self.lessons_in(vectors, d);
        let prototypes = codec.decoded(on_the_grid(vectors, d, &rows), d);
        let cells = CellMoments::new(self, vectors, &prototypes, d);
        let near = Neighborhoods::new(&observations, &prototypes, d);
        let mut mixture = Mixture::new(&cells.masses, cells.shares.clone(), 1.0);
        match start {
            Some(start) => {
                mixture.log_rate = start.log_rate;
                mixture.log_share = start.log_share;
            }
            None => mixture.fit_common_reach(&near, &exact, cells.typical_distance.max(1.0)),
        }
        mixture.fit(&near, &exact, false);
        // The shares are fitted once more beside the reaches as the device has them.
        let (reaches, reach_shift) = reach::encode(&mixture.half_lives().collect::<Vec<_>>());
        for (rate, reach) in mixture.log_rate.iter_mut().zip(&reaches) {
            *rate = (std::f64::consts::LN_2 / reach::half_life(*reach, reach_shift)).ln() as f32;
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
            masses: integer_masses(&cells.masses),
            reaches,
            reach_shift,
            shares: shares.chunks_exact(self.num_mechanisms).flat_map(share_codes).collect(),
            theta: rows
                .iter()
                .flat_map(|&row| self.corpus.theta[row * ranges.len()..].iter().zip(ranges))
                .map(|(value, range)| theta_code(*value, *range))
                .collect(),
            moments: (0..rows.len())
                .flat_map(|at| moments.iter().map(move |m| [m.mean[at], m.sd[at]].map(share_code)))
                .collect(),
            has: has.iter().map(|has| has.iter().map(|h| *h > 0.0).collect()).collect(),
            novelty: Vec::new(),
            rows,
        };
        bank.novelty = bank.novelty_table(self.held_out, novelty_entries);
        bank
    }

    /// The simulations nearest to where the prototypes in `rows` agree best with the lessons, ascending, and the mixture found on the way.
    fn refined(
        &self,
        vectors: &[i16],
        d: usize,
        rows: &[usize],
        observations: &[i16],
        exact: &[f32],
    ) -> (Vec<usize>, Mixture) {
        let prototypes = on_the_grid(vectors, d, rows);
        let cells = CellMoments::new(self, vectors, &prototypes, d);
        let near = Neighborhoods::new(observations, &prototypes, d);
        let mut mixture = Mixture::new(&cells.masses, cells.shares, 1.0);
        mixture.fit_common_reach(&near, exact, cells.typical_distance.max(1.0));
        let values = prototypes.iter().map(|q| f32::from(*q)).collect();
        let mut places = Places { values, observations, d };
        mixture.refine(&mut places, exact);
        let mut order: Vec<(usize, usize)> =
            nearest_rows(vectors, &places.rounded(), d).into_iter().zip(0..).collect();
        order.sort_unstable();
        let (rows, from): (Vec<usize>, Vec<usize>) = order.into_iter().unzip();
        (rows, mixture.select(&from))
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

/// Rows of vectors `[n, d]` on the bank's grid.
fn on_the_grid(vectors: &[i16], d: usize, rows: &[usize]) -> Vec<i16> {
    let of = |&row: &usize| vectors[row * d..][..d].iter().map(|q| i16::from(on_grid(*q)));
    rows.iter().flat_map(of).collect()
}

/// Row of the vector nearest to each point; the first of equals. No row is taken twice: the later point takes its next nearest.
fn nearest_rows(vectors: &[i16], points: &[i16], d: usize) -> Vec<usize> {
    let nearest = |point: &[i16], taken: &HashSet<usize>| {
        let distances = vectors.chunks_exact(d).map(|v| squared_distance(point, v)).zip(0..);
        distances.filter(|(_, row)| !taken.contains(row)).min().map_or(0, |(_, row)| row)
    };
    let mut taken = HashSet::new();
    let first: Vec<usize> =
        points.par_chunks_exact(d).map(|point| nearest(point, &HashSet::new())).collect();
    let each = first.into_iter().zip(points.chunks_exact(d));
    each.map(|(row, point)| {
        let row = if taken.contains(&row) { nearest(point, &taken) } else { row };
        taken.insert(row);
        row
    })
    .collect()
}
