//! The report of a model.

/// A number with at most this many significant digits; whole numbers keep all of theirs.
///
/// ```
/// use simground_trainer::report::significant;
/// assert_eq!(significant(164.268, 4), "164.3");
/// assert_eq!(significant(0.012345, 3), "0.0123");
/// assert_eq!(significant(123456.7, 4), "123457");
/// assert_eq!(significant(2.0, 4), "2.000");
/// ```
pub fn significant(value: f64, digits: i32) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let decimals = (digits - 1 - magnitude).clamp(0, 9) as usize;
    format!("{value:.decimals$}")
}
