//! Answers for a stored window on the device and explains the answer, through defmt.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use defmt_semihosting as _;
use firmware_common::answer;
use firmware_common::linked::Memory;
use firmware_cortex_m::exit;

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    exit(answer::run(MEMORY))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    exit(false)
}
