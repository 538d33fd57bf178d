//! The write side of the artifact. Types, limits and layout constants come from the runtime, which reads it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use simground_runtime::artifact as format;
use simground_runtime::artifact::{Layer, Layout, Manifest, OutputLayer, Records, Section};
use simground_runtime::{ArtifactError, Model};

use crate::bank::Bank;
use crate::disk;
use crate::head::Head;
use crate::quantization::{
    Ending, IntegerLayer, IntegerNetwork, IntegerTail, TAIL_LAYOUT, THETA_MAX,
};
use crate::records::{Encoded, encode};
use crate::standardization::{InputScaling, Z_MAX};

/// Everything that goes into an artifact.
#[derive(Debug, Clone)]
pub struct Parts<'p> {
    /// Name of the study.
    pub name: &'p str,
    /// Time between two steps, for people.
    pub period: &'p str,
    /// Name and unit of each channel.
    pub channels: &'p [(String, String)],
    /// Input transform.
    pub input: &'p InputScaling,
    /// The integers.
    pub network: &'p IntegerNetwork,
    /// What each head of the network answers.
    pub heads: &'p [Head],
    /// Names of the mechanisms.
    pub mechanisms: &'p [String],
    /// Prototypes.
    pub bank: &'p BankTable,
    /// Windows for the self-test.
    pub self_test: &'p [Vec<f32>],
    /// Where it comes from.
    pub provenance: &'p Provenance,
}

/// A parameter and the range of its codes.
#[derive(Debug, Clone, PartialEq)]
pub struct ThetaRange {
    /// Name.
    pub name: String,
    /// Unit.
    pub unit: String,
    /// Smallest value.
    pub low: f32,
    /// Largest value.
    pub high: f32,
}

/// A bank and what its rows refer to.
#[derive(Debug, Clone, PartialEq)]
pub struct BankTable {
    /// The integers.
    pub bank: Bank,
    /// Width of an embedding, before it is rounded up to a multiple of four.
    pub d_embed: usize,
    /// Index of each prototype's simulation.
    pub index: Vec<u64>,
    /// The parameters.
    pub parameters: Vec<ThetaRange>,
    /// Simulations that the masses share out.
    pub num_simulations: u64,
}

impl BankTable {
    /// A bank of zeros: as large as one of `count` prototypes and `novelty_entries`, and nothing else.
    pub fn blank(
        d_embed: usize,
        mechanisms: usize,
        parameters: Vec<ThetaRange>,
        count: usize,
        novelty_entries: usize,
    ) -> BankTable {
        BankTable {
            bank: Bank::blank(d_embed, mechanisms, parameters.len(), count, novelty_entries),
            d_embed,
            index: vec![0; count],
            parameters,
            num_simulations: 1,
        }
    }
}

/// Where an artifact comes from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provenance {
    /// SHA-256 of the study's text.
    pub study_hash: [u8; 32],
    /// SHA-256 of what decides a simulation.
    pub simulator_hash: [u8; 32],
    /// SHA-256 of the bank's corpus.
    pub corpus_hash: [u8; 32],
    /// SHA-256 of the float model.
    pub float_hash: [u8; 32],
    /// Seed.
    pub seed: u64,
    /// Simulations that the network saw.
    pub num_simulations: u64,
    /// Whether the calibration gate was passed.
    pub calibrated: bool,
    /// Held-out figures, `metric/target`.
    pub metrics: Vec<(String, f32)>,
}

/// An artifact cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A count over a limit of the format.
    #[error("{what}: {found} where the format takes at most {limit}\nhint: {hint}")]
    OverLimit {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// Most.
        limit: usize,
        /// What helps.
        hint: &'static str,
    },
    /// The runtime refuses what was written: a fault of the exporter.
    #[error("the runtime refuses the exported artifact: {0}")]
    Refused(ArtifactError),
}

/// Sections behind one another, each at a multiple of [`format::SECTION_ALIGNMENT`].
#[derive(Default)]
struct Tensors(Vec<u8>);

impl Tensors {
    fn push(&mut self, bytes: impl IntoIterator<Item = u8>) -> Section {
        self.0.resize(self.0.len().next_multiple_of(format::SECTION_ALIGNMENT), 0);
        let offset = self.0.len();
        self.0.extend(bytes);
        Section { offset: offset as u32, length: (self.0.len() - offset) as u32 }
    }
}

