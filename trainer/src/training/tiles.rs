//! Matrices in tiles of 64 x 64, and the one product that training spends its time in: it skips the zeros of its left factor.
//!
//! After a ReLU about half of the activations are zero, and so are the gradients that come back through it. Skipping them computes
//! the same sums in half the multiplications, which no dense product can do.
//!
//! **Invariant:** each entry of a product is one chain of fused multiply-adds, in the order of the rows of the right factor. So its
//! bits depend neither on the vector unit, nor on the tiles, nor on how many rows are computed at a time.

use super::rounding::Grid;
use super::vectors::{has_many_registers, vectorized};

/// Rows and columns of a tile.
pub(super) const TILE: usize = 64;

/// Lanes that are computed together; a tile whose last columns are not in use computes fewer groups of them.
const GROUP: usize = 16;

/// A row of a tile. Aligned, since a vector load across two cache lines costs two.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
struct Strip([f32; TILE]);

type Tile = [Strip; TILE];

/// Of each row of a tile, the columns that are not zero, as bits.
type Mask = [u64; TILE];

const ZERO: Strip = Strip([0.0; TILE]);

/// A matrix in tiles: blocks of rows one below the other, and so for each panel of columns.
///
/// The padding columns of the last panel are zero; rows beyond the last may hold anything.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    rows: usize,
    columns: usize,
    /// Blocks that a panel has room for.
    blocks: usize,
    tiles: Vec<Tile>,
}

/// Where the entries of a [`Tiles`] are not zero.
#[derive(Debug, Default)]
pub(super) struct Nonzero(Vec<Mask>);

impl Tiles {
    /// Copies a row-major matrix.
    pub fn copy(&mut self, values: &[f32], rows: usize, columns: usize) {
        self.resize(rows, columns);
        for (row, values) in values.chunks_exact(columns).enumerate() {
            let (whole, rest) = values.as_chunks::<TILE>();
            let mut at = row / TILE;
            for values in whole {
                self.tiles[at][row % TILE].0 = *values;
                at += self.blocks;
            }
            if !rest.is_empty() {
                self.tiles[at][row % TILE].0[..rest.len()].copy_from_slice(rest);
            }
        }
    }

    /// Makes this the transpose of `other`.
    pub fn transpose(&mut self, other: &Tiles) {
        self.resize(other.columns, other.rows);
        for (at, tile) in self.tiles.iter_mut().enumerate() {
            let other = &other.tiles[at % self.blocks * other.blocks + at / self.blocks];
            for (column, strip) in tile.iter_mut().enumerate() {
                for (value, row) in strip.0.iter_mut().zip(other) {
                    *value = row.0[column];
                }
            }
        }
    }

    /// Writes the matrix row-major into `values`.
    pub fn copy_to(&self, values: &mut [f32]) {
        for (row, values) in values.chunks_exact_mut(self.columns).enumerate() {
            let (whole, rest) = values.as_chunks_mut::<TILE>();
            let mut at = row / TILE;
            for values in whole {
                *values = self.tiles[at][row % TILE].0;
                at += self.blocks;
            }
            if !rest.is_empty() {
                rest.copy_from_slice(&self.tiles[at][row % TILE].0[..rest.len()]);
            }
        }
    }

    /// Makes this the sum of the rows of `other`, added to itself if `add`, in order.
    pub fn sum_rows(&mut self, add: bool, other: &Tiles) {
        if !add {
            self.clear(1, other.columns);
        }
        vectorized(
            #[inline(always)]
            || {
                for (at, tile) in other.tiles.iter().enumerate() {
                    add_strips(&mut self.tiles[at / other.blocks][0], &tile[..other.rows_of(at)]);
                }
            },
        );
    }

    /// Rounds every entry to a grid that holds 0.
    pub fn round(&mut self, grid: Grid) {
        vectorized(
            #[inline(always)]
            || {
                for strip in self.tiles.as_flattened_mut() {
                    for value in &mut strip.0 {
                        *value = grid.round(*value);
                    }
                }
            },
        );
    }

    /// A row of zeros.
    pub fn clear(&mut self, rows: usize, columns: usize) {
        self.resize(rows, columns);
        self.tiles.fill([ZERO; TILE]);
    }

