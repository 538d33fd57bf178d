//! A compiled model alone, from quantized inputs to integer outputs.
#![no_std]
#![no_main]

use firmware_common::compiled;
use firmware_common::linked::Memory;
use firmware_riscv as _;
use riscv_rt::entry;

firmware_common::a_panic_does_not_link!();

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    // SAFETY: `main` runs once, and nothing else can name `MEMORY`.
    let memory = unsafe { (&raw mut MEMORY).as_mut_unchecked() };
    compiled::integers(memory);
    loop {
        riscv::asm::wfi();
    }
}
