use std::fs::File;

use arrow_array::types::{Float32Type, Float64Type, Int8Type};
use arrow_array::{
    ArrayRef, DictionaryArray, FixedSizeListArray, Float64Array, Int16Array, Int32Array,
    LargeListArray, ListArray, RecordBatch, StringArray, UInt8Array,
};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::corpus::{simulate, write_shard};
use crate::study::Study;

type Rows = Vec<Option<Vec<Option<f64>>>>;
type Encoder = fn(Rows) -> ArrayRef;

fn rows<const N: usize, const M: usize>(values: [[f64; M]; N]) -> Rows {
    values.iter().map(|row| Some(row.iter().map(|value| Some(*value)).collect())).collect()
}

fn doubles(rows: Rows) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows))
}

fn singles(rows: Rows) -> ArrayRef {
    let rows = rows
        .into_iter()
        .map(|row| row.map(|r| r.into_iter().map(|v| v.map(|v| v as f32)).collect::<Vec<_>>()));
    Arc::new(LargeListArray::from_iter_primitive::<Float32Type, _, _>(rows))
}

fn fixed(rows: Rows, width: i32) -> ArrayRef {
    Arc::new(FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(rows, width))
}

/// A file as a foreign tool would write it.
fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, metadata: &[(&str, &str)]) {
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let pairs = metadata
        .iter()
        .map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned()))
        .collect();
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(pairs))
        .set_max_row_group_row_count(Some(2))
        .build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).expect("a file"), batch.schema(), Some(properties))
            .expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

const X: [[f64; 2]; 3] = [[1.0, 2.0], [3.0, f64::NAN], [5.0, 6.0]];
const THETA: [[f64; 1]; 3] = [[0.1], [0.2], [0.3]];

