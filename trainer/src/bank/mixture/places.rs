//! Prototypes that move.

/// Places of the prototypes, free to move, and the observations that they move on.
#[derive(Debug)]
pub(in crate::bank) struct Places<'o> {
    /// `[count, d]`.
    pub values: Vec<f32>,
    /// `[n, d]`.
    pub observations: &'o [i16],
    /// Width of both.
    pub d: usize,
}

impl Places<'_> {
    pub fn of(&self, prototype: u32) -> &[f32] {
        &self.values[prototype as usize * self.d..][..self.d]
    }

    pub fn observation(&self, row: usize) -> &[i16] {
        &self.observations[row * self.d..][..self.d]
    }

    /// The same prototypes, as far away as they are now.
    pub fn measure(&self, row: usize, near: &[(u32, f32)], out: &mut Vec<(u32, f32)>) {
        let observation = self.observation(row);
        let distance = |prototype: u32| {
            let pairs = self.of(prototype).iter().zip(observation);
            pairs.map(|(p, q)| (f32::from(*q) - p) * (f32::from(*q) - p)).sum::<f32>()
        };
        out.clear();
        out.extend(near.iter().map(|&(prototype, _)| (prototype, distance(prototype))));
    }

    /// The nearest places on the grid.
    pub fn rounded(&self) -> Vec<i16> {
        self.values.iter().map(|p| p.round().clamp(-127.0, 127.0) as i16).collect()
    }
}
