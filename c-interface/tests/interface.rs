//! The C interface called as C calls it.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use simground_c::simground_status::*;
use simground_c::*;
use simground_runtime::artifact::Head;
use simground_runtime::{ArtifactError, InputError, Model, Part, SelfTestError};

#[repr(align(16))]
struct Aligned<T: ?Sized>(T);
static GOLDEN: &Aligned<[u8]> = &Aligned(*include_bytes!("../../tests/golden/small.sgnn"));

fn message(status: i32) -> &'static str {
    // SAFETY: the function's promise is a text that lives forever.
    unsafe { CStr::from_ptr(simground_error_message(status)) }.to_str().expect("UTF-8")
}

/// The artifact, and what C would declare.
struct Caller {
    model: simground_model,
    inference: simground_inference,
    attribution: simground_attribution,
    scratch: Vec<u32>,
}

impl Caller {
    fn new() -> Self {
        let mut caller = Caller {
            model: simground_model::new(),
            inference: simground_inference::new(),
            attribution: simground_attribution::new(),
            scratch: Vec::new(),
        };
        let bytes = &GOLDEN.0;
        // SAFETY: the pointers are to live objects of their types, here and in every call below.
        let status = unsafe {
            simground_model_from_bytes(&raw mut caller.model, bytes.as_ptr(), bytes.len())
        };
        assert_eq!(status, SIMGROUND_OK);
        // SAFETY: as above.
        caller.scratch = vec![0; unsafe { simground_scratch_words(&raw const caller.model) }];
        caller
    }

    fn infer(&mut self, window: &[f32]) -> simground_status {
        // SAFETY: as above.
        unsafe {
            simground_infer(
                &raw const self.model,
                window.as_ptr(),
                window.len(),
                self.scratch.as_mut_ptr(),
                self.scratch.len(),
                &raw mut self.inference,
            )
        }
    }
}

const WINDOW: [f32; 14] =
    [1.0, 3.0, 8.0, 28.0, 75.0, 221.0, 291.0, 255.0, f32::NAN, 190.0, 125.0, 70.0, 28.0, 12.0];

#[test]
fn answers_equal_the_runtime() {
    let model = Model::from_bytes(&GOLDEN.0).expect("golden");
    let mut scratch = vec![0; model.scratch_words()];
    let mut expected = model.infer(&WINDOW, &mut scratch).expect("fits");
    let mut caller = Caller::new();
    assert_eq!(caller.infer(&WINDOW), SIMGROUND_OK);
    let inference = &raw mut caller.inference;
    let mut report = MaybeUninit::uninit();
    // SAFETY: the pointers are to live objects of their types, here and below.
    let report = unsafe {
        assert_eq!(simground_inference_input_report(inference, report.as_mut_ptr()), SIMGROUND_OK);
        report.assume_init()
    };
    assert_eq!((report.missing, report.untrained_missing), (1, false));
    let (mut outputs, mut embedding, mut length) = (null(), null(), 0);
    // SAFETY: as above; the slice lies in the scratch.
    let outputs = unsafe {
        assert_eq!(simground_outputs(inference, &raw mut outputs, &raw mut length), SIMGROUND_OK);
        std::slice::from_raw_parts(outputs, length)
    };
    assert_eq!(outputs, expected.outputs());
    // SAFETY: as above.
    let embedding = unsafe {
        assert_eq!(
            simground_embedding(inference, &raw mut embedding, &raw mut length),
            SIMGROUND_OK
        );
        std::slice::from_raw_parts(embedding, length)
    };
    assert_eq!(embedding, expected.embedding());
    let mut values = [0.0; 16];
    let mut found = 0;
    // SAFETY: as above.
    let status = unsafe {
        simground_mechanism_posterior(inference, values.as_mut_ptr(), 16, &raw mut found)
    };
    assert_eq!(status, SIMGROUND_OK);
    assert_eq!(values[..found], expected.mechanism_posterior().expect("a head")[..]);
    for target in 0..4 {
        // SAFETY: as above.
        let status = unsafe {
            simground_quantiles(inference, target, values.as_mut_ptr(), 16, &raw mut found)
        };
        match expected.quantiles(target) {
            Some(quantiles) => assert_eq!(values[..found], quantiles[..]),
            None => assert_eq!(status, SIMGROUND_ABSENT),
        }
    }
    let nothing = simground_nearest {
        index: 0,
        prototype: 0,
        squared_distance: 0,
        weight: 0.0,
        mechanism: 0,
    };
    let mut nearest = [nothing; 4];
    let attribution = &raw mut caller.attribution;
    // SAFETY: as above.
    let status = unsafe {
        simground_attribute(inference, nearest.as_mut_ptr(), 4, &raw mut found, attribution)
    };
    assert_eq!((status, found), (SIMGROUND_OK, 4));
    let answer = expected.attribute::<4>().expect("a bank");
    for (found, near) in nearest.iter().zip(&answer.nearest) {
        assert_eq!((found.index, found.prototype), (near.index, near.prototype));
        assert_eq!(found.squared_distance, near.squared_distance);
        assert_eq!((found.mechanism, found.weight), (near.mechanism, near.weight));
    }
    // SAFETY: as above.
    let status = unsafe {
        simground_attribution_mechanism_posterior(
            attribution,
            values.as_mut_ptr(),
            16,
            &raw mut found,
        )
    };
    assert_eq!(status, SIMGROUND_OK);
    assert_eq!(values[..found], answer.mechanism_posterior[..]);
    let mut thetas = [simground_theta { present: 0.0, mean: 0.0, sd: 0.0 }; 32];
    // SAFETY: as above.
    let status = unsafe { simground_thetas(attribution, thetas.as_mut_ptr(), 32, &raw mut found) };
    assert_eq!((status, found), (SIMGROUND_OK, answer.thetas().count()));
    for (found, theta) in thetas.iter().zip(answer.thetas()) {
        assert_eq!((found.present, found.mean, found.sd), (theta.present, theta.mean, theta.sd));
    }
    let mut novelty = 0.0;
    // SAFETY: as above.
    assert_eq!(unsafe { simground_novelty(attribution, &raw mut novelty) }, SIMGROUND_OK);
    assert_eq!(novelty, answer.novelty);
}