#[track_caller]
fn refused(path: &Path, says: &str) {
    let message = Corpus::read(path).expect_err("a fault").to_string();
    assert!(message.starts_with(&path.display().to_string()), "{message}");
    assert!(message.contains(says), "{message}\ndoes not contain: {says}");
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("studies/outbreak.toml");
    let study = Study::load(path).unwrap_or_else(|error| panic!("{error}"));
    for shard in 0..3 {
        write_shard(&study, 4, 100, (shard, 3), dir.path(), |_| ())
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let stored = Corpus::read(dir.path()).unwrap_or_else(|error| panic!("{error}"));
    let fresh = simulate(&study, 4, 0..100);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(stored.schema, fresh.schema);
    assert_eq!(stored.index, fresh.index);
    assert_eq!(stored.mechanism, fresh.mechanism);
    assert_eq!(bits(&stored.x), bits(&fresh.x));
    assert_eq!(bits(&stored.target), bits(&fresh.target));
    // NaN has many bit patterns; absent is absent.
    assert_eq!(stored.theta.len(), fresh.theta.len());
    assert!(
        stored.theta.iter().zip(&fresh.theta).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
    );
    assert_eq!(Reader::open(dir.path()).expect("readable").num_simulations(), 100);
}

#[test]
fn foreign_files_of_every_list_kind_are_read_alike() {
    let dir = tempfile::tempdir().expect("a directory");
    let dictionary: DictionaryArray<Int8Type> = ["b", "a", "b"].into_iter().collect();
    let plain = StringArray::from(vec!["b", "a", "b"]);
    let weight = Float64Array::from(vec![1.0, 0.0, 2.5]);
    // Whole numbers of any width.
    let indices: [ArrayRef; 3] = [
        Arc::new(Int32Array::from(vec![7, 8, 9])),
        Arc::new(Int16Array::from(vec![17, 18, 19])),
        Arc::new(UInt8Array::from(vec![27, 28, 29])),
    ];
    let names = [("theta_names", "[\"k\"]"), ("target_names", "[\"y+1\", \"y+2\"]")];
    let kinds: [(Encoder, ArrayRef); 3] = [
        (doubles, Arc::new(dictionary)),
        (singles, Arc::new(plain.clone())),
        (
            |rows| {
                let width = rows[0].as_ref().map_or(0, Vec::len) as i32;
                fixed(rows, width)
            },
            Arc::new(plain),
        ),
    ];
    let mut seen = Vec::new();
    for (at, (list, mechanism)) in kinds.into_iter().enumerate() {
        let path = dir.path().join(format!("{at}.parquet"));
        let mut theta = rows(THETA);
        theta[1] = Some(vec![None]);
        let columns = vec![
            ("x", list(rows(X))),
            ("theta", list(theta)),
            ("target", list(rows([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))),
            ("mechanism", mechanism),
            ("weight", Arc::new(weight.clone()) as ArrayRef),
            ("index", Arc::clone(&indices[at])),
            ("score", list(rows(THETA))),
        ];
        write(&path, columns, &names);
        seen.push(Corpus::read(&path).unwrap_or_else(|error| panic!("{error}")));
    }
    for (at, corpus) in (0..).zip(&seen) {
        assert_eq!(corpus.schema.mechanisms, ["a", "b"]);
        assert_eq!(corpus.mechanism, [1, 0, 1]);
        assert_eq!(corpus.schema.theta[0].name, "k");
        assert_eq!(corpus.schema.target_indices("y"), [0, 1]);
        assert_eq!(corpus.target, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(corpus.x[3].is_nan() && corpus.theta[1].is_nan());
        assert_eq!(corpus.weight.as_deref(), Some(&[1.0, 0.0, 2.5][..]));
        assert_eq!(corpus.index, [7, 8, 9].map(|index| index + 10 * at));
        assert_eq!(corpus.score.as_deref(), Some(&[0.1, 0.2, 0.3][..]));
    }
    let together = Corpus::read(dir.path()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(together.len(), 9);
}

#[test]
fn without_a_target_theta_is_the_target() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("plain");
    write(&path, vec![("x", doubles(rows(X))), ("theta", doubles(rows(THETA)))], &[]);
    let corpus = Corpus::read(dir.path()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(corpus.target, [0.1, 0.2, 0.3]);
    assert_eq!(corpus.schema.targets[0].name, "theta_0");
    assert_eq!(corpus.index, [0, 1, 2]);
    assert!(corpus.weight.is_none() && corpus.schema.mechanisms.is_empty());
}

#[test]
fn every_fault_is_told_with_file_row_and_column() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bad.parquet");
    let theta = || doubles(rows(THETA));
    let x = || doubles(rows(X));

    write(&path, vec![("theta", theta())], &[]);
    refused(&path, "column `x` is missing; the file has theta");
    write(&path, vec![("x", theta())], &[]);
    refused(&path, "column `theta` is missing");
    let mut ragged = rows(X);
    ragged[2] = Some(vec![Some(1.0)]);
    write(&path, vec![("x", doubles(ragged)), ("theta", theta())], &[]);
    refused(&path, "row 2, column `x`: 1 values; every row has 2");
    let mut infinite = rows(X);
    infinite[1] = Some(vec![Some(1.0), Some(f64::INFINITY)]);
    write(&path, vec![("x", doubles(infinite)), ("theta", theta())], &[]);
    refused(&path, "row 1, column `x`: entry 1 is inf");
    write(&path, vec![("x", x()), ("theta", doubles(rows([[0.1], [0.2], [f64::NAN]])))], &[]);
    refused(&path, "row 2, column `theta`: entry 0 is NaN");
    // Beyond float32, though finite as float64.
    write(&path, vec![("x", x()), ("theta", doubles(rows([[0.1], [1e300], [0.2]])))], &[]);
    refused(&path, "row 1, column `theta`: entry 0 is 1e300, beyond float32");
    let mut absent = rows(THETA);
    absent[0] = Some(vec![None]);
    write(&path, vec![("x", x()), ("theta", doubles(absent))], &[]);
    refused(&path, "row 0, column `theta`: entry 0 is null, which it may be only beside a column");
    write(
        &path,
        vec![("x", x()), ("theta", theta()), ("target", doubles(rows([[1.0], [f64::NAN], [1.0]])))],
        &[],
    );
    refused(&path, "row 1, column `target`: entry 0 is NaN");
    write(
        &path,
        vec![
            ("x", x()),
            ("theta", theta()),
            ("weight", Arc::new(Float64Array::from(vec![1.0, -1.0, 1.0]))),
        ],
        &[],
    );
    refused(&path, "row 1, column `weight`: -1;");
    write(
        &path,
        vec![("x", x()), ("theta", theta()), ("index", Arc::new(Int32Array::from(vec![1, 2, -3])))],
        &[],
    );
    refused(&path, "row 2, column `index`: null or negative");
    let gap = StringArray::from(vec![Some("a"), None, Some("a")]);
    write(&path, vec![("x", x()), ("theta", theta()), ("mechanism", Arc::new(gap))], &[]);
    refused(&path, "row 1, column `mechanism`: null");
    let nameless = StringArray::from(vec!["a", "", "a"]);
    write(&path, vec![("x", x()), ("theta", theta()), ("mechanism", Arc::new(nameless))], &[]);
    refused(&path, "row 1, column `mechanism`: null or empty");
    write(&path, vec![("x", x()), ("theta", theta())], &[("theta_names", "[\"\"]")]);
    refused(&path, "column `theta` has an empty name for entry 0 in `theta_names`");
    write(
        &path,
        vec![("x", x()), ("theta", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0])))],
        &[],
    );
    refused(&path, "column `theta` holds Float64; write lists");
    write(&path, vec![("x", x()), ("theta", theta())], &[("theta_names", "[\"a\", \"b\"]")]);
    refused(&path, "column `theta` has 1 values a row, but `theta_names` names 2");
    write(&path, vec![("x", x()), ("theta", theta())], &[("theta_names", "a")]);
    refused(&path, "no JSON array of strings");
    write(&path, vec![("x", doubles(vec![])), ("theta", doubles(vec![]))], &[]);
    refused(&path, "no rows");
}

