//! Manifests that nearly hold: every shape fits, every section lies where it should, but for what the fuzzer makes of a number now
//! and then: an offset beyond the end, sections that overlap, enormous shapes, layers of nothing.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use serde::Serialize;
use simground_runtime::artifact::{
    Bank, Channel, Conditional, Coordinate, FLOW_TIMES, FlowStep, Head, Input, Layer, Layout,
    MAX_WIDTH, Manifest, Missing, OutputLayer, PRELUDE_BYTES, Parameter, ParameterTransform,
    Provenance, Records, SECTION_ALIGNMENT, Section, SelfTest, Target, TargetTransform, Theta,
    Transform, component_outputs,
};
use simground_runtime::{DenseShape, Model};

use crate::repair;

/// The tensors so far, and where decisions come from.
struct Builder<'d> {
    decisions: Unstructured<'d>,
    layout: Layout,
    tensors: Vec<u8>,
}

/// An artifact that follows the fuzzer's decisions.
pub fn artifact(data: &[u8]) -> Result<Vec<u8>> {
    let mut decisions = Unstructured::new(data);
    let layout = *decisions.choose(&[Layout::Pairs, Layout::Bytes])?;
    let mut builder = Builder { decisions, layout, tensors: Vec::new() };
    let manifest = builder.manifest()?;
    Ok(file(&manifest, &builder.tensors))
}

fn file(manifest: &[u8], tensors: &[u8]) -> Vec<u8> {
    let start = (PRELUDE_BYTES + manifest.len()).next_multiple_of(SECTION_ALIGNMENT);
    let mut bytes = vec![0; PRELUDE_BYTES];
    for (at, length) in [(12, manifest.len()), (16, start), (20, tensors.len())] {
        bytes[at..at + 4].copy_from_slice(&(length as u32).to_le_bytes());
    }
    bytes.extend(manifest);
    bytes.resize(start, 0);
    bytes.extend(tensors);
    repair(&mut bytes);
    bytes
}

fn records<T: Serialize>(items: &[T]) -> Vec<u8> {
    let encoded = items.iter().map(|item| postcard::to_stdvec(item).expect("a record encodes"));
    encoded.flatten().collect()
}

