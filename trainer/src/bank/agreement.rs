//! How much a bank's answers differ from those of the exact search.

use rayon::prelude::*;
use simground_runtime::artifact::Theta;
use simground_runtime::{Model, ThetaSummary};

use super::Embedded;
use super::exact::{BINS, Marginal, Posterior, share_of_range};
use super::{Answer, Bank};

/// Parameters less present than this in the exact posterior are left out.
pub const LEAST_PRESENT: f64 = 0.05;

/// Means over observations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Total variation between the mechanism posteriors.
    pub mechanism_tv: f64,
    /// How often both name the same most probable mechanism.
    pub top1_agreement: f64,
    /// 2-Wasserstein distance between normals with the two posteriors' mean and standard deviation of a parameter,
    /// `((mean - mean')^2 + (sd - sd')^2)^(1/2)`, in units of its range: a lower bound of the distance between any posteriors with these
    /// moments (Gelbrich 1990). Averaged over the parameters that are present.
    pub theta_distance: f64,
}

/// Compares a bank's answers with exact posteriors.
pub fn judge(bank: &Bank, observations: &Embedded, exact: &[Posterior]) -> Agreement {
    let answers: Vec<Answer> = (0..observations.len())
        .into_par_iter()
        .map(|at| bank.answer(observations.row(at)))
        .collect();
    judge_answers(&answers, exact)
}

/// What the runtime answers for windows `[n, d_x]`.
///
/// # Panics
///
/// If the model has no bank, or the windows are not as wide as the model's.
pub fn runtime_answers(model: &Model<'_>, x: &[f32]) -> Vec<Answer> {
    let bank = model.manifest().bank.as_ref().expect("a model with a bank");
    let scratch = || vec![0_u32; model.scratch_words()];
    let answer = |scratch: &mut Vec<u32>, window: &[f32]| {
        let mut inference = model.infer(window, scratch).expect("windows of the model's width");
        let attribution = inference.attribute::<1>().expect("a bank");
        let marginal = |(theta, summary): (Theta<'_>, ThetaSummary)| {
            let range = (theta.low, theta.high);
            Marginal {
                present: f64::from(summary.present),
                mean: f64::from(share_of_range(summary.mean, range)),
                sd: f64::from(share_of_range(theta.low + summary.sd, range)),
            }
        };
        Answer {
            mechanism: attribution.mechanism_posterior.iter().map(|p| f64::from(*p)).collect(),
            theta: bank.theta.iter().zip(attribution.thetas()).map(marginal).collect(),
            least: attribution.nearest.first().map_or(0, |nearest| nearest.squared_distance),
            novelty: f64::from(attribution.novelty),
        }
    };
    x.par_chunks_exact(model.d_values()).map_init(scratch, answer).collect()
}

/// Compares answers with exact posteriors.
pub fn judge_answers(answers: &[Answer], exact: &[Posterior]) -> Agreement {
    agreement(answers.iter().map(|answer| (&answer.mechanism[..], &answer.theta[..])), exact)
}

/// Compares mechanism and parameter posteriors with exact ones.
pub fn agreement<'a>(
    answers: impl Iterator<Item = (&'a [f64], &'a [Marginal])>,
    exact: &[Posterior],
) -> Agreement {
    let (mut tv, mut same, mut theta) = (0.0, 0.0, 0.0);
    for ((mechanism, marginals), exact) in answers.zip(exact) {
        tv += total_variation(mechanism, &exact.mechanism);
        same += f64::from(u8::from(most(mechanism) == most(&exact.mechanism)));
        theta += theta_distance(marginals, &exact.theta);
    }
    let n = exact.len() as f64;
    Agreement { mechanism_tv: tv / n, top1_agreement: same / n, theta_distance: theta / n }
}

/// `sum |p - q| / 2`.
pub fn total_variation(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0
}

/// 1-Wasserstein distance, the integral of the absolute difference of the distribution functions, of a marginal in equal parts of its range from
/// the normal of a mean and standard deviation, clamped to that range.
pub fn wasserstein(bins: &[f64; BINS], normal: &Marginal) -> f64 {
    if normal.present <= 0.0 {
        return 1.0;
    }
    let sd = normal.sd.max(1e-9);
    let mut below = 0.0;
    // At the range's ends both functions are equal: the normal is clamped.
    let inner = bins[..BINS - 1].iter().zip(1..).map(|(bin, edge)| {
        below += bin;
        let z = (f64::from(edge) / BINS as f64 - normal.mean) / sd;
        (below - 0.5 * (1.0 + libm::erf(z / std::f64::consts::SQRT_2))).abs()
    });
    inner.sum::<f64>() / BINS as f64
}

/// Position of the largest; the first of equals.
fn most(p: &[f64]) -> usize {
    (0..p.len()).rev().max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap_or(0)
}

fn theta_distance(found: &[Marginal], exact: &[Marginal]) -> f64 {
    let present = found.iter().zip(exact).filter(|(_, e)| e.present >= LEAST_PRESENT);
    let distances = present.map(|(found, exact)| {
        // Without any mass on the parameter, the answer is as far as can be.
        if found.present > 0.0 { (found.mean - exact.mean).hypot(found.sd - exact.sd) } else { 1.0 }
    });
    let (sum, count) = distances.fold((0.0, 0.0), |(sum, count), d| (sum + d, count + 1.0));
    sum / f64::max(count, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wasserstein_of_hand_values() {
        // All mass in the third quarter's first part against a point in the middle of the first quarter's: 32 parts apart.
        let mut bins = [0.0; BINS];
        bins[40] = 1.0;
        let point = Marginal { present: 1.0, mean: 8.5 / 64.0, sd: 0.0 };
        assert!((wasserstein(&bins, &point) - 0.5).abs() < 1e-12);
        assert_eq!(wasserstein(&bins, &Marginal { present: 0.0, ..point }), 1.0);
    }

    #[test]
    fn by_hand() {
        let marginal = |mean, sd| Marginal { present: 1.0, mean, sd };
        let exact = [Posterior {
            mechanism: vec![0.5, 0.3, 0.2],
            theta: vec![marginal(0.5, 0.1), marginal(0.2, 0.2)],
            effective_simulations: 1.0,
            least: 0,
        }];
        let mechanism = [0.3, 0.5, 0.2];
        let theta = [marginal(0.53, 0.14), marginal(0.2, 0.2)];
        let found = agreement([(&mechanism[..], &theta[..])].into_iter(), &exact);
        assert!((found.mechanism_tv - 0.2).abs() < 1e-12);
        assert_eq!(found.top1_agreement, 0.0);
        assert!((found.theta_distance - 0.025).abs() < 1e-12);
    }
}
