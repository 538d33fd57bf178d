//! Layers of plain bytes: sixteen products of bytes an instruction, or eight of a byte and a halfword.
//!
//! A block's accumulators begin as its biases, in r4, r6, r8 and r10. Each sixteen of its inputs are a register that multiplies
//! four registers of weights: nine instructions for 64 products, eight where the register holds the inputs from block to block, as q4
//! to q7 do with the last 64 bytes of them. Inputs in halfwords fill two registers, and loads extend the weights.
//!
//! A block takes one way through code that is written out for 128 bytes of inputs: it is entered where as many remain. What is
//! before them, a stretch that is no whole one and groups beyond 128 bytes, goes first.

use core::arch::naked_asm;

use crate::kernel::bytes::{Inputs, Outputs};
use crate::kernel::{Dense, WIDTH_LIMIT, block_bytes, bytes as portable};

/// What the routines need to know of a layer beside its memory; what follows from its widths, once. A routine loads the first three
/// words, and has two numbers of each.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(in crate::kernel) struct Plan {
    low: i16,
    /// Not below `low`.
    high: i16,
    /// Where a block's code begins, from that of its whole stretches.
    entry: i16,
    /// The last 128 bytes of the inputs, of which there may be fewer.
    last: i16,
    /// Bytes of code to skip: loads of inputs that stay in registers.
    skipped_loads: u16,
    /// Not zero.
    blocks: u16,
    /// Bytes of code for a block's whole stretches to skip.
    skipped: u16,
    /// Inputs that are in no whole stretch.
    before: u16,
    /// To activations, and to words; `None` for layers of another layout.
    routines: Option<&'static [Routine; 2]>,
}

/// `more` is 0 for outputs in bytes. Otherwise the plan has one block, outputs are halfwords, and it is how many blocks there are.
/// Routines for words ignore it.
///
/// # Safety
///
/// The plan is that of a layer whose inputs are at `x`; `stream` holds its blocks, aligned to four bytes; `out` has four
/// places of that size for each block, and is the caller's alone.
type Routine =
    unsafe extern "C" fn(stream: *const u8, x: *const u8, plan: &Plan, out: *mut u8, more: u32);

/// To activations, and to words.
static BYTES: [Routine; 2] = [byte_blocks, byte_words];
/// The same from halfwords.
static HALVES: [Routine; 2] = [half_blocks, half_words];

/// Bytes of code of what comes before whole stretches, of bytes and of halfwords.
const BEFORE_BYTES: [i16; 2] = [120, 228];

impl Plan {
    /// That of a layer of `inputs`, a multiple of four and not zero, and `blocks`, not zero.
    pub(in crate::kernel) const fn new(
        inputs: u16,
        blocks: u16,
        wide: bool,
        low: i16,
        high: i16,
    ) -> Self {
        let size = if wide { 2 } else { 1 };
        let (whole, before) = (inputs.wrapping_shr(4), inputs & 15);
        // The code has 128 bytes of inputs, of which 64 stay in registers.
        let written = 8_u16.wrapping_div(size);
        let missing = written.saturating_sub(whole);
        let half = written.wrapping_shr(1);
        let missing_loads = if missing < half { missing } else { half };
        let load = size.wrapping_mul(4);
        let skipped = missing.wrapping_mul(8).wrapping_add(missing_loads).wrapping_mul(load);
        let [before_bytes, before_halves] = BEFORE_BYTES;
        let entry = match (before == 0 && whole <= written, wide) {
            (true, _) => skipped.cast_signed(),
            (false, false) => before_bytes.wrapping_neg(),
            (false, true) => before_halves.wrapping_neg(),
        };
        Plan {
            low,
            high: if high < low { low } else { high },
            entry,
            // Below 2^15, because no layer has 2^14 inputs.
            last: inputs.wrapping_mul(size).cast_signed().wrapping_sub(128),
            skipped_loads: missing.wrapping_sub(missing_loads).wrapping_mul(load),
            blocks,
            skipped,
            before,
            routines: Some(if wide { &HALVES } else { &BYTES }),
        }
    }

