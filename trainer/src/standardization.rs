//! From raw units to what the network reads, and from what it answers back to raw units.
//!
//! Fitted on training simulations alone. The float network reads [`InputScaling::apply`]; the runtime computes the same
//! on its integer grid, and [`TargetScaling`] is what the artifact stores for each target.

use serde::{Deserialize, Serialize};
use simground_runtime::artifact::{Missing, TargetTransform, Transform};

use crate::corpus::{Corpus, Schema};
use crate::study;

/// Standardized inputs are clamped to this many standard deviations, in the float network as on the integer grid.
pub const Z_MAX: f32 = 6.0;

/// Transform, center and spread of every value of the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputScaling {
    /// Transform of each value.
    pub transforms: Vec<Transform>,
    /// Mean of each transformed value.
    pub center: Vec<f32>,
    /// Standard deviation of each transformed value; 1 where it is constant.
    pub spread: Vec<f32>,
    /// Whether each value has an indicator input.
    pub missing: Missing,
}

impl InputScaling {
    /// Estimates the scaling from training simulations.
    pub fn fit(corpus: &Corpus, input: study::Input) -> Self {
        let d_x = corpus.schema.d_x();
        let transform = match input.transform {
            study::Transform::Identity => Transform::Identity,
            study::Transform::Log1p => Transform::Log1p,
            study::Transform::Auto => automatic_transform(&corpus.x),
        };
        // Row by row, as the values lie: a column of a wide window is a cache miss a value.
        let mut columns = vec![Moments::default(); d_x];
        for row in corpus.x.chunks_exact(d_x) {
            let values = columns.iter_mut().zip(row).filter(|(_, x)| !x.is_nan());
            values.for_each(|(moments, &x)| moments.add(transformed(x, transform)));
        }
        let center = columns.iter().map(|moments| moments.mean() as f32).collect();
        let spread = columns.iter().map(|moments| moments.sd() as f32).collect();
        let missing = match input.missing {
            study::Missing::Refuse => Missing::Refuse,
            study::Missing::Allow => Missing::Indicator,
        };
        InputScaling { transforms: vec![transform; d_x], center, spread, missing }
    }

    /// Width of the window.
    pub fn d_x(&self) -> usize {
        self.center.len()
    }

    /// Inputs of the network: the values, then an indicator for each where missing values are known.
    pub fn d_input(&self) -> usize {
        match self.missing {
            Missing::Refuse => self.d_x(),
            Missing::Indicator => 2 * self.d_x(),
        }
    }

    /// Standardizes one window; a missing value becomes 0 and, where there are indicators, an indicator of 1.
    ///
    /// # Shapes
    ///
    /// `x`: `[d_x]`; `out`: `[d_input]`.
    pub fn apply(&self, x: &[f32], out: &mut [f32]) {
        let (values, indicators) = out.split_at_mut(self.d_x());
        indicators.fill(0.0);
        for (at, (&x, z)) in x.iter().zip(values).enumerate() {
            if x.is_nan() {
                *z = 0.0;
                if let Some(indicator) = indicators.get_mut(at) {
                    *indicator = 1.0;
                }
            } else {
                let t = transformed(x, self.transforms[at]);
                *z = ((t - self.center[at]) / self.spread[at]).clamp(-Z_MAX, Z_MAX);
            }
        }
    }

    /// Standardizes rows `[n, d_x]` into `[n, d_input]`.
    pub fn apply_rows(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.d_x() * self.d_input()];
        let rows = x.chunks_exact(self.d_x()).zip(out.chunks_exact_mut(self.d_input()));
        rows.for_each(|(x, out)| self.apply(x, out));
        out
    }
}

/// Counts that span decades go through `log1p`, signed values that do through its odd extension.
///
/// "Span decades": the largest magnitude exceeds the median nonzero one more than thirtyfold.
pub(crate) fn automatic_transform(x: &[f32]) -> Transform {
    let mut magnitudes: Vec<f32> =
        x.iter().filter(|x| x.is_finite() && **x != 0.0).map(|x| x.abs()).collect();
    let count = magnitudes.len();
    if count == 0 {
        return Transform::Identity;
    }
    let mut ranked = |rank: usize| *magnitudes.select_nth_unstable_by(rank, f32::total_cmp).1;
    let median = ranked(count / 2);
    let high = ranked(count - 1 - count / 1000);
    match (high > 30.0 * median, x.iter().any(|x| *x < 0.0)) {
        (false, _) => Transform::Identity,
        (true, false) => Transform::Log1p,
        (true, true) => Transform::SignedLog1p,
    }
}

/// The runtime's transform, in the same library.
fn transformed(x: f32, transform: Transform) -> f32 {
    match transform {
        Transform::Identity => x,
        Transform::Log1p => libm::log1pf(x.max(0.0)),
        Transform::SignedLog1p => libm::log1pf(x.abs()).copysign(x),
    }
}

/// Mean and standard deviation; a standard deviation of 1 for constant or absent values.
pub(crate) fn moments(values: impl Iterator<Item = f32>) -> (f64, f64) {
    let mut moments = Moments::default();
    values.for_each(|value| moments.add(value));
    (moments.mean(), moments.sd())
}

