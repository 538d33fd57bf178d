//! A stored corpus, from the first row of its first file to the last row of its last.
//!
//! A parameter that a simulation's mechanism does not have is a null entry of `theta`: NaN there is an error, as a sign of a
//! simulator that failed. In `x` both NaN and null mean missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::description::Description;
use super::{Corpus, CorpusError, Parameter, Schema};
use crate::parquet_file::{self, Absent, Batch, Batches, ParquetFile, ParquetFileError};
use crate::study::DeclaredParameter;

/// Key of the seed that simulated a file, in files that this crate wrote.
pub(super) const SEED_KEY: &str = "simground_seed";

/// Rows whose indices are compared with each other, half a GiB of them: a small file may state billions.
const MOST_INDICES: usize = 1 << 26;

/// A stored corpus, read in batches of bounded size: the way through a corpus larger than memory.
///
/// Iterating yields the simulations in the order of file names and rows, as many as [`Reader::num_simulations`] says or an error.
pub struct Reader {
    files: Vec<ParquetFile>,
    schema: Arc<Schema>,
    has_target: bool,
    next_file: usize,
    current: Option<Batches>,
    row_of_corpus: u64,
    refuses_missing: bool,
    failed: bool,
}

impl Reader {
    /// Opens a Parquet file, or all Parquet files of a directory, and checks that they belong together.
    ///
    /// # Errors
    /// [`CorpusError`] names the file and the column.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, CorpusError> {
        let path = path.as_ref();
        let mut files = Vec::new();
        let mut described: Option<Description> = None;
        let mut observed: Vec<String> = Vec::new();
        for file in self::files(path)? {
            let file = ParquetFile::open(file)?;
            let Some(description) = Description::of(&file)? else { continue };
            if description.mechanisms_unknown {
                observe_mechanisms(&file, &mut observed)?;
            }
            match &described {
                None => described = Some(description),
                Some(first) => first.agree(&description)?,
            }
            files.push(file);
        }
        let Some(mut description) = described else {
            return Err(CorpusError::Empty { path: path.to_owned() });
        };
        check_indices(&files)?;
        if description.mechanisms_unknown {
            // Sorted, so that the order does not depend on which row comes first.
            observed.sort();
            description.schema.mechanisms = observed;
        }
        Ok(Reader {
            files,
            schema: Arc::new(description.schema),
            has_target: description.has_target,
            next_file: 0,
            current: None,
            row_of_corpus: 0,
            refuses_missing: false,
            failed: false,
        })
    }

    /// What the columns are.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Whether the heads' targets are a column of their own; otherwise they are theta.
    pub fn has_target(&self) -> bool {
        self.has_target
    }

    /// Adds what a study declares of the parameters; every value of theta is then held to its support.
    ///
    /// # Errors
    /// [`CorpusError::File`] for a parameter that the corpus does not have.
    pub fn declare(&mut self, parameters: &[DeclaredParameter]) -> Result<(), CorpusError> {
        let schema = Arc::make_mut(&mut self.schema);
        schema
            .declare(parameters, self.has_target)
            .map_err(|problem| self.files[0].column_error("theta", problem).into())
    }

    /// Takes a missing value of `x` as the error that it is to a study which refuses them.
    pub fn refuse_missing(&mut self) {
        self.refuses_missing = true;
    }

    /// Whether the files have a column.
    pub fn has(&self, column: &str) -> bool {
        self.files.first().is_some_and(|file| file.has(column))
    }

    /// Number of simulations that the files state.
    pub fn num_simulations(&self) -> u64 {
        self.files.iter().map(ParquetFile::num_rows).sum()
    }

    fn advance(&mut self) -> Result<Option<Corpus>, CorpusError> {
        loop {
            if self.current.is_none() {
                let Some(file) = self.files.get(self.next_file) else {
                    return self.check_rows(self.row_of_corpus < self.num_simulations());
                };
                self.current = Some(file.batches(None)?);
                self.next_file += 1;
            }
            match self.current.as_mut().and_then(Batches::next) {
                None => self.current = None,
                Some(batch) => {
                    let batch = batch?;
                    let file = &self.files[self.next_file - 1];
                    let corpus = self.convert(file, &batch)?;
                    self.row_of_corpus += batch.len() as u64;
                    self.check_rows(self.row_of_corpus > self.num_simulations())?;
                    return Ok(Some(corpus));
                }
            }
        }
    }

    /// Refuses a corpus whose rows are not as many as its files state.
    fn check_rows(&self, differ: bool) -> Result<Option<Corpus>, CorpusError> {
        if !differ {
            return Ok(None);
        }
        Err(CorpusError::Rows { stated: self.num_simulations(), found: self.row_of_corpus })
    }

    fn convert(&self, file: &ParquetFile, batch: &Batch) -> Result<Corpus, ParquetFileError> {
        let schema = &self.schema;
        let needed = |column: &str, width, absent| {
            let values = batch.matrix(column, width, absent)?;
            values.ok_or_else(|| file.missing_column(column))
        };
        // Where theta is the target there is nothing to learn from an absent entry.
        let absent = if self.has_target { Absent::Null } else { Absent::BesideTarget };
        let theta = needed("theta", schema.d_theta(), absent)?;
        check_supports(batch, &theta, &schema.theta)?;
        let target = if self.has_target {
            needed("target", schema.d_target(), Absent::Never)?
        } else {
            theta.clone()
        };
        let x = needed("x", schema.d_x(), Absent::Missing)?;
        if let (true, Some(at)) = (self.refuses_missing, x.iter().position(|x| x.is_nan())) {
            let (row, entry) = (at / schema.d_x(), at % schema.d_x());
            let problem = format!(
                "entry {entry} (`{}`) is missing, but the study refuses missing values\nhint: set `missing = \"allow\"` under [input]",
                schema.x_names[entry]
            );
            return Err(batch.cell_error(row, "x", problem));
        }
        let rows = self.row_of_corpus..self.row_of_corpus + batch.len() as u64;
        Ok(Corpus {
            schema: Arc::clone(schema),
            x,
            theta,
            target,
            mechanism: self.mechanisms(file, batch)?,
            index: batch.whole_numbers("index")?.unwrap_or_else(|| rows.collect()),
            weight: weights(batch)?,
            score: batch.matrix("score", schema.d_theta(), Absent::Null)?,
        })
    }

    fn mechanisms(&self, file: &ParquetFile, batch: &Batch) -> Result<Vec<u16>, ParquetFileError> {
        let known = &self.schema.mechanisms;
        if known.is_empty() {
            return Ok(vec![0; batch.len()]);
        }
        if !file.has("mechanism") {
            return Err(file.missing_column("mechanism"));
        }
        let mut positions = Vec::with_capacity(batch.len());
        batch.each_name("mechanism", |name| {
            let at = known.iter().position(|known| known == name);
            positions.push(at.ok_or_else(|| format!("`{name}` is none of {}", known.join(", ")))? as u16);
            Ok(())
        })?;
        Ok(positions)
    }
}