#[test]
fn shapes_and_names() {
    let mut caller = Caller::new();
    let model = &raw const caller.model;
    let mut name = simground_text { text: null(), length: 0 };
    // SAFETY: the pointers are to live objects of their types.
    unsafe {
        assert_eq!(simground_d_values(model), 14);
        assert_eq!(simground_num_mechanisms(model), 3);
        assert_eq!(simground_num_thetas(model), 2);
        assert_eq!(simground_mechanism_name(model, 1, &raw mut name), SIMGROUND_OK);
        let text = std::slice::from_raw_parts(name.text.cast::<u8>(), name.length);
        assert_eq!(text, b"mechanism 1");
        assert_eq!(simground_mechanism_name(model, 3, &raw mut name), SIMGROUND_ABSENT);
        let (mut levels, mut found) = ([f32::NAN; SIMGROUND_MAX_LEVELS], 0);
        let mut levels_of = |target| {
            let status = simground_levels(model, target, levels.as_mut_ptr(), 16, &raw mut found);
            (status, levels[..found].to_vec())
        };
        let own = Model::from_bytes(&GOLDEN.0).expect("golden");
        let mut targets = 0;
        for head in own.manifest().heads.iter() {
            let Head::Quantiles { levels, targets: of_head, .. } = head else { continue };
            for _ in 0..of_head.len() {
                assert_eq!(levels_of(targets), (SIMGROUND_OK, levels.iter().collect()));
                targets += 1;
            }
        }
        assert!(targets > 1);
        assert_eq!(levels_of(targets).0, SIMGROUND_ABSENT);
        assert_eq!(simground_num_parameters(model), 0);
        assert_eq!(simground_parameter_name(model, 0, &raw mut name), SIMGROUND_ABSENT);
        let scratch = caller.scratch.as_mut_ptr();
        assert_eq!(simground_self_test(model, scratch, caller.scratch.len()), SIMGROUND_OK);
        assert_eq!(simground_self_test(model, scratch, 3), SIMGROUND_SCRATCH_TOO_SMALL);
    }
}