    /// Keeps tiles where they are if they serve the same columns, since their padding is zero already.
    fn resize(&mut self, rows: usize, columns: usize) {
        let blocks = rows.div_ceil(TILE);
        if self.columns != columns || self.blocks < blocks {
            self.columns = columns;
            self.blocks = blocks;
            self.tiles.clear();
            self.tiles.resize(columns.div_ceil(TILE) * blocks, [ZERO; TILE]);
        }
        self.rows = rows;
    }

    /// Rows in use of a tile.
    fn rows_of(&self, tile: usize) -> usize {
        rows_of(self.rows, tile % self.blocks)
    }
}

/// Rows in use of the tiles of a block.
#[inline(always)]
fn rows_of(rows: usize, block: usize) -> usize {
    rows.saturating_sub(block * TILE).min(TILE)
}

impl Nonzero {
    /// Finds the entries that are not zero.
    pub fn find(&mut self, matrix: &Tiles) {
        self.0.resize(matrix.tiles.len(), [0; TILE]);
        vectorized(
            #[inline(always)]
            || {
                for (at, (tile, mask)) in matrix.tiles.iter().zip(&mut self.0).enumerate() {
                    let rows = matrix.rows_of(at);
                    find(&tile[..rows], mask);
                }
            },
        );
    }

    /// Of each tile, the mask of its transpose.
    pub fn transposed(&mut self, other: &Nonzero) {
        self.0.clone_from(&other.0);
        vectorized(
            #[inline(always)]
            || {
                for mask in &mut self.0 {
                    transpose_bits(mask);
                }
            },
        );
    }
}

/// A matrix with the places of its entries that are not zero.
#[derive(Clone, Copy)]
pub(super) struct Sparse<'a>(pub &'a Tiles, pub &'a Nonzero);

/// `output = bias + left * right`.
pub(super) fn affine(output: &mut Tiles, left: Sparse<'_>, right: &Tiles, bias: &Tiles) {
    output.resize(left.0.rows, right.columns);
    product::<false>(output, Some(bias), false, left, right, |_, _| ());
}

/// `output = relu(bias + left * right)`, and where it is positive.
pub(super) fn affine_relu(
    (output, nonzero): (&mut Tiles, &mut Nonzero),
    left: Sparse<'_>,
    right: &Tiles,
    bias: &Tiles,
) {
    output.resize(left.0.rows, right.columns);
    nonzero.0.resize(output.tiles.len(), [0; TILE]);
    product::<false>(
        output,
        Some(bias),
        false,
        left,
        right,
        #[inline(always)]
        |at, strips| {
            for strip in &mut *strips {
                // NaN stays, so that a training that went astray is seen.
                for value in &mut strip.0 {
                    *value = if *value < 0.0 { 0.0 } else { *value };
                }
            }
            find(strips, &mut nonzero.0[at]);
        },
    );
}

/// `output = left^T * right`, added to itself if `add`; `nonzero` is that of the transposed tiles of `left`.
pub(super) fn by_weights(output: &mut Tiles, add: bool, left: Sparse<'_>, right: &Tiles) {
    output.resize(left.0.columns, right.columns);
    product::<true>(output, None, add, left, right, |_, _| ());
}

/// `output = left * right` where `activations` are positive, else zero; `sums` are those of its rows, added to themselves if `add`.
pub(super) fn by_inputs(
    output: &mut Tiles,
    left: Sparse<'_>,
    right: &Tiles,
    activations: &Tiles,
    (add, sums): (bool, &mut Tiles),
) {
    output.resize(left.0.rows, right.columns);
    if !add {
        sums.clear(1, right.columns);
    }
    let blocks = output.blocks;
    product::<false>(
        output,
        None,
        false,
        left,
        right,
        #[inline(always)]
        |at, strips| {
            for (strip, activations) in strips.iter_mut().zip(&activations.tiles[at]) {
                for (value, activation) in strip.0.iter_mut().zip(&activations.0) {
                    *value = if *activation > 0.0 { *value } else { 0.0 };
                }
            }
            add_strips(&mut sums.tiles[at / blocks][0], strips);
        },
    );
}