/// Writes an artifact and has the runtime prove it, self-test included.
///
/// # Errors
///
/// [`WriteError`] for a shape over the format's limits.
pub fn write(parts: &Parts<'_>) -> Result<Vec<u8>, WriteError> {
    let limit = |what, found, limit, hint| {
        if found <= limit {
            Ok(())
        } else {
            Err(WriteError::OverLimit { what, found, limit, hint })
        }
    };
    limit("hidden layers", parts.network.trunk.len(), format::MAX_LAYERS, "use fewer layers")?;
    limit("heads", parts.heads.len(), format::MAX_HEADS, "use fewer heads")?;
    limit("mechanisms", parts.mechanisms.len(), format::MAX_MECHANISMS, "merge some mechanisms")?;
    let d_theta = parts.bank.parameters.len();
    limit("parameters of theta", d_theta, format::MAX_THETA, "store fewer in the corpus")?;
    limit(
        "window values",
        parts.input.d_input(),
        usize::from(format::MAX_WIDTH),
        "shorten the window",
    )?;

    // The first pass has no checksums to test against; its own answers become the second pass's expectation.
    let unchecked = assemble(parts, &[]);
    let model = Model::from_bytes(&unchecked).map_err(WriteError::Refused)?;
    let mut scratch = vec![0; model.scratch_words()];
    let mut vectors = Vec::with_capacity(parts.self_test.len());
    for window in parts.self_test {
        let mut quantized = vec![0; model.padded_input()];
        model.quantize_input(window, &mut quantized);
        let mut inference =
            model.infer(window, &mut scratch).expect("a window of the model's width");
        let checksums = inference.checksums();
        let mut bytes: Vec<u8> = window.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes.extend(quantized.iter().flat_map(|q| q.to_le_bytes()));
        bytes.extend(checksums.integers.to_le_bytes());
        bytes.extend(checksums.answers.to_le_bytes());
        vectors.push(bytes);
    }
    let bytes = assemble(parts, &vectors);
    let checked = Model::from_bytes(&bytes).map_err(WriteError::Refused)?;
    checked.self_test(&mut scratch).expect("the vectors were computed by this runtime");
    drop(checked);
    Ok(bytes)
}

fn assemble(parts: &Parts<'_>, self_test: &[Vec<u8>]) -> Vec<u8> {
    let mut tensors = Tensors::default();
    let network = parts.network;
    let layout = network.layout;
    let trunk =
        Encoded::new(network.trunk.iter().map(|layer| hidden_layer(layout, layer, &mut tensors)));
    let heads = network.heads.iter().zip(parts.heads).enumerate();
    let heads = Encoded::join(heads.map(|(at, (layer, head))| {
        let layer = output_layer(layout, layer, &mut tensors);
        let tail = network.tails.iter().find(|tail| tail.head == at);
        let Some(tail) = tail else { return head.record(layer, None) };
        let hidden = tail.hidden.iter().map(|layer| hidden_layer(TAIL_LAYOUT, layer, &mut tensors));
        let hidden = Encoded::new(hidden);
        head.record(layer, Some(conditional(tail, hidden.records(), &mut tensors)))
    }));
    let theta = theta_records(parts.bank);
    let embedding = hidden_layer(network.layout, &network.embedding, &mut tensors);
    let bank = bank(parts.bank, embedding, theta.records(), &mut tensors);
    let grid = f32::from(network.q_max) / Z_MAX;
    let affine = parts.input.center.iter().zip(&parts.input.spread).flat_map(|(center, spread)| {
        let pair = [center.to_le_bytes(), (grid / spread).to_le_bytes()];
        pair.into_iter().flatten()
    });
    let affine = tensors.push(affine);
    let self_test = format::SelfTest {
        vectors: self_test.len() as u16,
        section: tensors.push(self_test.iter().flatten().copied()),
    };
    let channels =
        Encoded::new(parts.channels.iter().map(|(name, unit)| format::Channel { name, unit }));
    let transforms = Encoded::new(&parts.input.transforms);
    let mechanisms = Encoded::new(parts.mechanisms);
    let provenance = parts.provenance;
    let metrics = Encoded::new(
        provenance.metrics.iter().map(|(name, value)| format::Metric { name, value: *value }),
    );
    let manifest = Manifest {
        name: parts.name,
        input: format::Input {
            steps: (parts.input.d_x() / parts.channels.len()) as u16,
            channels: channels.records(),
            period: parts.period,
            transforms: transforms.records(),
            affine,
            q_max: network.q_max,
            missing: parts.input.missing,
            indicator: grid.round() as i16,
        },
        layout: network.layout,
        trunk: trunk.records(),
        mechanisms: mechanisms.records(),
        heads: heads.records(),
        bank: Some(bank),
        self_test,
        provenance: format::Provenance {
            study_hash: &provenance.study_hash,
            simulator_hash: &provenance.simulator_hash,
            corpus_hash: &provenance.corpus_hash,
            float_hash: &provenance.float_hash,
            seed: provenance.seed,
            num_simulations: provenance.num_simulations,
            trainer: env!("CARGO_PKG_VERSION"),
            calibrated: provenance.calibrated,
            metrics: metrics.records(),
        },
    };
    let manifest = postcard::to_stdvec(&manifest).expect("a manifest always encodes");
    file(&manifest, &tensors.0)
}