#[test]
fn null_and_misaligned_pointers_are_errors() {
    let mut caller = Caller::new();
    assert_eq!(caller.infer(&WINDOW), SIMGROUND_OK);
    let (model, inference) = (&raw const caller.model, &raw mut caller.inference);
    let (scratch, words) = (caller.scratch.as_mut_ptr(), caller.scratch.len());
    let attribution = &raw mut caller.attribution;
    let (mut values, mut found) = ([0.0; 16], 0);
    let (values, found) = (values.as_mut_ptr(), &raw mut found);
    let x = WINDOW.as_ptr();
    let odd = WINDOW.as_ptr().wrapping_byte_add(1);
    // SAFETY: every pointer is null, misaligned, or to a live object of its type.
    let statuses = unsafe {
        [
            simground_model_from_bytes(null_mut(), GOLDEN.0.as_ptr(), 32),
            simground_model_from_bytes((&raw mut caller.model).wrapping_byte_add(4), null(), 0),
            simground_infer(null(), x, 14, scratch, words, inference),
            simground_infer(model, null(), 14, scratch, words, inference),
            simground_infer(model, odd, 13, scratch, words, inference),
            simground_infer(model, x, 14, null_mut(), words, inference),
            simground_infer(model, x, 14, scratch, words, null_mut()),
            simground_infer(model, x, usize::MAX, scratch, words, inference),
            simground_self_test(null(), scratch, words),
            simground_mechanism_posterior(null(), values, 16, found),
            simground_quantiles(null(), 0, values, 16, found),
            simground_attribute(null_mut(), null_mut(), 0, found, attribution),
            simground_attribute(inference, null_mut(), 0, found, null_mut()),
            simground_thetas(null(), null_mut(), 0, found),
            simground_novelty(null(), values),
            simground_outputs(null(), null_mut(), found),
            simground_embedding(null(), null_mut(), found),
            simground_inference_input_report(null(), null_mut()),
            simground_mechanism_name(model, 0, null_mut()),
        ]
    };
    for (position, status) in statuses.into_iter().enumerate() {
        assert_eq!(status, SIMGROUND_POINTER, "call {position}");
    }
    // SAFETY: null is allowed.
    unsafe {
        assert_eq!(simground_d_values(null()), 0);
        assert_eq!(simground_scratch_words(null()), 0);
        assert_eq!(simground_num_mechanisms(null()), 0);
        assert_eq!(simground_num_thetas(null()), 0);
    }
}

#[test]
fn what_was_not_made_is_not_used() {
    let mut caller = Caller::new();
    let mut value = 0.0;
    assert_eq!(caller.infer(&WINDOW[..3]), SIMGROUND_WRONG_WIDTH);
    let (mut values, mut found) = ([0.0; 2], 0);
    // SAFETY: the pointers are to live objects of their types, here and below.
    unsafe {
        let status = simground_mechanism_posterior(
            &raw const caller.inference,
            &raw mut value,
            1,
            &raw mut found,
        );
        assert_eq!(status, SIMGROUND_NOT_READY);
        let status = simground_novelty(&raw const caller.attribution, &raw mut value);
        assert_eq!(status, SIMGROUND_NOT_READY);
    }
    assert_eq!(caller.infer(&WINDOW), SIMGROUND_OK);
    let inference = &raw mut caller.inference;
    // SAFETY: as above.
    unsafe {
        let status =
            simground_mechanism_posterior(inference, values.as_mut_ptr(), 2, &raw mut found);
        assert_eq!((status, found), (SIMGROUND_LENGTH, 0));
        let attribution = &raw mut caller.attribution;
        let status = simground_attribute(inference, null_mut(), 17, &raw mut found, attribution);
        assert_eq!(status, SIMGROUND_LENGTH);
        let status = simground_attribute(inference, null_mut(), 0, &raw mut found, attribution);
        assert_eq!((status, found), (SIMGROUND_OK, 0));
    }
    // A model that is refused is no model, even where one was.
    // SAFETY: as above.
    unsafe {
        let status = simground_model_from_bytes(
            &raw mut caller.model,
            GOLDEN.0.as_ptr(),
            GOLDEN.0.len() - 1,
        );
        assert_eq!(status, SIMGROUND_TRUNCATED);
        assert_eq!(simground_d_values(&raw const caller.model), 0);
    }
}

