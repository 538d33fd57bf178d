//! Artifacts of fixed shapes with random weights, written without the trainer.
//!
//! A second, plain writer of the format: what it writes is read by the runtime's own proof, so the two agree or fail.

use serde::Serialize;
use simground_runtime::artifact::{
    Bank, CRC_OFFSET, Channel, Conditional, Coordinate, EMBEDDING_LIMIT, FLOW_TIMES, FlowStep,
    Head, Input, Layer, Layout, MAGIC, Manifest, Missing, OutputLayer, PRELUDE_BYTES, Parameter,
    ParameterTransform, Provenance, Records, SECTION_ALIGNMENT, Section, SelfTest, Target,
    TargetTransform, Theta, Transform, VERSION, checksum, component_outputs,
};
use simground_runtime::kernel::DATA_FRACTION;
use simground_runtime::{DenseShape, Model, kernel};

/// Largest magnitude of an activation: 12 bits with the sign.
const Q_MAX: i16 = 2_047;

/// A generator of numbers that never changes (SplitMix64; Steele, Lea and Flood 2014).
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// 64 bits.
    #[expect(clippy::should_implement_trait, reason = "an endless generator, used by name")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }

    /// In `[0, 1)`.
    pub fn unit(&mut self) -> f32 {
        self.below(1 << 24) as f32 / (1 << 24) as f32
    }

    /// In `-limit..=limit`.
    fn within(&mut self, limit: i32) -> i32 {
        self.below(2 * limit.unsigned_abs() + 1).cast_signed() - limit
    }
}

/// The shape of a model.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// File name without its extension.
    pub name: &'static str,
    /// Values in a window.
    pub d_values: u16,
    /// Transform of the values.
    pub transform: Transform,
    /// Treatment of missing values.
    pub missing: Missing,
    /// How the weights lie.
    pub layout: Layout,
    /// Largest magnitude of an input.
    pub q_max: i16,
    /// Widths of the hidden layers.
    pub trunk: &'static [u16],
    /// Mechanisms of the categorical head.
    pub mechanisms: u16,
    /// Targets of the quantile head, which has three levels; 0 for none.
    pub targets: u16,
    /// Components of a mixture over the parameters of [`parameters`], beside their means; 0 for neither head.
    pub components: u8,
    /// Rows of the first and of the second layer of a likelihood ratio over [`ratio_parameters`]; `None` for no such head.
    pub ratio: Option<(u16, u16)>,
    /// The same for a flow over the same parameters.
    pub flow: Option<(u16, u16)>,
    /// Values of the window that [`window_csv`] asks about lie below.
    pub window_limit: u32,
    /// Prototypes and width of their embedding.
    pub bank: Option<(u32, u16)>,
}

/// Dense 32-64-64-16-4.
pub const A: Shape = Shape {
    name: "A",
    d_values: 32,
    transform: Transform::Identity,
    missing: Missing::Refuse,
    layout: Layout::Pairs,
    q_max: Q_MAX,
    trunk: &[64, 64, 16],
    mechanisms: 4,
    targets: 0,
    components: 0,
    ratio: None,
    flow: None,
    window_limit: 300,
    bank: None,
};
/// Dense 64-128-128-32-8.
pub const B: Shape = Shape { name: "B", d_values: 64, trunk: &[128, 128, 32], mechanisms: 8, ..A };
/// A for Helium, with inputs of 8 bits.
pub const A_BYTES: Shape = Shape { name: "A-bytes", layout: Layout::Bytes, q_max: 127, ..A };
/// B for Helium, with inputs of 8 bits.
pub const B_BYTES: Shape = Shape { name: "B-bytes", layout: Layout::Bytes, q_max: 127, ..B };
/// A for Helium, with inputs of 12 bits.
pub const A_WIDE: Shape = Shape { name: "A-wide", layout: Layout::Bytes, ..A };
/// B for Helium, with inputs of 12 bits.
pub const B_WIDE: Shape = Shape { name: "B-wide", layout: Layout::Bytes, ..B };
/// 512 prototypes of 16 values behind the smallest network; the window's embedding lies among them.
pub const BANK: Shape = Shape {
    name: "bank",
    d_values: 4,
    trunk: &[4],
    mechanisms: 3,
    window_limit: 30,
    bank: Some((512, 16)),
    ..A
};
/// Every part of the format in few bytes.
pub const SMALL: Shape = Shape {
    name: "small",
    d_values: 14,
    transform: Transform::Log1p,
    missing: Missing::Indicator,
    layout: Layout::Pairs,
    q_max: Q_MAX,
    trunk: &[22, 17],
    mechanisms: 3,
    targets: 3,
    components: 0,
    ratio: None,
    flow: None,
    window_limit: 300,
    bank: Some((30, 6)),
};
/// The heads that answer theta, in few bytes.
pub const JOINT: Shape = Shape {
    name: "joint",
    d_values: 6,
    transform: Transform::Identity,
    missing: Missing::Refuse,
    layout: Layout::Pairs,
    q_max: Q_MAX,
    trunk: &[12],
    mechanisms: 1,
    targets: 0,
    components: 2,
    ratio: None,
    flow: None,
    window_limit: 300,
    bank: None,
};
/// Plain bytes, with inputs of 12 bits; of widths that leave stretches incomplete, and one that takes more than a turn.
pub const WIDE: Shape =
    Shape { name: "wide", d_values: 45, layout: Layout::Bytes, trunk: &[152, 23], ..SMALL };