/// Prelude, manifest, padding, tensors.
fn file(manifest: &[u8], tensors: &[u8]) -> Vec<u8> {
    let start =
        (format::PRELUDE_BYTES + manifest.len()).next_multiple_of(format::SECTION_ALIGNMENT);
    let total = start + tensors.len();
    let mut bytes = Vec::with_capacity(total);
    bytes.extend(format::MAGIC);
    bytes.extend(format::VERSION.to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    let signature = 0;
    for word in [total, manifest.len(), start, tensors.len(), signature, 0] {
        bytes.extend((word as u32).to_le_bytes());
    }
    bytes.extend(manifest);
    bytes.resize(start, 0);
    bytes.extend(tensors);
    seal(&mut bytes);
    bytes
}

/// Writes the checksum; also what a test does after it changed bytes on purpose.
pub fn seal(artifact: &mut [u8]) {
    let crc = format::checksum(artifact);
    artifact[format::CRC_OFFSET..format::CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
}

fn output_layer(layout: Layout, layer: &IntegerLayer, tensors: &mut Tensors) -> OutputLayer {
    OutputLayer { d_output: layer.d_output as u16, stream: tensors.push(layer.stream(layout)) }
}

fn conditional<'e>(
    tail: &IntegerTail,
    hidden: Records<'e, Layer>,
    tensors: &mut Tensors,
) -> format::Conditional<'e> {
    let row = |row: &[i16]| {
        let padding = std::iter::repeat_n(0, row.len().next_multiple_of(2) - row.len());
        row.iter().copied().chain(padding).flat_map(i16::to_le_bytes).collect::<Vec<u8>>()
    };
    let rows = tail.theta.len() / tail.d_theta;
    let padding = (rows.next_multiple_of(4) - rows) * 2 * tail.d_theta.next_multiple_of(2);
    let theta = tail.theta.chunks_exact(tail.d_theta).flat_map(row);
    format::Conditional {
        theta: tensors.push(theta.chain(std::iter::repeat_n(0, padding))),
        grid: tail.grid,
        q_max: THETA_MAX,
        fraction: tail.fraction,
        low: tail.low,
        high: tail.high,
        hidden,
        output: output_layer(TAIL_LAYOUT, &tail.output, tensors),
    }
}

fn hidden_layer(layout: Layout, layer: &IntegerLayer, tensors: &mut Tensors) -> Layer {
    let Ending::Requantize { low, high, .. } = layer.ending else {
        unreachable!("quantization ends hidden layers and embeddings on a grid");
    };
    Layer {
        d_input: layer.d_input as u16,
        d_output: layer.d_output as u16,
        low,
        high,
        stream: tensors.push(layer.stream(layout)),
    }
}

