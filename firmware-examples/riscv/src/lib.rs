//! An RV32IMC core: exit, faults, exact instruction counts and the stack's high-water mark.
#![no_std]

use core::arch::asm;
use core::hint::black_box;
use core::ptr;

use firmware_common::measure::Probe;
// The critical section that defmt needs is linked only when the crate is named.
use riscv as _;
use semihosting::process;

/// Exit code after a fault, which riscv-rt would answer with an endless loop.
pub const FAULT: i32 = 3;

/// Ends the emulation; the emulator's exit code is 0 when `passed`, else 1.
pub fn exit(passed: bool) -> ! {
    process::exit(i32::from(!passed))
}

#[unsafe(export_name = "ExceptionHandler")]
fn exception_handler(_frame: &riscv_rt::TrapFrame) -> ! {
    process::exit(FAULT)
}

/// Counts instructions with `minstret`.
///
/// Under `-icount shift=6` QEMU gives the emulator's time there, 64 ns an instruction.
pub struct Counter {
    overhead: u32,
}

impl Counter {
    /// Measures what the measurement itself costs.
    pub fn new() -> Self {
        let mut counter = Counter { overhead: 0 };
        counter.overhead = counter.count(|| ());
        counter
    }

    /// True when a loop of known length counts as what it is.
    pub fn is_exact(&mut self) -> bool {
        const ITERATIONS: u32 = 10_000;
        let counted = self.instructions(|| spin(black_box(ITERATIONS)));
        // Two instructions an iteration, and a few for the call.
        counted.is_some_and(|counted| (0..16).contains(&counted.wrapping_sub(2 * ITERATIONS)))
    }

    #[inline(never)]
    fn count(&mut self, work: impl FnOnce()) -> u32 {
        let start = minstret();
        work();
        minstret().wrapping_sub(start) / 64
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe for Counter {
    fn instructions(&mut self, work: impl FnOnce()) -> Option<u32> {
        Some(self.count(work).saturating_sub(self.overhead))
    }

    fn stack_bytes(&mut self, work: impl FnOnce()) -> Option<usize> {
        high_water(work)
    }
}

/// The low word: 67 million instructions of emulated time.
fn minstret() -> u32 {
    let value;
    // SAFETY: reads a counter.
    unsafe { asm!("csrr {0}, minstret", out(reg) value) };
    value
}

#[inline(never)]
fn spin(iterations: u32) {
    // SAFETY: touches nothing but its own register.
    unsafe {
        asm!("2: addi {0}, {0}, -1", "bnez {0}, 2b", inout(reg) iterations => _);
    }
}

const PAINT: u32 = 0x5a5a_a5a5;
/// Left unpainted, for the frames of the painting itself.
const MARGIN_BYTES: usize = 128;
/// Painted: far more than any example uses.
const PAINTED_BYTES: usize = 64 * 1024;

/// Bytes of stack that `work` uses below the caller's frame, to the word; `None` when it used all that was painted.
#[inline(never)]
fn high_water(work: impl FnOnce()) -> Option<usize> {
    let top: usize;
    // SAFETY: copies a register.
    unsafe { asm!("mv {0}, sp", out(reg) top) };
    let (bottom, painted_end) = (top - PAINTED_BYTES, top - MARGIN_BYTES);
    for address in (bottom..painted_end).step_by(4) {
        // SAFETY: aligned, far above every static, and below every live frame: interrupts are off and `work` has not begun.
        unsafe { ptr::write_volatile(address as *mut u32, PAINT) };
    }
    work();
    let mut address = bottom;
    while address < painted_end {
        // SAFETY: the words painted above.
        let word = unsafe { ptr::read_volatile(address as *const u32) };
        if word != PAINT {
            break;
        }
        address += 4;
    }
    (address > bottom).then_some(top - address)
}
