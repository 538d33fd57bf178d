//! The bank: four values of a vector against four of the query in four instructions and a load.

use core::arch::naked_asm;

use crate::kernel::Ranked;
use crate::kernel::bank::{Bank, MAX_WIDTH};
use crate::kernel::ranking::Last;

/// For each four values of the query `-q0, -q2` in one word and `-q1, -q3` in the next: what `sxtab16` adds to the
/// sign-extended bytes of four values of a vector.
pub(in crate::kernel) type Query = [u32; MAX_WIDTH / 2];

pub(in crate::kernel) fn prepare(query: &[i16], prepared: &mut Query) {
    let pairs = prepared.as_chunks_mut::<2>().0;
    for ([even, odd], [q0, q1, q2, q3]) in pairs.iter_mut().zip(query.as_chunks::<4>().0) {
        *even = negatives(*q0, *q2);
        *odd = negatives(*q1, *q3);
    }
}

#[inline]
fn negatives(low: i16, high: i16) -> u32 {
    let half = |value: i16| u32::from(value.wrapping_neg().cast_unsigned());
    half(high) << 16 | half(low)
}

/// Adds to `$sum` the squared differences of the four values in `$word` to `$even` and `$odd` of the query. Destroys
/// `$spare` and, when that is another register, `$word`.
macro_rules! squares {
    ($sum:literal, $word:literal, $spare:literal, $even:literal, $odd:literal) => {
        concat!(
            "sxtab16 ",
            $spare,
            ", ",
            $even,
            ", ",
            $word,
            "\n",
            "smlad ",
            $sum,
            ", ",
            $spare,
            ", ",
            $spare,
            ", ",
            $sum,
            "\n",
            "sxtab16 ",
            $word,
            ", ",
            $odd,
            ", ",
            $word,
            ", ror #8\n",
            "smlad ",
            $sum,
            ", ",
            $word,
            ", ",
            $word,
            ", ",
            $sum,
            "\n",
        )
    };
}

/// Values 0 to 3 of the vector at r0, which moves to the next, against the query in r4 and r5: the sum in r1 starts here.
macro_rules! first_four {
    () => {
        concat!(
            "ldr r2, [r0], #16\n",
            "sxtab16 r1, r4, r2\n",
            "smuad r1, r1, r1\n",
            "sxtab16 r2, r5, r2, ror #8\n",
            "smlad r1, r2, r2, r1\n",
        )
    };
}

/// Values 4 to 11 of the vector that ends at r0 against the query in r6 to r9.
macro_rules! next_eight {
    () => {
        concat!(
            "ldrd r2, r12, [r0, #-12]\n",
            squares!("r1", "r2", "lr", "r6", "r7"),
            squares!("r1", "r12", "lr", "r8", "r9"),
        )
    };
}

/// Values 12 to 15 of the vector that ends at r0 against the query in r10 and r11.
macro_rules! last_four {
    () => {
        concat!("ldr r2, [r0, #-4]\n", squares!("r1", "r2", "lr", "r10", "r11"),)
    };
}

/// The vector at r0, which moves to the next: through `5:` when its squared distance is less than r3. 7 instructions where
/// its first four values are enough to tell, as they nearly always are in a bank whose values come in the order of their
/// variance; 18 where twelve are; 98 bytes.
macro_rules! sixteen_values {
    () => {
        concat!(
            first_four!(),
            "cmp r1, r3\n",
            "bhs.w 3f\n",
            next_eight!(),
            "cmp r1, r3\n",
            "bhs.w 3f\n",
            last_four!(),
            "cmp r1, r3\n",
            "bhs.w 3f\n",
            "bl 5f\n",
            "3:\n",
        )
    };
}

