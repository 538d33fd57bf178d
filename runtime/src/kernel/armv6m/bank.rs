//! The bank: five instructions a value, of which one or two take the byte out of its word.

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

/// Adds to r1 the squared differences of the four values in r2 to the query, whose values `$a` to `$d` add to r3. Destroys
/// r2 and r3.
macro_rules! squares {
    (rest, $b:expr, $c:expr, $d:expr) => {
        concat!(
            "asrs r2, r2, #8\n",
            "sxtb r3, r2\n",
            $b,
            "muls r3, r3\n",
            "adds r1, r1, r3\n",
            "asrs r2, r2, #8\n",
            "sxtb r3, r2\n",
            $c,
            "muls r3, r3\n",
            "adds r1, r1, r3\n",
            "asrs r3, r2, #8\n",
            $d,
            "muls r3, r3\n",
            "adds r1, r1, r3\n",
        )
    };
    ($a:expr, $b:expr, $c:expr, $d:expr) => {
        concat!(
            "sxtb r3, r2\n",
            $a,
            "muls r3, r3\n",
            "adds r1, r1, r3\n",
            squares!(rest, $b, $c, $d),
        )
    };
}

/// A value of the query in a register.
macro_rules! held {
    ($register:literal) => {
        concat!("add r3, ", $register, "\n")
    };
}

/// A value of the query at sp. Destroys r7.
macro_rules! stored {
    ($offset:literal) => {
        concat!("ldr r7, [sp, #", $offset, "]\n", "adds r3, r3, r7\n")
    };
}

/// Four values of the vector at r0 against those of the query at r4. Destroys r5 to r7.
macro_rules! four_values {
    () => {
        concat!(
            "ldm r0!, {{r2}}\n",
            "ldm r4!, {{r5, r6, r7}}\n",
            squares!(held!("r5"), held!("r6"), held!("r7"), "ldm r4!, {{r5}}\n adds r3, r3, r5\n"),
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
        save!(),
        "mov r8, r1",
        "lsls r2, r2, #4",
        "adds r2, r2, r1",
        "mov r9, r2", // the query's end
        "mov r10, r3",
        "ldr r4, [sp, #36]",
        "mov r11, r4",
        "2:",
        "mov r4, r8",
        "movs r1, #0",
        "3:",
        four_values!(),
        "cmp r4, r9",
        "bne 3b",
        "mov r3, r10",
        "stm r3!, {{r1}}",
        "mov r10, r3",
        "cmp r3, r11",
        "bne 2b",
        restore!(),
    )
}

/// Ranks every vector.
pub(in crate::kernel) fn rank(bank: &Bank<'_>, query: &Query, last: Last<'_>) {
    // SAFETY: a `Bank` is what the routine asks, and so is a `Last`; `query` is as wide as any.
    unsafe { walk(bank.first, bank.end, query.as_ptr(), last.pointer(), bank.words) }
}

/// 24 instructions for a vector of 16 whose first four values are enough to tell that it is too far, 68 where twelve are.
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
        save!(),
        "ldr r4, [sp, #36]",
        "sub sp, #44",
        "str r1, [sp, #32]", // end
        "str r3, [sp, #36]", // last
        "cmp r4, #4",
        "beq 2f",
        "b 9f",
        // Sixteen values: the first half of the query stays in registers, the second lies on the stack.
        "2:",
        "mov r7, r2",
        "adds r7, #32",
        "mov r1, sp",
        "ldm r7!, {{r3, r4, r5, r6}}",
        "stm r1!, {{r3, r4, r5, r6}}",
        "ldm r7!, {{r3, r4, r5, r6}}",
        "stm r1!, {{r3, r4, r5, r6}}",
        "ldm r2!, {{r3, r4, r5, r6}}",
        "mov r8, r3",
        "mov r9, r4",
        "mov r10, r5",
        "mov r11, r6",
        "ldm r2!, {{r3, r4, r5, r6}}",
        "mov r12, r3",
        "mov lr, r4",
        "str r4, [sp, #40]", // for when lr is needed
        "ldr r4, [sp, #36]",
        "ldr r4, [r4, #4]", // the limit
        "3:",
        "ldr r2, [r0, #0]",
        "sxtb r1, r2",
        "add r1, r8",
        "muls r1, r1",
        squares!(rest, held!("r9"), held!("r10"), held!("r11")),
        "cmp r1, r4",
        "bhs 4f",
        "ldr r2, [r0, #4]",
        squares!(held!("r12"), held!("lr"), held!("r5"), held!("r6")),
        "ldr r2, [r0, #8]",
        squares!(stored!("0"), stored!("4"), stored!("8"), stored!("12")),
        "cmp r1, r4",
        "bhs 4f",
        "ldr r2, [r0, #12]",
        squares!(stored!("16"), stored!("20"), stored!("24"), stored!("28")),
        "cmp r1, r4",
        "bhs 4f",
        "adds r0, #16",
        "bl 6f",
        "ldr r7, [sp, #40]",
        "mov lr, r7",
        "b 5f",
        "4:",
        "adds r0, #16",
        "5:",
        "ldr r7, [sp, #32]",
        "cmp r0, r7",
        "bne 3b",
        "b 15f",
        // A nearer vector: entries that are farther move up one place, and r4 becomes the limit. Destroys r2 and r3.
        "6:",
        "ldr r4, [sp, #36]",
        "7:",
        "subs r4, #8",
        "ldr r2, [r4, #0]",
        "ldr r3, [r4, #4]",
        "cmp r1, r3",
        "bhs 8f",
        "str r2, [r4, #8]",
        "str r3, [r4, #12]",
        "b 7b",
        "8:",
        "str r0, [r4, #8]",
        "str r1, [r4, #12]",
        "ldr r4, [sp, #36]",
        "ldr r4, [r4, #4]",
        "bx lr",
        // Any width: the query comes from memory.
        "9:",
        "mov r8, r2",
        "lsls r4, r4, #4",
        "adds r4, r4, r2",
        "mov r9, r4", // the query's end
        "ldr r3, [r3, #4]",
        "mov r10, r3", // the limit
        "12:",
        "mov r4, r8",
        "movs r1, #0",
        "13:",
        four_values!(),
        "cmp r1, r10",
        "bhs 14f",
        "cmp r4, r9",
        "bne 13b",
        "bl 6b",
        "mov r10, r4",
        "mov r4, r9",
        "14:",
        "mov r5, r9",
        "subs r5, r5, r4",
        "lsrs r5, r5, #2",
        "adds r0, r0, r5",
        "ldr r5, [sp, #32]",
        "cmp r0, r5",
        "bne 12b",
        "15:",
        "add sp, #44",
        restore!(),
    )
}
