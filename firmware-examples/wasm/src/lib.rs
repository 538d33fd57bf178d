//! The runtime in WebAssembly, without imports: the host writes an artifact and windows into memory, calls
//! [`answer`], and reads the records.
#![no_std]

use simground_record::growth::Growth;
use simground_record::record;
use simground_runtime::Model;

/// Longest artifact in bytes.
pub const ARTIFACT_BYTES: usize = 1 << 18;
/// Most values in all windows of a call.
pub const WINDOW_VALUES: usize = 1 << 14;
/// Most words of scratch.
pub const SCRATCH_WORDS: usize = 1 << 14;
/// Most words in all records of a call.
pub const RECORD_WORDS: usize = 1 << 16;

#[repr(C, align(16))]
struct Memory {
    artifact: [u8; ARTIFACT_BYTES],
    windows: [f32; WINDOW_VALUES],
    scratch: [u32; SCRATCH_WORDS],
    records: [u32; RECORD_WORDS],
    growth: Growth,
}

static mut MEMORY: Memory = Memory {
    artifact: [0; ARTIFACT_BYTES],
    windows: [0.0; WINDOW_VALUES],
    scratch: [0; SCRATCH_WORDS],
    records: [0; RECORD_WORDS],
    growth: Growth::new(),
};

/// Where the host writes the artifact.
#[unsafe(no_mangle)]
pub extern "C" fn artifact() -> *mut u8 {
    (&raw mut MEMORY).cast()
}

/// Where the host writes the windows, one behind the other.
#[unsafe(no_mangle)]
pub extern "C" fn windows() -> *mut f32 {
    // SAFETY: takes an address; nothing is read.
    unsafe { &raw mut MEMORY.windows }.cast()
}

/// Where the host reads the records, one behind the other.
#[unsafe(no_mangle)]
pub extern "C" fn records() -> *const u32 {
    // SAFETY: takes an address; nothing is read.
    unsafe { &raw const MEMORY.records }.cast()
}

/// Answers for `num_windows` windows; the words written to the records, or -1 when something does not fit.
#[unsafe(no_mangle)]
pub extern "C" fn answer(artifact_bytes: usize, num_windows: usize) -> i32 {
    // SAFETY: WebAssembly has one thread, and no reference outlives a call.
    let memory = unsafe { (&raw mut MEMORY).as_mut_unchecked() };
    run(memory, artifact_bytes, num_windows).unwrap_or(-1)
}

fn run(memory: &mut Memory, artifact_bytes: usize, num_windows: usize) -> Option<i32> {
    let model = Model::from_bytes(memory.artifact.get(..artifact_bytes)?).ok()?;
    let scratch = memory.scratch.get_mut(..model.scratch_words())?;
    model.self_test(scratch).ok()?;
    let mut windows = memory.windows.chunks_exact(model.d_values());
    let mut records = memory.records.iter_mut();
    memory.growth = Growth::new();
    for _ in 0..num_windows {
        let mut fits = true;
        let mut write = |word| match records.next() {
            Some(record) => *record = word,
            None => fits = false,
        };
        let window = windows.next()?;
        record(&model, window, scratch, &mut write);
        memory.growth.step(&model, window, scratch, &mut write);
        if !fits {
            return None;
        }
    }
    i32::try_from(RECORD_WORDS - records.len()).ok()
}

#[cfg(target_family = "wasm")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

// Elsewhere the crate is only looked at, by the linter and the documentation.
#[cfg(not(target_family = "wasm"))]
extern crate std;
