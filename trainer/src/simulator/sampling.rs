//! Random variates: uniform, binomial, Poisson, normal and gamma, from one counter-based generator.
//!
//! The samplers are written here, rather than taken from `rand_distr`, for one reason: that crate calls `f64::ln` and
//! `f64::exp`, which go to the platform's math library whenever any crate of the build turns `num-traits/std` on, so that a
//! simulation could differ by one count between two machines. Here every transcendental function is `libm`'s, every other
//! operation is an IEEE 754 basic one, and a simulation named by its index is the same simulation everywhere.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Below this mean a count is drawn by inversion, above it by transformed rejection, which is only valid from 10.
const INVERSION_BELOW: f64 = 10.0;

/// `1 / k`: a division in every turn of the search would take most of its time. A count of mean 10 reaches the end of the
/// table with a probability below `1e-80`.
const INVERSE: [f64; 160] = {
    let mut table = [0.0; 160];
    let mut k = 1;
    while k < table.len() {
        table[k] = 1.0 / k as f64;
        k += 1;
    }
    table
};

/// The generator of one simulation: ChaCha8 keyed by the seed, with the simulation's index as its stream.
///
/// Streams of one key never overlap, so neither the thread, nor the shard, nor what was simulated before matters.
#[derive(Debug, Clone)]
pub struct Generator(ChaCha8Rng);

impl Generator {
    /// The generator of simulation `index` under `seed`.
    pub fn new(seed: u64, index: u64) -> Self {
        let mut key = *b"........simground simulator v1  ";
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(index);
        Generator(rng)
    }

    /// Uniform on `[0, 1)`, a multiple of `2^-53`.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Two uniforms on `[0, 1)`, multiples of `2^-32`, from one word: half the price, where the grain cannot show.
    #[inline]
    fn uniform_pair(&mut self) -> (f64, f64) {
        const GRAIN: f64 = 1.0 / (1u64 << 32) as f64;
        let word = self.0.next_u64();
        (f64::from((word >> 32) as u32) * GRAIN, f64::from(word as u32) * GRAIN)
    }

    /// Uniform on the integers `lower..=upper`.
    pub fn integer(&mut self, lower: u64, upper: u64) -> u64 {
        let choices = (upper - lower + 1) as f64;
        // The bias of a 53-bit uniform is below 2^-33 for any range that a study accepts.
        lower + ((self.uniform() * choices) as u64).min(upper - lower)
    }

    /// How many of `n` individuals leave, each with the same `chance`.
    #[inline]
    pub fn binomial(&mut self, n: u32, chance: &Chance) -> u32 {
        if n == 0 || chance.p <= 0.0 {
            return if chance.flipped { n } else { 0 };
        }
        let count = f64::from(n);
        let few = if count * chance.p < INVERSION_BELOW {
            self.binomial_by_inversion(count, chance)
        } else {
            self.binomial_by_rejection(count, chance)
        };
        if chance.flipped { n - few as u32 } else { few as u32 }
    }

    /// Sequential search from zero; at most `n` by construction.
    #[inline]
    fn binomial_by_inversion(&mut self, n: f64, chance: &Chance) -> f64 {
        let mut probability = libm::exp(n * chance.ln_q);
        let mut u = self.uniform();
        let mut k = 0;
        while u > probability {
            u -= probability;
            k += 1;
            let count = f64::from(k);
            // Rounding can leave `u` above the sum of all probabilities; the mean is below ten, so that no draw comes here.
            if count > n || k as usize >= INVERSE.len() {
                return count - 1.0;
            }
            probability *= chance.odds * (n + 1.0 - count) * INVERSE[k as usize];
        }
        f64::from(k)
    }