    /// That of a layer of another layout.
    pub(in crate::kernel) const fn none(low: i16, high: i16) -> Self {
        Plan { routines: None, ..Plan::new(4, 1, false, low, high) }
    }

    /// Lower and upper clamp.
    pub(in crate::kernel) fn clamps(&self) -> (i16, i16) {
        (self.low, self.high)
    }

    /// The inputs' and the outputs' addresses, if both slices hold what the layer reads and writes with `words` for each block.
    #[inline]
    fn addresses<T>(&self, x: &[u32], out: &mut [T], words: usize) -> Option<(*const u8, *mut u8)> {
        const { assert!(size_of::<T>() == 4 && align_of::<T>() == 4) };
        let x_bytes = (self.last as usize).wrapping_add(128);
        let room = x.len().wrapping_mul(4) >= x_bytes
            && out.len() >= usize::from(self.blocks).wrapping_mul(words);
        room.then_some((x.as_ptr().cast(), out.as_mut_ptr().cast()))
    }

    /// The same layer's for outputs in halfwords.
    fn to_halves(self) -> Self {
        Plan { blocks: 1, ..self }
    }
}

/// [`Dense::run`] for plain bytes: activations in bytes. False, and nothing done, for another layout.
#[inline]
pub(in crate::kernel) fn run(layer: &Dense<'_>, x: &[u32], out: &mut [u32]) -> bool {
    let plan = &layer.plan;
    let Some([routine, _]) = plan.routines else { return false };
    if let Some((x, out)) = plan.addresses(x, out, 1) {
        // SAFETY: a `Dense` has a stream for its widths, of which this is the plan; inputs and outputs are long enough.
        unsafe { routine(layer.stream.as_ptr(), x, plan, out, 0) }
    }
    true
}

/// [`Dense::embed`] for plain bytes. False, and nothing done, for another layout.
pub(in crate::kernel) fn embed(layer: &Dense<'_>, x: &[u32], out: &mut [u32]) -> bool {
    let plan = &layer.plan;
    let Some([routine, _]) = plan.routines else { return false };
    if let Some((x, out)) = plan.addresses(x, out, 2) {
        let more = plan.blocks.into();
        // SAFETY: as in `run`.
        unsafe { routine(layer.stream.as_ptr(), x, &plan.to_halves(), out, more) }
    }
    true
}

/// [`Dense::accumulate`] for plain bytes.
#[inline]
pub(in crate::kernel) fn accumulate(layer: &Dense<'_>, x: &[u32], out: &mut [i32]) -> bool {
    let plan = &layer.plan;
    let Some([_, routine]) = plan.routines else { return false };
    if let Some((x, out)) = plan.addresses(x, out, 4) {
        // SAFETY: as in `run`.
        unsafe { routine(layer.stream.as_ptr(), x, plan, out, 0) }
    }
    true
}

/// See [`bytes::dense_bytes`](crate::kernel::bytes::dense_bytes).
pub fn dense_bytes(stream: &[u8], x: Inputs<'_>, low: i16, high: i16, out: Outputs<'_>) {
    let (inputs, x_bytes, wide) = match x {
        Inputs::Bytes(x) => (x.len(), x.as_ptr().cast::<u8>(), false),
        Inputs::Halves(x) => (x.len(), x.as_ptr().cast(), true),
    };
    let mut out = out;
    let places = match &out {
        Outputs::Bytes(out) => out.len(),
        Outputs::Halves(out) => out.len(),
        Outputs::Words(out) => out.len(),
    };
    let blocks = places.wrapping_shr(2);
    let sound = stream.as_ptr().addr().is_multiple_of(4)
        && inputs.is_multiple_of(4)
        && (1..WIDTH_LIMIT).contains(&inputs)
        && (1..WIDTH_LIMIT).contains(&blocks)
        // Below (4 * 2^14 + 32) * 2^14.
        && stream.len() >= block_bytes(inputs).wrapping_mul(blocks);
    let plan = Plan::new(inputs as u16, blocks as u16, wide, low, high);
    let Some([routine, to_words]) = plan.routines.filter(|_| sound) else {
        return portable::dense_bytes(stream, x, low, high, out);
    };
    let stream = stream.as_ptr();
    // SAFETY: the plan is that of these operands, which are long enough for it.
    match &mut out {
        Outputs::Bytes(out) => unsafe {
            routine(stream, x_bytes, &plan, out.as_mut_ptr().cast(), 0);
        },
        Outputs::Halves(out) => unsafe {
            routine(
                stream,
                x_bytes,
                &plan.to_halves(),
                out.as_mut_ptr().cast(),
                plan.blocks.into(),
            );
        },
        Outputs::Words(out) => unsafe {
            to_words(stream, x_bytes, &plan, out.as_mut_ptr().cast(), 0);
        },
    }
}