fn bank<'e>(
    table: &BankTable,
    embedding: Layer,
    theta: Records<'e, format::Theta<'e>>,
    tensors: &mut Tensors,
) -> format::Bank<'e> {
    let bank = &table.bank;
    let index_bytes = index_bytes(&table.index);
    let index = |index: &u64| index.to_le_bytes().into_iter().take(index_bytes);
    // All mechanisms but the last, whose share is what is left.
    let others = |shares: &[u8]| shares[..bank.num_mechanisms - 1].to_vec();
    format::Bank {
        prototypes: bank.len() as u32,
        embedding,
        vectors: tensors.push(bank.vectors.iter().map(|q| q.cast_unsigned())),
        mechanisms: tensors.push(bank.mechanism.iter().copied()),
        masses: tensors.push(bank.masses.iter().flat_map(|m| m.to_le_bytes())),
        reaches: tensors.push(bank.reaches.iter().map(|reach| reach.0)),
        reach_shift: bank.reach_shift,
        shares: tensors.push(bank.shares.chunks_exact(bank.num_mechanisms).flat_map(others)),
        index_bytes: index_bytes as u8,
        indices: tensors.push(table.index.iter().flat_map(index)),
        thetas: tensors.push(bank.theta.iter().copied()),
        moments: tensors.push(bank.moments.iter().flatten().copied()),
        theta,
        novelty: tensors.push(bank.novelty.iter().flat_map(|d| d.to_le_bytes())),
        num_simulations: table.num_simulations,
    }
}

fn theta_records(table: &BankTable) -> Encoded {
    let has =
        table.bank.has.iter().map(|has| {
            has.iter().enumerate().fold(0, |mask, (at, has)| mask | u16::from(*has) << at)
        });
    Encoded::new(table.parameters.iter().zip(has).map(|(p, mechanisms)| format::Theta {
        name: &p.name,
        unit: &p.unit,
        low: p.low,
        high: p.high,
        mechanisms,
    }))
}

/// Bytes that hold every index of a bank.
pub fn index_bytes(indices: &[u64]) -> usize {
    let largest = indices.iter().copied().max().unwrap_or(0);
    ((u64::BITS - largest.leading_zeros()).div_ceil(8) as usize).max(1)
}

/// An artifact with another bank, in the leading dimensions of its embedding, and without self-test.
///
/// # Errors
///
/// [`WriteError::Refused`] for an artifact that is none, or a bank that does not fit it.
///
/// # Panics
///
/// If the artifact has no bank.
pub fn with_bank(artifact: &[u8], table: &BankTable) -> Result<Vec<u8>, WriteError> {
    let model = Model::from_bytes(artifact).map_err(WriteError::Refused)?;
    let mut manifest = model.manifest().clone();
    // Word 4 of the prelude: where the tensors start.
    let start =
        artifact[16..20].iter().rev().fold(0, |start, byte| start << 8 | usize::from(*byte));
    let mut tensors = Tensors(artifact[start..].to_vec());
    let mut embedding = manifest.bank.as_ref().expect("a model with a bank").embedding;
    embedding.d_output = table.d_embed as u16;
    embedding.stream.length = embedding.shape().stream_bytes() as u32;
    let theta = theta_records(table);
    manifest.bank = Some(bank(table, embedding, theta.records(), &mut tensors));
    manifest.self_test.vectors = 0;
    manifest.self_test.section.length = 0;
    let bytes = file(&encode(&manifest), &tensors.0);
    Model::from_bytes(&bytes).map_err(WriteError::Refused)?;
    Ok(bytes)
}

/// Writes a file under a temporary name and renames it, so that a reader sees the old bytes or the new ones.
///
/// # Errors
///
/// The system's reason, with the path.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_file_by(path, |file| file.write_all(bytes))
}

/// As [`replace_file`], for contents that are written piece by piece.
///
/// # Errors
///
/// The system's reason, or that of `write`, with the path.
pub fn replace_file_by(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    // Hidden, and named after what it becomes: should a kill leave it behind, one sees whose it is.
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".partial");
    #[cfg(unix)]
    {
        // As any file is created, less the user's mask; a temporary file would be its owner's alone.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")));
    let mut file = file.map_err(disk::without_its_name).map_err(named)?;
    write(file.as_file_mut()).map_err(named)?;
    file.as_file().sync_all().map_err(named)?;
    file.persist(path).map_err(|error| named(error.error))?;
    Ok(())
}