    /// Hörmann 1993, "The generation of binomial random variates", algorithm BTRD: six draws of seven end at the first
    /// comparison of a large `n p`, and most others without a logarithm.
    #[inline]
    fn binomial_by_rejection(&mut self, n: f64, chance: &Chance) -> f64 {
        let Chance { p, q, odds, .. } = *chance;
        let variance = n * p * q;
        let spread = variance.sqrt();
        let b = 1.15 + 2.53 * spread;
        let a = -0.0873 + 0.0248 * b + 0.01 * p;
        let c = n * p + 0.5;
        let v_r = 0.92 - 4.2 / b;
        loop {
            let (u, mut v) = self.uniform_pair();
            let u = u - 0.5;
            let us = 0.5 - u.abs();
            let position = (2.0 * a / us + b) * u + c;
            // At `us == 0` the position is minus infinity, which is refused as well.
            if position < 0.0 {
                continue;
            }
            let k = floor(position);
            if us >= 0.07 && v <= v_r {
                return k;
            }
            if k > n {
                continue;
            }
            v = v * (2.83 + 5.1 / b) * spread / (a / (us * us) + b);
            let m = floor((n + 1.0) * p);
            let distance = (k - m).abs();
            // Ratio of the probabilities of `k` and of the mode, term by term where that is cheap.
            if distance <= 15.0 {
                let scaled = (n + 1.0) * odds;
                let mut ratio = 1.0;
                let mut i = k.min(m);
                while i < k.max(m) {
                    i += 1.0;
                    ratio *= scaled / i - odds;
                }
                if if m < k { v <= ratio } else { v * ratio <= 1.0 } {
                    return k;
                }
                continue;
            }
            let log_v = libm::log(v);
            let slack = distance / variance
                * (((distance / 3.0 + 0.625) * distance + 1.0 / 6.0) / variance + 0.5);
            let bell = -distance * distance / (2.0 * variance);
            if log_v < bell - slack {
                return k;
            }
            if log_v > bell + slack {
                continue;
            }
            let bound = (m + 0.5) * libm::log((m + 1.0) / (odds * (n - m + 1.0)))
                + (n + 1.0) * libm::log((n - m + 1.0) / (n - k + 1.0))
                + (k + 0.5) * libm::log(odds * (n - k + 1.0) / (k + 1.0))
                + stirling_tail(m)
                + stirling_tail(n - m)
                - stirling_tail(k)
                - stirling_tail(n - k);
            if log_v <= bound {
                return k;
            }
        }
    }

    /// A Poisson count with the given mean.
    #[inline]
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean < INVERSION_BELOW {
            let mut probability = libm::exp(-mean);
            let mut u = self.uniform();
            let mut k = 0;
            while u > probability && k + 1 < INVERSE.len() {
                u -= probability;
                k += 1;
                probability *= mean * INVERSE[k];
            }
            return k as f64;
        }
        // Hörmann 1993, "The transformed rejection method for generating Poisson random variables", algorithm PTRS.
        let root = mean.sqrt();
        let b = 0.931 + 2.53 * root;
        let a = -0.059 + 0.02483 * b;
        let v_r = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let (u, v) = self.uniform_pair();
            let u = u - 0.5;
            let us = 0.5 - u.abs();
            let position = (2.0 * a / us + b) * u + mean + 0.43;
            if position < 0.0 {
                continue;
            }
            let k = floor(position);
            if us >= 0.07 && v <= v_r {
                return k;
            }
            if us < 0.013 && v > us {
                continue;
            }
            let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
            // log(k!) = (k + 1/2) log(k + 1) - (k + 1) + log(2 pi)/2 + tail(k).
            let log_factorial =
                (k + 0.5) * libm::log(k + 1.0) - (k + 1.0) + HALF_LOG_TWO_PI + stirling_tail(k);
            if libm::log(v * inverse_alpha / (a / (us * us) + b))
                <= k * libm::log(mean) - mean - log_factorial
            {
                return k;
            }
        }
    }

    /// Independent standard normal variates.
    pub fn normals(&mut self, out: &mut [f64]) {
        for pair in out.chunks_mut(2) {
            let (first, second) = self.normal_pair();
            pair[0] = first;
            pair[1..].fill(second);
        }
    }

    /// Exponential of mean 1.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        -libm::log1p(-self.uniform())
    }

    /// A standard normal pair, by the polar method: one logarithm and one square root for two variates.
    #[inline]
    fn normal_pair(&mut self) -> (f64, f64) {
        loop {
            let (x, y) = self.uniform_pair();
            let (x, y) = (2.0 * x - 1.0, 2.0 * y - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                let stretch = (-2.0 * libm::log(square) / square).sqrt();
                return (x * stretch, y * stretch);
            }
        }
    }
}

/// Largest integer below a number that is not negative and below `2^63`; `f64::floor` is a call on baseline x86-64.
#[inline]
fn floor(x: f64) -> f64 {
    x as i64 as f64
}

