//! Any model that parses, any window: answers in bounds, the same for whatever the scratch held.
#![no_main]

use libfuzzer_sys::fuzz_target;
use simground_fuzz::with_model;
use simground_record::{Generator, record};

fuzz_target!(|data: &[u8]| with_model(data, |model, window, scratch| {
    let mut first = Vec::new();
    record(model, window, scratch, &mut |word| first.push(word));
    scratch.fill(u32::MAX);
    let mut second = Vec::new();
    record(model, window, scratch, &mut |word| second.push(word));
    assert!(first == second, "the scratch's content matters");
    let mut inference = model.infer(window, scratch).expect("the lengths fit");
    assert!(inference.output_values().all(f32::is_finite));
    if let Some(posterior) = inference.mechanism_posterior() {
        assert!((posterior.iter().sum::<f32>() - 1.0).abs() < 1e-3);
    }
    for quantiles in (0..).map_while(|target| inference.quantiles(target)) {
        assert!(quantiles.is_sorted());
    }
    if let Some(mut flow) = inference.flow() {
        let mut theta = vec![0.0; flow.parameters().len()];
        flow.sample(&mut Generator(3), &mut theta);
        for (parameter, theta) in flow.parameters().iter().zip(&theta) {
            assert!(parameter.low <= *theta && *theta <= parameter.high);
        }
    }
    if let Some(mut ratio) = inference.ratio() {
        let maximum = ratio.maximum();
        assert!(maximum.log_ratio.is_finite());
        for (parameter, theta) in ratio.parameters().iter().zip(&maximum.theta) {
            assert!(parameter.low <= *theta && *theta <= parameter.high);
        }
    }
}));
