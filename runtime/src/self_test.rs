//! Proof at boot that this device computes what the exporting host computed.

use heapless::Vec;
use rand_core::{Infallible, TryRng};

use crate::artifact::{MAX_THETA, Model, SelfTest};
use crate::checksum::Checksum;
use crate::error::SelfTestError;
use crate::input::InputReport;
use crate::network::Inference;

/// Neighbors that a self-test vector covers.
const NEIGHBORS: usize = 5;

impl<'a> Model<'a> {
    /// Runs every self-test vector and compares: the quantized input, all integers, all answers' bits.
    ///
    /// With the feature `micromath` the float edges differ from `libm`'s by design, so only the integers are compared.
    ///
    /// # Errors
    ///
    /// [`SelfTestError`] names the first stage that differs and its vector.
    pub fn self_test(&self, scratch: &mut [u32]) -> Result<(), SelfTestError> {
        let exact_edges = cfg!(not(feature = "micromath"));
        let test = self.manifest.self_test;
        let bytes = SelfTest::vector_bytes(self.d_values(), self.padded_input());
        let section = self.section(test.section);
        for (vector, bytes) in (0..test.vectors).zip(section.chunks_exact(bytes.max(1))) {
            let parts = split(bytes, self.d_values(), self.padded_input());
            let Some((window, quantized, expected)) = parts else { continue };
            let mut buffers = self.buffers(scratch).map_err(SelfTestError::Call)?;
            let inputs = buffers.inputs();
            if exact_edges && !self.quantizes_to(window, quantized, inputs) {
                return Err(SelfTestError::Input { vector });
            }
            for (q, stored) in inputs.iter_mut().zip(quantized.as_chunks::<2>().0) {
                *q = i16::from_le_bytes(*stored);
            }
            let found = self.run(None, buffers, InputReport::default()).checksums();
            if found.integers != expected.integers {
                return Err(SelfTestError::Integers { vector });
            }
            if exact_edges && found.answers != expected.answers {
                return Err(SelfTestError::Answers { vector });
            }
        }
        Ok(())
    }

    /// Whether the input transform turns the stored window into the stored integers.
    fn quantizes_to(&self, window: &[u8], quantized: &[u8], out: &mut [i16]) -> bool {
        // The window is read value by value: it lies in flash as bytes.
        let input = &self.manifest.input;
        let affine = self.section(input.affine);
        let values = window.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        let out = out.get_mut(..self.padded_input()).unwrap_or(&mut []);
        crate::input::quantize(input, values, affine, out);
        out.iter()
            .zip(quantized.as_chunks::<2>().0)
            .all(|(q, stored)| *q == i16::from_le_bytes(*stored))
    }
}

/// Checksums of what a vector leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksums {
    /// Accumulators, embedding, where the likelihood is largest, and the nearest prototypes with their distances.
    pub integers: u32,
    /// Bits of every answer in physical units.
    pub answers: u32,
}

fn split(bytes: &[u8], d_values: usize, padded_input: usize) -> Option<(&[u8], &[u8], Checksums)> {
    let (window, rest) = bytes.split_at_checked(d_values.checked_mul(4)?)?;
    let (quantized, rest) = rest.split_at_checked(padded_input.checked_mul(2)?)?;
    let (integers, rest) = rest.split_first_chunk::<4>()?;
    let (answers, _) = rest.split_first_chunk::<4>()?;
    let expected = Checksums {
        integers: u32::from_le_bytes(*integers),
        answers: u32::from_le_bytes(*answers),
    };
    Some((window, quantized, expected))
}

