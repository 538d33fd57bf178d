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

/// What ends a block: how far behind the first ending's code its own lies.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Ending {
    Bytes = 0,
    Halves = ENDING_BYTES,
    Words = 2 * ENDING_BYTES,
}

/// Bytes of code of an ending.
const ENDING_BYTES: u32 = 36;

/// What the routines need to know of a layer beside its memory; what follows from its widths, once.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(in crate::kernel) struct Plan {
    low: i32,
    /// Not below `low`.
    high: i32,
    /// Bytes of code to skip: loads of inputs that stay in registers.
    skipped_loads: u32,
    /// Bytes of code to skip in each block.
    skipped: u32,
    /// Inputs that are in no whole stretch.
    before: u32,
    /// Where in the inputs the code for a block begins with whole stretches, in bytes.
    begin: u32,
    /// The last 128 bytes of the inputs, of which there may be fewer.
    last: i32,
    /// Not zero.
    blocks: u32,
    /// Words that the inputs take.
    x_words: u32,
    /// `None` for layers of another layout.
    routine: Option<Routine>,
}

/// # Safety
///
/// The plan is that of a layer whose inputs are at `x`; `stream` holds its blocks, aligned to four bytes; `out` has four
/// places of the ending's size for each block, and is the caller's alone.
type Routine = unsafe extern "C" fn(*const u8, *const u8, &Plan, *mut u8, Ending);

impl Plan {
    /// That of a layer of `inputs`, a multiple of four and not zero, and `blocks`, not zero.
    pub(in crate::kernel) fn new(
        inputs: u16,
        blocks: u16,
        wide: bool,
        low: i16,
        high: i16,
    ) -> Self {
        let (inputs, size) = (u32::from(inputs), if wide { 2 } else { 1 });
        let (whole, before) = (inputs.wrapping_shr(4), inputs & 15);
        // The code has 128 bytes of inputs, of which 64 stay in registers.
        let written = 8_u32.wrapping_div(size);
        let missing = written.saturating_sub(whole);
        let missing_loads = missing.min(written.wrapping_shr(1));
        let bytes = inputs.wrapping_mul(size);
        let last = bytes.cast_signed().wrapping_sub(128);
        Plan {
            low: low.into(),
            high: high.max(low).into(),
            skipped_loads: missing.wrapping_sub(missing_loads).wrapping_mul(4).wrapping_mul(size),
            skipped: missing
                .wrapping_mul(8)
                .wrapping_add(missing_loads)
                .wrapping_mul(4)
                .wrapping_mul(size),
            before,
            begin: if whole > written { last.cast_unsigned() } else { before.wrapping_mul(size) },
            last,
            blocks: blocks.into(),
            x_words: bytes.wrapping_shr(2),
            routine: Some(if wide { half_blocks } else { byte_blocks }),
        }
    }

    /// Runs a proved layer whose activations lie in words and whose blocks take `words` of `out` each. Does nothing for a layer of
    /// another layout, or when a slice is too short.
    #[inline]
    fn run<T>(&self, stream: &[u8], x: &[u32], out: &mut [T], words: u32, ending: Ending) {
        const { assert!(size_of::<T>() == 4 && align_of::<T>() == 4) };
        let Some(routine) = self.routine else { return };
        if x.len() < self.x_words as usize || out.len() < self.blocks.wrapping_mul(words) as usize {
            return;
        }
        // SAFETY: a `Dense` has a stream for its widths, of which this is the plan; the lengths of inputs and outputs are as
        // checked.
        unsafe {
            routine(stream.as_ptr(), x.as_ptr().cast(), self, out.as_mut_ptr().cast(), ending);
        }
    }
}

/// [`Dense::run`] for plain bytes: activations in bytes.
#[inline]
pub(in crate::kernel) fn run(layer: &Dense<'_>, x: &[u32], out: &mut [u32]) {
    layer.plan.run(layer.stream, x, out, 1, Ending::Bytes);
}

/// [`Dense::embed`] for plain bytes.
#[inline]
pub(in crate::kernel) fn embed(layer: &Dense<'_>, x: &[u32], out: &mut [u32]) {
    layer.plan.run(layer.stream, x, out, 2, Ending::Halves);
}

