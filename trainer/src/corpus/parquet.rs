//! Parquet in and out.
//!
//! A parameter that a simulation's mechanism does not have is a null entry of `theta`: NaN there is an error, as a sign of a
//! simulator that failed. In `x` both NaN and null mean missing.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema as ArrowSchema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::{Corpus, Parameter, Schema, Target};

const BATCH: usize = 8192;

/// Key of the whole schema as JSON, in files that this crate wrote.
pub(super) const SCHEMA_KEY: &str = "simground_schema";

/// Key of the seed that simulated a file, in files that this crate wrote.
pub(super) const SEED_KEY: &str = "simground_seed";

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
        column: &'static str,
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
        column: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// No simulation at all.
    #[error("{}: no rows; a corpus needs at least one simulation", .path.display())]
    Empty {
        /// File or directory.
        path: PathBuf,
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

/// A stored corpus, read in batches of bounded size: the way through a corpus larger than memory.
///
/// Iterating yields the simulations in the order of file names and rows.
#[derive(Debug)]
pub struct Reader {
    files: Vec<PathBuf>,
    schema: Arc<Schema>,
    num_simulations: u64,
    has_target: bool,
    next_file: usize,
    current: Option<(usize, usize, ParquetRecordBatchReader)>,
    row_of_corpus: u64,
    failed: bool,
}

impl Reader {
    /// Opens a Parquet file, or all Parquet files of a directory, and checks that they belong together.
    ///
    /// # Errors
    /// [`CorpusError`] names the file and the column.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, CorpusError> {
        let path = path.as_ref();
        let files = files(path)?;
        let mut num_simulations = 0;
        let mut described: Option<Description> = None;
        let mut observed: Vec<String> = Vec::new();
        for file in &files {
            let builder = builder(file)?;
            num_simulations += builder.metadata().file_metadata().num_rows().max(0) as u64;
            let Some(description) = Description::of(file, &builder)? else {
                continue;
            };
            if description.mechanisms_unknown {
                for name in mechanism_names(file, builder)? {
                    if !observed.contains(&name) {
                        observed.push(name);
                    }
                }
            }
            match &described {
                None => described = Some(description),
                Some(first) => first.agree(&description)?,
            }
        }
        let Some(mut description) = described else {
            return Err(CorpusError::Empty { path: path.to_owned() });
        };
        if description.mechanisms_unknown {
            // Sorted, so that the order does not depend on which row comes first.
            observed.sort();
            description.schema.mechanisms = observed;
        }
        Ok(Reader {
            files,
            schema: Arc::new(description.schema),
            num_simulations,
            has_target: description.has_target,
            next_file: 0,
            current: None,
            row_of_corpus: 0,
            failed: false,
        })
    }

    /// What the columns are.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Number of simulations in all files.
    pub fn num_simulations(&self) -> u64 {
        self.num_simulations
    }

    fn advance(&mut self) -> Result<Option<Corpus>, CorpusError> {
        loop {
            if self.current.is_none() {
                let Some(file) = self.files.get(self.next_file) else {
                    return Ok(None);
                };
                let reader = builder(file)?.with_batch_size(BATCH).build();
                let reader =
                    reader.map_err(|source| CorpusError::Format { path: file.clone(), source })?;
                self.current = Some((self.next_file, 0, reader));
                self.next_file += 1;
            }
            let (file, row, reader) = self.current.as_mut().expect("opened above");
            let path = &self.files[*file];
            match reader.next() {
                None => self.current = None,
                Some(Err(source)) => {
                    return Err(CorpusError::Damaged { path: path.clone(), row: *row, source });
                }
                Some(Ok(batch)) => {
                    let corpus = convert(
                        path,
                        *row,
                        self.row_of_corpus,
                        &batch,
                        &self.schema,
                        self.has_target,
                    )?;
                    *row += batch.num_rows();
                    self.row_of_corpus += batch.num_rows() as u64;
                    return Ok(Some(corpus));
                }
            }
        }
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
        seeds.push(metadata_value(&builder(&file)?, SEED_KEY).and_then(|seed| seed.parse().ok()));
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
            && (file.extension().is_some_and(|e| e == "parquet") || has_magic(&file))
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

fn has_magic(file: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(file).and_then(|mut f| f.read_exact(&mut magic)).is_ok() && &magic == b"PAR1"
}

pub(super) fn builder(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, CorpusError> {
    let opened =
        File::open(file).map_err(|source| CorpusError::Io { path: file.to_owned(), source })?;
    ParquetRecordBatchReaderBuilder::try_new(opened)
        .map_err(|source| CorpusError::Format { path: file.to_owned(), source })
}

pub(super) fn metadata_value<'a>(
    builder: &'a ParquetRecordBatchReaderBuilder<File>,
    key: &str,
) -> Option<&'a str> {
    let pairs = builder.metadata().file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
}

/// What one file says about itself.
struct Description {
    path: PathBuf,
    schema: Schema,
    has_target: bool,
    mechanisms_unknown: bool,
}

impl Description {
    /// `None` for a file without rows.
    fn of(
        path: &Path,
        builder: &ParquetRecordBatchReaderBuilder<File>,
    ) -> Result<Option<Self>, CorpusError> {
        let column = |column, problem: String| CorpusError::Column {
            path: path.to_owned(),
            column,
            problem,
        };
        let has = |name: &str| builder.schema().column_with_name(name).is_some();
        for required in ["x", "theta"] {
            if !has(required) {
                let names: Vec<&str> =
                    builder.schema().fields().iter().map(|f| f.name().as_str()).collect();
                return Err(column(
                    required,
                    format!("is missing; the file has {}", names.join(", ")),
                ));
            }
        }
        // Plain lists carry no width in their type; the first row tells, and every other row is held to it.
        let first = self::builder(path)?.with_limit(1).build();
        let first =
            first.map_err(|source| CorpusError::Format { path: path.to_owned(), source })?.next();
        let Some(first) = first else { return Ok(None) };
        let first = first.map_err(|source| CorpusError::Damaged {
            path: path.to_owned(),
            row: 0,
            source,
        })?;
        let width = |name: &'static str| -> Result<usize, CorpusError> {
            let array = first.column_by_name(name).expect("checked above");
            let lists = Lists::of(array).map_err(|problem| column(name, problem))?;
            match lists.row(0) {
                Some((start, end)) if end > start => Ok(end - start),
                _ => Err(column(name, "is empty in row 0; write at least one value".to_owned())),
            }
        };
        let has_target = has("target");
        let (d_x, d_theta) = (width("x")?, width("theta")?);
        let d_target = if has_target { width("target")? } else { d_theta };

        if let Some(json) = metadata_value(builder, SCHEMA_KEY) {
            let schema: Schema = serde_json::from_str(json).map_err(|error| {
                column("x", format!("is described by an unreadable `{SCHEMA_KEY}`: {error}"))
            })?;
            for (name, found, expected) in [
                ("x", d_x, schema.d_x()),
                ("theta", d_theta, schema.d_theta()),
                ("target", d_target, schema.d_target()),
            ] {
                if found != expected && (name != "target" || has_target) {
                    return Err(column(
                        name,
                        format!("has {found} values a row, and its description {expected}"),
                    ));
                }
            }
            let mechanisms_unknown = false;
            return Ok(Some(Description {
                path: path.to_owned(),
                schema,
                has_target,
                mechanisms_unknown,
            }));
        }

        let names = |name: &'static str,
                     key: &str,
                     width: usize|
         -> Result<Vec<String>, CorpusError> {
            let Some(json) = metadata_value(builder, key) else {
                return Ok((0..width).map(|at| format!("{name}_{at}")).collect());
            };
            let names: Vec<String> = serde_json::from_str(json).map_err(|_| {
                column(name, format!("has a `{key}` that is no JSON array of strings: {json}"))
            })?;
            if names.len() != width {
                return Err(column(
                    name,
                    format!("has {width} values a row, but `{key}` names {}", names.len()),
                ));
            }
            if let Some(at) = names.iter().position(String::is_empty) {
                return Err(column(name, format!("has an empty name for entry {at} in `{key}`")));
            }
            if let Some(twice) = names.iter().enumerate().find(|(at, n)| names[..*at].contains(n)) {
                return Err(column(
                    name,
                    format!("has two entries named `{}` in `{key}`", twice.1),
                ));
            }
            Ok(names)
        };
        let theta_names = names("theta", "theta_names", d_theta)?;
        let target_names = if has_target {
            names("target", "target_names", d_target)?
        } else {
            theta_names.clone()
        };
        let parameter = |name| Parameter {
            name,
            unit: String::new(),
            lower: None,
            upper: None,
            integer: false,
        };
        let schema = Schema {
            x_names: names("x", "x_names", d_x)?,
            theta: theta_names.into_iter().map(parameter).collect(),
            targets: target_names.into_iter().map(foreign_target).collect(),
            mechanisms: Vec::new(),
        };
        let mechanisms_unknown = has("mechanism");
        Ok(Some(Description { path: path.to_owned(), schema, has_target, mechanisms_unknown }))
    }

    fn agree(&self, other: &Description) -> Result<(), CorpusError> {
        let list = |names: &[String]| names.join(", ");
        let theta =
            |d: &Description| d.schema.theta.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let targets =
            |d: &Description| d.schema.targets.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        let width = |d: &Description| vec![d.schema.d_x().to_string()];
        let presence = |d: &Description| {
            vec![if d.mechanisms_unknown { "present" } else { "absent" }.to_owned()]
        };
        let pairs = [
            ("widths of `x`", width(self), width(other)),
            ("names of `x`", self.schema.x_names.clone(), other.schema.x_names.clone()),
            ("names of `theta`", theta(self), theta(other)),
            ("names of `target`", targets(self), targets(other)),
            (
                "names of mechanisms",
                self.schema.mechanisms.clone(),
                other.schema.mechanisms.clone(),
            ),
            ("columns `mechanism`", presence(self), presence(other)),
        ];
        let differing = pairs.into_iter().find(|(_, mine, theirs)| mine != theirs).or_else(|| {
            let whole =
                |d: &Description| vec![serde_json::to_string(&d.schema).expect("plain fields")];
            (self.schema != other.schema).then(|| ("units or bounds", whole(self), whole(other)))
        });
        match differing {
            None => Ok(()),
            Some((what, expected, found)) => Err(CorpusError::Mismatch {
                path: other.path.clone(),
                first: self.path.clone(),
                what,
                found: list(&found),
                expected: list(&expected),
            }),
        }
    }
}

