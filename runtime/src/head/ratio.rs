//! `ratio`: the likelihood of an observation at any theta, up to a factor that does not depend on theta.
//!
//! The network answers `log r = log p(x | theta) / p(x)`. What the observation adds to its first layer is computed once; each theta costs
//! the rest, a small stack of layers. Everything up to the last accumulator is integers, and searches compare accumulators.

use heapless::Vec;

use crate::artifact::{Head, MAX_THETA, Parameter, Records};
use crate::conditional::{self, Point, Stack, Work};
use crate::error::InputError;
use crate::math;
use crate::network::Inference;

/// Points of a lattice from the best of which a search starts; a power of two.
const STARTS: u16 = 64;
/// Generator of that lattice, odd (Korobov 1959).
const GENERATOR: u16 = 19;
/// A search's first step is this power of a half of each parameter's range.
const FIRST_STEP: u32 = 4;
/// Lengths of steps, each half of the one before: the last is one point of the grid, which has at most `2^16`.
const STEP_LENGTHS: u32 = 13;
/// Rounds with each length.
const ROUNDS: usize = 3;
/// Halvings that find the end of an interval to a point of the grid.
const HALVINGS: usize = 16;

/// The likelihood surface of one observation.
#[derive(Debug)]
pub struct Ratio<'i, 'a> {
    parameters: Records<'a, Parameter<'a>>,
    stack: Stack<'a>,
    work: Work<'i>,
    scale: f32,
}

/// Where the likelihood is largest.
#[derive(Debug, Clone, PartialEq)]
pub struct Maximum {
    /// The parameters, in their units.
    pub theta: Vec<f32, MAX_THETA>,
    /// The logarithm of the ratio there.
    pub log_ratio: f32,
    /// The parameters on the grid.
    pub(crate) point: Point,
    accumulator: i32,
}

/// What is not rejected by the likelihood-ratio test: `2 (max log r - log r(theta))` at most a quantile of the chi-squared distribution.
///
/// Its coverage is that of Wilks's theorem (1938, <https://doi.org/10.1214/aoms/1177732360>): exact only where much is observed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfidenceSet {
    /// Smallest logarithm of the ratio in the set.
    pub lowest: f32,
}

impl ConfidenceSet {
    /// Whether a theta at which the logarithm of the ratio is this belongs to the set.
    pub fn contains(&self, log_ratio: f32) -> bool {
        log_ratio >= self.lowest
    }
}

/// Equally spaced values of one parameter, both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// First value.
    pub low: f32,
    /// Last value.
    pub high: f32,
    /// How many, at least 1; a single one is `low`.
    pub points: u16,
}

impl Axis {
    /// One value.
    pub fn value(&self, position: u16) -> f32 {
        let steps = f32::from(self.points.saturating_sub(1).max(1));
        self.low + (self.high - self.low) * (f32::from(position) / steps)
    }
}

impl<'a> Inference<'_, '_, 'a> {
    /// The likelihood surface; `None` without a `ratio` head.
    pub fn ratio(&mut self) -> Option<Ratio<'_, 'a>> {
        let mut heads = self.model.manifest.heads.iter().enumerate();
        let (position, layer, parameters, record) = heads.find_map(|(position, head)| {
            let Head::Ratio { layer, parameters, stack } = head else { return None };
            Some((position, layer, parameters, stack))
        })?;
        let (stack, work) = self.stack(position, layer.d_output, &record, false)?;
        let scale = stack.scale(0);
        Some(Ratio { parameters, stack, work, scale })
    }
}

