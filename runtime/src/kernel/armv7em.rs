//! Armv7E-M and Armv8-M with the DSP extension (Cortex-M4, M7, M33): two 16-bit products an instruction.
//!
//! A packed word goes through `smlad` as it is (256 A + B of two rows), then through `sxtb16` and `smlad` (B): six
//! instructions for eight products. The sums of a block live in r3 to r6; the stream in r0 and the inputs in r1 are
//! read by `ldm` into whatever of r7 to lr is free, so sixteen inputs take six loads.

use core::arch::naked_asm;

use heapless::Vec;

use super::{Ranked, Ranking, Whole, portable};

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

/// Values 0 to 7 of the vector at r0, which moves to the next, against the query in r4 to r7: the sum starts here.
macro_rules! first_half {
    ($sum:literal) => {
        concat!(
            "ldrd r2, r12, [r0], #16\n",
            "sxtab16 ",
            $sum,
            ", r4, r2\n",
            "smuad ",
            $sum,
            ", ",
            $sum,
            ", ",
            $sum,
            "\n",
            "sxtab16 r2, r5, r2, ror #8\n",
            "smlad ",
            $sum,
            ", r2, r2, ",
            $sum,
            "\n",
            squares!($sum, "r12", "r2", "r6", "r7"),
        )
    };
}

/// Values 8 to 15 of the vector that ends at r0 against the query in r8 to r11. Destroys r1.
macro_rules! second_half {
    ($sum:literal) => {
        concat!(
            "ldrd r2, r12, [r0, #-8]\n",
            squares!($sum, "r2", "r1", "r8", "r9"),
            squares!($sum, "r12", "r1", "r10", "r11"),
        )
    };
}

/// The vector at r0, which moves to the next: to `5:` with its squared distance in lr when that is less than r3. 22
/// instructions, 11 of them where the first half is enough; 84 bytes.
macro_rules! sixteen_values {
    () => {
        concat!(
            first_half!("lr"),
            "cmp lr, r3\n",
            "bhs.w 3f\n",
            second_half!("lr"),
            "cmp lr, r3\n",
            "blo.w 5f\n",
            "3:\n",
        )
    };
}

