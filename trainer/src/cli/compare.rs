//! `simground evaluate SAMPLES --against REFERENCE`: how far two sets of posterior samples are apart.

use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Serialize;
use simground_trainer::comparison::{self, Comparison, DIRECTIONS, LEAST_SAMPLES};
use simground_trainer::samples::Samples;

use super::output::{counted, say, significant, table};
use super::{Output, Verdict};

#[derive(Debug, Serialize)]
struct Document {
    samples: PathBuf,
    against: PathBuf,
    parameters: Vec<String>,
    /// Rows of the files.
    num_samples: usize,
    num_reference_samples: usize,
    /// Rows of each that were compared.
    num_compared: usize,
    seed: u64,
    #[serde(flatten)]
    comparison: Comparison,
}

/// Runs the command.
pub fn run(
    samples: &Path,
    reference: &Path,
    wanted: usize,
    seed: u64,
    output: Output,
) -> anyhow::Result<Verdict> {
    let whole = |path: &Path| path.canonicalize().ok();
    if whole(samples).is_some_and(|path| Some(path) == whole(reference)) {
        say(&format!("warning: {}: compared with itself", samples.display()));
    }
    let reference = read(reference)?;
    let samples = read(samples)?.in_order_of(&reference)?;
    // Sets of one size: a classifier that always names the larger one would look as if it could tell them apart.
    let num_compared = wanted.min(samples.len()).min(reference.len());
    let d = reference.names.len();
    let comparison = comparison::compare(
        &comparison::draw_rows(&samples.values, d, num_compared, seed, 0),
        &comparison::draw_rows(&reference.values, d, num_compared, seed, 1),
        d,
        seed,
    );
    let document = Document {
        num_samples: samples.len(),
        num_reference_samples: reference.len(),
        samples: samples.path,
        against: reference.path,
        parameters: reference.names,
        num_compared,
        seed,
        comparison,
    };
    output.print(&document, document_text)?;
    Ok(Verdict::Passed)
}

fn read(path: &Path) -> anyhow::Result<Samples> {
    let samples = Samples::read(path)?;
    if samples.len() < LEAST_SAMPLES {
        bail!("{}: {} samples; a comparison needs {LEAST_SAMPLES}", path.display(), samples.len());
    }
    Ok(samples)
}

fn document_text(document: &Document) -> String {
    let comparison = &document.comparison;
    let folds = comparison.c2st_folds.iter();
    let spread =
        folds.fold((1.0_f64, 0.0_f64), |(low, high), fold| (low.min(*fold), high.max(*fold)));
    let rows = [
        ("c2st", comparison.c2st, format!("0.5 is best; parts {:.3} to {:.3}", spread.0, spread.1)),
        (
            "mmd",
            comparison.mmd,
            format!("squared, unbiased, bandwidth {}", significant(comparison.mmd_bandwidth, 3)),
        ),
        (
            "sliced_wasserstein",
            comparison.sliced_wasserstein,
            format!("order 2, in sd of the reference, {DIRECTIONS} directions"),
        ),
    ];
    let rows = rows.map(|(name, value, what)| vec![name.to_owned(), significant(value, 4), what]);
    format!(
        "{}{} samples of each file, {}, seed {}\n",
        table(&rows),
        document.num_compared,
        counted(document.parameters.len(), "parameter"),
        document.seed
    )
}
