//! A Cortex-M core: exit, faults, exact instruction counts and the stack's high-water mark.
#![no_std]

use core::hint::black_box;

// The critical section that defmt needs is linked only when the crate is named.
use cortex_m as _;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{ExceptionFrame, exception};
use firmware_common::measure::Probe;
use semihosting::process;

pub mod stack;

/// Exit code after a fault, which cortex-m-rt would answer with an endless loop.
pub const FAULT: i32 = 3;

/// Ends the emulation; the emulator's exit code is 0 when `passed`, else 1.
pub fn exit(passed: bool) -> ! {
    process::exit(i32::from(!passed))
}

/// The device's interrupts, none of which is ever enabled: one entry, because cortex-m-rt wants a table. Its default has an
/// entry for each interrupt that a core can have, a kilobyte and more of flash.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
pub static __INTERRUPTS: [usize; 1] = [0];

#[exception]
unsafe fn HardFault(_frame: &ExceptionFrame) -> ! {
    process::exit(FAULT)
}

#[exception]
unsafe fn DefaultHandler(_irqn: i16) {
    process::exit(FAULT)
}

/// Counts instructions with SysTick, which under `-icount shift=6` advances by a fixed number of ticks for each.
///
/// An instruction takes 64 ns of the emulator's time; a tick takes one period of the board's clock, always less than
/// that. On hardware, or without `-icount`, the figures would be time and not instructions.
pub struct Counter {
    syst: SYST,
    overhead_ticks: u32,
}

/// SysTick's frequency, as its ticks in the 8 microseconds that 125 instructions take.
const TICKS_PER_125_INSTRUCTIONS: u32 = if cfg!(feature = "microbit") {
    128 // 16 MHz
} else if cfg!(feature = "mps2-an505") {
    160 // 20 MHz
} else if cfg!(feature = "mps3-an547") {
    256 // 32 MHz
} else {
    200 // 25 MHz
};

impl Counter {
    /// Starts SysTick and measures what the measurement itself costs.
    pub fn new(mut syst: SYST) -> Self {
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(0x00ff_ffff);
        syst.clear_current();
        syst.enable_counter();
        let mut counter = Counter { syst, overhead_ticks: 0 };
        counter.overhead_ticks = counter.ticks(|| ()).unwrap_or(0);
        counter
    }

    /// True when a loop of known length counts as what it is: `-icount` is on and the board's clock is as assumed.
    pub fn is_exact(&mut self) -> bool {
        const ITERATIONS: u32 = 10_000;
        let counted = self.instructions(|| spin(black_box(ITERATIONS)));
        // Two instructions an iteration, and a few for the call.
        counted.is_some_and(|counted| (0..16).contains(&counted.wrapping_sub(2 * ITERATIONS)))
    }

    #[inline(never)]
    fn ticks(&mut self, work: impl FnOnce()) -> Option<u32> {
        self.syst.clear_current();
        // Reading the register clears its wrapped flag.
        self.syst.has_wrapped();
        let start = SYST::get_current();
        work();
        let end = SYST::get_current();
        let wrapped = self.syst.has_wrapped() && end > start;
        (!wrapped).then(|| start.wrapping_sub(end) & 0x00ff_ffff)
    }
}

impl Probe for Counter {
    fn instructions(&mut self, work: impl FnOnce()) -> Option<u32> {
        let ticks = self.ticks(work)?.saturating_sub(self.overhead_ticks);
        let instructions = u64::from(ticks) * 125 / u64::from(TICKS_PER_125_INSTRUCTIONS);
        u32::try_from(instructions).ok()
    }

    fn stack_bytes(&mut self, work: impl FnOnce()) -> Option<usize> {
        stack::high_water(work)
    }
}

#[inline(never)]
fn spin(iterations: u32) {
    // SAFETY: touches nothing but its own register and the flags.
    unsafe {
        core::arch::asm!("2: subs {0}, #1", "bne 2b", inout(reg) iterations => _);
    }
}