/// Four values of the vector at r0 against the words of the query at r4.
macro_rules! four_values {
    ($sum:literal) => {
        concat!(
            "ldr r8, [r0], #4\n",
            "ldrd r6, r7, [r4], #8\n",
            squares!($sum, "r8", "r6", "r6", "r7"),
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

/// Widest query that is kept in its rearranged form.
const MAX_PREPARED: usize = 32;

/// For each four values of the query `-q0, -q2` in one word and `-q1, -q3` in the next: what `sxtab16` adds to the
/// sign-extended bytes of four values of a prototype.
type Prepared = [u32; MAX_PREPARED / 2];

#[inline]
fn prepare(query: &[i16]) -> Prepared {
    let mut prepared = [0; MAX_PREPARED / 2];
    let pairs = prepared.as_chunks_mut::<2>().0;
    for ([even, odd], [q0, q1, q2, q3]) in pairs.iter_mut().zip(query.as_chunks::<4>().0) {
        *even = negatives(*q0, *q2);
        *odd = negatives(*q1, *q3);
    }
    prepared
}

#[inline]
fn negatives(low: i16, high: i16) -> u32 {
    let [a, b] = low.wrapping_neg().to_le_bytes();
    let [c, d] = high.wrapping_neg().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Whether `query` can be prepared, and `vectors` be read by words.
fn preparable(vectors: &[u8], query: &[i16]) -> bool {
    let width = query.len();
    width.is_multiple_of(4)
        && (4..=MAX_PREPARED).contains(&width)
        && vectors.as_ptr().addr().is_multiple_of(4)
}

/// See [`portable::squared_distances`].
pub fn squared_distances(vectors: &[u8], query: &[i16], out: &mut [u32]) {
    if !preparable(vectors, query) {
        return portable::squared_distances(vectors, query, out);
    }
    let count = (vectors.len().checked_div(query.len())).unwrap_or(0).min(out.len());
    let Some(out) = out.get_mut(..count).filter(|out| !out.is_empty()) else {
        return;
    };
    let prepared = prepare(query);
    let out = out.as_mut_ptr_range();
    let words = query.len().wrapping_shr(2);
    // SAFETY: the vectors are aligned (`preparable`), `out` ends behind as many words as there are whole vectors, and at
    // least one; `words` is 1 to 8, and `prepared` holds 8 pairs.
    unsafe { distances(vectors.as_ptr(), prepared.as_ptr(), words, out.start, out.end) }
}

/// # Safety
///
/// `vectors` is aligned to four bytes and holds `words` words for each place of `out`, of which there is one; `prepared`
/// holds two words for each of `words`.
#[unsafe(naked)]
unsafe extern "C" fn distances(
    vectors: *const u8,
    prepared: *const u32,
    words: usize,
    out: *mut u32,
    out_end: *mut u32,
) {
    naked_asm!(
        dsp!(),
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]",
        "cmp r2, #4",
        "bne 5f",
        // Sixteen values: the query stays in registers.
        "ldm.w r1, {{r4-r11}}",
        "2:",
        first_half!("lr"),
        second_half!("lr"),
        "str lr, [r3], #4",
        "ldr r12, [sp, #36]",
        "cmp r3, r12",
        "bne 2b",
        "pop {{r4-r11, pc}}",
        // Any width: the query's words come from memory.
        "5:",
        "add r2, r1, r2, lsl #3",
        "6:",
        "mov r4, r1",
        "movs r5, #0",
        "7:",
        four_values!("r5"),
        "cmp r4, r2",
        "bne 7b",
        "str r5, [r3], #4",
        "cmp r3, r12",
        "bne 6b",
        "pop {{r4-r11, pc}}",
    )
}

/// See [`portable::Search`].
#[derive(Debug)]
pub struct Search<'a> {
    walk: portable::Search<'a>,
    prepared: Prepared,
    /// Words of a vector; 0 where only the definition can walk.
    words: usize,
    first: usize,
}

impl<'a> Search<'a> {
    /// See [`portable::Search::new`].
    #[inline]
    pub fn new(vectors: &'a [u8], query: &'a [i16]) -> Self {
        let mut walk = portable::Search::new(vectors, query);
        let first = vectors.as_ptr().addr();
        if !preparable(vectors, query) {
            return Search { walk, prepared: [0; _], words: 0, first };
        }
        let rest = vectors.len().checked_rem(query.len()).unwrap_or(0);
        walk.rest = vectors.get(..vectors.len().wrapping_sub(rest)).unwrap_or(&[]);
        Search { walk, prepared: prepare(query), words: query.len().wrapping_shr(2), first }
    }

    /// See [`portable::Search::next_below`].
    #[inline]
    pub fn next_below(&mut self, limit: u32) -> Option<(u32, u32)> {
        let rest = self.walk.rest.as_ptr_range();
        if self.words == 0 || rest.is_empty() {
            return self.walk.next_below(limit);
        }
        // SAFETY: `new` has found the vectors aligned and cut them to whole ones of `words` words, 1 to 8, and every
        // step passes whole ones; some are left. `prepared` holds 8 pairs.
        let found =
            unsafe { below(rest.start, rest.end, self.prepared.as_ptr(), limit, self.words) };
        let (end, distance) = (found as u32 as usize, (found >> 32) as u32);
        if end == 0 {
            self.walk.rest = &[];
            return None;
        }
        self.walk.rest = self.walk.rest.get(end.wrapping_sub(rest.start.addr())..).unwrap_or(&[]);
        let words = end.wrapping_sub(self.first).wrapping_shr(2);
        let passed = words.checked_div(self.words).unwrap_or(0);
        Some((passed.wrapping_sub(1) as u32, distance))
    }
}

/// The address behind the first vector whose squared distance is less than `limit` (low word; 0 without one) and that
/// squared distance (high word).
///
/// # Safety
///
/// `vectors` is aligned to four bytes and `end` lies one or more vectors of `words` words behind it; `prepared` holds two
/// words for each of `words`.
#[unsafe(naked)]
unsafe extern "C" fn below(
    vectors: *const u8,
    end: *const u8,
    prepared: *const u32,
    limit: u32,
    words: usize,
) -> u64 {
    naked_asm!(
        dsp!(),
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #36]",
        "add r12, r2, r12, lsl #3",
        "7:",
        "mov r4, r2",
        "mov lr, #0",
        "8:",
        four_values!("lr"),
        "cmp lr, r3",
        "bhs 9f",
        "cmp r4, r12",
        "bne 8b",
        "mov r1, lr",
        "pop {{r4-r11, pc}}",
        "9:",
        "sub r5, r12, r4",
        "add r0, r0, r5, lsr #1",
        "cmp r0, r1",
        "bne 7b",
        "movs r0, #0",
        "pop {{r4-r11, pc}}",
    )
}

/// See [`portable::nearest`].
pub fn nearest<const K: usize>(vectors: &[u8], query: &[i16]) -> Vec<Ranked, K> {
    const WIDTH: usize = 16;
    let whole = vectors.as_chunks::<WIDTH>().0;
    if K == 0 || query.len() != WIDTH || whole.is_empty() || !preparable(vectors, query) {
        let mut search = Search::new(vectors, query);
        return Ranking::of_walk(|limit| search.next_below(limit));
    }
    let mut ranking = Ranking::<K>::new();
    let bank = whole.as_ptr_range();
    let prepared = prepare(query);
    let before = (&raw mut ranking).cast::<Ranked>();
    // SAFETY: the vectors are aligned (`preparable`), whole, and one or more. `prepared` holds 8 pairs. A `Ranking` is one
    // entry that is nearer than any vector, then `K` in order, at least one.
    unsafe { rank(bank.start.cast(), bank.end.cast(), prepared.as_ptr(), before.add(K)) };
    for place in ranking.taken() {
        // The routine names a vector by the address behind it.
        let passed = (place.prototype as usize).wrapping_sub(bank.start.addr());
        place.prototype = passed.wrapping_div(WIDTH).wrapping_sub(1) as u32;
    }
    ranking.finish()
}

/// Inserts every vector that is nearer than the entry at `last` into the entries up to there, in order. Its name is the
/// address behind it.
///
/// # Safety
///
/// `vectors` is aligned to four bytes and `end` lies one or more vectors of 16 values behind it; `prepared` holds eight
/// words. Before `last` lie entries in order of distance, of which the first is at distance 0.
#[unsafe(naked)]
unsafe extern "C" fn rank(
    vectors: *const u8,
    end: *const u8,
    prepared: *const u32,
    last: *mut Ranked,
) {
    naked_asm!(
        dsp!(),
        "push {{r4-r11, lr}}",
        "ldm.w r2, {{r4-r11}}", // the query stays in registers
        "push {{r1, r3}}",
        // To the next vector: four a turn, of which the first turn may begin later, so that every turn is whole.
        "4:",
        "ldr r3, [r3, #4]", // the limit
        "subs r2, r0, r1",
        "beq 8f",
        "ubfx r2, r2, #4, #2",
        "movs r1, #84", // bytes of code for a vector
        "adr.w r12, 2f + 1",
        "mla r1, r1, r2, r12",
        "bx r1",
        ".p2align 2",
        "2:",
        sixteen_values!(),
        sixteen_values!(),
        sixteen_values!(),
        sixteen_values!(),
        "ldr r2, [sp]",
        "cmp r0, r2",
        "bne.w 2b",
        "8:",
        "add sp, sp, #8",
        "pop {{r4-r11, pc}}",
        // A nearer vector: entries that are farther move up one place.
        "5:",
        "ldr r1, [sp, #4]",
        "b 7f",
        "6:",
        "strd r2, r12, [r1], #-8",
        "7:",
        "ldrd r2, r12, [r1, #-8]",
        "cmp lr, r12",
        "blo 6b",
        "strd r0, lr, [r1]",
        "ldrd r1, r3, [sp]",
        "b 4b",
    )
}
