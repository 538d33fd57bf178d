//! Transcendental functions at the float edges, from one of two software libraries.
//!
//! Both are plain `f32` arithmetic without contraction, so a result has the same bits on every target.

#[cfg(not(feature = "micromath"))]
pub(crate) fn exp(x: f32) -> f32 {
    libm::expf(x)
}

#[cfg(not(feature = "micromath"))]
pub(crate) fn exp_m1(x: f32) -> f32 {
    libm::expm1f(x)
}

#[cfg(not(feature = "micromath"))]
pub(crate) fn ln_1p(x: f32) -> f32 {
    libm::log1pf(x)
}

#[cfg(feature = "micromath")]
pub(crate) fn exp(x: f32) -> f32 {
    // The bit tricks of micromath hold inside the range where the result is a normal number.
    if x < -87.0 {
        0.0
    } else if x > 88.0 {
        f32::INFINITY
    } else {
        micromath::F32Ext::exp(x)
    }
}

#[cfg(feature = "micromath")]
pub(crate) fn exp_m1(x: f32) -> f32 {
    exp(x) - 1.0
}

#[cfg(feature = "micromath")]
pub(crate) fn ln_1p(x: f32) -> f32 {
    if x == f32::INFINITY { x } else { micromath::F32Ext::ln(1.0 + x) }
}

/// Nearest integer, ties away from zero.
pub(crate) fn round(x: f32) -> f32 {
    libm::roundf(x)
}

/// `sqrt` is correctly rounded in hardware and in software alike.
pub(crate) fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}

/// An integer on a float grid, saturating; NaN gives 0.
#[expect(
    clippy::as_conversions,
    reason = "float-to-int `as` saturates, which is the wanted meaning"
)]
pub(crate) fn saturating_i32(x: f32) -> i32 {
    x as i32
}

/// The nearest float, ties to even.
#[expect(
    clippy::as_conversions,
    reason = "there is no `From<i32> for f32`; `as` rounds to nearest"
)]
pub(crate) fn float(x: i32) -> f32 {
    x as f32
}

/// The nearest float, ties to even.
#[expect(
    clippy::as_conversions,
    reason = "there is no `From<u64> for f32`; `as` rounds to nearest"
)]
pub(crate) fn float_u64(x: u64) -> f32 {
    x as f32
}
