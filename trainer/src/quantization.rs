//! From a float network to integers, with the proof that no accumulator overflows.
//!
//! Weights are `i8`, one scale a row (range -127..=127, zero point 0). Activations are `i16` on a symmetric or
//! non-negative grid. A layer's grid is as fine as the proof lets it be: its largest value `q_max` is the largest for
//! which `max over the rows that read it of sum |w| * q_max` stays below [`Layout::sum_limit`], so narrow networks get 10 to 12
//! bits where a fixed width would give 8.
//!
//! In [`Layout::Bytes`] hidden activations have 256 levels, stored less 128. Biases hold both ends of that: `128 sum w` more where
//! such activations are read, and where they are made the accumulator's 128 levels less.

use nalgebra::DMatrix;
use simground_runtime::artifact::Layout;
use simground_runtime::{kernel, row_bound};

use crate::network::{Dense, FloatNetwork, Tail};
use crate::standardization::Z_MAX;
use crate::training::Grid;

/// Room above the largest hidden activation seen in range estimation, so that an unusual observation is not folded
/// back onto a usual one.
const HEADROOM: f32 = 1.25;

/// Smallest multiplier where biases hold 128 levels of the next grid: `128 * 2^32 / 1024` is half of [`kernel::BIAS_LIMIT`].
const MULTIPLIER_MIN: f64 = 1_024.0;

/// A layer in integers.
#[derive(Debug, Clone, PartialEq)]
pub struct IntegerLayer {
    /// Inputs.
    pub d_input: usize,
    /// Outputs.
    pub d_output: usize,
    /// `[d_output, d_input]`.
    pub weight: Vec<i8>,
    /// In units of the accumulator.
    pub bias: Vec<i32>,
    /// What ends the layer.
    pub ending: Ending,
}

/// What a layer does with its accumulators.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Rescales them to the next grid: multipliers (`m * 2^32`) and clamps.
    Requantize {
        /// One a row.
        multiplier: Vec<i32>,
        /// Lower clamp.
        low: i16,
        /// Upper clamp.
        high: i16,
    },
    /// Keeps them; a row's real value is its accumulator times its scale.
    Keep {
        /// One a row.
        scale: Vec<f32>,
    },
    /// Keeps them; the multiplier (`m * 2^20`) carries them to the sums of a stack's first layer.
    Carry {
        /// One a row.
        multiplier: Vec<i32>,
    },
}

/// The whole network in integers.
#[derive(Debug, Clone, PartialEq)]
pub struct IntegerNetwork {
    /// How the weights lie, and how wide hidden activations are.
    pub layout: Layout,
    /// Largest magnitude of a quantized input; stands for [`Z_MAX`].
    pub q_max: i16,
    /// Hidden layers.
    pub trunk: Vec<IntegerLayer>,
    /// Heads, in order.
    pub heads: Vec<IntegerLayer>,
    /// From the last hidden layer to the bank's space.
    pub embedding: IntegerLayer,
    /// Stacks that go on from heads and read theta.
    pub tails: Vec<IntegerTail>,
}

/// A [`Tail`] in integers; [`Conditional`](simground_runtime::artifact::Conditional) says what each number means.
#[derive(Debug, Clone, PartialEq)]
pub struct IntegerTail {
    /// Position of the head.
    pub head: usize,
    /// Width of theta.
    pub d_theta: usize,
    /// `[outputs of the head, d_theta]`.
    pub theta: Vec<i16>,
    /// Grid points of theta in a standardized unit.
    pub grid: f32,
    /// Fraction bits of the first layer's sums.
    pub fraction: u8,
    /// Lower clamp of the first layer.
    pub low: i16,
    /// Upper clamp of the first layer.
    pub high: i16,
    /// Further hidden layers.
    pub hidden: Vec<IntegerLayer>,
    /// The last layer.
    pub output: IntegerLayer,
}

/// How the layers of a stack lie, whatever the layout of the trunk's: more than eight bits are worth their bytes in a surface.
pub const TAIL_LAYOUT: Layout = Layout::Pairs;

/// Largest magnitude of a theta on a stack's grid.
pub const THETA_MAX: i16 = 8_191;

/// Why a network cannot be quantized.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum QuantizationError {
    /// A layer so wide, or with so large a bias, that its grid would have fewer than four bits.
    #[error("{layer} cannot be quantized: {reason}\nhint: {hint}")]
    Unquantizable {
        /// Which layer.
        layer: String,
        /// What is wrong.
        reason: String,
        /// What helps.
        hint: String,
    },
}

/// What a layer reads, over held-out simulations.
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    /// Rows seen.
    count: usize,
    /// Largest value.
    max: f32,
    /// Mean of each value.
    mean: Vec<f64>,
    /// Second moments of the values and of a constant 1 behind them: `E[(x, 1) (x, 1)^T]`; none of more than [`WIDEST`] values.
    moments: Option<DMatrix<f64>>,
}

