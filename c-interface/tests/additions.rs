//! Growth in the field, called as C calls it.

use std::ptr::{null, null_mut};

use simground_c::simground_status::*;
use simground_c::*;
use simground_runtime::{Additions, AdditionsError, BankPart, GrowthError, Model};

#[repr(align(16))]
struct Aligned<T: ?Sized>(T);
static GOLDEN: &Aligned<[u8]> = &Aligned(*include_bytes!("../../tests/golden/small.sgnn"));

const WINDOW: [f32; 14] =
    [1.0, 3.0, 8.0, 28.0, 75.0, 221.0, 291.0, 255.0, f32::NAN, 190.0, 125.0, 70.0, 28.0, 12.0];

const SURE: simground_label = simground_label {
    thetas: null(),
    num_thetas: 0,
    tag: 9,
    count: SIMGROUND_ONE_OBSERVATION,
    reach: -1,
    mechanism: 3,
};

/// An object of C's: one that refers to another does so by pointer, and a borrow of the whole would end that.
struct Object<T>(*mut T);

impl<T> Object<T> {
    fn new(value: T) -> Self {
        Object(Box::into_raw(Box::new(value)))
    }
}

impl<T> Drop for Object<T> {
    fn drop(&mut self) {
        // SAFETY: from a box, and dropped once.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// What C would declare.
struct Caller {
    model: Object<simground_model>,
    inference: Object<simground_inference>,
    additions: Object<simground_additions>,
    grown: Object<simground_grown>,
    scratch: Vec<u32>,
    page: Vec<u8>,
}

impl Caller {
    fn new() -> Self {
        let mut caller = Caller {
            model: Object::new(simground_model::new()),
            inference: Object::new(simground_inference::new()),
            additions: Object::new(simground_additions::new()),
            grown: Object::new(simground_grown::new()),
            scratch: vec![0; 1024],
            page: vec![0xff; 1024],
        };
        let bytes = &GOLDEN.0;
        // SAFETY: the pointers are to live objects of their types, here and in every call below.
        unsafe {
            let model = caller.model.0;
            let status = simground_model_from_bytes(model, bytes.as_ptr(), bytes.len());
            assert_eq!(status, SIMGROUND_OK);
            assert_eq!(simground_record_bytes(model), 32);
            assert_eq!(caller.read(), SIMGROUND_BLANK);
            let header = caller.page.as_mut_ptr();
            assert_eq!(simground_additions_header(model, 0, header), SIMGROUND_OK);
            assert_eq!(simground_additions_header(model, 5_000, header), SIMGROUND_SHAPE);
            assert_eq!(
                simground_infer(
                    model,
                    WINDOW.as_ptr(),
                    14,
                    caller.scratch.as_mut_ptr(),
                    1024,
                    caller.inference.0,
                ),
                SIMGROUND_OK
            );
        }
        assert_eq!(caller.read(), SIMGROUND_OK);
        caller
    }

    /// Reads the page.
    fn read(&mut self) -> simground_status {
        let (bytes, length) = (self.page.as_ptr(), self.page.len());
        // SAFETY: as above.
        unsafe {
            simground_additions_from_bytes(
                self.additions.0,
                self.model.0.cast_const(),
                bytes,
                length,
            )
        }
    }

    /// Appends a record and reads the page.
    fn append(
        &mut self,
        write: impl FnOnce(
            *const simground_additions,
            *mut u8,
            *mut simground_appended,
        ) -> simground_status,
    ) -> Result<simground_appended, simground_status> {
        let mut record = [0xee; 32];
        let mut appended = simground_appended { offset: 0, record: 0, replaces: 0 };
        let additions = self.additions.0.cast_const();
        match write(additions, record.as_mut_ptr(), &raw mut appended) {
            SIMGROUND_OK => (),
            status => return Err(status),
        }
        self.page[appended.offset..][..32].copy_from_slice(&record);
        assert_eq!(self.read(), SIMGROUND_OK);
        Ok(appended)
    }

    fn label(&mut self, label: simground_label) -> Result<simground_appended, simground_status> {
        let inference = self.inference.0.cast_const();
        self.append(|additions, record, appended| {
            // SAFETY: as above.
            unsafe {
                simground_additions_label(
                    additions,
                    inference,
                    &raw const label,
                    record,
                    32,
                    appended,
                )
            }
        })
    }

    fn name(&mut self, mechanism: u8, name: &[u8]) -> Result<simground_appended, simground_status> {
        self.append(|additions, record, appended| {
            let (text, length) = (name.as_ptr().cast(), name.len());
            // SAFETY: as above.
            unsafe {
                simground_additions_name(additions, mechanism, text, length, record, 32, appended)
            }
        })
    }

    fn retract(&mut self, retracted: u16) -> Result<simground_appended, simground_status> {
        self.append(|additions, record, appended| {
            // SAFETY: as above.
            unsafe { simground_additions_retract(additions, retracted, record, 32, appended) }
        })
    }

    fn report(&self) -> simground_additions_report {
        let mut report = simground_additions_report::default();
        // SAFETY: as above.
        unsafe {
            let additions = self.additions.0.cast_const();
            assert_eq!(simground_additions_describe(additions, &raw mut report), SIMGROUND_OK);
        }
        report
    }
}

#[test]
fn answers_equal_the_runtime() {
    let mut caller = Caller::new();
    let theta = [0.25, f32::NAN];
    let with_theta = simground_label { thetas: theta.as_ptr(), num_thetas: 2, ..SURE };
    assert_eq!(caller.label(with_theta).map(|a| (a.offset, a.replaces)), Ok((32, u16::MAX)));
    assert_eq!(caller.label(with_theta).map(|a| (a.offset, a.replaces)), Ok((64, 0)));
    assert!(caller.label(simground_label { mechanism: 0, reach: 77, ..SURE }).is_ok());
    assert!(caller.name(3, b"spill").is_ok());
    assert!(caller.label(simground_label { mechanism: 4, ..SURE }).is_ok());
    assert!(caller.retract(4).is_ok());
    let report = simground_additions_report {
        capacity: 31,
        slots_used: 6,
        broken: 0,
        in_force: 2,
        num_mechanisms: 5,
    };
    assert_eq!(caller.report(), report);

    let model = Model::from_bytes(&GOLDEN.0).expect("golden");
    let mut scratch = vec![0; model.scratch_words()];
    let mut inference = model.infer(&WINDOW, &mut scratch).expect("fits");
    let expected = Additions::from_bytes(&model, &caller.page).expect("a region");
    let mut room = [0; 6];
    let answer = inference.attribute_with::<4>(&expected, &mut room).expect("fits");

    let nothing = simground_grown_nearest {
        index: 0,
        prototype: 0,
        squared_distance: 0,
        weight: 0.0,
        mechanism: 0,
        from_field: false,
    };
    let (mut nearest, mut weights, mut found) = ([nothing; 4], [0; 6], 0);
    let (grown, found) = (caller.grown.0, &raw mut found);
    // SAFETY: the pointers are to live objects of their types, here and below.
    unsafe {
        let status = simground_attribute_with(
            caller.inference.0,
            caller.additions.0.cast_const(),
            weights.as_mut_ptr(),
            6,
            nearest.as_mut_ptr(),
            4,
            found,
            grown,
        );
        assert_eq!((status, *found), (SIMGROUND_OK, 4));
        for (found, near) in nearest.iter().zip(&answer.nearest) {
            assert_eq!(found.from_field, near.part == BankPart::Field);
            assert_eq!((found.index, found.prototype), (near.index, near.prototype));
            assert_eq!(found.squared_distance, near.squared_distance);
            assert_eq!((found.mechanism, found.weight), (near.mechanism, near.weight));
        }
        let mut shares = [simground_mechanism_share { probability: 0.0, from_field: 0.0 }; 24];
        let pointer = shares.as_mut_ptr();
        let status = simground_grown_mechanism_posterior(grown, pointer, 24, found);
        assert_eq!((status, *found), (SIMGROUND_OK, 5));
        for (found, share) in shares.iter().zip(&answer.mechanism_posterior) {
            let expected = (share.probability, share.from_field);
            assert_eq!((found.probability, found.from_field), expected);
        }
        let status = simground_grown_mechanism_posterior(grown, pointer, 4, found);
        assert_eq!(status, SIMGROUND_LENGTH);
        let mut thetas = [simground_theta { present: 0.0, mean: 0.0, sd: 0.0 }; 2];
        assert_eq!(simground_grown_thetas(grown, thetas.as_mut_ptr(), 2, found), SIMGROUND_OK);
        for (found, theta) in thetas.iter().zip(answer.thetas()) {
            let expected = (theta.present, theta.mean, theta.sd);
            assert_eq!((found.present, found.mean, found.sd), expected);
        }
        let mut summary = simground_grown_summary::default();
        assert_eq!(simground_grown_summarize(grown, &raw mut summary), SIMGROUND_OK);
        assert_eq!(summary.from_field, answer.from_field);
        assert_eq!(summary.novelty, answer.novelty);
        assert_eq!(summary.novelty_of_both, answer.novelty_of_both);

        let additions = caller.additions.0.cast_const();
        let mut name = simground_text { text: null(), length: 0 };
        for (mechanism, text) in [(1, "mechanism 1"), (3, "spill")] {
            let status = simground_additions_mechanism_name(additions, mechanism, &raw mut name);
            assert_eq!(status, SIMGROUND_OK);
            let found = std::slice::from_raw_parts(name.text.cast::<u8>(), name.length);
            assert_eq!(found, text.as_bytes());
        }
        let status = simground_additions_mechanism_name(additions, 4, &raw mut name);
        assert_eq!(status, SIMGROUND_ABSENT);
        let mut other = [0; 128];
        let status = simground_additions_compact(additions, other.as_mut_ptr(), 128, found);
        assert_eq!((status, *found), (SIMGROUND_OK, 3));
        let mut whole = [0; 128];
        assert_eq!(expected.compact(&mut whole), Ok(3));
        assert_eq!(other, whole);
    }
}

#[test]
fn what_does_not_fit_has_a_status() {
    let mut caller = Caller::new();
    assert_eq!(
        caller.label(simground_label { mechanism: 11, ..SURE }).err(),
        Some(SIMGROUND_MECHANISM)
    );
    assert_eq!(caller.label(simground_label { count: 0, ..SURE }).err(), Some(SIMGROUND_COUNT));
    assert_eq!(caller.label(simground_label { reach: 256, ..SURE }).err(), Some(SIMGROUND_LENGTH));
    let outside = [9.0, 9.0];
    let label = simground_label { thetas: outside.as_ptr(), num_thetas: 2, ..SURE };
    assert_eq!(caller.label(label).err(), Some(SIMGROUND_THETA));
    let label = simground_label { num_thetas: 1, ..label };
    assert_eq!(caller.label(label).err(), Some(SIMGROUND_WRONG_WIDTH));
    let label = simground_label { thetas: null(), ..label };
    assert_eq!(caller.label(label).err(), Some(SIMGROUND_POINTER));
    assert_eq!(caller.name(2, b"known").err(), Some(SIMGROUND_MECHANISM));
    assert_eq!(caller.name(3, b"").err(), Some(SIMGROUND_NAME));
    assert_eq!(caller.name(3, b"\xff").err(), Some(SIMGROUND_NAME));
    assert_eq!(caller.retract(0).err(), Some(SIMGROUND_ABSENT));
    assert!(caller.label(SURE).is_ok());
    caller.page.truncate(64);
    assert_eq!(caller.read(), SIMGROUND_OK);
    assert_eq!(caller.label(SURE).err(), Some(SIMGROUND_FULL));
    caller.page.truncate(31);
    assert_eq!(caller.read(), SIMGROUND_TRUNCATED);
    let report = &mut simground_additions_report::default();
    let mut found = 0;
    // SAFETY: every pointer is null, or to a live object of its type.
    let statuses = unsafe {
        let (additions, grown) = (caller.additions.0.cast_const(), caller.grown.0);
        [
            // What was not made is not used.
            (simground_additions_describe(additions, report), SIMGROUND_NOT_READY),
            (simground_grown_thetas(grown, null_mut(), 0, &raw mut found), SIMGROUND_NOT_READY),
            (simground_additions_describe(null(), report), SIMGROUND_POINTER),
            (simground_additions_header(null(), 0, null_mut()), SIMGROUND_POINTER),
            (
                simground_additions_header(caller.model.0.cast_const(), 0, null_mut()),
                SIMGROUND_POINTER,
            ),
            (simground_additions_from_bytes(null_mut(), null(), null(), 0), SIMGROUND_POINTER),
            (
                simground_attribute_with(
                    caller.inference.0,
                    additions,
                    null_mut(),
                    0,
                    null_mut(),
                    17,
                    &raw mut found,
                    grown,
                ),
                SIMGROUND_LENGTH,
            ),
            (simground_grown_summarize(grown, null_mut()), SIMGROUND_NOT_READY),
            (simground_grown_summarize(null(), null_mut()), SIMGROUND_POINTER),
            (simground_additions_compact(null(), null_mut(), 0, &raw mut found), SIMGROUND_POINTER),
        ]
    };
    for (position, (found, expected)) in statuses.into_iter().enumerate() {
        assert_eq!(found, expected, "call {position}");
    }
    // SAFETY: null is allowed.
    assert_eq!(unsafe { simground_record_bytes(null()) }, 0);
}

#[test]
fn a_diagnosis_has_the_numbers() {
    let mut caller = Caller::new();
    let diagnose = |caller: &Caller, length: usize| {
        let mut error = simground_error::NONE;
        let (model, bytes) = (caller.model.0.cast_const(), caller.page.as_ptr());
        // SAFETY: the pointers are to live objects of their types, `length` at most the page's.
        let status = unsafe { simground_additions_diagnose(model, bytes, length, &raw mut error) };
        assert_eq!(error.status, status);
        error
    };
    let whole = caller.page.len();
    assert_eq!(diagnose(&caller, whole), simground_error::NONE);
    let cut = diagnose(&caller, 7);
    assert_eq!((cut.status, cut.needed, cut.found), (SIMGROUND_TRUNCATED, 32, 7));
    // The fingerprint of the model, by whose bytes the checksum is no longer that of the header.
    caller.page[8] ^= 1;
    let changed = diagnose(&caller, whole);
    assert_eq!(changed.status, SIMGROUND_CHECKSUM_MISMATCH);
    assert_ne!(changed.needed, changed.found);
    caller.page[..4].copy_from_slice(b"SGNN");
    let other = diagnose(&caller, whole);
    let magic = u32::from_le_bytes(*b"SGNN");
    assert_eq!((other.status, other.found), (SIMGROUND_NOT_ADDITIONS, magic));
    // SAFETY: null is refused.
    unsafe {
        let bytes = caller.page.as_ptr();
        let mut error = simground_error::NONE;
        let status = simground_additions_diagnose(null(), bytes, whole, &raw mut error);
        assert_eq!((status, error.status), (SIMGROUND_POINTER, SIMGROUND_POINTER));
        let model = caller.model.0.cast_const();
        let status = simground_additions_diagnose(model, bytes, whole, null_mut());
        assert_eq!(status, SIMGROUND_POINTER);
    }
    let error = AdditionsError::OtherArtifact { expected: 3, found: 4 };
    let error = simground_error::from(error);
    let found = (error.status, error.needed, error.found);
    assert_eq!(found, (SIMGROUND_OTHER_ARTIFACT, 3, 4));
}

#[test]
fn every_rust_error_has_its_status() {
    let (expected, found) = (1, 2);
    for (error, status) in [
        (AdditionsError::NoBank, SIMGROUND_ABSENT),
        (AdditionsError::Blank, SIMGROUND_BLANK),
        (AdditionsError::NotAdditions { found: [0; 4] }, SIMGROUND_NOT_ADDITIONS),
        (
            AdditionsError::UnsupportedVersion { found: 2, supported: 1 },
            SIMGROUND_UNSUPPORTED_VERSION,
        ),
        (AdditionsError::Truncated { needed: 32, found: 1 }, SIMGROUND_TRUNCATED),
        (AdditionsError::ChecksumMismatch { expected, found }, SIMGROUND_CHECKSUM_MISMATCH),
        (AdditionsError::OtherArtifact { expected, found }, SIMGROUND_OTHER_ARTIFACT),
        (AdditionsError::Shape, SIMGROUND_SHAPE),
    ] {
        assert_eq!(simground_status::from(error), status);
    }
    for (error, status) in [
        (GrowthError::OtherModel, SIMGROUND_OTHER_MODEL),
        (GrowthError::Mechanism { found: 9, known: 1, end: 9 }, SIMGROUND_MECHANISM),
        (GrowthError::Count, SIMGROUND_COUNT),
        (GrowthError::WrongWidth { needed: 1, found: 2 }, SIMGROUND_WRONG_WIDTH),
        (GrowthError::Theta { parameter: 1 }, SIMGROUND_THETA),
        (GrowthError::Name { most: 16, found: 0 }, SIMGROUND_NAME),
        (GrowthError::Full { capacity: 3 }, SIMGROUND_FULL),
        (GrowthError::NotInForce { record: 0 }, SIMGROUND_ABSENT),
        (GrowthError::RoomTooSmall { needed: 1, found: 0 }, SIMGROUND_LENGTH),
    ] {
        assert_eq!(simground_status::from(error), status);
    }
}
