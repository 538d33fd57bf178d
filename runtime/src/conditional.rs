//! A small stack of layers on `[h, theta]`: what the trunk made of an observation, and a point of theta.
//!
//! ```text
//! once an observation   data = W_h h + b                     an output layer of the trunk, carried to a common grid
//! at each point         z_1 = data + W_theta theta           i32 sums; their parts are proved to fit
//!                       a_l = bent(z_l), z_(l+1) = W a_l + b  i16 on grids of a power of two a unit
//!                       out = W a + b                        accumulators
//! ```

use heapless::Vec;

use crate::artifact::{Conditional, Layer, Layout, MAX_CONDITIONAL_LAYERS, MAX_THETA, Model};
use crate::dense::DenseShape;
use crate::kernel::{self, Dense, Ending, MAX_BEND, PART_LIMIT, Stream, Weights, halves_mut};
use crate::math;
use crate::network::Inference;

/// How the weights of a stack's layers lie, whatever the layout of the trunk's: their values have more than eight bits.
pub(crate) const LAYOUT: Layout = Layout::Pairs;

const WEIGHTS: Weights = Weights { layout: LAYOUT, wide_inputs: true };

/// A theta on the grid of a stack.
pub(crate) type Point = Vec<i16, MAX_THETA>;

/// Values of theta as stored: rounded up to a multiple of two.
pub(crate) fn padded_theta(d: usize) -> usize {
    d.next_multiple_of(2)
}

/// The layers, read from the manifest that [`Model::from_bytes`] proved.
#[derive(Debug, Clone)]
pub(crate) struct Stack<'a> {
    theta: &'a [u8],
    grid: f32,
    q_max: i16,
    ending: Ending,
    hidden: Vec<(Dense<'a>, u32), MAX_CONDITIONAL_LAYERS>,
    output: Dense<'a>,
}

impl<'a> Stack<'a> {
    /// `d_first`: outputs of the split layer.
    pub(crate) fn new(model: &Model<'a>, record: &Conditional<'a>, d_first: u16) -> Option<Self> {
        let mut hidden = Vec::new();
        let mut d_input = d_first;
        for layer in record.hidden.iter() {
            let stream = Stream::new(model.section(layer.stream))?;
            let dense = Dense::new(stream, layer.shape(), WEIGHTS, (layer.low, layer.high))?;
            hidden.push((dense, bend_of(&layer)?)).ok()?;
            d_input = layer.d_output;
        }
        let shape = DenseShape { d_input, d_output: record.output.d_output };
        let stream = Stream::new(model.section(record.output.stream))?;
        Some(Stack {
            theta: model.section(record.theta),
            grid: record.grid,
            q_max: record.q_max,
            ending: ending(record)?,
            hidden,
            output: Dense::new(stream, shape, WEIGHTS, (0, 0))?,
        })
    }

    /// A standardized value on the grid of theta.
    pub(crate) fn quantize(&self, z: f32) -> i16 {
        let limit = i32::from(self.q_max);
        let nearest = math::nearest_i32(z * self.grid);
        i16::try_from(nearest.min(limit).max(limit.wrapping_neg())).unwrap_or(0)
    }

    /// The standardized value of a point of the grid.
    pub(crate) fn standardized(&self, q: i16) -> f32 {
        f32::from(q) / self.grid
    }

    /// Real value of a unit of an output's accumulator.
    pub(crate) fn scale(&self, row: usize) -> f32 {
        self.output.scale(row)
    }

    /// Accumulators of the outputs at one theta. `theta` is rounded up to a multiple of two with zeros.
    pub(crate) fn run<'w>(&self, work: &'w mut Work<'_>, theta: &[i16]) -> &'w [i32] {
        let Work { data, a, b, out, .. } = work;
        kernel::conditional(data, self.theta, theta, self.ending, halves_mut(a));
        let (mut from, mut to) = (&mut **a, &mut **b);
        for (layer, bend) in &self.hidden {
            layer.run(from, to);
            let outputs = halves_mut(to).get_mut(..layer.places()).unwrap_or(&mut []);
            kernel::bend_all(outputs, *bend);
            core::mem::swap(&mut from, &mut to);
        }
        self.output.accumulate(from, out);
        out
    }
}

impl<'a> Inference<'_, '_, 'a> {
    /// The stack of the head at a position, and its memory with what the observation adds to the first layer's sums.
    pub(crate) fn stack(
        &mut self,
        position: usize,
        d_first: u16,
        record: &Conditional<'a>,
        sharpened: bool,
    ) -> Option<(Stack<'a>, Work<'_>)> {
        let stack = Stack::new(self.model, record, d_first)?;
        let work = Work::new(self.work, record, d_first, sharpened)?;
        let (dense, outputs) = Inference::outputs_of(self.model, self.outputs, position)?;
        // The rows that fill the last block have no weights, so no reader.
        work.data.fill(0);
        for ((data, acc), row) in work.data.iter_mut().zip(outputs).zip(0..) {
            *data = kernel::data_part(*acc, dense.multiplier(row));
        }
        work.plain.iter_mut().zip(&*work.data).for_each(|(plain, data)| *plain = *data);
        Some((stack, work))
    }
}

/// What the data adds to a row's sum, real.
pub(crate) fn data_value(layer: &Dense<'_>, stack: &Conditional<'_>, row: usize, acc: i32) -> f32 {
    let data = kernel::data_part(acc, layer.multiplier(row));
    math::float(data) / math::float_u64(1_u64.wrapping_shl(stack.fraction.into()))
}

