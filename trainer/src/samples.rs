//! Samples of a posterior in Parquet: a column of numbers for each parameter, or one column `theta` of lists.

mod writing;

use std::path::{Path, PathBuf};

pub use writing::{ROW, generator, write_samples};

use crate::corpus::entry_names;
use crate::parquet_file::{Absent, ParquetFile, ParquetFileError};

/// Column of lists that holds all parameters at once.
const THETA: &str = "theta";
/// Prefix of the columns in which pandas stores the labels of rows.
const PANDAS_INDEX: &str = "__index_level_";

/// Samples read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// The file.
    pub path: PathBuf,
    /// Names of the parameters.
    pub names: Vec<String>,
    /// `[num_samples, names]`; finite.
    pub values: Vec<f32>,
}

/// Why a file holds no samples, or samples of something else.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplesError {
    /// A column or a value is not as it must be.
    #[error(transparent)]
    File(#[from] ParquetFileError),
    /// No samples.
    #[error("{}: no rows; a sample a row is needed", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Two files hold samples of different parameters.
    #[error("{}: samples of {found}, but {} holds {expected}\nhint: name the columns of both files after the same parameters", .path.display(), .reference.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Its parameters.
        found: String,
        /// The other file.
        reference: PathBuf,
        /// The other's parameters.
        expected: String,
    },
}

impl Samples {
    /// Reads a file whole.
    ///
    /// # Errors
    ///
    /// [`SamplesError`] names file, row and column.
    pub fn read(path: impl AsRef<Path>) -> Result<Samples, SamplesError> {
        let file = ParquetFile::open(path)?;
        let path = file.path().to_owned();
        let Some(first) = file.first_row()? else { return Err(SamplesError::Empty { path }) };
        if file.has(THETA) && !first.holds_numbers(THETA) {
            let width = first.width(THETA)?;
            let mut values = Vec::new();
            for batch in file.batches(Some(&[THETA]))? {
                values.extend(batch?.matrix(THETA, width, Absent::Never)?.unwrap_or_default());
            }
            return Ok(Samples { path, names: entry_names(&file, THETA, width)?, values });
        }
        // Whole numbers under this name tell windows apart; numbers with a fraction are a parameter.
        let is_row = |name: &str| name == ROW && first.holds_whole_numbers(name);
        let names: Vec<String> = file
            .columns()
            .filter(|name| !name.starts_with(PANDAS_INDEX) && !is_row(name))
            .map(str::to_owned)
            .collect();
        let mut values = Vec::new();
        for batch in file.batches(None)? {
            let batch = batch?;
            let columns = names
                .iter()
                .map(|name| Ok(batch.numbers(name)?.ok_or_else(|| file.missing_column(name))?));
            let columns = columns.collect::<Result<Vec<_>, SamplesError>>()?;
            values.extend((0..batch.len()).flat_map(|row| columns.iter().map(move |c| c[row])));
        }
        Ok(Samples { path, names, values })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.values.len() / self.names.len().max(1)
    }

    /// Whether there is none; a file that was read has one at least.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The same samples with their parameters in the order of `reference`.
    ///
    /// # Errors
    ///
    /// [`SamplesError::Mismatch`] unless both have the same parameters.
    pub fn in_order_of(&self, reference: &Samples) -> Result<Samples, SamplesError> {
        let position = |name: &String| self.names.iter().position(|own| own == name);
        let order: Option<Vec<usize>> = reference.names.iter().map(position).collect();
        let Some(order) = order.filter(|order| order.len() == self.names.len()) else {
            return Err(SamplesError::Mismatch {
                path: self.path.clone(),
                found: self.names.join(", "),
                reference: reference.path.clone(),
                expected: reference.names.join(", "),
            });
        };
        let rows = self.values.chunks_exact(self.names.len());
        let values = rows.flat_map(|row| order.iter().map(|&at| row[at])).collect();
        Ok(Samples { path: self.path.clone(), names: reference.names.clone(), values })
    }
}