/// Values of which second moments are taken: their inverse costs the cube of their number, minutes of 4,096.
const WIDEST: usize = 1_024;
/// Part of the mean square of what a layer reads that is added to each, where rows are many.
const DAMPING: f64 = 1e-3;

impl Activations {
    /// Of rows `[n, d]`.
    fn of(rows: &[f32], d: usize) -> Activations {
        let count = (rows.len() / d).max(1);
        let n = count as f64;
        let max = rows.iter().copied().fold(0.0, f32::max);
        let mut mean = vec![0.0; d];
        for row in rows.chunks_exact(d) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x) / n);
        }
        if d > WIDEST {
            return Activations { count, max, mean, moments: None };
        }
        let mut moments = DMatrix::<f64>::zeros(d + 1, d + 1);
        for row in rows.chunks_exact(d) {
            for i in 0..d {
                for j in 0..=i {
                    moments[(i, j)] += f64::from(row[i]) * f64::from(row[j]) / n;
                }
            }
        }
        (0..d).for_each(|i| moments[(d, i)] = mean[i]);
        moments[(d, d)] = 1.0;
        moments.fill_upper_triangle_with_lower_triangle();
        Activations { count, max, mean, moments: Some(moments) }
    }

    /// How errors of rounding move; nothing without second moments.
    fn compensation(&self) -> Option<Compensation> {
        let moments = self.moments.as_ref()?;
        let d = moments.nrows() - 1;
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|&a, &b| moments[(b, b)].total_cmp(&moments[(a, a)]));
        let place = |at: usize| order.get(at).copied().unwrap_or(d);
        let mut ordered = DMatrix::from_fn(d + 1, d + 1, |i, j| moments[(place(i), place(j))]);
        // A part of the mean square keeps the inverse tame where inputs hardly vary, or were seen in few rows.
        let damping = DAMPING * (1.0 + 10.0 * d as f64 / self.count as f64);
        let damping = damping * ordered.trace() / (d + 1) as f64;
        (0..=d).for_each(|i| ordered[(i, i)] += damping);
        let inverse = ordered.cholesky()?.inverse();
        Some(Compensation { order, factor: inverse.cholesky()?.l().transpose() })
    }

    /// Independent values of unit size around 0: for a network that exists by its shape alone.
    pub fn unknown(d: usize) -> Activations {
        Activations { count: 1, max: 1.0, mean: vec![0.0; d], moments: None }
    }
}

/// What a stack reads, over held-out pairs of an observation and a theta.
#[derive(Debug, Clone, PartialEq)]
pub struct TailRanges {
    /// Largest magnitude of a standardized theta.
    theta: f32,
    /// Largest magnitude of what the data adds to the first layer.
    data: f32,
    /// Outputs of each hidden layer.
    hidden: Vec<Activations>,
}

/// What every layer reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges {
    /// Of each layer of the trunk, and last of the heads.
    layers: Vec<Activations>,
    /// Of each stack.
    tails: Vec<TailRanges>,
}

impl Ranges {
    /// The same with the grids of activations that `others` give.
    pub fn on_grids_of(mut self, others: &Ranges) -> Ranges {
        for (own, other) in self.layers.iter_mut().zip(&others.layers) {
            own.max = other.max;
        }
        self
    }

    /// For a network that exists by its shape alone.
    pub fn unknown(network: &FloatNetwork) -> Ranges {
        let inputs = network.trunk.iter().map(|layer| layer.d_input);
        let layers = inputs.chain([network.d_embed()]).map(Activations::unknown).collect();
        let of = |tail: &Tail| TailRanges {
            theta: 1.0,
            data: 1.0,
            hidden: tail.layers.iter().map(|layer| Activations::unknown(layer.d_input)).collect(),
        };
        Ranges { layers, tails: network.tails.iter().map(of).collect() }
    }
}

/// How errors of rounding are made up for.
struct Compensation {
    /// Inputs in the order in which their weights are rounded; the bias comes behind them.
    order: Vec<usize>,
    /// Upper factor `U` of the inverse moments in that order, `H^-1 = U^T U`: row `i` tells how the error of weight `i` is best made up
    /// by those behind it.
    factor: DMatrix<f64>,
}

/// Int8 rows before activations have a grid.
#[derive(Clone)]
struct Rows {
    weight: Vec<i8>,
    /// Real value of a unit of weight, one a row.
    scale: Vec<f64>,
    /// Biases, with what rounding did to the mean taken back.
    bias: Vec<f64>,
}