/// `cases+3` belongs to the series `cases`.
fn foreign_target(name: String) -> Target {
    let series = name
        .rsplit_once('+')
        .filter(|(series, step)| !series.is_empty() && step.parse::<u32>().is_ok());
    let group = series.map_or(name.as_str(), |(series, _)| series).to_owned();
    Target { name, group, lower: None, upper: None, integer: false }
}

/// The mechanisms that occur in a file.
fn mechanism_names(
    path: &Path,
    builder: ParquetRecordBatchReaderBuilder<File>,
) -> Result<Vec<String>, CorpusError> {
    let (at, _) = builder.schema().column_with_name("mechanism").expect("the caller has seen it");
    let mask = ProjectionMask::roots(builder.parquet_schema(), [at]);
    let reader = builder.with_projection(mask).with_batch_size(BATCH).build();
    let reader = reader.map_err(|source| CorpusError::Format { path: path.to_owned(), source })?;
    let mut names: Vec<String> = Vec::new();
    let mut row = 0;
    for batch in reader {
        let batch =
            batch.map_err(|source| CorpusError::Damaged { path: path.to_owned(), row, source })?;
        each_text(path, row, batch.column(0), |name| {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
            Ok(())
        })?;
        row += batch.num_rows();
    }
    Ok(names)
}

