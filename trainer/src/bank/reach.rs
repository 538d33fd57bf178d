//! Half-lives of the kernels as the device's codes.

use simground_runtime::Reach;

/// Largest shift that is tried: half-lives up to `2^36`.
const LARGEST_SHIFT: u8 = 32;

/// Squared distance over which a kernel halves.
pub fn half_life(reach: Reach, shift: u8) -> f64 {
    let (high, low) = (reach.0 >> 4, reach.0 & 15);
    libm::exp2(f64::from(shift) + 8.0 - f64::from(high)) / (16.0 + f64::from(low))
}

/// Codes of half-lives, and the least shift with which the widest can be said.
pub(super) fn encode(half_lives: &[f64]) -> (Vec<Reach>, u8) {
    let widest = half_lives.iter().copied().fold(1.0, f64::max);
    let enough = |shift: &u8| half_life(Reach(0), *shift) >= widest;
    let shift = (0..LARGEST_SHIFT).find(enough).unwrap_or(LARGEST_SHIFT);
    let nearest = |wanted: &f64| {
        let error = |code: u8| (half_life(Reach(code), shift) / wanted).ln().abs();
        Reach((0..=255).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(0))
    };
    (half_lives.iter().map(nearest).collect(), shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_within_a_thirtieth() {
        let half_lives: Vec<f64> =
            (0..60).map(|at| 0.05 * libm::exp2(f64::from(at) / 4.0)).collect();
        let (reaches, shift) = encode(&half_lives);
        for (wanted, reach) in half_lives.iter().zip(reaches) {
            let found = half_life(reach, shift);
            assert!((found / wanted - 1.0).abs() < 1.0 / 30.0, "{found} {wanted}");
            let halvings = f64::from(reach.exponent(40_000, shift)) / 256.0;
            assert!((halvings - 40_000.0 / found).abs() <= 1.0 / 256.0, "{halvings}");
        }
    }
}
