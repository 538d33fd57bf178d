//! What each head learns, as training sees it: numbers in columns, and outputs.

use serde::{Deserialize, Serialize};
use simground_runtime::artifact::{FLOW_TIMES, component_outputs};

use super::loss::mixture;
use super::ratio::{Activation, TailShape};

/// What a head answers and how it is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HeadSpec {
    /// Posterior over mechanisms, by cross-entropy; the outputs are logits.
    Categorical {
        /// Number of mechanisms.
        d_output: usize,
        /// Weight of this head's loss in the total.
        loss_share: f32,
    },
    /// Marginal quantiles, by pinball loss; output `target_position * levels.len() + level`, in units of the standardized targets.
    Quantiles {
        /// Columns of [`Examples::targets`](super::Examples::targets), in the order of the outputs.
        targets: Vec<usize>,
        /// Probabilities, strictly increasing, inside `(0, 1)`.
        levels: Vec<f32>,
        /// Relative weight of each target.
        target_weights: Vec<f32>,
        /// Weight of this head's loss (a mean over targets and levels) in the total.
        loss_share: f32,
    },
    /// Posterior mean, by squared error; outputs in units of the standardized targets.
    Point {
        /// Columns of [`Examples::targets`](super::Examples::targets), in the order of the outputs.
        targets: Vec<usize>,
        /// Weight of this head's loss (a mean over targets) in the total.
        loss_share: f32,
    },
    /// Joint density as a mixture of Gaussians, by negative log likelihood; outputs as in [`simground_runtime::Gaussians`].
    Mixture {
        /// Columns of [`Examples::targets`](super::Examples::targets): the coordinates of the density.
        targets: Vec<usize>,
        /// Lower and upper end of each coordinate, which may be infinite.
        ends: Vec<(f32, f32)>,
        /// Number of components.
        components: usize,
        /// Weight of this head's loss (a mean over coordinates) in the total.
        loss_share: f32,
    },
    /// Likelihood-to-evidence ratio, by classification of joint against marginal pairs, and by the exact score where it is known. Its outputs
    /// are the data's part of the first layer of a stack on `[h, theta]`, whose other parameters stand behind those of the trunk.
    Ratio {
        /// Columns of [`Examples::targets`](super::Examples::targets): theta.
        targets: Vec<usize>,
        /// Columns that hold the score by each of `targets`; empty where it is not known.
        scores: Vec<usize>,
        /// Root mean square of each of `scores`.
        score_scales: Vec<f32>,
        /// Widths of the hidden layers of the stack.
        hidden: Vec<usize>,
        /// Weight of this head's loss (a mean over pairs) in the total.
        loss_share: f32,
    },
    /// Joint density of any shape as a flow from noise, by the squared error of its velocity. Its outputs are the data's part of the first
    /// layer of a stack on `[h, theta, time]`.
    Flow {
        /// Columns of [`Examples::targets`](super::Examples::targets): the flow's coordinates.
        targets: Vec<usize>,
        /// Widths of the hidden layers of the stack.
        hidden: Vec<usize>,
        /// Weight of this head's loss (a mean over coordinates) in the total.
        loss_share: f32,
    },
}

impl HeadSpec {
    /// Number of outputs.
    pub fn d_output(&self) -> usize {
        match self {
            HeadSpec::Categorical { d_output, .. } => *d_output,
            HeadSpec::Quantiles { targets, levels, .. } => targets.len() * levels.len(),
            HeadSpec::Point { targets, .. } => targets.len(),
            HeadSpec::Mixture { targets, components, .. } => {
                components * component_outputs(targets.len())
            }
            HeadSpec::Ratio { hidden, .. } | HeadSpec::Flow { hidden, .. } => {
                hidden.first().copied().unwrap_or(0)
            }
        }
    }

    /// The stack on `[h, theta]` behind its outputs, if it has one.
    pub fn tail(&self) -> Option<TailShape> {
        let (hidden, d_theta, d_output) = match self {
            HeadSpec::Ratio { targets, hidden, .. } => (hidden, targets.len(), 1),
            HeadSpec::Flow { targets, hidden, .. } => {
                (hidden, targets.len() + FLOW_TIMES, targets.len())
            }
            _ => return None,
        };
        let activation = Activation::SmoothRelu;
        Some(TailShape { d_theta, hidden: hidden.clone(), d_output, activation })
    }

    /// Standard deviation of the outputs at the start where that of the last hidden layer is 1.
    pub(super) fn initial_gain(&self) -> f64 {
        match self {
            // A hidden layer like any other.
            HeadSpec::Ratio { .. } | HeadSpec::Flow { .. } => std::f64::consts::SQRT_2,
            _ => 0.1,
        }
    }

