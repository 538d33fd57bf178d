//! Self-test, one real answer with its attribution, logged through defmt.

use simground_record::{Generator, NEAREST};
use simground_runtime::artifact::MAX_THETA;
use simground_runtime::{Inference, Model};

use crate::linked::{LINKED, Linked, Memory};

/// Answers for the stored window of every linked artifact; false at the first that fails.
pub fn run(memory: &mut Memory) -> bool {
    LINKED.iter().all(|linked| answer(linked, memory))
}

fn answer(linked: &Linked, memory: &mut Memory) -> bool {
    let model = match Model::from_bytes(linked.bytes) {
        Ok(model) => model,
        Err(error) => {
            defmt::error!("{=str}: artifact refused: {}", linked.name, error);
            return false;
        }
    };
    let scratch_words = model.scratch_words();
    defmt::info!(
        "{=str}: {=usize} bytes of flash, {=usize} bytes of scratch",
        linked.name,
        linked.bytes.len(),
        scratch_words * 4
    );
    let Some((x, scratch)) = memory.load(linked, model.d_values()) else {
        defmt::error!(
            "{=str}: a window of {=usize} values is too long for this example",
            linked.name,
            model.d_values()
        );
        return false;
    };
    if let Err(error) = model.self_test(scratch) {
        defmt::error!("{=str}: self-test failed: {}", linked.name, error);
        return false;
    }
    defmt::info!("{=str}: self-test passed", linked.name);
    match model.infer(x, scratch) {
        Ok(mut inference) => log(linked.name, &mut inference),
        Err(error) => {
            defmt::error!("{=str}: input refused: {}", linked.name, error);
            return false;
        }
    }
    true
}

fn log(name: &str, inference: &mut Inference<'_, '_, '_>) {
    let report = inference.input_report();
    defmt::info!(
        "{=str}: {=u16} values missing, {=u16} out of range",
        name,
        report.missing,
        report.clamped
    );
    if let Some(posterior) = inference.mechanism_posterior() {
        defmt::info!("{=str}: mechanism posterior {}", name, posterior.as_slice());
    }
    let mut target = 0;
    while let Some(quantiles) = inference.quantiles(target) {
        defmt::info!(
            "{=str}: quantiles of target {=usize}: {}",
            name,
            target,
            quantiles.as_slice()
        );
        target += 1;
    }
    for parameter in 0.. {
        let Some(mean) = inference.point(parameter) else { break };
        defmt::info!("{=str}: posterior mean of parameter {=usize}: {=f32}", name, parameter, mean);
    }
    if let Some(mixture) = inference.mixture() {
        let mut theta = [0.0; MAX_THETA];
        let theta = &mut theta[..mixture.parameters().len().min(MAX_THETA)];
        mixture.sample(&mut Generator(1), theta);
        defmt::info!("{=str}: a sample of theta {}", name, theta);
        defmt::info!("{=str}: its log density {=f32}", name, mixture.log_density(theta));
    }
    if let Some(attribution) = inference.attribute::<NEAREST>() {
        for nearest in &attribution.nearest {
            defmt::info!(
                "{=str}: nearest simulation {=u64}, mechanism {=u8}, squared distance {=u32}, weight {=f32}",
                name,
                nearest.index,
                nearest.mechanism,
                nearest.squared_distance,
                nearest.weight
            );
        }
        defmt::info!("{=str}: novelty p-value {=f32}", name, attribution.novelty);
    }
}
