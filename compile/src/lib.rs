//! Artifacts as Rust source, for firmware whose model is never replaced without it.
//!
//! ```text
//! bytes --Model::from_bytes, on the host--> Model --source--> text: one static MODEL, see simground_runtime::compiled
//! ```
//!
//! From a terminal it is `simground compile FILE.sgnn`; a build script writes the same text:
//!
//! ```
//! use simground_compile::{Contents, source};
//! use simground_runtime::Model;
//!
//! # std::env::set_current_dir(env!("CARGO_MANIFEST_DIR"))?;
//! # let out = std::env::temp_dir().join("simground-compile-example.rs");
//! let artifact = std::fs::read("../tests/golden/small.sgnn")?;
//! let model = Model::from_bytes(&artifact)?;
//! std::fs::write(&out, source(&model, Contents::Whole))?;
//! // In the firmware: `include!(concat!(env!("OUT_DIR"), "/model.rs"));`, then `MODEL.infer(...)`.
//! # std::fs::remove_file(out)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt::Write as _;

use simground_runtime::Model;
use simground_runtime::artifact::{
    Bank, Input, Layer, Manifest, OutputLayer, Provenance, Records, Section, SelfTest,
};

/// What of an artifact goes into the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// All of it.
    Whole,
    /// What answers are made of: without the study's, the channels' and the mechanisms' names, the self-test and the provenance. Its
    /// self-test has nothing to compare with, and passes.
    Answers,
}

/// What each source begins with.
pub const HEADER: &str = "// The model of `";

/// Source of `pub static MODEL: Model<'static>`; it depends on `simground_runtime` and on nothing else.
pub fn source(model: &Model<'_>, contents: Contents) -> String {
    let blanks = vec![0; 2 * usize::from(u16::MAX)];
    let manifest = match contents {
        Contents::Whole => model.manifest().clone(),
        Contents::Answers => answers(model, &blanks),
    };
    let tensors = tensors(model, contents);
    let bytes = tensors.len();
    let trunk: Vec<String> = manifest.trunk.iter().map(|record| layer(&record)).collect();
    let heads: Vec<String> = manifest.heads.iter().map(|head| output_layer(head.layer())).collect();
    let (trunk, heads) = (trunk.join(", "), heads.join(", "));
    let (scratch_words, fingerprint) = (model.scratch_words(), model.fingerprint());
    let name = model.manifest().name;
    format!(
        "{HEADER}{name}`, which `simground compile` proved and wrote. Not to be changed by hand.

#[rustfmt::skip]
static TENSORS: simground_runtime::compiled::Tensors<{bytes}> = simground_runtime::compiled::Tensors::new(*{tensors});

/// The model of `{name}`: {scratch_words} words of scratch.
#[rustfmt::skip]
pub static MODEL: simground_runtime::Model<'static> = {{
    #[allow(unused_imports, reason = \"no model has every part\")]
    use simground_runtime::artifact::{{
        Bank, Input, Layer, Layout, Manifest, Missing, OutputLayer, Provenance, Records, Section, SelfTest,
    }};
    let manifest = {manifest};
    let (trunk, heads) = ([{trunk}], [{heads}]);
    let model = simground_runtime::Model::compiled(manifest, &TENSORS, trunk, heads, {scratch_words}, {fingerprint:#010x});
    model.expect(\"layers fit their tensors: write this file again\")
}};
",
        name = name.escape_default(),
        tensors = byte_string(tensors),
        manifest = self::manifest(&manifest),
    )
}

/// The tensors in flash: without the self-test where only answers are asked for and it lies behind the rest, as the exporter has it.
pub fn tensors<'a>(model: &Model<'a>, contents: Contents) -> &'a [u8] {
    let tensors = model.tensors();
    let Section { offset, length } = model.manifest().self_test.section;
    let last = (offset + length) as usize == tensors.len();
    if last && contents == Contents::Answers { &tensors[..offset as usize] } else { tensors }
}

/// The manifest without what no answer is made of.
fn answers<'a>(model: &Model<'a>, blanks: &'a [u8]) -> Manifest<'a> {
    let mut manifest = model.manifest().clone();
    manifest.self_test = SelfTest { vectors: 0, section: Section { offset: 0, length: 0 } };
    manifest.name = "";
    manifest.input.period = "";
    // A name that is empty is a zero, the length; a channel has a unit beside.
    let (channels, mechanisms) = (manifest.input.channels.len(), manifest.mechanisms.len());
    manifest.input.channels = Records::new(channels as u16, &blanks[..2 * channels]);
    manifest.mechanisms = Records::new(mechanisms as u16, &blanks[..mechanisms]);
    let provenance = &mut manifest.provenance;
    (provenance.study_hash, provenance.simulator_hash) = (&[], &[]);
    (provenance.corpus_hash, provenance.float_hash) = (&[], &[]);
    (provenance.trainer, provenance.metrics) = ("", Records::new(0, &[]));
    manifest
}

