//! `point`: the posterior mean of theta, straight from the network.

use super::gaussians::Outputs;
use crate::artifact::Head;
use crate::network::Inference;

impl Inference<'_, '_, '_> {
    /// Posterior mean of one parameter in its unit, inside its support.
    ///
    /// `parameter` counts through the parameters of the `point` head. `None` past the last, or without such a head.
    pub fn point(&self, parameter: usize) -> Option<f32> {
        let mut heads = self.model.manifest.heads.iter().enumerate();
        let (position, record) = heads.find_map(|(position, head)| {
            let Head::Point { parameters, .. } = head else { return None };
            Some((position, parameters.at(parameter)?))
        })?;
        Some(record.from_z(self.head_outputs(position)?.value(parameter)))
    }
}
