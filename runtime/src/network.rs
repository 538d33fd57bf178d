//! All layers over the caller's scratch.

use heapless::Vec;

use crate::artifact::{Manifest, Missing, Model, OutputLayer};
use crate::attribution::{self, Attribution, Ranked};
use crate::dense::padded;
use crate::error::InputError;
use crate::input::{self, InputReport};
use crate::kernel;

/// Where in the scratch each buffer lies, in words of 32 bits.
///
/// ```text
/// outputs (i32, all heads) | embedding (i16) | distances (u32) | activations a (i16) | activations b (i16)
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScratchPlan {
    outputs: usize,
    embedding: usize,
    distances: usize,
    activations: usize,
    padded_input: usize,
    pub(crate) words: usize,
}

impl ScratchPlan {
    pub(crate) fn new(manifest: &Manifest<'_>) -> Self {
        let outputs = manifest
            .heads
            .iter()
            .map(|head| padded(head.layer().d_output))
            .fold(0, usize::saturating_add);
        let (embedding, distances) = manifest.bank.as_ref().map_or((0, 0), |bank| {
            let prototypes = usize::try_from(bank.prototypes).unwrap_or(0);
            (halfword_words(padded(bank.embedding.d_output)), prototypes)
        });
        let padded_input = padded(d_input(manifest));
        let widest = manifest
            .trunk
            .iter()
            .map(|layer| padded(layer.d_output))
            .fold(padded_input, usize::max);
        let activations = halfword_words(widest);
        let words = outputs
            .saturating_add(embedding)
            .saturating_add(distances)
            .saturating_add(activations.saturating_mul(2));
        ScratchPlan { outputs, embedding, distances, activations, padded_input, words }
    }
}

/// Words that hold `count` halfwords; `count` is a multiple of four.
fn halfword_words(count: usize) -> usize {
    count.saturating_div(2)
}

/// Inputs of the first layer: the values, and an indicator for each where the model knows missing ones.
fn d_input(manifest: &Manifest<'_>) -> u16 {
    let channels = u16::try_from(manifest.input.channels.len()).unwrap_or(0);
    let values = manifest.input.steps.saturating_mul(channels);
    match manifest.input.missing {
        Missing::Refuse => values,
        Missing::Indicator => values.saturating_mul(2),
    }
}

/// The scratch, split.
pub(crate) struct Buffers<'s> {
    pub outputs: &'s mut [i32],
    pub embedding: &'s mut [i16],
    pub distances: &'s mut [u32],
    pub a: &'s mut [i16],
    pub b: &'s mut [i16],
}

fn split<'s>(scratch: &'s mut [u32], plan: &ScratchPlan) -> Option<Buffers<'s>> {
    let (outputs, rest) = scratch.split_at_mut_checked(plan.outputs)?;
    let (embedding, rest) = rest.split_at_mut_checked(plan.embedding)?;
    let (distances, rest) = rest.split_at_mut_checked(plan.distances)?;
    let (a, rest) = rest.split_at_mut_checked(plan.activations)?;
    let (b, _) = rest.split_at_mut_checked(plan.activations)?;
    Some(Buffers {
        outputs: bytemuck::try_cast_slice_mut(outputs).ok()?,
        embedding: bytemuck::try_cast_slice_mut(embedding).ok()?,
        distances,
        a: bytemuck::try_cast_slice_mut(a).ok()?,
        b: bytemuck::try_cast_slice_mut(b).ok()?,
    })
}

/// What the network made of one window. Its methods turn integers into answers.
#[derive(Debug)]
pub struct Inference<'m, 's, 'a> {
    pub(crate) model: &'m Model<'a>,
    pub(crate) report: InputReport,
    pub(crate) outputs: &'s [i32],
    pub(crate) embedding: &'s [i16],
    pub(crate) distances: &'s mut [u32],
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
        let buffers = self.buffers(scratch)?;
        let report = self.quantize_input(x, buffers.a);
        Ok(self.run(buffers, report))
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
        let buffers = self.buffers(scratch)?;
        for (to, from) in buffers.a.iter_mut().zip(quantized) {
            *to = *from;
        }
        Ok(self.run(buffers, InputReport::default()))
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

    /// Runs the layers on the inputs that lie in `buffers.a`.
    pub(crate) fn run<'m, 's>(
        &'m self,
        buffers: Buffers<'s>,
        report: InputReport,
    ) -> Inference<'m, 's, 'a> {
        let Buffers { outputs, embedding, distances, a, b } = buffers;
        let (mut from, mut to) = (a, b);
        let mut width = self.padded_input();
        for layer in &self.trunk {
            let next = padded(layer.d_output);
            if let (Some(x), Some(out)) = (from.get(..width), to.get_mut(..next)) {
                kernel::dense(self.section(layer.stream), x, layer.low, layer.high, out);
            }
            core::mem::swap(&mut from, &mut to);
            width = next;
        }
        let hidden: &[i16] = from.get(..width).unwrap_or(&[]);
        let mut rest = &mut *outputs;
        for layer in &self.heads {
            let Some((out, after)) = rest.split_at_mut_checked(padded(layer.d_output)) else {
                break;
            };
            kernel::dense_accumulators(self.section(layer.stream), hidden, out);
            rest = after;
        }
        if let Some(bank) = &self.manifest.bank {
            let layer = &bank.embedding;
            kernel::dense(self.section(layer.stream), hidden, layer.low, layer.high, embedding);
        }
        Inference { model: self, report, outputs, embedding, distances }
    }
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
        Some(attribution::nearest(vectors, self.embedding))
    }

    /// Names the nearest `K` simulations of the bank and what they say; `None` for a model without one.
    pub fn attribute<const K: usize>(&mut self) -> Option<Attribution<'_, K>> {
        attribution::attribute(self.model, self.embedding, self.distances)
    }

    /// The last layer of one head and its accumulators.
    pub(crate) fn head(&self, position: usize) -> Option<(OutputLayer, &[i32])> {
        let layer = *self.model.heads.get(position)?;
        let before = self.model.heads.iter().take(position);
        let start = before.map(|layer| padded(layer.d_output)).fold(0, usize::saturating_add);
        let used = start..start.saturating_add(usize::from(layer.d_output));
        Some((layer, self.outputs.get(used)?))
    }
}
