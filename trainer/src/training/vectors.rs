//! Loops compiled for the vector units of the processor at hand, chosen when the program runs.
//!
//! **Invariant:** the choice changes no bit. What is computed this way is a fixed sequence of additions, multiplications, fused
//! multiply-adds, divisions and roots, each rounded once by definition, in vectors of any width.

/// Runs `work` with the widest vectors the processor has.
///
/// `work` must be `#[inline(always)]`, and so must all it calls: a function compiled on its own knows only the vectors that every
/// processor of its architecture has.
#[inline]
pub(super) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    match width() {
        // SAFETY: `width` found the processor to have every feature of `avx512`.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { avx512(work) },
        // SAFETY: `width` found the processor to have every feature of `avx2`.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { avx2(work) },
        Width::Baseline => work(),
    }
}

/// Whether the 128 numbers of two rows of a tile fit the registers of [`vectorized`].
pub(super) fn has_many_registers() -> bool {
    #[cfg(target_arch = "x86_64")]
    return width() == Width::Avx512;
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// What code can be compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    /// Every processor of this architecture.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

#[inline]
fn width() -> Width {
    // The standard library remembers what it finds: each is a load and a comparison.
    #[cfg(target_arch = "x86_64")]
    let found = if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("fma")
    {
        Width::Avx512
    } else if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("fma")
    {
        Width::Avx2
    } else {
        Width::Baseline
    };
    #[cfg(not(target_arch = "x86_64"))]
    let found = Width::Baseline;
    #[cfg(test)]
    let found = found.min(test::LIMIT.get());
    found
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,fma")]
fn avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,fma")]
fn avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Lets a test run what narrower processors run.
#[cfg(test)]
pub(super) mod test {
    use std::cell::Cell;

    use super::Width;

    #[cfg(target_arch = "x86_64")]
    pub const WIDTHS: &[Width] = &[Width::Baseline, Width::Avx2, Width::Avx512];
    #[cfg(not(target_arch = "x86_64"))]
    pub const WIDTHS: &[Width] = &[Width::Baseline];

    thread_local! {
        pub static LIMIT: Cell<Width> = const { Cell::new(WIDTHS[WIDTHS.len() - 1]) };
    }
}