/// The memory of a stack: what the data adds to each sum, two layers' values, and the outputs.
#[derive(Debug)]
pub(crate) struct Work<'s> {
    pub data: &'s mut [i32],
    /// The data as it is where a flow's steps look at it more closely; else empty.
    plain: &'s mut [i32],
    a: &'s mut [u32],
    b: &'s mut [u32],
    out: &'s mut [i32],
}

impl<'s> Work<'s> {
    /// Splits scratch of [`words`]; `None` where it is shorter. `sharpened`: whether [`Work::sharpen`] will be asked for.
    pub(crate) fn new(
        scratch: &'s mut [u32],
        record: &Conditional<'_>,
        d_first: u16,
        sharpened: bool,
    ) -> Option<Self> {
        let (first, widest, outputs) = widths(record, d_first);
        let (data, rest) = scratch.split_at_mut_checked(first)?;
        let (plain, rest) = rest.split_at_mut_checked(if sharpened { first } else { 0 })?;
        let (a, rest) = rest.split_at_mut_checked(widest.wrapping_shr(1))?;
        let (b, rest) = rest.split_at_mut_checked(widest.wrapping_shr(1))?;
        let (out, _) = rest.split_at_mut_checked(outputs)?;
        let data = bytemuck::try_cast_slice_mut(data).ok()?;
        let plain = bytemuck::try_cast_slice_mut(plain).ok()?;
        let out = bytemuck::try_cast_slice_mut(out).ok()?;
        // The first layer writes as many values as it has rows; what lies behind is never read.
        Some(Work { data, plain, a, b, out })
    }

    /// What the data adds from now on: its plain part times `sharpness / 2^20`.
    pub(crate) fn sharpen(&mut self, sharpness: i32) {
        for (data, plain) in self.data.iter_mut().zip(&*self.plain) {
            *data = kernel::data_part(*plain, sharpness);
        }
    }
}

/// Words of scratch that a stack works in; `sharpened` as for [`Work::new`].
pub(crate) fn words(record: &Conditional<'_>, d_first: u16, sharpened: bool) -> usize {
    let (first, widest, outputs) = widths(record, d_first);
    let plain = if sharpened { first } else { 0 };
    first.saturating_add(plain).saturating_add(widest).saturating_add(outputs)
}

/// Places of the first layer, of the widest one, and of the outputs; multiples of four.
fn widths(record: &Conditional<'_>, d_first: u16) -> (usize, usize, usize) {
    let first = crate::dense::padded(d_first);
    let later = record.hidden.iter().map(|layer| layer.shape().padded_output());
    (first, later.fold(first, usize::max), crate::dense::padded(record.output.d_output))
}

/// Fraction bits of a bent layer, whose lower clamp is minus one unit.
pub(crate) fn bend_of(layer: &Layer) -> Option<u32> {
    bend(layer.low, layer.high)
}

/// The bits of `-low`, a power of two not above `high`.
fn bend(low: i16, high: i16) -> Option<u32> {
    let one = low.checked_neg()?;
    let bits = one.checked_ilog2()?;
    let sound = one.count_ones() == 1 && (1..=MAX_BEND).contains(&bits) && one <= high;
    sound.then_some(bits)
}

/// How the split layer ends.
pub(crate) fn ending(record: &Conditional<'_>) -> Option<Ending> {
    let bend = bend(record.low, record.high)?;
    let shift = u32::from(record.fraction).checked_sub(bend)?;
    (1..=28).contains(&shift).then_some(Ending { shift, bend, high: record.high })
}

/// First row of theta's weights whose products could leave [`PART_LIMIT`], if any.
pub(crate) fn first_unbounded_row(weights: &[u8], d: usize, q_max: u16) -> Option<u16> {
    let limit = u32::try_from(PART_LIMIT).unwrap_or(0);
    let most = limit.checked_div(q_max.into()).unwrap_or(0);
    let row_bytes = padded_theta(d).saturating_mul(2).max(2);
    let sum = |row: &[u8]| {
        let each = row.as_chunks::<2>().0.iter();
        each.map(|w| u32::from(i16::from_le_bytes(*w).unsigned_abs())).fold(0, u32::saturating_add)
    };
    let mut rows = (0_u16..).zip(weights.chunks_exact(row_bytes));
    rows.find(|(_, row)| sum(row) > most).map(|(row, _)| row)
}

/// Zeros for a theta of `d` values, rounded up.
pub(crate) fn origin(d: usize) -> Point {
    crate::first_items((0..padded_theta(d)).map(|_| 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bend_is_a_power_of_two_below_the_upper_clamp() {
        assert_eq!(bend(-512, 3_000), Some(9));
        assert_eq!(bend(-512, 512), Some(9));
        for (low, high) in [(-512, 511), (-511, 3_000), (0, 3_000), (512, 3_000), (-1, 9)] {
            assert_eq!(bend(low, high), None, "{low} {high}");
        }
        assert_eq!(bend(i16::MIN, i16::MAX), None);
        assert_eq!(bend(-16_384, 16_384), None);
    }

    #[test]
    fn rows_of_theta_are_bounded() {
        let bytes: std::vec::Vec<u8> =
            [32_767_i16, 0, 32_767, -32_767].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(first_unbounded_row(&bytes, 2, 8_191), None);
        assert_eq!(first_unbounded_row(&bytes, 2, 8_193), Some(1));
        assert_eq!(first_unbounded_row(&bytes, 1, 16_385), Some(0));
    }
}