impl Iterator for Reader {
    type Item = Result<Corpus, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.advance().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

/// The seed that a stored corpus was simulated with, as all its files say; `None` for a foreign one.
///
/// # Errors
/// [`CorpusError`] names the file.
pub fn simulation_seed(path: impl AsRef<Path>) -> Result<Option<u64>, CorpusError> {
    let mut seeds = Vec::new();
    for file in files(path.as_ref())? {
        let file = ParquetFile::open(file)?;
        seeds.push(file.metadata_value(SEED_KEY).and_then(|seed| seed.parse().ok()));
    }
    seeds.dedup();
    Ok(if let [seed] = seeds[..] { seed } else { None })
}

/// The Parquet files of a corpus, by name. Other files of a directory are no business of ours.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let io = |source| CorpusError::Io { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let file = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden
            && file.is_file()
            && (file.extension().is_some_and(|e| e == "parquet") || parquet_file::has_magic(&file))
        {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(CorpusError::NoFiles { path: path.to_owned() });
    }
    files.sort();
    Ok(files)
}

/// Refuses an index that names two simulations; of more rows than [`MOST_INDICES`] nobody knows.
fn check_indices(files: &[ParquetFile]) -> Result<(), ParquetFileError> {
    let mut indices: Vec<u64> = Vec::new();
    each_index(files, |_, _, index| {
        indices.push(index);
        indices.len() <= MOST_INDICES
    })?;
    if indices.len() > MOST_INDICES || indices.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    indices.sort_unstable();
    let Some(twice) = indices.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) else {
        return Ok(());
    };
    let mut places = Vec::new();
    each_index(files, |file, row, index| {
        if index == twice {
            places.push((file, row));
        }
        places.len() < 2
    })?;
    let [(first, row_of_first), (second, row)] = places[..] else { return Ok(()) };
    let problem = format!(
        "{twice} is the index of row {row_of_first} of {} as well\nhint: number all rows of the corpus, or leave the column out: then they are counted",
        first.path().display()
    );
    Err(second.cell_error(row, "index", problem))
}

/// Calls `visit` with file, row and index of each row that has one, until it has seen enough.
fn each_index<'f>(
    files: &'f [ParquetFile],
    mut visit: impl FnMut(&'f ParquetFile, usize, u64) -> bool,
) -> Result<(), ParquetFileError> {
    for file in files.iter().filter(|file| file.has("index")) {
        let mut row = 0;
        for batch in file.batches(Some(&["index"]))? {
            for index in batch?.whole_numbers("index")?.unwrap_or_default() {
                if !visit(file, row, index) {
                    return Ok(());
                }
                row += 1;
            }
        }
    }
    Ok(())
}

/// Adds the mechanisms that occur in a file.
fn observe_mechanisms(
    file: &ParquetFile,
    observed: &mut Vec<String>,
) -> Result<(), ParquetFileError> {
    for batch in file.batches(Some(&["mechanism"]))? {
        batch?.each_name("mechanism", |name| {
            if !observed.iter().any(|known| known == name) {
                observed.push(name.to_owned());
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Holds every parameter to its support, where that is known.
fn check_supports(
    batch: &Batch,
    theta: &[f32],
    parameters: &[Parameter],
) -> Result<(), ParquetFileError> {
    for (row, values) in theta.chunks_exact(parameters.len()).enumerate() {
        for (at, (value, parameter)) in values.iter().zip(parameters).enumerate() {
            let low = parameter.lower.unwrap_or(f32::NEG_INFINITY);
            let high = parameter.upper.unwrap_or(f32::INFINITY);
            if *value < low || *value > high {
                let problem = format!(
                    "entry {at} (`{}`) is {value}, outside its support of {low} to {high}\nhint: correct the bounds under [parameters] of the study, or the simulator",
                    parameter.name
                );
                return Err(batch.cell_error(row, "theta", problem));
            }
        }
    }
    Ok(())
}

fn weights(batch: &Batch) -> Result<Option<Vec<f32>>, ParquetFileError> {
    let weights = batch.numbers("weight")?;
    let negative = weights.iter().flatten().position(|weight| *weight < 0.0);
    match (negative, &weights) {
        (Some(row), Some(found)) => {
            let problem = format!("{}; write zero or more", found[row]);
            Err(batch.cell_error(row, "weight", problem))
        }
        _ => Ok(weights),
    }
}

#[cfg(test)]
mod tests;