impl Rows {
    /// Rounds weight after weight, each time moving the error that this makes on the held-out activations into the weights not
    /// yet rounded, and at last into the bias (Frantar et al. 2022, GPTQ, <https://arxiv.org/abs/2210.17323>, section 3). The
    /// smallest activations come last, where an error finds no other weight to go to and does least. Without second moments the
    /// bias alone makes up for it, in the mean.
    fn new(dense: &Dense, activations: &Activations) -> Rows {
        let d = dense.d_input;
        let plan = activations.compensation();
        let mut rows = Rows { weight: Vec::new(), scale: Vec::new(), bias: Vec::new() };
        for (row, bias) in dense.weight.chunks_exact(d).zip(&dense.bias) {
            let largest = row.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
            let scale = if largest > 0.0 { f64::from(largest) / 127.0 } else { 1.0 };
            let round = |w: f64| (w / scale).round().clamp(-127.0, 127.0);
            let mut bias = f64::from(*bias);
            let first = rows.weight.len();
            rows.weight.resize(first + d, 0);
            let weights = &mut rows.weight[first..];
            match &plan {
                None => {
                    for ((q, w), mean) in weights.iter_mut().zip(row).zip(&activations.mean) {
                        let w = f64::from(*w);
                        *q = round(w) as i8;
                        bias += (w - f64::from(*q) * scale) * mean;
                    }
                }
                Some(Compensation { order, factor }) => {
                    let mut left: Vec<f64> = order.iter().map(|&at| f64::from(row[at])).collect();
                    left.push(bias);
                    for (at, &input) in order.iter().enumerate() {
                        let q = round(left[at]);
                        weights[input] = q as i8;
                        let error = (left[at] - q * scale) / factor[(at, at)];
                        for (after, weight) in left.iter_mut().enumerate().skip(at + 1) {
                            *weight -= error * factor[(at, after)];
                        }
                    }
                    bias = left[d];
                }
            }
            rows.scale.push(scale);
            rows.bias.push(bias);
        }
        rows
    }

    /// The same rows, with multipliers of [`MULTIPLIER_MIN`] or more: a row of tinier weights, whose sum is hardly a level of the
    /// next grid, has fewer levels of them.
    fn with_multipliers(&self, unit: f64, next: f64) -> Rows {
        let mut rows = self.clone();
        let d_input = rows.weight.len() / rows.scale.len();
        for (scale, weights) in rows.scale.iter_mut().zip(rows.weight.chunks_exact_mut(d_input)) {
            let times = (MULTIPLIER_MIN / (*scale * unit / next * 2_f64.powi(32))).ceil();
            if times > 1.0 {
                *scale *= times;
                for w in weights {
                    *w = (f64::from(*w) / times).round() as i8;
                }
            }
        }
        rows
    }

    /// What reading activations less `zero` takes from a row's accumulator.
    fn shift(&self, row: usize, zero: i32) -> f64 {
        let d_input = self.weight.len() / self.scale.len();
        let weights = &self.weight[row * d_input..(row + 1) * d_input];
        f64::from(zero) * weights.iter().map(|w| f64::from(*w)).sum::<f64>()
    }

    /// Largest `sum |w|` of a row.
    fn largest_sum(&self, d_input: usize) -> u64 {
        self.weight
            .chunks_exact(d_input)
            .map(|row| row_bound(row.iter().copied(), 1))
            .max()
            .unwrap_or(0)
    }
}

/// Largest magnitude on a grid that all of `readers` can accumulate.
fn widest_grid(layout: Layout, readers: &[(&Rows, usize)]) -> i16 {
    let sum = readers.iter().map(|(rows, d)| rows.largest_sum(*d)).max().unwrap_or(0).max(1);
    i16::try_from((u64::from(layout.sum_limit()) - 1) / sum).unwrap_or(i16::MAX)
}

/// What a hidden activation of zero is less than its stored value, and how many levels there are above it at most.
fn hidden_grid(layout: Layout) -> (i32, i16) {
    match layout {
        Layout::Pairs => (0, i16::MAX),
        Layout::Bytes => (128, 255),
    }
}

/// What a stack on `[h, theta]` reads over held-out simulations, all of them several times.
#[derive(Debug, Clone, PartialEq)]
pub struct StackInputs {
    /// `[times n, d_theta]`.
    pub points: Vec<f32>,
    /// Largest magnitude that it is to read, where that is known; else 0.
    pub reach: f32,
    /// What the data is multiplied by, each time.
    pub data_scales: Vec<f32>,
}

/// What each layer reads over rows `[n, d_input]` of held-out simulations.
///
/// `beside` is what each stack reads beside the data of the same simulations.
pub fn range_estimation(network: &FloatNetwork, inputs: &[f32], beside: &[StackInputs]) -> Ranges {
    let computed = network.forward_batch(inputs, true);
    let widths = network.trunk.iter().map(|layer| layer.d_output);
    let hidden = computed.hidden.iter().zip(widths).map(|(rows, d)| Activations::of(rows, d));
    let tails = network.tails.iter().zip(beside);
    let tails = tails.map(|(tail, beside)| tail_ranges(tail, &computed.heads[tail.head], beside));
    Ranges {
        tails: tails.collect(),
        layers: [Activations::of(inputs, network.d_input())].into_iter().chain(hidden).collect(),
    }
}

