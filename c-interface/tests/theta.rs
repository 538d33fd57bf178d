//! The heads that answer theta, called as C calls them.

use std::convert::Infallible;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

use rand_core::{Rng as _, TryRng};
use simground_c::simground_status::*;
use simground_c::*;
use simground_runtime::artifact::Head;
use simground_runtime::{Axis, Inference, Model};

#[repr(align(16))]
struct Aligned<T: ?Sized>(T);
static JOINT: &Aligned<[u8]> = &Aligned(*include_bytes!("../../tests/golden/joint.sgnn"));
static RATIO: &Aligned<[u8]> = &Aligned(*include_bytes!("../../tests/golden/ratio.sgnn"));
static FLOW: &Aligned<[u8]> = &Aligned(*include_bytes!("../../tests/golden/flow.sgnn"));

const WINDOW: [f32; 6] = [30.0, 80.0, 260.0, 76.0, 225.0, 298.0];

/// Hands a window's inference to C's side and to the runtime's.
fn both(
    bytes: &'static [u8],
    compare: impl FnOnce(*mut simground_inference, &mut Inference<'_, '_, '_>),
) {
    let (mut model, mut inference) = (simground_model::new(), simground_inference::new());
    // SAFETY: the pointers are to live objects of their types, here and in every call below.
    let status = unsafe { simground_model_from_bytes(&raw mut model, bytes.as_ptr(), bytes.len()) };
    assert_eq!(status, SIMGROUND_OK);
    let own = Model::from_bytes(bytes).expect("golden");
    let mut scratch = vec![0; own.scratch_words()];
    let mut own_scratch = scratch.clone();
    // SAFETY: as above.
    let status = unsafe {
        simground_infer(
            &raw const model,
            WINDOW.as_ptr(),
            WINDOW.len(),
            scratch.as_mut_ptr(),
            scratch.len(),
            &raw mut inference,
        )
    };
    assert_eq!(status, SIMGROUND_OK);
    let mut name = simground_text { text: null(), length: 0 };
    let mut names = |own: &[&str]| {
        // SAFETY: as above.
        assert_eq!(unsafe { simground_num_parameters(&raw const model) }, own.len());
        for (at, own) in own.iter().enumerate() {
            // SAFETY: as above; a name lies inside the artifact.
            let text = unsafe {
                let status = simground_parameter_name(&raw const model, at, &raw mut name);
                assert_eq!(status, SIMGROUND_OK);
                std::slice::from_raw_parts(name.text.cast::<u8>(), name.length)
            };
            assert_eq!(text, own.as_bytes());
        }
    };
    let parameters = own.manifest().heads.iter().find_map(|head| match head {
        Head::Mixture { parameters, .. }
        | Head::Flow { parameters, .. }
        | Head::Ratio { parameters, .. } => Some(parameters),
        _ => None,
    });
    let parameters = parameters.expect("a head of theta");
    names(&parameters.iter().map(|parameter| parameter.name).collect::<Vec<_>>());
    compare(&raw mut inference, &mut own.infer(&WINDOW, &mut own_scratch).expect("fits"));
}

/// Multiples of an odd number: enough to see that both sides draw alike.
struct Generator(u32);

impl TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9);
        Ok(self.0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(self.try_next_u32()?))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(0);
        Ok(())
    }
}

unsafe extern "C" fn random(context: *mut c_void) -> u32 {
    // SAFETY: the test below passes a generator.
    unsafe { &mut *context.cast::<Generator>() }.next_u32()
}

#[test]
fn means_and_the_joint_posterior_equal_the_runtime() {
    both(&JOINT.0, |inference, own| {
        let mixture = own.mixture().expect("a mixture");
        let d = mixture.parameters().len();
        let mut value = f32::NAN;
        let out = &raw mut value;
        let mut theta = vec![0.0; d];
        for at in 0..=d {
            // SAFETY: as above, here and below.
            let status = unsafe { simground_point(inference, at, out) };
            assert_eq!((status == SIMGROUND_OK).then_some(value), own.point(at));
            // SAFETY: as above.
            let status = unsafe { simground_mixture_mean(inference, at, out) };
            assert_eq!((status == SIMGROUND_OK).then_some(value), mixture.mean(at));
            // SAFETY: as above.
            let status = unsafe { simground_mixture_quantile(inference, at, 0.9, out) };
            assert_eq!((status == SIMGROUND_OK).then_some(value), mixture.quantile(at, 0.9));
        }
        let mut own_theta = theta.clone();
        mixture.sample(&mut Generator(4), &mut own_theta);
        let mut generator = Generator(4);
        let context = (&raw mut generator).cast();
        // SAFETY: as above.
        let status = unsafe {
            simground_mixture_sample(inference, Some(random), context, theta.as_mut_ptr(), d)
        };
        assert_eq!((status, &theta), (SIMGROUND_OK, &own_theta));
        // SAFETY: as above.
        let status = unsafe { simground_mixture_log_density(inference, theta.as_ptr(), d, out) };
        assert_eq!((status, value), (SIMGROUND_OK, mixture.log_density(&theta)));
        // SAFETY: as above; lengths and pointers that do not fit.
        unsafe {
            let short = simground_mixture_log_density(inference, theta.as_ptr(), d - 1, out);
            assert_eq!(short, SIMGROUND_LENGTH);
            let sample = |random, length, theta: &mut Vec<f32>| {
                simground_mixture_sample(inference, random, context, theta.as_mut_ptr(), length)
            };
            assert_eq!(sample(None, d, &mut theta), SIMGROUND_POINTER);
            assert_eq!(sample(Some(random), d - 1, &mut theta), SIMGROUND_LENGTH);
            assert_eq!(simground_point(inference, 0, null_mut()), SIMGROUND_POINTER);
            assert_eq!(simground_log_ratio(inference, theta.as_ptr(), d, out), SIMGROUND_ABSENT);
        }
    });
}