/// Four values of the vector at r0 against the words of the query at r4.
macro_rules! four_values {
    () => {
        concat!(
            "ldr r8, [r0], #4\n",
            "ldrd r6, r7, [r4], #8\n",
            squares!("r1", "r8", "r6", "r6", "r7"),
        )
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
/// two words for each of `words`.
#[unsafe(naked)]
unsafe extern "C" fn write(
    vectors: *const u8,
    query: *const u32,
    words: usize,
    out: *mut u32,
    out_end: *mut u32,
) {
    naked_asm!(
        dsp!(),
        "push {{r4-r11, lr}}",
        "cmp r2, #4",
        "bne 5f",
        // Sixteen values: the query stays in registers.
        "ldm.w r1, {{r4-r11}}",
        "2:",
        first_four!(),
        next_eight!(),
        last_four!(),
        "str r1, [r3], #4",
        "ldr r2, [sp, #36]",
        "cmp r3, r2",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        // Any width: the query's words come from memory.
        "5:",
        "ldr r12, [sp, #36]",
        "mov r9, r1",
        "add r10, r1, r2, lsl #3",
        "6:",
        "mov r4, r9",
        "movs r1, #0",
        "7:",
        four_values!(),
        "cmp r4, r10",
        "bne 7b",
        "str r1, [r3], #4",
        "cmp r3, r12",
        "bne 6b",
        "pop {{r4-r11, pc}}",
    )
}

/// Ranks every vector.
pub(in crate::kernel) fn rank(bank: &Bank<'_>, query: &Query, last: Last<'_>) {
    // SAFETY: a `Bank` is what the routine asks, and so is a `Last`; `query` is as wide as any.
    unsafe { walk(bank.first, bank.end, query.as_ptr(), last.pointer(), bank.words) }
}

/// # Safety
///
/// `vectors` is aligned to four bytes and `end` lies one or more vectors of `words` words behind it; `query` holds two words
/// for each of `words`. Before `last` lie entries in order of distance, of which the first is at distance 0.
#[unsafe(naked)]
unsafe extern "C" fn walk(
    vectors: *const u8,
    end: *const u8,
    query: *const u32,
    last: *mut Ranked,
    words: usize,
) {
    naked_asm!(
        dsp!(),
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]",
        "push {{r1, r3}}",
        "ldr r3, [r3, #4]", // the limit
        "cmp r12, #4",
        "bne 9f",
        // Sixteen values: the query stays in registers. Eight vectors a turn, of which the first turn may begin later.
        "ldm.w r2, {{r4-r11}}",
        "subs r2, r0, r1",
        "ubfx r2, r2, #4, #3",
        "movs r1, #98", // bytes of code for a vector
        "adr.w r12, 2f + 1",
        "mla r1, r1, r2, r12",
        "bx r1",
        ".p2align 2",
        "2:",
        sixteen_values!(),
        sixteen_values!(),
        sixteen_values!(),
        sixteen_values!(),
        sixteen_values!(),
        sixteen_values!(),
        sixteen_values!(),
        sixteen_values!(),
        "ldr r2, [sp]",
        "cmp r0, r2",
        "bne.w 2b",
        "4:",
        "add sp, sp, #8",
        "pop {{r4-r11, pc}}",
        // A vector nearer than the limit: entries that are farther move up one place. Destroys r2 and r12.
        "5:",
        "ldr r3, [sp, #4]",
        "b 7f",
        "6:",
        "strd r2, r12, [r3], #-8",
        "7:",
        "ldrd r2, r12, [r3, #-8]",
        "cmp r1, r12",
        "blo 6b",
        "strd r0, r1, [r3]",
        "ldr r3, [sp, #4]",
        "ldr r3, [r3, #4]",
        "bx lr",
        // Any width: the query's words come from memory.
        "9:",
        "mov r11, r1",
        "mov r9, r2",
        "add r10, r2, r12, lsl #3",
        "12:",
        "mov r4, r9",
        "movs r1, #0",
        "13:",
        four_values!(),
        "cmp r1, r3",
        "bhs 14f",
        "cmp r4, r10",
        "bne 13b",
        "bl 5b",
        "b 15f",
        "14:",
        "sub r5, r10, r4",
        "add r0, r0, r5, lsr #1",
        "15:",
        "cmp r0, r11",
        "bne 12b",
        "b 4b",
    )
}
