//! Compares this core's kernels with their definition.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use firmware_common::kernels::{self, Operands};
use firmware_cortex_m::exit;
use semihosting::{eprintln, println};

#[entry]
fn main() -> ! {
    static mut OPERANDS: Operands = Operands::new();
    match kernels::run(OPERANDS) {
        Ok(comparisons) => println!("{comparisons} comparisons"),
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
