//! Chooses the simulations that the device keeps.
//!
//! Within each mechanism, k-means with k-means++ seeds (Arthur and Vassilvitskii 2007) on the integer embeddings; each cluster is
//! then represented by the simulation nearest to its center, and stands for the simulations of its mechanism that are nearest to
//! it. Mechanisms get prototypes in proportion to their share, so the masses carry the corpus's composition.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use simground_runtime::{kernel, kernel_weight};

use crate::bank::Embedded;

/// Rows of the corpus that the device keeps, and what each stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Prototypes {
    /// Row in the corpus of each prototype: by mechanism, then by row.
    pub rows: Vec<usize>,
    /// `[n, d]` on the bank's grid.
    pub vectors: Vec<i8>,
    /// Share of the corpus in 1/65,536, at least 1 each, at most 65,536 together.
    pub masses: Vec<u16>,
}

/// Iterations of k-means; the assignment has settled to within a percent long before.
const ITERATIONS: usize = 15;

/// Chooses `count` prototypes.
///
/// Deterministic in its arguments, whatever the number of threads.
///
/// # Panics
///
/// If the corpus has fewer simulations than `count`, or `count` is not at least the number of mechanisms present.
pub fn choose(corpus: &Embedded, num_mechanisms: usize, count: usize, seed: u64) -> Prototypes {
    let members: Vec<Vec<usize>> = (0..num_mechanisms)
        .map(|m| (0..corpus.len()).filter(|&at| usize::from(corpus.mechanism[at]) == m).collect())
        .collect();
    let counts = shares(&members.iter().map(Vec::len).collect::<Vec<_>>(), count);
    let mut rows = Vec::with_capacity(count);
    let mut masses = Vec::with_capacity(count);
    for (mechanism, (members, k)) in members.iter().zip(counts).enumerate() {
        if k == 0 {
            continue;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(mechanism as u64);
        let mut medoids = medoids(corpus, members, k, &mut rng);
        medoids.sort_unstable();
        medoids.dedup();
        masses.extend(represented(corpus, members, &medoids));
        rows.extend(medoids);
    }
    let vectors =
        rows.iter().flat_map(|&row| corpus.row(row).iter().map(|q| on_grid(*q))).collect();
    Prototypes { rows, vectors, masses: integer_shares(&masses) }
}

/// The bank's `i8` grid.
pub(crate) fn on_grid(q: i16) -> i8 {
    q.clamp(-127, 127) as i8
}

/// Splits `count` in proportion to `sizes`: at least one where there is anything, never more than there is.
fn shares(sizes: &[usize], count: usize) -> Vec<usize> {
    let total: usize = sizes.iter().sum();
    assert!(count <= total, "{count} prototypes of {total} simulations");
    let mut shares: Vec<usize> =
        sizes.iter().map(|&n| (count * n / total).max(usize::from(n > 0)).min(n)).collect();
    // What rounding left over goes to whoever lacks the most, the first of equals.
    while shares.iter().sum::<usize>() != count {
        let lack = |at: &usize| (count * sizes[*at]) as i64 - (shares[*at] * total) as i64;
        if shares.iter().sum::<usize>() < count {
            let open = (0..sizes.len()).filter(|&at| shares[at] < sizes[at]);
            let at = open.rev().max_by_key(lack).expect("count is at most the total");
            shares[at] += 1;
        } else {
            let open = (0..sizes.len()).filter(|&at| shares[at] > 1);
            let at = open.min_by_key(lack).expect("count is at least the number of mechanisms");
            shares[at] -= 1;
        }
    }
    shares
}

/// k-means, then the member nearest to each center.
fn medoids(corpus: &Embedded, members: &[usize], k: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let d = corpus.d;
    let mut centers = seeds(corpus, members, k, rng);
    for _ in 0..ITERATIONS {
        let nearest = nearest_centers(corpus, members, &centers);
        let (mut sums, mut weights) = (vec![0.0; k * d], vec![0.0; k]);
        for (&at, (center, _)) in members.iter().zip(&nearest) {
            let weight = corpus.weight(at);
            weights[*center] += weight;
            for (sum, q) in sums[center * d..][..d].iter_mut().zip(corpus.row(at)) {
                *sum += weight * f64::from(*q);
            }
        }
        // A center that lost all its members stays where it was.
        for center in (0..k).filter(|&center| weights[center] > 0.0) {
            for (value, sum) in centers[center * d..][..d].iter_mut().zip(&sums[center * d..][..d])
            {
                *value = (sum / weights[center]) as f32;
            }
        }
    }
    let mut best: Vec<Option<(f32, usize)>> = vec![None; k];
    for (&at, (center, distance)) in members.iter().zip(nearest_centers(corpus, members, &centers))
    {
        if best[center].is_none_or(|(least, _)| distance < least) {
            best[center] = Some((distance, at));
        }
    }
    best.into_iter().flatten().map(|(_, at)| at).collect()
}

/// k-means++: each next seed with probability proportional to its squared distance from those chosen.
fn seeds(corpus: &Embedded, members: &[usize], k: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let uniform = |rng: &mut ChaCha8Rng| (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let point = |at: usize| corpus.row(at).iter().map(|q| f32::from(*q)).collect::<Vec<f32>>();
    let first = members[(uniform(rng) * members.len() as f64) as usize];
    let mut centers = point(first);
    let mut distances: Vec<f64> = vec![f64::INFINITY; members.len()];
    while centers.len() < k * corpus.d {
        let newest = &centers[centers.len() - corpus.d..];
        distances.par_iter_mut().zip(members).for_each(|(least, &at)| {
            let distance = squared_distance(corpus.row(at), newest);
            *least = least.min(f64::from(distance) * corpus.weight(at));
        });
        let total: f64 = distances.iter().sum();
        let mut left = uniform(rng) * total;
        let chosen = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        // With fewer distinct points than k, the rest repeat the first; duplicates are dropped later.
        centers.extend(point(members[chosen.unwrap_or(0)]));
    }
    centers
}

fn squared_distance(q: &[i16], center: &[f32]) -> f32 {
    q.iter().zip(center).map(|(q, c)| (f32::from(*q) - c) * (f32::from(*q) - c)).sum()
}

/// Nearest center of each member and its squared distance; the first of equals.
fn nearest_centers(corpus: &Embedded, members: &[usize], centers: &[f32]) -> Vec<(usize, f32)> {
    let nearest = |&at: &usize| {
        let mut best = (0, f32::INFINITY);
        for (center, point) in centers.chunks_exact(corpus.d).enumerate() {
            let distance = squared_distance(corpus.row(at), point);
            if distance < best.1 {
                best = (center, distance);
            }
        }
        best
    };
    members.par_iter().map(nearest).collect()
}

/// Total weight of the members that are nearest to each medoid.
fn represented(corpus: &Embedded, members: &[usize], medoids: &[usize]) -> Vec<f64> {
    let centers: Vec<f32> = medoids
        .iter()
        .flat_map(|&at| corpus.row(at).iter().map(|q| f32::from(on_grid(*q))))
        .collect();
    let mut masses = vec![0.0; medoids.len()];
    for (&at, (center, _)) in members.iter().zip(nearest_centers(corpus, members, &centers)) {
        masses[center] += corpus.weight(at);
    }
    masses
}

/// Masses as shares of 65,536: at least 1 each, at most 65,536 together.
pub(crate) fn integer_shares(masses: &[f64]) -> Vec<u16> {
    let total: f64 = masses.iter().sum();
    let room = 65_536.0 - masses.len() as f64;
    let share = |mass: &f64| 1.0 + (mass / total * room).floor();
    masses.iter().map(|mass| share(mass).min(65_535.0) as u16).collect()
}

/// Squared distances of each observation to every prototype, `[n, prototypes]`.
pub fn distances(observations: &Embedded, prototypes: &Prototypes) -> Vec<u32> {
    let vectors: Vec<u8> = prototypes.vectors.iter().map(|q| q.cast_unsigned()).collect();
    let mut out = vec![0; observations.len() * prototypes.rows.len()];
    let rows = observations.embedding.par_chunks_exact(observations.d);
    rows.zip(out.par_chunks_exact_mut(prototypes.rows.len()))
        .for_each(|(query, out)| kernel::squared_distances(&vectors, query, out));
    out
}

/// Chooses the kernel's decay by what the kernel posterior then says about held-out simulations.
///
/// The score is the mean log probability of the true mechanism minus the mean squared error of the kernel's mean of each parameter,
/// in units of its variance over the held-out simulations: both are proper for what they judge. A mechanism that
/// no prototype in reach has gets a probability of 1e-4.
pub fn choose_decay(corpus: &Embedded, prototypes: &Prototypes, held_out: &Embedded) -> u32 {
    let count = prototypes.rows.len();
    let distances = distances(held_out, prototypes);
    let mut least: Vec<u32> =
        distances.chunks_exact(count).map(|row| row.iter().copied().min().unwrap_or(0)).collect();
    least.sort_unstable();
    let typical = f64::from(least[least.len() / 2].max(1));
    let d_theta = corpus.theta.len() / corpus.len();
    let variances: Vec<f64> =
        (0..d_theta).map(|j| variance(held_out.theta.iter().skip(j).step_by(d_theta))).collect();
    // Half-lives from a sixteenth to sixteen times the typical distance, in half octaves.
    let candidates = (-8..=8)
        .map(|step| (16_777_216.0 / (typical * f64::powf(2.0, f64::from(step) / 2.0))).round());
    let scored = candidates.map(|decay| {
        let decay = decay.clamp(1.0, f64::from(u32::MAX)) as u32;
        let scores: Vec<f64> = (0..held_out.len())
            .into_par_iter()
            .map(|at| {
                let row = &distances[at * count..][..count];
                score(corpus, prototypes, held_out, &variances, at, row, decay)
            })
            .collect();
        (scores.iter().sum::<f64>() / scores.len() as f64, decay)
    });
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(1, |(_, decay)| decay)
}

fn score(
    corpus: &Embedded,
    prototypes: &Prototypes,
    held_out: &Embedded,
    variances: &[f64],
    at: usize,
    distances: &[u32],
    decay: u32,
) -> f64 {
    let least = distances.iter().copied().min().unwrap_or(0);
    let d_theta = variances.len();
    let (mut total, mut same) = (0.0, 0.0);
    let mut theta = vec![(0.0, 0.0); d_theta];
    for ((&distance, &mass), &row) in distances.iter().zip(&prototypes.masses).zip(&prototypes.rows)
    {
        let weight = f64::from(kernel_weight(distance - least, decay)) * f64::from(mass);
        if weight == 0.0 {
            continue;
        }
        total += weight;
        if corpus.mechanism[row] == held_out.mechanism[at] {
            same += weight;
        }
        for ((sum, norm), value) in theta.iter_mut().zip(&corpus.theta[row * d_theta..][..d_theta])
        {
            if !value.is_nan() {
                *sum += weight * f64::from(*value);
                *norm += weight;
            }
        }
    }
    let truth = &held_out.theta[at * d_theta..][..d_theta];
    let (mut error, mut terms) = (0.0, 0.0);
    for (((sum, norm), truth), variance) in theta.iter().zip(truth).zip(variances) {
        if !truth.is_nan() && *variance > 0.0 {
            terms += 1.0;
            error +=
                if *norm > 0.0 { (sum / norm - f64::from(*truth)).powi(2) / variance } else { 1.0 };
        }
    }
    f64::max(same / total, 1e-4).ln() - error / f64::max(terms, 1.0)
}

fn variance<'v>(values: impl Iterator<Item = &'v f32>) -> f64 {
    let values: Vec<f64> = values.filter(|v| !v.is_nan()).map(|v| f64::from(*v)).collect();
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n
}

/// The novelty table: `entries` evenly spaced quantiles of the held-out distances to the nearest prototype, ascending.
pub fn novelty_table(prototypes: &Prototypes, held_out: &Embedded, entries: usize) -> Vec<u32> {
    let distances = distances(held_out, prototypes);
    let mut least: Vec<u32> = distances
        .chunks_exact(prototypes.rows.len())
        .map(|row| row.iter().copied().min().unwrap_or(0))
        .collect();
    least.sort_unstable();
    let entries = entries.min(least.len());
    // Upper ends of equal slices: rounding a quantile up makes a p-value larger, never smaller.
    (1..=entries).map(|entry| least[entry * least.len() / entries - 1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two mechanisms on a line, in clusters of ten around multiples of 30.
    fn clusters() -> Embedded {
        let mut embedded = Embedded {
            d: 4,
            embedding: Vec::new(),
            mechanism: Vec::new(),
            theta: Vec::new(),
            weight: Vec::new(),
            index: (0..60).collect(),
        };
        for at in 0..60_i16 {
            let place = (at / 10 - 3) * 30 + at % 10 - 5;
            embedded.embedding.extend([place, 0, 0, 0]);
            embedded.mechanism.push((at / 10 % 2) as u16);
            embedded.theta.push(f32::from(at));
        }
        embedded
    }

    #[test]
    fn finds_separate_clusters() {
        let corpus = clusters();
        let prototypes = choose(&corpus, 2, 6, 7);
        assert_eq!(prototypes.rows.len(), 6);
        let mut found: Vec<usize> = prototypes.rows.iter().map(|row| row / 10).collect();
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 4, 5]);
        let total: u32 = prototypes.masses.iter().map(|m| u32::from(*m)).sum();
        assert!(total <= 65_536 && total > 65_500, "{total}");
        assert!(prototypes.masses.iter().all(|m| m.abs_diff(65_536_u32.div_euclid(6) as u16) < 20));
    }

    #[test]
    fn shares_are_exact_and_leave_nobody_out() {
        assert_eq!(shares(&[100, 1, 0, 99], 8), [4, 1, 0, 3]);
        assert_eq!(shares(&[3, 3], 6), [3, 3]);
        assert_eq!(shares(&[1, 1000], 2), [1, 1]);
    }

    #[test]
    fn novelty_is_uniform_on_what_it_was_fitted_to() {
        let corpus = clusters();
        let prototypes = choose(&corpus, 2, 6, 7);
        let table = novelty_table(&prototypes, &corpus, 60);
        assert!(table.is_sorted() && table.len() == 60);
        let distances = distances(&corpus, &prototypes);
        let p_values = distances.chunks_exact(6).map(|row| {
            let least = *row.iter().min().unwrap();
            (1 + table.iter().filter(|t| **t >= least).count()) as f64 / 61.0
        });
        let mean = p_values.sum::<f64>() / 60.0;
        assert!((0.45..0.75).contains(&mean), "{mean}");
    }
}
