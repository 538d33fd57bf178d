//! Compares this core's kernels with their definition.
#![no_std]
#![no_main]

use firmware_common::kernels::{self, Operands};
use firmware_riscv::exit;
use riscv_rt::entry;
use semihosting::{eprintln, println};

#[entry]
fn main() -> ! {
    static mut OPERANDS: Operands = Operands::new();
    // SAFETY: `main` runs once, and nothing else can name `OPERANDS`.
    let operands = unsafe { (&raw mut OPERANDS).as_mut_unchecked() };
    match kernels::run(operands) {
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
