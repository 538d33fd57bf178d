//! Product quantization of the prototypes (Jegou, Douze and Schmid 2011): each group of coordinates is one code of a small codebook.

use super::cells::{move_to_means, nearest_centers};

/// Rounds in which codewords move to the mean of what they stand for.
const ROUNDS: usize = 12;

/// How the embedding of a prototype is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// A byte a coordinate.
    Int8,
    /// A code for each group of coordinates.
    Product {
        /// Coordinates in a group; divides every width that is tried.
        group: usize,
        /// Bits of a code: 4 or 8.
        bits: usize,
    },
}

impl Codec {
    /// Bytes of one prototype's embedding.
    pub fn prototype_bytes(self, d: usize) -> usize {
        match self {
            Codec::Int8 => d,
            Codec::Product { group, bits } => (d / group * bits).div_ceil(8),
        }
    }

    /// Bytes of the codebooks: one `i8` codeword for each code of each group.
    pub fn codebook_bytes(self, d: usize) -> usize {
        match self {
            Codec::Int8 => 0,
            Codec::Product { bits, .. } => d << bits,
        }
    }

    /// What is left of vectors `[n, d]` that are on the bank's grid.
    pub(super) fn decoded(self, vectors: Vec<i16>, d: usize) -> Vec<i16> {
        let Codec::Product { group, bits } = self else { return vectors };
        let mut decoded = vectors.clone();
        // The search for the nearest codeword takes widths of multiples of four.
        let width = group.next_multiple_of(4);
        for first in (0..d).step_by(group) {
            let part: Vec<i16> = vectors
                .chunks_exact(d)
                .flat_map(|row| {
                    let own = row[first..first + group].iter().copied();
                    own.chain(std::iter::repeat_n(0, width - group))
                })
                .collect();
            // Distinct starts: equal ones would stay equal.
            let mut distinct: Vec<&[i16]> = part.chunks_exact(width).collect();
            distinct.sort_unstable();
            distinct.dedup();
            let count = (1 << bits).min(distinct.len());
            let mut codebook: Vec<i16> =
                (0..count).flat_map(|at| distinct[at * distinct.len() / count]).copied().collect();
            for _ in 0..ROUNDS {
                move_to_means(&mut codebook, &part, width, |_| 1.0);
            }
            let nearest = nearest_centers(&part, &codebook, width);
            for (row, (code, _)) in decoded.chunks_exact_mut(d).zip(nearest) {
                row[first..first + group].copy_from_slice(&codebook[code * width..][..group]);
            }
        }
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_distinct_parts_are_kept_exactly() {
        let vectors: Vec<i16> =
            (0..64_i16).flat_map(|at| [at % 4 * 20, at % 4, at / 16 * 9, -at / 16]).collect();
        let codec = Codec::Product { group: 2, bits: 4 };
        assert_eq!(codec.decoded(vectors.clone(), 4), vectors);
        assert_eq!((codec.prototype_bytes(4), codec.codebook_bytes(4)), (1, 64));
    }
}
