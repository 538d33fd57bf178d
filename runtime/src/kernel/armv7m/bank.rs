//! The bank: three instructions a value, of which one takes the byte out of its word.

use core::arch::naked_asm;

use crate::kernel::Ranked;
use crate::kernel::bank::{Bank, MAX_WIDTH};
use crate::kernel::ranking::Last;

/// The query's values, negated: what is added to those of a vector.
pub(in crate::kernel) type Query = [i32; MAX_WIDTH];

pub(in crate::kernel) fn prepare(query: &[i16], prepared: &mut Query) {
    for (negative, q) in prepared.iter_mut().zip(query) {
        *negative = i32::from(*q).wrapping_neg();
    }
}

/// The square of byte `$shift / 8` of the word in r2 plus `$query`: `mul r1` begins a sum, `mla` adds to it. Destroys r12.
macro_rules! square {
    (begin, $query:literal) => {
        concat!("sxtb r12, r2\n", "add r12, r12, ", $query, "\n", "mul r1, r12, r12\n",)
    };
    (0, $query:literal) => {
        concat!("sxtb r12, r2\n", "add r12, r12, ", $query, "\n", "mla r1, r12, r12, r1\n",)
    };
    (24, $query:literal) => {
        concat!("add r12, ", $query, ", r2, asr #24\n", "mla r1, r12, r12, r1\n",)
    };
    ($shift:literal, $query:literal) => {
        concat!(
            "sxtb.w r12, r2, ror #",
            $shift,
            "\n",
            "add r12, r12, ",
            $query,
            "\n",
            "mla r1, r12, r12, r1\n",
        )
    };
}

/// Adds the squared differences of four values in r2 to four registers of the query.
macro_rules! squares {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(square!(0, $a), square!(8, $b), square!(16, $c), square!(24, $d))
    };
}

/// The same with the query at sp.
macro_rules! squares_of_memory {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ldr lr, [sp, #",
            $a,
            "]\n",
            square!(0, "lr"),
            "ldr lr, [sp, #",
            $b,
            "]\n",
            square!(8, "lr"),
            "ldr lr, [sp, #",
            $c,
            "]\n",
            square!(16, "lr"),
            "ldr lr, [sp, #",
            $d,
            "]\n",
            square!(24, "lr"),
        )
    };
}

/// Four values of the vector at r0 against those of the query at r4. Destroys r5 to r8.
macro_rules! four_values {
    () => {
        concat!("ldr r2, [r0], #4\n", "ldm r4!, {{r5-r8}}\n", squares!("r5", "r6", "r7", "r8"))
    };
}

/// The squared distance of each vector, as many as `out` has places for, which is not empty.
pub(in crate::kernel) fn distances(bank: &Bank<'_>, query: &Query, out: &mut [u32]) {
    let out = out.as_mut_ptr_range();
    // SAFETY: a `Bank` is what the routine asks, `query` is as wide as any, and `out` has a place, and no more than vectors.
    unsafe { write(bank.first, query.as_ptr(), bank.words, out.start, out.end) }
}

/// # Safety
///
/// `vectors` is aligned to four bytes and holds `words` words for each place of `out`, of which there is one; `query` holds
/// four words for each of `words`.
#[unsafe(naked)]
unsafe extern "C" fn write(
    vectors: *const u8,
    query: *const i32,
    words: usize,
    out: *mut u32,
    out_end: *mut u32,
) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr r11, [sp, #36]",
        "mov r9, r1",
        "add r10, r1, r2, lsl #4",
        "2:",
        "mov r4, r9",
        "movs r1, #0",
        "3:",
        four_values!(),
        "cmp r4, r10",
        "bne 3b",
        "str r1, [r3], #4",
        "cmp r3, r11",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}

/// Ranks every vector.
pub(in crate::kernel) fn rank(bank: &Bank<'_>, query: &Query, last: Last<'_>) {
    // SAFETY: a `Bank` is what the routine asks, and so is a `Last`; `query` is as wide as any.
    unsafe { walk(bank.first, bank.end, query.as_ptr(), last.pointer(), bank.words) }
}

/// 14 instructions for a vector of 16 whose first four values are enough to tell that it is too far, 44 where twelve are.
///
/// # Safety
///
/// `vectors` is aligned to four bytes and `end` lies one or more vectors of `words` words behind it; `query` holds four words
/// for each of `words`. Before `last` lie entries in order of distance, of which the first is at distance 0.
#[unsafe(naked)]
unsafe extern "C" fn walk(
    vectors: *const u8,
    end: *const u8,
    query: *const i32,
    last: *mut Ranked,
    words: usize,
) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]",
        "cmp r12, #4",
        "bne 9f",
        // Sixteen values: the first half of the query stays in registers, the second lies on the stack, with the end and
        // the last entry behind it.
        "push {{r1, r3}}",
        "add r12, r2, #32",
        "ldm.w r12, {{r4-r11}}",
        "push {{r4-r11}}",
        "ldm.w r2, {{r4-r11}}",
        "ldr r3, [r3, #4]", // the limit
        "2:",
        "ldr r2, [r0], #16",
        square!(begin, "r4"),
        square!(8, "r5"),
        square!(16, "r6"),
        square!(24, "r7"),
        "cmp r1, r3",
        "bhs 3f",
        "ldr r2, [r0, #-12]",
        squares!("r8", "r9", "r10", "r11"),
        "ldr r2, [r0, #-8]",
        squares_of_memory!("0", "4", "8", "12"),
        "cmp r1, r3",
        "bhs 3f",
        "ldr r2, [r0, #-4]",
        squares_of_memory!("16", "20", "24", "28"),
        "cmp r1, r3",
        "bhs 3f",
        "ldr r3, [sp, #36]",
        "bl 5f",
        "3:",
        "ldr r12, [sp, #32]",
        "cmp r0, r12",
        "bne 2b",
        "add sp, sp, #40",
        "pop {{r4-r11, pc}}",
        // A nearer vector: entries up to r3 that are farther move up one place, and r3 becomes the limit. Destroys r2 and r12.
        "5:",
        "mov r12, r3",
        "push {{r4}}",
        "b 7f",
        "6:",
        "strd r2, r4, [r3], #-8",
        "7:",
        "ldrd r2, r4, [r3, #-8]",
        "cmp r1, r4",
        "blo 6b",
        "strd r0, r1, [r3]",
        "ldr r3, [r12, #4]",
        "pop {{r4}}",
        "bx lr",
        // Any width: the query comes from memory.
        "9:",
        "mov r9, r2",
        "add r10, r2, r12, lsl #4",
        "mov r11, r1",
        "push {{r3}}",
        "ldr r3, [r3, #4]",
        "12:",
        "mov r4, r9",
        "movs r1, #0",
        "13:",
        four_values!(),
        "cmp r1, r3",
        "bhs 14f",
        "cmp r4, r10",
        "bne 13b",
        "ldr r3, [sp]",
        "bl 5b",
        "b 15f",
        "14:",
        "sub r5, r10, r4",
        "add r0, r0, r5, lsr #2",
        "15:",
        "cmp r0, r11",
        "bne 12b",
        "add sp, sp, #4",
        "pop {{r4-r11, pc}}",
    )
}
