//! The stack's high-water mark, by painting what lies below it.

use core::ptr;

const PAINT: u32 = 0x5a5a_a5a5;
/// Left unpainted, for the frames of the painting itself.
const MARGIN_BYTES: usize = 64;

unsafe extern "C" {
    /// First word above the statics, from cortex-m-rt's linker script: the stack grows down to it.
    static mut _stack_end: u32;
}

/// Bytes of stack that `work` uses below the caller's frame, to the word; `None` when it reached the statics.
#[inline(never)]
pub fn high_water(work: impl FnOnce()) -> Option<usize> {
    let top = cortex_m::register::msp::read() as usize;
    let bottom = &raw mut _stack_end as usize;
    let painted_end = top - MARGIN_BYTES;
    for address in (bottom..painted_end).step_by(4) {
        // SAFETY: aligned, above every static, and below every live frame: interrupts are off and `work` has not begun.
        unsafe { ptr::write_volatile(address as *mut u32, PAINT) };
    }
    work();
    let mut address = bottom;
    while address < painted_end {
        // SAFETY: the words painted above.
        let word = unsafe { ptr::read_volatile(address as *const u32) };
        if word != PAINT {
            break;
        }
        address += 4;
    }
    (address > bottom).then_some(top - address)
}