impl<'a> Ratio<'_, 'a> {
    /// The parameters, in the order of every theta.
    pub fn parameters(&self) -> Records<'a, Parameter<'a>> {
        self.parameters
    }

    /// Logarithm of the ratio at `theta`, rounded to the grid. Minus infinity outside the support, NaN for a theta of another length.
    pub fn log_ratio(&mut self, theta: &[f32]) -> f32 {
        if theta.len() != self.parameters.len() {
            return f32::NAN;
        }
        let mut point = conditional::origin(theta.len());
        for ((q, parameter), theta) in point.iter_mut().zip(self.parameters.iter()).zip(theta) {
            if !(parameter.low <= *theta && *theta <= parameter.high) {
                return f32::NEG_INFINITY;
            }
            *q = self.stack.quantize(parameter.to_z(*theta));
        }
        math::float(self.at(&point)) * self.scale
    }

    /// Logarithms of the ratio on a grid, an axis for each parameter, the last one's values running fastest.
    ///
    /// # Errors
    ///
    /// For another number of axes than parameters, and for `out` of another length than the grid.
    pub fn surface(&mut self, axes: &[Axis], out: &mut [f32]) -> Result<(), InputError> {
        let (needed, found) = (self.parameters.len(), axes.len());
        if needed != found {
            return Err(InputError::WrongWidth { needed, found });
        }
        let points = axes.iter().map(|axis| usize::from(axis.points));
        let (needed, found) = (points.fold(1, usize::saturating_mul), out.len());
        if needed != found {
            return Err(InputError::WrongWidth { needed, found });
        }
        let mut positions: Vec<u16, MAX_THETA> = crate::first_items(axes.iter().map(|_| 0));
        for value in out {
            let theta = axes.iter().zip(&positions).map(|(axis, at)| axis.value(*at));
            let theta: Vec<f32, MAX_THETA> = crate::first_items(theta);
            *value = self.log_ratio(&theta);
            for (axis, at) in axes.iter().zip(&mut positions).rev() {
                *at = at.saturating_add(1);
                if *at < axis.points {
                    break;
                }
                *at = 0;
            }
        }
        Ok(())
    }

    /// The theta with the largest likelihood in the support, as far as the prior reaches.
    ///
    /// The best of 64 points of a lattice, then a pattern search (Hooke and Jeeves 1961, <https://doi.org/10.1145/321062.321069>) down to
    /// the grid: `103 + 78 d` evaluations, whatever the surface.
    pub fn maximum(&mut self) -> Maximum {
        let range = self.range();
        let mut best = conditional::origin(self.parameters.len());
        let mut accumulator = i32::MIN;
        for start in 0..STARTS {
            let point = range.lattice(start);
            let found = self.at(&point);
            if found > accumulator {
                (best, accumulator) = (point, found);
            }
        }
        self.climb(&range, &mut best, &mut accumulator, ROUNDS, None);
        let values = self.parameters.iter().zip(&best);
        let theta = values.map(|(parameter, q)| parameter.from_z(self.stack.standardized(*q)));
        let theta = crate::first_items(theta);
        Maximum {
            theta,
            log_ratio: math::float(accumulator) * self.scale,
            point: best,
            accumulator,
        }
    }

    /// The set of all parameters at this level, below 1.
    pub fn confidence_set(&self, maximum: &Maximum, level: f32) -> ConfidenceSet {
        let quantile = math::chi_squared_quantile(level, self.parameters.len());
        ConfidenceSet { lowest: maximum.log_ratio - 0.5 * quantile }
    }

    /// Whether one parameter's interval at this level holds `theta`; `None` past the last parameter.
    ///
    /// One profile, where [`Ratio::interval`] takes dozens. Of several pieces it looks at all.
    pub fn interval_contains(
        &mut self,
        maximum: &Maximum,
        parameter: usize,
        theta: f32,
        level: f32,
    ) -> Option<bool> {
        let record = self.parameters.at(parameter)?;
        if !(record.low <= theta && theta <= record.high) {
            return Some(false);
        }
        let q = self.stack.quantize(record.to_z(theta));
        let mut others = maximum.point.clone();
        let profile = self.profile(&self.range(), &mut others, parameter, q);
        Some(profile >= self.lowest(maximum, level))
    }

    /// The ends of one parameter's interval at this level; `None` past the last parameter.
    ///
    /// By the profile likelihood: at each value the others are where the ratio is largest, and the quantile is that of one degree of
    /// freedom. Of several pieces the one around the maximum. An end of the support, or of the prior's range, bounds it.
    pub fn interval(
        &mut self,
        maximum: &Maximum,
        parameter: usize,
        level: f32,
    ) -> Option<(f32, f32)> {
        let record = self.parameters.at(parameter)?;
        let best = *maximum.point.get(parameter)?;
        let range = self.range();
        let lowest = self.lowest(maximum, level);
        let low = self.end(&range, &maximum.point, parameter, *range.low.get(parameter)?, lowest);
        let high = self.end(&range, &maximum.point, parameter, *range.high.get(parameter)?, lowest);
        let value = |q: i16| record.from_z(self.stack.standardized(q));
        Some((value(low.min(best)), value(high.max(best))))
    }

    /// The accumulator below which one parameter's value is rejected.
    fn lowest(&self, maximum: &Maximum, level: f32) -> i32 {
        let deficit = math::nearest_i32(0.5 * math::chi_squared_quantile(level, 1) / self.scale);
        maximum.accumulator.saturating_sub(deficit)
    }

    /// The accumulator at a point.
    fn at(&mut self, point: &[i16]) -> i32 {
        self.stack.run(&mut self.work, point).first().copied().unwrap_or(0)
    }

    /// The support, as far as the grid reaches.
    fn range(&self) -> Range {
        let end = |theta: f32| self.stack.quantize(theta);
        let low = self.parameters.iter().map(|p| end(p.exact_z(p.low)));
        let high = self.parameters.iter().map(|p| end(p.exact_z(p.high)));
        Range { low: crate::first_items(low), high: crate::first_items(high) }
    }

    /// Climbs from `best`, with `fixed` held where it is.
    fn climb(
        &mut self,
        range: &Range,
        best: &mut Point,
        accumulator: &mut i32,
        rounds: usize,
        fixed: Option<usize>,
    ) {
        for length in 0..STEP_LENGTHS {
            for _ in 0..rounds {
                let before = best.clone();
                for at in (0..range.low.len()).filter(|at| Some(*at) != fixed) {
                    let step = range.step(at, length);
                    self.try_point(range.moved(best, at, step), best, accumulator);
                    self.try_point(range.moved(best, at, step.wrapping_neg()), best, accumulator);
                }
                // On along the way that the round has come.
                let mut ahead = best.clone();
                for (at, (q, before)) in ahead.iter_mut().zip(&before).enumerate() {
                    *q = range
                        .inside(at, i32::from(*q).wrapping_mul(2).wrapping_sub((*before).into()));
                }
                self.try_point(ahead, best, accumulator);
            }
        }
    }

    fn try_point(&mut self, point: Point, best: &mut Point, accumulator: &mut i32) {
        let found = self.at(&point);
        if found > *accumulator {
            (*best, *accumulator) = (point, found);
        }
    }

    /// The last value of `parameter` on the way from the maximum to `bound` at which the profile is not below `lowest`.
    fn end(
        &mut self,
        range: &Range,
        from: &Point,
        parameter: usize,
        bound: i16,
        lowest: i32,
    ) -> i16 {
        let mut others = from.clone();
        if self.profile(range, &mut others, parameter, bound) >= lowest {
            return bound;
        }
        let mut inside = from.get(parameter).copied().unwrap_or(0);
        let mut outside = bound;
        let mut others = from.clone();
        for _ in 0..HALVINGS {
            let middle = i32::from(inside).wrapping_add(outside.into()).wrapping_shr(1);
            let middle = i16::try_from(middle).unwrap_or(inside);
            let mut candidate = others.clone();
            if self.profile(range, &mut candidate, parameter, middle) >= lowest {
                (inside, others) = (middle, candidate);
            } else {
                outside = middle;
            }
        }
        inside
    }

    /// The largest accumulator with one parameter at a value; `point` begins with good values of the others and ends with the best.
    fn profile(&mut self, range: &Range, point: &mut Point, parameter: usize, value: i16) -> i32 {
        if let Some(q) = point.get_mut(parameter) {
            *q = value;
        }
        let mut accumulator = self.at(point);
        if range.low.len() > 1 {
            self.climb(range, point, &mut accumulator, 1, Some(parameter));
        }
        accumulator
    }
}