fn tail_ranges(tail: &Tail, data: &[f32], beside: &StackInputs) -> TailRanges {
    let StackInputs { points, reach, data_scales } = beside;
    let largest = |values: &[f32]| values.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
    let scaled = |scale: &f32| data.iter().map(|value| value * scale).collect::<Vec<f32>>();
    let data = data_scales.iter().flat_map(scaled).collect::<Vec<f32>>();
    let hidden = tail.forward(&data, points).0;
    let widths = tail.layers.iter().map(|layer| layer.d_input);
    TailRanges {
        theta: largest(points).max(*reach).max(1e-6),
        data: largest(&data),
        hidden: hidden.iter().zip(widths).map(|(rows, d)| Activations::of(rows, d)).collect(),
    }
}

/// Quantizes network and embedding.
///
/// `ranges` is what [`range_estimation`] found. `embedding` maps the last hidden layer to the bank's space, in units of the
/// bank's grid.
///
/// # Errors
///
/// [`QuantizationError`] for a layer whose accumulators cannot be bounded on a useful grid.
pub fn quantize(
    network: &FloatNetwork,
    ranges: &Ranges,
    embedding: &Dense,
    layout: Layout,
) -> Result<IntegerNetwork, QuantizationError> {
    let activations = &ranges.layers;
    let layers = network.trunk.iter().zip(activations);
    let trunk: Vec<Rows> = layers.map(|(dense, read)| Rows::new(dense, read)).collect();
    let read = &activations[network.trunk.len()];
    let heads: Vec<Rows> = network.heads.iter().map(|dense| Rows::new(dense, read)).collect();
    let embedding_rows = Rows::new(embedding, read);
    let last: Vec<(&Rows, usize)> =
        heads.iter().chain([&embedding_rows]).map(|rows| (rows, embedding.d_input)).collect();

    // What reads the output of stage `at`: stage 0 is the input, stage `i` the trunk's layer `i - 1`.
    let grid = |at: usize| match trunk.get(at) {
        Some(rows) => widest_grid(layout, &[(rows, network.trunk[at].d_input)]),
        None => widest_grid(layout, &last),
    };
    let (zero, levels) = hidden_grid(layout);
    let q_max = grid(0);
    check_grid("the first layer", q_max)?;
    let mut unit = f64::from(Z_MAX) / f64::from(q_max);
    let mut zero_read = 0;
    let mut layers = Vec::with_capacity(trunk.len());
    for (at, (dense, rows)) in network.trunk.iter().zip(&trunk).enumerate() {
        let name = format!("trunk layer {at}");
        let range = f64::from(hidden_range(&activations[at + 1]));
        let mut high = grid(at + 1).min(levels);
        check_grid(&name, high)?;
        // A multiplier stands for less than 1/2: a coarser grid where the accumulator is coarser still.
        let coarsest = rows.scale.iter().fold(0.0_f64, |m, s| m.max(*s)) * unit;
        let finest = (0.49 * range / coarsest).floor();
        if finest < f64::from(high) {
            high = finest.max(1.0) as i16;
        }
        let next = range / f64::from(high);
        let rows = &if zero == 0 { rows.clone() } else { rows.with_multipliers(unit, next) };
        let multiplier = multipliers(rows, unit, next);
        let offset = |row: usize| {
            let made = f64::from(zero) * 2_f64.powi(32) / f64::from(multiplier[row].max(1));
            rows.shift(row, zero_read) - made.round()
        };
        let bias = biases(&name, rows, unit, offset)?;
        let (low, high) = (-zero as i16, high - zero as i16);
        layers.push(IntegerLayer {
            d_input: dense.d_input,
            d_output: dense.d_output,
            weight: rows.weight.clone(),
            bias,
            ending: Ending::Requantize { multiplier, low, high },
        });
        (unit, zero_read) = (next, zero);
    }
    let output = |(dense, (at, rows)): (&Dense, (usize, &Rows))| {
        Ok(IntegerLayer {
            d_input: dense.d_input,
            d_output: dense.d_output,
            weight: rows.weight.clone(),
            bias: biases(&format!("head {at}"), rows, unit, |row| rows.shift(row, zero_read))?,
            ending: Ending::Keep { scale: rows.scale.iter().map(|s| (s * unit) as f32).collect() },
        })
    };
    let limit = simground_runtime::artifact::EMBEDDING_LIMIT;
    let outputs = network.heads.iter().zip(heads.iter().enumerate()).map(output);
    let mut outputs = outputs.collect::<Result<Vec<IntegerLayer>, _>>()?;
    let mut tails = Vec::new();
    for (tail, ranges) in network.tails.iter().zip(&ranges.tails) {
        let scales: Vec<f64> = heads[tail.head].scale.iter().map(|scale| scale * unit).collect();
        let (tail, multiplier) = quantize_tail(tail, ranges, &scales)?;
        outputs[tail.head].ending = Ending::Carry { multiplier };
        tails.push(tail);
    }
    Ok(IntegerNetwork {
        layout,
        q_max,
        heads: outputs,
        tails,
        embedding: IntegerLayer {
            d_input: embedding.d_input,
            d_output: embedding.d_output,
            bias: biases("the embedding", &embedding_rows, unit, |row| {
                embedding_rows.shift(row, zero_read)
            })?,
            ending: Ending::Requantize {
                multiplier: multipliers(&embedding_rows, unit, 1.0),
                low: -limit,
                high: limit,
            },
            weight: embedding_rows.weight,
        },
        trunk: layers,
    })
}

