//! Vectors sorted into cells around centers, for searches that must miss nothing.

use rayon::prelude::*;

/// Rounds in which centers move to the mean of their cells.
const ROUNDS: usize = 4;
/// Vectors that the centers are fitted to.
const SAMPLE: usize = 65_536;

/// Vectors in cells.
#[derive(Debug, Clone)]
pub(super) struct Cells {
    d: usize,
    /// `[cells, d]`.
    centers: Vec<i16>,
    /// Distance of each cell's farthest vector from its center.
    radii: Vec<f64>,
    /// First place of each cell, and the end.
    starts: Vec<usize>,
    /// Original row of the vector in each place.
    rows: Vec<u32>,
    /// `[n, d]`, cell after cell.
    vectors: Vec<i16>,
}

impl Cells {
    /// Sorts vectors `[n, d]`, at least one, into about `sqrt(n)` cells.
    pub fn new(vectors: &[i16], d: usize) -> Cells {
        let n = vectors.len() / d;
        let row = |at: usize| &vectors[at * d..][..d];
        let sample: Vec<i16> = (0..n).step_by((n / SAMPLE).max(1)).flat_map(row).copied().collect();
        let count = ((n as f64).sqrt() as usize).max(1);
        let step = (sample.len() / d / count).max(1);
        let mut centers: Vec<i16> =
            sample.chunks_exact(d).step_by(step).take(count).flatten().copied().collect();
        for _ in 0..ROUNDS {
            move_to_means(&mut centers, &sample, d, |_| 1.0);
        }
        let nearest = nearest_centers(vectors, &centers, d);
        let count = centers.len() / d;
        let mut starts = vec![0; count + 1];
        let mut radii = vec![0.0_f64; count];
        for &(center, distance) in &nearest {
            starts[center + 1] += 1;
            radii[center] = radii[center].max(f64::from(distance).sqrt());
        }
        for at in 0..count {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; n];
        for (at, (center, _)) in nearest.into_iter().enumerate() {
            rows[next[center]] = at as u32;
            next[center] += 1;
        }
        let vectors = rows.iter().flat_map(|&at| row(at as usize)).copied().collect();
        Cells { d, centers, radii, starts, rows, vectors }
    }

    /// Cells by ascending lower bound of the squared distance to any of their vectors.
    pub fn by_distance(&self, query: &[i16]) -> impl Iterator<Item = (u32, usize)> + use<> {
        let bound = |(center, radius): (&[i16], &f64)| {
            let reach = f64::from(squared_distance(query, center)).sqrt() - radius;
            // Rounded down by more than the roots' error.
            (reach.max(0.0).powi(2) * (1.0 - 1e-9)) as u32
        };
        let bounds = self.centers.chunks_exact(self.d).zip(&self.radii).map(bound);
        let mut order: Vec<(u32, usize)> = bounds.zip(0..).collect();
        order.sort_unstable();
        order.into_iter()
    }

    /// Original row and squared distance of the nearest vector; the first row of equals.
    pub fn nearest(&self, query: &[i16]) -> (usize, u32) {
        let mut best = (u32::MAX, u32::MAX);
        for (bound, cell) in self.by_distance(query) {
            if bound > best.0 {
                break;
            }
            for (place, vector) in self.places(cell).zip(self.vectors(cell)) {
                best = best.min((squared_distance(query, vector), self.rows[place]));
            }
        }
        (best.1 as usize, best.0)
    }

    /// Places of a cell's vectors.
    pub fn places(&self, cell: usize) -> std::ops::Range<usize> {
        self.starts[cell]..self.starts[cell + 1]
    }

    /// Vectors of a cell.
    pub fn vectors(&self, cell: usize) -> impl Iterator<Item = &[i16]> {
        self.vectors[self.starts[cell] * self.d..self.starts[cell + 1] * self.d]
            .chunks_exact(self.d)
    }

    /// Original row of the vector in each place.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }
}

/// One round of Lloyd's algorithm on vectors `[n, d]`: each center moves to the weighted mean of the vectors that are nearest to it,
/// rounded to the grid; one that has none stays where it was.
pub(super) fn move_to_means(
    centers: &mut [i16],
    vectors: &[i16],
    d: usize,
    weight: impl Fn(usize) -> f64,
) {
    let nearest = nearest_centers(vectors, centers, d);
    let (mut sums, mut weights) = (vec![0.0; centers.len()], vec![0.0; centers.len() / d]);
    for (at, (vector, (center, _))) in vectors.chunks_exact(d).zip(nearest).enumerate() {
        let weight = weight(at);
        weights[center] += weight;
        for (sum, q) in sums[center * d..][..d].iter_mut().zip(vector) {
            *sum += weight * f64::from(*q);
        }
    }
    let means = centers.chunks_exact_mut(d).zip(sums.chunks_exact(d)).zip(weights);
    for ((center, sums), weight) in means.filter(|(_, weight)| *weight > 0.0) {
        for (c, sum) in center.iter_mut().zip(sums) {
            *c = (sum / weight).round() as i16;
        }
    }
}

/// Nearest center of each vector and its squared distance; the first of equals.
pub(super) fn nearest_centers(vectors: &[i16], centers: &[i16], d: usize) -> Vec<(usize, u32)> {
    /// With fewer centers, sorting them into cells costs more than it saves.
    const CELLS_FROM: usize = 2_048;
    if centers.len() / d >= CELLS_FROM {
        let cells = Cells::new(centers, d);
        return vectors.par_chunks_exact(d).map(|vector| cells.nearest(vector)).collect();
    }
    let nearest = |vector: &[i16]| {
        let mut best = (0, u32::MAX);
        for (at, center) in centers.chunks_exact(d).enumerate() {
            let distance = squared_distance(vector, center);
            if distance < best.1 {
                best = (at, distance);
            }
        }
        best
    };
    vectors.par_chunks_exact(d).map(nearest).collect()
}

/// Squared distance of two vectors whose differences fit `i16`, of a multiple of four coordinates.
#[inline]
pub(super) fn squared_distance(a: &[i16], b: &[i16]) -> u32 {
    let (a, b) = (a.as_chunks::<4>().0, b.as_chunks::<4>().0);
    let mut lanes = [0_i32; 4];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..4 {
            let difference = i32::from(a[lane].wrapping_sub(b[lane]));
            lanes[lane] += difference * difference;
        }
    }
    lanes.iter().sum::<i32>().cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nearest_equals_a_plain_search(
            vectors in prop::collection::vec(-200_i16..200, 4..800),
            query in prop::collection::vec(-300_i16..300, 4),
        ) {
            let vectors = &vectors[..vectors.len() / 4 * 4];
            let distances = vectors.chunks_exact(4).map(|v| squared_distance(&query, v));
            let expected = distances.zip(0..).min().map(|(distance, row)| (row, distance));
            prop_assert_eq!(Some(Cells::new(vectors, 4).nearest(&query)), expected);
        }
    }
}
