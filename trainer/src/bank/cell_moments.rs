//! What the simulations nearest to each prototype are like: where every fit starts from.

use super::exact::share_of_range;
use super::moments::Moments;
use super::{Subject, cells};

/// Means over the cell of each prototype.
pub(super) struct CellMoments {
    /// Share of the corpus.
    pub masses: Vec<f64>,
    /// `[count, mechanisms]`.
    pub shares: Vec<f32>,
    /// Of each parameter.
    pub moments: Vec<Moments>,
    /// Median squared distance of a simulation to its prototype.
    pub typical_distance: f64,
}

impl CellMoments {
    pub fn new(
        subject: &Subject<'_>,
        vectors: &[i16],
        prototypes: &[i16],
        d: usize,
    ) -> CellMoments {
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
