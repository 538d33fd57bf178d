//! One dense layer: its shape, its stream of blocks in flash, and the proof that it cannot overflow.

use crate::artifact::Layout;
use crate::kernel;

/// Widths of a dense layer.
///
/// Both are stored rounded up to a multiple of four. The padding computes like any other row: what it
/// holds is fixed by the artifact, never by what the scratch held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenseShape {
    /// Inputs.
    pub d_input: u16,
    /// Outputs.
    pub d_output: u16,
}

impl DenseShape {
    /// Inputs, rounded up to a multiple of four.
    pub const fn padded_input(self) -> usize {
        padded(self.d_input)
    }

    /// Outputs, rounded up to a multiple of four.
    pub const fn padded_output(self) -> usize {
        padded(self.d_output)
    }

    /// Bytes of the layer's stream: a block of [`kernel::BLOCK_ROWS`] rows is its weights, then a bias and a
    /// multiplier for each row.
    pub const fn stream_bytes(self) -> usize {
        let block = kernel::block_bytes(self.padded_input());
        self.padded_output().saturating_div(kernel::BLOCK_ROWS).saturating_mul(block)
    }
}

/// A width as stored: rounded up to a multiple of four.
pub(crate) const fn padded(width: u16) -> usize {
    (width as usize).next_multiple_of(4)
}

/// Largest magnitude that the weighted sum of a row can take, bias left out: `sum |w| * max |x|`.
///
/// Must stay below [`Layout::sum_limit`]: where two rows share an accumulator, they separate exactly only while the upper
/// one fits 24 bits; where a row has it for itself, room for the bias remains.
///
/// ```
/// assert_eq!(simground_runtime::row_bound([127, -127, 3].into_iter(), 2047), 257 * 2047);
/// ```
pub fn row_bound(weights: impl Iterator<Item = i8>, x_max: u16) -> u64 {
    weights
        .map(|w| u64::from(w.unsigned_abs()))
        .fold(0, u64::saturating_add)
        .saturating_mul(u64::from(x_max))
}

/// First row of a stream whose accumulator could leave its range, if any.
pub(crate) fn first_unbounded_row(
    layout: Layout,
    stream: &[u8],
    shape: DenseShape,
    x_max: u16,
) -> Option<u16> {
    // `sum * x_max < limit` without a product that could be large.
    let most = layout.sum_limit().wrapping_sub(1).checked_div(x_max.into()).unwrap_or(u32::MAX);
    let mut row = 0_u16;
    for block in kernel::blocks(stream, shape.padded_input()) {
        for (lane, sum) in kernel::block_magnitudes(layout, block).into_iter().enumerate() {
            let bias = kernel::block_bias(layout, block, lane).unsigned_abs();
            if sum > most || bias > kernel::BIAS_LIMIT {
                return Some(row);
            }
            row = row.wrapping_add(1);
        }
    }
    None
}
