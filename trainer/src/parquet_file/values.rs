//! Columns of a batch as numbers and names, whatever Arrow type holds them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_schema::DataType;

use super::{Batch, ParquetFileError};

/// What a NaN and a null mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// NaN and null are a missing value.
    Missing,
    /// Null is a value that this row does not have; NaN is an error.
    Null,
    /// As `Never`; the error says that a corpus with a column `target` may have a null here.
    BesideTarget,
    /// Every value must be there.
    Never,
}

impl Batch {
    /// A column of lists as `[rows, width]`; NaN where a value is absent. `None` where there is no such column.
    ///
    /// # Errors
    ///
    /// Names the first entry that is not as it must be.
    pub fn matrix(
        &self,
        column: &str,
        width: usize,
        absent: Absent,
    ) -> Result<Option<Vec<f32>>, ParquetFileError> {
        let Some(array) = self.rows.column_by_name(column) else { return Ok(None) };
        let lists = Lists::of(array).map_err(|problem| self.column_error(column, problem))?;
        let mut values = Vec::with_capacity(array.len() * width);
        for row in 0..array.len() {
            let wrong = |problem| self.cell_error(row, column, problem);
            let (start, end) = lists
                .row(row)
                .ok_or_else(|| wrong(format!("null; write a list of {width} values")))?;
            if end - start != width {
                return Err(wrong(format!("{} values; every row has {width}", end - start)));
            }
            for at in start..end {
                let value = lists.numbers.single(at, absent).map_err(|problem| {
                    wrong(format!("entry {} is {problem}; write a finite number", at - start))
                })?;
                values.push(value);
            }
        }
        Ok(Some(values))
    }

    /// Values a row of a column of lists, as the first row has them.
    ///
    /// # Errors
    ///
    /// Where the column is none of lists of numbers, or its first row has no value.
    ///
    /// # Panics
    ///
    /// If there is no such column.
    pub fn width(&self, column: &str) -> Result<usize, ParquetFileError> {
        let array = self.rows.column_by_name(column).expect("the caller has seen this column");
        let lists = Lists::of(array).map_err(|problem| self.column_error(column, problem))?;
        match lists.row(0) {
            Some((start, end)) if end > start => Ok(end - start),
            _ => Err(self.cell_error(0, column, "empty; write at least one value".to_owned())),
        }
    }

    /// Whether a column holds plain numbers, one a row.
    pub fn holds_numbers(&self, column: &str) -> bool {
        self.rows.column_by_name(column).is_some_and(|array| Numbers::of(array).is_ok())
    }

    /// Whether a column holds whole numbers, one a row.
    pub fn holds_whole_numbers(&self, column: &str) -> bool {
        self.rows.column_by_name(column).is_some_and(|array| array.data_type().is_integer())
    }

    /// A column of plain numbers. `None` where there is no such column.
    ///
    /// # Errors
    ///
    /// Names the first value that is absent or not finite.
    pub fn numbers(&self, column: &str) -> Result<Option<Vec<f32>>, ParquetFileError> {
        let Some(array) = self.rows.column_by_name(column) else { return Ok(None) };
        let numbers = Numbers::of(array).map_err(|kind| {
            self.column_error(column, format!("holds {kind}; write a number a row"))
        })?;
        let value = |row| {
            numbers.single(row, Absent::Never).map_err(|problem| {
                self.cell_error(row, column, format!("{problem}; write a finite number"))
            })
        };
        (0..array.len()).map(value).collect::<Result<_, _>>().map(Some)
    }

    /// A column of whole numbers from 0. `None` where there is no such column.
    ///
    /// # Errors
    ///
    /// Names the first value that is null or negative.
    pub fn whole_numbers(&self, column: &str) -> Result<Option<Vec<u64>>, ParquetFileError> {
        let Some(array) = self.rows.column_by_name(column) else { return Ok(None) };
        let value: Box<dyn Fn(usize) -> Option<u64>> = match array.data_type() {
            DataType::UInt64 => Box::new(|row| Some(array.as_primitive::<UInt64Type>().value(row))),
            DataType::UInt32 => {
                Box::new(|row| Some(array.as_primitive::<UInt32Type>().value(row).into()))
            }
            DataType::UInt16 => {
                Box::new(|row| Some(array.as_primitive::<UInt16Type>().value(row).into()))
            }
            DataType::UInt8 => {
                Box::new(|row| Some(array.as_primitive::<UInt8Type>().value(row).into()))
            }
            DataType::Int64 => {
                Box::new(|row| array.as_primitive::<Int64Type>().value(row).try_into().ok())
            }
            DataType::Int32 => {
                Box::new(|row| array.as_primitive::<Int32Type>().value(row).try_into().ok())
            }
            DataType::Int16 => {
                Box::new(|row| array.as_primitive::<Int16Type>().value(row).try_into().ok())
            }
            DataType::Int8 => {
                Box::new(|row| array.as_primitive::<Int8Type>().value(row).try_into().ok())
            }
            other => return Err(self.column_error(column, format!("holds {other}; write uint64"))),
        };
        let value = |row| {
            let value = if array.is_null(row) { None } else { value(row) };
            value.ok_or_else(|| {
                let problem = "null or negative; write a whole number".to_owned();
                self.cell_error(row, column, problem)
            })
        };
        (0..array.len()).map(value).collect::<Result<_, _>>().map(Some)
    }