/// The values that the inputs and the outputs of each hidden layer may have, in the float network's units.
///
/// `ranges` are those that the network was quantized with.
pub fn grids(integers: &IntegerNetwork, ranges: &Ranges) -> Vec<Grid> {
    let inputs = Grid { unit: Z_MAX / f32::from(integers.q_max), low: -Z_MAX, high: Z_MAX };
    let hidden = integers.trunk.iter().zip(&ranges.layers[1..]).map(|(layer, read)| {
        let levels = match layer.ending {
            Ending::Requantize { low, high, .. } => f32::from(high) - f32::from(low),
            Ending::Keep { .. } | Ending::Carry { .. } => f32::from(i16::MAX),
        };
        let high = hidden_range(read);
        Grid { unit: high / levels, low: 0.0, high }
    });
    [inputs].into_iter().chain(hidden).collect()
}

/// Largest output of a hidden layer that has an integer of its own.
fn hidden_range(read: &Activations) -> f32 {
    (read.max * HEADROOM).max(1e-6)
}

/// A stack in integers, and the multipliers that carry the accumulators of its head, whose units are `scales`, to its first layer.
fn quantize_tail(
    tail: &Tail,
    ranges: &TailRanges,
    scales: &[f64],
) -> Result<(IntegerTail, Vec<i32>), QuantizationError> {
    let layers = tail.layers.iter().zip(&ranges.hidden);
    let rows: Vec<Rows> = layers.map(|(dense, read)| Rows::new(dense, read)).collect();
    let name = |at: usize| format!("layer {at} of the stack on theta");
    let (first, q_max) = (ranges.hidden[0].max, f64::from(THETA_MAX));
    let (mut bend, mut high) =
        bent_grid(&name(1), &rows[0], &tail.layers[0], first, f64::INFINITY)?;
    let grid = q_max / f64::from(ranges.theta);
    let fraction = first_fraction(tail, ranges, scales, grid, bend);
    let unit = 2_f64.powi(fraction as i32);
    let carry = |scale: &f64| (scale * unit * f64::from(1 << kernel::DATA_FRACTION)).round() as i32;
    let mut stack = IntegerTail {
        head: tail.head,
        d_theta: tail.d_theta,
        theta: tail.theta.iter().map(|w| (f64::from(*w) * unit / grid).round() as i16).collect(),
        grid: grid as f32,
        fraction: fraction as u8,
        low: -(1 << bend),
        high,
        hidden: Vec::new(),
        output: IntegerLayer {
            d_input: 0,
            d_output: 0,
            weight: Vec::new(),
            bias: Vec::new(),
            ending: Ending::Keep { scale: Vec::new() },
        },
    };
    for (at, (dense, own)) in tail.layers.iter().zip(&rows).enumerate() {
        let read = 2_f64.powi(-(bend as i32));
        let ending = match rows.get(at + 1) {
            Some(readers) => {
                // A multiplier stands for less than 1/2.
                let coarsest = own.scale.iter().fold(0.0_f64, |max, scale| max.max(*scale)) * read;
                let most = 0.49 / coarsest;
                let (dense, max) = (&tail.layers[at + 1], ranges.hidden[at + 1].max);
                (bend, high) = bent_grid(&name(at + 2), readers, dense, max, most)?;
                let next = 2_f64.powi(-(bend as i32));
                let multiplier = multipliers(own, read, next);
                Ending::Requantize { multiplier, low: -(1 << bend), high }
            }
            None => Ending::Keep { scale: own.scale.iter().map(|s| (s * read) as f32).collect() },
        };
        let layer = IntegerLayer {
            d_input: dense.d_input,
            d_output: dense.d_output,
            weight: own.weight.clone(),
            bias: biases(&name(at + 1), own, read, |_| 0.0)?,
            ending,
        };
        if at + 1 < rows.len() {
            stack.hidden.push(layer);
        } else {
            stack.output = layer;
        }
    }
    Ok((stack, scales.iter().map(carry).collect()))
}

