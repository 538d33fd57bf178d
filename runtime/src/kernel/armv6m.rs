//! Armv6-M and Armv8-M Baseline (Cortex-M0, M0+, M23): one multiplication, of low registers, without accumulation.
//!
//! The sums of a block live in r8 to r11, which `add` reaches; the stream in r0 and the inputs in r1 are read by `ldm`.
//! Six instructions for two products, of which two extract the packed halfword (256 A + B) and its low byte (B).

use core::arch::naked_asm;

use super::Whole;

/// Multiplies the inputs in r2 and r3 with two rows' word in `$word`, which it destroys; r6 is spare.
macro_rules! two_rows {
    ($word:literal, $packed:literal, $lower:literal) => {
        concat!(
            "sxtb r6, ",
            $word,
            "\n",
            "muls r6, r2\n",
            "add ",
            $lower,
            ", r6\n",
            "asrs r6, ",
            $word,
            ", #16\n",
            "sxth ",
            $word,
            ", ",
            $word,
            "\n",
            "muls ",
            $word,
            ", r2\n",
            "add ",
            $packed,
            ", ",
            $word,
            "\n",
            "sxtb ",
            $word,
            ", r6\n",
            "muls r6, r3\n",
            "add ",
            $packed,
            ", r6\n",
            "muls ",
            $word,
            ", r3\n",
            "add ",
            $lower,
            ", ",
            $word,
            "\n",
        )
    };
}

/// Four inputs: 55 instructions of two bytes.
macro_rules! four_inputs {
    () => {
        concat!(
            "ldm r1!, {{r2, r7}}\n",
            "asrs r3, r2, #16\n",
            "sxth r2, r2\n",
            "ldm r0!, {{r4, r5}}\n",
            two_rows!("r4", "r8", "r9"),
            two_rows!("r5", "r10", "r11"),
            "asrs r3, r7, #16\n",
            "sxth r2, r7\n",
            "ldm r0!, {{r4, r5}}\n",
            two_rows!("r4", "r8", "r9"),
            two_rows!("r5", "r10", "r11"),
        )
    };
}

/// Accumulators of an upper and a lower row whose biases stand at `$upper_at` and `$lower_at` from r0; `$use` is what is
/// done with each in r2. Destroys r3.
macro_rules! accumulators {
    ($packed:literal, $lower:literal, $upper_at:literal, $lower_at:literal, $upper_use:expr, $lower_use:expr) => {
        concat!(
            "mov r2, ",
            $packed,
            "\n",
            "mov r3, ",
            $lower,
            "\n",
            "subs r2, r2, r3\n",
            "asrs r2, r2, #8\n",
            "ldr r3, [r0, #",
            $upper_at,
            "]\n",
            "adds r2, r2, r3\n",
            $upper_use,
            "mov r2, ",
            $lower,
            "\n",
            "ldr r3, [r0, #",
            $lower_at,
            "]\n",
            "adds r2, r2, r3\n",
            $lower_use,
        )
    };
}

/// Requantizes the accumulator in r2 with the multiplier at `$at` from r0, clamps it to r7 and lr, and stores it at `$out`
/// from r1. Destroys r2 to r6.
///
/// The high word of the product, rounded: with `acc = 2^16 a + b` and `m = 2^16 c + d` (a, c signed), `a d` plus the high
/// half of `b d` stays in 32 bits, and so does `b c` plus the low half of that; the last shift leaves the rounding bit in
/// the carry. Unlike signs give nothing above zero, so a lower clamp that is not negative answers for them.
macro_rules! requantize {
    ($at:literal, $out:literal) => {
        concat!(
            "ldr r3, [r0, #",
            $at,
            "]\n",
            "movs r4, r2\n",
            "eors r4, r3\n",
            "bpl 5f\n",
            "cmp r7, #0\n",
            "blt 5f\n",
            "mov r2, r7\n",
            "b 7f\n",
            "5:\n",
            "uxth r4, r2\n",
            "asrs r2, r2, #16\n",
            "uxth r5, r3\n",
            "asrs r3, r3, #16\n",
            "movs r6, r4\n",
            "muls r6, r5\n",
            "lsrs r6, r6, #16\n",
            "muls r5, r2\n",
            "adds r5, r5, r6\n",
            "muls r2, r3\n",
            "muls r4, r3\n",
            "asrs r6, r5, #16\n",
            "adds r2, r2, r6\n",
            "uxth r5, r5\n",
            "adds r4, r4, r5\n",
            "asrs r4, r4, #16\n",
            "adcs r2, r4\n",
            "cmp r2, lr\n",
            "ble 6f\n",
            "mov r2, lr\n",
            "6:\n",
            "cmp r2, r7\n",
            "bge 7f\n",
            "mov r2, r7\n",
            "7:\n",
            "strh r2, [r1, #",
            $out,
            "]\n",
        )
    };
}