/// Registers and addresses of a layer, then the code that a block begins with.
///
/// r0: stream; r1: inputs; r2: plan; r3: out; lr: blocks; r7: where a block's code begins; r9: more blocks; r12: the last 128 bytes
/// of inputs; q2, q3: clamps; q4 to q7: the last 64 bytes of inputs.
macro_rules! begin {
    ($load:literal) => {
        concat!(
            "push {{r4-r11, lr}}\n",
            "vpush {{d8-d15}}\n",
            "ldr r9, [sp, #100]\n",
            "ldm.w r2, {{r4, r5, r6}}\n",
            "vdup.32 q3, r4\n",
            "vmovlb.s16 q2, q3\n",
            "vmovlt.s16 q3, q3\n",
            "add.w r12, r1, r5, asr #16\n",
            "lsr.w lr, r6, #16\n",
            "adr.w r7, 5f + 1\n",
            "uxtah r7, r7, r6\n",
            "bx r7\n",
            ".p2align 2\n",
            "5:\n",
            $load,
            " q4, [r12, #64]\n",
            $load,
            " q5, [r12, #80]\n",
            $load,
            " q6, [r12, #96]\n",
            $load,
            " q7, [r12, #112]\n",
            "adr.w r7, 3f + 1\n",
            "sxtah r7, r7, r5\n",
            "2:\n",
            "ldm r0!, {{r4, r6, r8, r10}}\n",
            "bx r7\n",
        )
    };
}

/// The end of a block, and of a routine, for activations.
macro_rules! rescale {
    () => {
        concat!(
            "vmov q0[2], q0[0], r4, r8\n",
            "vldrw.u32 q1, [r0], #16\n",
            "vmov q0[3], q0[1], r6, r10\n",
            "vrmulh.s32 q0, q0, q1\n",
            "vmax.s32 q0, q0, q2\n",
            "vmin.s32 q0, q0, q3\n",
            "vstrb.32 q0, [r3], #4\n",
            "le lr, 2b\n",
            "cmp r9, #0\n",
            "beq 9f\n",
            // Over the four bytes.
            "subs r3, #4\n",
            "vstrh.32 q0, [r3], #8\n",
            "mov lr, #1\n",
            "subs r9, #1\n",
            "bne 2b\n",
            "9:\n",
            "vpop {{d8-d15}}\n",
            "pop {{r4-r11, pc}}\n",
        )
    };
}

/// The end of a block, and of a routine, for words.
macro_rules! keep {
    () => {
        concat!(
            "stm r3!, {{r4, r6, r8, r10}}\n",
            "adds r0, #16\n",
            "le lr, 2b\n",
            "vpop {{d8-d15}}\n",
            "pop {{r4-r11, pc}}\n",
        )
    };
}

/// Multiplies sixteen inputs in `$x` with the weights at r0, which moves to the next.
macro_rules! bytes {
    ($x:literal) => {
        concat!(
            "vldrb.u8 q1, [r0], #16\n",
            "vmladava.s8 r4, q1, ",
            $x,
            "\n",
            "vldrb.u8 q1, [r0], #16\n",
            "vmladava.s8 r6, q1, ",
            $x,
            "\n",
            "vldrb.u8 q1, [r0], #16\n",
            "vmladava.s8 r8, q1, ",
            $x,
            "\n",
            "vldrb.u8 q1, [r0], #16\n",
            "vmladava.s8 r10, q1, ",
            $x,
            "\n",
        )
    };
}

