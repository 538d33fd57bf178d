//! MicroFlow behind the harness's C function: quantized inputs, dequantized answers, the only public way with integers.
#![no_std]

use microflow::model;

#[model("model.tflite")]
struct Network;

/// Makes cargo build again when the model changes, of which the macro does not tell it.
const _: &[u8] = include_bytes!("model.tflite");

#[no_mangle]
extern "C" fn peer_run(input: *const i8, output: *mut f32) {
    // The caller's arrays have a place for each input and each output of the model.
    let input = nalgebra::SMatrix::from_fn(|_, i| unsafe { *input.add(i) });
    for (i, answer) in Network::predict_quantized(input).iter().enumerate() {
        unsafe { *output.add(i) = *answer };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
