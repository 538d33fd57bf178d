//! Posterior samples into a Parquet file: a `float32` column for each parameter, in memory of fixed size.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::artifact::replace_file_by;

/// Name of the column that tells the windows apart.
pub const ROW: &str = "row";
/// Samples in memory at a time.
const CHUNK: usize = 65_536;

/// The generator of one window's samples: a stream of its own under the seed.
pub fn generator(seed: u64, row: usize) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(row as u64);
    generator
}

/// Writes `count` samples for each of `windows` windows; with more than one a column [`ROW`] says which.
///
/// `draw` fills a buffer of whole samples, `[n, names]`, of one window; it is called for the windows in order, and for one window until all
/// its samples are drawn. The file appears whole or not at all.
///
/// # Errors
///
/// The system's reason, with the path.
pub fn write_samples(
    path: &Path,
    names: &[String],
    windows: usize,
    count: u64,
    mut draw: impl FnMut(usize, &mut [f32]),
) -> io::Result<()> {
    let several = windows > 1;
    let row = several.then(|| Field::new(ROW, DataType::UInt64, false));
    let columns = names.iter().map(|name| Field::new(name, DataType::Float32, false));
    let schema = Arc::new(Schema::new(row.into_iter().chain(columns).collect::<Vec<_>>()));
    replace_file_by(path, |file| {
        let level = ZstdLevel::try_new(1).map_err(io::Error::other)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_dictionary_enabled(false)
            .set_max_row_group_row_count(Some(CHUNK))
            .build();
        let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
        for window in 0..windows {
            let mut left = count;
            while left > 0 {
                let n = left.min(CHUNK as u64);
                left -= n;
                let n = n as usize;
                let mut samples = vec![0.0; n * names.len()];
                draw(window, &mut samples);
                let row = several
                    .then(|| -> ArrayRef { Arc::new(UInt64Array::from(vec![window as u64; n])) });
                let column = |at: usize| -> ArrayRef {
                    let values = samples.iter().skip(at).step_by(names.len()).copied();
                    Arc::new(Float32Array::from_iter_values(values))
                };
                let columns = row.into_iter().chain((0..names.len()).map(column)).collect();
                let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
                writer.write(&batch.map_err(io::Error::other)?)?;
            }
            // Many windows of few samples share a group; what is buffered stays bounded.
            if writer.in_progress_size() > 4 * CHUNK * (names.len() + 2) {
                writer.flush()?;
            }
        }
        writer.close()?;
        Ok(())
    })
}
