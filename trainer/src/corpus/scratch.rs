//! A corpus larger than memory: its rows in a random order, in a temporary file that no name leads to.
//!
//! One pass over the corpus validates every row and appends it, in words of 32 bits, to the bucket in which its place in the order lies.
//! Each bucket is a region of the file, so what is written is contiguous and nothing is ever moved; a reader takes whole buckets and
//! puts their rows in order. Memory is a buffer a bucket, and four bytes a row while the file is made.
//!
//! ```text
//! file    bucket 0 | bucket 1 | ...            each of `bucket_rows` records but the last
//! record  place in bucket | mechanism | index, two words | weight? | x | theta | target? | score?
//! ```

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Corpus, CorpusError, Reader, Schema};
use crate::disk::{free_bytes, size, without_its_name};

/// Rows of the smallest bucket: as many as a training asks for at a time.
const BUCKET_ROWS: u64 = 4_096;
/// Most buckets; with [`BUFFER_BYTES`] a bound on the memory of the pass.
const BUCKETS: u64 = 4_096;
/// Bytes that wait for a bucket before they are written.
const BUFFER_BYTES: usize = 1 << 16;

/// Why a corpus cannot be put in order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScratchError {
    /// A row of the corpus is wrong.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The temporary file does not fit.
    #[error(
        "{}: the corpus needs {} of temporary space, and here {} are free\nhint: `--scratch DIR` names a folder on a larger disk",
        .folder.display(), size(*.needed), size(*.free)
    )]
    Space {
        /// Where the file was to be.
        folder: PathBuf,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The system refused.
    #[error("{}: temporary file: {source}", .folder.display())]
    Io {
        /// Where the file is.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// More rows than are told apart.
    #[error("the corpus has {rows} rows; at most {} are supported", u32::MAX)]
    TooMany {
        /// Rows.
        rows: u64,
    },
}

/// The parts of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    d_x: usize,
    d_theta: usize,
    /// 0 where theta is the target.
    d_target: usize,
    has_weight: bool,
    has_score: bool,
}

/// Words before the numbers: place, mechanism, index.
const HEADER: usize = 4;

impl Layout {
    fn of(reader: &Reader) -> Layout {
        let schema = reader.schema();
        Layout {
            d_x: schema.d_x(),
            d_theta: schema.d_theta(),
            d_target: if reader.has_target() { schema.d_target() } else { 0 },
            has_weight: reader.has("weight"),
            has_score: reader.has("score"),
        }
    }

    fn words(self) -> usize {
        let score = if self.has_score { self.d_theta } else { 0 };
        HEADER + usize::from(self.has_weight) + self.d_x + self.d_theta + self.d_target + score
    }

    fn bytes(self) -> usize {
        4 * self.words()
    }

    /// Appends one row.
    fn write(self, corpus: &Corpus, row: usize, place: u32, to: &mut Vec<u8>) {
        let index = corpus.index[row];
        let header = [place, u32::from(corpus.mechanism[row]), index as u32, (index >> 32) as u32];
        header.iter().for_each(|word| to.extend(word.to_le_bytes()));
        let mut numbers = |values: &[f32]| values.iter().for_each(|x| to.extend(x.to_le_bytes()));
        if let (true, Some(weight)) = (self.has_weight, &corpus.weight) {
            numbers(&weight[row..=row]);
        }
        numbers(corpus.x_row(row));
        numbers(corpus.theta_row(row));
        if self.d_target > 0 {
            numbers(corpus.target_row(row));
        }
        if let (true, Some(score)) = (self.has_score, &corpus.score) {
            numbers(&score[row * self.d_theta..][..self.d_theta]);
        }
    }
}

/// Rows of a corpus in a fixed random order, on disk.
#[derive(Debug)]
pub struct Scratch {
    schema: Arc<Schema>,
    layout: Layout,
    rows: u64,
    bucket_rows: u64,
    folder: PathBuf,
    file: Mutex<Bucket>,
}

/// The file, and the bucket that was read last.
#[derive(Debug)]
struct Bucket {
    file: File,
    number: Option<u64>,
    bytes: Vec<u8>,
}

impl Scratch {
    /// Bytes that the rows of a reader take.
    pub fn bytes_of(reader: &Reader) -> u64 {
        reader.num_simulations().saturating_mul(Scratch::row_bytes_of(reader))
    }

    /// Bytes that one of them takes.
    pub fn row_bytes_of(reader: &Reader) -> u64 {
        Layout::of(reader).bytes() as u64
    }

