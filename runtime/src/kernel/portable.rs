//! The definition of every kernel, in safe Rust for any target.

use heapless::Vec;

use super::{BLOCK_ROWS, BLOCK_TAIL, Ranked, Ranking, block_bytes, block_multiplier, tail_word};
use crate::requantize::requantize;

/// The two weights in a packed halfword: `(upper row, lower row)`.
#[inline]
fn unpack(half: [u8; 2]) -> (i8, i8) {
    let [low, _] = half;
    let lower = low.cast_signed();
    let [_, upper] = i16::from_le_bytes(half).wrapping_sub(i16::from(lower)).to_le_bytes();
    (upper.cast_signed(), lower)
}

/// Weighted sums of the four rows of a block, without bias.
#[inline]
fn block_sums(block: &[u8], x: &[i16]) -> [i32; BLOCK_ROWS] {
    let (mut packed_01, mut packed_23) = (0_i32, 0_i32);
    let (mut lower_01, mut lower_23) = (0_i32, 0_i32);
    let words = block.as_chunks::<8>().0;
    for ([a0, a1, a2, a3, b0, b1, b2, b3], pair) in words.iter().zip(x.as_chunks::<2>().0) {
        let [x0, x1] = pair.map(i32::from);
        let dot = |low: [u8; 2], high: [u8; 2]| {
            i32::from(i16::from_le_bytes(low))
                .wrapping_mul(x0)
                .wrapping_add(i32::from(i16::from_le_bytes(high)).wrapping_mul(x1))
        };
        let dot_low = |low: u8, high: u8| {
            i32::from(low.cast_signed())
                .wrapping_mul(x0)
                .wrapping_add(i32::from(high.cast_signed()).wrapping_mul(x1))
        };
        packed_01 = packed_01.wrapping_add(dot([*a0, *a1], [*a2, *a3]));
        packed_23 = packed_23.wrapping_add(dot([*b0, *b1], [*b2, *b3]));
        lower_01 = lower_01.wrapping_add(dot_low(*a0, *a2));
        lower_23 = lower_23.wrapping_add(dot_low(*b0, *b2));
    }
    [
        packed_01.wrapping_sub(lower_01) >> 8,
        lower_01,
        packed_23.wrapping_sub(lower_23) >> 8,
        lower_23,
    ]
}

/// Sums of the magnitudes of each row's weights: at most `2^21`, because no layer has `2^14` inputs.
pub(super) fn block_magnitudes(block: &[u8]) -> [u32; BLOCK_ROWS] {
    let weights = block.len().saturating_sub(BLOCK_TAIL);
    let [mut sum_0, mut sum_1, mut sum_2, mut sum_3] = [0_u32; BLOCK_ROWS];
    for [a0, a1, a2, a3, b0, b1, b2, b3] in block.get(..weights).unwrap_or(&[]).as_chunks::<8>().0 {
        for (half_01, half_23) in [([*a0, *a1], [*b0, *b1]), ([*a2, *a3], [*b2, *b3])] {
            let ((w0, w1), (w2, w3)) = (unpack(half_01), unpack(half_23));
            sum_0 = sum_0.wrapping_add(w0.unsigned_abs().into());
            sum_1 = sum_1.wrapping_add(w1.unsigned_abs().into());
            sum_2 = sum_2.wrapping_add(w2.unsigned_abs().into());
            sum_3 = sum_3.wrapping_add(w3.unsigned_abs().into());
        }
    }
    [sum_0, sum_1, sum_2, sum_3]
}

/// A dense layer from integers to integers: `out = requantize(w x + bias)`, clamped to `[low, high]`.
///
/// # Shapes
///
/// `x`: a multiple of four. `out`: a multiple of four. `stream`: `out.len() / 4` blocks for `x.len()` inputs; what is
/// missing leaves `out` as it was.
pub fn dense(stream: &[u8], x: &[i16], low: i16, high: i16, out: &mut [i16]) {
    layer(stream, x, out, |acc, multiplier| requantize(acc, multiplier, low, high));
}

/// The last layer of a head: `out = w x + bias`, the accumulators themselves.
///
/// # Shapes
///
/// As [`dense`].
pub fn dense_accumulators(stream: &[u8], x: &[i16], out: &mut [i32]) {
    layer(stream, x, out, |acc, _| acc);
}