#[test]
fn a_cut_or_absent_file_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let message = Corpus::read(dir.path()).expect_err("empty").to_string();
    assert!(message.contains("no Parquet file"), "{message}");
    let path = dir.path().join("cut.parquet");
    assert!(Corpus::read(&path).is_err());
    write(&path, vec![("x", doubles(rows(X))), ("theta", doubles(rows(THETA)))], &[]);
    let whole = std::fs::read(&path).expect("bytes");
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).expect("written");
        refused(&path, "not a readable Parquet file");
    }
}

#[test]
fn files_of_one_corpus_must_agree() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = dir.path().join("1.parquet");
    let second = dir.path().join("2.parquet");
    let columns = || vec![("x", doubles(rows(X))), ("theta", doubles(rows(THETA)))];
    write(&first, columns(), &[("theta_names", "[\"a\"]")]);
    write(&second, columns(), &[("theta_names", "[\"b\"]")]);
    let message = Corpus::read(dir.path()).expect_err("a fault").to_string();
    assert!(message.starts_with(&second.display().to_string()), "{message}");
    assert!(
        message.contains("names of `theta` differ") && message.contains("b against a"),
        "{message}"
    );
    write(
        &second,
        vec![("x", doubles(rows(THETA))), ("theta", doubles(rows(THETA)))],
        &[("theta_names", "[\"a\"]")],
    );
    assert!(
        Corpus::read(dir.path()).expect_err("a fault").to_string().contains("widths of `x` differ")
    );
}

#[test]
fn an_index_names_one_simulation() {
    let dir = tempfile::tempdir().expect("a directory");
    let [first, second] = ["1.parquet", "2.parquet"].map(|name| dir.path().join(name));
    let columns = |index: [i32; 3]| {
        let index = Arc::new(Int32Array::from(index.to_vec())) as ArrayRef;
        vec![("x", doubles(rows(X))), ("theta", doubles(rows(THETA))), ("index", index)]
    };
    write(&first, columns([5, 4, 3]), &[]);
    write(&second, columns([2, 1, 0]), &[]);
    assert_eq!(Corpus::read(dir.path()).expect("readable").index, [5, 4, 3, 2, 1, 0]);
    write(&second, columns([2, 4, 0]), &[]);
    let message = Corpus::read(dir.path()).expect_err("a fault").to_string();
    let of = format!("row 1, column `index`: 4 is the index of row 1 of {}", first.display());
    assert!(message.starts_with(&second.display().to_string()), "{message}");
    assert!(message.contains(&of), "{message}");
}

#[test]
fn a_parameter_outside_its_declared_support_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a.parquet");
    let columns = vec![("x", doubles(rows(X))), ("theta", doubles(rows(THETA)))];
    write(&path, columns, &[("theta_names", "[\"rate\"]")]);
    let declared = |name: &str, low, high| {
        let unit = "1/day".to_owned();
        Corpus::read_declared(&path, &[DeclaredParameter { name: name.into(), low, high, unit }])
    };
    let corpus = declared("rate", Some(0.1), None).unwrap_or_else(|error| panic!("{error}"));
    let parameter = &corpus.schema.theta[0];
    assert_eq!((parameter.lower, parameter.upper), (Some(0.1), None));
    assert_eq!(parameter.unit, "1/day");
    // Theta is the target as well.
    assert_eq!(corpus.schema.targets[0].lower, Some(0.1));
    let message = declared("rate", None, Some(0.25)).expect_err("a fault").to_string();
    let says =
        "row 2, column `theta`: entry 0 (`rate`) is 0.3, outside its support of -inf to 0.25";
    assert!(
        message.starts_with(&path.display().to_string()) && message.contains(says),
        "{message}"
    );
    let message = declared("rates", None, None).expect_err("a fault").to_string();
    assert!(
        message.contains("has no entry `rates`") && message.contains("it has rate"),
        "{message}"
    );
}