    /// Its kind, as a study names it.
    pub fn kind(&self) -> &'static str {
        match self {
            HeadSpec::Categorical { .. } => "categorical",
            HeadSpec::Quantiles { .. } => "quantiles",
            HeadSpec::Point { .. } => "point",
            HeadSpec::Mixture { .. } => "mixture",
            HeadSpec::Ratio { .. } => "ratio",
            HeadSpec::Flow { .. } => "flow",
        }
    }

    /// Weight of this head's loss in the total.
    pub fn loss_share(&self) -> f32 {
        match self {
            HeadSpec::Categorical { loss_share, .. }
            | HeadSpec::Quantiles { loss_share, .. }
            | HeadSpec::Point { loss_share, .. }
            | HeadSpec::Mixture { loss_share, .. }
            | HeadSpec::Ratio { loss_share, .. }
            | HeadSpec::Flow { loss_share, .. } => *loss_share,
        }
    }

    /// Columns of the examples' targets that it learns.
    fn targets(&self) -> &[usize] {
        match self {
            HeadSpec::Categorical { .. } => &[],
            HeadSpec::Quantiles { targets, .. }
            | HeadSpec::Point { targets, .. }
            | HeadSpec::Mixture { targets, .. }
            | HeadSpec::Ratio { targets, .. }
            | HeadSpec::Flow { targets, .. } => targets,
        }
    }

    /// Mechanisms that it tells apart, if that is what it learns.
    pub(super) fn mechanisms(&self) -> Option<usize> {
        match self {
            HeadSpec::Categorical { d_output, .. } => Some(*d_output),
            _ => None,
        }
    }

    /// Outputs that resemble the prior: equal logits, quantiles of a standard normal, spread components.
    pub(super) fn initial_bias(&self) -> Vec<f32> {
        match self {
            HeadSpec::Categorical { d_output, .. } => vec![0.0; *d_output],
            HeadSpec::Quantiles { targets, levels, .. } => targets
                .iter()
                .flat_map(|_| levels.iter().map(|&level| logistic_quantile(level)))
                .collect(),
            HeadSpec::Point { targets, .. } => vec![0.0; targets.len()],
            HeadSpec::Mixture { targets, components, .. } => {
                mixture::initial_bias(targets.len(), *components)
            }
            HeadSpec::Ratio { .. } | HeadSpec::Flow { .. } => vec![0.0; self.d_output()],
        }
    }
}

/// Quantile of a logistic distribution scaled to resemble the standard normal: within 0.15 of it for levels in 0.02..0.98, which is
/// all that a start needs.
pub(super) fn logistic_quantile(level: f32) -> f32 {
    libm::logf(level / (1.0 - level)) / 1.702
}

impl HeadSpec {
    /// What would keep it from working, `d_target` being the number of target columns.
    pub(super) fn problem(&self, d_target: usize) -> Option<String> {
        let share = self.loss_share();
        if !(share >= 0.0 && share.is_finite()) {
            return Some(format!("`loss_share` is {share}"));
        }
        if let HeadSpec::Categorical { d_output, .. } = self {
            let possible = (2..=65_536).contains(d_output);
            return (!possible).then(|| format!("{d_output} mechanisms; 2 to 65536 are possible"));
        }
        let targets = self.targets();
        if self.d_output() == 0 {
            return Some("no outputs".into());
        }
        if let Some(target) = targets.iter().find(|&&target| target >= d_target) {
            return Some(format!("target column {target}, but the examples have {d_target}"));
        }
        if let HeadSpec::Mixture { ends, .. } = self
            && (ends.len() != targets.len() || !ends.iter().all(|(low, high)| low < high))
        {
            return Some(format!("ends {ends:?} of {} coordinates", targets.len()));
        }
        if let HeadSpec::Ratio { scores, score_scales, hidden, .. } = self {
            let known = scores.len() == targets.len() && scores.iter().all(|&at| at < d_target);
            if !(scores.is_empty() || known) || score_scales.len() != scores.len() {
                return Some(format!("score columns {scores:?} for target columns {targets:?}"));
            }
            return hidden.contains(&0).then(|| "a hidden layer of width 0".into());
        }
        if let HeadSpec::Flow { hidden, .. } = self {
            return hidden.contains(&0).then(|| "a hidden layer of width 0".into());
        }
        let HeadSpec::Quantiles { levels, target_weights: weights, .. } = self else { return None };
        let inside = levels.iter().all(|&level| level > 0.0 && level < 1.0);
        if !inside || levels.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Some(format!("levels {levels:?} are not strictly increasing inside (0, 1)"));
        }
        let positive = weights.iter().all(|&weight| weight > 0.0 && weight.is_finite());
        if weights.len() != targets.len() || !positive {
            return Some(format!(
                "target weights {weights:?}; {} positive numbers are needed",
                targets.len()
            ));
        }
        None
    }
}
