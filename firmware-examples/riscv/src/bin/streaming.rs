//! Reads a sensor sample by sample and answers once a day, so that the host can compare bit for bit.
#![no_std]
#![no_main]

use firmware_common::linked::Memory;
use firmware_common::streaming::{self, Page};
use firmware_riscv::exit;
use riscv_rt::entry;
use semihosting::{eprintln, println};

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    // SAFETY: `main` runs once, and nothing else can name `MEMORY`.
    let memory = unsafe { (&raw mut MEMORY).as_mut_unchecked() };
    static mut PAGE: Page = Page::new();
    // SAFETY: as above.
    let page = unsafe { (&raw mut PAGE).as_mut_unchecked() };
    match streaming::run(memory, page) {
        Ok(num_days) => println!("{num_days} days"),
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
