//! `mixture`: joint posterior of theta as a mixture of full-covariance Gaussians on its support, by negative log
//! likelihood.

use serde::{Deserialize, Serialize};
use simground_runtime::artifact::{
    self as format, Conditional, MAX_COMPONENTS, OutputLayer, component_outputs,
};
use simground_runtime::{Ends, Gaussians};

use super::parameters::{self, ParameterScaling};
use super::{Answering, Columns, Context, HeadError};
use crate::corpus::Corpus;
use crate::evaluation::Answer;
use crate::network::Dense;
use crate::posterior_calibration::golden_section;
use crate::records::{Encoded, encode};
use crate::training::{HeadSpec, with_outliers};

/// Most components where the study names no number and flash allows as many.
const COMPONENTS: usize = MAX_COMPONENTS;
/// Part of the flash budget that the head may take where the study leaves the number of components open.
const FLASH_SHARE: usize = 2;
/// Widths are scaled by `e^-x` to `e^x` at most.
const LOG_SCALE_LIMIT: f64 = 1.0;

/// Joint posterior of some entries of theta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// The parameters.
    pub parameters: Vec<ParameterScaling>,
    /// Number of components.
    pub components: usize,
}

impl Mixture {
    /// Of the entries that the study names, or of all that every mechanism has.
    ///
    /// # Errors
    ///
    /// [`HeadError`] for an entry that the corpus does not have everywhere.
    pub fn new(
        names: Option<&[String]>,
        components: Option<usize>,
        context: Context<'_>,
    ) -> Result<Mixture, HeadError> {
        let Context { sample, .. } = context;
        let scaling = |at: usize| {
            let values = parameters::values(sample, at);
            ParameterScaling::modelled(&sample.schema.theta[at], &values)
        };
        let parameters: Vec<ParameterScaling> =
            parameters::chosen(names, sample)?.into_iter().map(scaling).collect();
        let each = component_outputs(parameters.len());
        let components = components.unwrap_or_else(|| {
            // A byte a weight, and biases and scales of four bytes each.
            let row_bytes = context.d_hidden + 8;
            let fit = context.flash_bytes / FLASH_SHARE / (each * row_bytes);
            COMPONENTS.min(fit).min(usize::from(format::MAX_WIDTH) / each).max(1)
        });
        Ok(Mixture { parameters, components: components.min(MAX_COMPONENTS) })
    }

    /// The mixture that these outputs stand for.
    pub fn gaussians<'o>(&self, outputs: &'o [f32]) -> Gaussians<&'o [f32]> {
        Gaussians::new(outputs, self.parameters.len(), self.components)
    }

    /// Ends of each parameter's support, standardized.
    pub fn ends(&self) -> Vec<Ends> {
        self.parameters.iter().map(|parameter| parameter.record().ends()).collect()
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.components * component_outputs(self.parameters.len())
    }

    /// Standardized values of the parameters in one row of a corpus.
    fn z(&self, corpus: &Corpus, row: usize) -> Vec<f32> {
        let mut columns = Columns::default();
        parameters::columns(&self.parameters, corpus, &mut columns);
        columns.standardize_row(corpus, row).collect()
    }

    /// Rows of the logarithms of precision among the outputs.
    fn log_precisions(&self) -> impl Iterator<Item = usize> {
        let (d, each) = (self.parameters.len(), component_outputs(self.parameters.len()));
        (0..self.components).flat_map(move |k| (0..d).map(move |i| k * each + 1 + d + i))
    }
}

impl Answering for Mixture {
    fn d_output(&self) -> usize {
        self.outputs()
    }

    fn spec(&self, sample: &Corpus, columns: &mut Columns) -> HeadSpec {
        let targets = parameters::columns(&self.parameters, sample, columns);
        let ends = self.ends().iter().map(|ends| (ends.low, ends.high)).collect();
        // In nats, as likelihoods are; the loss is a mean over dimensions.
        let loss_share = self.parameters.len() as f32;
        HeadSpec::Mixture { targets, ends, components: self.components, loss_share }
    }

    /// Scales all widths by the factor that gives the held-out simulations the highest log score, outliers allowed for.
    fn calibrate(&self, layer: &mut Dense, outputs: &[&[f32]], held_out: &Corpus) {
        let truths: Vec<Vec<f32>> = (0..held_out.len()).map(|row| self.z(held_out, row)).collect();
        let rows: Vec<usize> = self.log_precisions().collect();
        let ends = self.ends();
        let loss = |log_scale: f64| {
            let each = outputs.iter().zip(&truths).map(|(outputs, z)| {
                let mut outputs = outputs.to_vec();
                rows.iter().for_each(|&row| outputs[row] -= log_scale as f32);
                let gaussians = self.gaussians(&outputs);
                let density = gaussians.log_density(&gaussians.weights(), &ends, z);
                -f64::from(with_outliers(density, z.iter().copied()))
            });
            each.sum::<f64>()
        };
        let log_scale = golden_section(loss, -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT, 20);
        rows.iter().for_each(|&row| layer.bias[row] -= log_scale as f32);
    }

    fn record(&self, layer: OutputLayer, _: Option<Conditional<'_>>) -> Vec<u8> {
        let parameters = Encoded::new(self.parameters.iter().map(ParameterScaling::record));
        let (parameters, components) = (parameters.records(), self.components as u8);
        encode(&format::Head::Mixture { layer, parameters, components })
    }

    fn answer(&self, outputs: &[f32], answer: &mut Answer) {
        answer.mixture = outputs.to_vec();
    }
}
