//! Parquet files of any origin, read in batches of bounded size: the way in for corpora, observations and posterior samples.
//!
//! Whoever reads a value from here knows that it is what its column must hold; what is not is an error that names file, row and
//! column. Rows are counted from 0 within their file.

mod values;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;

pub use values::Absent;

/// Most rows of a batch; wide rows come in smaller ones.
const BATCH_ROWS: usize = 8_192;
/// Most values of a batch that has more rows than one.
const BATCH_VALUES: usize = 1 << 20;

/// Why a Parquet file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParquetFileError {
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not a Parquet file, or a cut or damaged one.
    #[error("{}: not a readable Parquet file, perhaps cut short: {source}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Parquet's reason.
        source: ParquetError,
    },
    /// A page could not be decoded.
    #[error("{}: damaged data near row {row}: {source}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// First row of the batch.
        row: usize,
        /// Arrow's reason.
        source: ArrowError,
    },
    /// A column is missing or has the wrong type or names.
    #[error("{}: column `{column}` {problem}", .path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// One value is wrong.
    #[error("{}: row {row}, column `{column}`: {problem}", .path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The row.
        row: usize,
        /// The column.
        column: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// A Parquet file whose footer has been read.
#[derive(Debug, Clone)]
pub struct ParquetFile {
    path: Arc<Path>,
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    /// Reads the footer.
    ///
    /// # Errors
    ///
    /// [`ParquetFileError`] for what is not a Parquet file.
    pub fn open(path: impl AsRef<Path>) -> Result<ParquetFile, ParquetFileError> {
        let path: Arc<Path> = path.as_ref().into();
        let file = open(&path)?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
        let metadata = metadata
            .map_err(|source| ParquetFileError::Format { path: path.to_path_buf(), source })?;
        Ok(ParquetFile { path, metadata })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of rows.
    pub fn num_rows(&self) -> u64 {
        self.metadata.metadata().file_metadata().num_rows().max(0) as u64
    }

    /// Names of the columns, in the file's order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.metadata.schema().fields().iter().map(|field| field.name().as_str())
    }

    /// Whether there is a column of this name.
    pub fn has(&self, column: &str) -> bool {
        self.columns().any(|name| name == column)
    }

    /// Value of a key in the file's metadata.
    pub fn metadata_value(&self, key: &str) -> Option<&str> {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// The rows from the first to the last, with these columns alone or with all.
    ///
    /// # Errors
    ///
    /// [`ParquetFileError`] where the file has gone or its footer is at odds with its columns.
    pub fn batches(&self, columns: Option<&[&str]>) -> Result<Batches, ParquetFileError> {
        // A footer that lies about its number of rows costs nothing.
        let bytes = self.metadata.metadata().row_groups().iter();
        let bytes = bytes.map(|group| group.total_byte_size().max(0) as u64).sum::<u64>();
        let values_a_row = (bytes / 4 / self.num_rows().max(1)).clamp(1, BATCH_VALUES as u64);
        let rows = (BATCH_VALUES / values_a_row as usize).min(BATCH_ROWS);
        self.batches_of(columns, rows, None)
    }

    /// The first row; `None` in a file without rows.
    ///
    /// # Errors
    ///
    /// As [`ParquetFile::batches`], and where the row is damaged.
    pub fn first_row(&self) -> Result<Option<Batch>, ParquetFileError> {
        self.batches_of(None, 1, Some(1))?.next().transpose()
    }

    fn batches_of(
        &self,
        columns: Option<&[&str]>,
        rows: usize,
        limit: Option<usize>,
    ) -> Result<Batches, ParquetFileError> {
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            open(&self.path)?,
            self.metadata.clone(),
        )
        .with_batch_size(rows);
        if let Some(columns) = columns {
            let schema = self.metadata.schema();
            let roots = columns.iter().filter_map(|name| schema.index_of(name).ok());
            let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
            builder = builder.with_projection(mask);
        }
        if let Some(limit) = limit {
            builder = builder.with_limit(limit);
        }
        let reader = builder
            .build()
            .map_err(|source| ParquetFileError::Format { path: self.path.to_path_buf(), source })?;
        Ok(Batches { path: Arc::clone(&self.path), row: 0, reader })
    }

    /// An error about a whole column; `problem` continues the sentence "column `x` ...".
    pub fn column_error(&self, column: &str, problem: String) -> ParquetFileError {
        let path = self.path.to_path_buf();
        ParquetFileError::Column { path, column: column.to_owned(), problem }
    }

    /// The error for one cell; rows are counted from 0.
    pub fn cell_error(&self, row: usize, column: &str, problem: String) -> ParquetFileError {
        let path = self.path.to_path_buf();
        ParquetFileError::Cell { path, row, column: column.to_owned(), problem }
    }

    /// The error for a column that is not there.
    pub fn missing_column(&self, column: &str) -> ParquetFileError {
        let names: Vec<&str> = self.columns().collect();
        self.column_error(column, format!("is missing; the file has {}", names.join(", ")))
    }
}

/// Whether a file begins as Parquet files do.
pub fn has_magic(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"PAR1"
}

fn open(path: &Path) -> Result<File, ParquetFileError> {
    File::open(path).map_err(|source| ParquetFileError::Io { path: path.to_owned(), source })
}

/// The rows of a file, some at a time; ends with the first error.
pub struct Batches {
    path: Arc<Path>,
    row: usize,
    reader: ParquetRecordBatchReader,
}

impl Iterator for Batches {
    type Item = Result<Batch, ParquetFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first_row = self.row;
        Some(match self.reader.next()? {
            Ok(rows) => {
                self.row += rows.num_rows();
                Ok(Batch { path: Arc::clone(&self.path), first_row, rows })
            }
            Err(source) => {
                let path = self.path.to_path_buf();
                Err(ParquetFileError::Damaged { path, row: first_row, source })
            }
        })
    }
}

/// Some consecutive rows of a file.
#[derive(Debug)]
pub struct Batch {
    path: Arc<Path>,
    first_row: usize,
    rows: RecordBatch,
}

impl Batch {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An error about a cell; `row` counts within this batch.
    pub fn cell_error(&self, row: usize, column: &str, problem: String) -> ParquetFileError {
        ParquetFileError::Cell {
            path: self.path.to_path_buf(),
            row: self.first_row + row,
            column: column.to_owned(),
            problem,
        }
    }

    fn column_error(&self, column: &str, problem: String) -> ParquetFileError {
        let path = self.path.to_path_buf();
        ParquetFileError::Column { path, column: column.to_owned(), problem }
    }
}
