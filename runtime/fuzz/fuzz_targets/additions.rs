//! Any region beside the golden artifact, as it is and with headers and checksums repaired: refused, or answers in bounds by both parts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use simground_fuzz::additions::with_region;
use simground_runtime::{Additions, Label};

fuzz_target!(|data: &[u8]| with_region(data, |model, additions, window| {
    let mut scratch = vec![0xdead_beef; model.scratch_words()];
    let mut weights = vec![0xdead_beef; additions.slots_used()];
    let mut inference = model.infer(window, &mut scratch).expect("a window");
    let mut record = [0; 32];
    for mechanism in [0, 3, 10] {
        let label = Label { count: 1 + u16::from(data[0]), ..Label::new(mechanism) };
        if let Ok(appended) = additions.label(&inference, &label, &mut record) {
            assert!(usize::from(appended.record) < additions.capacity());
        }
    }
    let answer = inference.attribute_with::<7>(additions, &mut weights).expect("fits");
    let total: f32 = answer.mechanism_posterior.iter().map(|share| share.probability).sum();
    assert!((total - 1.0).abs() < 1e-3);
    for share in &answer.mechanism_posterior {
        assert!(0.0 <= share.from_field && share.from_field <= share.probability);
    }
    for near in &answer.nearest {
        assert!(usize::from(near.mechanism) < additions.num_mechanisms());
        assert!((0.0..=1.0).contains(&near.weight));
    }
    for theta in answer.thetas() {
        assert!((0.0..=1.0).contains(&theta.present));
        assert!(theta.present == 0.0 || (theta.mean.is_finite() && theta.sd >= 0.0));
    }
    assert!(answer.novelty <= answer.novelty_of_both && answer.novelty_of_both <= 1.0);
    let mut other = vec![0; 32 + 32 * additions.capacity()];
    let written = additions.compact(&mut other).expect("what is in force has room");
    let compacted = Additions::from_bytes(model, &other).expect("a region");
    assert_eq!((compacted.broken(), compacted.slots_used()), (0, written));
    assert_eq!(compacted.iter().count(), additions.iter().count());
}));
