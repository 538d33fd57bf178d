//! Bytes to [`Model`]: prelude, manifest, and the proof of every bound, once.
//!
//! ```text
//! prelude   32 bytes: magic, version, flags, lengths, CRC-32 of everything else
//! manifest  postcard: the types of this module
//! tensors   sections at multiples of 16 bytes, addressed by (offset, length) from the tensors' start
//! ```
//!
//! `docs/artifact-format.md` has the table byte by byte. The trainer's `artifact.rs` is the write side and uses these
//! same types.

use core::marker::PhantomData;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::conditional;
use crate::decode;
use crate::dense::{DenseShape, first_unbounded_row, padded};
use crate::error::{ArtifactError, Part};
use crate::head;
use crate::input::{AFFINE_BYTES, Affine};
use crate::kernel::{self, Dense, Stream, Weights};
use crate::network::ScratchPlan;

pub use crate::head::gaussians::component_outputs;
pub use crate::head::parameter::{Parameter, ParameterTransform};

/// The first four bytes of every artifact.
pub const MAGIC: [u8; 4] = *b"SGNN";
/// The newest format version, the only one that this runtime reads.
pub const VERSION: u16 = 1;
/// Bytes of the prelude.
pub const PRELUDE_BYTES: usize = 32;
/// Sections start at multiples of this, from the file's start and from the tensors' alike.
pub const SECTION_ALIGNMENT: usize = 16;
/// Where in the prelude the CRC-32 stands.
pub const CRC_OFFSET: usize = 28;

/// Most layers of a trunk.
pub const MAX_LAYERS: usize = 8;
/// Most heads.
pub const MAX_HEADS: usize = 6;
/// Most mechanisms.
pub const MAX_MECHANISMS: usize = 16;
/// Most quantile levels of a head.
pub const MAX_LEVELS: usize = 16;
/// Most components of a mixture.
pub const MAX_COMPONENTS: usize = 16;
/// Most hidden layers of a stack on `[h, theta]` behind its first.
pub const MAX_CONDITIONAL_LAYERS: usize = 3;
/// Most parameters of theta.
pub const MAX_THETA: usize = 32;
/// Functions of the time that a flow's velocity reads beside theta.
pub const FLOW_TIMES: usize = 4;
/// Most parameters of a flow.
pub const MAX_FLOW_THETA: usize = MAX_THETA - FLOW_TIMES;
/// Most steps of a flow.
pub const MAX_FLOW_STEPS: usize = 64;
/// Widest layer, window or embedding.
pub const MAX_WIDTH: u16 = 4096;
/// Most prototypes.
pub const MAX_PROTOTYPES: u32 = 65_536;
/// Largest magnitude of an embedded observation; prototypes are `i8`, so an unusual observation can lie far outside.
pub const EMBEDDING_LIMIT: i16 = 1023;

/// Largest magnitude of an output's scale and of a parameter: `2^96`, so that a scale times any accumulator, and a mean
/// of parameters, is finite.
pub(crate) const FLOAT_LIMIT: f32 = 79_228_162_514_264_337_593_543_950_336.0;

/// CRC-32 of a whole artifact, its own four bytes left out.
///
/// The exporter writes it at [`CRC_OFFSET`]; [`Model::from_bytes`] compares.
pub fn checksum(artifact: &[u8]) -> u32 {
    let (head, rest) = artifact.split_at_checked(CRC_OFFSET).unwrap_or((artifact, &[]));
    let mut crc = Checksum::new();
    crc.update(head);
    crc.update(rest.get(4..).unwrap_or(&[]));
    crc.finish()
}

/// A raw section of the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// First byte, from the tensors' start; a multiple of [`SECTION_ALIGNMENT`].
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

// Offsets and lengths are taken for addresses as they are.
const _: () = assert!(usize::BITS >= u32::BITS);

impl Section {
    pub(crate) const fn of(self, tensors: &[u8]) -> Option<&[u8]> {
        match tensors.split_at_checked(self.offset as usize) {
            Some((_, rest)) => match rest.split_at_checked(self.length as usize) {
                Some((section, _)) => Some(section),
                None => None,
            },
            None => None,
        }
    }
}

/// A list of records that is decoded where it lies, never copied.
///
/// Stored as a count and the records' postcard bytes, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records<'a, T> {
    count: u16,
    #[serde(borrow)]
    bytes: &'a [u8],
    #[serde(skip)]
    kind: PhantomData<fn() -> T>,
}

impl<'a, T> Records<'a, T> {
    /// A list over `count` encoded records. Whether the bytes decode is proved by [`Model::from_bytes`].
    pub const fn new(count: u16, bytes: &'a [u8]) -> Self {
        Records { count, bytes, kind: PhantomData }
    }

