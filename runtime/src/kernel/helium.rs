//! Helium, the vector extension of Armv8.1-M (Cortex-M55, M85): eight 16-bit products, or sixteen of 8 bits, an instruction.
//!
//! Two interleaving loads sort eight inputs' words of a block into those of rows 0 and 1 and those of rows 2 and 3. A
//! vector of packed halfwords goes through `vmladava` as it is (256 A + B of two rows), then its sign-extended low bytes
//! do (B): nine instructions for 32 products. The sums of a block live in r4, r6, r8 and r10, because Helium adds up in
//! even registers alone.
//!
//! What Helium has no routine for falls to those of the DSP extension, which every core with Helium has.

use core::arch::naked_asm;

use heapless::Vec;

use super::{Ranked, Ranking, Whole, bank};

pub mod bytes;

/// Multiplies the inputs in q0 with a block's words of eight inputs in q1 and q2.
macro_rules! products {
    () => {
        concat!(
            "vmladava.s16 r4, q1, q0\n",
            "vmovlb.s8 q1, q1\n",
            "vmladava.s16 r8, q2, q0\n",
            "vmovlb.s8 q2, q2\n",
            "vmladava.s16 r6, q1, q0\n",
            "vmladava.s16 r10, q2, q0\n",
        )
    };
}

/// Eight inputs: nine instructions of four bytes.
macro_rules! eight_inputs {
    () => {
        concat!(
            "vldrh.u16 q0, [r1], #16\n",
            "vld20.32 {{q1, q2}}, [r0]\n",
            "vld21.32 {{q1, q2}}, [r0]!\n",
            products!(),
        )
    };
}

/// Turns of 32 inputs. A block begins at `2:`, and its accumulators of four rows end up in q0, with the multipliers in q2.
///
/// The first turn begins where whole ones remain; four inputs beyond a multiple of eight come before it, beside zeros:
/// behind their words lie others, or those of the block's end.
macro_rules! sums {
    () => {
        concat!(
            "sub r4, r2, r1\n",
            "lsrs r5, r4, #4\n", // inputs by eight
            "add.w lr, r5, #3\n",
            "lsr.w lr, lr, #2\n", // turns
            "rsb r5, r5, #0\n",
            "and r5, r5, #3\n",
            "movs r6, #36\n", // bytes of code for eight inputs
            "mul r5, r5, r6\n",
            "adr.w r6, 3f + 1\n",
            "add r5, r5, r6\n",
            "cmp.w lr, #0\n",
            "it eq\n",
            "adreq.w r5, 4f + 1\n",
            "mov r7, r5\n",
            "tst r4, #8\n", // bytes of four inputs
            "it ne\n",
            "adrne.w r7, 6f + 1\n",
            "movs r4, #0\n",
            "movs r6, #0\n",
            "mov r8, r4\n",
            "mov r10, r4\n",
            "movs r2, #4\n",
            "push {{r1, r4, r6, r8, r10, lr}}\n",
            "2:\n",
            "ldm.w sp, {{r1, r4, r6, r8, r10, lr}}\n",
            "bx r7\n",
            ".p2align 2\n",
            "6:\n",
            "vctp.16 r2\n",
            "vpst\n",
            "vldrht.u16 q0, [r1], #8\n",
            "vld20.32 {{q1, q2}}, [r0]\n",
            "vld21.32 {{q1, q2}}, [r0]\n",
            "adds r0, #16\n",
            products!(),
            "bx r5\n",
            ".p2align 2\n",
            "3:\n",
            eight_inputs!(),
            eight_inputs!(),
            eight_inputs!(),
            eight_inputs!(),
            "le lr, 3b\n",
            "4:\n",
            "subs r4, r4, r6\n",
            "vldrw.u32 q1, [r0], #16\n",
            "sub.w r8, r8, r10\n",
            "vldrw.u32 q2, [r0], #16\n",
            "asrs r4, r4, #8\n",
            "asr.w r8, r8, #8\n",
            "vmov q0[2], q0[0], r4, r8\n",
            "vmov q0[3], q0[1], r6, r10\n",
            "vadd.i32 q0, q0, q1\n",
        )
    };
}

/// See [`portable::dense`](super::portable::dense).
pub(super) fn dense_whole(whole: &Whole<'_>, low: i16, high: i16) {
    let (low, high) = (i32::from(low), i32::from(high.max(low)));
    // SAFETY: a `Whole` is what the routine asks of its pointers, and `low <= high`.
    unsafe { dense_blocks(whole.stream, whole.x, whole.x_end, whole.out, whole.out_end, low, high) }
}

