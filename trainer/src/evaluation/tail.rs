//! Tail probabilities of the binomial, the beta-binomial and the chi-squared distribution.

/// `P(K >= k)` for a binomial `K` of `n` trials with success probability `p`: a sum of the tail's own terms, so small ones keep their
/// digits.
pub fn binomial_at_least(n: u64, p: f64, k: u64) -> f64 {
    if k == 0 || p >= 1.0 {
        return if k <= n { 1.0 } else { 0.0 };
    }
    if k > n || p <= 0.0 {
        return 0.0;
    }
    let (trials, hits) = (n as f64, k as f64);
    if hits <= trials * p {
        return 1.0 - binomial_at_least(n, 1.0 - p, n - k + 1);
    }
    let misses = trials - hits;
    let choose = libm::lgamma(trials + 1.0) - libm::lgamma(hits + 1.0) - libm::lgamma(misses + 1.0);
    let mut term = (choose + hits * p.ln() + misses * (-p).ln_1p()).exp();
    let mut sum = 0.0;
    for k in k..=n {
        sum += term;
        if term <= 1e-17 * sum {
            break;
        }
        term *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
    }
    sum.min(1.0)
}

/// `P(K <= k)`.
pub fn binomial_at_most(n: u64, p: f64, k: u64) -> f64 {
    if k >= n { 1.0 } else { binomial_at_least(n, 1.0 - p, n - k) }
}

/// `P(K >= k)` for `n` trials whose success probability is itself drawn, from a beta distribution of this mean and concentration
/// (the sum of its two parameters): a sum of terms as for the binomial, which it is at an infinite concentration.
pub fn beta_binomial_at_least(n: u64, mean: f64, concentration: f64, k: u64) -> f64 {
    if !concentration.is_finite() || k == 0 || k > n || mean <= 0.0 || mean >= 1.0 {
        return binomial_at_least(n, mean, k);
    }
    let (trials, hits) = (n as f64, k as f64);
    if hits <= trials * mean {
        return 1.0 - beta_binomial_at_least(n, 1.0 - mean, concentration, n - k + 1);
    }
    let (a, b) = (concentration * mean, concentration * (1.0 - mean));
    let log_beta = |a: f64, b: f64| libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let misses = trials - hits;
    let choose = libm::lgamma(trials + 1.0) - libm::lgamma(hits + 1.0) - libm::lgamma(misses + 1.0);
    let mut term = (choose + log_beta(a + hits, b + misses) - log_beta(a, b)).exp();
    let mut sum = 0.0;
    for k in k..=n {
        sum += term;
        let (hits, misses) = (k as f64, (n - k) as f64);
        if k == n || term <= 1e-17 * sum {
            break;
        }
        term *= misses / (hits + 1.0) * (a + hits) / (b + misses - 1.0);
    }
    sum.min(1.0)
}

/// `P(K <= k)`.
pub fn beta_binomial_at_most(n: u64, mean: f64, concentration: f64, k: u64) -> f64 {
    if k >= n { 1.0 } else { beta_binomial_at_least(n, 1.0 - mean, concentration, n - k) }
}

/// Counts that a binomial exceeds on either side with a probability of at most `level / 2` each: the ends are included.
pub fn binomial_band(n: u64, p: f64, level: f64) -> (u64, u64) {
    // The largest count such that fewer are improbable; `at_most` grows with the count.
    let first = |mut low: u64, mut high: u64, holds: &dyn Fn(u64) -> bool| {
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(middle) { high = middle } else { low = middle + 1 }
        }
        low
    };
    let low = first(0, n, &|k| binomial_at_most(n, p, k) > level / 2.0);
    let high = first(0, n, &|k| binomial_at_least(n, p, k + 1) <= level / 2.0);
    (low, high)
}

/// `P(X >= x)` for a chi-squared `X`: the regularized upper incomplete gamma function at `freedom / 2`, by its series below
/// the mean and its continued fraction above (Press et al. 2007, Numerical Recipes, section 6.2).
pub fn chi_squared_at_least(freedom: usize, x: f64) -> f64 {
    let (a, x) = (freedom as f64 / 2.0, x / 2.0);
    if x <= 0.0 || freedom == 0 {
        return 1.0;
    }
    let scale = (a * x.ln() - x - libm::lgamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut at) = (1.0 / a, 1.0 / a, a);
        while term > 1e-16 * sum {
            at += 1.0;
            term *= x / at;
            sum += term;
        }
        return (1.0 - scale * sum).max(0.0);
    }
    // Lentz's method.
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1e300, 1.0 / b);
    let mut h = d;
    for i in 1..1_000 {
        let an = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (scale * h).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-9, "{found:e} {expected:e}");
    }

    #[test]
    fn known_tails() {
        // Of ten tosses: 1 + 10 + 45 of 1,024.
        close(binomial_at_least(10, 0.5, 8), 56.0 / 1024.0);
        close(binomial_at_most(10, 0.5, 2), 56.0 / 1024.0);
        close(binomial_at_least(10, 0.5, 3), 1.0 - 56.0 / 1024.0);
        close(binomial_at_least(30, 0.1, 30), 1e-30);
        assert_eq!((binomial_at_least(5, 0.3, 0), binomial_at_least(5, 0.3, 6)), (1.0, 0.0));
        // Two degrees of freedom: exp(-x / 2); one: erfc(sqrt(x / 2)).
        for x in [0.1, 1.0, 3.9, 4.1, 40.0] {
            close(chi_squared_at_least(2, x), (-x / 2.0_f64).exp());
            close(chi_squared_at_least(1, x), libm::erfc((x / 2.0_f64).sqrt()));
        }
    }

    #[test]
    fn known_tails_of_a_drawn_probability() {
        // A uniform probability makes every count as likely as any other.
        for k in 0..=10 {
            close(beta_binomial_at_least(10, 0.5, 2.0, k), (11 - k) as f64 / 11.0);
            close(beta_binomial_at_most(10, 0.5, 2.0, k), (k + 1) as f64 / 11.0);
        }
        // B(a + n, b) / B(a, b) with a = 3, b = 7, n = 2: 3 / 10 * 4 / 11.
        close(beta_binomial_at_least(2, 0.3, 10.0, 2), 12.0 / 110.0);
        let sharp = beta_binomial_at_least(400, 0.5, 1e7, 230);
        assert!((sharp / binomial_at_least(400, 0.5, 230) - 1.0).abs() < 1e-3);
        assert_eq!(
            beta_binomial_at_least(400, 0.5, f64::INFINITY, 230),
            binomial_at_least(400, 0.5, 230)
        );
    }

    #[test]
    fn a_band_holds_its_level() {
        for (n, p) in [(1_000, 0.05), (37, 0.5), (1, 0.3)] {
            let (low, high) = binomial_band(n, p, 0.05);
            assert!(low == 0 || binomial_at_most(n, p, low - 1) <= 0.025);
            assert!(binomial_at_most(n, p, low) > 0.025);
            assert!(binomial_at_least(n, p, high + 1) <= 0.025);
            assert!(high == 0 || binomial_at_least(n, p, high) > 0.025);
        }
    }
}