/// Mean and standard deviation of finite values that come one by one (Welford 1962, <https://doi.org/10.2307/1266577>).
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f32) {
        if value.is_finite() {
            let value = f64::from(value);
            self.count += 1.0;
            let difference = value - self.mean;
            self.mean += difference / self.count;
            self.squares += difference * (value - self.mean);
        }
    }

    fn mean(&self) -> f64 {
        self.mean
    }

    /// 1 for constant or absent values.
    fn sd(&self) -> f64 {
        let sd = f64::sqrt(self.squares / f64::max(self.count, 1.0));
        // Rounding of `f32` beside the mean, and what no scale of the integers' grid could be the reciprocal of.
        let negligible = f64::max(1e-6 * self.mean.abs(), 1e-30);
        if sd > negligible { sd } else { 1.0 }
    }
}

/// How one target is standardized: `z = (t(y) - center) / spread`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetScaling {
    /// Name (`cases+1`).
    pub name: String,
    /// Name of the series it is a step of (`cases`), or its own.
    pub series: String,
    /// Transform before centering.
    pub transform: TargetTransform,
    /// Mean of the transformed target.
    pub center: f32,
    /// Standard deviation of the transformed target.
    pub spread: f32,
    /// Lower end of the support.
    pub lower: f32,
    /// Upper end of the support.
    pub upper: f32,
}

impl TargetScaling {
    /// Estimates the scaling of every target of the schema from training simulations.
    ///
    /// Targets of one series share a transform, so that their answers compare.
    pub fn fit(corpus: &Corpus) -> Vec<TargetScaling> {
        let schema: &Schema = &corpus.schema;
        let d = schema.d_target();
        let column = |at: usize| corpus.target.iter().skip(at).step_by(d).copied();
        let scaling = |at: usize| {
            let target = &schema.targets[at];
            let group = schema.target_indices(&target.group);
            let lower = target.lower.unwrap_or(f32::NEG_INFINITY);
            let values: Vec<f32> = group.iter().flat_map(|&at| column(at)).collect();
            let transform = automatic_target_transform(&values, target.integer, lower);
            let (center, spread) = moments(column(at).map(|y| forward(y, transform)));
            TargetScaling {
                name: target.name.clone(),
                series: target.group.clone(),
                transform,
                center: center as f32,
                spread: spread as f32,
                lower,
                upper: target.upper.unwrap_or(f32::INFINITY),
            }
        };
        (0..d).map(scaling).collect()
    }

    /// Standardizes a target.
    pub fn to_z(&self, y: f32) -> f32 {
        (forward(y, self.transform) - self.center) / self.spread
    }

    /// From a standardized value to raw units, inside the support.
    pub fn from_z(&self, z: f32) -> f32 {
        let y = self.center + self.spread * z;
        let value = match self.transform {
            TargetTransform::Identity => y,
            TargetTransform::Log1p => libm::expm1f(y),
            TargetTransform::Log => libm::expf(y),
            TargetTransform::Sqrt => y.max(0.0) * y.max(0.0),
        };
        value.min(self.upper).max(self.lower)
    }
}

fn forward(y: f32, transform: TargetTransform) -> f32 {
    match transform {
        TargetTransform::Identity => y,
        TargetTransform::Log1p => libm::log1pf(y.max(0.0)),
        // A target at the very end of its support stays finite.
        TargetTransform::Log => libm::logf(y.max(f32::MIN_POSITIVE)),
        TargetTransform::Sqrt => libm::sqrtf(y.max(0.0)),
    }
}

/// Counts are stabilized by the square root: it keeps absolute errors of large counts in view, which `log1p` does not.
/// Positive continuous targets that span decades go through the logarithm.
fn automatic_target_transform(values: &[f32], integer: bool, lower: f32) -> TargetTransform {
    if lower < 0.0 {
        return TargetTransform::Identity;
    }
    if integer {
        return TargetTransform::Sqrt;
    }
    let (low, high) =
        values.iter().fold((f32::INFINITY, 0.0_f32), |(low, high), &y| (low.min(y), high.max(y)));
    if low > 0.0 && high > 30.0 * low { TargetTransform::Log } else { TargetTransform::Identity }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_units_are_scaled_and_constants_are_not() {
        for unit in [1e-20_f32, 1e-13, 1.0, 1e20] {
            let (mean, sd) = moments([1.0, 2.0, 3.0].map(|x| x * unit).into_iter());
            assert!((mean / f64::from(unit) - 2.0).abs() < 1e-5, "{unit}");
            assert!((sd / f64::from(unit) - 0.816_497).abs() < 1e-5, "{unit}");
            assert_eq!(moments([unit; 3].into_iter()).1, 1.0);
        }
        assert_eq!(moments([0.0; 3].into_iter()), (0.0, 1.0));
        // Rounding of a constant beside its size.
        assert_eq!(moments([1e6, 1e6 + 0.0625].into_iter()).1, 1.0);
    }
}
