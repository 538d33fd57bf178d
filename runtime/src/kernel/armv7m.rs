//! Armv7-M, and Armv8-M without the DSP extension (Cortex-M3): one product an instruction.
//!
//! A packed halfword goes through `mla` as it is (256 A + B of two rows), then its low byte does (B): with the two
//! extractions, two instructions a product. The sums of a block live in r3 to r6, the stream in r0, the inputs in r1.

use core::arch::naked_asm;

use super::Whole;

pub(super) mod bank;

/// Multiplies the inputs in r11 and r12 with two rows' word in `$word`, which it destroys; lr is spare.
macro_rules! two_rows {
    ($word:literal, $packed:literal, $lower:literal) => {
        concat!(
            "sxth lr, ",
            $word,
            "\n",
            "mla ",
            $packed,
            ", lr, r11, ",
            $packed,
            "\n",
            "sxtb lr, ",
            $word,
            "\n",
            "mla ",
            $lower,
            ", lr, r11, ",
            $lower,
            "\n",
            "asr lr, ",
            $word,
            ", #16\n",
            "mla ",
            $packed,
            ", lr, r12, ",
            $packed,
            "\n",
            "sxtb ",
            $word,
            ", ",
            $word,
            ", ror #16\n",
            "mla ",
            $lower,
            ", ",
            $word,
            ", r12, ",
            $lower,
            "\n",
        )
    };
}

/// Four inputs, in 37 instructions.
macro_rules! four_inputs {
    () => {
        concat!(
            "ldm.w r0!, {{r7, r8, r9, r10}}\n",
            "ldrsh r11, [r1], #4\n",
            "ldrsh r12, [r1, #-2]\n",
            two_rows!("r7", "r3", "r4"),
            two_rows!("r8", "r5", "r6"),
            "ldrsh r11, [r1], #4\n",
            "ldrsh r12, [r1, #-2]\n",
            two_rows!("r9", "r3", "r4"),
            two_rows!("r10", "r5", "r6"),
        )
    };
}

/// Eight inputs a turn; the first turn may begin in the middle. A block begins at `2:`.
macro_rules! sums {
    () => {
        concat!(
            "2:\n",
            "ldm.w sp, {{r1-r6, pc}}\n",
            "3:\n",
            four_inputs!(),
            "4:\n",
            four_inputs!(),
            "cmp r1, r2\n",
            "bne 3b\n",
            // Biases in r1, r2, r7, r8 become accumulators; multipliers go to r9 to r12.
            "ldm.w r0!, {{r1, r2, r7, r8, r9, r10, r11, r12}}\n",
            "sub r3, r3, r4\n",
            "sub r5, r5, r6\n",
            "add r1, r1, r3, asr #8\n",
            "add r2, r2, r4\n",
            "add r7, r7, r5, asr #8\n",
            "add r8, r8, r6\n",
        )
    };
}

/// On the stack, what a block's begin needs and is read by one load: inputs, their end, four zeros, where to begin.
macro_rules! prepare {
    () => {
        concat!(
            "sub r9, r2, r1\n",
            "adr.w r7, 3f + 1\n",
            "tst r9, #8\n", // bytes of four inputs
            "it ne\n",
            "adrne.w r7, 4f + 1\n",
            "movs r3, #0\n",
            "movs r4, #0\n",
            "movs r5, #0\n",
            "movs r6, #0\n",
            "push {{r1-r7}}\n",
        )
    };
}

/// Requantizes the accumulator in `$acc` with the multiplier in `$multiplier`, clamps and stores it.
///
/// The addend `c = 65,535 - high` moves the upper clamp to the end of the range of `usat`; r5 holds `c`, r6 `c + low`,
/// lr `low`.
macro_rules! requantize {
    ($acc:literal, $multiplier:literal) => {
        concat!(
            "smull ",
            $multiplier,
            ", ",
            $acc,
            ", ",
            $acc,
            ", ",
            $multiplier,
            "\n",
            "add ",
            $acc,
            ", ",
            $acc,
            ", ",
            $multiplier,
            ", lsr #31\n",
            "add ",
            $acc,
            ", ",
            $acc,
            ", r5\n",
            "usat ",
            $acc,
            ", #16, ",
            $acc,
            "\n",
            "sub ",
            $acc,
            ", ",
            $acc,
            ", r6\n",
            "bic ",
            $acc,
            ", ",
            $acc,
            ", ",
            $acc,
            ", asr #31\n",
            "add ",
            $acc,
            ", ",
            $acc,
            ", lr\n",
            "strh ",
            $acc,
            ", [r3], #2\n",
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
        "push {{r4-r11, lr}}",
        "ldrd r4, r7, [sp, #36]", // out_end, low
        "ldr r6, [sp, #44]",      // high
        "movw r5, #65535",
        "sub r5, r5, r6",
        "add r6, r5, r7",
        "push {{r3-r7}}", // out, out_end, c, c + low, low
        prepare!(),
        sums!(),
        "add.w r3, sp, #28",
        "ldm.w r3, {{r3, r4, r5, r6, lr}}",
        requantize!("r1", "r9"),
        requantize!("r2", "r10"),
        requantize!("r7", "r11"),
        requantize!("r8", "r12"),
        "str r3, [sp, #28]",
        "cmp r3, r4",
        "bne 2b",
        "add sp, sp, #48",
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
        "push {{r4-r11, lr}}",
        "ldr r4, [sp, #36]",
        "push {{r3, r4}}", // out, out_end
        prepare!(),
        sums!(),
        "ldrd r3, r4, [sp, #28]",
        "stm.w r3!, {{r1, r2, r7, r8}}",
        "str r3, [sp, #28]",
        "cmp r3, r4",
        "bne 2b",
        "add sp, sp, #36",
        "pop {{r4-r11, pc}}",
    )
}
