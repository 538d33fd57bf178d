//! All layers over the caller's scratch.

use core::hint::black_box;

use heapless::Vec;

use crate::artifact::{Head, Layers, Manifest, Missing, Model};
use crate::attribution::{self, Attribution};
use crate::conditional;
use crate::dense::padded;
use crate::error::InputError;
use crate::input::{self, InputReport};
use crate::kernel::{self, Dense, Ranked, halves, halves_mut};

/// Where in the scratch each buffer lies, in words of 32 bits.
///
/// ```text
/// outputs (i32, all heads) | embedding (i16) | distances (u32) | work: activations a (i16) | activations b (i16)
/// ```
///
/// Activations that a kernel keeps in bytes take half of their room.
/// When the network has run, its activations are done with, and a stack on `[h, theta]` works in their place.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ScratchPlan {
    outputs: usize,
    embedding: usize,
    distances: usize,
    activations: usize,
    work: usize,
    padded_input: usize,
    /// Whether the first layer reads bytes.
    byte_inputs: bool,
    pub(crate) words: usize,
}

impl ScratchPlan {
    pub(crate) fn new(manifest: &Manifest<'_>, layers: &Layers<'_>) -> Self {
        let stacks = manifest.heads.iter().map(|head| {
            let sharpened = matches!(head, Head::Flow { .. });
            let words = |stack| conditional::words(stack, head.layer().d_output, sharpened);
            head.stack().map_or(0, words)
        });
        let mut plan =
            ScratchPlan::of_layers(manifest, &layers.trunk, &layers.heads, &layers.embedding);
        plan.work = stacks.fold(plan.work, usize::max);
        plan.words = plan.before_work().saturating_add(plan.work);
        plan
    }

    /// The plan of a whole of `words`, as another model of these layers has it; `None` where the network itself takes more.
    pub(crate) const fn within(
        words: usize,
        manifest: &Manifest<'_>,
        trunk: &[Dense<'_>],
        heads: &[Dense<'_>],
        embedding: &Option<Dense<'_>>,
    ) -> Option<Self> {
        let plan = ScratchPlan::of_layers(manifest, trunk, heads, embedding);
        match words.checked_sub(plan.before_work()) {
            Some(work) if work >= plan.work => Some(ScratchPlan { work, words, ..plan }),
            _ => None,
        }
    }

    /// What the layers take, but for stacks on `[h, theta]`.
    const fn of_layers(
        manifest: &Manifest<'_>,
        mut trunk: &[Dense<'_>],
        mut heads: &[Dense<'_>],
        embedding: &Option<Dense<'_>>,
    ) -> Self {
        let padded_input = padded(d_input(manifest));
        let mut widest = padded_input;
        while let Some((layer, later)) = trunk.split_first() {
            if layer.places() > widest {
                widest = layer.places();
            }
            trunk = later;
        }
        let mut outputs = 0_usize;
        while let Some((layer, later)) = heads.split_first() {
            outputs = outputs.saturating_add(layer.places());
            heads = later;
        }
        let activations = halfword_words(widest);
        let plan = ScratchPlan {
            outputs,
            embedding: match embedding {
                Some(layer) => halfword_words(layer.places()),
                None => 0,
            },
            distances: match &manifest.bank {
                Some(bank) => bank.prototypes as usize,
                None => 0,
            },
            activations,
            work: activations.saturating_mul(2),
            padded_input,
            byte_inputs: manifest.has_byte_inputs(),
            words: 0,
        };
        ScratchPlan { words: plan.before_work().saturating_add(plan.work), ..plan }
    }

    /// Words before those of the work.
    const fn before_work(&self) -> usize {
        self.outputs.saturating_add(self.embedding).saturating_add(self.distances)
    }
}

/// Words that hold `count` halfwords; `count` is a multiple of four.
const fn halfword_words(count: usize) -> usize {
    count.wrapping_shr(1)
}

/// Inputs of the first layer: the values, and an indicator for each where the model knows missing ones.
pub(crate) const fn d_input(manifest: &Manifest<'_>) -> u16 {
    // A list's length is a `u16`.
    let channels = manifest.input.channels.len() as u16;
    let values = manifest.input.steps.saturating_mul(channels);
    match manifest.input.missing {
        Missing::Refuse => values,
        Missing::Indicator => values.saturating_mul(2),
    }
}

/// The scratch, split. Halfwords lie two in a word.
pub(crate) struct Buffers<'s> {
    pub outputs: &'s mut [i32],
    pub embedding: &'s mut [u32],
    pub distances: &'s mut [u32],
    work: &'s mut [u32],
    activations: usize,
}

impl Buffers<'_> {
    /// The two buffers of activations.
    fn activations(&mut self) -> (&mut [u32], &mut [u32]) {
        let (a, rest) = self.work.split_at_mut_checked(self.activations).unwrap_or_default();
        (a, rest.get_mut(..self.activations).unwrap_or_default())
    }

    /// Where the first layer finds its inputs.
    pub(crate) fn inputs(&mut self) -> &mut [i16] {
        halves_mut(self.activations().1)
    }
}

fn split<'s>(scratch: &'s mut [u32], plan: &ScratchPlan) -> Option<Buffers<'s>> {
    let (outputs, rest) = scratch.split_at_mut_checked(plan.outputs)?;
    let (embedding, rest) = rest.split_at_mut_checked(plan.embedding)?;
    let (distances, rest) = rest.split_at_mut_checked(plan.distances)?;
    let (work, _) = rest.split_at_mut_checked(plan.work)?;
    let outputs = bytemuck::try_cast_slice_mut(outputs).ok()?;
    Some(Buffers { outputs, embedding, distances, work, activations: plan.activations })
}