#[test]
fn every_rust_error_has_its_own_status() {
    let part = Part::Bank;
    let artifact = [
        (ArtifactError::NotAnArtifact { found: [0; 4] }, SIMGROUND_NOT_AN_ARTIFACT),
        (
            ArtifactError::UnsupportedVersion { found: 2, supported: 1 },
            SIMGROUND_UNSUPPORTED_VERSION,
        ),
        (ArtifactError::UnknownFlags { found: 1 }, SIMGROUND_UNKNOWN_FLAGS),
        (ArtifactError::Truncated { needed: 1, found: 0 }, SIMGROUND_TRUNCATED),
        (ArtifactError::TrailingBytes { expected: 1, found: 2 }, SIMGROUND_TRAILING_BYTES),
        (ArtifactError::ChecksumMismatch { expected: 1, found: 2 }, SIMGROUND_CHECKSUM_MISMATCH),
        (ArtifactError::Misaligned { needed: 4 }, SIMGROUND_MISALIGNED),
        (ArtifactError::Prelude, SIMGROUND_PRELUDE),
        (ArtifactError::Undecodable(part), SIMGROUND_UNDECODABLE),
        (ArtifactError::Shape(part), SIMGROUND_SHAPE),
        (ArtifactError::Section { part, needed: 1, found: 2 }, SIMGROUND_SECTION),
        (ArtifactError::SectionAlignment(part), SIMGROUND_SECTION_ALIGNMENT),
        (ArtifactError::AccumulatorBound { part, row: 0 }, SIMGROUND_ACCUMULATOR_BOUND),
        (ArtifactError::Value(part), SIMGROUND_VALUE),
    ];
    let width = InputError::WrongWidth { needed: 1, found: 2 };
    let scratch = InputError::ScratchTooSmall { needed: 1, found: 0 };
    let self_test = [
        (SelfTestError::Call(width), SIMGROUND_WRONG_WIDTH),
        (SelfTestError::Call(scratch), SIMGROUND_SCRATCH_TOO_SMALL),
        (SelfTestError::Input { vector: 0 }, SIMGROUND_SELF_TEST_INPUT),
        (SelfTestError::Integers { vector: 0 }, SIMGROUND_SELF_TEST_INTEGERS),
        (SelfTestError::Answers { vector: 0 }, SIMGROUND_SELF_TEST_ANSWERS),
    ];
    let mut walked = Vec::new();
    for (error, expected) in artifact {
        assert_eq!(simground_status::from(error), expected);
        walked.push(expected);
    }
    for (error, expected) in self_test {
        assert_eq!(simground_status::from(error), expected);
        walked.push(expected);
    }
    assert_eq!(simground_status::from(width), SIMGROUND_WRONG_WIDTH);
    assert_eq!(simground_status::from(scratch), SIMGROUND_SCRATCH_TOO_SMALL);
    // What was not walked has no error of Rust's behind it: it is the interface's own, or a place for what comes.
    // The statuses of additions are walked in their own test.
    let additions = SIMGROUND_BLANK as i32..=SIMGROUND_OTHER_ARTIFACT as i32;
    let growth = SIMGROUND_OTHER_MODEL as i32..=SIMGROUND_FULL as i32;
    let own = [
        SIMGROUND_OK,
        SIMGROUND_ARTIFACT,
        SIMGROUND_POINTER,
        SIMGROUND_NOT_READY,
        SIMGROUND_LENGTH,
        SIMGROUND_ABSENT,
        SIMGROUND_CALL,
        SIMGROUND_SELF_TEST,
    ];
    for status in simground_status::ALL {
        let code = *status as i32;
        if additions.contains(&code) || growth.contains(&code) {
            continue;
        }
        assert!(walked.contains(status) != own.contains(status), "{status:?}");
    }
}

#[test]
fn every_status_has_its_own_text() {
    let texts: Vec<_> =
        simground_status::ALL.iter().map(|status| message(*status as i32)).collect();
    for (position, text) in texts.iter().enumerate() {
        assert!(!text.is_empty() && !texts[..position].contains(text), "{text}");
    }
    for unknown in [-1, 15, i32::MAX, i32::MIN] {
        assert_eq!(message(unknown), "unknown status");
    }
}

