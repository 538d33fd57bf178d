//! Counter-based random numbers: each use names its purpose and its counter, so nothing depends on what was drawn before.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Initial weights; the counter is the layer.
    Initialization = 1,
    /// Indices of a batch; the counter is the step.
    Batch = 2,
    /// Order of the simulations in a pass; the counter is the pass.
    Epoch = 3,
    /// Order in which held-out simulations are paired; the counter is the order.
    HeldOut = 4,
    /// Directions along which a score is compared; the counter is the step.
    Direction = 5,
    /// Noise that flows start from, and times; the counter is the step, or a held-out example.
    Noise = 6,
}

/// Random numbers of one `(seed, purpose, counter)`.
#[derive(Debug)]
pub(super) struct Stream(ChaCha8Rng);

impl Stream {
    pub fn new(seed: u64, purpose: Purpose, counter: u64) -> Stream {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8] = purpose as u8;
        key[16..].copy_from_slice(b"simground/train\0");
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(counter);
        Stream(generator)
    }

    /// Uniform in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// Uniform in `0..count`; the bias is below `count / 2^64`.
    pub fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(count)) >> 64) as u64
    }
}