/// `log(sqrt(2 pi))`.
const HALF_LOG_TWO_PI: f64 = 0.918_938_533_204_672_8;

/// `log(k!) - [(k + 1/2) log(k + 1) - (k + 1) + log(2 pi)/2]`, to within 1e-9.
#[inline]
fn stirling_tail(k: f64) -> f64 {
    // Exact to ten digits where the series below has not converged yet.
    const TABLE: [f64; 10] = [
        0.081_061_466_795_327_8,
        0.041_340_695_955_409_5,
        0.027_677_925_684_998_3,
        0.020_790_672_103_765_1,
        0.016_644_691_189_821_2,
        0.013_876_128_823_070_7,
        0.011_896_709_945_891_8,
        0.010_411_265_261_972_1,
        0.009_255_462_182_712_7,
        0.008_330_563_433_362_9,
    ];
    match TABLE.get(k as usize) {
        Some(&tail) => tail,
        None => {
            let inverse = 1.0 / (k + 1.0);
            let square = inverse * inverse;
            (1.0 / 12.0 - (1.0 / 360.0 - square / 1260.0) * square) * inverse
        }
    }
}

/// The probability that one individual leaves its compartment within one step, prepared for many draws.
///
/// Kept as the smaller of leaving and staying, since the samplers need `p <= 1/2`.
#[derive(Debug, Clone, Copy)]
pub struct Chance {
    p: f64,
    q: f64,
    ln_q: f64,
    odds: f64,
    flipped: bool,
}

impl Chance {
    /// Leaving at `rate` over a step of `dt`: `min(1, rate dt)`.
    ///
    /// The explicit Euler step, so that a flow has the mean `rate dt` times its source compartment: the published scale of
    /// the daily models rests on it, where `1 - exp(-rate dt)` gives larger epidemics (observation noise of `outbreak.toml`
    /// 144 cases a day, not 134). A study whose rates exceed one in a step is refused, so the bound never bites.
    #[inline]
    pub fn of_rate(rate: f64, dt: f64) -> Self {
        Chance::of_probability((rate * dt).min(1.0))
    }

    /// A plain probability.
    #[inline]
    pub fn of_probability(p: f64) -> Self {
        let (small, flipped) = if p > 0.5 { (1.0 - p, true) } else { (p, false) };
        let q = 1.0 - small;
        // Most infections have a tiny chance, and this is the logarithm to the last bit, much cheaper: the next term is
        // below `2^-53` of the first.
        let ln_q = if small < 1.0 / 2048.0 {
            -small * (1.0 + small * (0.5 + small * (1.0 / 3.0 + small * (0.25 + small * 0.2))))
        } else {
            libm::log1p(-small)
        };
        Chance { p: small, q, ln_q, odds: small / q, flipped }
    }
}

/// A gamma distribution of mean 1 and variance `dispersion`, prepared for many draws.
///
/// A Poisson count whose mean is multiplied by it is negative binomial with variance `mu + dispersion mu^2`.
#[derive(Debug, Clone)]
pub struct GammaFactor {
    d: f64,
    c: f64,
    scale: f64,
    /// Set when the shape is below one: the sampler works at `shape + 1` and takes a root.
    root: Option<f64>,
    spare: Option<f64>,
}

impl GammaFactor {
    /// `dispersion` is the variance, positive.
    pub fn new(dispersion: f64) -> Self {
        let shape = 1.0 / dispersion;
        let root = (shape < 1.0).then_some(dispersion);
        let d = if shape < 1.0 { shape + 1.0 } else { shape } - 1.0 / 3.0;
        GammaFactor { d, c: 1.0 / (9.0 * d).sqrt(), scale: dispersion, root, spare: None }
    }