/// Plain bytes from the inputs on.
pub const BYTES: Shape =
    Shape { name: "bytes", d_values: 9, layout: Layout::Bytes, q_max: 127, ..WIDE };
/// A likelihood ratio, in few bytes.
pub const RATIO: Shape = Shape { name: "ratio", components: 0, ratio: Some((10, 7)), ..JOINT };
/// A likelihood ratio behind a trunk of plain bytes.
pub const RATIO_BYTES: Shape =
    Shape { name: "ratio-bytes", layout: Layout::Bytes, d_values: 21, ..RATIO };
/// A flow, in few bytes.
pub const FLOW: Shape = Shape { name: "flow", components: 0, flow: Some((9, 6)), ..JOINT };
/// Dense 64-64-32 and a likelihood ratio of two further layers of 32.
pub const SURFACE: Shape =
    Shape { name: "surface", d_values: 64, trunk: &[64, 32], ratio: Some((32, 32)), ..RATIO };
/// Every golden artifact that is built here.
pub const GOLDEN: [Shape; 7] = [SMALL, JOINT, WIDE, BYTES, RATIO, RATIO_BYTES, FLOW];

/// The artifact of a shape; always the same bytes.
pub fn build(shape: &Shape) -> Vec<u8> {
    let bytes = write(shape, &[], 0);
    let vectors = 3;
    let self_test = self_test_vectors(shape, &bytes, vectors);
    write(shape, &self_test, vectors)
}

/// A window that the examples ask a model of this shape about, as CSV.
pub fn window_csv(shape: &Shape) -> String {
    let mut random = Random::new(7);
    let header: Vec<_> = (0..shape.d_values).map(|i| format!("t{i}")).collect();
    let values: Vec<_> =
        (0..shape.d_values).map(|_| random.below(shape.window_limit).to_string()).collect();
    format!("{}\n{}\n", header.join(","), values.join(","))
}

/// What the tensors hold so far.
#[derive(Default)]
struct Tensors(Vec<u8>);

impl Tensors {
    fn section(&mut self, bytes: impl IntoIterator<Item = u8>) -> Section {
        self.0.resize(self.0.len().next_multiple_of(SECTION_ALIGNMENT), 0);
        let offset = self.0.len();
        self.0.extend(bytes);
        Section { offset: word(offset), length: word(self.0.len() - offset) }
    }

