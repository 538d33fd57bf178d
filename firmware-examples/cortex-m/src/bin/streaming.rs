//! Reads a sensor sample by sample and answers once a day, so that the host can compare bit for bit.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use firmware_common::linked::Memory;
use firmware_common::streaming::{self, Page};
use firmware_cortex_m::exit;
use semihosting::{eprintln, println};

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    static mut PAGE: Page = Page::new();
    match streaming::run(MEMORY, PAGE) {
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
