//! Answers for every window of `inputs.bin` into `outputs.bin`, both on the debugger's side of semihosting.
//!
//! Little-endian words. `inputs.bin`: for each linked artifact in turn, the number of windows, then their values.
//! `outputs.bin`: the record of each window, one after the other, and behind one in four that of a step of growth.

use semihosting::fs::File;
use semihosting::io::{Read, Result, Write};
pub use simground_record::growth::Growth;
use simground_record::record;
use simground_runtime::Model;

use crate::linked::{LINKED, Memory};

/// Answers for every stored window; the number of windows, or the text of what went wrong.
pub fn run(memory: &mut Memory, growth: &mut Growth) -> core::result::Result<u32, &'static str> {
    let mut inputs = File::open(c"inputs.bin").map_err(|_| "cannot open inputs.bin")?;
    let outputs = File::create(c"outputs.bin").map_err(|_| "cannot create outputs.bin")?;
    let mut outputs = Buffered::new(outputs);
    let mut total = 0;
    for linked in LINKED {
        let model = Model::from_bytes(linked.bytes).map_err(|_| "artifact refused")?;
        let x = memory.x.get_mut(..model.d_values()).ok_or("window too long for this example")?;
        *growth = Growth::new();
        let num_windows = read_word(&mut inputs).map_err(|_| "inputs.bin is too short")?;
        for _ in 0..num_windows {
            read_window(&mut inputs, x).map_err(|_| "inputs.bin is too short")?;
            let mut written = Ok(());
            let mut write = |word| {
                if written.is_ok() {
                    written = outputs.word(word);
                }
            };
            record(&model, x, &mut memory.scratch, &mut write);
            growth.step(&model, x, &mut memory.scratch, &mut write);
            written.map_err(|_| "cannot write outputs.bin")?;
        }
        total += num_windows;
    }
    outputs.flush().map_err(|_| "cannot write outputs.bin")?;
    Ok(total)
}

fn read_word(inputs: &mut File) -> Result<u32> {
    let mut bytes = [0; 4];
    inputs.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_window(inputs: &mut File, x: &mut [f32]) -> Result<()> {
    let mut bytes = [0; 128];
    for values in x.chunks_mut(bytes.len() / 4) {
        let bytes = &mut bytes[..values.len() * 4];
        inputs.read_exact(bytes)?;
        for (value, word) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_bits(u32::from_le_bytes(*word));
        }
    }
    Ok(())
}

/// Gathers words into few calls: each stops the core.
pub(crate) struct Buffered {
    file: File,
    bytes: [u8; 512],
    len: usize,
}

impl Buffered {
    pub(crate) fn new(file: File) -> Self {
        Buffered { file, bytes: [0; 512], len: 0 }
    }

    pub(crate) fn word(&mut self, word: u32) -> Result<()> {
        self.bytes[self.len..self.len + 4].copy_from_slice(&word.to_le_bytes());
        self.len += 4;
        if self.len == self.bytes.len() { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.bytes[..self.len])?;
        self.len = 0;
        Ok(())
    }
}
