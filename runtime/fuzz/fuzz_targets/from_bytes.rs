//! Any bytes, as they are and with the checksum repaired: an error, or a model whose self-test stays in bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use simground_fuzz::repair;
use simground_runtime::Model;

fuzz_target!(|data: &[u8]| {
    let _ = Model::from_bytes(data);
    let mut bytes = data.to_vec();
    repair(&mut bytes);
    if let Ok(model) = Model::from_bytes(&bytes) {
        let mut scratch = vec![0; model.scratch_words()];
        let _ = model.self_test(&mut scratch);
        // One word less is refused, never read.
        let less = scratch.len().saturating_sub(1);
        assert!(model.infer(&vec![0.0; model.d_values()], &mut scratch[..less]).is_err());
        assert_eq!(model.manifest().heads.iter().count(), model.manifest().heads.len());
    }
});
