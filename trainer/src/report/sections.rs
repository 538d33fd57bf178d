//! The page, section by section.

use maud::{Markup, html};
use simground_runtime::artifact::{Head, Missing};

use super::plots::{Band, Curve, MODEL, OTHERS, Plot, TRUTH};
use super::{Subject, significant};
use crate::evaluation::{self, Answer, Metrics};
use crate::explanation::{self, Explanation};
use crate::head;
use crate::pipeline::{QUANTIZATION_TOLERANCE, ram_bytes};
use crate::replay::{ReplayError, Replayer, short_hash};
use crate::source::CorpusOrigin;

/// Example forecasts.
const EXAMPLES: usize = 4;
/// Replayed simulations over an observation.
const REPLAYS: usize = 5;

/// The first screen.
pub fn summary(subject: &Subject<'_>) -> Markup {
    let evaluation = subject.evaluation;
    let budget = &subject.study.budget;
    let value = |metric: &str, target: &str| {
        evaluation.integer.get(metric).and_then(|targets| targets.get(target)).copied()
    };
    let (change, _) = evaluation.largest_change;
    html! {
        p.soft {
            "A compact network trained on " (subject.model.manifest().provenance.num_simulations)
            " simulations, in integers, with the simulations that explain its answers. Figures are of "
            (evaluation.num_simulations) " simulations "
            (subject.corpus_simulations.map_or("that training never saw", |_| "of a stored corpus"))
            ", by the code that runs on the device."
        }
        ul.tiles {
            li { b { (kib(subject.flash_bytes)) } span { "flash, of " (budget.flash_kib) " KiB" } }
            li { b { (kib(ram_bytes(subject.model))) } span { "RAM, of " (budget.ram_kib) " KiB" } }
            @if let Some(accuracy) = value("accuracy", "mechanism") {
                li { b { (percent(accuracy)) } span { "mechanism named right" } }
            }
            @for (target, coverage) in evaluation.integer.get("coverage90").into_iter().flatten() {
                li { b { (percent(*coverage)) } span { "of " (target) " inside the 90 % interval" } }
            }
            li { b { (format!("{:.2} %", 100.0 * change)) } span { "largest change from float to integer" } }
        }
        @if evaluation.gate_failures.is_empty() {
            p.good { "Calibration gate passed." }
        } @else {
            p.bad { "Not calibrated: " (evaluation.gate_failures.join("; ")) "." }
        }
        @if change > QUANTIZATION_TOLERANCE {
            p.bad { "Quantization changes " (evaluation.largest_change.1) " by more than 1 %." }
        }
    }
}

/// What goes in and what comes out.
pub fn answers(subject: &Subject<'_>) -> Markup {
    let manifest = subject.model.manifest();
    let input = &manifest.input;
    let channels: Vec<&str> = input.channels.iter().map(|channel| channel.name).collect();
    html! {
        section {
            h2 { "What it answers" }
            p {
                "From " (input.steps) " steps of " (channels.join(", "))
                @if !input.period.is_empty() { ", " (input.period) " apart" }
                @if input.missing == Missing::Indicator { "; values may be missing" } ":"
            }
            ul {
                @for head in manifest.heads.iter() {
                    @match head {
                        Head::Categorical { .. } => li {
                            "how probable each mechanism is: "
                            (manifest.mechanisms.iter().collect::<Vec<_>>().join(", "))
                        },
                        Head::Quantiles { levels, targets, .. } => li {
                            "quantiles " (levels.iter().map(|l| l.to_string()).collect::<Vec<_>>().join(", "))
                            " of " (series(&targets.iter().map(|t| t.series.to_owned()).collect::<Vec<_>>()))
                        },
                        Head::Point { .. } => li {
                            "the posterior mean of " (head::describe(&head).parameter_names())
                        },
                        Head::Mixture { components, .. } => li {
                            "the joint posterior of " (head::describe(&head).parameter_names())
                            " as a mixture of " (components) " Gaussians: density, moments, quantiles, samples"
                        },
                        Head::Flow { steps, .. } => li {
                            "samples of the joint posterior of " (head::describe(&head).parameter_names())
                            ", whatever its shape, each in " (steps.len()) " steps"
                        },
                        Head::Ratio { .. } => li {
                            "the likelihood of any " (head::describe(&head).parameter_names())
                            ", up to a factor: its surface, its maximum, confidence sets"
                        },
                    }
                }
                @if let Some(bank) = &manifest.bank {
                    li {
                        "the nearest of " (bank.prototypes) " kept simulations, which stand for "
                        (bank.num_simulations) ", with their parameters, and how unusual the observation is among simulations"
                    }
                }
            }
        }
    }
}

