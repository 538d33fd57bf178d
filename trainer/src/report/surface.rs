//! Likelihood surfaces over one or two parameters.

use maud::{Markup, html};
use simground_runtime::artifact::Parameter;
use simground_runtime::{Axis, Inference};

use super::Subject;
use super::plots::{Band, Cell, Curve, MODEL, OTHERS, Plot, TRUTH};
use crate::head::{Head, Ratio};

/// Simulations whose surface is drawn.
const EXAMPLES: usize = 2;
/// Level of the set.
const LEVEL: f32 = 0.95;
/// Points of a curve.
const POINTS: u16 = 201;
/// Cells a side of a map.
const SIDE: u16 = 48;
/// What the logarithm of the likelihood falls by at the lower end of a curve.
const DEPTH: f64 = 12.0;
/// Standardized values between which an unbounded parameter is drawn.
const Z_RANGE: f32 = 2.5;

/// Surfaces of the first test simulations; empty for a model without a `ratio` head, or with more than two parameters in it.
pub fn surfaces(subject: &Subject<'_>) -> Markup {
    let head = subject.float_model.heads.iter().find_map(|head| match head {
        Head::Ratio(ratio) if ratio.parameters.len() <= 2 => Some(ratio),
        _ => None,
    });
    let Some(head) = head else { return html! {} };
    let mut scratch = vec![0; subject.model.scratch_words()];
    let figures: Vec<Markup> = (0..subject.corpus.len().min(EXAMPLES))
        .filter_map(|row| {
            let window = subject.corpus.x_row(row);
            let mut inference = subject.model.infer(window, &mut scratch).ok()?;
            let truth = head.theta(subject.corpus, row);
            Some(html! {
                figure {
                    (surface(head, &mut inference, &truth)?)
                    figcaption { "Simulation " (subject.corpus.index[row]) }
                }
            })
        })
        .collect();
    html! {
        section {
            h2 { "Likelihood" }
            p.soft {
                "Of the first test simulations, not chosen, by the integer runtime: "
                @if head.parameters.len() == 2 { "darker is more likely, the shade below it the 95 % set; " }
                @else { "its logarithm below the maximum, and the 95 % set; " }
                span style=(format!("color: rgb({}, {}, {})", OTHERS[0].0, OTHERS[0].1, OTHERS[0].2)) { "●" }
                " the maximum, and what was simulated."
            }
            div.plots { @for figure in &figures { (figure) } }
        }
    }
}

fn surface(head: &Ratio, inference: &mut Inference<'_, '_, '_>, truth: &[f32]) -> Option<Markup> {
    let mut ratio = inference.ratio()?;
    let maximum = ratio.maximum();
    let set = ratio.confidence_set(&maximum, LEVEL);
    let points = if head.parameters.len() == 1 { POINTS } else { SIDE };
    let axes: Vec<Axis> = head.parameters.iter().map(|p| axis(&p.record(), points)).collect();
    let mut values = vec![0.0; usize::from(points).pow(axes.len() as u32)];
    ratio.surface(&axes, &mut values).ok()?;
    let (best, names) = (&maximum.theta, &head.parameters);
    let wide = |axis: &Axis| f64::from(axis.low)..f64::from(axis.high);
    let dot = |theta: &[f32], color, y: Option<f64>| Curve {
        points: vec![(f64::from(theta[0]), y.unwrap_or_else(|| f64::from(theta[1])))],
        color,
        width: 1,
        dots: true,
    };
    let plot = match &axes[..] {
        [x] => {
            let below = |at: u16| f64::from(values[usize::from(at)] - maximum.log_ratio);
            let each = (0..points).map(|at| (f64::from(x.value(at)), below(at).max(-DEPTH)));
            let curve = Curve { points: each.collect(), color: MODEL, width: 2, dots: false };
            let limit = f64::from(set.lowest - maximum.log_ratio);
            let inside =
                (0..points).map(|at| (f64::from(x.value(at)), limit, below(at).max(limit)));
            Plot {
                x_label: names[0].name.clone(),
                y_label: "log likelihood below its maximum".into(),
                range: Some((wide(x), -DEPTH..1.0)),
                bands: vec![Band { points: inside.collect(), color: MODEL, opacity: 0.35 }],
                curves: vec![curve, dot(best, OTHERS[0], Some(0.0)), dot(truth, TRUTH, Some(0.0))],
                ..Plot::default()
            }
        }
        [x, y] => {
            let cell = |(at, log_ratio): (usize, &f32)| {
                let (column, row) = (at / usize::from(SIDE), at % usize::from(SIDE));
                let likelihood = f64::from(log_ratio - maximum.log_ratio).exp().min(1.0);
                let base = if set.contains(*log_ratio) { 0.2 } else { 0.0 };
                let side = |axis: &Axis, at: usize| {
                    let half = 0.5 * f64::from(axis.high - axis.low) / f64::from(SIDE - 1);
                    let middle = f64::from(axis.value(at as u16));
                    (middle - half).max(f64::from(axis.low))
                        ..(middle + half).min(f64::from(axis.high))
                };
                let opacity = base + (0.9 - base) * likelihood;
                (opacity > 0.01).then(|| Cell { x: side(x, column), y: side(y, row), opacity })
            };
            Plot {
                x_label: names[0].name.clone(),
                y_label: names[1].name.clone(),
                range: Some((wide(x), wide(y))),
                cells: values.iter().enumerate().filter_map(cell).collect(),
                curves: vec![dot(best, OTHERS[0], None), dot(truth, TRUTH, None)],
                ..Plot::default()
            }
        }
        _ => return None,
    };
    let names: Vec<&str> = names.iter().map(|p| p.name.as_str()).collect();
    Some(plot.draw(&format!("Likelihood over {}", names.join(" and "))))
}

/// The support, or the greater part of the prior where it has no end.
fn axis(parameter: &Parameter<'_>, points: u16) -> Axis {
    let end = |end: f32, z: f32| if end.is_finite() { end } else { parameter.from_z(z) };
    Axis { low: end(parameter.low, -Z_RANGE), high: end(parameter.high, Z_RANGE), points }
}
