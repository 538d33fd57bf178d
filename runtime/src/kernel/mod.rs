//! The loops that take the time. [`portable`] is their definition, and [`bytes`] that of layers of plain bytes; a core's own
//! file computes the same bits faster.
//!
//! # Layout of a dense layer's stream
//!
//! [`Layout::Bytes`] stands in [`bytes`]. In [`Layout::Pairs`], rows come in blocks of four. For each pair of inputs `j, j + 1` a block holds two little-endian words: rows 0 and 1,
//! then rows 2 and 3. A word packs four weights as two halfwords `256 * w[upper][j] + w[lower][j]` (low half) and the
//! same for `j + 1` (high half). Behind the weights stand four biases (`i32`), then four multipliers (`i32`; in an output layer the bits
//! of the `f32` scale of each row).
//!
//! One multiply of such a halfword accumulates `256 A + B` for two rows at once; with `B` from the sign-extended low
//! bytes, `A = (256 A + B - B) / 256` is exact modulo `2^32`, hence exact while `|A| < 2^23`.

#[cfg(assembly)]
use core::marker::PhantomData;
use core::slice::ChunksExact;

use crate::artifact::{Layout, SECTION_ALIGNMENT, Section};
use crate::compiled::Tensors;
use crate::dense::{DenseShape, padded};
#[cfg(not(kernel = "helium"))]
use crate::requantize::requantize;

#[cfg(kernel = "armv6m")]
#[expect(
    unsafe_code,
    reason = "routines in assembly, whose safe functions check what they rely on"
)]
mod armv6m;
#[cfg(any(kernel = "armv7em", kernel = "helium"))]
#[cfg_attr(kernel = "helium", expect(dead_code, reason = "dense layers are Helium's"))]
#[expect(
    unsafe_code,
    reason = "routines in assembly, whose safe functions check what they rely on"
)]
mod armv7em;
#[cfg(kernel = "armv7m")]
#[expect(
    unsafe_code,
    reason = "routines in assembly, whose safe functions check what they rely on"
)]
mod armv7m;
#[cfg(assembly)]
mod bank;
pub mod bytes;
#[cfg(kernel = "helium")]
#[expect(
    unsafe_code,
    reason = "routines in assembly, whose safe functions check what they rely on"
)]
mod helium;
pub mod portable;
mod ranking;
#[cfg(any(kernel = "riscv", test))]
mod riscv;
mod split;

#[cfg(kernel = "armv6m")]
use armv6m as dense_routines;
#[cfg(kernel = "armv7em")]
use armv7em as dense_routines;
#[cfg(kernel = "armv7m")]
use armv7m as dense_routines;
#[cfg(kernel = "helium")]
use helium as dense_routines;

#[cfg(not(kernel = "helium"))]
pub use bytes::dense_bytes;
#[cfg(not(kernel = "helium"))]
pub(crate) use bytes::narrow;
#[cfg(kernel = "helium")]
pub use helium::bytes::dense_bytes;
#[cfg(kernel = "helium")]
pub(crate) use helium::bytes::narrow;

#[cfg(all(assembly, not(kernel = "helium")))]
pub use bank::{nearest, squared_distances};
#[cfg(kernel = "helium")]
pub use helium::{nearest, squared_distances};
#[cfg(kernel = "portable")]
pub use portable::{dense, dense_accumulators};
#[cfg(not(assembly))]
pub use portable::{nearest, squared_distances};
pub use ranking::Ranked;
pub(crate) use ranking::Ranking;
#[cfg(kernel = "riscv")]
pub use riscv::{dense, dense_accumulators};
pub use split::{
    DATA_FRACTION, Ending, MAX_BEND, PART_LIMIT, bend_all, bent, conditional, data_part,
};

/// Rows in a block.
pub const BLOCK_ROWS: usize = 4;

/// Largest magnitude of a bias: with the weighted sum it cannot leave `i32`.
pub const BIAS_LIMIT: u32 = 1 << 30;

/// Largest magnitude of a query's values.
pub const QUERY_LIMIT: i16 = 1_023;

/// Alignment in bytes that this core's kernels need of an artifact.
pub const ALIGNMENT: usize = if cfg!(kernel = "portable") { 1 } else { 4 };

/// Bytes behind the weights of a block: four biases and four multipliers.
const BLOCK_TAIL: usize = 32;