/// What the network made of one window. Its methods turn integers into answers.
#[derive(Debug)]
pub struct Inference<'m, 's, 'a> {
    pub(crate) model: &'m Model<'a>,
    pub(crate) report: InputReport,
    pub(crate) outputs: &'s [i32],
    pub(crate) embedding: &'s [i16],
    pub(crate) distances: &'s mut [u32],
    pub(crate) work: &'s mut [u32],
}

impl<'a> Model<'a> {
    /// Width of the first layer, rounded up to a multiple of four.
    pub fn padded_input(&self) -> usize {
        self.plan.padded_input
    }

    /// Runs the network on a window in raw units; NaN is a missing value.
    ///
    /// # Shapes
    ///
    /// `x`: `[steps, channels]`, time-major, [`Model::d_values`] long. `scratch`: [`Model::scratch_words`] or longer;
    /// what it holds does not matter.
    ///
    /// # Errors
    ///
    /// Only for a slice of the wrong length. Every value of `x` has an answer: what was missing or off the grid is in
    /// [`Inference::input_report`].
    pub fn infer<'m, 's>(
        &'m self,
        x: &[f32],
        scratch: &'s mut [u32],
    ) -> Result<Inference<'m, 's, 'a>, InputError> {
        if x.len() != self.d_values() {
            return Err(InputError::WrongWidth { needed: self.d_values(), found: x.len() });
        }
        let mut buffers = self.buffers(scratch)?;
        let report = self.quantize_input(x, buffers.inputs());
        Ok(self.run(None, buffers, report))
    }

    /// Runs the network on a window that is quantized already, as [`Model::quantize_input`] does it.
    ///
    /// For firmware whose sensor delivers integers, and for counting the instructions of the integer part alone.
    /// Magnitudes above the artifact's `q_max` give answers without meaning, the same on every target.
    ///
    /// # Shapes
    ///
    /// `quantized`: [`Model::padded_input`] long. `scratch`: as for [`Model::infer`].
    ///
    /// # Errors
    ///
    /// Only for a slice of the wrong length.
    pub fn infer_integers<'m, 's>(
        &'m self,
        quantized: &[i16],
        scratch: &'s mut [u32],
    ) -> Result<Inference<'m, 's, 'a>, InputError> {
        let (needed, found) = (self.padded_input(), quantized.len());
        if found != needed {
            return Err(InputError::WrongWidth { needed, found });
        }
        let mut buffers = self.buffers(scratch)?;
        // What is aligned to words is read where it lies.
        let words = bytemuck::try_cast_slice(quantized).ok();
        if words.is_none() {
            // Of a length and values that it knows, the compiler would make a pair of instructions for each value, or a `memcpy`:
            // 700 bytes that a small firmware has no other use for.
            for (to, from) in buffers.inputs().iter_mut().zip(black_box(quantized)) {
                *to = black_box(*from);
            }
        }
        Ok(self.run(words, buffers, InputReport::default()))
    }

    pub(crate) fn buffers<'s>(&self, scratch: &'s mut [u32]) -> Result<Buffers<'s>, InputError> {
        let found = scratch.len();
        split(scratch, &self.plan)
            .ok_or(InputError::ScratchTooSmall { needed: self.plan.words, found })
    }

    /// Writes the first layer's inputs into the first [`Model::padded_input`] places of `out`.
    ///
    /// The form in which the trainer estimates ranges and compares float with integer.
    pub fn quantize_input(&self, x: &[f32], out: &mut [i16]) -> InputReport {
        let input = &self.manifest.input;
        let affine = self.section(input.affine);
        let length = self.padded_input();
        let out = out.get_mut(..length).unwrap_or(&mut []);
        input::quantize(input, x.iter().copied(), affine, out)
    }

    /// Runs the layers on the words of `inputs`, or on those that lie in [`Buffers::inputs`].
    pub(crate) fn run<'m, 's>(
        &'m self,
        inputs: Option<&[u32]>,
        buffers: Buffers<'s>,
        report: InputReport,
    ) -> Inference<'m, 's, 'a> {
        let (a, rest) = buffers.work.split_at_mut_checked(buffers.activations).unwrap_or_default();
        let b = rest.get_mut(..buffers.activations).unwrap_or_default();
        let (outputs, embedding) = (&mut *buffers.outputs, &mut *buffers.embedding);
        let trunk = self.layers.trunk.as_slice();
        let (inputs, a, b) = if self.plan.byte_inputs {
            let x = inputs.unwrap_or(b);
            kernel::narrow(x.get(..halfword_words(self.plan.padded_input)).unwrap_or(x), a);
            (None, b, a)
        } else {
            (inputs, a, b)
        };
        let hidden = match (inputs, trunk) {
            (None, _) => through(trunk, b, a),
            (Some(x), []) => x,
            (Some(x), [first, rest @ ..]) => {
                first.run(x, a);
                through(rest, a, b)
            }
        };
        let mut rest = outputs;
        for layer in &self.layers.heads {
            layer.accumulate(hidden, rest);
            rest = rest.get_mut(layer.places()..).unwrap_or(&mut []);
        }
        if let Some(layer) = &self.layers.embedding {
            layer.embed(hidden, embedding);
        }
        let Buffers { outputs, embedding, distances, work, .. } = buffers;
        Inference { model: self, report, outputs, embedding: halves(embedding), distances, work }
    }
}