/// Bits of a unit, and the upper clamp, of values up to `max` that `rows` read: as fine as the proof allows, and at most `most` points a unit.
fn bent_grid(
    layer: &str,
    rows: &Rows,
    dense: &Dense,
    max: f32,
    most: f64,
) -> Result<(u32, i16), QuantizationError> {
    let high = widest_grid(TAIL_LAYOUT, &[(rows, dense.d_input)]);
    check_grid(layer, high)?;
    let range = f64::from((max * HEADROOM).max(1.0));
    let bits = (f64::from(high) / range).min(most).log2().floor();
    if bits >= 1.0 {
        return Ok(((bits as u32).min(kernel::MAX_BEND), high));
    }
    Err(QuantizationError::Unquantizable {
        layer: layer.into(),
        reason: format!("its inputs reach {range:.0} on a grid of {high} points"),
        hint: "use narrower layers in the head, or train with more weight decay".into(),
    })
}

/// Fraction bits of a stack's first sums: as many as keep theta's weights and both parts of a sum in bounds.
fn first_fraction(tail: &Tail, ranges: &TailRanges, scales: &[f64], grid: f64, bend: u32) -> u32 {
    let limit = f64::from(kernel::PART_LIMIT);
    let sum = |row: &[f32]| row.iter().map(|w| f64::from(w.abs())).sum::<f64>();
    let sums = tail.theta.chunks_exact(tail.d_theta).map(sum).fold(0.0, f64::max);
    let weight = tail.theta.iter().fold(0.0_f64, |max, w| max.max(f64::from(w.abs())));
    let scale = scales.iter().copied().fold(0.0, f64::max);
    // Rounding adds half a point to each weight.
    let rounding = tail.d_theta as f64;
    let fits = |fraction: u32| {
        let unit = 2_f64.powi(fraction as i32);
        (sums * unit / grid + rounding) * f64::from(THETA_MAX) <= limit
            && weight * unit / grid + 1.0 <= f64::from(i16::MAX)
            && f64::from(ranges.data * HEADROOM) * unit <= limit
            && scale * unit * f64::from(1 << kernel::DATA_FRACTION) < f64::from(i32::MAX)
    };
    (bend + 1..=bend + 28).rev().find(|fraction| fits(*fraction)).unwrap_or(bend + 1)
}

fn check_grid(layer: &str, q_max: i16) -> Result<(), QuantizationError> {
    if q_max >= 15 {
        return Ok(());
    }
    Err(QuantizationError::Unquantizable {
        layer: layer.into(),
        reason: format!("its inputs would be left with {q_max} levels a side"),
        hint: "use a narrower layer below it".into(),
    })
}

/// Biases in units of the accumulator, and `offset` of each row's number more.
fn biases(
    layer: &str,
    rows: &Rows,
    unit: f64,
    offset: impl Fn(usize) -> f64,
) -> Result<Vec<i32>, QuantizationError> {
    let bias = |(row, (b, scale)): (usize, (&f64, &f64))| {
        let q = (b / (scale * unit)).round() + offset(row);
        if q.abs() <= f64::from(kernel::BIAS_LIMIT) {
            return Ok(q as i32);
        }
        Err(QuantizationError::Unquantizable {
            layer: layer.into(),
            reason: format!("the bias of row {row} dwarfs its weights"),
            hint: "train longer, or with weight decay".into(),
        })
    };
    rows.bias.iter().zip(&rows.scale).enumerate().map(bias).collect()
}

/// `m * 2^32` with `m` from the accumulator's unit to the next grid's.
fn multipliers(rows: &Rows, unit: f64, next: f64) -> Vec<i32> {
    let multiplier = |scale: &f64| (scale * unit / next * 4_294_967_296.0).round();
    rows.scale.iter().map(|scale| multiplier(scale).min(f64::from(i32::MAX)) as i32).collect()
}

impl IntegerLayer {
    /// The first `d_output` rows alone.
    pub fn leading(mut self, d_output: usize) -> IntegerLayer {
        self.d_output = d_output.min(self.d_output);
        self.weight.truncate(self.d_output * self.d_input);
        self.bias.truncate(self.d_output);
        match &mut self.ending {
            Ending::Requantize { multiplier, .. } | Ending::Carry { multiplier } => {
                multiplier.truncate(self.d_output);
            }
            Ending::Keep { scale } => scale.truncate(self.d_output),
        }
        self
    }

