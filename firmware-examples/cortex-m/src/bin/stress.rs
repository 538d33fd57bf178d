//! Answers for every window of `inputs.bin`, so that the host can compare bit for bit.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use firmware_common::linked::Memory;
use firmware_common::stress::{self, Growth};
use firmware_cortex_m::exit;
use semihosting::{eprintln, println};

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    static mut GROWTH: Growth = Growth::new();
    match stress::run(MEMORY, GROWTH) {
        Ok(num_windows) => println!("{num_windows} windows"),
        Err(error) => {
            eprintln!("{error}");
            exit(false)
        }
    }
    exit(true)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    exit(false)
}
