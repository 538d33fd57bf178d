//! The columns of the files that this crate writes.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema as ArrowSchema};

use super::{Corpus, Schema};

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
