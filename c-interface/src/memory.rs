//! The caller's memory: what C hands over as pointers, checked, and the three objects that live in it.

use core::mem::{MaybeUninit, offset_of};
use core::slice;

use simground_runtime::{Additions, Attribution, GrownAttribution, Inference, Model};

use crate::SIMGROUND_MAX_NEAREST;
use crate::status::simground_status::{self, SIMGROUND_NOT_READY, SIMGROUND_POINTER};

/// What a pointer of C's points to.
///
/// # Safety
///
/// When not null, `pointer` points to a `T` that may be written and that nothing else uses during the call.
pub(crate) unsafe fn address<'c, T>(pointer: *mut T) -> Result<&'c mut T, simground_status> {
    if !pointer.is_aligned() {
        return Err(SIMGROUND_POINTER);
    }
    // SAFETY: the caller's promise, and the alignment just checked.
    unsafe { pointer.as_mut() }.ok_or(SIMGROUND_POINTER)
}

/// An array of C's that is read. Null is an empty array when `length` is 0.
///
/// # Safety
///
/// When not null, `pointer` points to `length` of `T` that nothing writes as long as the slice is used.
pub(crate) unsafe fn array<'c, T>(
    pointer: *const T,
    length: usize,
) -> Result<&'c [T], simground_status> {
    if length == 0 {
        return Ok(&[]);
    }
    let fits = length <= isize::MAX.unsigned_abs() / size_of::<T>().max(1);
    if pointer.is_null() || !pointer.is_aligned() || !fits {
        return Err(SIMGROUND_POINTER);
    }
    // SAFETY: the caller's promise; not null, aligned, and no longer than any object can be.
    Ok(unsafe { slice::from_raw_parts(pointer, length) })
}

/// An array of C's that is written. Null is an empty array when `length` is 0.
///
/// # Safety
///
/// When not null, `pointer` points to `length` of `T` that nothing else uses as long as the slice is used.
pub(crate) unsafe fn array_mut<'c, T>(
    pointer: *mut T,
    length: usize,
) -> Result<&'c mut [T], simground_status> {
    if length == 0 {
        return Ok(&mut []);
    }
    let fits = length <= isize::MAX.unsigned_abs() / size_of::<T>().max(1);
    if pointer.is_null() || !pointer.is_aligned() || !fits {
        return Err(SIMGROUND_POINTER);
    }
    // SAFETY: the caller's promise; not null, aligned, and no longer than any object can be.
    Ok(unsafe { slice::from_raw_parts_mut(pointer, length) })
}

/// What an object's memory holds: whether it was made, and the value if it was.
#[repr(C)]
struct Filled<T> {
    ready: u64,
    value: MaybeUninit<T>,
}

// The sizes are written out, because the header's generator reads source and not types.

/// Size of a `simground_model` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "64")]
pub const SIMGROUND_MODEL_WORDS: usize = 136;
/// Size of a `simground_model` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "32")]
pub const SIMGROUND_MODEL_WORDS: usize = 112;

/// Size of a `simground_inference` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "64")]
pub const SIMGROUND_INFERENCE_WORDS: usize = 12;
/// Size of a `simground_inference` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "32")]
pub const SIMGROUND_INFERENCE_WORDS: usize = 8;

/// Size of a `simground_attribution` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "64")]
pub const SIMGROUND_ATTRIBUTION_WORDS: usize = 80;
/// Size of a `simground_attribution` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "32")]
pub const SIMGROUND_ATTRIBUTION_WORDS: usize = 72;

/// Size of a `simground_additions` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "64")]
pub const SIMGROUND_ADDITIONS_WORDS: usize = 20;
/// Size of a `simground_additions` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "32")]
pub const SIMGROUND_ADDITIONS_WORDS: usize = 16;

/// Size of a `simground_grown` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "64")]
pub const SIMGROUND_GROWN_WORDS: usize = 128;
/// Size of a `simground_grown` in words of 64 bits, with room to grow.
#[cfg(target_pointer_width = "32")]
pub const SIMGROUND_GROWN_WORDS: usize = 112;

/// A model: an artifact whose every bound is proved. The caller's memory; static, or zeroed before its first use.
#[repr(C)]
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_model {
    /// Not for the caller.
    opaque: [MaybeUninit<u64>; SIMGROUND_MODEL_WORDS],
}