/// Calls `visit` with each row of a column of strings, in any of Arrow's encodings.
fn each_text(
    path: &Path,
    first_row: usize,
    array: &ArrayRef,
    mut visit: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), CorpusError> {
    let cell = |row: usize, problem: String| CorpusError::Cell {
        path: path.to_owned(),
        row: first_row + row,
        column: "mechanism",
        problem,
    };
    let (keys, values) = match array.as_any_dictionary_opt() {
        Some(dictionary) => (Some(dictionary.normalized_keys()), Arc::clone(dictionary.values())),
        None => (None, Arc::clone(array)),
    };
    let text: Box<dyn Fn(usize) -> Option<String>> = match values.data_type() {
        DataType::Utf8 => {
            let values = values.as_string::<i32>().clone();
            Box::new(move |at| values.is_valid(at).then(|| values.value(at).to_owned()))
        }
        DataType::LargeUtf8 => {
            let values = values.as_string::<i64>().clone();
            Box::new(move |at| values.is_valid(at).then(|| values.value(at).to_owned()))
        }
        DataType::Utf8View => {
            let values = values.as_string_view().clone();
            Box::new(move |at| values.is_valid(at).then(|| values.value(at).to_owned()))
        }
        other => {
            let problem = format!("holds {other}; write strings, the names of the mechanisms");
            return Err(CorpusError::Column {
                path: path.to_owned(),
                column: "mechanism",
                problem,
            });
        }
    };
    for row in 0..array.len() {
        let at = keys.as_ref().map_or(row, |keys| keys[row]);
        let name = if array.is_null(row) { None } else { text(at) };
        let name = name.filter(|name| !name.is_empty());
        let name =
            name.ok_or_else(|| cell(row, "null or empty; write the mechanism's name".to_owned()))?;
        visit(&name).map_err(|problem| cell(row, problem))?;
    }
    Ok(())
}

