//! Heads as an artifact states them, for people and documents.

use serde::Serialize;
use simground_runtime::artifact::{Conditional, Head, Parameter, Records};

/// What a head answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// Kind, as a study writes it.
    pub kind: &'static str,
    /// Number of outputs.
    pub d_output: u16,
    /// Levels of quantiles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<f32>,
    /// Names of the targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Parameters of theta.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Described>,
    /// Components of a mixture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<u8>,
    /// Steps of a flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Widths of the hidden layers of a stack on `[h, theta]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<u16>,
}

/// A parameter of theta and its support.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Described {
    /// Name.
    pub name: String,
    /// Unit.
    pub unit: String,
    /// Lower end of the support; absent where it has none.
    pub low: Option<f32>,
    /// Upper end of the support.
    pub high: Option<f32>,
}

/// Describes a head.
pub fn describe(head: &Head<'_>) -> Description {
    let plain = |kind| Description {
        kind,
        d_output: head.layer().d_output,
        levels: Vec::new(),
        targets: Vec::new(),
        parameters: Vec::new(),
        components: None,
        steps: None,
        hidden: Vec::new(),
    };
    match head {
        Head::Categorical { .. } => plain("categorical"),
        Head::Quantiles { levels, targets, .. } => Description {
            levels: levels.iter().collect(),
            targets: targets.iter().map(|target| target.name.to_owned()).collect(),
            ..plain("quantiles")
        },
        Head::Point { parameters, .. } => {
            Description { parameters: described(parameters), ..plain("point") }
        }
        Head::Mixture { parameters, components, .. } => Description {
            parameters: described(parameters),
            components: Some(*components),
            ..plain("mixture")
        },
        Head::Ratio { layer, parameters, stack } => Description {
            parameters: described(parameters),
            hidden: widths(layer.d_output, stack),
            d_output: stack.output.d_output,
            ..plain("ratio")
        },
        Head::Flow { layer, parameters, steps, stack, .. } => Description {
            parameters: described(parameters),
            hidden: widths(layer.d_output, stack),
            steps: Some(steps.len()),
            d_output: stack.output.d_output,
            ..plain("flow")
        },
    }
}

/// Of the hidden layers of a stack, the split one first.
fn widths(first: u16, stack: &Conditional<'_>) -> Vec<u16> {
    [first].into_iter().chain(stack.hidden.iter().map(|layer| layer.d_output)).collect()
}

fn described(parameters: &Records<'_, Parameter<'_>>) -> Vec<Described> {
    let finite = |end: f32| end.is_finite().then_some(end);
    let each = parameters.iter().map(|parameter| Described {
        name: parameter.name.to_owned(),
        unit: parameter.unit.to_owned(),
        low: finite(parameter.low),
        high: finite(parameter.high),
    });
    each.collect()
}

impl Description {
    /// Names of the parameters, separated by commas.
    pub fn parameter_names(&self) -> String {
        let names: Vec<&str> = self.parameters.iter().map(|p| p.name.as_str()).collect();
        names.join(", ")
    }
}
