//! The kernel posterior of a whole corpus, for every corpus size and every bandwidth at once.

use super::world::{CELLS, Posterior};

/// Bandwidths: from the corpus's own width down, each by half an octave.
pub(super) const BANDWIDTHS: usize = 14;

/// Weights below this share of the nearest simulation's do not count.
const NEGLIGIBLE: f64 = 1e-9;

/// A corpus in the space of an embedding.
pub(super) struct Bank {
    /// Width of the embedding.
    pub d: usize,
    /// `[n, d]`.
    pub embedding: Vec<f32>,
    /// `[n]`.
    pub mechanism: Vec<u16>,
    /// Cell of theta, `[n]`.
    pub cell: Vec<usize>,
    /// Number of mechanisms.
    pub mechanisms: usize,
}

impl Bank {
    /// Root of the summed variances: the largest bandwidth, and the unit of all.
    pub fn width(&self) -> f64 {
        let n = self.mechanism.len() as f64;
        let column = |at: usize| self.embedding.iter().skip(at).step_by(self.d);
        let variance = |at: usize| {
            let mean = column(at).map(|v| f64::from(*v)).sum::<f64>() / n;
            column(at).map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n
        };
        (0..self.d).map(variance).sum::<f64>().sqrt()
    }

    /// Kernel posteriors of one observation: `exp(-squared distance / (2 h^2))` over the first `size` simulations, for each
    /// of `sizes` (ascending) and each `h = width 2^(-b / 2)`; `visit` is told the positions of both.
    ///
    /// With a bandwidth far below the nearest distance, the nearest simulations alone count.
    pub fn posteriors(
        &self,
        query: &[f32],
        width: f64,
        sizes: &[usize],
        mut visit: impl FnMut(usize, usize, &Posterior),
    ) {
        let squared_distances: Vec<f32> = self
            .embedding
            .chunks_exact(self.d)
            .map(|row| row.iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum())
            .collect();
        for (size_at, &size) in sizes.iter().enumerate() {
            let least = squared_distances[..size].iter().copied().fold(f32::INFINITY, f32::min);
            let empty =
                Posterior { mechanism: vec![0.0; self.mechanisms], cells: vec![0.0; CELLS] };
            let mut sums = vec![empty; BANDWIDTHS];
            for (at, squared_distance) in squared_distances[..size].iter().enumerate() {
                let excess = f64::from(squared_distance - least) / (2.0 * width * width);
                let mut weight = libm::exp(-excess);
                let (mechanism, cell) = (usize::from(self.mechanism[at]), self.cell[at]);
                for sum in &mut sums {
                    if weight < NEGLIGIBLE {
                        break;
                    }
                    sum.mechanism[mechanism] += weight;
                    sum.cells[cell] += weight;
                    // Half an octave less of bandwidth squares the weight.
                    weight *= weight;
                }
            }
            for (bandwidth, sum) in sums.iter_mut().enumerate() {
                let total: f64 = sum.mechanism.iter().sum();
                sum.mechanism.iter_mut().chain(&mut sum.cells).for_each(|v| *v /= total);
                visit(size_at, bandwidth, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_hand() {
        let bank = Bank {
            d: 1,
            embedding: vec![-1.0, 1.0, 2.0, 4.0],
            mechanism: vec![0, 1, 0, 1],
            cell: vec![0, 5, 5, 7],
            mechanisms: 2,
        };
        let mut seen = Vec::new();
        bank.posteriors(&[1.0], 2.0, &[2, 4], |size, bandwidth, posterior| {
            seen.push((size, bandwidth, posterior.clone()));
        });
        assert_eq!(seen.len(), 2 * BANDWIDTHS);
        // h = 2 / sqrt(2), so the weights are exp(-d^2 / 4): of distances 2 and 0.
        let far = libm::exp(-1.0);
        assert!((seen[1].2.mechanism[0] - far / (1.0 + far)).abs() < 1e-12);
        // Distances 2, 0, 1, 3.
        let weights = [4.0_f64, 0.0, 1.0, 9.0].map(|d| libm::exp(-d / 4.0));
        let total: f64 = weights.iter().sum();
        let found = &seen[BANDWIDTHS + 1].2;
        assert!((found.mechanism[1] - (weights[1] + weights[3]) / total).abs() < 1e-12);
        assert!((found.cells[5] - (weights[1] + weights[2]) / total).abs() < 1e-12);
        assert_eq!(seen.last().map(|s| s.2.mechanism[1]), Some(1.0));
    }
}
