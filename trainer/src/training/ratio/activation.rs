//! Activations whose second derivative the score needs.

/// What follows each hidden layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `0` below -1, `(z + 1)^2 / 4` up to 1, `z` above: a rectifier whose slope is the ramp `clamp((z + 1) / 2, 0, 1)`.
    ///
    /// A piecewise-linear network has a piecewise-constant score; this one's is continuous. It costs no exponential,
    /// and integers compute it exactly with one product and one shift, which no sigmoid allows.
    SmoothRelu,
    /// `max(z, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// The activation of each entry.
    pub(crate) fn apply(self, z: &[f32], a: &mut [f32]) {
        let pairs = a.iter_mut().zip(z);
        match self {
            Activation::SmoothRelu => pairs.for_each(|(a, &z)| {
                let slope = ramp(z);
                *a = slope * slope + (z - 1.0).max(0.0);
            }),
            Activation::Relu => pairs.for_each(|(a, &z)| *a = z.max(0.0)),
            Activation::Tanh => pairs.for_each(|(a, &z)| *a = libm::tanhf(z)),
        }
    }

    /// Multiplies each gradient with the slope at its entry.
    ///
    /// `z` is what was activated, `a` what came out.
    pub(super) fn times_slope(self, gradient: &mut [f32], z: &[f32], a: &[f32]) {
        let entries = gradient.iter_mut().zip(z.iter().zip(a));
        match self {
            Activation::SmoothRelu => entries.for_each(|(g, (&z, _))| *g *= ramp(z)),
            Activation::Relu => entries.for_each(|(g, (&z, _))| *g *= step(z)),
            Activation::Tanh => entries.for_each(|(g, (_, &a))| *g *= 1.0 - a * a),
        }
    }

    /// Slope and second derivative at one entry.
    #[inline]
    pub(super) fn derivatives(self, z: f32, a: f32) -> (f32, f32) {
        match self {
            Activation::SmoothRelu => (ramp(z), if z.abs() < 1.0 { 0.5 } else { 0.0 }),
            Activation::Relu => (step(z), 0.0),
            Activation::Tanh => {
                let slope = 1.0 - a * a;
                (slope, -2.0 * a * slope)
            }
        }
    }
}

#[inline]
fn ramp(z: f32) -> f32 {
    (0.5 * z + 0.5).clamp(0.0, 1.0)
}

#[inline]
fn step(z: f32) -> f32 {
    if z > 0.0 { 1.0 } else { 0.0 }
}