/// A list column of any kind, as ranges into one array of numbers.
struct Lists {
    array: ArrayRef,
    numbers: Numbers,
}

impl Lists {
    fn of(array: &ArrayRef) -> Result<Self, String> {
        let values = match array.data_type() {
            DataType::FixedSizeList(..) => array.as_fixed_size_list().values(),
            DataType::List(_) => array.as_list::<i32>().values(),
            DataType::LargeList(_) => array.as_list::<i64>().values(),
            other => return Err(format!("holds {other}; write lists of float32 or float64")),
        };
        Ok(Lists { array: Arc::clone(array), numbers: Numbers::of(values)? })
    }

    /// Start and end of a row's values; `None` for a null row.
    fn row(&self, row: usize) -> Option<(usize, usize)> {
        if self.array.is_null(row) {
            return None;
        }
        Some(match self.array.data_type() {
            DataType::FixedSizeList(_, size) => {
                let start = self.array.as_fixed_size_list().value_offset_at(row);
                (start, start + *size as usize)
            }
            DataType::List(_) => {
                let offsets = self.array.as_list::<i32>().value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            }
            _ => {
                let offsets = self.array.as_list::<i64>().value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            }
        })
    }
}

/// Numbers of a file, as float32.
enum Numbers {
    Single(Float32Array),
    Double(arrow_array::Float64Array),
}

impl Numbers {
    fn of(values: &ArrayRef) -> Result<Self, String> {
        match values.data_type() {
            DataType::Float32 => Ok(Numbers::Single(values.as_primitive::<Float32Type>().clone())),
            DataType::Float64 => Ok(Numbers::Double(values.as_primitive::<Float64Type>().clone())),
            other => Err(format!("holds values of type {other}; write float32 or float64")),
        }
    }

