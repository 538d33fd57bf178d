//! Why a corpus cannot be read.

use std::path::PathBuf;

use crate::parquet_file::ParquetFileError;

/// Why a corpus cannot be read. Rows are counted from 0 within their file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The directory holds no Parquet file.
    #[error("{}: no Parquet file in this directory\nhint: `simground simulate STUDY --out DIR` writes a corpus", .path.display())]
    NoFiles {
        /// The directory.
        path: PathBuf,
    },
    /// One file is no part of a corpus.
    #[error(transparent)]
    File(#[from] ParquetFileError),
    /// No simulation at all.
    #[error("{}: no rows; a corpus needs at least one simulation", .path.display())]
    Empty {
        /// File or directory.
        path: PathBuf,
    },
    /// Files that hold more or fewer rows than they state.
    #[error(
        "the corpus has {found} rows, but its files state {stated}\nhint: write the files again; one of them is damaged"
    )]
    Rows {
        /// Rows that the files state.
        stated: u64,
        /// Rows that were there.
        found: u64,
    },
    /// Two files of a corpus describe different things.
    #[error("{}: {what} differ from those of {}: {found} against {expected}; files of one corpus must agree", .path.display(), .first.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The file that was read first.
        first: PathBuf,
        /// What differs.
        what: &'static str,
        /// In this file.
        found: String,
        /// In the first.
        expected: String,
    },
}
