//! Answers for a stored window on the device and explains the answer, through defmt.
#![no_std]
#![no_main]

use defmt_semihosting as _;
use firmware_common::answer;
use firmware_common::linked::Memory;
use firmware_riscv::exit;
use riscv_rt::entry;

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    // SAFETY: `main` runs once, and nothing else can name `MEMORY`.
    let memory = unsafe { (&raw mut MEMORY).as_mut_unchecked() };
    exit(answer::run(memory))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    exit(false)
}
