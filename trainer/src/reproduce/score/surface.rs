//! Likelihood surfaces over a square grid, and what inference reads off them.

/// Points of the grid along each of two parameters, in the middle of equal cells of the prior.
pub(super) const GRID: usize = 32;

/// Width of the prior's support in prior standard deviations.
pub(super) const SUPPORT: f64 = 3.464_101_615_137_754_6;

/// Upper 5 % point of chi-squared with two degrees of freedom, `-2 log 0.05` (Wilks 1938).
const CRITICAL: f64 = 5.991_464_547_107_98;

/// `log r` of test simulations.
pub(super) struct Surfaces {
    /// `[t, GRID * GRID]`.
    pub grid: Vec<f64>,
    /// At each simulation's own theta: `[t]`.
    pub truth: Vec<f64>,
}

/// What is read off the surfaces.
pub(super) struct Reading {
    /// Binary cross-entropy of joint pairs against pairs with all thetas of the grid.
    pub cross_entropy: f64,
    /// `2 (max log r - log r(theta))` of each simulation, the maximum taken on the grid, between its points, and at theta.
    pub statistic: Vec<f64>,
    /// Maximum-likelihood estimate of each simulation, in prior standard deviations.
    pub mle: Vec<[f64; 2]>,
    /// Share of simulations whose theta is in its 95 % Wilks set.
    pub coverage: f64,
    /// Mean share of the prior that is in the set.
    pub area: f64,
}

impl Surfaces {
    pub fn read(&self) -> Reading {
        let count = self.truth.len() as f64;
        let mut reading = Reading {
            cross_entropy: 0.0,
            statistic: Vec::new(),
            mle: Vec::new(),
            coverage: 0.0,
            area: 0.0,
        };
        for (surface, &truth) in self.grid.chunks_exact(GRID * GRID).zip(&self.truth) {
            let cells = surface.len() as f64;
            let marginal: f64 = surface.iter().map(|&f| softplus(f)).sum();
            reading.cross_entropy += 0.5 * (softplus(-truth) + marginal / cells) / count;
            let (largest, mle) = peak(surface);
            let largest = largest.max(truth);
            let statistic = 2.0 * (largest - truth);
            let inside = surface.iter().filter(|&&f| 2.0 * (largest - f) <= CRITICAL).count();
            reading.area += inside as f64 / cells / count;
            reading.coverage += f64::from(u8::from(statistic <= CRITICAL)) / count;
            reading.statistic.push(statistic);
            reading.mle.push(mle);
        }
        reading
    }
}

/// Value and place of the maximum: the largest point, moved along each axis to the vertex of the parabola through its neighbors.
fn peak(surface: &[f64]) -> (f64, [f64; 2]) {
    let best =
        (0..surface.len()).fold(0, |best, at| if surface[at] > surface[best] { at } else { best });
    let top = surface[best];
    let mut value = top;
    let mut mle = [0.0; 2];
    for (axis, stride) in [(0, GRID), (1, 1)] {
        let at = best / stride % GRID;
        let mut offset = 0.0;
        if at > 0 && at < GRID - 1 {
            let (before, after) = (surface[best - stride], surface[best + stride]);
            let curvature = before - 2.0 * top + after;
            if curvature < 0.0 {
                offset = 0.5 * (before - after) / curvature;
                value -= 0.125 * (before - after).powi(2) / curvature;
            }
        }
        mle[axis] = SUPPORT * ((at as f64 + 0.5 + offset) / GRID as f64 - 0.5);
    }
    (value, mle)
}

fn softplus(f: f64) -> f64 {
    f.max(0.0) + libm::log1p(libm::exp(-f.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quadratic(center: [f64; 2], curvature: [f64; 2]) -> Vec<f64> {
        let place = |at: usize| SUPPORT * ((at as f64 + 0.5) / GRID as f64 - 0.5);
        let value = |at: usize| {
            let (a, b) = (place(at / GRID) - center[0], place(at % GRID) - center[1]);
            3.0 - 0.5 * (curvature[0] * a * a + curvature[1] * b * b)
        };
        (0..GRID * GRID).map(value).collect()
    }

    #[test]
    fn a_quadratic_surface_is_read_exactly() {
        let center = [0.31, -0.62];
        let grid = quadratic(center, [20.0, 30.0]);
        let surfaces = Surfaces { grid: [grid.clone(), grid].concat(), truth: vec![2.0, -1.0] };
        let reading = surfaces.read();
        for (found, expected) in reading.statistic.iter().zip([2.0, 8.0]) {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
        assert!((reading.mle[0][0] - center[0]).abs() < 1e-9);
        assert!((reading.mle[0][1] - center[1]).abs() < 1e-9);
        assert_eq!(reading.coverage, 0.5);
        // The ellipse of the set, as a share of the square; cells are counted whole.
        let ellipse = std::f64::consts::PI * CRITICAL / 600.0_f64.sqrt() / SUPPORT.powi(2);
        assert!((reading.area - ellipse).abs() < 0.05 * ellipse, "{} for {ellipse}", reading.area);
    }

    #[test]
    fn a_constant_ratio_says_nothing() {
        let surfaces = Surfaces { grid: vec![0.0; GRID * GRID], truth: vec![0.0] };
        let reading = surfaces.read();
        assert!((reading.cross_entropy - 2.0_f64.ln()).abs() < 1e-12);
        assert_eq!((reading.coverage, reading.area), (1.0, 1.0));
    }
}