impl Builder<'_> {
    /// The number that fits, or in one case of sixteen another.
    fn u32(&mut self, fits: u32) -> Result<u32> {
        if !self.decisions.ratio(1, 16)? {
            return Ok(fits);
        }
        let other = self.decisions.arbitrary()?;
        let near = [fits.wrapping_sub(1), fits.wrapping_add(1), fits.wrapping_mul(2)];
        let far = [0, 1, 15, 16, 0x7fff_ffff, 0x8000_0000, u32::MAX - 15, u32::MAX, other];
        self.decisions.choose_iter([near.as_slice(), &far].concat())
    }

    fn u16(&mut self, fits: u16) -> Result<u16> {
        Ok(self.u32(fits.into())? as u16)
    }

    fn i16(&mut self, fits: i16) -> Result<i16> {
        Ok(self.u32(i32::from(fits).cast_unsigned())? as i16)
    }

    fn f32(&mut self, fits: f32) -> Result<f32> {
        Ok(f32::from_bits(self.u32(fits.to_bits())?))
    }

    /// A section of `length` bytes behind those before it.
    fn section(&mut self, length: usize, byte: impl Fn(usize) -> u8) -> Result<Section> {
        self.tensors.resize(self.tensors.len().next_multiple_of(SECTION_ALIGNMENT), 0);
        let offset = self.tensors.len() as u32;
        self.tensors.extend((0..length).map(byte));
        Ok(Section { offset: self.u32(offset)?, length: self.u32(length as u32)? })
    }

    /// Weights of one value, biases of zero, multipliers or scales of one.
    fn stream(&mut self, d_input: u16, d_output: u16, multiplier: u32) -> Result<Section> {
        let shape = DenseShape { d_input, d_output };
        let weights = 4 * shape.padded_input();
        let weight = self.decisions.int_in_range(0..=255_u8)?;
        let multiplier = self.u32(multiplier)?.to_le_bytes();
        let biases = match self.layout {
            Layout::Pairs => weights..weights + 16,
            Layout::Bytes => 0..16,
        };
        let block = weights + 32;
        self.section(shape.stream_bytes(), |at| match at % block {
            at if biases.contains(&at) => 0,
            at if at >= weights + 16 => multiplier[at % 4],
            _ => weight,
        })
    }

    fn layer(&mut self, d_input: u16, d_output: u16, low: i16, high: i16) -> Result<Layer> {
        let stream = self.stream(d_input, d_output, 1 << 20)?;
        Ok(Layer {
            d_input: self.u16(d_input)?,
            d_output: self.u16(d_output)?,
            low: self.i16(low)?,
            high: self.i16(high)?,
            stream,
        })
    }

    fn output(&mut self, d_input: u16, d_output: u16) -> Result<OutputLayer> {
        let stream = self.stream(d_input, d_output, 1e-4_f32.to_bits())?;
        Ok(OutputLayer { d_output: self.u16(d_output)?, stream })
    }

    fn manifest(&mut self) -> Result<Vec<u8>> {
        let steps = self.decisions.int_in_range(1..=40_u16)?;
        let missing = *self.decisions.choose(&[Missing::Refuse, Missing::Indicator])?;
        let q_max = *self.decisions.choose(&[127, 2_047, i16::MAX])?;
        let transforms = records(&vec![Transform::Log1p; usize::from(steps)]);
        let channels = records(&[Channel { name: "x", unit: "" }]);
        let input = Input {
            steps: self.u16(steps)?,
            channels: Records::new(self.u16(1)?, &channels),
            period: "",
            transforms: Records::new(self.u16(steps)?, &transforms),
            affine: self
                .section(8 * usize::from(steps), |at| [0, 0, 0, 0, 0, 0, 0x80, 0x3f][at % 8])?,
            q_max: self.i16(q_max)?,
            missing,
            indicator: self.i16(q_max / 2)?,
        };
        let mut width = steps * if missing == Missing::Indicator { 2 } else { 1 };
        let mut trunk = Vec::new();
        for _ in 0..self.decisions.int_in_range(0..=3)? {
            let d_output = *self.decisions.choose(&[1, 4, 7, 16, 33, 140])?;
            let high = if self.layout == Layout::Bytes { 127 } else { 1_000 };
            trunk.push(self.layer(width, d_output, 0, high)?);
            width = d_output.min(MAX_WIDTH);
        }
        let mechanisms = self.decisions.int_in_range(1..=3_u16)?;
        let (heads, head_count) = self.heads(width, mechanisms)?;
        let theta = records(&[Theta {
            name: "b",
            unit: "",
            low: 0.0,
            high: self.f32(1.0)?,
            mechanisms: 1,
        }]);
        let bank = if self.decisions.arbitrary()? {
            Some(self.bank(width, mechanisms, &theta)?)
        } else {
            None
        };
        let names = records(&vec!["m"; usize::from(mechanisms)]);
        let layers = records(&trunk);
        let manifest = Manifest {
            name: "fuzz",
            input,
            layout: self.layout,
            trunk: Records::new(self.u16(trunk.len() as u16)?, &layers),
            mechanisms: Records::new(self.u16(mechanisms)?, &names),
            heads: Records::new(self.u16(head_count)?, &heads),
            bank,
            self_test: SelfTest { vectors: self.u16(0)?, section: self.section(0, |_| 0)? },
            provenance: Provenance {
                study_hash: &[],
                simulator_hash: &[],
                corpus_hash: &[],
                float_hash: &[],
                seed: 0,
                num_simulations: 0,
                trainer: "",
                calibrated: false,
                metrics: Records::new(0, &[]),
            },
        };
        Ok(postcard::to_stdvec(&manifest).expect("a manifest encodes"))
    }

    fn heads(&mut self, width: u16, mechanisms: u16) -> Result<(Vec<u8>, u16)> {
        let (mut encoded, mut count) = (Vec::new(), 0);
        let levels = records(&[self.f32(0.1)?, self.f32(0.9)?]);
        let targets = records(&[Target {
            name: "y",
            series: "y",
            unit: "",
            transform: TargetTransform::Log,
            center: self.f32(0.0)?,
            spread: self.f32(1.0)?,
            lower: self.f32(0.0)?,
            upper: self.f32(f32::INFINITY)?,
        }]);
        let parameters = records(&[Parameter {
            name: "p",
            unit: "",
            transform: *self
                .decisions
                .choose(&[ParameterTransform::Log, ParameterTransform::Identity])?,
            integer: self.decisions.arbitrary()?,
            low: self.f32(0.0)?,
            high: self.f32(2.0)?,
            center: self.f32(0.0)?,
            spread: self.f32(1.0)?,
        }]);
        for _ in 0..self.decisions.int_in_range(0..=3)? {
            let parameters = Records::new(self.u16(1)?, &parameters);
            let head = match self.decisions.int_in_range(0..=5)? {
                0 => Head::Categorical { layer: self.output(width, mechanisms)? },
                1 => Head::Quantiles {
                    layer: self.output(width, 2)?,
                    levels: Records::new(self.u16(2)?, &levels),
                    targets: Records::new(self.u16(1)?, &targets),
                },
                2 => Head::Point { layer: self.output(width, 1)?, parameters },
                3 => Head::Mixture {
                    layer: self.output(width, 2 * component_outputs(1) as u16)?,
                    parameters,
                    components: self.u16(2)? as u8,
                },
                kind => {
                    encoded.extend(self.with_stack(width, parameters, kind == 4)?);
                    count += 1;
                    continue;
                }
            };
            encoded.extend(postcard::to_stdvec(&head).expect("a head encodes"));
            count += 1;
        }
        Ok((encoded, count))
    }

    /// A likelihood ratio or a flow of one parameter, with up to two further hidden layers.
    fn with_stack(
        &mut self,
        width: u16,
        parameters: Records<'_, Parameter<'_>>,
        ratio: bool,
    ) -> Result<Vec<u8>> {
        let first = *self.decisions.choose(&[1, 4, 9])?;
        let stream = self.stream(width, first, 1 << 20)?;
        let layer = OutputLayer { d_output: self.u16(first)?, stream };
        // The stack lies as pairs, whatever the trunk does.
        let layout = std::mem::replace(&mut self.layout, Layout::Pairs);
        let bend = self.decisions.int_in_range(1..=13_u32)?;
        let (low, high) = (-(1 << bend), 1 << bend);
        let (mut d_input, mut layers) = (first, Vec::new());
        for _ in 0..self.decisions.int_in_range(0..=2)? {
            let d_output = *self.decisions.choose(&[1, 5, 8])?;
            layers.push(self.layer(d_input, d_output, low, high)?);
            d_input = d_output;
        }
        let output = self.output(d_input, 1)?;
        self.layout = layout;
        let hidden = records(&layers);
        let weight: u8 = self.decisions.arbitrary()?;
        let stack = Conditional {
            theta: {
                let d_read = if ratio { 2 } else { (1 + FLOW_TIMES).next_multiple_of(2) };
                let bytes = 2 * d_read * usize::from(first).next_multiple_of(4);
                self.section(bytes, |at| [weight, 0][at % 2])?
            },
            grid: self.f32(100.0)?,
            q_max: self.i16(8_191)?,
            fraction: self.u16(bend as u16 + 8)? as u8,
            low: self.i16(low)?,
            high: self.i16(high)?,
            hidden: Records::new(self.u16(layers.len() as u16)?, &hidden),
            output,
        };
        let coordinates = records(&[Coordinate { center: self.f32(0.5)?, spread: self.f32(1.0)? }]);
        let mut steps = Vec::new();
        for _ in 0..self.decisions.int_in_range(1..=3)? {
            steps.push(FlowStep {
                time: [self.i16(100)?, -7, 0, 900],
                sharpness: self.u32(1 << 20)?.cast_signed(),
                keep: self.f32(0.7)?,
                gain: self.f32(0.7)?,
                correction: self.f32(0.5)?,
            });
        }
        let encoded = records(&steps);
        let head = if ratio {
            Head::Ratio { layer, parameters, stack }
        } else {
            Head::Flow {
                layer,
                parameters,
                coordinates: Records::new(self.u16(1)?, &coordinates),
                noise: self.f32(1.0)?,
                steps: Records::new(self.u16(steps.len() as u16)?, &encoded),
                stack,
            }
        };
        Ok(postcard::to_stdvec(&head).expect("a head encodes"))
    }

    fn bank<'a>(&mut self, width: u16, mechanisms: u16, theta: &'a [u8]) -> Result<Bank<'a>> {
        let prototypes = self.decisions.int_in_range(1..=20_usize)?;
        let d_embed = *self.decisions.choose(&[1, 4, 16, 17])?;
        let row = usize::from(d_embed).next_multiple_of(4);
        let seed: u8 = self.decisions.arbitrary()?;
        let others = usize::from(mechanisms) - 1;
        Ok(Bank {
            prototypes: self.u32(prototypes as u32)?,
            embedding: self.layer(width, d_embed, -1_023, 1_023)?,
            vectors: self.section(prototypes * row, |at| (at as u8).wrapping_mul(seed))?,
            mechanisms: self.section(prototypes, |_| 0)?,
            masses: self.section(2 * prototypes, |at| (at % 2) as u8 ^ 1)?,
            reaches: self.section(prototypes, |at| (at as u8).wrapping_mul(seed))?,
            reach_shift: 18,
            shares: self.section(prototypes * others, |_| 40)?,
            index_bytes: 8,
            indices: self.section(8 * prototypes, |at| at as u8)?,
            thetas: self.section(prototypes, |at| at as u8)?,
            moments: self.section(2 * prototypes, |at| at as u8)?,
            theta: Records::new(self.u16(1)?, theta),
            novelty: self.section(4 * 8, |at| if at % 4 == 0 { at as u8 } else { 0 })?,
            num_simulations: 1_000,
        })
    }
}

/// A model of the fuzzer's decisions, if it is one.
pub fn with_artifact(data: &[u8], run: impl FnOnce(&Model<'_>, &mut [u32])) {
    let Ok(bytes) = artifact(data) else { return };
    let Ok(model) = Model::from_bytes(&bytes) else { return };
    let mut scratch = vec![0xdead_beef; model.scratch_words()];
    run(&model, &mut scratch);
}
