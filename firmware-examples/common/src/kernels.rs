//! This core's kernels against their definition, on random and on extreme operands.
//!
//! The sums are exact modulo `2^32`, so even operands that no artifact may hold must give equal bits.

use simground_runtime::kernel::bytes::{self, Inputs, Outputs};
use simground_runtime::kernel::{self, portable};

/// Comparisons of each kind.
const ROUNDS: u32 = 600;
const MAX_INPUT: usize = 132;
const MAX_BLOCKS: usize = 4;
const STREAM_BYTES: usize = MAX_BLOCKS * (MAX_INPUT * 4 + 32);

/// Operands, static so that the smallest board's stack holds the rest.
pub struct Operands {
    stream: Aligned<STREAM_BYTES>,
    x: Words<{ MAX_INPUT / 2 + 1 }>,
}

/// Bytes at an address that every kernel accepts.
#[repr(align(4))]
struct Aligned<const N: usize>([u8; N]);
/// Halfwords at such an address.
#[repr(align(4))]
struct Words<const N: usize>([[i16; 2]; N]);

impl Operands {
    /// Zeros, which cost no flash.
    pub const fn new() -> Self {
        Operands { stream: Aligned([0; STREAM_BYTES]), x: Words([[0; 2]; MAX_INPUT / 2 + 1]) }
    }
}

impl Default for Operands {
    fn default() -> Self {
        Self::new()
    }
}

/// Compares every kernel; the number of comparisons, or what differs.
pub fn run(operands: &mut Operands) -> Result<u32, &'static str> {
    let mut random = Random(0x2545_f491);
    for _ in 0..ROUNDS {
        fill(operands, &mut random);
        dense(operands, &mut random)?;
        dense_bytes(operands, &mut random)?;
        bank(operands, &mut random)?;
    }
    Ok(3 * ROUNDS)
}

/// Xorshift (Marsaglia 2003).
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 8) as usize % limit
    }

    fn one_of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[self.below(N)]
    }
}

const WORDS: [i32; 12] = [
    0,
    1,
    -1,
    1 << 30,
    -(1 << 30),
    (1 << 30) + (1 << 23),
    i32::MAX,
    i32::MIN,
    0x7fff_8000,
    0xffff,
    -0x8000,
    0x8000,
];

/// Random bits, or for a whole round one of a few extremes in each place.
fn fill(operands: &mut Operands, random: &mut Random) {
    let kind = random.below(4);
    for word in operands.stream.0.as_chunks_mut::<4>().0 {
        let weight = |random: &mut Random| random.one_of([-127, 127, 0, 1, -1, 126]);
        let packed = |random: &mut Random| (256 * weight(random) + weight(random)) & 0xffff;
        *word = match kind {
            0 => random.next().cast_signed(),
            1 => random.one_of(WORDS),
            2 => packed(random) | packed(random) << 16,
            _ => random.next().cast_signed() >> random.below(24),
        }
        .to_le_bytes();
    }
    for x in operands.x.0.as_flattened_mut() {
        *x = match kind {
            0 => random.next() as i16,
            1 => random.one_of([i16::MAX, i16::MIN, 0, 1, -1, 2_047, -2_047]),
            _ => random.below(2_048) as i16,
        };
    }
}

fn dense(operands: &mut Operands, random: &mut Random) -> Result<(), &'static str> {
    let d_input = 4 * (1 + random.below(MAX_INPUT / 4));
    let blocks = 1 + random.below(MAX_BLOCKS);
    // Biases and multipliers at their bounds, where this layer has them.
    if random.below(2) == 0 {
        for block in operands.stream.0.chunks_exact_mut(kernel::block_bytes(d_input)) {
            for word in block[4 * d_input..].as_chunks_mut::<4>().0 {
                *word = random.one_of(WORDS).to_le_bytes();
            }
        }
    }
    let (low, high) = random.one_of([
        (0, 2_047),
        (-1_023, 1_023),
        (0, i16::MAX),
        (i16::MIN, i16::MAX),
        (-5, -5),
        (7, 300),
        (-300, -7),
        (9, -9),
    ]);
    // Mostly whole operands; sometimes misaligned, cut, or longer than what they meet.
    let odd = random.below(8);
    let (mut stream, mut x) = (&operands.stream.0[..], operands.x.0.as_flattened());
    if odd == 1 {
        stream = &stream[2..];
    }
    if odd == 2 {
        x = &x[1..];
    }
    let cut = if odd == 3 { random.below(stream.len()) } else { 0 };
    stream = &stream[..stream.len() - cut];
    x = &x[..d_input + if odd == 4 { 2 } else { 0 }];
    let places = 4 * blocks + if odd == 5 { 3 } else { 0 };
    let skip = usize::from(odd == 6);

    const GUARD: i16 = 0x5a5a;
    let mut expected = Words([[GUARD; 2]; 2 * MAX_BLOCKS + 4]);
    let mut found = Words([[GUARD; 2]; 2 * MAX_BLOCKS + 4]);
    let out = |words: &mut Words<{ 2 * MAX_BLOCKS + 4 }>, kernel: Dense| {
        kernel(stream, x, low, high, &mut words.0.as_flattened_mut()[skip..skip + places]);
    };
    out(&mut expected, portable::dense);
    out(&mut found, kernel::dense);
    if expected.0 != found.0 {
        return Err("dense differs");
    }
    let mut expected = [i32::from(GUARD); 4 * MAX_BLOCKS + 8];
    let mut found = expected;
    portable::dense_accumulators(stream, x, &mut expected[skip..skip + places]);
    kernel::dense_accumulators(stream, x, &mut found[skip..skip + places]);
    if expected != found {
        return Err("dense_accumulators differs");
    }
    Ok(())
}

