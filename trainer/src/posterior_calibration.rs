//! Makes the integer model's probabilities true on held-out simulations, at no cost on the device.
//!
//! Both corrections are affine in a head's outputs, so they fold into its last layer: the `categorical` head is divided by a temperature
//! (Guo et al. 2017, <https://arxiv.org/abs/1706.04599>, section 4.2), each row of a `quantiles` head is shifted by a split-conformal
//! offset (Romano, Patterson and Candes 2019, <https://arxiv.org/abs/1905.03222>, one-sided for each level).

/// Temperature that minimizes the negative log likelihood of `logits`, `[n, k]`, by golden-section search on its logarithm.
///
/// The negative log likelihood is convex in the inverse temperature, hence unimodal in the logarithm.
pub fn temperature(logits: &[f32], mechanism: &[u16], k: usize) -> f32 {
    let loss = |log_t: f64| {
        let inverse = (-log_t).exp();
        let rows = logits.chunks_exact(k).zip(mechanism);
        rows.map(|(row, &m)| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|l| (f64::from(l - largest) * inverse).exp()).sum();
            sum.ln() - f64::from(row[usize::from(m)] - largest) * inverse
        })
        .sum::<f64>()
    };
    golden_section(loss, -3.0, 3.0, 40).exp() as f32
}

/// The minimum of a unimodal function on `low..high`, after this many steps of golden-section search.
pub fn golden_section(
    mut function: impl FnMut(f64) -> f64,
    mut low: f64,
    mut high: f64,
    steps: usize,
) -> f64 {
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (high - golden * (high - low), low + golden * (high - low));
    let (mut at_a, mut at_b) = (function(a), function(b));
    for _ in 0..steps {
        if at_a < at_b {
            (high, b, at_b) = (b, a, at_a);
            a = high - golden * (high - low);
            at_a = function(a);
        } else {
            (low, a, at_a) = (a, b, at_b);
            b = low + golden * (high - low);
            at_b = function(b);
        }
    }
    (low + high) / 2.0
}

/// Offset that makes `level` of the held-out `residuals` (truth minus predicted quantile) fall at or below it.
///
/// The order statistic is the conservative one of `n + 1`: `ceil((n + 1) level)` above the median, `floor((n + 1) level)` below it,
/// so an interval between two symmetric levels covers at least its nominal share.
pub fn conformal_offset(residuals: &mut [f32], level: f32) -> f32 {
    residuals.sort_by(f32::total_cmp);
    let rank = (residuals.len() + 1) as f64 * f64::from(level);
    let rank = match level {
        level if level > 0.5 => rank.ceil(),
        level if level < 0.5 => rank.floor(),
        _ => rank.round(),
    };
    residuals[(rank as usize).clamp(1, residuals.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_of_overconfident_logits() {
        // Two classes, right three times of four: the best logit difference is ln 3, whatever the given one.
        let logits = [8.0, 0.0].repeat(400);
        let mechanism: Vec<u16> = (0..400).map(|at| u16::from(at % 4 == 0)).collect();
        let found = temperature(&logits, &mechanism, 2);
        assert!((found - 8.0 / 3.0_f32.ln()).abs() < 1e-3, "{found}");
    }

    #[test]
    fn conformal_offsets_are_order_statistics() {
        let residuals: Vec<f32> = (1..=99).map(|i| i as f32).collect();
        assert_eq!(conformal_offset(&mut residuals.clone(), 0.95), 95.0);
        assert_eq!(conformal_offset(&mut residuals.clone(), 0.05), 5.0);
        assert_eq!(conformal_offset(&mut residuals.clone(), 0.5), 50.0);
        assert_eq!(conformal_offset(&mut [3.0, 1.0], 0.99), 3.0);
    }
}
