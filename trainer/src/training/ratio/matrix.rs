//! Products of row-major matrices that lie in slices.

/// A matrix in a slice, row-major or seen transposed.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// The rows of a slice.
pub(super) fn rows(data: &[f32], columns: usize) -> View<'_> {
    View { data, rows: data.len() / columns, columns, row_stride: columns, column_stride: 1 }
}

/// The rows of a slice as columns.
pub(super) fn transposed(data: &[f32], columns: usize) -> View<'_> {
    let View { rows, columns, row_stride, column_stride, .. } = rows(data, columns);
    View {
        data,
        rows: columns,
        columns: rows,
        row_stride: column_stride,
        column_stride: row_stride,
    }
}

/// Writes `a b` into row-major `out`.
///
/// # Panics
/// When the sizes do not agree.
pub(super) fn product(out: &mut [f32], a: View<'_>, b: View<'_>) {
    assert_eq!(a.columns, b.rows, "inner sizes");
    assert_eq!(out.len(), a.rows * b.columns, "size of the product");
    assert!(a.rows * a.columns <= a.data.len() && b.rows * b.columns <= b.data.len());
    // SAFETY: a view's strides are 1 and the length of its other side, so that it reaches exactly `rows * columns` entries of its
    // slice, which has them; so does `out`, which is row-major and borrowed for writing alone.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns.cast_signed(),
            false,
            a.data.as_ptr(),
            a.column_stride.cast_signed(),
            a.row_stride.cast_signed(),
            b.data.as_ptr(),
            b.column_stride.cast_signed(),
            b.row_stride.cast_signed(),
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Adds `weight * x` to `y`.
#[inline]
pub(super) fn add_scaled(y: &mut [f32], weight: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
}

/// Adds each row to `sum`.
pub(super) fn add_rows(sum: &mut [f32], data: &[f32]) {
    data.chunks_exact(sum.len()).for_each(|row| add_scaled(sum, 1.0, row));
}

/// Inner product, summed in lanes whose order is fixed.
#[inline]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Squared Euclidean norm.
pub(super) fn squared_norm(values: &[f32]) -> f64 {
    // Blocks short enough that single precision loses nothing that matters.
    values.chunks(1024).map(|block| f64::from(dot(block, block))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_definition() {
        for (count, inner, columns) in [(1, 1, 1), (3, 2, 5), (7, 9, 4), (33, 17, 40), (64, 6, 7)] {
            let entries = |len: usize| -> Vec<f32> {
                (0..len).map(|at| (at * 7 % 11) as f32 - 5.0).collect()
            };
            let (a, b) = (entries(count * inner), entries(inner * columns));
            let transpose = |data: &[f32], columns: usize| -> Vec<f32> {
                let rows = data.len() / columns;
                (0..columns * rows).map(|at| data[at % rows * columns + at / rows]).collect()
            };
            let (a_t, b_t) = (transpose(&a, inner), transpose(&b, columns));
            let entry = |at: usize| -> f32 {
                (0..inner)
                    .map(|k| a[at / columns * inner + k] * b[k * columns + at % columns])
                    .sum()
            };
            let expected: Vec<f32> = (0..count * columns).map(entry).collect();
            for a in [rows(&a, inner), transposed(&a_t, count)] {
                for b in [rows(&b, columns), transposed(&b_t, inner)] {
                    let mut out = vec![f32::NAN; count * columns];
                    product(&mut out, a, b);
                    assert_eq!(out, expected, "{count} {inner} {columns}");
                }
            }
        }
    }
}