/// `R0, cases (14 steps)`.
fn series(names: &[String]) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match counted.last_mut() {
            Some((last, count)) if last == name => *count += 1,
            _ => counted.push((name, 1)),
        }
    }
    let each = counted.into_iter().map(|(name, count)| match count {
        1 => name.to_owned(),
        _ => format!("{name} ({count} steps)"),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The table of metrics.
pub fn figures(subject: &Subject<'_>) -> Markup {
    let evaluation = subject.evaluation;
    let cell = |metrics: &Metrics, metric: &str, target: &str| {
        let value = metrics.get(metric).and_then(|targets| targets.get(target));
        value.map_or("–".into(), |value| significant(*value, 4))
    };
    html! {
        section {
            h2 { "Figures" }
            p.soft {
                "Beside the float network before quantization, and trivial rivals: "
                code { "prior" } " answers the same for every observation, "
                code { "last_value" } " repeats the last observed value."
            }
            div.scroll { table {
                thead { tr {
                    th { "metric" } th.name { "of" } th { "integer" } th { "float" }
                    @for name in evaluation.baselines.keys() { th { (name) } }
                } }
                tbody {
                    @for (metric, targets) in &evaluation.integer {
                        @for target in targets.keys() {
                            tr {
                                td { (metric) } td.name { (target) }
                                td { b { (cell(&evaluation.integer, metric, target)) } }
                                td { (cell(&evaluation.float, metric, target)) }
                                @for metrics in evaluation.baselines.values() {
                                    td { (cell(metrics, metric, target)) }
                                }
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// A patch of a curve's color.
pub fn key(color: plotters::style::RGBColor) -> Markup {
    html! { span.key style=(format!("background:rgb({},{},{})", color.0, color.1, color.2)) {} }
}

/// Fans of a forecast over a few test simulations.
pub fn forecasts(subject: &Subject<'_>) -> Markup {
    let schema = &subject.corpus.schema;
    let Some(name) = evaluation::forecast_series(schema) else { return html! {} };
    // Where in the answer each step of the series lies, with the levels of its head.
    let mut steps: Vec<usize> = Vec::new();
    let mut levels: Vec<f32> = Vec::new();
    let mut position = 0;
    for head in &subject.float_model.heads {
        let head::Head::Quantiles(head) = head else { continue };
        for target in &head.targets {
            if target.series == name && (levels.is_empty() || levels == head.levels) {
                levels.clone_from(&head.levels);
                steps.push(position);
            }
            position += 1;
        }
    }
    if steps.is_empty() {
        return html! {};
    }
    let rows: Vec<usize> = (0..subject.corpus.len().min(EXAMPLES)).collect();
    let examples = subject.corpus.select(&rows);
    let answers = evaluation::integer_answers(subject.model, &examples.x);
    let columns = schema.target_indices(name);
    html! {
        section {
            h2 { "Forecasts" }
            p.soft {
                "The first test simulations, not chosen. " (key(TRUTH_KEY)) "observed before and after; "
                (key(MODEL)) "forecast: median and intervals between symmetric levels ("
                (levels.iter().map(|l| l.to_string()).collect::<Vec<_>>().join(", ")) ")."
            }
            div.plots {
                @for (row, answer) in answers.iter().enumerate() {
                    @let truth: Vec<f64> = columns.iter().map(|&c| f64::from(examples.target_row(row)[c])).collect();
                    @let mechanism = schema.mechanisms.get(usize::from(examples.mechanism[row]));
                    figure {
                        (fan(examples.x_row(row), &truth, answer, &steps, &levels, name))
                        figcaption {
                            "Simulation " (examples.index[row])
                            @if let Some(mechanism) = mechanism {
                                ", " (mechanism)
                                @if !answer.mechanism.is_empty() {
                                    "; answered "
                                    (schema.mechanisms.get(evaluation::argmax(&answer.mechanism)).map_or("", String::as_str))
                                    " with " (percent(f64::from(answer.mechanism[evaluation::argmax(&answer.mechanism)])))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The truth's color in a caption: the page's style gives the line the color of the text.
const TRUTH_KEY: plotters::style::RGBColor = plotters::style::RGBColor(0x80, 0x88, 0x90);

fn fan(
    x: &[f32],
    truth: &[f64],
    answer: &Answer,
    steps: &[usize],
    levels: &[f32],
    name: &str,
) -> Markup {
    let start = x.len();
    let day = |step: usize| (start + step + 1) as f64;
    let quantile = |step: usize, level: usize| f64::from(answer.quantiles[steps[step]][level]);
    let pairs = levels.len() / 2;
    let bands = (0..pairs).map(|pair| Band {
        points: (0..steps.len())
            .map(|step| (day(step), quantile(step, pair), quantile(step, levels.len() - 1 - pair)))
            .collect(),
        color: MODEL,
        opacity: 0.22,
    });
    let observed = x.iter().enumerate().map(|(at, x)| ((at + 1) as f64, f64::from(*x)));
    let after = truth.iter().enumerate().map(|(step, y)| (day(step), *y));
    let median = (0..steps.len()).map(|step| (day(step), quantile(step, levels.len() / 2)));
    let plot = Plot {
        x_label: "step".into(),
        y_label: name.to_owned(),
        bands: bands.collect(),
        curves: vec![
            Curve { points: observed.chain(after).collect(), color: TRUTH, width: 2, dots: false },
            Curve { points: median.collect(), color: MODEL, width: 2, dots: false },
        ],
        ..Plot::default()
    };
    plot.draw("Observed series, its continuation, and the forecast with its intervals")
}

/// One answer explained, and the novelty of all.
pub fn attribution(subject: &Subject<'_>) -> Markup {
    let Some(explanation) = explanation::explain(subject.model, subject.corpus.x_row(0), REPLAYS)
    else {
        return html! {};
    };
    // Parameters that none of the named mechanisms has would be empty columns.
    let has = |name: &str| explanation.nearest.iter().any(|near| near.theta.value(name).is_some());
    let names: Vec<&str> =
        explanation.theta.iter().map(|(name, _)| name.as_str()).filter(|name| has(name)).collect();
    html! {
        section {
            h2 { "From which simulations?" }
            p {
                "The first test simulation (index " (subject.corpus.index[0]) ") as an observation: "
                (explanation.novelty_words) " (p = " (format!("{:.3}", explanation.novelty)) ")."
            }
            div.scroll { table {
                thead { tr {
                    th { "simulation" } th.name { "mechanism" } th { "distance" } th { "mass" } th { "weight" }
                    @for name in &names { th { (name) } }
                } }
                tbody { @for near in &explanation.nearest { tr {
                    td { (near.index) } td.name { (near.mechanism) }
                    td { (significant(f64::from(near.distance), 3)) }
                    td { (format!("{:.2} %", 100.0 * near.mass)) }
                    td { (format!("{:.1} %", 100.0 * near.weight)) }
                    @for name in &names {
                        td { (near.theta.value(name).map_or("–".into(), |v| significant(f64::from(*v), 3))) }
                    }
                } } }
            } }
            div.plots {
                (replays(subject, &explanation))
                figure {
                    (novelty(subject))
                    figcaption {
                        "Novelty p-values of all test simulations: level where the test simulations are like the training's. "
                        "Real observations far to the left are unlike any simulation."
                    }
                }
            }
        }
    }
}

fn replays(subject: &Subject<'_>, explanation: &Explanation) -> Markup {
    let foreign =
        html! { p.soft { "The simulations of a foreign corpus cannot be replayed here." } };
    let of_study = subject.model.manifest().provenance.seed;
    let Some(seed) = subject.float_model.corpus.seed(of_study) else { return foreign };
    let replayer = match Replayer::new(subject.model, subject.study, seed) {
        Ok(replayer) => replayer,
        Err(ReplayError::NothingToSimulate { .. }) => return foreign,
        Err(error) => return html! { p.bad { (error.to_string()) } },
    };
    let points = |x: &[f32]| -> Vec<(f64, f64)> {
        x.iter().enumerate().map(|(at, x)| ((at + 1) as f64, f64::from(*x))).collect()
    };
    let mut curves = Vec::new();
    for (near, color) in explanation.nearest.iter().zip(OTHERS) {
        match replayer.prototype(near.prototype) {
            Ok(replay) => {
                curves.push(Curve { points: points(&replay.x), color, width: 1, dots: false });
            }
            Err(error) => return html! { p.bad { (error.to_string()) } },
        }
    }
    let observed = points(subject.corpus.x_row(0));
    curves.push(Curve { points: observed, color: TRUTH, width: 2, dots: false });
    let plot =
        Plot { x_label: "step".into(), y_label: "observed".into(), curves, ..Plot::default() };
    html! {
        figure {
            (plot.draw("The observation and the replayed nearest simulations"))
            figcaption {
                "The observation (thick) and its nearest simulations, regenerated from their indices and verified against the artifact:"
                @for (near, color) in explanation.nearest.iter().zip(OTHERS) { (key(color)) (near.index) }
            }
        }
    }
}

/// Bins of the histogram of p-values.
const BINS: usize = 20;

fn novelty(subject: &Subject<'_>) -> Markup {
    let answers = evaluation::integer_answers(subject.model, &subject.corpus.x);
    let p_values: Vec<f32> = answers.iter().filter_map(|answer| answer.novelty).collect();
    let mut counts = [0_usize; BINS];
    for p in &p_values {
        counts[((p * BINS as f32) as usize).min(BINS - 1)] += 1;
    }
    let width = 1.0 / BINS as f64;
    let share = |count: usize| count as f64 / p_values.len().max(1) as f64;
    let bars = counts
        .iter()
        .enumerate()
        .map(|(at, &count)| (at as f64 * width, (at + 1) as f64 * width, share(count)));
    let bars: Vec<(f64, f64, f64)> = bars.collect();
    let level =
        Curve { points: vec![(0.0, width), (1.0, width)], color: TRUTH, width: 1, dots: false };
    let plot = Plot {
        x_label: "novelty p-value".into(),
        y_label: "share of simulations".into(),
        bars,
        curves: vec![level],
        ..Plot::default()
    };
    plot.draw("Histogram of the novelty p-values, level where calibrated")
}

/// What the device pays.
pub fn cost(subject: &Subject<'_>) -> Markup {
    let manifest = subject.model.manifest();
    let budget = &subject.study.budget;
    let mut widths = vec![subject.float_model.input.d_input()];
    widths.extend(manifest.trunk.iter().map(|layer| usize::from(layer.d_output)));
    let trunk: Vec<String> = widths.iter().map(usize::to_string).collect();
    html! {
        section {
            h2 { "What it costs" }
            table { tbody {
                tr { td { "flash" } td { (subject.flash_bytes) " of " (budget.flash_kib * 1024) " bytes" } }
                tr { td { "RAM of the caller" } td { (ram_bytes(subject.model)) " of " (budget.ram_kib * 1024) " bytes" } }
                tr { td { "parameters" } td { (subject.float_model.network.num_parameters()) } }
                tr { td { "layers" } td { (trunk.join(" → ")) } }
                @if let Some(bank) = &manifest.bank {
                    tr { td { "bank" } td { (bank.prototypes) " simulations in " (bank.embedding.d_output) " dimensions" } }
                }
            } }
        }
    }
}

/// Where everything comes from.
pub fn provenance(subject: &Subject<'_>) -> Markup {
    let provenance = &subject.model.manifest().provenance;
    let judged_of =
        subject.corpus_simulations.map_or(String::new(), |of| format!(" of {of} stored"));
    html! {
        section {
            h2 { "Provenance" }
            p.soft { "Study, simulator, corpus and float model by the first bytes of their SHA-256; " code { "simground inspect" } " shows all." }
            table { tbody {
                tr { td { "study" } td.wrap { (subject.study.file) ", " code { (short_hash(provenance.study_hash)) } } }
                tr { td { "simulator" } td.wrap { code { (short_hash(provenance.simulator_hash)) } } }
                tr { td { "corpus of the bank" } td.wrap { code { (short_hash(provenance.corpus_hash)) } } }
                tr { td { "float model" } td.wrap { code { (short_hash(provenance.float_hash)) } } }
                tr { td { "seed" } td.wrap { (provenance.seed) } }
                @if let CorpusOrigin::Stored { seed } = subject.float_model.corpus {
                    tr { td { "seed of the stored corpus" } td.wrap { (seed) } }
                }
                tr { td { "simulations in training" } td.wrap { (provenance.num_simulations) } }
                tr { td { "judged on" } td.wrap { (subject.evaluation.num_simulations) (judged_of) " simulations, seed " (subject.seed) } }
                tr { td { "made by" } td.wrap { "simground " (provenance.trainer) } }
            } }
        }
    }
}

fn kib(bytes: usize) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
