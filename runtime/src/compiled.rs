//! A model that is proved before the firmware is built.
//!
//! [`Model::from_bytes`] decodes and proves an artifact on the device, which is what a file that arrives over the air needs. An artifact
//! that is a part of the firmware can be proved beforehand: `simground compile FILE.sgnn` does it on the host and writes a Rust file with
//! one `static`, a [`Model`] whose shapes the compiler has evaluated. The device then has no decoder, no checksum and no proof in flash,
//! and of the model nothing in RAM.
//!
//! What the kernels' memory accesses rely on, lengths and alignment, [`Model::compiled`] checks again while the firmware compiles. That
//! accumulators cannot overflow is the host's proof: on a file that was changed by hand they wrap, and answers have no meaning.

use heapless::Vec;

use crate::artifact::{
    Bank, Layer, Layers, Layout, Manifest, Model, OutputLayer, SECTION_ALIGNMENT, Section,
};
use crate::dense::DenseShape;
use crate::kernel::{Dense, Stream, Weights};
use crate::network::{self, ScratchPlan};

/// `?` for an `Option`, which functions that are evaluated while a program compiles do not have.
macro_rules! some {
    ($option:expr) => {
        match $option {
            Some(value) => value,
            None => return None,
        }
    };
}

/// The tensors of an artifact, at an address that every kernel accepts.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Tensors<const N: usize>([u8; N]);

const _: () = assert!(align_of::<Tensors<1>>() == SECTION_ALIGNMENT);

impl<const N: usize> Tensors<N> {
    /// Tensors of these bytes.
    pub const fn new(bytes: [u8; N]) -> Self {
        Tensors(bytes)
    }

    /// The bytes.
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a layer reads.
#[derive(Clone, Copy)]
struct Read {
    d: u16,
    /// Whether they are halfwords where the layout's hidden activations are bytes.
    wide: bool,
}

impl<'a> Model<'a> {
    /// The model that [`Model::from_bytes`] made of an artifact on the host: for the file that `simground compile` writes.
    ///
    /// `None` where a layer does not read what the one before it writes, or where a section is misaligned or too short for its layer:
    /// what memory accesses rely on. For a `static`, the written file makes a compile error of it.
    ///
    /// # Shapes
    ///
    /// `trunk` and `heads`: the layers of the manifest, whose own records are decoded at run time by what reads them, and only there.
    /// `scratch_words`: [`Model::scratch_words`]; `fingerprint`: [`Model::fingerprint`], both of the artifact.
    pub const fn compiled<const N: usize, const TRUNK: usize, const HEADS: usize>(
        manifest: Manifest<'a>,
        tensors: &'a Tensors<N>,
        trunk: [Layer; TRUNK],
        heads: [OutputLayer; HEADS],
        scratch_words: usize,
        fingerprint: u32,
    ) -> Option<Self> {
        let layout = manifest.layout;
        let mut read = Read { d: network::d_input(&manifest), wide: !manifest.has_byte_inputs() };
        let mut hidden = [Dense::ZEROS; TRUNK];
        let (mut places, mut layers): (&mut [_], &[_]) = (&mut hidden, &trunk);
        while let (Some((place, more)), Some((layer, later))) =
            ({ places }.split_first_mut(), layers.split_first())
        {
            let clamps = (layer.low, layer.high);
            *place = some!(dense(tensors, layout, layer.stream, layer.shape(), read, clamps));
            read = Read { d: layer.d_output, wide: false };
            (places, layers) = (more, later);
        }
        let mut outputs = [Dense::ZEROS; HEADS];
        let (mut places, mut layers): (&mut [_], &[_]) = (&mut outputs, &heads);
        while let (Some((place, more)), Some((layer, later))) =
            ({ places }.split_first_mut(), layers.split_first())
        {
            let shape = DenseShape { d_input: read.d, d_output: layer.d_output };
            *place = some!(dense(tensors, layout, layer.stream, shape, read, (0, 0)));
            (places, layers) = (more, later);
        }
        let embedding = match &manifest.bank {
            Some(Bank { embedding: layer, .. }) => {
                let clamps = (layer.low, layer.high);
                let stream = layer.stream;
                Some(some!(dense(tensors, layout, stream, layer.shape(), read, clamps)))
            }
            None => None,
        };
        let plan =
            some!(ScratchPlan::within(scratch_words, &manifest, &hidden, &outputs, &embedding));
        let layers =
            Layers { trunk: Vec::from_array(hidden), heads: Vec::from_array(outputs), embedding };
        let fingerprint = Some(fingerprint);
        Some(Model { manifest, tensors: tensors.bytes(), layers, plan, fingerprint })
    }
}

/// One layer, if it reads what is there.
const fn dense<const N: usize>(
    tensors: &Tensors<N>,
    layout: Layout,
    stream: Section,
    shape: DenseShape,
    read: Read,
    clamps: (i16, i16),
) -> Option<Dense<'_>> {
    if shape.d_input != read.d {
        return None;
    }
    let stream = some!(Stream::within(tensors, stream));
    Dense::new(stream, shape, Weights { layout, wide_inputs: read.wide }, clamps)
}
