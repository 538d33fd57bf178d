//! Artifacts whose manifest nearly fits its tensors: refused, or a model that answers the same whatever its scratch held.
#![no_main]

use libfuzzer_sys::fuzz_target;
use simground_fuzz::manifest::with_artifact;
use simground_record::record;

fuzz_target!(|data: &[u8]| with_artifact(data, |model, scratch| {
    for value in [f32::NAN, 0.0, 1e9] {
        let window = vec![value; model.d_values()];
        let mut first = Vec::new();
        record(model, &window, scratch, &mut |word| first.push(word));
        scratch.fill(u32::MAX);
        let mut second = Vec::new();
        record(model, &window, scratch, &mut |word| second.push(word));
        assert!(first == second, "the scratch's content matters");
    }
    let extremes = vec![i16::MIN; model.padded_input()];
    let mut inference = model.infer_integers(&extremes, scratch).expect("the lengths fit");
    inference.checksums();
    inference.nearest::<5>();
    let _ = model.self_test(scratch);
}));