/// [`Dense::accumulate`] for plain bytes.
#[inline]
pub(in crate::kernel) fn accumulate(layer: &Dense<'_>, x: &[u32], out: &mut [i32]) {
    layer.plan.run(layer.stream, x, out, 4, Ending::Words);
}

/// See [`bytes::dense_bytes`](crate::kernel::bytes::dense_bytes).
pub fn dense_bytes(stream: &[u8], x: Inputs<'_>, low: i16, high: i16, out: Outputs<'_>) {
    let (inputs, x_bytes, wide) = match x {
        Inputs::Bytes(x) => (x.len(), x.as_ptr().cast::<u8>(), false),
        Inputs::Halves(x) => (x.len(), x.as_ptr().cast(), true),
    };
    let mut out = out;
    let (places, ending, pointer) = match &mut out {
        Outputs::Bytes(out) => (out.len(), Ending::Bytes, out.as_mut_ptr().cast::<u8>()),
        Outputs::Halves(out) => (out.len(), Ending::Halves, out.as_mut_ptr().cast()),
        Outputs::Words(out) => (out.len(), Ending::Words, out.as_mut_ptr().cast()),
    };
    let blocks = places.wrapping_shr(2);
    let sound = stream.as_ptr().addr().is_multiple_of(4)
        && inputs.is_multiple_of(4)
        && (1..WIDTH_LIMIT).contains(&inputs)
        && (1..WIDTH_LIMIT).contains(&blocks)
        // Below (4 * 2^14 + 32) * 2^14.
        && stream.len() >= block_bytes(inputs).wrapping_mul(blocks);
    let plan = Plan::new(inputs as u16, blocks as u16, wide, low, high);
    match plan.routine.filter(|_| sound) {
        // SAFETY: the plan is that of these operands, which are long enough for it.
        Some(routine) => unsafe { routine(stream.as_ptr(), x_bytes, &plan, pointer, ending) },
        None => portable::dense_bytes(stream, x, low, high, out),
    }
}

/// Registers and addresses of a layer.
///
/// r0: stream; r3: out; lr: blocks; r5: where the code for the last whole stretches begins; r7: where a block does; r9: its
/// ending; r11: inputs of those stretches; r12: the last 128 bytes of inputs; q2, q3: clamps; q4 to q7: the last 64 bytes of
/// inputs. On the stack: all inputs, and how many are in no whole stretch.
macro_rules! begin {
    ($load:literal) => {
        concat!(
            "push {{r4-r11, lr}}\n",
            "vpush {{d8-d15}}\n",
            "ldr r9, [sp, #100]\n",
            "ldm.w r2, {{r4, r5, r6, r7, r8, r11, r12, lr}}\n",
            "vdup.32 q2, r4\n",
            "vdup.32 q3, r5\n",
            "push {{r1, r8}}\n",
            "add r11, r1\n",
            "add r12, r1\n",
            "adr.w r5, 5f + 1\n",
            "add r5, r6\n",
            "bx r5\n",
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
            "adr.w r5, 3f + 1\n",
            "add r5, r7\n",
            "adr.w r7, 6f + 1\n",
            "cmp r11, r1\n", // nothing before them
            "it eq\n",
            "moveq r7, r5\n",
            "adr.w r4, 10f + 1\n",
            "add r9, r4\n",
            "2:\n",
            "ldm r0!, {{r4, r6, r8, r10}}\n",
            "bx r7\n",
        )
    };
}

/// The endings of a block, then the routine's end.
macro_rules! end {
    () => {
        concat!(
            "bx r9\n",
            ".p2align 2\n",
            "10:\n",
            rescale!(),
            "vstrb.32 q0, [r3], #4\n",
            "le lr, 2b\n",
            "b.w 9f\n",
            rescale!(),
            "vstrh.32 q0, [r3], #8\n",
            "le lr, 2b\n",
            "b.w 9f\n",
            "stm r3!, {{r4, r6, r8, r10}}\n",
            "adds r0, #16\n",
            "le lr, 2b\n",
            "9:\n",
            "add sp, #8\n",
            "vpop {{d8-d15}}\n",
            "pop {{r4-r11, pc}}\n",
        )
    };
}