    /// Random weights whose sums stay in bounds, at multipliers that keep the output's spread near the input's, each on its
    /// grid.
    fn stream(
        &mut self,
        random: &mut Random,
        layout: Layout,
        shape: DenseShape,
        (x_max, y_max): (i16, i16),
        scale: Option<f32>,
    ) -> Section {
        let n = shape.padded_input();
        let d_input = n as f64;
        // Mean |w| is half the limit; 0.6 leaves room for the spread of the sum.
        let limit =
            (2.0 * 0.6 * f64::from(layout.sum_limit()) / (d_input * f64::from(x_max))).min(127.0);
        let spread = limit / 3_f64.sqrt() * d_input.sqrt();
        let gain = f64::from(y_max) / f64::from(x_max) / spread;
        let multiplier = (gain * 2_f64.powi(32)) as i32;
        let weight = |random: &mut Random| random.within(limit as i32);
        let bias_limit = i32::from(x_max).min(2_000) / 10;
        let bias = |random: &mut Random| (random.within(bias_limit) * limit as i32).to_le_bytes();
        let bits = scale.map_or(multiplier, |scale| scale.to_bits().cast_signed()).to_le_bytes();
        let mut bytes = Vec::new();
        for _ in 0..shape.padded_output() / kernel::BLOCK_ROWS {
            let biases = |random: &mut Random| [(); 4].map(|()| bias(random)).concat();
            match layout {
                Layout::Pairs => {
                    for _ in 0..2 * n {
                        let (upper, lower) = (weight(random), weight(random));
                        bytes.extend(((256 * upper + lower) as i16).to_le_bytes());
                    }
                    bytes.extend(biases(random));
                }
                Layout::Bytes => {
                    bytes.extend(biases(random));
                    bytes.extend((0..4 * n).map(|_| weight(random) as u8));
                }
            }
            bytes.extend(bits.repeat(kernel::BLOCK_ROWS));
        }
        self.section(bytes)
    }
}

