//! `log-decoder ELF`: defmt frames on stdin, one line of text for each on stdout.

use std::io::{Read, Write};
use std::{env, fs, io};

use anyhow::{Context, Result, bail};
use defmt_decoder::{DecodeError, Table};

fn main() -> Result<()> {
    let path = env::args_os().nth(1).context("usage: log-decoder ELF")?;
    let elf = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(table) = Table::parse(&elf)? else {
        bail!("{}: no defmt symbols: the firmware logs nothing", path.display());
    };
    let mut frames = Vec::new();
    io::stdin().read_to_end(&mut frames)?;
    let mut decoder = table.new_stream_decoder();
    decoder.received(&frames);
    let mut stdout = io::stdout().lock();
    loop {
        match decoder.decode() {
            Ok(frame) => writeln!(stdout, "{}", frame.display(false))?,
            Err(DecodeError::UnexpectedEof) => return Ok(()),
            Err(DecodeError::Malformed) => bail!("malformed frame"),
        }
    }
}
