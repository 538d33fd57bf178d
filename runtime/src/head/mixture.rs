//! `mixture`: the joint posterior of theta as a mixture of Gaussians on its support.

use heapless::Vec;
use rand_core::Rng;

use super::cut::share_below;
use super::gaussians::{Ends, Gaussian, Gaussians, PARTS, component_outputs};
use super::{HeadOutputs, parameter};
use crate::artifact::{Head, MAX_COMPONENTS, MAX_THETA, Parameter, Records};
use crate::error::{ArtifactError, Part};
use crate::math;
use crate::network::Inference;

/// The joint posterior of one observation.
#[derive(Debug, Clone)]
pub struct MixturePosterior<'i, 'a> {
    gaussians: Gaussians<HeadOutputs<'i>>,
    parameters: Records<'a, Parameter<'a>>,
    weights: Vec<f32, MAX_COMPONENTS>,
    /// Of each parameter, standardized.
    ends: Vec<Ends, MAX_THETA>,
}

impl<'a> Inference<'_, '_, 'a> {
    /// The joint posterior of theta; `None` without a `mixture` head.
    pub fn mixture(&self) -> Option<MixturePosterior<'_, 'a>> {
        let heads = self.model.manifest.heads.iter().enumerate();
        let (position, parameters, components) =
            heads.into_iter().find_map(|(position, head)| {
                let Head::Mixture { parameters, components, .. } = head else { return None };
                Some((position, parameters, components))
            })?;
        let outputs = self.head_outputs(position)?;
        let gaussians = Gaussians::new(outputs, parameters.len(), usize::from(components));
        let weights = gaussians.weights();
        let ends = crate::first_items(parameters.iter().map(|parameter| parameter.ends()));
        Some(MixturePosterior { gaussians, parameters, weights, ends })
    }
}

impl<'a> MixturePosterior<'_, 'a> {
    /// The parameters, in the order of every theta of this posterior.
    pub fn parameters(&self) -> Records<'a, Parameter<'a>> {
        self.parameters
    }

    /// The head's real outputs, as [`Gaussians`] reads them.
    pub fn outputs(&self) -> impl Iterator<Item = f32> + '_ {
        self.gaussians.outputs()
    }

    /// Shares of the components; they add up to 1.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Logarithm of the posterior density at `theta`, per product of the parameters' units. A whole number has that in the middle of
    /// the interval of width 1 around it, nearly the logarithm of its probability where the posterior spans several. Minus infinity
    /// outside the support, NaN for a theta of another length.
    pub fn log_density(&self, theta: &[f32]) -> f32 {
        if theta.len() != self.parameters.len() {
            return f32::NAN;
        }
        let both = || self.parameters.iter().zip(theta);
        let slope = both().fold(0.0, |sum, (parameter, theta)| sum + parameter.log_slope(*theta));
        if slope == f32::NEG_INFINITY {
            return slope;
        }
        let z = both().map(|(parameter, theta)| parameter.to_z(*theta));
        let z: Vec<f32, MAX_THETA> = crate::first_items(z);
        slope + self.gaussians.log_density(&self.weights, &self.ends, &z)
    }

    /// Draws one theta from the posterior, in physical units, into `theta`; entries beyond the parameters are left alone.
    ///
    /// Takes one word of `rng` for the component and one for each parameter; nothing is drawn again.
    pub fn sample(&self, rng: &mut (impl Rng + ?Sized), theta: &mut [f32]) {
        self.gaussians.sample(&self.weights, &self.ends, rng, theta);
        for (value, parameter) in theta.iter_mut().zip(self.parameters.iter()) {
            *value = parameter.from_z(*value);
        }
    }

    /// Posterior mean of one parameter in its unit; `None` past the last. As exact as [`Gaussians::marginal`].
    pub fn mean(&self, parameter: usize) -> Option<f32> {
        let record = self.parameters.at(parameter)?;
        let marginal = self.marginal(parameter);
        let weighted = |g: &Gaussian| g.weight * record.mean_of_normal(g);
        // Rounding can carry a sum of values of the support past its end.
        Some(record.inside(marginal.iter().fold(0.0, |sum, g| sum + weighted(g))))
    }

    /// Quantile of one parameter's marginal posterior in its unit; `None` past the last parameter. As exact as
    /// [`Gaussians::marginal`].
    ///
    /// By bisection of the marginal's distribution function, to `2^-20` of the widest component.
    pub fn quantile(&self, parameter: usize, level: f32) -> Option<f32> {
        let record = self.parameters.at(parameter)?;
        let support = record.ends();
        let marginal = self.marginal(parameter);
        // Every component has less than 10^-9 of its mass beyond six standard deviations of where it is cut.
        let ends = |sign: f32| {
            marginal.iter().map(move |g| {
                let end = math::within(g.mean, support.low, support.high) + sign * 6.0 * g.sd;
                math::within(end, support.low, support.high)
            })
        };
        let mut low = ends(-1.0).fold(f32::INFINITY, f32::min);
        let mut high = ends(1.0).fold(f32::NEG_INFINITY, f32::max);
        for _ in 0..24 {
            let middle = 0.5 * (low + high);
            let below = |g: &Gaussian| {
                let (cut, mean) = g.cut_to(support);
                g.weight * share_below(cut.low, cut.high, (middle - mean) / g.sd)
            };
            let share = marginal.iter().fold(0.0, |sum, g| sum + below(g));
            if share < level {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(record.from_z(0.5 * (low + high)))
    }

    /// One parameter's marginal posterior in the standardized space, where each Gaussian is cut to the support.
    pub fn marginal(&self, parameter: usize) -> Vec<Gaussian, { PARTS * MAX_COMPONENTS }> {
        self.gaussians.marginal(&self.weights, &self.ends, parameter)
    }

    /// Covariance of two parameters in the standardized space; as exact as [`Gaussians::marginal`].
    ///
    /// `sum_k w_k (C_k + m_k m_k^T) - m m^T` with the mean `m` of the mixture.
    pub fn covariance(&self, a: usize, b: usize) -> f32 {
        let (mut product, mut mean_a, mut mean_b) = (0.0, 0.0, 0.0);
        for (k, weight) in self.weights.iter().enumerate() {
            let (m_a, m_b, covariance) = self.gaussians.joint(k, &self.ends, a, b);
            product += weight * (covariance + m_a * m_b);
            mean_a += weight * m_a;
            mean_b += weight * m_b;
        }
        product - mean_a * mean_b
    }
}

/// Proves what is peculiar to this head; the outputs it must have.
pub(crate) fn outputs(
    parameters: &Records<'_, Parameter<'_>>,
    components: u8,
    part: Part,
) -> Result<usize, ArtifactError> {
    let d = parameter::prove(parameters, part)?;
    let components = usize::from(components);
    if components == 0 || components > MAX_COMPONENTS {
        return Err(ArtifactError::Shape(part));
    }
    Ok(components.saturating_mul(component_outputs(d)))
}