fn write(shape: &Shape, self_test: &[u8], vectors: u16) -> Vec<u8> {
    let mut random = Random::new(shape.name.bytes().map(u64::from).sum());
    let mut tensors = Tensors::default();
    let values = usize::from(shape.d_values);
    let log = shape.transform != Transform::Identity;
    let grid = f32::from(shape.q_max) / f32::from(Q_MAX);
    let affine = if log { [3.0_f32, 500.0 * grid] } else { [0.0, grid] };
    let affine = tensors.section(affine.repeat(values).into_iter().flat_map(f32::to_le_bytes));
    let channels = records(&[Channel { name: "cases", unit: "1/day" }]);
    let transforms = records(&vec![shape.transform; values]);
    let input = Input {
        steps: shape.d_values,
        channels: Records::new(1, &channels),
        period: "1 day",
        transforms: Records::new(shape.d_values, &transforms),
        affine,
        q_max: shape.q_max,
        missing: shape.missing,
        indicator: shape.q_max / 2,
    };
    let indicators = if shape.missing == Missing::Indicator { 2 } else { 1 };
    let mut d_input = shape.d_values * indicators;
    let mut x_max = shape.q_max;
    let (low, high) = match shape.layout {
        Layout::Pairs => (0, Q_MAX),
        Layout::Bytes => (-128, 127),
    };
    let mut trunk = Vec::new();
    for &d_output in shape.trunk {
        let widths = DenseShape { d_input, d_output };
        let grids = (x_max, high);
        let stream = tensors.stream(&mut random, shape.layout, widths, grids, None);
        let layer = Layer { d_input, d_output, low, high, stream };
        trunk.push(layer);
        (d_input, x_max) = (d_output, high);
    }
    // Accumulators of the same spread as with 12 bits and their weights.
    let unit = 2e-6 * f32::from(Q_MAX) / f32::from(x_max);
    let output = |random: &mut Random, tensors: &mut Tensors, d_output| {
        let widths = DenseShape { d_input, d_output };
        let stream = tensors.stream(random, shape.layout, widths, (x_max, x_max), Some(unit));
        OutputLayer { d_output, stream }
    };
    let levels = records(&[0.05_f32, 0.5, 0.95]);
    let names: Vec<_> = (1..=shape.targets).map(|step| format!("cases+{step}")).collect();
    let targets: Vec<_> = names.iter().map(|name| target(name)).collect();
    let targets = records(&targets);
    let mut heads = Vec::new();
    if shape.mechanisms > 1 {
        let layer = output(&mut random, &mut tensors, shape.mechanisms);
        heads.push(Head::Categorical { layer });
    }
    if shape.targets > 0 {
        let layer = output(&mut random, &mut tensors, 3 * shape.targets);
        let levels = Records::new(3, &levels);
        let targets = Records::new(shape.targets, &targets);
        heads.push(Head::Quantiles { layer, levels, targets });
    }
    let theta = records(&parameters());
    if shape.components > 0 {
        let d = parameters().len();
        let parameters = Records::new(d as u16, &theta);
        let layer = output(&mut random, &mut tensors, d as u16);
        heads.push(Head::Point { layer, parameters });
        let rows = usize::from(shape.components) * component_outputs(d);
        let layer = output(&mut random, &mut tensors, rows as u16);
        heads.push(Head::Mixture { layer, parameters, components: shape.components });
    }
    let of_ratio = records(&ratio_parameters());
    let hidden;
    if let Some((first, second)) = shape.ratio {
        let data = (shape.layout, DenseShape { d_input, d_output: first }, x_max);
        let reads = (ratio_parameters().len(), 1);
        let (layer, stack, layers) = stack(&mut random, &mut tensors, data, second, reads);
        hidden = layers;
        let parameters = Records::new(ratio_parameters().len() as u16, &of_ratio);
        let stack = Conditional { hidden: Records::new(1, &hidden), ..stack };
        heads.push(Head::Ratio { layer, parameters, stack });
    }
    let hidden_of_flow;
    let (coordinates, steps) = (records(&coordinates()), records(&flow_steps()));
    if let Some((first, second)) = shape.flow {
        let data = (shape.layout, DenseShape { d_input, d_output: first }, x_max);
        let d = ratio_parameters().len();
        let reads = (d + FLOW_TIMES, d as u16);
        let (layer, stack, layers) = stack(&mut random, &mut tensors, data, second, reads);
        hidden_of_flow = layers;
        heads.push(Head::Flow {
            layer,
            parameters: Records::new(d as u16, &of_ratio),
            coordinates: Records::new(d as u16, &coordinates),
            noise: 0.9,
            steps: Records::new(flow_steps().len() as u16, &steps),
            stack: Conditional { hidden: Records::new(1, &hidden_of_flow), ..stack },
        });
    }
    let (layers, head_count) = (records(&trunk), heads.len() as u16);
    let heads = records(&heads);
    let all = u16::MAX >> (16 - shape.mechanisms);
    let theta = records(&[
        // All mechanisms but the last have the one, all but the first the other.
        Theta { name: "beta", unit: "1/day", low: 0.15, high: 0.5, mechanisms: all >> 1 },
        Theta { name: "sigma", unit: "1/day", low: 0.1, high: 0.5, mechanisms: all & !1 },
    ]);
    let bank =
        shape.bank.is_some().then(|| bank(&mut random, &mut tensors, shape, d_input, &theta));
    let mechanisms: Vec<_> = (0..shape.mechanisms).map(|i| format!("mechanism {i}")).collect();
    let mechanisms: Vec<_> = mechanisms.iter().map(String::as_str).collect();
    let mechanisms = records(&mechanisms);
    let section = tensors.section(self_test.iter().copied());
    let manifest = Manifest {
        name: shape.name,
        input,
        layout: shape.layout,
        trunk: Records::new(trunk.len() as u16, &layers),
        mechanisms: Records::new(shape.mechanisms, &mechanisms),
        heads: Records::new(head_count, &heads),
        bank,
        self_test: SelfTest { vectors, section },
        provenance: Provenance {
            study_hash: &[],
            simulator_hash: &[],
            corpus_hash: &[],
            float_hash: &[],
            seed: 0,
            num_simulations: 0,
            trainer: "none: random weights",
            calibrated: false,
            metrics: Records::new(0, &[]),
        },
    };
    assemble(&postcard::to_stdvec(&manifest).expect("a manifest encodes"), &tensors.0)
}