    /// Calls `visit` with each name of a column of strings, in any of Arrow's encodings.
    ///
    /// # Errors
    ///
    /// Names the first row without a name, and the first of which `visit` complains.
    ///
    /// # Panics
    ///
    /// If there is no such column.
    pub fn each_name(
        &self,
        column: &str,
        mut visit: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), ParquetFileError> {
        let array = self.rows.column_by_name(column).expect("the caller has seen this column");
        let (keys, values) = match array.as_any_dictionary_opt() {
            Some(dictionary) => {
                (Some(dictionary.normalized_keys()), Arc::clone(dictionary.values()))
            }
            None => (None, Arc::clone(array)),
        };
        let text = texts(&values).map_err(|problem| self.column_error(column, problem))?;
        for row in 0..array.len() {
            let at = if array.is_null(row) {
                None
            } else {
                let at = keys.as_ref().map_or(row, |keys| keys[row]);
                values.is_valid(at).then_some(at)
            };
            let name = at.map(&text).filter(|name| !name.is_empty());
            let visited = match name {
                Some(name) => visit(name),
                None => Err("null or empty; write a name".to_owned()),
            };
            visited.map_err(|problem| self.cell_error(row, column, problem))?;
        }
        Ok(())
    }
}

/// Strings by position; the caller knows that there is one.
fn texts<'a>(array: &'a ArrayRef) -> Result<Box<dyn Fn(usize) -> &'a str + 'a>, String> {
    Ok(match array.data_type() {
        DataType::Utf8 => Box::new(|at| array.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => Box::new(|at| array.as_string::<i64>().value(at)),
        DataType::Utf8View => Box::new(|at| array.as_string_view().value(at)),
        other => return Err(format!("holds {other}; write strings")),
    })
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
        let numbers = Numbers::of(values)
            .map_err(|kind| format!("holds lists of {kind}; write lists of float32 or float64"))?;
        Ok(Lists { array: Arc::clone(array), numbers })
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

/// An array of numbers of any width; counts are stored as integers as often as not.
struct Numbers {
    array: ArrayRef,
    singles: Vec<f32>,
    /// The entry in the file's own precision.
    double: fn(&ArrayRef, usize) -> f64,
}

impl Numbers {
    /// The type as the error, where it is none of numbers.
    fn of(array: &ArrayRef) -> Result<Self, String> {
        macro_rules! all {
            ($arrow:ty, $single:expr, $double:expr) => {
                Numbers {
                    array: Arc::clone(array),
                    singles: array.as_primitive::<$arrow>().values().iter().map($single).collect(),
                    double: |array, at| $double(array.as_primitive::<$arrow>().value(at)),
                }
            };
            ($arrow:ty) => {
                all!($arrow, |value| *value as f32, |value| value as f64)
            };
        }
        Ok(match array.data_type() {
            DataType::Float32 => all!(Float32Type),
            DataType::Float64 => all!(Float64Type),
            DataType::Float16 => {
                all!(
                    Float16Type,
                    |value| value.to_f32(),
                    |value: <Float16Type as ArrowPrimitiveType>::Native| value.to_f64()
                )
            }
            DataType::Int8 => all!(Int8Type),
            DataType::Int16 => all!(Int16Type),
            DataType::Int32 => all!(Int32Type),
            DataType::Int64 => all!(Int64Type),
            DataType::UInt8 => all!(UInt8Type),
            DataType::UInt16 => all!(UInt16Type),
            DataType::UInt32 => all!(UInt32Type),
            DataType::UInt64 => all!(UInt64Type),
            other => {
                return Err(other.to_string());
            }
        })
    }

    /// An entry as float32, or what it is instead.
    fn single(&self, at: usize, absent: Absent) -> Result<f32, String> {
        if self.array.is_null(at) {
            return match absent {
                Absent::Never => Err("null".to_owned()),
                Absent::BesideTarget => Err(
                    "null, which it may be only beside a column `target`: without one it is what is learned"
                        .to_owned(),
                ),
                Absent::Null | Absent::Missing => Ok(f32::NAN),
            };
        }
        let single = self.singles[at];
        if single.is_finite() || (single.is_nan() && absent == Absent::Missing) {
            return Ok(single);
        }
        let double = (self.double)(&self.array, at);
        Err(if double.is_finite() {
            format!("{double:e}, beyond float32")
        } else {
            double.to_string()
        })
    }
}
