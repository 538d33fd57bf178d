//! Tests compiled models and counts their instructions and stack, as JSON lines.
#![no_std]
#![no_main]

use firmware_common::compiled;
use firmware_common::linked::Memory;
use firmware_riscv::{Counter, exit};
use riscv_rt::entry;
use semihosting::eprintln;

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    // SAFETY: `main` runs once, and nothing else can name `MEMORY`.
    let memory = unsafe { (&raw mut MEMORY).as_mut_unchecked() };
    let mut counter = Counter::new();
    if !counter.is_exact() {
        eprintln!("the counter is not exact: run under `-icount shift=6`");
        exit(false)
    }
    exit(compiled::run(memory, &mut counter))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    exit(false)
}
