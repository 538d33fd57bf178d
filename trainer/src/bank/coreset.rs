//! Which simulations the device keeps.
//!
//! All ways choose among the same simulations of the corpus. What is kept is always a simulation, never an average: it can be replayed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::cells::{move_to_means, nearest_centers, squared_distance};

/// Rounds of k-means; the assignment has settled to within a percent before.
const ROUNDS: usize = 8;

/// A way to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// k-means with k-means++ seeds (Arthur and Vassilvitskii 2007), then the simulation nearest to each center.
    Medoids,
    /// Each next one farthest from those chosen (Gonzalez 1985): covers the corpus, whatever its density.
    KCenter,
    /// Kernel herding (Chen, Welling and Smola 2010, eq. (8)): each next one where the corpus's joint density of embedding and mechanism exceeds that
    /// of those chosen the most.
    Herding,
    /// Uniformly.
    Random,
}

impl Selection {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Selection::Medoids => "medoids",
            Selection::KCenter => "k-center",
            Selection::Herding => "herding",
            Selection::Random => "random",
        }
    }
}

/// What is chosen among.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidates<'c> {
    /// `[n, d]`.
    pub vectors: &'c [i16],
    /// Width of a vector, a multiple of four.
    pub d: usize,
    /// Mechanism of each.
    pub mechanism: &'c [u16],
    /// Weight of each.
    pub weight: &'c [f64],
}

impl Candidates<'_> {
    fn len(&self) -> usize {
        self.mechanism.len()
    }

    fn row(&self, at: usize) -> &[i16] {
        &self.vectors[at * self.d..][..self.d]
    }
}

/// Chooses at most `count` candidates: positions, ascending, each once.
///
/// Deterministic in its arguments, whatever the number of threads.
pub(super) fn choose(
    candidates: Candidates<'_>,
    count: usize,
    selection: Selection,
    seed: u64,
) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = count.min(candidates.len());
    let mut chosen = match selection {
        Selection::Medoids => medoids(candidates, count, &mut rng),
        Selection::KCenter => k_center(candidates, count),
        Selection::Herding => herding(candidates, count),
        Selection::Random => random(candidates, count, &mut rng),
    };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn random(candidates: Candidates<'_>, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    for at in 0..count {
        let other = at + (uniform(rng) * (order.len() - at) as f64) as usize;
        order.swap(at, other);
    }
    order.truncate(count);
    order
}

fn medoids(candidates: Candidates<'_>, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut centers = seeds(candidates, count, rng);
    for _ in 0..ROUNDS {
        move_to_means(&mut centers, candidates.vectors, candidates.d, |at| candidates.weight[at]);
    }
    let mut best: Vec<Option<(u32, usize)>> = vec![None; count];
    let nearest = nearest_centers(candidates.vectors, &centers, candidates.d);
    for (at, (center, distance)) in nearest.into_iter().enumerate() {
        if best[center].is_none_or(|(least, _)| distance < least) {
            best[center] = Some((distance, at));
        }
    }
    best.into_iter().flatten().map(|(_, at)| at).collect()
}

/// k-means++: each next seed with probability proportional to its weight and squared distance from those chosen.
fn seeds(candidates: Candidates<'_>, count: usize, rng: &mut ChaCha8Rng) -> Vec<i16> {
    let first = (uniform(rng) * candidates.len() as f64) as usize;
    let mut centers = candidates.row(first).to_vec();
    let mut least = vec![u32::MAX; candidates.len()];
    for _ in 1..count {
        shrink(&mut least, candidates, &centers[centers.len() - candidates.d..]);
        let share = |at: usize| f64::from(least[at]) * candidates.weight[at];
        let mut left = uniform(rng) * (0..least.len()).map(share).sum::<f64>();
        let chosen = (0..least.len()).find(|&at| {
            left -= share(at);
            left < 0.0
        });
        // With fewer distinct vectors than seeds, the rest repeat the first; duplicates are dropped later.
        centers.extend(candidates.row(chosen.unwrap_or(first)));
    }
    centers
}

/// Lowers each candidate's squared distance from those chosen by the newest of them.
fn shrink(least: &mut [u32], candidates: Candidates<'_>, newest: &[i16]) {
    let rows = candidates.vectors.par_chunks_exact(candidates.d).with_min_len(4096);
    least.par_iter_mut().zip(rows).for_each(|(least, row)| {
        *least = squared_distance(row, newest).min(*least);
    });
}