/// Bytes of one block.
pub const fn block_bytes(padded_input: usize) -> usize {
    padded_input.saturating_mul(BLOCK_ROWS).saturating_add(BLOCK_TAIL)
}

/// The blocks of a stream for `padded_input` inputs.
pub(crate) fn blocks(stream: &[u8], padded_input: usize) -> ChunksExact<'_, u8> {
    // Never 0, where `chunks_exact` would panic: not every level of optimization sees that a block is never empty.
    stream.chunks_exact(block_bytes(padded_input).max(1))
}

/// Sums of the magnitudes of each row's weights: at most `2^21`, because no layer has `2^14` inputs.
pub(crate) fn block_magnitudes(layout: Layout, block: &[u8]) -> [u32; BLOCK_ROWS] {
    match layout {
        Layout::Pairs => portable::block_magnitudes(block),
        Layout::Bytes => bytes::block_magnitudes(block),
    }
}

/// The bias of one row of a block.
pub fn block_bias(layout: Layout, block: &[u8], lane: usize) -> i32 {
    match layout {
        Layout::Pairs => tail_word(block, lane),
        Layout::Bytes => bytes::block_bias(block, lane),
    }
}

/// The multiplier of one row of a block, or the bits of its scale in an output layer.
pub fn block_multiplier(block: &[u8], lane: usize) -> i32 {
    tail_word(block, lane.saturating_add(BLOCK_ROWS))
}

fn tail_word(block: &[u8], position: usize) -> i32 {
    let tail = block.len().saturating_sub(BLOCK_TAIL);
    block
        .get(tail..)
        .and_then(|tail| tail.as_chunks::<4>().0.get(position))
        .map_or(0, |bytes| i32::from_le_bytes(*bytes))
}

/// A dense layer in flash, of which is known once what every call relies on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dense<'a> {
    stream: &'a [u8],
    /// A multiple of four, not zero.
    inputs: u16,
    /// Not zero.
    outputs: u16,
    #[cfg(not(kernel = "helium"))]
    low: i16,
    #[cfg(not(kernel = "helium"))]
    high: i16,
    #[cfg(not(kernel = "helium"))]
    layout: Layout,
    #[cfg(kernel = "helium")]
    plan: helium::bytes::Plan,
}

/// Blocks at an address that this core's kernels accept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream<'a>(&'a [u8]);

impl<'a> Stream<'a> {
    /// `None` where the address is not a multiple of [`ALIGNMENT`].
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.as_ptr().addr().is_multiple_of(ALIGNMENT).then_some(Stream(bytes))
    }

    /// A section of tensors whose alignment their type says, so that no address need be known. `None` for one that starts elsewhere than
    /// at a multiple of [`SECTION_ALIGNMENT`], or ends behind the tensors.
    pub(crate) const fn within<const N: usize>(
        tensors: &'a Tensors<N>,
        section: Section,
    ) -> Option<Self> {
        const { assert!(align_of::<Tensors<N>>() >= ALIGNMENT && SECTION_ALIGNMENT >= ALIGNMENT) };
        match section.of(tensors.bytes()) {
            Some(bytes) if (section.offset as usize).is_multiple_of(SECTION_ALIGNMENT) => {
                Some(Stream(bytes))
            }
            _ => None,
        }
    }
}

/// What a layer's weights multiply, and how they lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights {
    pub layout: Layout,
    /// Whether inputs are halfwords where the layout's hidden activations are bytes. Kernels but Helium's have halfwords
    /// everywhere.
    #[cfg_attr(not(kernel = "helium"), expect(dead_code, reason = "of no interest to this core"))]
    pub wide_inputs: bool,
}

/// More inputs or places than any layer has.
const WIDTH_LIMIT: usize = 1 << 14;

