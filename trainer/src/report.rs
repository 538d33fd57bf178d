//! One self-contained page about a model: what it answers, how well, how surely, and from which simulations.
//!
//! Nothing is fetched: style and plots are inline. Colors follow the reader's scheme, and the page prints.

mod calibration;
mod plots;
mod sections;
mod surface;

use maud::{DOCTYPE, PreEscaped, html};
use simground_runtime::Model;

pub use calibration::{Figure, figures};

use crate::corpus::Corpus;
use crate::float_model::FloatModel;
use crate::pipeline::Evaluation;
use crate::study::Study;

/// What a page is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// The artifact.
    pub model: &'s Model<'s>,
    /// Its size.
    pub flash_bytes: usize,
    /// The float model beside it.
    pub float_model: &'s FloatModel,
    /// Its figures on `corpus`.
    pub evaluation: &'s Evaluation,
    /// The simulations that it was judged on.
    pub corpus: &'s Corpus,
    /// Simulations of the stored corpus that `corpus` was drawn from; `None` where training is known to have seen none of `corpus`.
    pub corpus_simulations: Option<u64>,
    /// The study.
    pub study: &'s Study,
    /// Seed of `corpus`, or of the draw.
    pub seed: u64,
}

/// The page, in HTML.
pub fn page(subject: &Subject<'_>) -> String {
    let name = subject.model.manifest().name;
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (name) " – simground" }
                style { (PreEscaped(include_str!("report/style.css"))) }
            }
            body {
                main {
                    header {
                        h1 { (name) }
                        (sections::summary(subject))
                    }
                    (sections::answers(subject))
                    (sections::figures(subject))
                    (calibration::section(&subject.evaluation.calibration, subject.evaluation.num_simulations))
                    (sections::forecasts(subject))
                    (surface::surfaces(subject))
                    (sections::attribution(subject))
                    (sections::cost(subject))
                    (sections::provenance(subject))
                }
            }
        }
    };
    markup.into_string()
}

/// A number with at least this many significant digits; whole numbers keep all of theirs, up to a hundred billions. What is
/// smaller than a hundred thousandth has an exponent.
///
/// ```
/// use simground_trainer::report::significant;
/// assert_eq!(significant(164.268, 4), "164.3");
/// assert_eq!(significant(0.012345, 3), "0.0123");
/// assert_eq!(significant(123456.7, 4), "123457");
/// assert_eq!(significant(2.0, 4), "2.000");
/// assert_eq!(significant(-5.58e-13, 4), "-5.580e-13");
/// assert_eq!(significant(2.779e12, 4), "2.779e12");
/// ```
pub fn significant(value: f64, digits: i32) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    if !(-5..=10).contains(&magnitude) {
        return format!("{value:.*e}", (digits - 1).max(0) as usize);
    }
    let decimals = (digits - 1 - magnitude).max(0) as usize;
    format!("{value:.decimals$}")
}

/// A number of things.
///
/// ```
/// use simground_trainer::report::counted;
/// assert_eq!([counted(1, "value"), counted(2, "value")], ["1 value", "2 values"]);
/// ```
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