    /// Number of records.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The encoded records.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a, T: Deserialize<'a>> Records<'a, T> {
    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let (record, after) = decode::take(rest)?;
            rest = after;
            Some(record)
        })
    }

    /// One record, by position.
    pub fn at(&self, position: usize) -> Option<T> {
        self.iter().nth(position)
    }

    pub(crate) fn is_valid(&self) -> bool {
        decode::are_records(self.bytes, self.count, |bytes| {
            decode::take::<T>(bytes).map(|(_, rest)| rest)
        })
    }
}

/// How a value in raw units is transformed before it is centered and scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transform {
    /// `x`.
    Identity,
    /// `ln(1 + x)`; negative values count as 0 and are reported as clamped.
    Log1p,
    /// `sign(x) ln(1 + |x|)`.
    SignedLog1p,
}

/// What the model was taught about missing values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// Nothing: a missing value is replaced by the center and reported as untrained.
    Refuse,
    /// A missing value is replaced by the center, and a second input for each value says so.
    Indicator,
}

/// The window that the model takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input<'a> {
    /// Time steps; the window is time-major.
    pub steps: u16,
    /// Name and unit of each channel.
    #[serde(borrow)]
    pub channels: Records<'a, Channel<'a>>,
    /// Time between two steps, for people.
    pub period: &'a str,
    /// Transform of each value.
    pub transforms: Records<'a, Transform>,
    /// `f32` pairs: center and grid points per unit of each transformed value.
    pub affine: Section,
    /// Largest magnitude of a quantized value.
    pub q_max: i16,
    /// Treatment of NaN.
    pub missing: Missing,
    /// Value of an indicator that says "missing"; between 0 and `q_max`.
    pub indicator: i16,
}

/// One observed series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel<'a> {
    /// Name.
    pub name: &'a str,
    /// Unit.
    pub unit: &'a str,
}

/// How the weights of every layer lie, and how wide hidden activations are: for which kernels an artifact is laid out.
///
/// Every core runs both, with the same bits; [`kernel`] has the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Two rows share a halfword and activations are halfwords: for cores that multiply words or halfwords.
    Pairs,
    /// Rows of plain bytes, and hidden activations within `i8`: for Helium, which multiplies sixteen bytes at once.
    /// Inputs may be wider.
    Bytes,
}

impl Layout {
    /// A row's weighted sum stays below this: two rows share an accumulator, or one has it for itself.
    pub fn sum_limit(self) -> u32 {
        match self {
            Layout::Pairs => 1 << 23,
            Layout::Bytes => 1 << 30,
        }
    }
}

/// A layer that ends in integers on a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Inputs.
    pub d_input: u16,
    /// Outputs.
    pub d_output: u16,
    /// Lower clamp. A ReLU's zero: 0, or -128 in [`Layout::Bytes`], where the biases hold the shift.
    pub low: i16,
    /// Upper clamp.
    pub high: i16,
    /// The stream of blocks; see [`kernel`].
    pub stream: Section,
}

impl Layer {
    /// Widths.
    pub const fn shape(&self) -> DenseShape {
        DenseShape { d_input: self.d_input, d_output: self.d_output }
    }

    /// Largest magnitude of an output.
    fn magnitude(&self) -> u16 {
        self.low.unsigned_abs().max(self.high.unsigned_abs())
    }
}

/// The last layer of a head: its accumulators times a scale for each row are the head's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLayer {
    /// Outputs; the inputs are the trunk's last layer.
    pub d_output: u16,
    /// The stream of blocks; see [`kernel`].
    pub stream: Section,
}

/// How a standardized answer becomes physical: `inverse(center + spread * z)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetTransform {
    /// `y`.
    Identity,
    /// `exp(y) - 1`.
    Log1p,
    /// `exp(y)`.
    Log,
    /// `y^2` for `y > 0`, else 0: the inverse of the square root.
    Sqrt,
}

/// One quantity that a head answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Target<'a> {
    /// Name, as in answers (`cases+1`).
    pub name: &'a str,
    /// Name of the series it is a step of (`cases`), or its own name.
    pub series: &'a str,
    /// Unit, for people.
    pub unit: &'a str,
    /// From standardized to physical.
    pub transform: TargetTransform,
    /// Center in transformed units.
    pub center: f32,
    /// Spread in transformed units; positive.
    pub spread: f32,
    /// Lower end of the support; may be minus infinity.
    pub lower: f32,
    /// Upper end of the support; may be infinity.
    pub upper: f32,
}

/// A coordinate in which a flow is modelled, beside the [`Parameter`] that it stands for.
///
/// `w = (center + spread y)` is the parameter's `z`; where its support has two ends in that space, `z = low + (high - low) Phi(w)`, `Phi`
/// being the normal distribution function. So no value of `y` leaves the support.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coordinate {
    /// Center.
    pub center: f32,
    /// Spread; positive.
    pub spread: f32,
}

