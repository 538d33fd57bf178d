//! What a mechanism is: named parameters in units, and one draw of x from them; for some, the exact likelihood as well.

use crate::corpus::Target;

use super::compartments::Path;
use super::sampling::Generator;

/// A parameter or a setting of a mechanism, with the range outside which it means nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterSpec {
    /// Its name in studies, corpora and answers.
    pub name: &'static str,
    /// Its unit, as a study must write it; `"1"` for a pure number.
    pub unit: &'static str,
    /// Smallest legal value.
    pub lower: f64,
    /// Largest legal value.
    pub upper: f64,
    /// Whether it is a count.
    pub integer: bool,
    /// One line for people.
    pub about: &'static str,
}

/// A mechanism with all its settings, ready to draw from: everything of `p(x | theta)`, nothing of the prior.
pub trait Mechanism: Send + Sync + std::fmt::Debug {
    /// One name per value of `x`.
    fn x_names(&self) -> Vec<String>;

    /// Quantities that a study may ask for besides theta.
    fn derived(&self) -> &[Target] {
        &[]
    }

    /// Draws one simulation into `draw`, which is empty.
    ///
    /// `theta` has the parameters of the mechanism's [`MechanismKind`](super::MechanismKind) in their order; for an epidemic
    /// those of its observation model follow.
    fn simulate(&self, theta: &[f64], generator: &mut Generator, draw: &mut Draw);

    /// The exact likelihood, where it can be computed.
    fn likelihood(&self) -> Option<&dyn Likelihood> {
        None
    }
}

/// `p(x | theta)`, smooth in theta wherever it is not zero, with a support that does not depend on theta: the conditions
/// under which the score is that of the classical theory.
pub trait Likelihood: Sync {
    /// The likelihood at one theta, prepared for many x: what depends on theta alone is computed once.
    fn at<'l>(&'l self, theta: &[f64]) -> Box<dyn LikelihoodAt + 'l>;
}

/// `x -> p(x | theta)` at one theta.
pub trait LikelihoodAt {
    /// `log p(x | theta)`; minus infinity where `x` is impossible.
    fn log_likelihood(&self, x: &[f32]) -> f64;

    /// Writes the score, the gradient of `log p(x | theta)` with respect to theta, in the units of theta.
    ///
    /// Where `x` is impossible there is no score, and NaN is written.
    ///
    /// # Shapes
    /// `x`: `[d_x]`; `score`: `[d_theta]`, in the order that [`Mechanism::simulate`] takes.
    fn score(&self, x: &[f32], score: &mut [f64]);
}

/// One simulation; its buffers serve one simulation after another.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draw {
    /// The observation, NaN where missing.
    pub x: Vec<f32>,
    /// Values of [`Mechanism::derived`].
    pub derived: Vec<f32>,
    /// What nobody observes; empty for mechanisms that keep none.
    pub latent: Latent,
}

/// The latent days of an epidemic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latent {
    /// From day 0.
    pub path: Path,
    /// Day of the path on which the observed window starts.
    pub first_observed_day: usize,
    /// Expected counts of window and forecast, given the path.
    pub expected: Vec<f64>,
    pub(super) kernel: Vec<f64>,
}

impl Draw {
    pub(super) fn clear(&mut self) {
        self.x.clear();
        self.derived.clear();
        self.latent.path.clear();
        self.latent.expected.clear();
    }
}
