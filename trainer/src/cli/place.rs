//! Where a command may write: on nothing, or on what is of the same kind. Anything else that lies there is somebody's.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::bail;
use simground_trainer::parquet_file::ParquetFile;

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An artifact.
    Artifact,
    /// A float model.
    FloatModel,
    /// A report.
    Page,
    /// A picture.
    Picture,
    /// Posterior samples.
    Samples,
}

impl Kind {
    /// Its name, and what such files begin with, in small letters.
    const fn signature(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Kind::Artifact => ("an artifact", &["sgnn"]),
            Kind::FloatModel => ("a float model", &["sgfloat"]),
            Kind::Page => ("an HTML page", &["<!doctype html"]),
            Kind::Picture => ("an SVG picture", &["<svg", "<?xml"]),
            Kind::Samples => ("a Parquet file", &["par1"]),
        }
    }
}

/// Whether a file of `kind` may be written to `path`, whose name then is exchanged; none of `inputs` is to be lost.
///
/// # Errors
///
/// What lies there, and a hint.
pub fn check(path: &Path, kind: Kind, inputs: &[&Path]) -> anyhow::Result<()> {
    let Ok(about) = std::fs::metadata(path) else { return Ok(()) };
    let shown = path.display();
    if about.is_dir() {
        bail!("{shown}: is a folder\nhint: name a file in it");
    }
    if !about.is_file() {
        bail!("{shown}: is a device, and not a file that could be exchanged for another");
    }
    let place = path.canonicalize().ok();
    let lost = |input: &&Path| place.is_some() && input.canonicalize().ok() == place;
    if inputs.iter().any(lost) {
        bail!("{shown}: is read, and would be lost\nhint: name another file");
    }
    let mut begin = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(16).read_to_end(&mut begin);
    }
    begin.make_ascii_lowercase();
    let (name, signatures) = kind.signature();
    let same = signatures.iter().any(|signature| begin.starts_with(signature.as_bytes()));
    if kind == Kind::Samples && ParquetFile::open(path).is_ok_and(|file| file.has("x")) {
        bail!(
            "{shown}: exists, and its column `x` says that it is a corpus or windows\nhint: name another file, or delete this one"
        );
    }
    if !same && about.len() > 0 {
        bail!("{shown}: exists, and is not {name}\nhint: name another file, or delete this one");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_another_kind_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("a file");
            path
        };
        let refused = |path: &Path, kind, inputs: &[&Path]| {
            check(path, kind, inputs).expect_err("refused").to_string()
        };
        let artifact = file("a.sgnn", "SGNN\u{1}");
        assert!(refused(&artifact, Kind::Picture, &[]).contains("not an SVG picture"));
        assert!(check(&artifact, Kind::Artifact, &[]).is_ok());
        assert!(refused(&artifact, Kind::Artifact, &[&artifact]).contains("would be lost"));
        assert!(refused(folder.path(), Kind::Page, &[]).contains("is a folder"));
        assert!(check(&file("empty", ""), Kind::Page, &[&artifact]).is_ok());
        assert!(check(&file("page", "<!DOCTYPE html><html>"), Kind::Page, &[]).is_ok());
        assert!(check(&folder.path().join("new"), Kind::Samples, &[]).is_ok());
        #[cfg(unix)]
        assert!(refused(Path::new("/dev/null"), Kind::Samples, &[]).contains("is a device"));
    }
}