#[test]
fn the_likelihood_equals_the_runtime() {
    both(&RATIO.0, |inference, own| {
        let mut ratio = own.ratio().expect("a ratio");
        let maximum = ratio.maximum();
        let d = maximum.theta.len();
        let (mut theta, mut found, mut value) = (vec![0.0; d], 0, f32::NAN);
        let out = &raw mut value;
        // SAFETY: as above, here and below.
        let status =
            unsafe { simground_maximum(inference, theta.as_mut_ptr(), d, &raw mut found, out) };
        assert_eq!((status, found, value), (SIMGROUND_OK, d, maximum.log_ratio));
        assert_eq!(theta[..], maximum.theta[..]);
        // SAFETY: as above.
        let status = unsafe { simground_log_ratio(inference, theta.as_ptr(), d, out) };
        assert_eq!((status, value), (SIMGROUND_OK, ratio.log_ratio(&theta)));
        // SAFETY: as above.
        let status = unsafe { simground_confidence_limit(inference, 0.95, out) };
        assert_eq!((status, value), (SIMGROUND_OK, ratio.confidence_set(&maximum, 0.95).lowest));
        for at in 0..=d {
            let mut high = f32::NAN;
            // SAFETY: as above.
            let status = unsafe { simground_interval(inference, at, 0.95, out, &raw mut high) };
            let ends = (status == SIMGROUND_OK).then_some((value, high));
            assert_eq!(ends, ratio.interval(&maximum, at, 0.95));
        }
        let axis = |at: usize| (1.0 + at as f32, 2.5 + at as f32, 3);
        let axes: Vec<simground_axis> = (0..d)
            .map(axis)
            .map(|(low, high, points)| simground_axis { low, high, points })
            .collect();
        let own_axes: Vec<Axis> =
            (0..d).map(axis).map(|(low, high, points)| Axis { low, high, points }).collect();
        let (mut surface, mut own_surface) = (vec![0.0; 27], vec![0.0; 27]);
        ratio.surface(&own_axes, &mut own_surface).expect("a grid");
        // SAFETY: as above.
        let status =
            unsafe { simground_surface(inference, axes.as_ptr(), d, surface.as_mut_ptr(), 27) };
        assert_eq!((status, &surface), (SIMGROUND_OK, &own_surface));
        // SAFETY: as above; lengths that do not fit.
        unsafe {
            let cells = surface.as_mut_ptr();
            assert_eq!(
                simground_surface(inference, axes.as_ptr(), d - 1, cells, 27),
                SIMGROUND_WRONG_WIDTH
            );
            assert_eq!(
                simground_surface(inference, axes.as_ptr(), d, cells, 26),
                SIMGROUND_WRONG_WIDTH
            );
            assert_eq!(simground_log_ratio(inference, cells, d + 1, out), SIMGROUND_LENGTH);
            assert_eq!(simground_point(inference, 0, out), SIMGROUND_ABSENT);
            let short = simground_maximum(inference, cells, d - 1, &raw mut found, out);
            assert_eq!(short, SIMGROUND_LENGTH);
        }
    });
}

#[test]
fn samples_of_a_flow_are_the_runtimes() {
    both(&FLOW.0, |inference, own| {
        let mut flow = own.flow().expect("a flow");
        let d = flow.parameters().len();
        let mut own_theta = vec![0.0; d];
        flow.sample(&mut Generator(4), &mut own_theta);
        let mut state = Generator(4);
        let context = (&raw mut state).cast::<c_void>();
        let mut theta = vec![0.0; d];
        // SAFETY: the pointers are to live objects of their types.
        let mut sample = |random, length| unsafe {
            simground_flow_sample(inference, random, context, theta.as_mut_ptr(), length)
        };
        assert_eq!(sample(None, d), SIMGROUND_POINTER);
        assert_eq!(sample(Some(random), d - 1), SIMGROUND_LENGTH);
        assert_eq!(sample(Some(random), d), SIMGROUND_OK);
        assert_eq!(theta, own_theta);
        // SAFETY: as above.
        let absent = unsafe { simground_point(inference, 0, theta.as_mut_ptr()) };
        assert_eq!(absent, SIMGROUND_ABSENT);
    });
}