/// `output = left * right` or `left^T * right`, on top of a row vector, of itself if `add`, or of zero; `finish` changes each tile of the
/// result while it is in cache.
fn product<const TRANSPOSED: bool>(
    output: &mut Tiles,
    bias: Option<&Tiles>,
    add: bool,
    Sparse(left, nonzero): Sparse<'_>,
    right: &Tiles,
    mut finish: impl FnMut(usize, &mut [Strip]),
) {
    let (rows, columns, blocks) = (output.rows, output.columns, output.blocks);
    let inner_blocks = right.rows.div_ceil(TILE);
    let many_registers = has_many_registers();
    vectorized(
        #[inline(always)]
        || {
            for (at, output) in output.tiles.iter_mut().enumerate() {
                let (panel, block) = (at / blocks, at % blocks);
                let rows = rows_of(rows, block);
                let groups = (columns - panel * TILE).min(TILE).div_ceil(GROUP);
                for inner in 0..inner_blocks {
                    let from = match bias {
                        Some(bias) if inner == 0 => Some(&bias.tiles[panel * bias.blocks][0]),
                        None if inner == 0 && !add => Some(&ZERO),
                        _ => None,
                    };
                    let of_left = if TRANSPOSED {
                        block * left.blocks + inner
                    } else {
                        inner * left.blocks + block
                    };
                    let (left, mask) = (&left.tiles[of_left], &nonzero.0[of_left]);
                    let ones: u32 = mask.iter().map(|bits| bits.count_ones()).sum();
                    let most = rows * TILE.min(right.rows - inner * TILE);
                    let right = &right.tiles[panel * right.blocks + inner];
                    match groups {
                        // With few zeros, two rows at a time save more loads than they waste multiplications.
                        4 if many_registers && 4 * ones as usize > 3 * most => {
                            accumulate::<4, 2, TRANSPOSED>(output, rows, from, left, mask, right);
                        }
                        4 if many_registers => {
                            accumulate_pairs::<TRANSPOSED>(output, rows, from, left, mask, right);
                        }
                        1 => accumulate::<1, 4, TRANSPOSED>(output, rows, from, left, mask, right),
                        2 => accumulate::<2, 2, TRANSPOSED>(output, rows, from, left, mask, right),
                        3 => accumulate::<3, 1, TRANSPOSED>(output, rows, from, left, mask, right),
                        _ => accumulate::<4, 1, TRANSPOSED>(output, rows, from, left, mask, right),
                    }
                }
                finish(at, &mut output[..rows]);
            }
        },
    );
}

/// Adds `left * right` to the rows of `output`, or to `from`, in the first `GROUPS` groups of columns.
///
/// `ROWS` rows go together where few groups would leave the multipliers waiting for each other; they skip what is zero in all of them.
#[inline(always)]
fn accumulate<const GROUPS: usize, const ROWS: usize, const TRANSPOSED: bool>(
    output: &mut Tile,
    rows: usize,
    from: Option<&Strip>,
    left: &Tile,
    mask: &Mask,
    right: &Tile,
) {
    let outputs = output.as_chunks_mut::<ROWS>().0.iter_mut();
    let masks = mask.as_chunks::<ROWS>().0;
    for (at, (output, masks)) in outputs.zip(masks).enumerate().take(rows.div_ceil(ROWS)) {
        let mut sums = std::array::from_fn::<_, ROWS, _>(|row| {
            Sums::<GROUPS>::of(from.unwrap_or(&output[row]))
        });
        let mut bits = masks.iter().fold(0, |all, bits| all | bits);
        while bits != 0 {
            let inner = take_lowest(&mut bits);
            for (row, sums) in sums.iter_mut().enumerate() {
                sums.add::<TRANSPOSED>(left, at * ROWS + row, inner, right);
            }
        }
        for (output, sums) in output.iter_mut().zip(&sums) {
            sums.write(output);
        }
    }
}