/// The outputs of the last of `layers`, the first of which reads `from`.
fn through<'s>(layers: &[Dense<'_>], from: &'s mut [u32], to: &'s mut [u32]) -> &'s [u32] {
    let (mut from, mut to) = (from, to);
    for layer in layers {
        layer.run(from, to);
        core::mem::swap(&mut from, &mut to);
    }
    from
}

impl<'m, 'a> Inference<'m, '_, 'a> {
    /// The model that it comes from.
    pub fn model(&self) -> &'m Model<'a> {
        self.model
    }
}

impl Inference<'_, '_, '_> {
    /// What the input transform met.
    pub fn input_report(&self) -> InputReport {
        self.report
    }

    /// Accumulators of all heads, one behind the other, each rounded up to a multiple of four.
    pub fn outputs(&self) -> &[i32] {
        self.outputs
    }

    /// The observation in the bank's space, rounded up to a multiple of four; empty without a bank.
    pub fn embedding(&self) -> &[i16] {
        self.embedding
    }

    /// The `K` nearest prototypes and no more: the search alone; `None` for a model without a bank.
    pub fn nearest<const K: usize>(&mut self) -> Option<Vec<Ranked, K>> {
        let bank = self.model.manifest.bank.as_ref()?;
        let vectors = self.model.section(bank.vectors);
        Some(kernel::nearest(vectors, self.embedding))
    }

    /// Names the nearest `K` simulations of the bank and what they say; `None` for a model without one.
    pub fn attribute<const K: usize>(&mut self) -> Option<Attribution<'_, K>> {
        attribution::attribute(self.model, self.embedding, self.distances)
    }

    /// The last layer of one head and its accumulators.
    pub(crate) fn head(&self, position: usize) -> Option<(&Dense<'_>, &[i32])> {
        Inference::outputs_of(self.model, self.outputs, position)
    }

    /// The last layer of one head, and its accumulators among those of all heads.
    pub(crate) fn outputs_of<'o>(
        model: &'o Model<'_>,
        outputs: &'o [i32],
        position: usize,
    ) -> Option<(&'o Dense<'o>, &'o [i32])> {
        let heads = model.layers.heads.as_slice();
        let layer = heads.get(position)?;
        let before = heads.iter().take(position);
        let start = before.map(Dense::places).fold(0, usize::saturating_add);
        let used = start..start.saturating_add(layer.outputs());
        Some((layer, outputs.get(used)?))
    }
}
