//! A compiled model alone, from raw units to every answer and its attribution.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use firmware_common::compiled;
use firmware_common::linked::Memory;
use firmware_cortex_m as _;

firmware_common::a_panic_does_not_link!();

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    compiled::explain(MEMORY);
    loop {
        cortex_m::asm::wfi();
    }
}