/// A layer of bytes, but for the end of its blocks.
///
/// A row's weights for inputs that are no whole stretch are as many: behind them lie the next row's, the next stretch, or the
/// multipliers, beside inputs that are zeros.
macro_rules! byte_layer {
    () => {
        concat!(
            begin!("vldrb.u8"),
            ".p2align 2\n",
            "6:\n",
            "push {{r1, r2}}\n",
            "ldrh r5, [r2, #12]\n", // Plan::skipped
            "ldrh r2, [r2, #14]\n", // Plan::before
            "cbz r2, 7f\n",
            "vctp.8 r2\n",
            "vpst\n",
            "vldrbt.u8 q0, [r1]\n",
            "add r1, r2\n",
            "vldrb.u8 q1, [r0]\n",
            "vmladava.s8 r4, q1, q0\n",
            "add r0, r2\n",
            "vldrb.u8 q1, [r0]\n",
            "vmladava.s8 r6, q1, q0\n",
            "add r0, r2\n",
            "vldrb.u8 q1, [r0]\n",
            "vmladava.s8 r8, q1, q0\n",
            "add r0, r2\n",
            "vldrb.u8 q1, [r0]\n",
            "vmladava.s8 r10, q1, q0\n",
            "add r0, r2\n",
            "7:\n",
            "subs.w r11, r12, r1\n",
            "beq 8f\n",
            "bmi 8f\n",
            "vldrb.u8 q0, [r1], #16\n",
            bytes!("q0"),
            "b 7b\n",
            "8:\n",
            "adr.w r11, 3f + 1\n",
            "add r11, r5\n",
            "pop {{r1, r2}}\n",
            "bx r11\n",
            ".org 6b + 120\n", // BEFORE_BYTES; an error if the code is longer
            "3:\n",
            "vldrb.u8 q0, [r12]\n",
            bytes!("q0"),
            "vldrb.u8 q0, [r12, #16]\n",
            bytes!("q0"),
            "vldrb.u8 q0, [r12, #32]\n",
            bytes!("q0"),
            "vldrb.u8 q0, [r12, #48]\n",
            bytes!("q0"),
            bytes!("q4"),
            bytes!("q5"),
            bytes!("q6"),
            bytes!("q7"),
        )
    };
}

/// Multiplies sixteen inputs, of which `$first` holds eight, with the weights at r0, which moves to the next; `$between` comes before
/// the other eight in `$last`.
macro_rules! halves {
    ($first:literal, $between:literal, $last:literal) => {
        concat!(
            "vldrb.s16 q1, [r0], #16\n",
            "vmladava.s16 r4, q1, ",
            $first,
            "\n",
            "vldrb.s16 q1, [r0], #16\n",
            "vmladava.s16 r6, q1, ",
            $first,
            "\n",
            "vldrb.s16 q1, [r0], #16\n",
            "vmladava.s16 r8, q1, ",
            $first,
            "\n",
            "vldrb.s16 q1, [r0], #16\n",
            "vmladava.s16 r10, q1, ",
            $first,
            "\n",
            $between,
            "vldrb.s16 q1, [r0, #-56]\n",
            "vmladava.s16 r4, q1, ",
            $last,
            "\n",
            "vldrb.s16 q1, [r0, #-40]\n",
            "vmladava.s16 r6, q1, ",
            $last,
            "\n",
            "vldrb.s16 q1, [r0, #-24]\n",
            "vmladava.s16 r8, q1, ",
            $last,
            "\n",
            "vldrb.s16 q1, [r0, #-8]\n",
            "vmladava.s16 r10, q1, ",
            $last,
            "\n",
        )
    };
}

/// The weights at r0 and `$place` bytes behind, which moves to the next row, by the eight inputs in q0.
macro_rules! row_of_halves {
    ($sum:literal, $place:literal) => {
        concat!(
            "vldrb.s16 q1, [r0, #",
            $place,
            "]\n",
            "vmladava.s16 ",
            $sum,
            ", q1, q0\n",
            "add r0, r2\n",
        )
    };
}

