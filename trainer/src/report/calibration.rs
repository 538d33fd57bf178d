//! Pictures of a model's calibration: for the page, and each as a file of its own.

use maud::{Markup, html};
use plotters::style::RGBColor;

use super::plots::{self, Band, Curve, MODEL, OTHERS, Plot, TRUTH, standalone};
use super::significant;
use crate::evaluation::{BAND, Calibration, LevelCoverage, Marginal, ReliabilityBin};

/// A picture of several panels.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Name of its file, without the ending.
    pub file: &'static str,
    /// What it asks.
    pub title: &'static str,
    /// How to read it.
    pub reading: String,
    panels: Vec<Panel>,
}

/// One plot of a figure.
#[derive(Debug, Clone)]
struct Panel {
    plot: Plot,
    /// What it shows, to those who do not see it.
    alt: String,
    /// Below it: text, each behind a key of its color where it has one.
    caption: Vec<(Option<RGBColor>, String)>,
}

impl Figure {
    /// The figure as a file, under a line that names the model.
    pub fn svg(&self, subject: &str) -> String {
        let panels =
            self.panels.iter().map(|panel| (panel.plot.draw(&panel.alt).0, &panel.caption[..]));
        standalone(
            &format!("{subject}: {}", self.title),
            &self.reading,
            &panels.collect::<Vec<_>>(),
        )
    }
}

/// All figures that a model's heads give rise to.
pub fn figures(calibration: &Calibration) -> Vec<Figure> {
    let percent = 100.0 * BAND;
    let shown = shown(&calibration.sbc);
    let figures = [
        Figure {
            file: "ranks",
            title: "ranks of the truth",
            reading: format!("Level within the band (all bars at once with {percent:.0} % confidence) where calibrated. A hill: too wide. A valley: too narrow. A slope: biased."),
            panels: shown.iter().map(|(marginal, steps)| ranks(marginal, *steps)).collect(),
        },
        Figure {
            file: "ecdf",
            title: "share of truths below, less the stated share",
            reading: format!("Within the band around 0 (everywhere at once with {percent:.0} % confidence) where calibrated."),
            panels: shown.iter().map(|(marginal, steps)| difference(marginal, *steps)).collect(),
        },
        Figure {
            file: "coverage",
            title: "observed against stated coverage",
            reading: "On the diagonal where calibrated. A joint posterior below it is too narrow.".into(),
            panels: coverage(calibration),
        },
        Figure {
            file: "reliability",
            title: "how often a stated probability comes true",
            reading: "On the diagonal where calibrated.".into(),
            panels: mechanisms(calibration),
        },
        Figure {
            file: "contraction",
            title: "what the data teach",
            reading: "To the right: the posterior is narrower than the prior. A bar of -1 to 1 around 0: errors are as large as the posterior says.".into(),
            panels: contraction(&calibration.sbc),
        },
    ];
    figures.into_iter().filter(|figure| !figure.panels.is_empty()).collect()
}

/// Whether stated probabilities are true, on the page.
pub fn section(calibration: &Calibration, num_simulations: usize) -> Markup {
    let gate = &calibration.gate;
    html! {
        section {
            h2 { "Are the stated probabilities true?" }
            p.soft {
                "The gate: " (gate.tests) " exact tests on " (num_simulations) " simulations. It fails a model that is nowhere off by more than "
                (100.0 * gate.tolerance) " points and what " (gate.calibrated_on) " simulations of its calibration left open in at most " (100.0 * gate.level) " of 100 cases, and sees a fault of "
                (format!("{:.1}", 100.0 * gate.resolution)) " points at a stated 50 %."
            }
            @for figure in figures(calibration) {
                h3 { (capitalized(figure.title)) }
                p.soft { (figure.reading) }
                div.plots {
                    @for panel in &figure.panels {
                        figure {
                            (panel.plot.draw(&panel.alt))
                            figcaption { @for (color, text) in &panel.caption { (key(*color)) (text) " " } }
                        }
                    }
                }
            }
            (sharpness(&calibration.sbc))
        }
    }
}

