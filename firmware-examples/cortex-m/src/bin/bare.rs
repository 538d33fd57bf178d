//! The runtime alone, with attribution: does not link when a panic is reachable, and is what flash sizes are taken of.
#![no_std]
#![no_main]

use core::hint::black_box;

use cortex_m_rt::entry;
use firmware_common::linked::{LINKED, Memory};
use simground_record::NEAREST;
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
        if let Ok(mut inference) = model.infer(black_box(x), black_box(scratch)) {
            black_box(inference.outputs());
            black_box(inference.mechanism_posterior());
            black_box(inference.quantiles(black_box(0)));
            black_box(inference.attribute::<NEAREST>());
        }
    }
    loop {
        cortex_m::asm::wfi();
    }
}
