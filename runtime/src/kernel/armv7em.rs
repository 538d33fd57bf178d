//! Armv7E-M and Armv8-M with the DSP extension (Cortex-M4, M7, M33): two 16-bit products an instruction.
//!
//! A packed word goes through `smlad` as it is (256 A + B of two rows), then through `sxtb16` and `smlad` (B): six
//! instructions for eight products. The sums of a block live in r3 to r6; the stream in r0 and the inputs in r1 are
//! read by `ldm` into whatever of r7 to lr is free, so sixteen inputs take six loads.

use core::arch::naked_asm;

use super::Whole;

/// What the assembler must be told before the DSP extension's instructions.
#[cfg(armv8m)]
macro_rules! dsp {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(not(armv8m))]
macro_rules! dsp {
    () => {
        ""
    };
}

pub(super) mod bank;

/// Multiplies the pair of inputs `$x` with the words `$w01` and `$w23`, which it destroys.
macro_rules! pair {
    ($x:literal, $w01:literal, $w23:literal) => {
        concat!(
            "smlad r3, ",
            $w01,
            ", ",
            $x,
            ", r3\n",
            "sxtb16 ",
            $w01,
            ", ",
            $w01,
            "\n",
            "smlad r4, ",
            $w01,
            ", ",
            $x,
            ", r4\n",
            "smlad r5, ",
            $w23,
            ", ",
            $x,
            ", r5\n",
            "sxtb16 ",
            $w23,
            ", ",
            $w23,
            "\n",
            "smlad r6, ",
            $w23,
            ", ",
            $x,
            ", r6\n",
        )
    };
}

/// Four inputs: 14 instructions of four bytes.
macro_rules! four_inputs {
    () => {
        concat!(
            "ldm.w r1!, {{r7, r8}}\n",
            "ldm.w r0!, {{r9, r10, r11, r12}}\n",
            pair!("r7", "r9", "r10"),
            pair!("r8", "r11", "r12"),
        )
    };
}

/// Sixteen inputs, in 54 instructions.
macro_rules! sixteen_inputs {
    () => {
        concat!(
            "ldm.w r1!, {{r7, r8, r9}}\n",
            "ldm.w r0!, {{r10, r11, r12, lr}}\n",
            pair!("r7", "r10", "r11"),
            pair!("r8", "r12", "lr"),
            "ldm.w r0!, {{r7, r8, r10, r11, r12, lr}}\n",
            pair!("r9", "r7", "r8"),
            "ldm.w r1!, {{r7, r8, r9}}\n",
            pair!("r7", "r10", "r11"),
            pair!("r8", "r12", "lr"),
            "ldm.w r0!, {{r7, r8, r10, r11, r12, lr}}\n",
            pair!("r9", "r7", "r8"),
            "ldm.w r1!, {{r7, r8}}\n",
            pair!("r7", "r10", "r11"),
            pair!("r8", "r12", "lr"),
        )
    };
}

/// Biases and multipliers from the stream, then the accumulators of the four rows in r1, r2, r7, r8; the multipliers go to `$rest`.
macro_rules! accumulators {
    ($rest:literal) => {
        concat!(
            "ldm.w r0!, {{r1, r2, r7, r8, ",
            $rest,
            "}}\n",
            "sub r3, r3, r4\n",
            "sub r5, r5, r6\n",
            "add r1, r1, r3, asr #8\n",
            "add r2, r2, r4\n",
            "add r7, r7, r5, asr #8\n",
            "add r8, r8, r6\n",
        )
    };
}

/// The accumulators of `accumulators!`, requantized and clamped to `high - low` from `low`, two in r1 and two in r7.
macro_rules! clamped {
    () => {
        concat!(
            "smmlar r1, r1, r9, r5\n",
            "smmlar r2, r2, r10, r5\n",
            "smmlar r7, r7, r11, r5\n",
            "smmlar r8, r8, r12, r5\n",
            "usat r1, #16, r1\n",
            "usat r2, #16, r2\n",
            "usat r7, #16, r7\n",
            "usat r8, #16, r8\n",
            "pkhbt r1, r1, r2, lsl #16\n",
            "pkhbt r7, r7, r8, lsl #16\n",
            "uqsub16 r1, r1, r6\n",
            "uqsub16 r7, r7, r6\n",
        )
    };
}