fn manifest(manifest: &Manifest<'_>) -> String {
    let Manifest { name, input, layout, trunk, mechanisms, heads, bank, self_test, provenance } =
        manifest;
    let bank = bank.as_ref().map_or("None".into(), |bank| format!("Some({})", self::bank(bank)));
    format!(
        "Manifest {{ name: {name:?}, input: {}, layout: Layout::{layout:?}, trunk: {}, mechanisms: {}, heads: {}, bank: {bank}, \
         self_test: SelfTest {{ vectors: {}, section: {} }}, provenance: {} }}",
        self::input(input),
        records(trunk),
        records(mechanisms),
        records(heads),
        self_test.vectors,
        section(self_test.section),
        self::provenance(provenance),
    )
}

fn input(input: &Input<'_>) -> String {
    let Input { steps, channels, period, transforms, affine, q_max, missing, indicator } = input;
    format!(
        "Input {{ steps: {steps}, channels: {}, period: {period:?}, transforms: {}, affine: {}, q_max: {q_max}, \
         missing: Missing::{missing:?}, indicator: {indicator} }}",
        records(channels),
        records(transforms),
        section(*affine),
    )
}

fn layer(layer: &Layer) -> String {
    let Layer { d_input, d_output, low, high, stream } = layer;
    let stream = section(*stream);
    format!(
        "Layer {{ d_input: {d_input}, d_output: {d_output}, low: {low}, high: {high}, stream: {stream} }}"
    )
}

fn output_layer(layer: &OutputLayer) -> String {
    let OutputLayer { d_output, stream } = layer;
    format!("OutputLayer {{ d_output: {d_output}, stream: {} }}", section(*stream))
}

fn bank(bank: &Bank<'_>) -> String {
    let Bank {
        prototypes,
        embedding,
        vectors,
        mechanisms,
        masses,
        reaches,
        reach_shift,
        shares,
        index_bytes,
        indices,
        thetas,
        moments,
        theta,
        novelty,
        num_simulations,
    } = bank;
    format!(
        "Bank {{ prototypes: {prototypes}, embedding: {}, vectors: {}, mechanisms: {}, masses: {}, reaches: {}, \
         reach_shift: {reach_shift}, shares: {}, index_bytes: {index_bytes}, indices: {}, thetas: {}, moments: {}, theta: {}, \
         novelty: {}, num_simulations: {num_simulations} }}",
        layer(embedding),
        section(*vectors),
        section(*mechanisms),
        section(*masses),
        section(*reaches),
        section(*shares),
        section(*indices),
        section(*thetas),
        section(*moments),
        records(theta),
        section(*novelty),
    )
}

fn provenance(provenance: &Provenance<'_>) -> String {
    let Provenance {
        study_hash,
        simulator_hash,
        corpus_hash,
        float_hash,
        seed,
        num_simulations,
        trainer,
        calibrated,
        metrics,
    } = provenance;
    format!(
        "Provenance {{ study_hash: {}, simulator_hash: {}, corpus_hash: {}, float_hash: {}, seed: {seed}, \
         num_simulations: {num_simulations}, trainer: {trainer:?}, calibrated: {calibrated}, metrics: {} }}",
        byte_string(study_hash),
        byte_string(simulator_hash),
        byte_string(corpus_hash),
        byte_string(float_hash),
        records(metrics),
    )
}

fn records<T>(records: &Records<'_, T>) -> String {
    format!("Records::new({}, {})", records.len(), byte_string(records.bytes()))
}

fn section(Section { offset, length }: Section) -> String {
    format!("Section {{ offset: {offset}, length: {length} }}")
}

/// A byte string of 32 bytes a line.
fn byte_string(bytes: &[u8]) -> String {
    let mut text = String::from("b\"");
    for (at, byte) in bytes.iter().enumerate() {
        if at % 32 == 0 && bytes.len() > 32 {
            text += "\\\n";
        }
        write!(text, "\\x{byte:02x}").expect("a string takes all");
    }
    text + "\""
}
