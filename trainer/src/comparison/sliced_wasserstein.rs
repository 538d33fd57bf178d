//! The sliced Wasserstein distance: Bonneel et al. 2015, <https://doi.org/10.1007/s10851-014-0506-3>.

use rayon::prelude::*;

use super::generator;
use crate::simulator::sampling::Generator;

/// Random directions onto which the samples are projected.
pub const DIRECTIONS: u64 = 256;

/// Keeps the directions apart from other uses of a seed.
const STREAM: u64 = 1 << 32;

/// The root mean square, over [`DIRECTIONS`] random directions, of the 2-Wasserstein distance between the projections of two
/// sets `[n, d]` of equal size.
pub fn sliced_wasserstein(samples: &[f32], reference: &[f32], d: usize, seed: u64) -> f64 {
    let squared_distance = |at: u64| {
        let direction = direction(d, &mut generator(seed, STREAM + at));
        let project = |set: &[f32]| {
            let dot = |row: &[f32]| row.iter().zip(&direction).map(|(x, u)| x * u).sum::<f32>();
            let mut projected: Vec<f32> = set.chunks_exact(d).map(dot).collect();
            projected.sort_unstable_by(f32::total_cmp);
            projected
        };
        // On a line the cheapest transport keeps the order.
        let pairs = project(samples).into_iter().zip(project(reference));
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / (samples.len() / d) as f64
    };
    let squares: Vec<f64> = (0..DIRECTIONS).into_par_iter().map(squared_distance).collect();
    (squares.iter().sum::<f64>() / DIRECTIONS as f64).sqrt()
}

/// Uniform on the unit sphere.
fn direction(d: usize, generator: &mut Generator) -> Vec<f32> {
    let mut normal = vec![0.0; d];
    generator.normals(&mut normal);
    let length = normal.iter().map(|z| z * z).sum::<f64>().sqrt();
    normal.iter().map(|z| (z / length) as f32).collect()
}