impl<'a> Dense<'a> {
    /// A layer of one block, all zeros: for places that are filled later.
    pub(crate) const ZEROS: Dense<'static> = {
        static TENSORS: Tensors<{ 4 * BLOCK_ROWS + BLOCK_TAIL }> = Tensors::new([0; _]);
        let shape = DenseShape { d_input: 4, d_output: 4 };
        let section = Section { offset: 0, length: TENSORS.bytes().len() as u32 };
        let weights = Weights { layout: Layout::Pairs, wide_inputs: true };
        match Stream::within(&TENSORS, section) {
            Some(stream) => match Dense::new(stream, shape, weights, (0, 0)) {
                Some(layer) => layer,
                None => panic!(),
            },
            None => panic!(),
        }
    };

    /// `None` unless the stream has a block for each four places.
    ///
    /// An output layer has no clamps: they are ignored by [`Dense::accumulate`].
    pub(crate) const fn new(
        stream: Stream<'a>,
        shape: DenseShape,
        weights: Weights,
        (low, high): (i16, i16),
    ) -> Option<Self> {
        let (inputs, places) = (shape.padded_input(), shape.padded_output());
        let sound = inputs != 0
            && inputs < WIDTH_LIMIT
            && places != 0
            && places < WIDTH_LIMIT
            && stream.0.len() >= shape.stream_bytes();
        if !sound {
            return None;
        }
        Some(Dense {
            stream: stream.0,
            // Below the limit.
            inputs: inputs as u16,
            outputs: shape.d_output,
            #[cfg(not(kernel = "helium"))]
            low,
            #[cfg(not(kernel = "helium"))]
            high,
            #[cfg(not(kernel = "helium"))]
            layout: weights.layout,
            #[cfg(kernel = "helium")]
            plan: match weights.layout {
                Layout::Pairs => helium::bytes::Plan::none(low, high),
                Layout::Bytes => {
                    let blocks = places.wrapping_shr(2) as u16;
                    helium::bytes::Plan::new(inputs as u16, blocks, weights.wide_inputs, low, high)
                }
            },
        })
    }

    /// Outputs.
    pub(crate) const fn outputs(&self) -> usize {
        self.outputs as usize
    }

    /// Outputs, rounded up to a multiple of four.
    pub(crate) const fn places(&self) -> usize {
        padded(self.outputs)
    }

    /// The scale of output `row` of an output layer.
    pub(crate) fn scale(&self, row: usize) -> f32 {
        f32::from_bits(self.multiplier(row).cast_unsigned())
    }

    /// The multiplier of output `row`.
    pub(crate) fn multiplier(&self, row: usize) -> i32 {
        let bytes = block_bytes(usize::from(self.inputs));
        let start = row.wrapping_div(BLOCK_ROWS).saturating_mul(bytes);
        let block = self.stream.get(start..start.saturating_add(bytes)).unwrap_or(&[]);
        block_multiplier(block, row.wrapping_rem(BLOCK_ROWS))
    }

    /// The next layer's activations from this one's, in words as this core's kernels hold them. Does nothing when `x` or
    /// `out` is too short.
    pub(crate) fn run(&self, x: &[u32], out: &mut [u32]) {
        #[cfg(kernel = "helium")]
        if helium::bytes::run(self, x, out) {
            return;
        }
        #[cfg(not(kernel = "helium"))]
        if self.layout == Layout::Bytes {
            return self.run_bytes(x, out);
        }
        #[cfg(assembly)]
        if let Some(whole) = Whole::of(self, x, out, self.places().wrapping_shr(1)) {
            #[cfg(kernel = "helium")]
            let (low, high) = self.plan.clamps();
            #[cfg(not(kernel = "helium"))]
            let (low, high) = (self.low, self.high);
            dense_routines::dense_whole(&whole, low, high);
        }
        #[cfg(not(assembly))]
        if let (Some(x), Some(out)) = (self.halves(x), halves_mut(out).get_mut(..self.places())) {
            #[cfg(kernel = "portable")]
            portable::dense(self.stream, x, self.low, self.high, out);
            #[cfg(kernel = "riscv")]
            let _: Option<()> = riscv::aligned_dense(self.stream, x, self.low, self.high, out);
        }
    }

    /// As [`Dense::run`], with outputs in halfwords on every core.
    pub(crate) fn embed(&self, x: &[u32], out: &mut [u32]) {
        #[cfg(kernel = "helium")]
        if helium::bytes::embed(self, x, out) {
            return;
        }
        self.run(x, out);
    }

    /// The accumulators of an output layer. Does nothing when `x` or `out` is too short.
    pub(crate) fn accumulate(&self, x: &[u32], out: &mut [i32]) {
        #[cfg(kernel = "helium")]
        if helium::bytes::accumulate(self, x, out) {
            return;
        }
        #[cfg(not(kernel = "helium"))]
        if self.layout == Layout::Bytes {
            return self.accumulate_bytes(x, out);
        }
        #[cfg(assembly)]
        if let Some(whole) = Whole::of(self, x, out, self.places()) {
            dense_routines::accumulate_whole(&whole);
        }
        #[cfg(not(assembly))]
        if let (Some(x), Some(out)) = (self.halves(x), out.get_mut(..self.places())) {
            #[cfg(kernel = "portable")]
            portable::dense_accumulators(self.stream, x, out);
            #[cfg(kernel = "riscv")]
            let _: Option<()> = riscv::aligned_accumulators(self.stream, x, out);
        }
    }

    #[cfg(not(kernel = "helium"))]
    #[inline(never)]
    fn run_bytes(&self, x: &[u32], out: &mut [u32]) {
        if let (Some(x), Some(out)) = (self.halves(x), halves_mut(out).get_mut(..self.places())) {
            bytes::layer(self.stream, x, out, |acc, multiplier| {
                requantize(acc, multiplier, self.low, self.high)
            });
        }
    }

    #[cfg(not(kernel = "helium"))]
    #[inline(never)]
    fn accumulate_bytes(&self, x: &[u32], out: &mut [i32]) {
        if let (Some(x), Some(out)) = (self.halves(x), out.get_mut(..self.places())) {
            bytes::layer(self.stream, x, out, |acc, _| acc);
        }
    }

    #[cfg(not(kernel = "helium"))]
    fn halves<'x>(&self, x: &'x [u32]) -> Option<&'x [i16]> {
        halves(x).get(..usize::from(self.inputs))
    }
}

