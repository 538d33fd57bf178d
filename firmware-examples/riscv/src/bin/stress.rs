//! Answers for every window of `inputs.bin`, so that the host can compare bit for bit.
#![no_std]
#![no_main]

use firmware_common::linked::Memory;
use firmware_common::stress::{self, Growth};
use firmware_riscv::exit;
use riscv_rt::entry;
use semihosting::{eprintln, println};

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    // SAFETY: `main` runs once, and nothing else can name `MEMORY`.
    let memory = unsafe { (&raw mut MEMORY).as_mut_unchecked() };
    static mut GROWTH: Growth = Growth::new();
    // SAFETY: as above.
    let growth = unsafe { (&raw mut GROWTH).as_mut_unchecked() };
    match stress::run(memory, growth) {
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