/// One step of a flow from noise to theta.
///
/// With the velocity `F` at `y` and at this time, and `F'` that which the step before expects there,
/// `y, F' <- keep y + gain (F + correction (F - F')), keep F - gain y`. The stack reads `y` and what the data adds to its first layer both
/// times the sharpness, so that its units look as closely as there is noise left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FlowStep {
    /// What the velocity reads of the time, on the stack's grid; magnitudes up to its `q_max`.
    pub time: [i16; FLOW_TIMES],
    /// Sharpness in `2^-20`; positive.
    pub sharpness: i32,
    /// Share of `y` that stays.
    pub keep: f32,
    /// Share of the velocity.
    pub gain: f32,
    /// How much counts what the step before did not expect; without meaning in the first.
    pub correction: f32,
}

/// A small stack on `[h, theta]`, `h` being what the trunk made of an observation; its first layer is split.
///
/// The head's own layer is the data's part of the first layer: in its stream a row's multiplier `m` carries the accumulator to
/// `acc m / 2^20` of the first layer's sums. Every hidden layer ends in the bent rectifier [`bent`](kernel::bent), and its lower clamp
/// is minus one unit, a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Conditional<'a> {
    /// Theta's part of the first layer: `i16`, `[rows rounded up to 4, parameters rounded up to 2]`.
    pub theta: Section,
    /// Grid points of theta in a standardized unit.
    pub grid: f32,
    /// Largest magnitude of a quantized theta.
    pub q_max: i16,
    /// Fraction bits of the first layer's sums: those of its outputs and 1 to 28 more.
    pub fraction: u8,
    /// Lower clamp of the first layer's outputs: minus the points of a unit.
    pub low: i16,
    /// Upper clamp of the first layer's outputs.
    pub high: i16,
    /// Further hidden layers, at most [`MAX_CONDITIONAL_LAYERS`].
    #[serde(borrow)]
    pub hidden: Records<'a, Layer>,
    /// Last layer.
    pub output: OutputLayer,
}

/// What a head answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Head<'a> {
    /// Posterior over the mechanisms: logits in the order of their names.
    Categorical {
        /// Last layer.
        layer: OutputLayer,
    },
    /// Marginal quantiles; rows are target-major.
    Quantiles {
        /// Last layer.
        layer: OutputLayer,
        /// Levels, ascending, inside (0, 1).
        #[serde(borrow)]
        levels: Records<'a, f32>,
        /// Targets.
        targets: Records<'a, Target<'a>>,
    },
    /// Posterior mean, a row a parameter.
    Point {
        /// Last layer.
        layer: OutputLayer,
        /// Parameters.
        parameters: Records<'a, Parameter<'a>>,
    },
    /// Joint posterior as a mixture of Gaussians; [`component_outputs`] rows a component.
    Mixture {
        /// Last layer.
        layer: OutputLayer,
        /// Parameters.
        parameters: Records<'a, Parameter<'a>>,
        /// Components, 1 to [`MAX_COMPONENTS`].
        components: u8,
    },
    /// Logarithm of the likelihood-to-evidence ratio at any theta.
    Ratio {
        /// The data's part of the stack's first layer.
        layer: OutputLayer,
        /// Parameters.
        parameters: Records<'a, Parameter<'a>>,
        /// From there to one output.
        stack: Conditional<'a>,
    },
    /// Joint posterior of any shape, by a flow from noise to theta; the stack reads theta's coordinates, then [`FLOW_TIMES`] functions of
    /// the time, and has an output a parameter, the velocity.
    Flow {
        /// The data's part of the stack's first layer.
        layer: OutputLayer,
        /// Parameters, at most [`MAX_FLOW_THETA`].
        parameters: Records<'a, Parameter<'a>>,
        /// One for each parameter.
        coordinates: Records<'a, Coordinate>,
        /// Standard deviation of the noise that a flow starts from; up to 16.
        noise: f32,
        /// Steps, 1 to [`MAX_FLOW_STEPS`].
        steps: Records<'a, FlowStep>,
        /// From there to the velocity.
        stack: Conditional<'a>,
    },
}

impl<'a> Head<'a> {
    /// The stack on `[h, theta]`, if it has one.
    pub fn stack(&self) -> Option<&Conditional<'a>> {
        match self {
            Head::Ratio { stack, .. } | Head::Flow { stack, .. } => Some(stack),
            _ => None,
        }
    }
}

impl Head<'_> {
    /// The last layer.
    pub fn layer(&self) -> &OutputLayer {
        match self {
            Head::Categorical { layer }
            | Head::Quantiles { layer, .. }
            | Head::Point { layer, .. }
            | Head::Mixture { layer, .. }
            | Head::Ratio { layer, .. }
            | Head::Flow { layer, .. } => layer,
        }
    }
}

