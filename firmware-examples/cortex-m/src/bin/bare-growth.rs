//! The runtime alone, with growth in the field: does not link when a panic is reachable.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use firmware_common::growth::{self, Field};
use firmware_common::linked::Memory;
use firmware_cortex_m as _;

firmware_common::a_panic_does_not_link!();

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    static mut FIELD: Field = Field::new();
    growth::explain(MEMORY, FIELD);
    loop {
        cortex_m::asm::wfi();
    }
}
