//! The artifacts in this image, and the memory that the examples lend to the runtime.

/// An artifact in flash, with the window that the examples ask it about.
pub struct Linked {
    /// The artifact's file name without its extension.
    pub name: &'static str,
    /// The artifact.
    pub bytes: &'static [u8],
    /// Bits of the window's values; empty when every value is missing.
    pub window: &'static [u32],
}

include!(concat!(env!("OUT_DIR"), "/linked.rs"));

/// Longest window that the examples handle.
pub const MAX_D_VALUES: usize = 512;
/// Scratch that the examples lend: with the stack beside it, a 16 KiB microcontroller still holds it.
pub const SCRATCH_WORDS: usize = 1536;

/// Memory of one example: static, so that the stack's high-water mark counts the runtime's own needs.
pub struct Memory {
    /// The window.
    pub x: [f32; MAX_D_VALUES],
    /// A window that is quantized already.
    pub quantized: [i16; MAX_D_VALUES],
    /// The runtime's scratch.
    pub scratch: [u32; SCRATCH_WORDS],
}

impl Memory {
    /// Zeroed memory, which costs no flash.
    pub const fn new() -> Self {
        Memory { x: [0.0; MAX_D_VALUES], quantized: [0; MAX_D_VALUES], scratch: [0; SCRATCH_WORDS] }
    }

    /// Copies the stored window of `linked` and lends it with the scratch; `None` when `d_values` is too long.
    pub fn load(&mut self, linked: &Linked, d_values: usize) -> Option<(&[f32], &mut [u32])> {
        let x = self.x.get_mut(..d_values)?;
        x.fill(f32::NAN);
        for (value, bits) in x.iter_mut().zip(linked.window) {
            *value = f32::from_bits(*bits);
        }
        Some((x, &mut self.scratch))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}
