//! Observations from a file: CSV with a column for each value of a window, or Parquet with a column `x` of windows.
//!
//! Every value in hand is one that the model knows what to do with; what is not is an error that names file, place and column.

mod csv;
mod parquet;

use std::path::Path;

use simground_runtime::Model;
use simground_runtime::artifact::{Missing, Transform};

use crate::parquet_file::{self, ParquetFileError};
use crate::replay;

/// Windows read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct InputTable {
    /// The file, as messages name it.
    pub file: String,
    /// Names of the values of a window.
    pub columns: Vec<String>,
    /// `[n, columns]`, raw units; NaN where missing.
    pub x: Vec<f32>,
    /// What the user should know of how columns were matched.
    pub note: Option<String>,
    places: Places,
}

/// Where the windows stand in their file.
#[derive(Debug, Clone, PartialEq)]
enum Places {
    /// Line of each window, from 1.
    Lines(Vec<u64>),
    /// Number of windows; their rows are counted from 0.
    Rows(usize),
}

/// What a model takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Values a window, with the transform of each.
    pub transforms: Vec<Transform>,
    /// Whether values may be missing.
    pub missing: Missing,
    /// Names of the values, where they are known.
    pub names: Option<Vec<String>>,
    /// Whether the model was trained on a corpus that is not ours.
    pub foreign: bool,
}

/// A file that holds no windows for this model.
#[derive(Debug, thiserror::Error)]
pub enum InputTableError {
    /// The system refused.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Something is wrong with the file as a whole.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// What is wrong, and the cure.
        message: String,
    },
    /// Something is wrong in one line.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: String,
        /// Line, from 1.
        line: u64,
        /// What is wrong, and the cure.
        message: String,
    },
    /// Something is wrong in a Parquet file.
    #[error(transparent)]
    Parquet(#[from] ParquetFileError),
}

impl InputTable {
    /// Reads a file; its first bytes tell which kind it is.
    ///
    /// # Errors
    ///
    /// [`InputTableError`] for the first fault.
    pub fn read(path: &Path, expected: &Expectation) -> Result<InputTable, InputTableError> {
        if parquet_file::has_magic(path) {
            return parquet::read(path, expected);
        }
        let name = path.display().to_string();
        if path.is_dir() {
            let message = "a folder\nhint: name one file of windows, CSV or Parquet".into();
            return Err(InputTableError::File { path: name, message });
        }
        let bytes = std::fs::read(path)
            .map_err(|source| InputTableError::Read { path: name.clone(), source })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
            let message = "not UTF-8 text".into();
            InputTableError::Line { path: name.clone(), line, message }
        })?;
        csv::parse(&text, &name, expected)
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        match &self.places {
            Places::Lines(lines) => lines.len(),
            Places::Rows(rows) => *rows,
        }
    }

    /// Whether there is none; a table that was read has one at least.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The windows in order.
    pub fn windows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.x.chunks_exact(self.columns.len().max(1))
    }

    /// File and place of a window: `data.csv:3`, or `data.parquet: row 2`.
    ///
    /// # Panics
    ///
    /// If there is no such window.
    pub fn place(&self, window: usize) -> String {
        match &self.places {
            Places::Lines(lines) => format!("{}:{}", self.file, lines[window]),
            Places::Rows(_) => format!("{}: row {window}", self.file),
        }
    }
}

impl Expectation {
    /// What `model` takes; its artifact has no names for the values of a window, so they come from elsewhere or not at all.
    pub fn of(model: &Model<'_>, names: Option<Vec<String>>) -> Expectation {
        let input = &model.manifest().input;
        Expectation {
            transforms: input.transforms.iter().collect(),
            missing: input.missing,
            names,
            foreign: replay::is_foreign(model),
        }
    }

    /// Position of each value among columns of these names; `None` unless all are there.
    fn positions(&self, columns: &[String]) -> Option<Vec<usize>> {
        let position = |name| columns.iter().position(|column| column == name);
        self.names.as_ref()?.iter().map(position).collect()
    }

    /// That columns count by position, where the model has names for them.
    ///
    /// # Errors
    ///
    /// Where some are named as the model's are, and one is not: what lies where it should be is anyone's guess.
    fn note_of_positions(&self, columns: &[String]) -> Result<Option<String>, String> {
        let Some(names) = &self.names else { return Ok(None) };
        let (there, absent): (Vec<_>, Vec<_>) =
            names.iter().partition(|name| columns.contains(name));
        let Some(first) = absent.first() else { return Ok(None) };
        if there.is_empty() {
            return Ok(Some(format!(
                "columns are taken by position, for none is named `{first}` as the model's are"
            )));
        }
        let stranger = columns.iter().find(|column| !names.contains(column));
        let stranger = stranger.map_or(String::new(), |name| format!(", but one is `{name}`"));
        Err(format!(
            "no column `{first}`, though others are named as the model's are{stranger}\nhint: name all columns as the model does, or none: then they count by position"
        ))
    }

    /// Proves that the model can take `value` as its input number `input`.
    fn check(&self, input: usize, value: f32) -> Result<(), String> {
        if value.is_nan() && self.missing == Missing::Refuse {
            let gaps = if self.foreign {
                "make the corpus again with gaps (null or NaN in `x`)"
            } else {
                "make gaps in the simulations (`missing_fraction` under [observation])"
            };
            return Err(format!(
                "missing, but the model was trained without missing values\nhint: set `missing = \"allow\"` under [input] in the study, {gaps}, and train again"
            ));
        }
        if self.transforms.get(input) == Some(&Transform::Log1p) && value < 0.0 {
            return Err(format!("{value} is negative, but the model takes counts"));
        }
        Ok(())
    }
}