/// # Safety
///
/// The pointers are those of a [`Whole`]. `low <= high`, both in `i16`.
#[unsafe(naked)]
unsafe extern "C" fn dense_blocks(
    stream: *const u8,
    x: *const i16,
    x_end: *const i16,
    out: *mut u32,
    out_end: *mut u32,
    low: i32,
    high: i32,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d11}}",
        "ldrd r9, r4, [sp, #68]", // out_end, low
        "ldr r5, [sp, #76]",      // high
        "vdup.32 q4, r4",
        "vdup.32 q5, r5",
        sums!(),
        "vrmulh.s32 q0, q0, q2",
        "vmax.s32 q0, q0, q4",
        "vmin.s32 q0, q0, q5",
        "vstrh.32 q0, [r3], #8",
        "cmp r3, r9",
        "bne 2b",
        "add sp, sp, #24",
        "vpop {{d8-d11}}",
        "pop {{r4-r11, pc}}",
    )
}

/// See [`portable::dense_accumulators`](super::portable::dense_accumulators).
pub(super) fn accumulate_whole(whole: &Whole<'_>) {
    // SAFETY: a `Whole` is what the routine asks of its pointers.
    unsafe { accumulator_blocks(whole.stream, whole.x, whole.x_end, whole.out, whole.out_end) }
}

/// # Safety
///
/// As for [`dense_blocks`].
#[unsafe(naked)]
unsafe extern "C" fn accumulator_blocks(
    stream: *const u8,
    x: *const i16,
    x_end: *const i16,
    out: *mut u32,
    out_end: *mut u32,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "ldr r9, [sp, #36]", // out_end
        sums!(),
        "vstrw.32 q0, [r3], #16",
        "cmp r3, r9",
        "bne 2b",
        "add sp, sp, #24",
        "pop {{r4-r11, pc}}",
    )
}

/// Values of a vector that the routines of the bank take: the width of a register.
const WIDTH: usize = 16;

/// From the 16 values of the query at `$query`: `-2 q = 256 h + l` with `h` in q3 and `l` in q2, both of signed bytes, and
/// `sum q^2` in `$square`, so that `sum (q - p)^2 = sum q^2 + sum p p + sum p l + 256 sum p h`. Destroys q0 and q1.
macro_rules! query {
    ($query:literal, $square:literal) => {
        concat!(
            "vld20.16 {{q0, q1}}, [",
            $query,
            "]\n",
            "vld21.16 {{q0, q1}}, [",
            $query,
            "]\n",
            "vmladav.s16 ",
            $square,
            ", q0, q0\n",
            "vmladava.s16 ",
            $square,
            ", q1, q1\n",
            "vneg.s16 q0, q0\n",
            "vneg.s16 q1, q1\n",
            "vadd.i16 q0, q0, q0\n",
            "vadd.i16 q1, q1, q1\n",
            "vmovnb.i16 q2, q0\n",
            "vmovnt.i16 q2, q1\n",
            "vrshr.s16 q0, q0, #8\n",
            "vrshr.s16 q1, q1, #8\n",
            "vmovnb.i16 q3, q0\n",
            "vmovnt.i16 q3, q1\n",
        )
    };
}

/// Adds to `$sum` all but the last term of `query!` for the vector at r0, which moves to the next; that is `256 r12`.
macro_rules! vector {
    ($sum:literal) => {
        concat!(
            "vldrb.u8 q0, [r0], #16\n",
            "vmladava.s8 ",
            $sum,
            ", q0, q0\n",
            "vmladava.s8 ",
            $sum,
            ", q0, q2\n",
            "vmladav.s8 r12, q0, q3\n",
        )
    };
}

/// Whether the routines of the bank take this query: `vld2` reads from words' addresses alone.
fn is_vector(query: &[i16]) -> bool {
    query.len() == WIDTH && query.as_ptr().addr().is_multiple_of(4)
}

/// See [`portable::squared_distances`](super::portable::squared_distances).
pub fn squared_distances(vectors: &[u8], query: &[i16], out: &mut [u32]) {
    if !is_vector(query) {
        return bank::squared_distances(vectors, query, out);
    }
    let vectors = vectors.as_chunks::<WIDTH>().0;
    let count = vectors.len().min(out.len());
    if count > 0 {
        // SAFETY: both hold `count` entries, at least one, and the query is a whole vector at a word's address.
        unsafe { distances(vectors.as_ptr().cast(), query.as_ptr(), count, out.as_mut_ptr()) }
    }
}