/// One parameter of the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Theta<'a> {
    /// Name.
    pub name: &'a str,
    /// Unit, for people.
    pub unit: &'a str,
    /// Value of code 0.
    pub low: f32,
    /// Value of code 254; code 255 says that the mechanism has no such parameter.
    pub high: f32,
    /// Bit `m` says that mechanism `m` has it.
    pub mechanisms: u16,
}

impl Theta<'_> {
    /// Whether a mechanism has the parameter.
    pub fn has(&self, mechanism: usize) -> bool {
        let bit = u32::try_from(mechanism).ok().and_then(|at| self.mechanisms.checked_shr(at));
        bit.unwrap_or(0) & 1 == 1
    }

    /// Difference between the values of two codes that follow each other.
    pub fn step(&self) -> f32 {
        (self.high - self.low) / 254.0
    }
}

/// The simulations that the device keeps, each a prototype of those around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bank<'a> {
    /// Number of prototypes.
    pub prototypes: u32,
    /// From the trunk's last layer to the embedding.
    pub embedding: Layer,
    /// `[prototypes, d_embed rounded up to 4]` of `i8`.
    pub vectors: Section,
    /// Mechanism of each simulation itself: `u8`.
    pub mechanisms: Section,
    /// Share of the corpus that each stands for, in 1/65,536: `u16`.
    pub masses: Section,
    /// How far the kernel of each reaches: `u8`; see [`Reach`](crate::Reach).
    pub reaches: Section,
    /// Shift of all reaches.
    pub reach_shift: u8,
    /// `[prototypes, mechanisms - 1]` of `u8`: shares of all mechanisms but the last around each, in 1/255.
    pub shares: Section,
    /// Bytes of an index, 1 to 8.
    pub index_bytes: u8,
    /// Index of each simulation, little endian.
    pub indices: Section,
    /// `[prototypes, theta]` of `u8`: codes of each simulation's own parameters.
    pub thetas: Section,
    /// `[prototypes, theta, 2]` of `u8`: mean, and standard deviation in steps of the codes, of each parameter around each.
    pub moments: Section,
    /// The parameters.
    #[serde(borrow)]
    pub theta: Records<'a, Theta<'a>>,
    /// Squared distances to the nearest prototype of held-out simulations, ascending: `u32`.
    pub novelty: Section,
    /// Number of simulations that the masses share out.
    pub num_simulations: u64,
}

/// Inputs and what must come of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// Number of vectors.
    pub vectors: u16,
    /// For each vector: the window (`f32`), its quantized form (`i16`, padded), then the CRC-32 of its integers and of
    /// its answers (see `Checksums`).
    pub section: Section,
}

impl SelfTest {
    /// Bytes of one vector.
    pub fn vector_bytes(d_values: usize, padded_input: usize) -> usize {
        d_values.saturating_mul(4).saturating_add(padded_input.saturating_mul(2)).saturating_add(8)
    }
}

/// One figure of the exported model, measured on the host with this runtime.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metric<'a> {
    /// `metric/target`.
    pub name: &'a str,
    /// Value.
    pub value: f32,
}

/// Where the artifact comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance<'a> {
    /// SHA-256 of the study's text.
    pub study_hash: &'a [u8],
    /// SHA-256 of the part of the study that decides what a simulation is.
    pub simulator_hash: &'a [u8],
    /// SHA-256 of the simulations of the bank's corpus.
    pub corpus_hash: &'a [u8],
    /// SHA-256 of the float model that was quantized.
    pub float_hash: &'a [u8],
    /// Seed of training and corpus.
    pub seed: u64,
    /// Simulations that the network saw.
    pub num_simulations: u64,
    /// Version of the trainer.
    pub trainer: &'a str,
    /// Whether the model passed its calibration gate.
    pub calibrated: bool,
    /// Figures on held-out simulations.
    #[serde(borrow)]
    pub metrics: Records<'a, Metric<'a>>,
}

/// Everything about the model that is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest<'a> {
    /// Name of the study.
    pub name: &'a str,
    /// The window.
    #[serde(borrow)]
    pub input: Input<'a>,
    /// How the weights lie.
    pub layout: Layout,
    /// Hidden layers, ReLU each.
    pub trunk: Records<'a, Layer>,
    /// Names of the mechanisms.
    pub mechanisms: Records<'a, &'a str>,
    /// Heads on the trunk's last layer.
    pub heads: Records<'a, Head<'a>>,
    /// Prototypes.
    pub bank: Option<Bank<'a>>,
    /// Self-test vectors.
    pub self_test: SelfTest,
    /// Where it comes from.
    pub provenance: Provenance<'a>,
}