/// The box that a search stays in, on the grid.
struct Range {
    low: Point,
    high: Point,
}

impl Range {
    fn ends(&self, at: usize) -> (i32, i32) {
        let end = |point: &Point| i32::from(point.get(at).copied().unwrap_or(0));
        (end(&self.low), end(&self.high))
    }

    fn inside(&self, at: usize, q: i32) -> i16 {
        let (low, high) = self.ends(at);
        i16::try_from(q.min(high).max(low)).unwrap_or(0)
    }

    fn step(&self, at: usize, length: u32) -> i32 {
        let (low, high) = self.ends(at);
        high.wrapping_sub(low).wrapping_shr(FIRST_STEP.wrapping_add(length)).max(1)
    }

    fn moved(&self, from: &Point, at: usize, by: i32) -> Point {
        let mut moved = from.clone();
        if let Some(q) = moved.get_mut(at) {
            *q = self.inside(at, i32::from(*q).wrapping_add(by));
        }
        moved
    }

    /// Point `start` of a lattice of rank 1: coordinate `j` is `start generator^j` in units of the range, modulo 1.
    fn lattice(&self, start: u16) -> Point {
        let mut point = conditional::origin(self.low.len());
        let mut numerator = start;
        for (at, q) in point.iter_mut().enumerate().take(self.low.len()) {
            let (low, high) = self.ends(at);
            let share = i32::from(numerator).wrapping_mul(2).wrapping_add(1);
            let offset = high.wrapping_sub(low).wrapping_mul(share);
            *q = self.inside(at, low.wrapping_add(offset.wrapping_shr(7)));
            numerator = numerator.wrapping_mul(GENERATOR) & STARTS.wrapping_sub(1);
        }
        point
    }
}