/// See [`portable::dense`](super::portable::dense).
pub(super) fn dense_whole(whole: &Whole<'_>, low: i16, high: i16) {
    let (low, high) = (i32::from(low), i32::from(high.max(low)));
    // SAFETY: a `Whole` is what the routine asks of its pointers, and `low <= high`.
    unsafe { dense_blocks(whole.stream, whole.x, whole.x_end, whole.out, whole.out_end, low, high) }
}

/// Requantizes in five instructions for two rows behind `smmlar`, whose addend `c = 65,535 - high` moves the upper
/// clamp to the end of the range of `usat`; subtracting `c + low` with saturation at zero is the lower clamp.
///
/// # Safety
///
/// `stream` and `x` are aligned to four bytes. `x` reaches to `x_end`, four or a multiple of four inputs on; `out`
/// to `out_end`, a block or more on; the stream holds a block for each four of them. `low <= high`, both in `i16`.
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
        dsp!(),
        "push {{r4-r11, lr}}",
        "ldrd r4, r9, [sp, #36]", // out_end, low
        "ldr r6, [sp, #44]",      // high
        "movw r5, #65535",
        "sub r5, r5, r6", // c
        "add r6, r5, r9",
        "pkhbt r6, r6, r6, lsl #16", // c + low, twice
        "adr.w r7, 7f + 1",
        "cmp r9, #0",
        "bne 8f",
        // Where a block goes first (r10) and after the inputs beyond a multiple of sixteen (r8).
        "9:",
        "sub r11, r2, r1",
        "adr.w r8, 2f + 1",
        "tst r11, #32",
        "it ne",
        "adrne.w r8, 3f + 1",
        "mov r10, r8",
        "ands r12, r11, #31",
        "bne 10f",
        // On the stack: what a block's begin needs, read by one load into r1 to r6 and pc, then what its end needs.
        "11:",
        "push {{r3-r9}}",
        "movs r3, #0",
        "movs r4, #0",
        "movs r5, #0",
        "movs r6, #0",
        "mov r7, r10",
        "push {{r1-r7}}",
        "bx r7",
        "8:",
        "adr.w r7, 12f + 1",
        "pkhbt r9, r9, r9, lsl #16", // low, twice
        "b 9b",
        "10:",
        "cmp r11, #32",
        "it lo",
        "adrlo.w r8, 4f + 1",
        "rsb r12, r12, r12, lsl #3", // eight bytes of inputs are 56 bytes of code
        "adr.w r10, 6f + 1",
        "sub r10, r10, r12",
        "b 11b",
        ".p2align 2",
        four_inputs!(),
        four_inputs!(),
        four_inputs!(),
        "6:",
        "ldr.w pc, [sp, #48]",
        "2:",
        sixteen_inputs!(),
        "3:",
        sixteen_inputs!(),
        "cmp r1, r2",
        "bne 2b",
        "4:",
        accumulators!("r9, r10, r11, r12"),
        "add.w r3, sp, #28",
        "ldm.w r3, {{r3, r4, r5, r6, pc}}", // out, out_end, c, c + low; to the next line or to 12
        "7:",
        clamped!(),
        "strd r1, r7, [r3], #8",
        "str r3, [sp, #28]",
        "cmp r3, r4",
        "beq 5f",
        "ldm.w sp, {{r1-r6, pc}}",
        "12:",
        clamped!(),
        "ldr lr, [sp, #52]",
        "sadd16 r1, r1, lr",
        "sadd16 r7, r7, lr",
        "strd r1, r7, [r3], #8",
        "str r3, [sp, #28]",
        "cmp r3, r4",
        "beq 5f",
        "ldm.w sp, {{r1-r6, pc}}",
        "5:",
        "add sp, sp, #56",
        "pop {{r4-r11, pc}}",
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
        dsp!(),
        "push {{r4-r11, lr}}",
        "ldr r4, [sp, #36]",
        "movs r5, #0",
        "movs r6, #0",
        "sub sp, sp, #32",
        "strd r1, r2, [sp]",
        "strd r5, r6, [sp, #8]",
        "strd r5, r6, [sp, #16]",
        "strd r3, r4, [sp, #24]",
        "2:",
        "ldm.w sp, {{r1-r6}}",
        "3:",
        four_inputs!(),
        "cmp r1, r2",
        "bne 3b",
        accumulators!("r9, r10, r11, r12"), // scales, for the float edge
        "ldrd r3, r4, [sp, #24]",
        "stm.w r3!, {{r1, r2, r7, r8}}",
        "str r3, [sp, #24]",
        "cmp r3, r4",
        "bne 2b",
        "add sp, sp, #32",
        "pop {{r4-r11, pc}}",
    )
}
