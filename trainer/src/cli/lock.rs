//! One training at a time for one artifact: two would overwrite each other's checkpoint, float model and report.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};

/// Held while a training writes beside an artifact's path. The system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock of an artifact's files, and removes what a training that was killed has left half written.
    pub fn take(artifact: &Path) -> anyhow::Result<Lock> {
        let path = artifact.with_extension("lock");
        let named = |error: std::io::Error| anyhow!("{}: {error}", path.display());
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(named)?;
            match file.try_lock() {
                // The one who held it may have removed the file after it was opened here.
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => {
                    remove_partial(artifact);
                    return Ok(Lock { path, _file: file });
                }
                Err(TryLockError::WouldBlock) => bail!(
                    "{}: another training is writing it\nhint: wait for its end, or name another file with `--out`",
                    artifact.display()
                ),
                Err(TryLockError::Error(error)) => return Err(named(error)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Nobody else can hold it, and an empty file that stays is no obstacle.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether a path still leads to an open file.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let place = |about: std::fs::Metadata| (about.dev(), about.ino());
        match (file.metadata(), std::fs::metadata(path)) {
            (Ok(file), Ok(path)) => place(file) == place(path),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

/// Removes the hidden `.NAME.*.partial` beside an artifact, and its partial checkpoint.
fn remove_partial(artifact: &Path) {
    let Some(stem) = artifact.file_stem().and_then(|stem| stem.to_str()) else { return };
    let (hidden, checkpoint) = (format!(".{stem}."), format!("{stem}.checkpoint.partial"));
    let folder = artifact.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == checkpoint || (name.starts_with(&hidden) && name.ends_with(".partial")) {
            // What cannot be removed is in nobody's way.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
