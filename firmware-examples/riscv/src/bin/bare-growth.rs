//! The runtime alone, with growth in the field: does not link when a panic is reachable.
#![no_std]
#![no_main]

use firmware_common::growth::{self, Field};
use firmware_common::linked::Memory;
use firmware_riscv as _;
use riscv_rt::entry;

firmware_common::a_panic_does_not_link!();

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    // SAFETY: `main` runs once, and nothing else can name `MEMORY`.
    let memory = unsafe { (&raw mut MEMORY).as_mut_unchecked() };
    static mut FIELD: Field = Field::new();
    // SAFETY: as above.
    let field = unsafe { (&raw mut FIELD).as_mut_unchecked() };
    growth::explain(memory, field);
    loop {
        riscv::asm::wfi();
    }
}
