//! Tests compiled models and counts their instructions and stack, as JSON lines.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use firmware_common::compiled;
use firmware_common::linked::Memory;
use firmware_cortex_m::{Counter, exit};
use semihosting::eprintln;

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    let Some(peripherals) = cortex_m::Peripherals::take() else { exit(false) };
    let mut counter = Counter::new(peripherals.SYST);
    if !counter.is_exact() {
        eprintln!("the counter is not exact: run under `-icount shift=6`");
        exit(false)
    }
    exit(compiled::run(MEMORY, &mut counter))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    exit(false)
}
