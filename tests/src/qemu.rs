//! Runs an image in QEMU.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::board::Board;
use crate::firmware;

/// What a firmware did.
#[derive(Debug)]
pub struct Run {
    /// Exit code: 0 passed, 1 failed, 3 a fault of the core.
    pub code: i32,
    /// What it wrote to the standard output through semihosting: text, or defmt frames.
    pub stdout: Vec<u8>,
    /// What it, or QEMU, wrote to the standard error.
    pub stderr: String,
}

/// Far beyond what any program here takes on a busy machine; a firmware that hangs must still end.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Runs `image` with `folder` as the place of its files.
///
/// `-icount shift=6` makes an instruction 64 ns of the board's time, so that counts repeat exactly.
pub fn run(board: Board, image: &Path, folder: &Path) -> Result<Run> {
    let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
    let mut child = Command::new(board.emulator)
        .args(["-machine", board.machine, "-icount", "shift=6"])
        .args(["-bios", "none"])
        .args(["-display", "none", "-monitor", "none", "-serial", "none"])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(image)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?)
        .spawn()
        .with_context(|| {
            format!("cannot start {}\nhint: `cargo xtask test` installs it", board.emulator)
        })?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > TIMEOUT {
            child.kill()?;
            child.wait()?;
            bail!("{}: no end after {} s", image.display(), TIMEOUT.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    };
    let stderr = String::from_utf8_lossy(&std::fs::read(stderr)?).into_owned();
    let code = status.code().with_context(|| format!("QEMU was ended by a signal: {stderr}"))?;
    Ok(Run { code, stdout: std::fs::read(stdout)?, stderr })
}

/// Runs an image that reads and writes no files.
pub fn run_alone(board: Board, image: &Path) -> Result<Run> {
    run(board, image, tempfile::tempdir()?.path())
}

impl Run {
    /// The run itself, or what went wrong with it.
    pub fn passed(self) -> Result<Run> {
        match self.code {
            0 => Ok(self),
            3 => bail!("the core faulted: {}", self.stderr),
            code => bail!("the firmware failed with exit code {code}: {}", self.stderr),
        }
    }

    /// The log of a firmware that writes defmt frames.
    pub fn log(&self, image: &Path) -> Result<String> {
        let mut decoder = Command::new(firmware::log_decoder()?)
            .arg(image)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the log decoder")?;
        let mut stdin = decoder.stdin.take().context("the decoder reads its input")?;
        let frames = self.stdout.clone();
        let writer = thread::spawn(move || stdin.write_all(&frames));
        let output = decoder.wait_with_output()?;
        writer.join().ok().context("cannot hand frames to the decoder")??;
        if !output.status.success() {
            bail!("the log of {} cannot be decoded", image.display());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}