    /// The stream of blocks that the kernels read; its layout is described in [`kernel`] and [`kernel::bytes`].
    pub fn stream(&self, layout: Layout) -> Vec<u8> {
        let multiplier = |row: usize| -> [u8; 4] {
            match &self.ending {
                Ending::Requantize { multiplier, .. } | Ending::Carry { multiplier } => {
                    multiplier.get(row).copied().unwrap_or(0).to_le_bytes()
                }
                Ending::Keep { scale } => scale.get(row).copied().unwrap_or(0.0).to_le_bytes(),
            }
        };
        let bias = |row: usize| self.bias.get(row).copied().unwrap_or(0).to_le_bytes();
        let mut stream = Vec::new();
        for first in (0..self.d_output).step_by(kernel::BLOCK_ROWS) {
            let rows = first..first + kernel::BLOCK_ROWS;
            match layout {
                Layout::Pairs => {
                    self.push_pairs(first, &mut stream);
                    stream.extend(rows.clone().flat_map(bias));
                }
                Layout::Bytes => {
                    stream.extend(rows.clone().flat_map(bias));
                    self.push_bytes(first, &mut stream);
                }
            }
            stream.extend(rows.flat_map(multiplier));
        }
        stream
    }

    /// Two rows in each halfword, of the four from `first` on.
    fn push_pairs(&self, first: usize, stream: &mut Vec<u8>) {
        for column in (0..self.padded_input()).step_by(2) {
            for upper in [first, first + 2] {
                for column in [column, column + 1] {
                    let weight = |row| i16::from(self.weight(row, column));
                    stream.extend((weight(upper) * 256 + weight(upper + 1)).to_le_bytes());
                }
            }
        }
    }

    /// Row after row of each stretch of inputs, of the four from `first` on; what is no whole stretch comes first.
    fn push_bytes(&self, first: usize, stream: &mut Vec<u8>) {
        let (inputs, stretch) = (self.padded_input(), kernel::bytes::STRETCH);
        let begins = (inputs % stretch..inputs).step_by(stretch);
        let whole = begins.map(|begin| begin..begin + stretch);
        for columns in std::iter::once(0..inputs % stretch).chain(whole) {
            for row in first..first + kernel::BLOCK_ROWS {
                stream.extend(columns.clone().map(|column| self.weight(row, column) as u8));
            }
        }
    }

    fn padded_input(&self) -> usize {
        self.d_input.next_multiple_of(4)
    }