    /// Reads a corpus through once, and puts each row in the place that `places` has for it: a permutation of `0..rows`.
    ///
    /// # Errors
    ///
    /// [`ScratchError`]: the first wrong row, or a folder without the space.
    pub fn write(reader: Reader, places: &[u32], folder: &Path) -> Result<Scratch, ScratchError> {
        let rows = reader.num_simulations();
        let layout = Layout::of(&reader);
        let bucket_rows = rows.div_ceil(BUCKETS).next_multiple_of(BUCKET_ROWS).max(BUCKET_ROWS);
        let io = |source| ScratchError::Io { folder: folder.to_owned(), source };
        let needed = Scratch::bytes_of(&reader);
        if let Some(free) = free_bytes(folder).filter(|free| *free < needed) {
            return Err(ScratchError::Space { folder: folder.to_owned(), needed, free });
        }
        let mut file = tempfile::tempfile_in(folder).map_err(without_its_name).map_err(io)?;
        let mut buckets: Vec<(Vec<u8>, u64)> =
            vec![(Vec::new(), 0); rows.div_ceil(bucket_rows) as usize];
        let stride = layout.bytes();
        let mut flush = |number: usize, (buffer, written): &mut (Vec<u8>, u64)| {
            let start = number as u64 * bucket_rows * stride as u64 + *written;
            file.seek(SeekFrom::Start(start))?;
            file.write_all(buffer)?;
            *written += buffer.len() as u64;
            buffer.clear();
            io::Result::Ok(())
        };
        let schema = Arc::clone(reader.schema());
        // A reader gives as many rows as it states.
        let mut places = places.iter().map(|&place| u64::from(place));
        for part in reader {
            let part = part?;
            for (row, place) in (0..part.len()).zip(&mut places) {
                let (number, place) = (place / bucket_rows, place % bucket_rows);
                let bucket = &mut buckets[number as usize];
                layout.write(&part, row, place as u32, &mut bucket.0);
                if bucket.0.len() + stride > BUFFER_BYTES {
                    flush(number as usize, bucket).map_err(io)?;
                }
            }
        }
        for (number, bucket) in buckets.iter_mut().enumerate() {
            flush(number, bucket).map_err(io)?;
        }
        let file = Mutex::new(Bucket { file, number: None, bytes: Vec::new() });
        Ok(Scratch { schema, layout, rows, bucket_rows, folder: folder.to_owned(), file })
    }

    /// What the columns are.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Whether rows have exact scores.
    pub fn has_scores(&self) -> bool {
        self.layout.has_score
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Rows by place.
    ///
    /// # Panics
    ///
    /// If there are no such rows, or the system cannot read back what it has written.
    pub fn rows(&self, range: Range<u64>) -> Corpus {
        assert!(range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let mut corpus = self.blank((range.end - range.start) as usize);
        let mut bucket = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        for number in range.start / self.bucket_rows..range.end.div_ceil(self.bucket_rows) {
            if let Err(error) = self.load(&mut bucket, number) {
                panic!("{}: temporary file: {error}", self.folder.display());
            }
            for record in bucket.bytes.chunks_exact(self.layout.bytes()) {
                let place = number * self.bucket_rows + u64::from(word(record, 0));
                if range.contains(&place) {
                    self.copy(record, (place - range.start) as usize, &mut corpus);
                }
            }
        }
        corpus
    }

    fn load(&self, bucket: &mut Bucket, number: u64) -> io::Result<()> {
        if bucket.number == Some(number) {
            return Ok(());
        }
        let first = number * self.bucket_rows;
        let rows = self.bucket_rows.min(self.rows - first);
        bucket.number = None;
        bucket.bytes.resize(rows as usize * self.layout.bytes(), 0);
        bucket.file.seek(SeekFrom::Start(first * self.layout.bytes() as u64))?;
        bucket.file.read_exact(&mut bucket.bytes)?;
        bucket.number = Some(number);
        Ok(())
    }

    /// A corpus of this many rows, to be filled.
    fn blank(&self, rows: usize) -> Corpus {
        let Layout { d_x, d_theta, has_weight, has_score, .. } = self.layout;
        Corpus {
            schema: Arc::clone(&self.schema),
            x: vec![0.0; rows * d_x],
            theta: vec![0.0; rows * d_theta],
            target: vec![0.0; rows * self.schema.d_target()],
            mechanism: vec![0; rows],
            index: vec![0; rows],
            weight: has_weight.then(|| vec![0.0; rows]),
            score: has_score.then(|| vec![0.0; rows * d_theta]),
        }
    }

    fn copy(&self, record: &[u8], row: usize, corpus: &mut Corpus) {
        let Layout { d_x, d_theta, d_target, .. } = self.layout;
        corpus.mechanism[row] = word(record, 1) as u16;
        corpus.index[row] = u64::from(word(record, 2)) | u64::from(word(record, 3)) << 32;
        let mut rest = &record[4 * HEADER..];
        let mut take = |into: &mut [f32]| {
            for value in into {
                let (bytes, others) = rest.split_first_chunk().expect("a record of the layout");
                *value = f32::from_le_bytes(*bytes);
                rest = others;
            }
        };
        if let Some(weight) = &mut corpus.weight {
            take(&mut weight[row..=row]);
        }
        take(&mut corpus.x[row * d_x..][..d_x]);
        take(&mut corpus.theta[row * d_theta..][..d_theta]);
        if d_target > 0 {
            take(&mut corpus.target[row * d_target..][..d_target]);
        } else {
            corpus.target[row * d_theta..][..d_theta]
                .copy_from_slice(&corpus.theta[row * d_theta..][..d_theta]);
        }
        if let Some(score) = &mut corpus.score {
            take(&mut score[row * d_theta..][..d_theta]);
        }
    }
}

fn word(record: &[u8], at: usize) -> u32 {
    let bytes = record[4 * at..][..4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes)
}