/// The halfwords in words, two in each.
pub(crate) fn halves(words: &[u32]) -> &[i16] {
    bytemuck::try_cast_slice(words).unwrap_or(&[])
}

/// The halfwords in words, two in each.
pub(crate) fn halves_mut(words: &mut [u32]) -> &mut [i16] {
    bytemuck::try_cast_slice_mut(words).unwrap_or(&mut [])
}

/// The operands of a dense layer as an assembly routine takes them.
///
/// Every pointer is aligned to four bytes. From `x` to `x_end` lie four inputs or a multiple of four; from `out` to
/// `out_end` the outputs of one block or more, in a slice that is borrowed alone; the stream has a block for each.
#[cfg(assembly)]
struct Whole<'a> {
    stream: *const u8,
    x: *const i16,
    x_end: *const i16,
    out: *mut u32,
    out_end: *mut u32,
    borrow: PhantomData<&'a mut [u32]>,
}

#[cfg(assembly)]
impl<'a> Whole<'a> {
    /// The operands of a layer whose outputs take `words` elements of `out`, each of four bytes.
    #[inline]
    fn of<T>(layer: &Dense<'a>, x: &'a [u32], out: &'a mut [T], words: usize) -> Option<Self> {
        const { assert!(size_of::<T>() == 4 && align_of::<T>() == 4) };
        let x = x.get(..usize::from(layer.inputs).wrapping_shr(1))?.as_ptr_range();
        let out = out.get_mut(..words)?.as_mut_ptr_range();
        Some(Whole {
            stream: layer.stream.as_ptr(),
            x: x.start.cast(),
            x_end: x.end.cast(),
            out: out.start.cast(),
            out_end: out.end.cast(),
            borrow: PhantomData,
        })
    }

    /// The operands that a caller brings; `None` where they are not as the routines need them.
    #[inline]
    fn new<T>(stream: &'a [u8], x: &'a [i16], out: &'a mut [T]) -> Option<Self> {
        let addresses = stream.as_ptr().addr() | x.as_ptr().addr() | out.as_ptr().addr();
        let places = out.len() & !3;
        let sound = (addresses | x.len()).is_multiple_of(4)
            && (1..WIDTH_LIMIT).contains(&x.len())
            && (1..WIDTH_LIMIT).contains(&places);
        // Below (4 * 2^14 + 32) * 2^12.
        let needed = block_bytes(x.len()).wrapping_mul(places.wrapping_shr(2));
        if !sound || stream.len() < needed {
            return None;
        }
        let out = out.get_mut(..places)?.as_mut_ptr_range();
        let x = x.as_ptr_range();
        Some(Whole {
            stream: stream.as_ptr(),
            x: x.start,
            x_end: x.end,
            out: out.start.cast(),
            out_end: out.end.cast(),
            borrow: PhantomData,
        })
    }
}

