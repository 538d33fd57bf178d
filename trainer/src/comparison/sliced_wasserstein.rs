//! The sliced Wasserstein distance: Bonneel et al. 2015, <https://doi.org/10.1007/s10851-014-0506-3>.

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::generator;

/// Random directions onto which the samples are projected; a few more where they are no multiple of the dimension.
pub const DIRECTIONS: usize = 256;

/// Keeps the directions apart from other uses of a seed.
const PURPOSE: u64 = 1 << 32;

/// The root mean square, over [`DIRECTIONS`] random directions, of the 2-Wasserstein distance between the projections of two
/// sets `[n, d]` of equal size.
///
/// The directions are the axes of random frames, which spread more evenly than independent ones (Rowland et al. 2019,
/// <https://arxiv.org/abs/1903.03784>).
pub fn sliced_wasserstein(samples: &[f32], reference: &[f32], d: usize, seed: u64) -> f64 {
    let n = samples.len() / d;
    let squared_distance = |direction: &Vec<f32>| {
        let project = |set: &[f32]| {
            let dot = |row: &[f32]| row.iter().zip(direction).map(|(x, u)| x * u).sum::<f32>();
            let mut projected: Vec<f32> = set.chunks_exact(d).map(dot).collect();
            projected.sort_unstable_by(f32::total_cmp);
            projected
        };
        // On a line the cheapest transport keeps the order.
        let pairs = project(samples).into_iter().zip(project(reference));
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / n as f64
    };
    let frames = 0..DIRECTIONS.div_ceil(d) as u64;
    let directions: Vec<Vec<f32>> = frames.flat_map(|at| frame(d, seed, at)).collect();
    let squares: Vec<f64> = directions.par_iter().map(squared_distance).collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

/// Axes of a random frame, each uniform on the unit sphere but for its sign, which makes no difference here.
fn frame(d: usize, seed: u64, at: u64) -> Vec<Vec<f32>> {
    let mut normals = vec![0.0; d * d];
    generator(seed, PURPOSE + at).normals(&mut normals);
    let axes = DMatrix::from_vec(d, d, normals).qr().q();
    axes.column_iter().map(|axis| axis.iter().map(|u| *u as f32).collect()).collect()
}