    /// Marsaglia and Tsang 2000, "A simple method for generating gamma variables".
    #[inline]
    pub fn sample(&mut self, generator: &mut Generator) -> f64 {
        loop {
            let z = match self.spare.take() {
                Some(z) => z,
                None => {
                    let (z, spare) = generator.normal_pair();
                    self.spare = Some(spare);
                    z
                }
            };
            let t = 1.0 + self.c * z;
            if t <= 0.0 {
                continue;
            }
            let v = t * t * t;
            let u = generator.uniform();
            let square = z * z;
            if u < 1.0 - 0.0331 * square * square
                || libm::log(u) < 0.5 * square + self.d * (1.0 - v + libm::log(v))
            {
                let factor = self.d * v * self.scale;
                return match self.root {
                    None => factor,
                    Some(power) => factor * libm::pow(generator.uniform(), power),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moments(n: usize, mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let values: Vec<f64> = (0..n).map(|_| draw()).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n as f64;
        (mean, variance)
    }

    #[test]
    fn stirling_tail_completes_the_log_factorial() {
        let mut log_factorial = 0.0;
        for k in 0..200 {
            let x = f64::from(k);
            log_factorial += if k > 0 { libm::log(x) } else { 0.0 };
            let approximate =
                (x + 0.5) * libm::log(x + 1.0) - (x + 1.0) + HALF_LOG_TWO_PI + stirling_tail(x);
            assert!(
                (approximate - log_factorial).abs() < 1e-8,
                "{k}: {approximate} {log_factorial}"
            );
        }
    }

    #[test]
    fn binomial_matches_its_distribution() {
        // Both samplers, both sides of 1/2, against exact probabilities: chi-square with about 40 cells.
        for (n, p) in [(30u32, 0.1), (30, 0.93), (100, 0.3), (100, 0.8), (2000, 0.02)] {
            let chance = Chance::of_probability(p);
            let mut generator = Generator::new(7, u64::from(n));
            let draws = 200_000;
            let mut seen = vec![0.0f64; n as usize + 1];
            for _ in 0..draws {
                seen[generator.binomial(n, &chance) as usize] += 1.0;
            }
            let (mut chi, mut cells) = (0.0, 0.0);
            let mut log_p = f64::from(n) * libm::log1p(-p);
            for (k, &count) in seen.iter().enumerate() {
                let expected = f64::from(draws) * libm::exp(log_p);
                if expected > 20.0 {
                    chi += (count - expected) * (count - expected) / expected;
                    cells += 1.0;
                }
                log_p += libm::log(p / (1.0 - p)) + libm::log(f64::from(n) - k as f64)
                    - libm::log(k as f64 + 1.0);
            }
            let z = (chi - cells) / (2.0 * cells).sqrt();
            assert!(z < 4.0, "n {n} p {p}: chi {chi} over {cells} cells");
        }
    }

    #[test]
    fn poisson_and_gamma_have_their_moments() {
        let mut generator = Generator::new(3, 0);
        for mean in [0.3, 4.0, 11.0, 250.0, 4e4] {
            let (m, v) = moments(200_000, || generator.poisson(mean));
            assert!((m / mean - 1.0).abs() < 5.0 / (200_000.0 * mean).sqrt(), "{mean}: {m}");
            assert!((v / mean - 1.0).abs() < 0.03, "{mean}: {v}");
        }
        for dispersion in [0.01, 0.05, 0.7, 2.5] {
            let mut factor = GammaFactor::new(dispersion);
            let (m, v) = moments(400_000, || factor.sample(&mut generator));
            assert!((m - 1.0).abs() < 0.012, "{dispersion}: mean {m}");
            assert!((v / dispersion - 1.0).abs() < 0.04, "{dispersion}: variance {v}");
        }
    }

    #[test]
    fn normal_and_exponential_have_their_moments_and_tails() {
        let mut generator = Generator::new(4, 0);
        let mut z = vec![0.0; 200_001];
        generator.normals(&mut z);
        let n = z.len() as f64;
        let mean = z.iter().sum::<f64>() / n;
        let variance = z.iter().map(|z| z * z).sum::<f64>() / n;
        let beyond = z.iter().filter(|z| z.abs() > 1.959_964).count() as f64 / n;
        assert!(mean.abs() < 4.0 / n.sqrt(), "mean {mean}");
        assert!((variance - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "variance {variance}");
        assert!((beyond - 0.05).abs() < 4.0 * (0.05 * 0.95 / n).sqrt(), "{beyond} beyond 1.96");
        let (mean, variance) = moments(200_000, || generator.exponential());
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.03, "variance {variance}");
    }

    proptest! {
        #[test]
        fn no_draw_exceeds_its_compartment(n in 0u32..300_000, rate in 0.0f64..50.0, seed: u64) {
            let mut generator = Generator::new(seed, 0);
            prop_assert!(generator.binomial(n, &Chance::of_rate(rate, 1.0)) <= n);
        }
    }
}
