//! The runtime alone, with attribution: does not link when a panic is reachable.
#![no_std]
#![no_main]

use firmware_common::bare;
use firmware_common::linked::Memory;
use firmware_riscv as _;
use riscv_rt::entry;

firmware_common::a_panic_does_not_link!();

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    // SAFETY: `main` runs once, and nothing else can name `MEMORY`.
    let memory = unsafe { (&raw mut MEMORY).as_mut_unchecked() };
    bare::explain(memory);
    loop {
        riscv::asm::wfi();
    }
}