impl Inference<'_, '_, '_> {
    /// Checksums over everything that this inference and its attribution answer; two targets that agree here agree
    /// in every bit.
    pub fn checksums(&mut self) -> Checksums {
        let mut integers = Checksum::new();
        let mut answers = Checksum::new();
        for output in self.outputs {
            integers.update(&output.to_le_bytes());
        }
        for q in self.embedding {
            integers.update(&q.to_le_bytes());
        }
        self.add_heads(&mut answers);
        self.add_ratio(&mut integers, &mut answers);
        self.add_flow(&mut answers);
        self.add_attribution(&mut integers, &mut answers);
        Checksums { integers: integers.finish(), answers: answers.finish() }
    }

    // Apart, so that on the stack the one part's answers are gone before the other's are made.
    #[inline(never)]
    fn add_heads(&self, answers: &mut Checksum) {
        for p in self.mechanism_posterior().iter().flatten() {
            answers.update(&bits(*p));
        }
        for values in (0..).map_while(|target| self.quantiles(target)) {
            values.iter().for_each(|q| answers.update(&bits(*q)));
        }
        (0..)
            .map_while(|parameter| self.point(parameter))
            .for_each(|mean| answers.update(&bits(mean)));
        self.add_mixture(&mut |value| answers.update(&bits(value)));
    }

    /// The maximum of the likelihood and the ratio there.
    #[inline(never)]
    fn add_ratio(&mut self, integers: &mut Checksum, answers: &mut Checksum) {
        let Some(mut ratio) = self.ratio() else { return };
        let maximum = ratio.maximum();
        for q in &maximum.point {
            integers.update(&q.to_le_bytes());
        }
        maximum.theta.iter().for_each(|theta| answers.update(&bits(*theta)));
        answers.update(&bits(maximum.log_ratio));
    }

    /// A sample.
    #[inline(never)]
    fn add_flow(&mut self, answers: &mut Checksum) {
        let Some(mut flow) = self.flow() else { return };
        let mut theta: Vec<f32, MAX_THETA> =
            crate::first_items(flow.parameters().iter().map(|_| 0.0));
        flow.sample(&mut Counter(0), &mut theta);
        theta.iter().for_each(|theta| answers.update(&bits(*theta)));
    }

    #[inline(never)]
    fn add_attribution(&mut self, integers: &mut Checksum, answers: &mut Checksum) {
        // By reference: an attribution is several hundred bytes.
        let attribution = &self.attribute::<NEIGHBORS>();
        let Some(attribution) = attribution else { return };
        let mut float = |value: f32| answers.update(&bits(value));
        for near in &attribution.nearest {
            integers.update(&near.prototype.to_le_bytes());
            integers.update(&near.squared_distance.to_le_bytes());
            float(near.weight);
        }
        attribution.mechanism_posterior.iter().for_each(|p| float(*p));
        for theta in attribution.thetas() {
            [theta.present, theta.mean, theta.sd].into_iter().for_each(&mut float);
        }
        float(attribution.novelty);
    }
}

impl Inference<'_, '_, '_> {
    /// Means, medians, the density at the means, and a sample.
    fn add_mixture(&self, add: &mut impl FnMut(f32)) {
        let Some(mixture) = self.mixture() else { return };
        let d = mixture.parameters().len();
        let mut theta: Vec<f32, MAX_THETA> =
            crate::first_items((0..d).map_while(|parameter| mixture.mean(parameter)));
        theta.iter().for_each(|mean| add(*mean));
        (0..d).map_while(|parameter| mixture.quantile(parameter, 0.5)).for_each(&mut *add);
        add(mixture.log_density(&theta));
        mixture.sample(&mut Counter(0), &mut theta);
        theta.iter().for_each(|value| add(*value));
    }
}

/// A generator for the self-test alone: the mixed bits of a counter (SplitMix64; Steele, Lea and Flood 2014).
struct Counter(u64);

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let bits = self.try_next_u64()?.wrapping_shr(32);
        Ok(u32::try_from(bits).unwrap_or(0))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0.wrapping_shr(30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z.wrapping_shr(27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ z.wrapping_shr(31))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            let [first, ..] = self.try_next_u32()?.to_le_bytes();
            *byte = first;
        }
        Ok(())
    }
}

/// A float's bits; every NaN counts as the same, because which NaN an operation makes is not fixed.
fn bits(value: f32) -> [u8; 4] {
    if value.is_nan() { f32::NAN.to_le_bytes() } else { value.to_le_bytes() }
}
