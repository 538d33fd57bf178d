//! How much more data plain training needs for the same figure.

/// An equivalence in numbers of simulations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Equivalence {
    /// Plain simulations over augmented ones.
    pub times: f64,
    /// Whether plain training is worse at its largest size, so that `times` is only a lower bound.
    pub at_least: bool,
}

/// At how many simulations the plain curve reaches `figure`, over `simulations`.
///
/// `curve` has the figures of plain training, smaller being better, by rising numbers of simulations; between two of them the
/// logarithm of the figure is linear in that of the number. Outside the curve its end counts.
pub(super) fn equivalence(curve: &[(usize, f64)], simulations: usize, figure: f64) -> Equivalence {
    let over = |n: f64| n / simulations as f64;
    let (first, last) = (curve[0], curve[curve.len() - 1]);
    if figure >= first.1 {
        return Equivalence { times: over(first.0 as f64), at_least: false };
    }
    for pair in curve.windows(2) {
        let ((before, high), (after, low)) = (pair[0], pair[1]);
        if figure < high && figure >= low {
            let share = libm::log(high / figure) / libm::log(high / low);
            let growth = libm::log(after as f64 / before as f64);
            let times = over(before as f64 * libm::exp(share * growth));
            return Equivalence { times, at_least: false };
        }
    }
    Equivalence { times: over(last.0 as f64), at_least: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_in_logarithms() {
        let curve = [(100, 8.0), (1_000, 2.0), (10_000, 1.0)];
        for (simulations, figure, times, at_least) in [
            (100, 4.0, 10.0_f64.sqrt(), false),
            (100, 2.0, 10.0, false),
            (1_000, 9.0, 0.1, false),
            (1_000, 0.5, 10.0, true),
            (1_000, 2.0, 1.0, false),
        ] {
            let found = equivalence(&curve, simulations, figure);
            assert!((found.times - times).abs() < 1e-9 * times, "{found:?} for {times}");
            assert_eq!(found.at_least, at_least, "{figure}");
        }
    }
}