/// The data's part of the first layer of a stack that reads so many values and has so many outputs, and the stack behind it with the
/// records of its hidden layers.
fn stack(
    random: &mut Random,
    tensors: &mut Tensors,
    data: (Layout, DenseShape, i16),
    second: u16,
    (d_read, d_output): (usize, u16),
) -> (OutputLayer, Conditional<'static>, Vec<u8>) {
    let (layout, shape, x_max) = data;
    let first = shape.d_output;
    let (bend, fraction) = (9, 22);
    let low = -(1 << bend);
    // The stream holds a multiplier where the last layer of another head has a scale: twice the accumulator of 12 bits.
    let doubled = (2 << DATA_FRACTION) / u32::from(x_max.unsigned_abs()) * u32::from(Q_MAX as u16);
    let doubled = f32::from_bits(doubled);
    let stream = tensors.stream(random, layout, shape, (x_max, x_max), Some(doubled));
    let layer = OutputLayer { d_output: first, stream };
    let weights = shape.padded_output() * d_read.next_multiple_of(2);
    let theta: Vec<u8> =
        (0..weights).flat_map(|_| (random.within(1_500) as i16).to_le_bytes()).collect();
    let theta = tensors.section(theta);
    let mut stack_layer = |d_input, d_output, scale| {
        let shape = DenseShape { d_input, d_output };
        tensors.stream(random, Layout::Pairs, shape, (Q_MAX, Q_MAX), scale)
    };
    let stream = stack_layer(first, second, None);
    let hidden = Layer { d_input: first, d_output: second, low, high: Q_MAX, stream };
    let output = OutputLayer { d_output, stream: stack_layer(second, d_output, Some(2e-6)) };
    let (hidden, none) = (records(&[hidden]), Records::new(0, &[]));
    let (grid, q_max) = (2_000.0, 8_191);
    let stack =
        Conditional { theta, grid, q_max, fraction, low, high: Q_MAX, hidden: none, output };
    (layer, stack, hidden)
}

fn bank<'a>(
    random: &mut Random,
    tensors: &mut Tensors,
    shape: &Shape,
    d_input: u16,
    theta: &'a [u8],
) -> Bank<'a> {
    let (prototypes, d_output) = shape.bank.unwrap_or_default();
    // An embedding is as wide as with activations of 12 bits: its spread is the inputs' there.
    let grids = match shape.layout {
        Layout::Pairs => (Q_MAX, Q_MAX),
        Layout::Bytes => (127, EMBEDDING_LIMIT),
    };
    let widths = DenseShape { d_input, d_output };
    let stream = tensors.stream(random, shape.layout, widths, grids, None);
    let (low, high) = (-EMBEDDING_LIMIT, EMBEDDING_LIMIT);
    let padded = u32::from(d_output).next_multiple_of(4);
    let mut list =
        |tensors: &mut Tensors, count: u32, value: &mut dyn FnMut(&mut Random) -> Vec<u8>| {
            let bytes: Vec<u8> = (0..count).flat_map(|_| value(random)).collect();
            tensors.section(bytes)
        };
    let others = u32::from(shape.mechanisms) - 1;
    let byte = |r: &mut Random| vec![r.below(256) as u8];
    let mechanism = |r: &mut Random| vec![r.below(u32::from(shape.mechanisms)) as u8];
    // Together at most the whole.
    let shares =
        |r: &mut Random| (0..others).map(|_| r.below(256 / others) as u8).collect::<Vec<u8>>();
    Bank {
        prototypes,
        embedding: Layer { d_input, d_output, low, high, stream },
        vectors: list(tensors, prototypes * padded, &mut { byte }),
        mechanisms: list(tensors, prototypes, &mut { mechanism }),
        masses: list(tensors, prototypes, &mut |r| {
            (1 + r.below(100) as u16).to_le_bytes().to_vec()
        }),
        reaches: list(tensors, prototypes, &mut |r| vec![0x20 + r.below(0x30) as u8]),
        reach_shift: 18,
        shares: list(tensors, prototypes, &mut { shares }),
        index_bytes: 3,
        indices: list(tensors, prototypes * 3, &mut { byte }),
        thetas: list(tensors, prototypes * 2, &mut { byte }),
        moments: list(tensors, prototypes * 4, &mut { byte }),
        theta: Records::new(2, theta),
        novelty: tensors.section((0..64_u32).flat_map(|i| (i * i * 40).to_le_bytes())),
        num_simulations: 100_000,
    }
}

fn target(name: &str) -> Target<'_> {
    Target {
        name,
        series: "cases",
        unit: "1/day",
        transform: TargetTransform::Log1p,
        center: 4.0,
        spread: 1.5,
        lower: 0.0,
        upper: f32::INFINITY,
    }
}

/// The parameters of a likelihood ratio: an odd number of them, one a whole number.
pub fn ratio_parameters() -> [Parameter<'static>; 3] {
    let [shift, rate, _, count, _] = parameters();
    [shift, rate, count]
}

