//! Observations from a CSV file: a header with a name per column, one window a row.
//!
//! Every value in hand is one that the model knows what to do with; what is not is an error that names file, line and column.

use std::path::Path;

use simground_runtime::Model;
use simground_runtime::artifact::{Missing, Transform};

/// Windows read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct InputTable {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Line of each window in the file, from 1.
    pub lines: Vec<u64>,
    /// `[n, columns]`, raw units; NaN where missing.
    pub x: Vec<f32>,
}

/// What a model takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Values a window, with the transform of each.
    pub transforms: Vec<Transform>,
    /// Whether values may be missing.
    pub missing: Missing,
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
}

impl Expectation {
    /// What `model` takes.
    pub fn of(model: &Model<'_>) -> Expectation {
        let input = &model.manifest().input;
        Expectation { transforms: input.transforms.iter().collect(), missing: input.missing }
    }
}

impl InputTable {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`InputTableError`] for the first fault.
    pub fn read(path: &Path, expected: &Expectation) -> Result<InputTable, InputTableError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|source| InputTableError::Read { path: name.clone(), source })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
            let message = "not UTF-8 text".into();
            InputTableError::Line { path: name.clone(), line, message }
        })?;
        InputTable::parse(&text, &name, expected)
    }

    /// Reads a text; `path` is its file in messages.
    ///
    /// # Errors
    ///
    /// [`InputTableError`] for the first fault.
    pub fn parse(
        text: &str,
        path: &str,
        expected: &Expectation,
    ) -> Result<InputTable, InputTableError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let file = |message: String| InputTableError::File { path: path.into(), message };
        let at = |line, message: String| InputTableError::Line { path: path.into(), line, message };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut table = InputTable { columns: Vec::new(), lines: Vec::new(), x: Vec::new() };
        for record in reader.records() {
            let record = record.map_err(|error| file(error.to_string()))?;
            let line = record.position().map_or(0, |position| line_of(text, position));
            if table.columns.is_empty() {
                table.columns = record.iter().map(str::to_owned).collect();
                expected.check_header(&table.columns).map_err(|message| at(line, message))?;
                continue;
            }
            if record.len() != table.columns.len() {
                return Err(at(
                    line,
                    format!(
                        "{} columns where the header has {}",
                        record.len(),
                        table.columns.len()
                    ),
                ));
            }
            table.lines.push(line);
            for ((cell, column), transform) in
                record.iter().zip(&table.columns).zip(&expected.transforms)
            {
                let value = value(cell, *transform, expected.missing)
                    .map_err(|message| at(line, format!("column `{column}`: {message}")))?;
                table.x.push(value);
            }
        }
        if table.columns.is_empty() {
            return Err(file(
                "empty\nhint: write a header with a name per column, then one window a row".into(),
            ));
        }
        if table.lines.is_empty() {
            return Err(file("a header without rows\nhint: write one window a row".into()));
        }
        Ok(table)
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none; a table that was read has one at least.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The windows in order.
    pub fn windows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.x.chunks_exact(self.columns.len().max(1))
    }
}

impl Expectation {
    fn check_header(&self, columns: &[String]) -> Result<(), String> {
        let needed = self.transforms.len();
        if columns.len() != needed {
            let hint = match columns {
                [only] if only.contains([';', '\t']) => "\nhint: separate the columns by commas",
                [_] if needed > 1 => "\nhint: write a window as one row, not as a column",
                _ => "",
            };
            return Err(format!(
                "{} columns where the model takes {needed} values a window{hint}",
                columns.len()
            ));
        }
        if columns.iter().all(|name| !name.is_empty() && name.parse::<f32>().is_ok()) {
            return Err("numbers where a header is expected\nhint: write a name for each column in the first line".into());
        }
        for (position, name) in columns.iter().enumerate() {
            if name.is_empty() {
                return Err(format!("column {} has no name", position + 1));
            }
            if columns[..position].contains(name) {
                return Err(format!("two columns are named `{name}`"));
            }
        }
        Ok(())
    }
}

/// One cell as a number; NaN where missing.
fn value(cell: &str, transform: Transform, missing: Missing) -> Result<f32, String> {
    if cell.is_empty() || ["nan", "na"].contains(&cell.to_ascii_lowercase().as_str()) {
        return match missing {
            Missing::Indicator => Ok(f32::NAN),
            Missing::Refuse => Err(
                "missing, but the model was trained without missing values\nhint: set `missing = \"allow\"` under [input] in the study, with a `missing_fraction` under [observation], and train again"
                    .into(),
            ),
        };
    }
    let Ok(value) = cell.parse::<f32>() else {
        return Err(format!("`{cell}` is not a number"));
    };
    if !value.is_finite() {
        return Err(format!("`{cell}` is not finite"));
    }
    if transform == Transform::Log1p && value < 0.0 {
        return Err(format!("`{cell}` is negative, but the model takes counts"));
    }
    Ok(value)
}

/// The line on which a record stands: the reader counts from before the blank and comment lines in front of it.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let mut rest = text.get(position.byte() as usize..).unwrap_or("");
    let mut line = position.line();
    while let Some((first, after)) = rest.split_once('\n') {
        if !(first.trim_end().is_empty() || first.starts_with('#')) {
            break;
        }
        (rest, line) = (after, line + 1);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, missing: Missing) -> Result<InputTable, String> {
        let expected = Expectation { transforms: vec![Transform::Log1p; 3], missing };
        InputTable::parse(text, "data.csv", &expected).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_windows_and_their_lines() {
        let text = "\u{feff}# counts\na,b,c\r\n1, 2 ,3e1\r\n\n# later\n,NA,nan\n";
        let table = parse(text, Missing::Indicator).unwrap();
        assert_eq!(table.columns, ["a", "b", "c"]);
        assert_eq!(table.lines, [3, 6]);
        assert_eq!(table.x[..3], [1.0, 2.0, 30.0]);
        assert!(table.x[3..].iter().all(|x| x.is_nan()));
    }

    #[test]
    fn faults_name_line_and_column() {
        let check = |text: &str, expected: &str| {
            let message = parse(text, Missing::Refuse).unwrap_err();
            assert!(message.starts_with(expected), "{message:?} for {text:?}");
        };
        check("", "data.csv: empty");
        check("# only\n", "data.csv: empty");
        check("a,b,c\n", "data.csv: a header without rows");
        check("a,b\n1,2\n", "data.csv:1: 2 columns where the model takes 3 values a window");
        check(
            "a;b;c\n1;2;3\n",
            "data.csv:1: 1 columns where the model takes 3 values a window\nhint: separate",
        );
        check(
            "a\tb\tc\n1\t2\t3\n",
            "data.csv:1: 1 columns where the model takes 3 values a window\nhint: separate",
        );
        check("a,b,a\n1,2,3\n", "data.csv:1: two columns are named `a`");
        check("a,,c\n1,2,3\n", "data.csv:1: column 2 has no name");
        check("1,2,3\n1,2,3\n", "data.csv:1: numbers where a header is expected");
        check("a,b,c\n1,2,3\n1,2\n", "data.csv:3: 2 columns where the header has 3");
        check("a,b,c\n\n#\n1,two,3\n", "data.csv:4: column `b`: `two` is not a number");
        check("a,b,c\n1,2,-3\n", "data.csv:2: column `c`: `-3` is negative");
        check("a,b,c\n1,2,inf\n", "data.csv:2: column `c`: `inf` is not finite");
        check("a,b,c\n1,2,1e39\n", "data.csv:2: column `c`: `1e39` is not finite");
        check("a,b,c\n1,,3\n", "data.csv:2: column `b`: missing, but");
    }
}