    /// `None` for null.
    fn value(&self, at: usize) -> Option<f32> {
        match self {
            Numbers::Single(values) => values.is_valid(at).then(|| values.value(at)),
            Numbers::Double(values) => values.is_valid(at).then(|| values.value(at) as f32),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Absent {
    /// NaN and null are a missing value.
    Missing,
    /// Null is a parameter that the mechanism lacks.
    Null,
    /// Every value must be there.
    Never,
}

struct Source<'a> {
    path: &'a Path,
    first_row: usize,
    batch: &'a RecordBatch,
}

impl Source<'_> {
    fn cell(&self, row: usize, column: &'static str, problem: String) -> CorpusError {
        CorpusError::Cell { path: self.path.to_owned(), row: self.first_row + row, column, problem }
    }

    fn matrix(
        &self,
        name: &'static str,
        width: usize,
        absent: Absent,
    ) -> Result<Option<Vec<f32>>, CorpusError> {
        let Some(array) = self.batch.column_by_name(name) else {
            return Ok(None);
        };
        let lists = Lists::of(array).map_err(|problem| CorpusError::Column {
            path: self.path.to_owned(),
            column: name,
            problem,
        })?;
        let mut out = Vec::with_capacity(array.len() * width);
        for row in 0..array.len() {
            let Some((start, end)) = lists.row(row) else {
                return Err(self.cell(row, name, format!("null; write a list of {width} values")));
            };
            if end - start != width {
                return Err(self.cell(
                    row,
                    name,
                    format!("{} values; every row has {width}", end - start),
                ));
            }
            for at in start..end {
                let value = lists.numbers.value(at);
                out.push(match (value, absent) {
                    (Some(value), _) if value.is_finite() => value,
                    (Some(value), Absent::Missing) if value.is_nan() => value,
                    (None, Absent::Missing | Absent::Null) => f32::NAN,
                    (Some(value), _) => {
                        return Err(self.cell(
                            row,
                            name,
                            format!("entry {} is {value}; write a finite number", at - start),
                        ));
                    }
                    (None, Absent::Never) => {
                        return Err(self.cell(
                            row,
                            name,
                            format!("entry {} is null; write a finite number", at - start),
                        ));
                    }
                });
            }
        }
        Ok(Some(out))
    }

    fn weights(&self) -> Result<Option<Vec<f32>>, CorpusError> {
        let Some(array) = self.batch.column_by_name("weight") else {
            return Ok(None);
        };
        let numbers = Numbers::of(array).map_err(|problem| CorpusError::Column {
            path: self.path.to_owned(),
            column: "weight",
            problem,
        })?;
        (0..array.len())
            .map(|row| match numbers.value(row) {
                Some(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight),
                other => {
                    let found = other.map_or("null".to_owned(), |weight| weight.to_string());
                    Err(self.cell(
                        row,
                        "weight",
                        format!("{found}; write a finite number, zero or more"),
                    ))
                }
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn indices(&self, first: u64) -> Result<Vec<u64>, CorpusError> {
        let n = self.batch.num_rows();
        let Some(array) = self.batch.column_by_name("index") else {
            return Ok((first..first + n as u64).collect());
        };
        let value: Box<dyn Fn(usize) -> Option<u64>> = match array.data_type() {
            DataType::UInt64 => Box::new(|row| Some(array.as_primitive::<UInt64Type>().value(row))),
            DataType::UInt32 => {
                Box::new(|row| Some(array.as_primitive::<UInt32Type>().value(row).into()))
            }
            DataType::Int64 => {
                Box::new(|row| array.as_primitive::<Int64Type>().value(row).try_into().ok())
            }
            DataType::Int32 => {
                Box::new(|row| array.as_primitive::<Int32Type>().value(row).try_into().ok())
            }
            other => {
                let problem = format!("holds {other}; write uint64");
                return Err(CorpusError::Column {
                    path: self.path.to_owned(),
                    column: "index",
                    problem,
                });
            }
        };
        (0..n)
            .map(|row| {
                let index = if array.is_null(row) { None } else { value(row) };
                index.ok_or_else(|| {
                    self.cell(row, "index", "null or negative; write a whole number".to_owned())
                })
            })
            .collect()
    }
}

fn convert(
    path: &Path,
    first_row: usize,
    row_of_corpus: u64,
    batch: &RecordBatch,
    schema: &Arc<Schema>,
    has_target: bool,
) -> Result<Corpus, CorpusError> {
    let source = Source { path, first_row, batch };
    let missing = |column| CorpusError::Column {
        path: path.to_owned(),
        column,
        problem: "is missing; the other files of the corpus have it".to_owned(),
    };
    let x = source.matrix("x", schema.d_x(), Absent::Missing)?.ok_or_else(|| missing("x"))?;
    // Where theta is the target there is nothing to learn from an absent entry.
    let absent = if has_target { Absent::Null } else { Absent::Never };
    let theta =
        source.matrix("theta", schema.d_theta(), absent)?.ok_or_else(|| missing("theta"))?;
    let target = if has_target {
        source
            .matrix("target", schema.d_target(), Absent::Never)?
            .ok_or_else(|| missing("target"))?
    } else {
        theta.clone()
    };
    let mut mechanism = vec![0; batch.num_rows()];
    if !schema.mechanisms.is_empty() {
        let array = batch.column_by_name("mechanism").ok_or_else(|| missing("mechanism"))?;
        let mut row = 0;
        each_text(path, first_row, array, |name| {
            let at = schema.mechanisms.iter().position(|known| known == name);
            let at =
                at.ok_or_else(|| format!("`{name}` is none of {}", schema.mechanisms.join(", ")))?;
            mechanism[row] = at as u16;
            row += 1;
            Ok(())
        })?;
    }
    Ok(Corpus {
        schema: Arc::clone(schema),
        x,
        theta,
        target,
        mechanism,
        index: source.indices(row_of_corpus)?,
        weight: source.weights()?,
        score: source.matrix("score", schema.d_theta(), Absent::Null)?,
    })
}

/// The Arrow schema of files that this crate writes.
pub(super) fn arrow_schema(schema: &Schema, with_score: bool) -> Arc<ArrowSchema> {
    let mut fields = vec![
        Field::new("index", DataType::UInt64, false),
        Field::new("mechanism", DataType::Utf8, false),
        Field::new("theta", list_type(schema.d_theta(), true), false),
        Field::new("x", list_type(schema.d_x(), false), false),
        Field::new("target", list_type(schema.d_target(), false), false),
    ];
    if with_score {
        fields.push(Field::new("score", list_type(schema.d_theta(), true), false));
    }
    Arc::new(ArrowSchema::new(fields))
}

fn list_type(width: usize, nullable: bool) -> DataType {
    DataType::FixedSizeList(list_item(nullable), width as i32)
}

fn list_item(nullable: bool) -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, nullable))
}

/// The rows of a corpus from the simulator, in the columns of [`arrow_schema`].
pub(super) fn record_batch(
    corpus: Corpus,
    arrow: &Arc<ArrowSchema>,
) -> Result<RecordBatch, ArrowError> {
    let schema = Arc::clone(&corpus.schema);
    let list = |values: Float32Array,
                width: usize,
                nullable: bool|
     -> Result<ArrayRef, ArrowError> {
        let list =
            FixedSizeListArray::try_new(list_item(nullable), width as i32, Arc::new(values), None)?;
        Ok(Arc::new(list))
    };
    let of_mechanism = |values: &[f32]| -> Float32Array {
        values.iter().map(|value| (!value.is_nan()).then_some(*value)).collect()
    };
    let names: StringArray = corpus
        .mechanism
        .iter()
        .map(|at| Some(schema.mechanisms[usize::from(*at)].as_str()))
        .collect();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(corpus.index)),
        Arc::new(names),
        list(of_mechanism(&corpus.theta), schema.d_theta(), true)?,
        list(corpus.x.into(), schema.d_x(), false)?,
        list(corpus.target.into(), schema.d_target(), false)?,
    ];
    if let Some(score) = &corpus.score {
        columns.push(list(of_mechanism(score), schema.d_theta(), true)?);
    }
    RecordBatch::try_new(Arc::clone(arrow), columns)
}

#[cfg(test)]
mod tests;
