//! Room on a disk, and what the system says of it.

use std::io;
use std::path::Path;

/// Bytes that anyone may still write in a folder; `None` where the system does not say.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let about = rustix::fs::statvfs(folder).ok()?;
        Some(about.f_bavail.saturating_mul(about.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// A size for people.
///
/// ```
/// use simground_trainer::disk::size;
/// assert_eq!([999, 4_210_000, 4_210_000_000].map(size), ["999 bytes", "4.2 MB", "4.2 GB"]);
/// ```
pub fn size(bytes: u64) -> String {
    match bytes {
        ..1_000_000 => format!("{bytes} bytes"),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// What went wrong with a temporary file, without the name of that file, which says nothing to anyone.
pub fn without_its_name(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(error.kind(), "no such folder"),
        kind => io::Error::from(kind),
    }
}
