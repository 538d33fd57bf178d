//! The runtime alone, with everything that the heads say of theta: does not link when a panic is reachable.
#![no_std]
#![no_main]

use firmware_common::bare;
use firmware_common::linked::Memory;
use firmware_riscv as _;
use riscv_rt::entry;

unsafe extern "C" {
    fn a_panic_is_reachable_from_the_runtime() -> !;
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never called, because a program that could call it does not link.
    unsafe { a_panic_is_reachable_from_the_runtime() }
}

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    // SAFETY: `main` runs once, and nothing else can name `MEMORY`.
    let memory = unsafe { (&raw mut MEMORY).as_mut_unchecked() };
    bare::theta(memory);
    loop {
        riscv::asm::wfi();
    }
}