/// See [`portable::dense`].
#[cfg(assembly)]
pub fn dense(stream: &[u8], x: &[i16], low: i16, high: i16, out: &mut [i16]) {
    match Whole::new(stream, x, out) {
        Some(whole) => dense_routines::dense_whole(&whole, low, high),
        None => portable::dense(stream, x, low, high, out),
    }
}

/// See [`portable::dense_accumulators`].
#[cfg(assembly)]
pub fn dense_accumulators(stream: &[u8], x: &[i16], out: &mut [i32]) {
    match Whole::new(stream, x, out) {
        Some(whole) => dense_routines::accumulate_whole(&whole),
        None => portable::dense_accumulators(stream, x, out),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes::{Inputs, Outputs};
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn place(x: i128, low: i16, high: i16) -> i16 {
        x.clamp(low.into(), high.into()) as i16
    }

    prop_compose! {
        /// Weights by row, inputs within the bound of those weights, biases and multipliers.
        fn layer()(quads in 1_usize..9, blocks in 1_usize..4)(
            weights in prop::collection::vec(
                prop::collection::vec(prop_oneof![-127_i8..=127, Just(127), Just(-127)], quads * 4),
                blocks * BLOCK_ROWS,
            ),
            x in prop::collection::vec(prop_oneof![-2_047_i16..=2_047, Just(2_047)], quads * 4),
            tails in prop::collection::vec(
                (
                    prop_oneof![-(1 << 30)..=1 << 30, Just(1 << 30), Just(-(1 << 30))],
                    prop_oneof![any::<i32>(), Just(0), Just(i32::MAX), Just(i32::MIN)],
                ),
                blocks * BLOCK_ROWS,
            ),
        ) -> (Vec<Vec<i8>>, Vec<i16>, Vec<(i32, i32)>) {
            (weights, x, tails)
        }
    }

    fn stream(weights: &[Vec<i8>], tails: &[(i32, i32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (rows, tails) in weights.chunks(BLOCK_ROWS).zip(tails.chunks(BLOCK_ROWS)) {
            for j in (0..rows[0].len()).step_by(2) {
                for (upper, lower) in [(0, 1), (2, 3)] {
                    for j in [j, j + 1] {
                        let half = 256 * i16::from(rows[upper][j]) + i16::from(rows[lower][j]);
                        bytes.extend(half.to_le_bytes());
                    }
                }
            }
            bytes.extend(tails.iter().flat_map(|(bias, _)| bias.to_le_bytes()));
            bytes.extend(tails.iter().flat_map(|(_, multiplier)| multiplier.to_le_bytes()));
        }
        bytes
    }

    fn stream_of_bytes(weights: &[Vec<i8>], tails: &[(i32, i32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (rows, tails) in weights.chunks(BLOCK_ROWS).zip(tails.chunks(BLOCK_ROWS)) {
            bytes.extend(tails.iter().flat_map(|(bias, _)| bias.to_le_bytes()));
            let inputs = rows[0].len();
            let mut begin = 0;
            while begin < inputs {
                let end = begin + if begin == 0 && inputs % 16 > 0 { inputs % 16 } else { 16 };
                bytes.extend(rows.iter().flat_map(|row| &row[begin..end]).map(|w| *w as u8));
                begin = end;
            }
            bytes.extend(tails.iter().flat_map(|(_, multiplier)| multiplier.to_le_bytes()));
        }
        bytes
    }

    fn plain_sums(weights: &[Vec<i8>], tails: &[(i32, i32)], x: &[i16]) -> Vec<i64> {
        let sum = |(row, (bias, _)): (&Vec<i8>, &(i32, i32))| {
            let products = row.iter().zip(x).map(|(&w, &x)| i64::from(w) * i64::from(x));
            i64::from(*bias) + products.sum::<i64>()
        };
        weights.iter().zip(tails).map(sum).collect()
    }

    fn plain_outputs(sums: &[i64], tails: &[(i32, i32)], low: i16, high: i16) -> Vec<i16> {
        let output = |(&sum, &(_, multiplier)): (&i64, &(i32, i32))| {
            let product = i128::from(sum) * i128::from(multiplier);
            place((product + (1 << 31)).div_euclid(1 << 32), low, high)
        };
        sums.iter().zip(tails).map(output).collect()
    }

    proptest! {
        #[test]
        fn a_layer_equals_plain_sums(
            (weights, x, tails) in layer(),
            a: i16,
            b: i16,
            start in 0_usize..4,
        ) {
            let mut bytes = std::vec![0; start];
            bytes.extend(stream(&weights, &tails));
            let bytes = &bytes[start..];
            let sums = plain_sums(&weights, &tails, &x);
            for kernel in [portable::dense_accumulators, riscv::dense_accumulators] {
                let mut found = std::vec![0; sums.len()];
                kernel(bytes, &x, &mut found);
                prop_assert_eq!(found.into_iter().map(i64::from).collect::<Vec<_>>(), sums.clone());
            }

            let (low, high) = (a.min(b), a.max(b));
            let expected = plain_outputs(&sums, &tails, low, high);
            for kernel in [portable::dense, riscv::dense] {
                let mut found = std::vec![0; sums.len()];
                kernel(bytes, &x, low, high, &mut found);
                prop_assert_eq!(&found, &expected);
            }
        }

        #[test]
        fn a_layer_of_bytes_equals_plain_sums(
            (weights, x, tails) in layer(),
            a: i8,
            b: i8,
            start in 0_usize..4,
        ) {
            let mut bytes = std::vec![0; start];
            bytes.extend(stream_of_bytes(&weights, &tails));
            let bytes = &bytes[start..];
            for wide in [true, false] {
                let x: Vec<i16> = x.iter().map(|x| if wide { *x } else { *x as i8 as i16 }).collect();
                let narrow: Vec<i8> = x.iter().map(|x| *x as i8).collect();
                let inputs = if wide { Inputs::Halves(&x) } else { Inputs::Bytes(&narrow) };
                let sums = plain_sums(&weights, &tails, &x);
                let mut found = std::vec![0; sums.len()];
                dense_bytes(bytes, inputs, 0, 0, Outputs::Words(&mut found));
                prop_assert_eq!(found.into_iter().map(i64::from).collect::<Vec<_>>(), sums.clone());

                let (low, high) = (a.min(b).into(), a.max(b).into());
                let expected = plain_outputs(&sums, &tails, low, high);
                let mut found = std::vec![0; sums.len()];
                dense_bytes(bytes, inputs, low, high, Outputs::Halves(&mut found));
                prop_assert_eq!(&found, &expected);
                let mut found = std::vec![0; sums.len()];
                dense_bytes(bytes, inputs, low, high, Outputs::Bytes(&mut found));
                prop_assert_eq!(found.into_iter().map(i16::from).collect::<Vec<_>>(), expected);
            }
            for (rows, block) in weights.chunks(BLOCK_ROWS).zip(blocks(bytes, x.len())) {
                let sum = |row: &Vec<i8>| row.iter().map(|w| u32::from(w.unsigned_abs())).sum::<u32>();
                let magnitudes: Vec<u32> = rows.iter().map(sum).collect();
                prop_assert_eq!(&block_magnitudes(Layout::Bytes, block)[..], &magnitudes[..]);
            }
        }

        #[test]
        fn a_search_equals_a_stable_sort(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 4..700),
                prop::collection::vec(0_u8..2, 4..700), // many are equally near
            ],
            start in 0_usize..4,
            query in prop_oneof![
                prop::collection::vec(-QUERY_LIMIT..=QUERY_LIMIT, 20),
                prop::collection::vec(-1_i16..=1, 20),
                prop::collection::vec(prop_oneof![Just(-QUERY_LIMIT), Just(QUERY_LIMIT)], 20),
            ],
            quads in prop_oneof![1_usize..=5, Just(4)],
        ) {
            let (vectors, query) = (&bytes[start..], &query[..4 * quads]);
            let distance = |vector: &[u8]| {
                let square = |(p, q): (&u8, &i16)| (i64::from(*q) - i64::from(p.cast_signed())).pow(2);
                vector.iter().zip(query).map(square).sum::<i64>() as u32
            };
            let plain: Vec<u32> = vectors.chunks_exact(query.len()).map(distance).collect();
            let mut distances = std::vec![0; plain.len()];
            squared_distances(vectors, query, &mut distances);
            prop_assert_eq!(&distances, &plain);

            let mut order: Vec<_> = (0_u32..).zip(distances).collect();
            order.sort_by_key(|(_, distance)| *distance);
            let ranked = nearest::<3>(vectors, query);
            let ranked: Vec<_> = ranked.iter().map(|r| (r.prototype, r.squared_distance)).collect();
            prop_assert_eq!(ranked, order.into_iter().take(3).collect::<Vec<_>>());
        }
    }
}