fn key(color: Option<RGBColor>) -> Markup {
    html! { @if let Some(color) = color { (super::sections::key(color)) } }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// The table of what every marginal is worth.
fn sharpness(marginals: &[Marginal]) -> Markup {
    let number = |value: Option<f64>| value.map_or("–".into(), |value| significant(value, 3));
    html! {
        @if !marginals.is_empty() { div.scroll { table {
            thead { tr {
                th { "of" } th.name { "head" } th { "p-value of the ranks" } th { "90 % width" } th { "prior's" }
                th { "contraction" } th { "z mean" } th { "z sd" }
            } }
            tbody { @for marginal in marginals { tr {
                td { (marginal.target) } td.name { (marginal.head) } td { (significant(marginal.p_value, 2)) }
                td { (number(marginal.width90)) } td { (number(marginal.prior_width90)) }
                td { (number(marginal.contraction)) } td { (number(marginal.z_mean)) } td { (number(marginal.z_sd)) }
            } } }
        } } }
    }
}

/// Of the steps of a series the one that looks worst, with their number.
fn shown(marginals: &[Marginal]) -> Vec<(&Marginal, usize)> {
    let mut shown: Vec<(&Marginal, usize)> = Vec::new();
    for marginal in marginals {
        let same = |(other, _): &&mut (&Marginal, usize)| {
            other.series == marginal.series && other.head == marginal.head
        };
        match shown.iter_mut().find(same) {
            None => shown.push((marginal, 1)),
            Some((worst, steps)) => {
                *steps += 1;
                if marginal.p_value < worst.p_value {
                    *worst = marginal;
                }
            }
        }
    }
    shown
}

fn named(marginal: &Marginal, steps: usize) -> Vec<(Option<RGBColor>, String)> {
    let of = if steps > 1 { format!(", the worst of {steps} steps") } else { String::new() };
    let p_value = significant(marginal.p_value, 2);
    vec![(None, format!("{} ({}){of}: p = {p_value}", marginal.target, marginal.head))]
}

fn line(points: Vec<(f64, f64)>, color: RGBColor) -> Curve {
    Curve { points, color, width: 1, dots: false }
}

fn ranks(marginal: &Marginal, steps: usize) -> Panel {
    let total = marginal.total().max(1) as f64;
    let cells = || marginal.edges.windows(2).map(|edges| (edges[0], edges[1]));
    let density = |count: u64, (from, to): (f64, f64)| count as f64 / total / (to - from);
    let bars: Vec<(f64, f64, f64)> = cells()
        .zip(&marginal.counts)
        .map(|(cell, &count)| (cell.0, cell.1, density(count, cell)))
        .collect();
    let band = cells().zip(&marginal.count_bands).flat_map(|(cell, &(low, high))| {
        [cell.0, cell.1].map(|x| (x, density(low, cell), density(high, cell)))
    });
    let band = Band { points: band.collect(), color: plots::BAND, opacity: 0.4 };
    let highest = bars.iter().map(|bar| bar.2).chain(band.points.iter().map(|p| p.2));
    let highest = highest.fold(1.0, f64::max);
    let plot = Plot {
        x_label: "rank of the truth, as a share".into(),
        y_label: "truths, relative to uniform".into(),
        range: Some((0.0..1.0, 0.0..1.08 * highest)),
        bars,
        bands: vec![band],
        curves: vec![line(vec![(0.0, 1.0), (1.0, 1.0)], TRUTH)],
        ..Plot::default()
    };
    let alt = format!("Histogram of the ranks of the truth of {}", marginal.target);
    Panel { plot, alt, caption: named(marginal, steps) }
}

fn difference(marginal: &Marginal, steps: usize) -> Panel {
    let total = marginal.total().max(1) as f64;
    let inner = &marginal.edges[1..marginal.edges.len() - 1];
    let ends = |inner: Vec<(f64, f64)>| {
        [(0.0, 0.0)].into_iter().chain(inner).chain([(1.0, 0.0)]).collect::<Vec<_>>()
    };
    let observed = inner.iter().zip(marginal.below()).map(|(&edge, below)| (edge, below - edge));
    let observed = ends(observed.collect());
    let band = inner
        .iter()
        .zip(&marginal.below_bands)
        .map(|(&edge, &(low, high))| (edge, low as f64 / total - edge, high as f64 / total - edge));
    let band: Vec<(f64, f64, f64)> =
        [(0.0, 0.0, 0.0)].into_iter().chain(band).chain([(1.0, 0.0, 0.0)]).collect();
    let widest = observed.iter().map(|p| p.1.abs()).chain(band.iter().map(|p| p.2.max(-p.1)));
    let widest = 1.1 * widest.fold(0.01, f64::max);
    let plot = Plot {
        x_label: "stated share".into(),
        y_label: "observed less stated".into(),
        range: Some((0.0..1.0, -widest..widest)),
        bands: vec![Band { points: band, color: plots::BAND, opacity: 0.4 }],
        curves: vec![
            line(vec![(0.0, 0.0), (1.0, 0.0)], TRUTH),
            Curve { points: observed, color: MODEL, width: 2, dots: true },
        ],
        ..Plot::default()
    };
    let alt =
        format!("Share of truths of {} below each stated level, less that level", marginal.target);
    Panel { plot, alt, caption: named(marginal, steps) }
}

/// Curves against the diagonal of the unit square.
fn diagonal(
    x_label: &str,
    y_label: &str,
    alt: &str,
    curves: Vec<(String, Vec<(f64, f64)>)>,
) -> Panel {
    let colors = || [MODEL].into_iter().chain(OTHERS).cycle();
    let caption =
        curves.iter().zip(colors()).map(|((name, _), color)| (Some(color), name.clone())).collect();
    let curve = |((_, points), color)| Curve { points, color, width: 2, dots: true };
    let mut all = vec![line(vec![(0.0, 0.0), (1.0, 1.0)], TRUTH)];
    all.extend(curves.into_iter().zip(colors()).map(curve));
    let plot = Plot {
        x_label: x_label.to_owned(),
        y_label: y_label.to_owned(),
        range: Some((0.0..1.0, 0.0..1.0)),
        curves: all,
        ..Plot::default()
    };
    Panel { plot, alt: alt.to_owned(), caption }
}

fn coverage(calibration: &Calibration) -> Vec<Panel> {
    let points = |levels: &[LevelCoverage]| {
        levels.iter().map(|c| (f64::from(c.level), c.observed)).collect::<Vec<_>>()
    };
    let mut panels = Vec::new();
    if !calibration.quantiles.is_empty() {
        let curves = calibration.quantiles.iter();
        panels.push(diagonal(
            "level of the quantile",
            "share of truths below",
            "Coverage of the quantiles against the diagonal",
            curves.map(|(name, levels)| (name.clone(), points(levels))).collect(),
        ));
    }
    if !calibration.theta.is_empty() {
        let curves = vec![
            ("highest-density region".into(), points(&calibration.theta)),
            ("region around a random point (TARP)".into(), points(&calibration.tarp)),
        ];
        panels.push(diagonal(
            "level of the region",
            "share of truths inside",
            "Coverage of the joint posterior's regions against the diagonal",
            curves,
        ));
    }
    if !calibration.ratio.is_empty() {
        panels.push(diagonal(
            "level of the region",
            "share of truths inside",
            "Coverage of the likelihood's regions against the diagonal",
            vec![("region of highest likelihood".into(), points(&calibration.ratio))],
        ));
    }
    panels
}

fn mechanisms(calibration: &Calibration) -> Vec<Panel> {
    let points =
        |bins: &[ReliabilityBin]| bins.iter().map(|b| (b.confidence, b.accuracy)).collect();
    if calibration.mechanism.is_empty() {
        return Vec::new();
    }
    let each = calibration.mechanisms.iter();
    let (stated, observed) = ("stated probability", "share that came true");
    vec![
        diagonal(
            stated,
            observed,
            "Reliability of the most probable mechanism against the diagonal",
            vec![("the most probable mechanism".into(), points(&calibration.mechanism))],
        ),
        diagonal(
            stated,
            observed,
            "Reliability of each mechanism's probability against the diagonal",
            each.map(|(name, bins)| (name.clone(), points(bins))).collect(),
        ),
    ]
}

fn contraction(marginals: &[Marginal]) -> Vec<Panel> {
    let colors = [MODEL].into_iter().chain(OTHERS).cycle();
    let known = marginals.iter().filter_map(|m| Some((m, m.contraction?, m.z_mean?, m.z_sd?)));
    let known: Vec<_> = known.zip(colors).collect();
    if known.is_empty() {
        return Vec::new();
    }
    let bar = |&((_, x, mean, sd), color): &((&Marginal, f64, f64, f64), RGBColor)| {
        let x = x.clamp(-0.1, 1.0);
        Curve {
            points: vec![(x, mean - sd), (x, mean), (x, mean + sd)],
            color,
            width: 2,
            dots: true,
        }
    };
    let bars: Vec<Curve> = known.iter().map(bar).collect();
    let widest = bars.iter().flat_map(|c| &c.points).map(|p| p.1.abs()).fold(1.5, f64::max);
    let level = |y: f64| line(vec![(-0.1, y), (1.0, y)], TRUTH);
    let caption = known
        .iter()
        .map(|((m, x, ..), color)| (Some(*color), format!("{} {}", m.target, significant(*x, 2))));
    let plot = Plot {
        x_label: "posterior contraction".into(),
        y_label: "error in posterior sd, mean and spread".into(),
        range: Some((-0.1..1.0, -1.1 * widest..1.1 * widest)),
        curves: [-1.0, 0.0, 1.0].map(level).into_iter().chain(bars).collect(),
        ..Plot::default()
    };
    let alt = "Errors of the posterior mean against posterior contraction, for each parameter";
    vec![Panel { plot, alt: alt.into(), caption: caption.collect() }]
}