/// The coordinates of a flow over [`ratio_parameters`].
fn coordinates() -> [Coordinate; 3] {
    [(0.25, 1.0), (-0.5, 0.75), (0.0, 1.0)].map(|(center, spread)| Coordinate { center, spread })
}

/// Steps of different lengths.
fn flow_steps() -> [FlowStep; 3] {
    let step = |time: i16, sharpness, keep, gain, correction| FlowStep {
        time: [time, -time, 2_000, 300],
        sharpness,
        keep,
        gain,
        correction,
    };
    [
        step(-4_000, 1 << 20, 0.75, 0.66, 0.0),
        step(500, 3 << 19, 0.8, 0.6, 0.4),
        step(4_000, 9 << 20, 0.5, 0.87, 0.75),
    ]
}

/// One parameter of each kind of support.
pub fn parameters() -> [Parameter<'static>; 5] {
    let real = Parameter {
        name: "shift",
        unit: "",
        transform: ParameterTransform::Identity,
        integer: false,
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
        center: -2.0,
        spread: 3.0,
    };
    let log = ParameterTransform::Log;
    [
        real,
        Parameter { name: "rate", unit: "1/day", transform: log, low: 0.25, center: 0.5, ..real },
        Parameter { name: "depth", unit: "m", transform: log, high: 7.0, spread: 0.5, ..real },
        Parameter {
            name: "count",
            integer: true,
            low: 1.0,
            high: 9.0,
            center: 4.5,
            spread: 2.0,
            ..real
        },
        Parameter {
            name: "dose",
            unit: "mg",
            transform: ParameterTransform::LogValue,
            low: 0.5,
            high: 800.0,
            center: 2.0,
            ..real
        },
    ]
}

/// The bytes of a list of records.
pub fn records<T: Serialize>(items: &[T]) -> Vec<u8> {
    let encoded = items.iter().map(|item| postcard::to_stdvec(item).expect("a record encodes"));
    encoded.flatten().collect()
}

/// Prelude, manifest and tensors with the lengths and the checksum that they have.
pub fn assemble(manifest: &[u8], tensors: &[u8]) -> Vec<u8> {
    let tensors_offset = (PRELUDE_BYTES + manifest.len()).next_multiple_of(SECTION_ALIGNMENT);
    let total = tensors_offset + tensors.len();
    let mut bytes = Vec::with_capacity(total);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(0_u16.to_le_bytes()); // flags
    for length in [total, manifest.len(), tensors_offset, tensors.len()] {
        bytes.extend(word(length).to_le_bytes());
    }
    bytes.extend([0; 8]); // signature's length, checksum
    bytes.extend(manifest);
    bytes.resize(tensors_offset, 0);
    bytes.extend(tensors);
    repair(&mut bytes);
    bytes
}

/// Makes the checksum right again after a change.
pub fn repair(artifact: &mut [u8]) {
    let crc = checksum(artifact).to_le_bytes();
    if let Some(stored) = artifact.get_mut(CRC_OFFSET..CRC_OFFSET + 4) {
        stored.copy_from_slice(&crc);
    }
}

fn self_test_vectors(shape: &Shape, artifact: &[u8], vectors: u16) -> Vec<u8> {
    let model = Model::from_bytes(artifact).expect("the builder's artifact is sound");
    let mut scratch = vec![0; model.scratch_words()];
    let mut random = Random::new(3);
    let mut bytes = Vec::new();
    for vector in 0..vectors {
        let mut window: Vec<f32> =
            (0..shape.d_values).map(|_| random.below(1_000) as f32 - 100.0).collect();
        if vector == 1 {
            window[0] = f32::NAN;
        }
        let mut quantized = vec![0; model.padded_input()];
        model.quantize_input(&window, &mut quantized);
        let mut inference = model.infer(&window, &mut scratch).expect("the window fits");
        let checksums = inference.checksums();
        bytes.extend(window.iter().flat_map(|x| x.to_le_bytes()));
        bytes.extend(quantized.iter().flat_map(|q| q.to_le_bytes()));
        bytes.extend(checksums.integers.to_le_bytes());
        bytes.extend(checksums.answers.to_le_bytes());
    }
    bytes
}

fn word(value: usize) -> u32 {
    u32::try_from(value).expect("artifacts here are small")
}