/// # Safety
///
/// `vectors` holds `count` vectors of 16 values and `out` as many places; `count` is not 0. `query` holds 16 values, at a word's address.
#[unsafe(naked)]
unsafe extern "C" fn distances(vectors: *const u8, query: *const i16, count: usize, out: *mut u32) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, lr}}",
        query!("r1", "r4"),
        "mov r1, r4",
        "dls lr, r2",
        "2:",
        "mov r2, r1",
        vector!("r2"),
        "add.w r2, r2, r12, lsl #8",
        "str r2, [r3], #4",
        "le lr, 2b",
        "pop {{r4, pc}}",
    )
}

/// See [`portable::nearest`](super::portable::nearest).
pub fn nearest<const K: usize>(vectors: &[u8], query: &[i16]) -> Vec<Ranked, K> {
    let whole = vectors.as_chunks::<WIDTH>().0;
    if !is_vector(query) || whole.is_empty() {
        return bank::nearest(vectors, query);
    }
    let first = whole.as_ptr().cast();
    let mut ranking = Ranking::<K>::new();
    if let Some(last) = ranking.last() {
        // SAFETY: the vectors are whole, and one or more; so is the query. A `Last` is what the routine asks.
        unsafe { rank(first, whole.len(), query.as_ptr(), last.pointer()) }
    }
    for place in ranking.taken() {
        // The routine names a vector by the address behind it.
        let passed = (place.prototype as usize).wrapping_sub(first.addr());
        place.prototype = passed.wrapping_div(WIDTH).wrapping_sub(1) as u32;
    }
    ranking.finish()
}

/// The vector at r0, which moves to the next: to `$nearer` when it is nearer than the limit, of which `$sum` begins short
/// by the query's square. 24 bytes.
macro_rules! compare {
    ($sum:literal, $nearer:literal) => {
        concat!(vector!($sum), "cmn ", $sum, ", r12, lsl #8\n", "bmi.w ", $nearer, "\n",)
    };
}

/// Where `compare!` goes: r4 becomes the sum, and r1 where to go on.
macro_rules! nearer {
    ($sum:literal, $after:literal) => {
        concat!("add.w r4, ", $sum, ", r12, lsl #8\n", "adr.w r1, ", $after, " + 1\n")
    };
}

/// Inserts every vector that is nearer than the entry at `last` into the entries up to there, in order. Its name is the
/// address behind it.
///
/// # Safety
///
/// `vectors` holds `count` vectors of 16 values, one or more; `query` holds 16 values, at a word's address. Before `last` lie entries in order
/// of distance, of which the first is at distance 0.
#[unsafe(naked)]
unsafe extern "C" fn rank(vectors: *const u8, count: usize, query: *const i16, last: *mut Ranked) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "sub sp, sp, #20",
        query!("r2", "r4"),
        "mov r7, r4",
        // Four vectors a turn, of which the first turn may begin later.
        "add.w lr, r1, #3",
        "lsr.w lr, lr, #2",
        "rsb r1, r1, #0",
        "and r1, r1, #3",
        "movs r4, #24", // bytes of code for a vector
        "adr.w r5, 3f + 1",
        "mla r1, r1, r4, r5",
        // What a sum begins with is the query's square less the limit, so that a nearer vector's is negative. No distance
        // reaches the sign.
        "14:",
        "ldr r2, [r3, #4]",
        "bic r2, r2, #0x80000000",
        "sub.w r4, r7, r2",
        "mov r6, r4",
        "mov r8, r4",
        "mov r10, r4",
        "stm.w sp, {{r4, r6, r8, r10}}",
        "bx r1",
        ".p2align 2",
        "2:",
        "ldm.w sp, {{r4, r6, r8, r10}}",
        "3:",
        compare!("r4", "7f"),
        "4:",
        compare!("r6", "8f"),
        "5:",
        compare!("r8", "9f"),
        "6:",
        compare!("r10", "12f"),
        "13:",
        "le lr, 2b",
        "add sp, sp, #20",
        "pop {{r4-r11, pc}}",
        "7:",
        nearer!("r4", "4b"),
        "b 15f",
        "8:",
        nearer!("r6", "5b"),
        "b 15f",
        "9:",
        nearer!("r8", "6b"),
        "b 15f",
        "12:",
        nearer!("r10", "13b"),
        // Entries that are farther move up one place.
        "15:",
        "add r2, r2, r4",
        "mov r5, r3",
        "b 17f",
        "16:",
        "strd r8, r9, [r5], #-8",
        "17:",
        "ldrd r8, r9, [r5, #-8]",
        "cmp r2, r9",
        "blo 16b",
        "strd r0, r2, [r5]",
        "b 14b",
    )
}
