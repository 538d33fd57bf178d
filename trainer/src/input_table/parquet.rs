//! Windows in Parquet: a column `x` of lists, as a corpus has it.

use std::path::Path;

use super::{Expectation, InputTable, InputTableError, Places};
use crate::corpus::entry_names;
use crate::parquet_file::{Absent, ParquetFile};

const X: &str = "x";

/// Reads the column `x` of a file.
pub(super) fn read(path: &Path, expected: &Expectation) -> Result<InputTable, InputTableError> {
    let file = ParquetFile::open(path)?;
    let name = path.display().to_string();
    if !file.has(X) {
        return Err(file.missing_column(X).into());
    }
    let Some(first) = file.first_row()? else {
        let message = "no rows\nhint: write one window a row".into();
        return Err(InputTableError::File { path: name, message });
    };
    let (found, needed) = (first.width(X)?, expected.transforms.len());
    if found != needed {
        let problem = format!("has {found} values a row where the model takes {needed} a window");
        return Err(file.column_error(X, problem).into());
    }
    let columns = entry_names(&file, X, found)?;
    let order = expected.positions(&columns);
    let mut x = Vec::new();
    for batch in file.batches(Some(&[X]))? {
        let batch = batch?;
        let values = batch.matrix(X, found, Absent::Missing)?.unwrap_or_default();
        for (row, window) in values.chunks_exact(found).enumerate() {
            for input in 0..needed {
                let value = window[order.as_ref().map_or(input, |order| order[input])];
                expected.check(input, value).map_err(|problem| {
                    batch.cell_error(row, X, format!("entry {input}: {problem}"))
                })?;
                x.push(value);
            }
        }
    }
    let columns = match order {
        Some(order) => order.iter().map(|&column| columns[column].clone()).collect(),
        None => columns,
    };
    let places = Places::Rows(x.len() / needed);
    Ok(InputTable { file: name, columns, x, note: None, places })
}
