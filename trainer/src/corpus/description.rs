//! What a Parquet file says about itself, and whether the files of a corpus say the same.

use super::{CorpusError, Parameter, Schema, Target};
use crate::parquet_file::{ParquetFile, ParquetFileError};

/// Key of the whole schema as JSON, in files that this crate wrote.
pub(super) const SCHEMA_KEY: &str = "simground_schema";

/// What one file says about itself.
pub(super) struct Description {
    pub file: ParquetFile,
    pub schema: Schema,
    pub has_target: bool,
    /// Whether the names of the mechanisms stand in the rows alone.
    pub mechanisms_unknown: bool,
}

impl Description {
    /// `None` for a file without rows.
    pub fn of(file: &ParquetFile) -> Result<Option<Self>, ParquetFileError> {
        for required in ["x", "theta"] {
            if !file.has(required) {
                return Err(file.missing_column(required));
            }
        }
        // Plain lists carry no width in their type; the first row tells, and every other row is held to it.
        let Some(first) = file.first_row()? else { return Ok(None) };
        let has_target = file.has("target");
        let widths = Widths {
            x: first.width("x")?,
            theta: first.width("theta")?,
            target: if has_target { Some(first.width("target")?) } else { None },
        };
        let (schema, mechanisms_unknown) = match file.metadata_value(SCHEMA_KEY) {
            Some(json) => (stated(file, json, widths)?, false),
            None => (foreign(file, widths)?, file.has("mechanism")),
        };
        Ok(Some(Description { file: file.clone(), schema, has_target, mechanisms_unknown }))
    }

    /// Proves that another file describes the same.
    pub fn agree(&self, other: &Description) -> Result<(), CorpusError> {
        let theta =
            |d: &Description| d.schema.theta.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let targets =
            |d: &Description| d.schema.targets.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        let width = |d: &Description| vec![d.schema.d_x().to_string()];
        let presence = |there: bool| vec![if there { "present" } else { "absent" }.to_owned()];
        let whole = |d: &Description| vec![serde_json::to_string(&d.schema).expect("plain fields")];
        let column = |name: &str| (presence(self.file.has(name)), presence(other.file.has(name)));
        let both = |of: &dyn Fn(&Description) -> Vec<String>| (of(self), of(other));
        let pairs = [
            ("widths of `x`", both(&width)),
            ("names of `x`", both(&|d| d.schema.x_names.clone())),
            ("names of `theta`", both(&theta)),
            ("columns `target`", column("target")),
            ("names of `target`", both(&targets)),
            ("columns `mechanism`", column("mechanism")),
            ("names of mechanisms", both(&|d| d.schema.mechanisms.clone())),
            ("columns `weight`", column("weight")),
            ("columns `score`", column("score")),
            ("units or bounds", both(&whole)),
        ];
        let differing = pairs.into_iter().find(|(_, (mine, theirs))| mine != theirs);
        differing.map_or(Ok(()), |(what, (expected, found))| {
            Err(CorpusError::Mismatch {
                path: other.file.path().to_owned(),
                first: self.file.path().to_owned(),
                what,
                found: found.join(", "),
                expected: expected.join(", "),
            })
        })
    }
}

/// Values a row of each column of lists.
struct Widths {
    x: usize,
    theta: usize,
    target: Option<usize>,
}

/// The schema that this crate wrote into the file.
fn stated(file: &ParquetFile, json: &str, widths: Widths) -> Result<Schema, ParquetFileError> {
    let schema: Schema = serde_json::from_str(json).map_err(|error| {
        file.column_error("x", format!("is described by an unreadable `{SCHEMA_KEY}`: {error}"))
    })?;
    for (column, found, expected) in [
        ("x", widths.x, schema.d_x()),
        ("theta", widths.theta, schema.d_theta()),
        ("target", widths.target.unwrap_or(schema.d_target()), schema.d_target()),
    ] {
        if found != expected {
            let problem = format!("has {found} values a row, and its description {expected}");
            return Err(file.column_error(column, problem));
        }
    }
    Ok(schema)
}

/// What the names in the metadata tell, without the mechanisms.
fn foreign(file: &ParquetFile, widths: Widths) -> Result<Schema, ParquetFileError> {
    let theta = names(file, "theta", widths.theta)?;
    let targets = match widths.target {
        Some(width) => names(file, "target", width)?,
        None => theta.clone(),
    };
    let parameter =
        |name| Parameter { name, unit: String::new(), lower: None, upper: None, integer: false };
    Ok(Schema {
        x_names: names(file, "x", widths.x)?,
        theta: theta.into_iter().map(parameter).collect(),
        targets: targets.into_iter().map(foreign_target).collect(),
        mechanisms: Vec::new(),
    })
}

/// Names of the entries of a list column: as the metadata has them under `NAME_names`, else numbered.
pub(crate) fn names(
    file: &ParquetFile,
    column: &str,
    width: usize,
) -> Result<Vec<String>, ParquetFileError> {
    let key = format!("{column}_names");
    let Some(json) = file.metadata_value(&key) else {
        return Ok((0..width).map(|at| format!("{column}_{at}")).collect());
    };
    let names: Vec<String> = serde_json::from_str(json).map_err(|_| {
        file.column_error(column, format!("has a `{key}` that is no JSON array of strings: {json}"))
    })?;
    let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
    let problem = if names.len() != width {
        format!("has {width} values a row, but `{key}` names {}", names.len())
    } else if let Some(at) = names.iter().position(String::is_empty) {
        format!("has an empty name for entry {at} in `{key}`")
    } else if let Some((_, name)) = twice {
        format!("has two entries named `{name}` in `{key}`")
    } else {
        return Ok(names);
    };
    Err(file.column_error(column, problem))
}

/// `cases+3` belongs to the series `cases`.
fn foreign_target(name: String) -> Target {
    let series = name
        .rsplit_once('+')
        .filter(|(series, step)| !series.is_empty() && step.parse::<u32>().is_ok());
    let group = series.map_or(name.as_str(), |(series, _)| series).to_owned();
    Target { name, group, lower: None, upper: None, integer: false }
}