#[test]
fn drift_monitor_equals_the_runtime() {
    let mut expected = simground_runtime::Drift::new();
    let mut drift = simground_drift { words: [0; 4] };
    let mut exceeds = false;
    // SAFETY: the pointers are null, or to live objects of their types.
    unsafe {
        assert_eq!(simground_drift_push(&raw mut drift, 0.5), SIMGROUND_NOT_READY);
        assert_eq!(
            simground_drift_exceeds(&raw const drift, 1, &raw mut exceeds),
            SIMGROUND_NOT_READY
        );
        assert_eq!(simground_drift_start(&raw mut drift), SIMGROUND_OK);
        for novelty in [0.4, f32::NAN, 0.01, 0.004, 0.004, 0.004, 0.004] {
            expected.push(novelty);
            assert_eq!(simground_drift_push(&raw mut drift, novelty), SIMGROUND_OK);
            assert_eq!(drift.words, expected.to_words());
            for odds in [1, 10, 100] {
                let status = simground_drift_exceeds(&raw const drift, odds, &raw mut exceeds);
                assert_eq!((status, exceeds), (SIMGROUND_OK, expected.exceeds(odds)));
            }
        }
        assert!(exceeds);
        assert_eq!(simground_drift_start(null_mut()), SIMGROUND_POINTER);
        assert_eq!(simground_drift_push(null_mut(), 0.5), SIMGROUND_POINTER);
        assert_eq!(simground_drift_exceeds(null(), 1, &raw mut exceeds), SIMGROUND_POINTER);
        assert_eq!(simground_drift_exceeds(&raw const drift, 1, null_mut()), SIMGROUND_POINTER);
    }
}

/// `simground_diagnose` of bytes and scratch.
fn diagnose(bytes: &[u8], scratch: &mut [u32]) -> simground_error {
    let mut error = MaybeUninit::uninit();
    // SAFETY: the pointers are to live objects of their types.
    unsafe {
        let (length, words) = (bytes.len(), scratch.len());
        let pointer = error.as_mut_ptr();
        let status =
            simground_diagnose(bytes.as_ptr(), length, scratch.as_mut_ptr(), words, pointer);
        let error = error.assume_init();
        assert_eq!(error.status, status);
        error
    }
}

#[test]
fn a_diagnosis_has_the_place_and_the_numbers() {
    let bytes = &GOLDEN.0;
    let none = simground_error::NONE;
    let needed = Model::from_bytes(bytes).expect("golden").scratch_words();
    let mut scratch = vec![0; needed];
    assert_eq!(diagnose(bytes, &mut []), none);
    assert_eq!(diagnose(bytes, &mut scratch), none);
    let cut = diagnose(&bytes[..40], &mut []);
    assert_eq!((cut.status, cut.needed, cut.found), (SIMGROUND_TRUNCATED, bytes.len() as u32, 40));
    let short = diagnose(bytes, &mut scratch[1..]);
    let words = needed as u32;
    assert_eq!((short.needed, short.found), (words, words - 1));
    assert_eq!(short.status, SIMGROUND_SCRATCH_TOO_SMALL);
    // SAFETY: a null error is refused before anything else.
    let status =
        unsafe { simground_diagnose(bytes.as_ptr(), bytes.len(), null_mut(), 0, null_mut()) };
    assert_eq!(status, SIMGROUND_POINTER);
}

#[test]
fn every_error_keeps_its_place_and_numbers() {
    use simground_part::*;
    let check = |error: simground_error, part, position, needed, found| {
        let numbers = (error.part, error.position, error.needed, error.found);
        assert_eq!(numbers, (part, position, needed, found), "{error:?}");
    };
    check(ArtifactError::Shape(Part::Trunk(3)).into(), SIMGROUND_PART_TRUNK, 3, 0, 0);
    check(ArtifactError::Value(Part::Head(5)).into(), SIMGROUND_PART_HEAD, 5, 0, 0);
    let part = Part::Bank;
    let error = ArtifactError::Section { part, needed: 7, found: 9 };
    check(error.into(), SIMGROUND_PART_BANK, 0, 7, 9);
    let error = ArtifactError::AccumulatorBound { part: Part::Embedding, row: 11 };
    check(error.into(), SIMGROUND_PART_EMBEDDING, 0, 0, 11);
    let error = ArtifactError::ChecksumMismatch { expected: 1, found: 2 };
    check(error.into(), SIMGROUND_PART_NONE, 0, 1, 2);
    check(ArtifactError::UnknownFlags { found: 6 }.into(), SIMGROUND_PART_NONE, 0, 0, 6);
    let error = SelfTestError::Integers { vector: 2 };
    check(error.into(), SIMGROUND_PART_SELF_TEST, 2, 0, 0);
    let error = SelfTestError::Call(InputError::WrongWidth { needed: 3, found: 4 });
    check(error.into(), SIMGROUND_PART_NONE, 0, 3, 4);
}