/// What the network made of one window. The caller's memory; static, or zeroed before its first use.
#[repr(C)]
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_inference {
    /// Not for the caller.
    opaque: [MaybeUninit<u64>; SIMGROUND_INFERENCE_WORDS],
}

/// The explanation of one answer. The caller's memory; static, or zeroed before its first use.
#[repr(C)]
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_attribution {
    /// Not for the caller.
    opaque: [MaybeUninit<u64>; SIMGROUND_ATTRIBUTION_WORDS],
}

/// Labeled windows beside a model's artifact. The caller's memory; static, or zeroed before its first use.
#[repr(C)]
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_additions {
    /// Not for the caller.
    opaque: [MaybeUninit<u64>; SIMGROUND_ADDITIONS_WORDS],
}

/// The explanation of one answer by both parts of the bank. The caller's memory; static, or zeroed before its first use.
#[repr(C)]
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_grown {
    /// Not for the caller.
    opaque: [MaybeUninit<u64>; SIMGROUND_GROWN_WORDS],
}

macro_rules! object {
    ($name:ident, $words:ident, $content:ty, $ready:literal) => {
        const _: () = {
            assert!(
                size_of::<Filled<$content>>() <= size_of::<$name>(),
                "the object outgrew its memory"
            );
            assert!(
                align_of::<Filled<$content>>() <= align_of::<$name>(),
                "the object outgrew its alignment"
            );
        };

        impl $name {
            /// Memory that holds nothing yet.
            pub const fn new() -> Self {
                $name { opaque: [MaybeUninit::new(0); $words] }
            }

            /// Says that the memory holds nothing.
            pub(crate) fn clear(&mut self) {
                self.opaque[0] = MaybeUninit::new(0);
            }

            /// Makes the object.
            pub(crate) fn store(&mut self, content: $content) {
                let filled = (&raw mut *self).cast::<Filled<$content>>();
                let content = Filled { ready: $ready, value: MaybeUninit::new(content) };
                // SAFETY: size and alignment are asserted above; the old content needs no drop.
                unsafe { filled.write(content) };
            }

            /// Where the object is that was made here.
            ///
            /// # Safety
            ///
            /// When not null, `pointer` points to a `Self` that holds zeros or was passed to the function that makes it.
            pub(crate) unsafe fn made(
                pointer: *mut Self,
            ) -> Result<*mut $content, simground_status> {
                if pointer.is_null() || !pointer.is_aligned() {
                    return Err(SIMGROUND_POINTER);
                }
                // SAFETY: not null, aligned, and initialized by the caller's promise.
                let ready = unsafe { pointer.cast::<u64>().read() };
                let value = pointer.wrapping_byte_add(offset_of!(Filled<$content>, value)).cast();
                if ready == $ready { Ok(value) } else { Err(SIMGROUND_NOT_READY) }
            }

            /// The object that was made here, to be read.
            ///
            /// # Safety
            ///
            /// As for `made`; nothing changes the object during the call, and what it uses is still there.
            pub(crate) unsafe fn get<'c>(
                pointer: *const Self,
            ) -> Result<&'c $content, simground_status> {
                // SAFETY: the caller's promise.
                let made = unsafe { Self::made(pointer.cast_mut()) }?;
                // SAFETY: only `store` writes the mark that `made` found, together with the value.
                Ok(unsafe { &*made })
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

object!(simground_model, SIMGROUND_MODEL_WORDS, Model<'static>, 0x7369_6d67_6d6f_6465);
object!(
    simground_inference,
    SIMGROUND_INFERENCE_WORDS,
    Inference<'static, 'static, 'static>,
    0x7369_6d67_696e_6665
);
object!(
    simground_attribution,
    SIMGROUND_ATTRIBUTION_WORDS,
    Attribution<'static, SIMGROUND_MAX_NEAREST>,
    0x7369_6d67_6174_7472
);
object!(simground_additions, SIMGROUND_ADDITIONS_WORDS, Additions<'static>, 0x7369_6d67_6164_6469);
object!(
    simground_grown,
    SIMGROUND_GROWN_WORDS,
    GrownAttribution<'static, SIMGROUND_MAX_NEAREST>,
    0x7369_6d67_6772_6f77
);