impl Manifest<'_> {
    /// Whether the first layer reads bytes: the layout has them, and the inputs' grid fits.
    pub(crate) const fn has_byte_inputs(&self) -> bool {
        matches!(self.layout, Layout::Bytes) && self.input.q_max <= i8::MAX as i16
    }
}

/// An artifact whose every bound is proved.
#[derive(Debug, Clone)]
pub struct Model<'a> {
    pub(crate) manifest: Manifest<'a>,
    pub(crate) tensors: &'a [u8],
    pub(crate) layers: Layers<'a>,
    pub(crate) plan: ScratchPlan,
    /// What [`Model::fingerprint`] says of a compiled model, which may lack a part of what it is made of.
    pub(crate) fingerprint: Option<u32>,
}

/// The manifest's layers, decoded and proved once: inference reads them every time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers<'a> {
    pub trunk: Vec<Dense<'a>, MAX_LAYERS>,
    pub heads: Vec<Dense<'a>, MAX_HEADS>,
    pub embedding: Option<Dense<'a>>,
}

impl<'a> Model<'a> {
    /// Proves that `bytes` are an artifact that this runtime can run on this core.
    ///
    /// Reads every byte twice (checksum, weights) and copies only the manifest's shapes; names, tables and
    /// tensors stay where they are.
    ///
    /// # Errors
    ///
    /// [`ArtifactError`] says what is wrong and in which part. Any single changed bit is one.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, ArtifactError> {
        let (manifest, tensors) = split(bytes)?;
        let (manifest, rest) = decode::take::<Manifest<'a>>(manifest)
            .ok_or(ArtifactError::Undecodable(Part::Manifest))?;
        // Built in one place: a model is several hundred bytes, and the stack would hold each copy.
        let mut model = Model {
            manifest,
            tensors,
            layers: Layers::default(),
            plan: ScratchPlan::default(),
            fingerprint: None,
        };
        if !rest.is_empty() {
            return Err(ArtifactError::Undecodable(Part::Manifest));
        }
        prove(&model.manifest, tensors, &mut model.layers)?;
        model.plan = ScratchPlan::new(&model.manifest, &model.layers);
        Ok(model)
    }

    /// The manifest: names, shapes, provenance.
    pub fn manifest(&self) -> &Manifest<'a> {
        &self.manifest
    }

    /// The tensors that the manifest's sections lie in.
    pub fn tensors(&self) -> &'a [u8] {
        self.tensors
    }

    /// Values in a window: steps times channels.
    pub fn d_values(&self) -> usize {
        usize::from(self.manifest.input.steps).saturating_mul(self.manifest.input.channels.len())
    }

    /// Words of scratch that [`infer`](Self::infer) takes.
    pub fn scratch_words(&self) -> usize {
        self.plan.words
    }

    /// A proved section's bytes.
    pub(crate) fn section(&self, section: Section) -> &'a [u8] {
        section.of(self.tensors).unwrap_or(&[])
    }
}

/// Prelude, checksum and lengths: the manifest's bytes and the tensors'.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), ArtifactError> {
    let found = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if let Some((magic, _)) = bytes.split_first_chunk::<4>()
        && *magic != MAGIC
    {
        return Err(ArtifactError::NotAnArtifact { found: *magic });
    }
    if let Some([a, b]) = bytes.get(4..6) {
        let version = u16::from_le_bytes([*a, *b]);
        if version != VERSION {
            return Err(ArtifactError::UnsupportedVersion { found: version, supported: VERSION });
        }
    }
    let prelude = bytes
        .first_chunk::<PRELUDE_BYTES>()
        .ok_or(ArtifactError::Truncated { needed: 32, found })?;
    let flags = prelude.as_chunks::<2>().0.get(3).map_or(0, |b| u16::from_le_bytes(*b));
    if flags != 0 {
        return Err(ArtifactError::UnknownFlags { found: flags });
    }
    let word = |position: usize| {
        prelude.as_chunks::<4>().0.get(position).map_or(0, |b| u32::from_le_bytes(*b))
    };
    let (total, manifest_len) = (word(2), word(3));
    let (tensors_offset, tensors_len, signature_len) = (word(4), word(5), word(6));
    if found < total {
        return Err(ArtifactError::Truncated { needed: total, found });
    }
    if found > total {
        return Err(ArtifactError::TrailingBytes { expected: total, found });
    }
    let crc = checksum(bytes);
    if crc != word(7) {
        return Err(ArtifactError::ChecksumMismatch { expected: word(7), found: crc });
    }
    if !bytes.as_ptr().addr().is_multiple_of(kernel::ALIGNMENT) {
        return Err(ArtifactError::Misaligned {
            needed: u32::try_from(kernel::ALIGNMENT).unwrap_or(16),
        });
    }
    let size = |length: u32| usize::try_from(length).map_err(|_| ArtifactError::Prelude);
    let manifest_end =
        PRELUDE_BYTES.checked_add(size(manifest_len)?).ok_or(ArtifactError::Prelude)?;
    let start = size(tensors_offset)?;
    let end = start.checked_add(size(tensors_len)?).ok_or(ArtifactError::Prelude)?;
    let manifest = bytes.get(PRELUDE_BYTES..manifest_end).ok_or(ArtifactError::Prelude)?;
    let tensors = bytes.get(start..end).ok_or(ArtifactError::Prelude)?;
    let consistent = signature_len == 0
        && end == bytes.len()
        && manifest_end.checked_next_multiple_of(SECTION_ALIGNMENT) == Some(start);
    if consistent { Ok((manifest, tensors)) } else { Err(ArtifactError::Prelude) }
}

