//! What computes: the CPU, or a GPU that burn drives; and what happens when a driver is missing or gives up.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use burn::tensor::Device;
#[cfg(feature = "wgpu")]
use burn::tensor::wgpu::WgpuBackend;
use serde::{Deserialize, Serialize};

use super::TrainingError;
use super::graph::Graph;

/// What computes the steps of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// The CPU: [`Stack`](super::Stack), with burn-flex to check it.
    #[default]
    Flex,
    /// burn-ndarray, deprecated by burn; needs the feature `ndarray`.
    NdArray,
    /// A GPU through wgpu (Vulkan, Metal, Direct3D 12); needs the feature `wgpu`.
    Wgpu,
    /// An NVIDIA GPU through CUDA; needs the feature `cuda`.
    Cuda,
}

impl Backend {
    /// Every backend, built in or not.
    pub const ALL: [Backend; 4] = [Backend::Flex, Backend::NdArray, Backend::Wgpu, Backend::Cuda];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Flex => "flex",
            Backend::NdArray => "ndarray",
            Backend::Wgpu => "wgpu",
            Backend::Cuda => "cuda",
        }
    }

    /// Whether this build has it.
    pub fn is_built_in(self) -> bool {
        match self {
            Backend::Flex => true,
            Backend::NdArray => cfg!(feature = "ndarray"),
            Backend::Wgpu => cfg!(feature = "wgpu"),
            Backend::Cuda => cfg!(feature = "cuda"),
        }
    }

    /// burn's device for it.
    ///
    /// # Errors
    ///
    /// [`TrainingError::Config`] when this build lacks the backend, [`TrainingError::Device`] when the machine lacks what it needs.
    pub(super) fn device(self) -> Result<Device, TrainingError> {
        match self {
            Backend::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "kept for those who compare the two CPU backends")]
            Backend::NdArray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => wgpu(),
            #[cfg(feature = "cuda")]
            Backend::Cuda => self.guard(|| Device::cuda(0)),
            #[allow(unreachable_patterns, reason = "what the features above leave")]
            _ => Err(TrainingError::Config {
                message: format!(
                    "this build has no backend `{0}`\nhint: build with `--features {0}`, or use {1}",
                    self.name(),
                    self.others()
                ),
            }),
        }
    }

    /// Computes what a driver may end with a panic, which becomes an error. The CPU is trusted.
    pub(super) fn guard<T>(self, compute: impl FnOnce() -> T) -> Result<T, TrainingError> {
        if matches!(self, Backend::Flex | Backend::NdArray) {
            return Ok(compute());
        }
        // What was being computed is dropped with the error: nobody sees it half done.
        quietly(|| catch_unwind(AssertUnwindSafe(compute))).map_err(|payload| {
            let said = payload.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| payload.downcast_ref::<&str>().copied());
            self.failed(said.unwrap_or("the driver gave up"))
        })
    }

    /// The error for a device that is missing or whose driver gave up, from what it said.
    pub fn failed(self, message: &str) -> TrainingError {
        TrainingError::Device {
            backend: self.name(),
            message: message.to_owned(),
            others: self.others(),
        }
    }

    /// The options of this build that do without this backend.
    fn others(self) -> String {
        let others = Backend::ALL.into_iter().filter(|other| *other != self && other.is_built_in());
        let options: Vec<String> =
            others.map(|other| format!("`--backend {}`", other.name())).collect();
        options.join(" or ")
    }
}

/// Opens the device of a backend and has it compute a gradient.
///
/// # Errors
///
/// [`TrainingError::Config`] for a backend that is not built in, [`TrainingError::Device`] for one that does not compute. A driver that
/// crashes or hangs is no error but the end: who cannot afford that asks in a process of its own.
pub fn probe(backend: Backend) -> Result<(), TrainingError> {
    let graph = Graph { layers: vec![(2, 2), (2, 1)], device: backend.device()? };
    let parameters = [1.0, 2.0, 3.0, 4.0, 0.5, 0.5, 1.0, -1.0, 0.0];
    let mut gradient = [0.0; 9];
    backend.guard(|| {
        graph.gradient(&parameters, &[1.0, 1.0], &mut gradient, |_, _, by_output| {
            by_output[0] = 1.0
        });
    })?;
    if gradient == [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 4.5, 6.5, 1.0] {
        return Ok(());
    }
    Err(backend.failed(&format!("a first gradient is wrong: {gradient:?}")))
}

thread_local! {
    /// Whether a panic of this thread becomes an error.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Computes without the lines that a panic prints on its way: the error says what it said.
fn quietly<T>(compute: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CAUGHT.get() {
                usual(info);
            }
        }));
    });
    let outer = CAUGHT.replace(true);
    let value = compute();
    CAUGHT.set(outer);
    value
}

/// The device of wgpu's choice, opened once in the life of a process.
///
/// On Linux only a device of Vulkan: wgpu would go on to OpenGL on the processor, which is slower than training there.
#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device, TrainingError> {
    static DEVICE: std::sync::OnceLock<Result<Device, String>> = std::sync::OnceLock::new();
    let options = || match Device::wgpu_options() {
        options if cfg!(target_os = "linux") => options.graphics_api(WgpuBackend::Vulkan),
        options => options,
    };
    let open = || match Backend::Wgpu.guard(|| options().init()) {
        Ok(device) => device.map_err(|error| error.to_string()),
        Err(TrainingError::Device { message, .. }) => Err(message),
        Err(error) => Err(error.to_string()),
    };
    DEVICE.get_or_init(open).clone().map_err(|message| Backend::Wgpu.failed(&message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_is_not_built_in_names_those_that_are() {
        for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_built_in()) {
            let error = backend.device().expect_err("not built in").to_string();
            let name = backend.name();
            assert!(error.contains(&format!("no backend `{name}`")), "{error}");
            assert!(
                error.contains(&format!("--features {name}, or use"))
                    || error.contains("`--backend flex`"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_backends_of_this_build_that_need_no_driver_compute() {
        for backend in [Backend::Flex, Backend::NdArray].into_iter().filter(|b| b.is_built_in()) {
            probe(backend).unwrap();
        }
    }

    #[test]
    fn a_panic_of_a_driver_is_an_error_that_names_what_works() {
        let error = Backend::Wgpu.guard(|| panic!("device {}", "lost")).unwrap_err().to_string();
        assert!(error.contains("wgpu: device lost"), "{error}");
        assert!(error.contains("hint:") && error.contains("`--backend flex`"), "{error}");
    }
}