/// Six instructions, of 24 bytes.
macro_rules! rescale {
    () => {
        concat!(
            "vmov q0[2], q0[0], r4, r8\n",
            "vldrw.u32 q1, [r0], #16\n",
            "vmov q0[3], q0[1], r6, r10\n",
            "vrmulh.s32 q0, q0, q1\n",
            "vmax.s32 q0, q0, q2\n",
            "vmin.s32 q0, q0, q3\n",
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

/// # Safety
///
/// As for [`Routine`], with inputs in bytes.
#[unsafe(naked)]
unsafe extern "C" fn byte_blocks(
    stream: *const u8,
    x: *const u8,
    plan: &Plan,
    out: *mut u8,
    ending: Ending,
) {
    naked_asm!(
        ".cpu cortex-m55",
        begin!("vldrb.u8"),
        ".p2align 2",
        "3:",
        "vldrb.u8 q0, [r12]",
        bytes!("q0"),
        "vldrb.u8 q0, [r12, #16]",
        bytes!("q0"),
        "vldrb.u8 q0, [r12, #32]",
        bytes!("q0"),
        "vldrb.u8 q0, [r12, #48]",
        bytes!("q0"),
        bytes!("q4"),
        bytes!("q5"),
        bytes!("q6"),
        bytes!("q7"),
        end!(),
        // Inputs that are no whole stretch, beside zeros. A row's weights are as many: behind them lie the next row's, the next
        // stretch, or the multipliers.
        "6:",
        "ldrd r1, r2, [sp]",
        "cbz r2, 7f",
        "vctp.8 r2",
        "vpst",
        "vldrbt.u8 q0, [r1]",
        "add r1, r2",
        "vldrb.u8 q1, [r0]",
        "vmladava.s8 r4, q1, q0",
        "add r0, r2",
        "vldrb.u8 q1, [r0]",
        "vmladava.s8 r6, q1, q0",
        "add r0, r2",
        "vldrb.u8 q1, [r0]",
        "vmladava.s8 r8, q1, q0",
        "add r0, r2",
        "vldrb.u8 q1, [r0]",
        "vmladava.s8 r10, q1, q0",
        "add r0, r2",
        "7:",
        "cmp r1, r11",
        "beq 8f",
        "vldrb.u8 q0, [r1], #16",
        bytes!("q0"),
        "b 7b",
        "8:",
        "bx r5",
    )
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

/// # Safety
///
/// As for [`Routine`], with inputs in halfwords.
#[unsafe(naked)]
unsafe extern "C" fn half_blocks(
    stream: *const u8,
    x: *const u8,
    plan: &Plan,
    out: *mut u8,
    ending: Ending,
) {
    naked_asm!(
        ".cpu cortex-m55",
        begin!("vldrh.u16"),
        ".p2align 2",
        "3:",
        "vldrh.u16 q0, [r12]",
        halves!("q0", "vldrh.u16 q0, [r12, #16]\n", "q0"),
        "vldrh.u16 q0, [r12, #32]",
        halves!("q0", "vldrh.u16 q0, [r12, #48]\n", "q0"),
        halves!("q4", "", "q5"),
        halves!("q6", "", "q7"),
        end!(),
        // As for bytes, in two halves, of which the second may be all zeros.
        "6:",
        "ldrd r1, r2, [sp]",
        "cbz r2, 7f",
        "vctp.16 r2",
        "vpst",
        "vldrht.u16 q0, [r1]",
        row_of_halves!("r4", "0"),
        row_of_halves!("r6", "0"),
        row_of_halves!("r8", "0"),
        row_of_halves!("r10", "0"),
        "sub.w r0, r0, r2, lsl #2",
        "subs r2, #8",
        "it mi",
        "movmi r2, #0",
        "vctp.16 r2",
        "vpst",
        "vldrht.u16 q0, [r1, #16]",
        "ldr r2, [sp, #4]",
        "add.w r1, r1, r2, lsl #1",
        row_of_halves!("r4", "8"),
        row_of_halves!("r6", "8"),
        row_of_halves!("r8", "8"),
        row_of_halves!("r10", "8"),
        "7:",
        "cmp r1, r11",
        "beq 8f",
        "vldrh.u16 q0, [r1], #16",
        halves!("q0", "vldrh.u16 q0, [r1], #16\n", "q0"),
        "b 7b",
        "8:",
        "bx r5",
    )
}

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