    /// A weight; zero in the padding.
    fn weight(&self, row: usize, column: usize) -> i8 {
        let inside = row < self.d_output && column < self.d_input;
        if inside { self.weight[row * self.d_input + column] } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simground_runtime::kernel::bytes::{Inputs, Outputs};
    use simground_runtime::requantize;

    fn plain(layer: &IntegerLayer, x: &[i16]) -> Vec<i64> {
        let row = |(row, bias): (&[i8], &i32)| {
            let sum: i64 = row.iter().zip(x).map(|(w, x)| i64::from(*w) * i64::from(*x)).sum();
            sum + i64::from(*bias)
        };
        layer.weight.chunks_exact(layer.d_input).zip(&layer.bias).map(row).collect()
    }

    proptest! {
        /// Packing and the kernel's unpacking are inverse: accumulators equal plain sums at any width, extremes included.
        #[test]
        fn stream_accumulates_like_plain_sums(
            d_input in 1_usize..40,
            d_output in 1_usize..11,
            seed in any::<u64>(),
            extreme in any::<bool>(),
            layout in prop_oneof![Just(Layout::Pairs), Just(Layout::Bytes)],
        ) {
            let mut state = seed | 1;
            let mut draw = |low: i64, high: i64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                low + ((state >> 33) as i64).rem_euclid(high - low + 1)
            };
            let q_max = (i64::from(layout.sum_limit()) - 1) / (127 * d_input as i64);
            let q_max = q_max.min(32_767);
            let mut extremes = |limit: i64| if extreme { if draw(0, 1) == 0 { -limit } else { limit } } else { draw(-limit, limit) };
            let weight: Vec<i8> = (0..d_input * d_output).map(|_| extremes(127) as i8).collect();
            let bias: Vec<i32> = (0..d_output).map(|_| extremes(1 << 30) as i32).collect();
            let mut x: Vec<i16> = (0..d_input).map(|_| extremes(q_max) as i16).collect();
            let scale = vec![1.0; d_output];
            let layer = IntegerLayer { d_input, d_output, weight, bias, ending: Ending::Keep { scale } };
            let expected = plain(&layer, &x);
            x.resize(d_input.next_multiple_of(4), 0);
            let mut out = vec![0; d_output.next_multiple_of(4)];
            let stream = layer.stream(layout);
            match layout {
                Layout::Pairs => kernel::dense_accumulators(&stream, &x, &mut out),
                Layout::Bytes => {
                    kernel::dense_bytes(&stream, Inputs::Halves(&x), 0, 0, Outputs::Words(&mut out))
                }
            }
            let found: Vec<i64> = out[..d_output].iter().map(|acc| i64::from(*acc)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    /// On correlated inputs the compensated rows answer closer to the float row than plain rounding does.
    #[test]
    fn compensation_beats_plain_rounding() {
        let d = 12;
        let inputs: Vec<f32> = (0..400)
            .flat_map(|row| {
                let common = ((row * 29 % 97) as f32 - 48.0) / 30.0;
                (0..d).map(move |at| common + ((row * 13 + at * 31) % 17) as f32 / 40.0)
            })
            .collect();
        let k = 32;
        let weight = (0..d * k).map(|at| ((at * 5_381 % 199) as f32 - 99.0) / 70.0).collect();
        let dense = Dense { d_input: d, d_output: k, weight, bias: vec![0.3; k] };
        let squared_error = |rows: &Rows| {
            let mut total = 0.0;
            for x in inputs.chunks_exact(d) {
                for row in 0..k {
                    let mut error = f64::from(dense.bias[row]) - rows.bias[row];
                    for (at, x) in (row * d..).zip(x) {
                        let kept = f64::from(rows.weight[at]) * rows.scale[row];
                        error += (f64::from(dense.weight[at]) - kept) * f64::from(*x);
                    }
                    total += error * error;
                }
            }
            total
        };
        let compensated = squared_error(&Rows::new(&dense, &Activations::of(&inputs, d)));
        let plain = squared_error(&Rows::new(&dense, &Activations::unknown(d)));
        assert!(compensated < 0.5 * plain, "{compensated} {plain}");
    }

    fn dense(d_input: usize, d_output: usize, value: f32) -> Dense {
        let weight = |i| if i % 3 == 0 { value } else { -value * 0.5 };
        Dense {
            d_input,
            d_output,
            weight: (0..d_input * d_output).map(weight).collect(),
            bias: vec![0.1; d_output],
        }
    }

    fn network() -> (FloatNetwork, Ranges, Vec<f32>) {
        let mut trunk = vec![dense(8, 12, 0.7), dense(12, 6, 0.2)];
        // A row that a training gave up.
        trunk[0].weight[..8].fill(1e-9);
        trunk[0].bias[0] = 0.0;
        let network = FloatNetwork { trunk, heads: vec![dense(6, 3, 1.0)], tails: Vec::new() };
        let inputs: Vec<f32> = (0..800).map(|at| ((at * 37 % 101) as f32 - 50.0) / 25.0).collect();
        let read = range_estimation(&network, &inputs, &[]);
        (network, read, inputs)
    }

    #[test]
    fn grids_stay_inside_the_proof() {
        let (network, read, _) = network();
        for (layout, least) in [(Layout::Pairs, 1_000), (Layout::Bytes, 30_000)] {
            let quantized = quantize(&network, &read, &dense(6, 4, 5.0), layout).unwrap();
            let mut x_max = quantized.q_max.unsigned_abs();
            for layer in &quantized.trunk {
                for row in layer.weight.chunks_exact(layer.d_input) {
                    let bound = row_bound(row.iter().copied(), x_max);
                    assert!(bound < layout.sum_limit().into(), "{bound}");
                }
                let Ending::Requantize { low, high, .. } = layer.ending else {
                    panic!("a hidden layer keeps accumulators")
                };
                x_max = low.unsigned_abs().max(high.unsigned_abs());
            }
            assert!(quantized.q_max > least, "{}", quantized.q_max);
        }
    }

    /// What the integers make of an input comes near to what the floats do, whatever zero is stored as.
    #[test]
    fn integers_follow_floats_in_both_layouts() {
        let (network, read, inputs) = network();
        for (layout, tolerance) in [(Layout::Pairs, 0.01), (Layout::Bytes, 0.05)] {
            let quantized = quantize(&network, &read, &dense(6, 4, 5.0), layout).unwrap();
            let grid = f32::from(quantized.q_max) / Z_MAX;
            let [head] = quantized.heads.as_slice() else { panic!("one head") };
            let Ending::Keep { scale } = &head.ending else { panic!("a head keeps accumulators") };
            for input in inputs.chunks_exact(8) {
                let mut x: Vec<i16> = input.iter().map(|x| (x * grid).round() as i16).collect();
                for layer in &quantized.trunk {
                    let Ending::Requantize { multiplier, low, high } = &layer.ending else {
                        panic!("a hidden layer keeps accumulators")
                    };
                    let acc = plain(layer, &x).into_iter().zip(multiplier);
                    x = acc.map(|(acc, m)| requantize(acc as i32, *m, *low, *high)).collect();
                }
                let found = plain(head, &x).into_iter().zip(scale).map(|(acc, s)| acc as f32 * s);
                let expected = network.forward_batch(input, false).heads;
                let spread = 3.0;
                for (found, expected) in found.zip(expected.concat()) {
                    assert!((found - expected).abs() < tolerance * spread, "{found} {expected}");
                }
            }
        }
    }
}
