//! The runtime alone, integer outputs only: the smallest useful firmware.
#![no_std]
#![no_main]

use core::hint::black_box;

use cortex_m_rt::entry;
use firmware_common::linked::{LINKED, Memory};
use simground_runtime::Model;

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
    for linked in LINKED {
        let Ok(model) = Model::from_bytes(black_box(linked.bytes)) else {
            continue;
        };
        let Some((x, scratch)) = MEMORY.load(linked, model.d_values()) else {
            continue;
        };
        if let Ok(inference) = model.infer(black_box(x), black_box(scratch)) {
            black_box(inference.outputs());
        }
    }
    loop {
        cortex_m::asm::wfi();
    }
}