/// Saves registers; the arguments on the stack then begin at `sp + 36`.
macro_rules! save {
    () => {
        "push {{r4-r7, lr}}\n mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n push {{r4-r7}}\n"
    };
}

/// Undoes `save!` and returns.
macro_rules! restore {
    () => {
        "pop {{r4-r7}}\n mov r8, r4\n mov r9, r5\n mov r10, r6\n mov r11, r7\n pop {{r4-r7, pc}}\n"
    };
}

/// Zeros the sums; destroys r2.
macro_rules! zeros {
    () => {
        "movs r2, #0\n mov r8, r2\n mov r9, r2\n mov r10, r2\n mov r11, r2\n"
    };
}

pub(super) mod bank;

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
        save!(),
        "sub sp, #20",
        "mov r12, r2",
        "ldr r4, [sp, #56]", // out_end
        "ldr r5, [sp, #60]", // low
        "ldr r6, [sp, #64]", // high
        "mov lr, r6",
        "str r1, [sp, #0]",
        "str r5, [sp, #8]",
        "str r3, [sp, #12]",
        "str r4, [sp, #16]",
        // A block begins where the inputs beyond a multiple of 32 are the rest of a turn.
        "subs r4, r1, r2",
        "lsrs r4, r4, #3",
        "movs r5, #7",
        "ands r4, r5",
        "movs r5, #110", // bytes of code for four inputs
        "muls r4, r5",
        "adr r5, 3f",
        "adds r5, #1",
        "adds r4, r4, r5",
        "str r4, [sp, #4]",
        "2:",
        "ldr r1, [sp, #0]",
        "ldr r3, [sp, #4]",
        zeros!(),
        "bx r3",
        ".p2align 2",
        "3:",
        four_inputs!(),
        four_inputs!(),
        four_inputs!(),
        four_inputs!(),
        four_inputs!(),
        four_inputs!(),
        four_inputs!(),
        four_inputs!(),
        "cmp r1, r12",
        "beq 4f",
        "b 3b",
        "4:",
        "ldr r1, [sp, #12]",
        "ldr r7, [sp, #8]",
        accumulators!("r8", "r9", "0", "4", requantize!("16", "0"), requantize!("20", "2")),
        accumulators!("r10", "r11", "8", "12", requantize!("24", "4"), requantize!("28", "6")),
        "adds r0, #32",
        "adds r1, #8",
        "str r1, [sp, #12]",
        "ldr r2, [sp, #16]",
        "cmp r1, r2",
        "beq 8f",
        "b 2b",
        "8:",
        "add sp, #20",
        restore!(),
    )
}

/// See [`portable::dense_accumulators`](super::portable::dense_accumulators).
pub(super) fn accumulate_whole(whole: &Whole<'_>) {
    // SAFETY: a `Whole` is what the routine asks of its pointers.
    unsafe { accumulator_blocks(whole.stream, whole.x, whole.x_end, whole.out, whole.out_end) }
}

/// Smaller than [`dense_blocks`] rather than faster: output layers are narrow.
///
/// # Safety
///
/// The pointers are those of a [`Whole`].
#[unsafe(naked)]
unsafe extern "C" fn accumulator_blocks(
    stream: *const u8,
    x: *const i16,
    x_end: *const i16,
    out: *mut u32,
    out_end: *mut u32,
) {
    naked_asm!(
        save!(),
        "mov r12, r2",
        "ldr r4, [sp, #36]", // out_end
        "push {{r1, r3, r4}}",
        "2:",
        "ldr r1, [sp, #0]",
        zeros!(),
        "3:",
        four_inputs!(),
        "cmp r1, r12",
        "bne 3b",
        "ldr r1, [sp, #4]",
        accumulators!("r8", "r9", "0", "4", "str r2, [r1, #0]\n", "str r2, [r1, #4]\n"),
        accumulators!("r10", "r11", "8", "12", "str r2, [r1, #8]\n", "str r2, [r1, #12]\n"),
        "adds r0, #32",
        "adds r1, #16",
        "str r1, [sp, #4]",
        "ldr r2, [sp, #8]",
        "cmp r1, r2",
        "bne 2b",
        "add sp, #12",
        restore!(),
    )
}
