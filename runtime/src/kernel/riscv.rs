//! RISC-V, in safe Rust: loads that extend a sign cost nothing, unaligned ones four instructions.
//!
//! A layer's stream is seen as words, as halfwords and as bytes at once: a packed halfword (256 A + B of two rows) and its
//! low byte (B) take one load and one product each, 56 instructions for the 16 products of four inputs.

use super::{BLOCK_ROWS, block_bytes, portable};
use crate::requantize::requantize;

/// See [`portable::dense`].
pub fn dense(stream: &[u8], x: &[i16], low: i16, high: i16, out: &mut [i16]) {
    if aligned_dense(stream, x, low, high, out).is_none() {
        portable::dense(stream, x, low, high, out);
    }
}

/// See [`portable::dense_accumulators`].
pub fn dense_accumulators(stream: &[u8], x: &[i16], out: &mut [i32]) {
    if aligned_accumulators(stream, x, out).is_none() {
        portable::dense_accumulators(stream, x, out);
    }
}

/// The same for a stream that is aligned; `None`, and nothing done, for another.
pub(super) fn aligned_dense(
    stream: &[u8],
    x: &[i16],
    low: i16,
    high: i16,
    out: &mut [i16],
) -> Option<()> {
    let (words, halves) = views(stream, x)?;
    layer(words, halves, stream, x, out, |acc, multiplier| requantize(acc, multiplier, low, high));
    Some(())
}

/// The same for a stream that is aligned; `None`, and nothing done, for another.
pub(super) fn aligned_accumulators(stream: &[u8], x: &[i16], out: &mut [i32]) -> Option<()> {
    let (words, halves) = views(stream, x)?;
    layer(words, halves, stream, x, out, |acc, _| acc);
    Some(())
}

/// The words and the halfwords of a stream; `None` where it is not aligned, or has no block for a multiple of four inputs.
#[inline]
fn views<'a>(stream: &'a [u8], x: &[i16]) -> Option<(&'a [i32], &'a [i16])> {
    let block = block_bytes(x.len());
    let whole = stream.len().wrapping_sub(stream.len().checked_rem(block)?);
    let whole = stream.get(..whole).filter(|_| x.len().is_multiple_of(4))?;
    Some((bytemuck::try_cast_slice(whole).ok()?, bytemuck::try_cast_slice(whole).ok()?))
}

/// A layer whose outputs are made by `output` from a row's accumulator and multiplier.
///
/// Called, so that the compiler does not know that the three views are the same memory: it would load the halfwords alone,
/// and take two instructions to cut the byte out of each.
#[inline(never)]
fn layer<T>(
    words: &[i32],
    halves: &[i16],
    bytes: &[u8],
    x: &[i16],
    out: &mut [T],
    output: impl Fn(i32, i32) -> T,
) {
    let block = block_bytes(x.len());
    let (mut words, mut halves, mut bytes) = (words, halves, bytes);
    for out in out.as_chunks_mut::<BLOCK_ROWS>().0 {
        let (Some((word_block, more_words)), Some((half_block, more_halves)), Some(byte_blocks)) = (
            words.split_at_checked(block.wrapping_shr(2)),
            halves.split_at_checked(block.wrapping_shr(1)),
            bytes.split_at_checked(block),
        ) else {
            return;
        };
        let sums = block_sums(half_block.as_chunks().0, byte_blocks.0.as_chunks().0, x);
        (words, halves, bytes) = (more_words, more_halves, byte_blocks.1);
        let Some((_, [biases @ .., m0, m1, m2, m3])) = word_block.split_last_chunk::<8>() else {
            return;
        };
        let rows = sums.into_iter().zip(biases).zip([m0, m1, m2, m3]);
        for (out, ((sum, bias), multiplier)) in out.iter_mut().zip(rows) {
            *out = output(sum.wrapping_add(i32::from_le(*bias)), i32::from_le(*multiplier));
        }
    }
}

/// Weighted sums of the four rows of a block, without bias, from its halfwords and from its bytes, of which the lower of
/// each halfword is taken; four inputs a turn.
#[inline]
fn block_sums(halves: &[[i16; 8]], bytes: &[[u8; 16]], x: &[i16]) -> [i32; BLOCK_ROWS] {
    let (mut packed_01, mut packed_23) = (0_i32, 0_i32);
    let (mut lower_01, mut lower_23) = (0_i32, 0_i32);
    for ((halves, bytes), x) in halves.iter().zip(bytes).zip(x.as_chunks::<4>().0) {
        let [x0, x1, x2, x3] = x;
        let product = |weight: i32, x: &i16| weight.wrapping_mul((*x).into());
        let dot = |w0, w1, w2, w3| {
            let first = product(w0, x0).wrapping_add(product(w1, x1));
            first.wrapping_add(product(w2, x2)).wrapping_add(product(w3, x3))
        };
        let half = |half: &i16| i32::from(i16::from_le(*half));
        let byte = |byte: &u8| i32::from(byte.cast_signed());
        let [a0, a1, b0, b1, a2, a3, b2, b3] = halves;
        packed_01 = packed_01.wrapping_add(dot(half(a0), half(a1), half(a2), half(a3)));
        packed_23 = packed_23.wrapping_add(dot(half(b0), half(b1), half(b2), half(b3)));
        let [a0, _, a1, _, b0, _, b1, _, a2, _, a3, _, b2, _, b3, _] = bytes;
        lower_01 = lower_01.wrapping_add(dot(byte(a0), byte(a1), byte(a2), byte(a3)));
        lower_23 = lower_23.wrapping_add(dot(byte(b0), byte(b1), byte(b2), byte(b3)));
    }
    [
        packed_01.wrapping_sub(lower_01) >> 8,
        lower_01,
        packed_23.wrapping_sub(lower_23) >> 8,
        lower_23,
    ]
}
