//! Any model that parses, any window: the attribution names prototypes of the bank, in order, with shares that add up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use simground_fuzz::with_model;

fuzz_target!(|data: &[u8]| with_model(data, |model, window, scratch| {
    let Some(bank) = model.manifest().bank.as_ref() else { return };
    let mut inference = model.infer(window, scratch).expect("the lengths fit");
    let ranked = inference.nearest::<7>().expect("there is a bank");
    let attribution = inference.attribute::<7>().expect("there is a bank");
    assert_eq!(ranked.len(), attribution.nearest.len());
    assert!(ranked.iter().map(|near| (near.squared_distance, near.prototype)).is_sorted());
    for (near, ranked) in attribution.nearest.iter().zip(&ranked) {
        assert_eq!(
            (near.prototype, near.squared_distance),
            (ranked.prototype, ranked.squared_distance)
        );
        assert!(near.prototype < bank.prototypes);
        assert!(usize::from(near.mechanism) < model.manifest().mechanisms.len());
        assert!((0.0..=1.0).contains(&near.weight));
    }
    assert!((attribution.mechanism_posterior.iter().sum::<f32>() - 1.0).abs() < 1e-3);
    assert!(attribution.novelty > 0.0 && attribution.novelty <= 1.0);
    for theta in attribution.thetas() {
        assert!((0.0..=1.0).contains(&theta.present));
        assert!(theta.present == 0.0 || (theta.mean.is_finite() && theta.sd >= 0.0));
    }
}));
