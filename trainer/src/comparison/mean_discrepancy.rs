//! The maximum mean discrepancy: Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, <https://jmlr.org/papers/v13/gretton12a.html>.

use rayon::prelude::*;

/// Rows of the reference among which the median distance is taken: two million pairs.
const MEDIAN_ROWS: usize = 2_000;

/// Rows of a block of the sums, which are added up in the order of blocks, whatever the number of threads.
const BLOCK: usize = 64;

/// Unbiased estimate of the squared maximum mean discrepancy of two sets `[n, d]` (their Lemma 6, equation (3)) under the kernel
/// `exp(-|a - b|^2 / (2 bandwidth^2))`.
pub fn squared_mean_discrepancy(
    samples: &[f32],
    reference: &[f32],
    d: usize,
    bandwidth: f64,
) -> f64 {
    let decay = (-0.5 / (bandwidth * bandwidth)) as f32;
    let within = |set: &[f32]| {
        let n = (set.len() / d) as f64;
        2.0 * kernel_sum(set, d, decay, |row| &set[(row + 1) * d..]) / (n * (n - 1.0))
    };
    let pairs = (samples.len() / d) as f64 * (reference.len() / d) as f64;
    let between = kernel_sum(samples, d, decay, |_| reference) / pairs;
    within(samples) + within(reference) - 2.0 * between
}

/// Median distance between the rows of a set `[n, d]`, or of as many of them as take no time; 1 where all rows are the same.
pub fn median_distance(set: &[f32], d: usize) -> f64 {
    let n = set.len() / d;
    let kept = n.min(MEDIAN_ROWS);
    // Evenly spread, for samples of a chain resemble those before them.
    let row = |at: usize| &set[(at * n / kept) * d..][..d];
    let mut squares: Vec<f32> =
        (0..kept).flat_map(|a| (0..a).map(move |b| squared_distance(row(a), row(b)))).collect();
    let middle = squares.len() / 2;
    let (_, median, _) = squares.select_nth_unstable_by(middle, f32::total_cmp);
    if *median > 0.0 { f64::from(*median).sqrt() } else { 1.0 }
}

/// The sum over the rows of `set` of the kernel with each row of `others(row)`.
fn kernel_sum<'s>(
    set: &[f32],
    d: usize,
    decay: f32,
    others: impl Fn(usize) -> &'s [f32] + Sync,
) -> f64 {
    let block = |(first, rows): (usize, &[f32])| {
        let row_sum = |(at, row): (usize, &[f32])| {
            let others = others(first * BLOCK + at).chunks_exact(d);
            others
                .map(|other| (decay * squared_distance(row, other)).exp())
                .fold(0.0, |sum, k| sum + f64::from(k))
        };
        rows.chunks_exact(d).enumerate().map(row_sum).sum::<f64>()
    };
    let blocks: Vec<f64> = set.par_chunks(BLOCK * d).enumerate().map(block).collect();
    blocks.iter().sum()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