/// As `byte_layer!` for inputs in halfwords; the second half of those that are no whole stretch may be all zeros.
macro_rules! half_layer {
    () => {
        concat!(
            begin!("vldrh.u16"),
            ".p2align 2\n",
            "6:\n",
            "push {{r1, r2}}\n",
            "ldrh r5, [r2, #12]\n", // Plan::skipped
            "ldrh r2, [r2, #14]\n", // Plan::before
            "cmp r2, #0\n",
            "beq.w 7f\n",
            "push {{r2}}\n",
            "vctp.16 r2\n",
            "vpst\n",
            "vldrht.u16 q0, [r1]\n",
            row_of_halves!("r4", "0"),
            row_of_halves!("r6", "0"),
            row_of_halves!("r8", "0"),
            row_of_halves!("r10", "0"),
            "sub.w r0, r0, r2, lsl #2\n",
            "subs r2, #8\n",
            "it mi\n",
            "movmi r2, #0\n",
            "vctp.16 r2\n",
            "vpst\n",
            "vldrht.u16 q0, [r1, #16]\n",
            "pop {{r2}}\n",
            "add.w r1, r1, r2, lsl #1\n",
            row_of_halves!("r4", "8"),
            row_of_halves!("r6", "8"),
            row_of_halves!("r8", "8"),
            row_of_halves!("r10", "8"),
            "7:\n",
            "subs.w r11, r12, r1\n",
            "beq 8f\n",
            "bmi 8f\n",
            "vldrh.u16 q0, [r1], #16\n",
            halves!("q0", "vldrh.u16 q0, [r1], #16\n", "q0"),
            "b 7b\n",
            "8:\n",
            "adr.w r11, 3f + 1\n",
            "add r11, r5\n",
            "pop {{r1, r2}}\n",
            "bx r11\n",
            ".org 6b + 228\n",
            "3:\n",
            "vldrh.u16 q0, [r12]\n",
            halves!("q0", "vldrh.u16 q0, [r12, #16]\n", "q0"),
            "vldrh.u16 q0, [r12, #32]\n",
            halves!("q0", "vldrh.u16 q0, [r12, #48]\n", "q0"),
            halves!("q4", "", "q5"),
            halves!("q6", "", "q7"),
        )
    };
}

/// Defines a [`Routine`].
macro_rules! routine {
    ($name:ident, $inputs:literal, $layer:ident, $end:ident) => {
        #[doc = concat!("From ", $inputs, ".")]
        ///
        /// # Safety
        ///
        /// As for [`Routine`].
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            stream: *const u8,
            x: *const u8,
            plan: &Plan,
            out: *mut u8,
            blocks: u32,
        ) {
            naked_asm!(".cpu cortex-m55", $layer!(), $end!())
        }
    };
}

routine!(byte_blocks, "bytes to activations", byte_layer, rescale);
routine!(byte_words, "bytes to words", byte_layer, keep);
routine!(half_blocks, "halfwords to activations", half_layer, rescale);
routine!(half_words, "halfwords to words", half_layer, keep);

/// The lower eight bits of each halfword in `x`, behind one another.
pub(crate) fn narrow(x: &[u32], out: &mut [u32]) {
    // As many halfwords as `x` holds, or as `out` has bytes for.
    let count = x.len().wrapping_mul(2).min(out.len().wrapping_mul(4));
    // SAFETY: both are long enough for `count` values.
    unsafe { lower_bytes(x.as_ptr(), out.as_mut_ptr(), count) }
}

/// # Safety
///
/// `x` holds `count` halfwords and `out` as many bytes.
#[unsafe(naked)]
unsafe extern "C" fn lower_bytes(x: *const u32, out: *mut u32, count: usize) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "wlstp.16 lr, r2, 3f",
        "2:",
        "vldrh.u16 q0, [r0], #16",
        "vstrb.16 q0, [r1], #8",
        "letp lr, 2b",
        "3:",
        "pop {{r7, pc}}",
    )
}
