//! Layers whose weights are plain bytes ([`Layout::Bytes`](crate::artifact::Layout)), in safe Rust for any target.
//!
//! # Layout of a stream
//!
//! A block of four rows begins with their biases and ends with their multipliers, both `i32`. Between them stand the weights,
//! `i8`: those of the first `n mod 16` of `n` inputs, then sixteen inputs at a time; each such stretch has row 0 as a whole, then
//! rows 1, 2 and 3. So sixteen weights of a row are one load of Helium's, and what does not fill a register comes first, while the
//! pointers are at hand.
//!
//! Hidden activations are within `i8`. Helium keeps them in bytes, every other kernel in halfwords, so that inputs may be
//! halfwords everywhere.

use super::{BLOCK_ROWS, BLOCK_TAIL, block_bytes, block_multiplier};
use crate::requantize::requantize;

/// Inputs that a stretch of weights is for.
pub const STRETCH: usize = 16;

/// What a layer reads, a multiple of four values.
#[derive(Debug, Clone, Copy)]
pub enum Inputs<'a> {
    /// Hidden activations, or inputs on a grid of 8 bits.
    Bytes(&'a [i8]),
    /// Inputs on a finer grid.
    Halves(&'a [i16]),
}

/// Where a layer's outputs go, a multiple of four.
#[derive(Debug)]
pub enum Outputs<'a> {
    /// Hidden activations: `requantize(w x + bias)`, clamped, of which the lower eight bits.
    Bytes(&'a mut [i8]),
    /// An embedding: the same in halfwords.
    Halves(&'a mut [i16]),
    /// Accumulators: `w x + bias`.
    Words(&'a mut [i32]),
}

/// A dense layer of plain bytes: the definition.
///
/// # Shapes
///
/// `x`: a multiple of four. `out`: a multiple of four. `stream`: `out.len() / 4` blocks for `x.len()` inputs; what is
/// missing leaves `out` as it was.
pub fn dense_bytes(stream: &[u8], x: Inputs<'_>, low: i16, high: i16, out: Outputs<'_>) {
    match x {
        Inputs::Bytes(x) => from(stream, x, low, high, out),
        Inputs::Halves(x) => from(stream, x, low, high, out),
    }
}

fn from<X: Copy + Into<i32>>(stream: &[u8], x: &[X], low: i16, high: i16, out: Outputs<'_>) {
    let rescaled = |acc, multiplier| requantize(acc, multiplier, low, high);
    match out {
        Outputs::Bytes(out) => layer(stream, x, out, |acc, m| {
            let [low, _] = rescaled(acc, m).to_le_bytes();
            low.cast_signed()
        }),
        Outputs::Halves(out) => layer(stream, x, out, rescaled),
        Outputs::Words(out) => layer(stream, x, out, |acc, _| acc),
    }
}

/// A layer whose outputs are made by `output` from a row's accumulator and multiplier.
pub(super) fn layer<X: Copy + Into<i32>, T>(
    stream: &[u8],
    x: &[X],
    out: &mut [T],
    output: impl Fn(i32, i32) -> T,
) {
    let mut blocks = stream;
    for out in out.as_chunks_mut::<BLOCK_ROWS>().0 {
        let Some((block, after)) = blocks.split_at_checked(block_bytes(x.len())) else {
            return;
        };
        blocks = after;
        for (lane, (out, acc)) in out.iter_mut().zip(accumulators(block, x)).enumerate() {
            *out = output(acc, block_multiplier(block, lane));
        }
    }
}

/// `w x + bias` of the four rows of a block. Called, so that it is in flash once.
#[inline(never)]
fn accumulators<X: Copy + Into<i32>>(block: &[u8], x: &[X]) -> [i32; BLOCK_ROWS] {
    let mut sums = [0, 1, 2, 3].map(|lane| block_bias(block, lane));
    let (first, rest) = x.split_at_checked(x.len() & (STRETCH - 1)).unwrap_or((&[], x));
    let mut add = |weights: &[u8], x: &[X]| {
        for (sum, row) in sums.iter_mut().zip(weights.chunks_exact(x.len().max(1))) {
            *sum = row.iter().zip(x).fold(*sum, |sum, (w, x)| {
                sum.wrapping_add(i32::from(w.cast_signed()).wrapping_mul((*x).into()))
            });
        }
    };
    let (weights_of_first, weights) = stretches(block, x.len());
    add(weights_of_first, first);
    let weights = weights.as_chunks::<{ BLOCK_ROWS * STRETCH }>().0;
    for (weights, x) in weights.iter().zip(rest.as_chunks::<STRETCH>().0) {
        add(weights, x);
    }
    sums
}

/// Sums of the magnitudes of each row's weights: at most `2^21`, because no layer has `2^14` inputs.
pub(super) fn block_magnitudes(block: &[u8]) -> [u32; BLOCK_ROWS] {
    let mut sums = [0_u32; BLOCK_ROWS];
    let inputs = block.len().saturating_sub(BLOCK_TAIL).wrapping_shr(2);
    let (first, rest) = stretches(block, inputs);
    for (weights, width) in [(first, inputs & (STRETCH - 1)), (rest, STRETCH)] {
        let rows = weights.chunks_exact(width.max(1));
        for (sum, row) in (0..BLOCK_ROWS).cycle().zip(rows) {
            let magnitudes = row.iter().map(|w| u32::from(w.cast_signed().unsigned_abs()));
            if let Some(sum) = sums.get_mut(sum) {
                *sum = magnitudes.fold(*sum, u32::wrapping_add);
            }
        }
    }
    sums
}

/// The weights of a block for `inputs`: for those that do not fill a stretch, and for the others.
#[inline]
fn stretches(block: &[u8], inputs: usize) -> (&[u8], &[u8]) {
    let end = block.len().saturating_sub(BLOCK_TAIL.wrapping_shr(1));
    let weights = block.get(BLOCK_TAIL.wrapping_shr(1)..end).unwrap_or(&[]);
    let first = (inputs & (STRETCH - 1)).wrapping_mul(BLOCK_ROWS);
    weights.split_at_checked(first).unwrap_or((&[], &[]))
}

/// The bias of one row of a block.
pub(super) fn block_bias(block: &[u8], lane: usize) -> i32 {
    block.as_chunks::<4>().0.get(lane).map_or(0, |bytes| i32::from_le_bytes(*bytes))
}

/// The lower eight bits of each halfword in `x`, with their sign, as this core's layers of plain bytes read inputs: in
/// halfwords.
#[cfg(not(kernel = "helium"))]
pub(crate) fn narrow(x: &[u32], out: &mut [u32]) {
    for (out, x) in super::halves_mut(out).iter_mut().zip(super::halves(x)) {
        let [low, _] = x.to_le_bytes();
        *out = low.cast_signed().into();
    }
}