fn k_center(candidates: Candidates<'_>, count: usize) -> Vec<usize> {
    let mut mean = candidates.row(0).to_vec();
    move_to_means(&mut mean, candidates.vectors, candidates.d, |at| candidates.weight[at]);
    let middle =
        (0..candidates.len()).min_by_key(|&at| squared_distance(candidates.row(at), &mean));
    let mut chosen = vec![middle.unwrap_or(0)];
    let mut least = vec![u32::MAX; candidates.len()];
    while chosen.len() < count {
        shrink(&mut least, candidates, candidates.row(chosen[chosen.len() - 1]));
        // The first of equals.
        let farthest = (0..least.len()).rev().max_by_key(|&at| least[at]).unwrap_or(0);
        chosen.push(farthest);
    }
    chosen
}

fn herding(candidates: Candidates<'_>, count: usize) -> Vec<usize> {
    /// Candidates, and the simulations whose density they are compared by.
    const MOST: usize = 8_192;
    let step = candidates.len().div_ceil(MOST.max(2 * count)).max(1);
    let rows: Vec<usize> = (0..candidates.len()).step_by(step).collect();
    // The kernel is as wide as the gaps between those chosen will be: the median distance to the nearest of as many at random.
    let centers: Vec<i16> = rows
        .iter()
        .step_by((rows.len() / count).max(1))
        .flat_map(|&at| candidates.row(at))
        .copied()
        .collect();
    let odd: Vec<i16> =
        rows.iter().skip(1).step_by(2).flat_map(|&at| candidates.row(at)).copied().collect();
    let mut gaps: Vec<u32> =
        nearest_centers(&odd, &centers, candidates.d).into_iter().map(|(_, gap)| gap).collect();
    gaps.sort_unstable();
    let width = f64::from(gaps.get(gaps.len() / 2).copied().unwrap_or(1).max(1));
    let kernel = |a: usize, b: usize| {
        let same = f64::from(u8::from(candidates.mechanism[a] == candidates.mechanism[b]));
        let distance = f64::from(squared_distance(candidates.row(a), candidates.row(b)));
        (1.0 + same) / 2.0 * libm::exp2(-distance / width)
    };
    let total: f64 = rows.iter().map(|&at| candidates.weight[at]).sum();
    let density: Vec<f64> = rows
        .par_iter()
        .map(|&a| rows.iter().map(|&b| candidates.weight[b] * kernel(a, b)).sum::<f64>() / total)
        .collect();
    let mut covered = vec![0.0; rows.len()];
    let mut chosen: Vec<usize> = Vec::with_capacity(count);
    while chosen.len() < count {
        let lack = |at: usize| density[at] - covered[at] / (chosen.len() + 1) as f64;
        let best = (0..rows.len()).rev().max_by(|&a, &b| lack(a).total_cmp(&lack(b))).unwrap_or(0);
        chosen.push(rows[best]);
        covered.par_iter_mut().zip(&rows).for_each(|(sum, &at)| *sum += kernel(at, rows[best]));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six clusters of ten on a line, 30 apart; the last has one outlier, 100 beyond.
    fn clusters() -> (Vec<i16>, Vec<u16>) {
        let place = |at: i16| if at == 59 { 200 } else { (at / 10 - 3) * 30 + at % 10 - 5 };
        ((0..60).flat_map(|at| [place(at), 0, 0, 0]).collect(), vec![0; 60])
    }

    fn chosen(selection: Selection, count: usize) -> Vec<usize> {
        let (vectors, mechanism) = clusters();
        let candidates =
            Candidates { vectors: &vectors, d: 4, mechanism: &mechanism, weight: &[1.0; 60] };
        choose(candidates, count, selection, 7)
    }

    #[test]
    fn every_selection_is_ascending_and_without_repeats() {
        use Selection::{Herding, KCenter, Medoids, Random};
        for selection in [Medoids, KCenter, Herding, Random] {
            let rows = chosen(selection, 7);
            assert!(rows.windows(2).all(|pair| pair[0] < pair[1]), "{selection:?} {rows:?}");
            assert!(rows.iter().all(|&row| row < 60) && !rows.is_empty());
        }
        assert_eq!(chosen(Random, 60).len(), 60);
    }

    #[test]
    fn medoids_find_separate_clusters() {
        let mut found: Vec<usize> = chosen(Selection::Medoids, 7).iter().map(|r| r / 10).collect();
        found.dedup();
        assert_eq!(found, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn k_center_takes_the_outlier_first() {
        assert!(chosen(Selection::KCenter, 2).contains(&59));
    }

    #[test]
    fn herding_takes_every_cluster_once() {
        let found: Vec<usize> = chosen(Selection::Herding, 6).iter().map(|r| r / 10).collect();
        assert_eq!(found, [0, 1, 2, 3, 4, 5]);
    }
}