/// Everything that inference and attribution rely on; fills `layers`.
#[inline(never)]
fn prove<'a>(
    manifest: &Manifest<'_>,
    tensors: &'a [u8],
    layers: &mut Layers<'a>,
) -> Result<(), ArtifactError> {
    let proof = Proof { tensors, layout: manifest.layout };
    let (d_input, x_max) = proof.input(&manifest.input)?;
    let lists = manifest.trunk.is_valid() && manifest.heads.is_valid();
    if !(lists && manifest.mechanisms.is_valid()) {
        return Err(ArtifactError::Undecodable(Part::Manifest));
    }
    let small = manifest.trunk.len() <= MAX_LAYERS
        && manifest.heads.len() <= MAX_HEADS
        && manifest.mechanisms.len() <= MAX_MECHANISMS;
    if manifest.mechanisms.is_empty() || !small {
        return Err(ArtifactError::Shape(Part::Manifest));
    }
    let mut hidden = Read { d: d_input, max: x_max, wide: !manifest.has_byte_inputs() };
    for (position, layer) in (0..).zip(manifest.trunk.iter()) {
        let part = Part::Trunk(position);
        let proved = proof.layer(&layer, part, hidden)?;
        let bytes = i16::from(i8::MIN) <= layer.low && layer.high <= i16::from(i8::MAX);
        if manifest.layout == Layout::Bytes && !bytes {
            return Err(ArtifactError::Value(part));
        }
        hidden = Read { d: layer.d_output, max: layer.magnitude(), wide: false };
        // There is room: the lists' lengths are checked above.
        let _ = layers.trunk.push(proved);
    }
    for (position, head) in (0..).zip(manifest.heads.iter()) {
        let part = Part::Head(position);
        let proved = proof.head(&head, part, hidden, manifest.mechanisms.len())?;
        let _ = layers.heads.push(proved);
    }
    if let Some(bank) = &manifest.bank {
        let proved = proof.bank(bank, hidden, manifest.mechanisms.len())?;
        layers.embedding = Some(proved);
    }
    let d_values = usize::from(manifest.input.steps).saturating_mul(manifest.input.channels.len());
    let vector = SelfTest::vector_bytes(d_values, padded(d_input));
    let needed = vector.saturating_mul(usize::from(manifest.self_test.vectors));
    proof.section(manifest.self_test.section, needed, Part::SelfTest)?;
    if !manifest.provenance.metrics.is_valid() {
        return Err(ArtifactError::Undecodable(Part::Provenance));
    }
    Ok(())
}

/// That the scales of an output layer are numbers that no accumulator makes infinite.
#[inline(never)]
fn finite_scales(layer: &Dense<'_>, part: Part) -> Result<(), ArtifactError> {
    let finite = |scale: f32| scale.abs() <= FLOAT_LIMIT;
    let sound = (0..layer.places()).all(|row| finite(layer.scale(row)));
    if sound { Ok(()) } else { Err(ArtifactError::Value(part)) }
}

struct Proof<'a> {
    tensors: &'a [u8],
    layout: Layout,
}

/// What a layer reads.
#[derive(Clone, Copy)]
struct Read {
    /// How many values.
    d: u16,
    /// Their largest magnitude.
    max: u16,
    /// Whether they are halfwords where the layout's hidden activations are bytes.
    wide: bool,
}