/// A layer whose outputs are made by `output` from a row's accumulator and multiplier.
#[inline]
fn layer<T>(stream: &[u8], x: &[i16], out: &mut [T], output: impl Fn(i32, i32) -> T) {
    let mut blocks = stream;
    for out in out.as_chunks_mut::<BLOCK_ROWS>().0 {
        let Some((block, after)) = blocks.split_at_checked(block_bytes(x.len())) else {
            return;
        };
        blocks = after;
        for (lane, (out, sum)) in out.iter_mut().zip(block_sums(block, x)).enumerate() {
            let acc = sum.wrapping_add(tail_word(block, lane));
            *out = output(acc, block_multiplier(block, lane));
        }
    }
}

/// Squared distance from `query` to every vector of the bank.
///
/// # Shapes
///
/// `query`: `d`, a multiple of four, magnitudes at most [`QUERY_LIMIT`](super::QUERY_LIMIT). `vectors`: `[out.len(), d]` of `i8`.
pub fn squared_distances(vectors: &[u8], query: &[i16], out: &mut [u32]) {
    let mut vectors = vectors;
    for out in out {
        let Some((vector, after)) = vectors.split_at_checked(query.len()) else { return };
        vectors = after;
        *out = partial_distance(0, vector, query);
    }
}

/// The `K` nearest vectors in order; of equally near ones the first in the bank.
///
/// # Shapes
///
/// `query`: `d`, a multiple of four, magnitudes at most [`QUERY_LIMIT`](super::QUERY_LIMIT). `vectors`: `[count, d]` of `i8`.
pub fn nearest<const K: usize>(vectors: &[u8], query: &[i16]) -> Vec<Ranked, K> {
    // A query of a known width can stay in registers.
    if !cfg!(assembly)
        && let Ok(query) = query.try_into()
    {
        let vectors = vectors.as_chunks::<16>().0.iter();
        return ranked(vectors, |vector, limit| sixteen_below(vector, query, limit));
    }
    let vectors = vectors.chunks_exact(query.len().max(1));
    ranked(vectors, |vector, limit| any_below(vector, query, limit))
}

/// Ranks vectors by `below`, which gives the squared distance of one when it is less than a limit.
#[inline]
fn ranked<V, const K: usize>(
    vectors: impl Iterator<Item = V>,
    below: impl Fn(V, u32) -> Option<u32>,
) -> Vec<Ranked, K> {
    let mut ranking = Ranking::<K>::new();
    for (prototype, vector) in (0..).zip(vectors) {
        if let Some(squared_distance) = below(vector, ranking.limit()) {
            ranking.insert(Ranked { prototype, squared_distance });
        }
    }
    ranking.finish()
}

/// The squared distance when it is less than `limit`: most vectors are given up before their end, because their first
/// values alone put them beyond it.
#[inline]
fn any_below(vector: &[u8], query: &[i16], limit: u32) -> Option<u32> {
    let mut sum = 0;
    for (values, query) in vector.as_chunks::<4>().0.iter().zip(query.as_chunks::<4>().0) {
        sum = partial_distance(sum, values, query);
        if sum >= limit {
            return None;
        }
    }
    (sum < limit).then_some(sum)
}

/// The same for the width that embeddings usually have.
#[inline]
fn sixteen_below(vector: &[u8; 16], query: &[i16; 16], limit: u32) -> Option<u32> {
    let (values, more_values) = vector.split_first_chunk::<4>()?;
    let (first, more) = query.split_first_chunk::<4>()?;
    let (next_values, last_values) = more_values.split_first_chunk::<8>()?;
    let (next, last) = more.split_first_chunk::<8>()?;
    let sum = partial_distance(0, values, first);
    if sum >= limit {
        return None;
    }
    let sum = partial_distance(sum, next_values, next);
    if sum >= limit {
        return None;
    }
    let sum = partial_distance(sum, last_values, last);
    (sum < limit).then_some(sum)
}

#[inline]
fn partial_distance(sum: u32, vector: &[u8], query: &[i16]) -> u32 {
    vector.iter().zip(query).fold(sum, |sum, (&p, &q)| {
        let difference = i32::from(q).wrapping_sub(i32::from(p.cast_signed()));
        sum.wrapping_add(difference.wrapping_mul(difference).cast_unsigned())
    })
}