/// Layers of plain bytes, of every kind of inputs and outputs.
fn dense_bytes(operands: &Operands, random: &mut Random) -> Result<(), &'static str> {
    let wide = random.below(2) == 0;
    // The inputs' room holds twice as many bytes as halfwords.
    let quads = if wide { MAX_INPUT / 4 } else { MAX_INPUT / 2 };
    let d_input = 4 * (1 + random.below(quads));
    let places = 4 * (1 + random.below(MAX_BLOCKS.min(STREAM_BYTES / (4 * d_input + 32))));
    let (low, high) = random.one_of([(-128, 127), (0, 127), (-1_023, 1_023), (-7, 5), (9, -9)]);
    // Mostly whole operands; sometimes misaligned, cut, or no multiple of four.
    let odd = random.below(16);
    let mut stream = &operands.stream.0[if odd == 1 { 2 } else { 0 }..];
    if odd == 2 {
        stream = &stream[..random.below(stream.len())];
    }
    let d_input = d_input + if odd == 3 { 2 } else { 0 };
    let halves = operands.x.0.as_flattened();
    let mut narrow = [0_i8; 2 * MAX_INPUT + 2];
    for (narrow, half) in narrow.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
        *narrow = half.to_le_bytes().map(u8::cast_signed);
    }
    let skip = usize::from(odd == 4);
    let x = match wide {
        true => Inputs::Halves(&halves[skip..skip + d_input.min(MAX_INPUT)]),
        false => Inputs::Bytes(&narrow[skip..skip + d_input]),
    };
    let places = places + if odd == 5 { 3 } else { 0 };
    let (mut expected, mut found) = ([0x5a; 4 * MAX_BLOCKS + 4], [0x5a; 4 * MAX_BLOCKS + 4]);
    bytes::dense_bytes(stream, x, low, high, Outputs::Bytes(&mut expected[skip..skip + places]));
    kernel::dense_bytes(stream, x, low, high, Outputs::Bytes(&mut found[skip..skip + places]));
    if expected != found {
        return Err("dense_bytes differs in bytes");
    }
    let (mut expected, mut found) = ([0x5a; 4 * MAX_BLOCKS + 4], [0x5a; 4 * MAX_BLOCKS + 4]);
    bytes::dense_bytes(stream, x, low, high, Outputs::Halves(&mut expected[skip..skip + places]));
    kernel::dense_bytes(stream, x, low, high, Outputs::Halves(&mut found[skip..skip + places]));
    if expected != found {
        return Err("dense_bytes differs in halfwords");
    }
    let (mut expected, mut found) = ([0x5a; 4 * MAX_BLOCKS + 4], [0x5a; 4 * MAX_BLOCKS + 4]);
    bytes::dense_bytes(stream, x, low, high, Outputs::Words(&mut expected[skip..skip + places]));
    kernel::dense_bytes(stream, x, low, high, Outputs::Words(&mut found[skip..skip + places]));
    if expected != found {
        return Err("dense_bytes differs in words");
    }
    Ok(())
}

type Dense = fn(&[u8], &[i16], i16, i16, &mut [i16]);

fn bank(operands: &mut Operands, random: &mut Random) -> Result<(), &'static str> {
    let width = random.one_of([4, 8, 12, 16, 16, 16, 16, 20, 32, 36, 64]);
    let count = random.below(40).min(STREAM_BYTES / width);
    let odd = random.below(16);
    let start = if odd == 1 { 1 } else { 0 };
    let tail = if odd == 2 { 3 } else { 0 };
    // In one round of four, values so small that many vectors are equally near.
    if odd >= 12 {
        operands.stream.0.iter_mut().for_each(|byte| *byte &= 1);
    }
    let vectors = &operands.stream.0[start..];
    let vectors = &vectors[..(count * width + tail).min(vectors.len())];
    let limit = random.one_of([kernel::QUERY_LIMIT, 128, 20]);
    for q in operands.x.0.as_flattened_mut() {
        *q = match odd {
            0..8 => (random.below(2 * limit as usize + 1) as i16) - limit,
            8..12 => random.one_of([limit, -limit, 0]),
            _ => random.one_of([0, 1]),
        };
    }
    // Also at an odd halfword, from which not every load of a core reads.
    let query = &operands.x.0.as_flattened()[usize::from(odd == 3)..][..width];

    let mut expected = [0x5a5a_5a5a; 48];
    let mut found = expected;
    let places = random.one_of([count, count + 1, count / 2]);
    portable::squared_distances(vectors, query, &mut expected[..places]);
    kernel::squared_distances(vectors, query, &mut found[..places]);
    if expected != found {
        return Err("squared_distances differs");
    }

    if portable::nearest::<1>(vectors, query) != kernel::nearest::<1>(vectors, query)
        || portable::nearest::<5>(vectors, query) != kernel::nearest::<5>(vectors, query)
        || portable::nearest::<40>(vectors, query) != kernel::nearest::<40>(vectors, query)
    {
        return Err("nearest differs");
    }
    Ok(())
}