impl<'a> Proof<'a> {
    /// A section of exactly `needed` bytes.
    #[inline(never)]
    fn section(
        &self,
        section: Section,
        needed: usize,
        part: Part,
    ) -> Result<&'a [u8], ArtifactError> {
        let wrong = ArtifactError::Section {
            part,
            needed: u32::try_from(needed).unwrap_or(u32::MAX),
            found: section.length,
        };
        let offset = usize::try_from(section.offset).map_err(|_| wrong)?;
        if !offset.is_multiple_of(SECTION_ALIGNMENT) {
            return Err(ArtifactError::SectionAlignment(part));
        }
        let bytes = section.of(self.tensors).ok_or(wrong)?;
        if bytes.len() == needed { Ok(bytes) } else { Err(wrong) }
    }

    /// The width and largest magnitude of what the first layer reads.
    #[inline(never)]
    fn input(&self, input: &Input<'_>) -> Result<(u16, u16), ArtifactError> {
        let part = Part::Input;
        if !(input.channels.is_valid() && input.transforms.is_valid()) {
            return Err(ArtifactError::Undecodable(part));
        }
        let shape = ArtifactError::Shape(part);
        let channels = u16::try_from(input.channels.len()).map_err(|_| shape)?;
        let values = input.steps.checked_mul(channels).ok_or(shape)?;
        let d_input = match input.missing {
            Missing::Refuse => values,
            Missing::Indicator => values.checked_mul(2).ok_or(shape)?,
        };
        if values == 0 || d_input > MAX_WIDTH || input.transforms.len() != usize::from(values) {
            return Err(shape);
        }
        let needed = usize::from(values).saturating_mul(AFFINE_BYTES);
        let affine = self.section(input.affine, needed, part)?;
        let sound = affine.chunks_exact(AFFINE_BYTES).all(|bytes| {
            Affine::read(bytes).is_some_and(|a| {
                a.center.is_finite() && a.grid_per_unit.is_finite() && a.grid_per_unit > 0.0
            })
        });
        if !sound || input.q_max <= 0 || !(0..=input.q_max).contains(&input.indicator) {
            return Err(ArtifactError::Value(part));
        }
        Ok((d_input, input.q_max.unsigned_abs()))
    }

    #[inline(never)]
    fn layer(&self, layer: &Layer, part: Part, read: Read) -> Result<Dense<'a>, ArtifactError> {
        if layer.d_input != read.d || layer.d_output == 0 || layer.d_output > MAX_WIDTH {
            return Err(ArtifactError::Shape(part));
        }
        if layer.low > layer.high {
            return Err(ArtifactError::Value(part));
        }
        self.dense(layer.stream, layer.shape(), part, read, (layer.low, layer.high))
    }

    #[inline(never)]
    fn dense(
        &self,
        stream: Section,
        shape: DenseShape,
        part: Part,
        read: Read,
        clamps: (i16, i16),
    ) -> Result<Dense<'a>, ArtifactError> {
        let bytes = self.section(stream, shape.stream_bytes(), part)?;
        if let Some(row) = first_unbounded_row(self.layout, bytes, shape, read.max) {
            return Err(ArtifactError::AccumulatorBound { part, row });
        }
        let weights = Weights { layout: self.layout, wide_inputs: read.wide };
        let stream = Stream::new(bytes);
        let dense = stream.and_then(|stream| Dense::new(stream, shape, weights, clamps));
        dense.ok_or(ArtifactError::Shape(part))
    }

    #[inline(never)]
    fn head(
        &self,
        head: &Head<'_>,
        part: Part,
        read: Read,
        mechanisms: usize,
    ) -> Result<Dense<'a>, ArtifactError> {
        let outputs = head::outputs(head, part, mechanisms)?;
        let layer = head.layer();
        if usize::from(layer.d_output) != outputs || layer.d_output > MAX_WIDTH {
            return Err(ArtifactError::Shape(part));
        }
        let shape = DenseShape { d_input: read.d, d_output: layer.d_output };
        let dense = self.dense(layer.stream, shape, part, read, (0, 0))?;
        // The multipliers of a layer before a stack are integers, and every one has a meaning.
        match head {
            Head::Ratio { parameters, stack, .. } => {
                let output = self.conditional(stack, part, parameters.len(), layer.d_output, 1)?;
                // Accumulators are compared in the place of ratios.
                if output.scale(0) <= 0.0 {
                    return Err(ArtifactError::Value(part));
                }
            }
            Head::Flow { parameters, stack, .. } => {
                let d = parameters.len();
                let d_read = d.saturating_add(FLOW_TIMES);
                self.conditional(stack, part, d_read, layer.d_output, d)?;
            }
            _ => finite_scales(&dense, part)?,
        }
        Ok(dense)
    }

    /// A stack behind a split layer of `d_first` rows that reads `d` values and has `d_output` outputs; its last layer.
    #[inline(never)]
    fn conditional(
        &self,
        stack: &Conditional<'_>,
        part: Part,
        d: usize,
        d_first: u16,
        d_output: usize,
    ) -> Result<Dense<'a>, ArtifactError> {
        if !stack.hidden.is_valid() {
            return Err(ArtifactError::Undecodable(part));
        }
        if stack.hidden.len() > MAX_CONDITIONAL_LAYERS
            || usize::from(stack.output.d_output) != d_output
        {
            return Err(ArtifactError::Shape(part));
        }
        let grid = stack.grid > 0.0 && stack.grid <= FLOAT_LIMIT;
        let bends = stack.hidden.iter().all(|layer| conditional::bend_of(&layer).is_some());
        if !(grid && bends) || stack.q_max <= 0 || conditional::ending(stack).is_none() {
            return Err(ArtifactError::Value(part));
        }
        let row_bytes = conditional::padded_theta(d).saturating_mul(2);
        let needed = padded(d_first).saturating_mul(row_bytes);
        let weights = self.section(stack.theta, needed, part)?;
        let q_max = stack.q_max.unsigned_abs();
        if let Some(row) = conditional::first_unbounded_row(weights, d, q_max) {
            return Err(ArtifactError::AccumulatorBound { part, row });
        }
        let proof = Proof { tensors: self.tensors, layout: conditional::LAYOUT };
        let mut read = Read { d: d_first, max: stack.high.unsigned_abs(), wide: true };
        for layer in stack.hidden.iter() {
            proof.layer(&layer, part, read)?;
            read = Read { d: layer.d_output, max: layer.magnitude(), wide: true };
        }
        let shape = DenseShape { d_input: read.d, d_output: stack.output.d_output };
        let dense = proof.dense(stack.output.stream, shape, part, read, (0, 0))?;
        finite_scales(&dense, part)?;
        Ok(dense)
    }

    #[inline(never)]
    fn bank(
        &self,
        bank: &Bank<'_>,
        read: Read,
        mechanisms: usize,
    ) -> Result<Dense<'a>, ArtifactError> {
        let part = Part::Bank;
        let embedding = self.layer(&bank.embedding, Part::Embedding, read)?;
        if bank.embedding.d_output > 256 {
            return Err(ArtifactError::Shape(Part::Embedding));
        }
        if bank.embedding.magnitude() > EMBEDDING_LIMIT.unsigned_abs() {
            return Err(ArtifactError::Value(Part::Embedding));
        }
        if !bank.theta.is_valid() {
            return Err(ArtifactError::Undecodable(part));
        }
        if bank.prototypes == 0 || bank.prototypes > MAX_PROTOTYPES || bank.theta.len() > MAX_THETA
        {
            return Err(ArtifactError::Shape(part));
        }
        let prototypes =
            usize::try_from(bank.prototypes).map_err(|_| ArtifactError::Shape(part))?;
        let sized = |each: usize| prototypes.saturating_mul(each);
        self.section(bank.vectors, sized(padded(bank.embedding.d_output)), part)?;
        let known = self.section(bank.mechanisms, sized(1), part)?;
        let masses = self.section(bank.masses, sized(2), part)?;
        self.section(bank.reaches, sized(1), part)?;
        let others = mechanisms.saturating_sub(1);
        let shares = self.section(bank.shares, sized(others), part)?;
        if !(1..=8).contains(&bank.index_bytes) {
            return Err(ArtifactError::Shape(part));
        }
        self.section(bank.indices, sized(usize::from(bank.index_bytes)), part)?;
        self.section(bank.thetas, sized(bank.theta.len()), part)?;
        self.section(bank.moments, sized(bank.theta.len().saturating_mul(2)), part)?;
        let total: u32 = masses
            .as_chunks::<2>()
            .0
            .iter()
            .map(|mass| u32::from(u16::from_le_bytes(*mass)))
            .fold(0, u32::saturating_add);
        // 255 at most, so that the last mechanism's share is not negative.
        let whole = |shares: &[u8]| shares.iter().try_fold(0_u8, |sum, s| sum.checked_add(*s));
        let sound = known.iter().all(|&m| usize::from(m) < mechanisms)
            && masses.as_chunks::<2>().0.iter().all(|mass| *mass != [0, 0])
            && total <= 65_536
            && shares.chunks(others.max(1)).all(|shares| whole(shares).is_some())
            && bank.theta.iter().all(|t| {
                let range = -FLOAT_LIMIT <= t.low && t.low <= t.high && t.high <= FLOAT_LIMIT;
                range && (mechanisms..MAX_MECHANISMS).all(|m| !t.has(m))
            });
        if !sound {
            return Err(ArtifactError::Value(part));
        }
        let length = usize::try_from(bank.novelty.length).unwrap_or(usize::MAX);
        if length == 0 || !length.is_multiple_of(4) {
            return Err(ArtifactError::Shape(Part::Novelty));
        }
        let table = self.section(bank.novelty, length, Part::Novelty)?;
        let mut below = 0;
        for bytes in table.as_chunks::<4>().0 {
            let threshold = u32::from_le_bytes(*bytes);
            if threshold < below {
                return Err(ArtifactError::Value(Part::Novelty));
            }
            below = threshold;
        }
        Ok(embedding)
    }
}