/// [`accumulate`] of whole rows, two at a time of which each skips its own zeros: a row alone has too few chains of sums to keep wide
/// multipliers busy.
#[inline(always)]
fn accumulate_pairs<const TRANSPOSED: bool>(
    output: &mut Tile,
    rows: usize,
    from: Option<&Strip>,
    left: &Tile,
    mask: &Mask,
    right: &Tile,
) {
    let outputs = output.as_chunks_mut::<2>().0.iter_mut();
    let masks = mask.as_chunks::<2>().0;
    for (at, (output, masks)) in outputs.zip(masks).enumerate().take(rows.div_ceil(2)) {
        let mut sums = [0, 1].map(|row| Sums::<4>::of(from.unwrap_or(&output[row])));
        let mut bits = *masks;
        while bits[0] != 0 && bits[1] != 0 {
            for (row, sums) in sums.iter_mut().enumerate() {
                sums.add::<TRANSPOSED>(left, 2 * at + row, take_lowest(&mut bits[row]), right);
            }
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            while bits[row] != 0 {
                sums.add::<TRANSPOSED>(left, 2 * at + row, take_lowest(&mut bits[row]), right);
            }
            sums.write(&mut output[row]);
        }
    }
}

/// The first `GROUPS` groups of a row of a product on its way. The compiler keeps them in registers: four groups are eight vectors of
/// AVX2 or four of AVX-512, which has room for two rows.
struct Sums<const GROUPS: usize>([[f32; GROUP]; GROUPS]);

impl<const GROUPS: usize> Sums<GROUPS> {
    #[inline(always)]
    fn of(strip: &Strip) -> Self {
        let mut sums = [[0.0; GROUP]; GROUPS];
        sums.copy_from_slice(&strip.0.as_chunks::<GROUP>().0[..GROUPS]);
        Sums(sums)
    }

    /// Adds the row `inner` of `right` times its factor in the row `row` of `left`, or of its transpose.
    #[inline(always)]
    fn add<const TRANSPOSED: bool>(&mut self, left: &Tile, row: usize, inner: usize, right: &Tile) {
        let factor = if TRANSPOSED { left[inner].0[row] } else { left[row].0[inner] };
        for (sums, values) in self.0.iter_mut().zip(right[inner].0.as_chunks::<GROUP>().0) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = factor.mul_add(*value, *sum);
            }
        }
    }

    #[inline(always)]
    fn write(&self, strip: &mut Strip) {
        strip.0.as_chunks_mut::<GROUP>().0[..GROUPS].copy_from_slice(&self.0);
    }
}

/// Takes the place of the lowest one out of `bits`, which has one.
#[inline(always)]
fn take_lowest(bits: &mut u64) -> usize {
    let place = bits.trailing_zeros() as usize % TILE;
    *bits &= *bits - 1;
    place
}

#[inline(always)]
fn find(strips: &[Strip], mask: &mut Mask) {
    for (bits, strip) in mask.iter_mut().zip(strips) {
        *bits = 0;
        for (lane, value) in strip.0.iter().enumerate() {
            *bits |= u64::from(*value != 0.0) << lane;
        }
    }
    mask[strips.len()..].fill(0);
}

#[inline(always)]
fn add_strips(sum: &mut Strip, strips: &[Strip]) {
    let mut total = *sum;
    for strip in strips {
        for (total, value) in total.0.iter_mut().zip(&strip.0) {
            *total += value;
        }
    }
    *sum = total;
}

/// Transposes a matrix of bits: swaps the off-diagonal blocks of 32 x 32, then those of 16 x 16 within each, and so on.
///
/// Warren, Hacker's Delight, 2nd edition, section 7-3.
#[inline(always)]
fn transpose_bits(bits: &mut Mask) {
    swap_blocks::<32>(bits);
    swap_blocks::<16>(bits);
    swap_blocks::<8>(bits);
    swap_blocks::<4>(bits);
    swap_blocks::<2>(bits);
    swap_blocks::<1>(bits);
}

#[inline(always)]
fn swap_blocks<const WIDTH: usize>(bits: &mut Mask) {
    // Ones in the lower half of every `2 * WIDTH` bits.
    let low = u64::MAX / ((1 << WIDTH) + 1);
    for rows in bits.chunks_exact_mut(2 * WIDTH) {
        let (upper, lower) = rows.split_at_mut(WIDTH);
        for (upper, lower) in upper.iter_mut().zip(lower) {
            let swapped = (*upper >> WIDTH ^ *lower) & low;
            *upper ^= swapped << WIDTH;
            *lower ^= swapped;
        }
    }
}
