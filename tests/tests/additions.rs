//! Regions of additions: hostile bytes, torn writes, and answers against a slow reference.

use simground_runtime::additions::{HEADER_BYTES, MAX_RECORDS, ONE_OBSERVATION};
use simground_runtime::artifact::{Bank, Section};
use simground_runtime::{
    Addition, Additions, AdditionsError, Appended, BankPart, GrowthError, Label, Model, Reach,
    THETA_ABSENT, kernel_weight,
};
use simground_tests::builder::{self, Random, Shape};
use simground_tests::stress;

/// The mechanisms of the small model are 0 to 2; a region adds 3 to 10.
const NEW: u8 = 3;

/// A model and a page of flash, as a caller has them.
struct Page {
    artifact: &'static [u8],
    model: &'static Model<'static>,
    bytes: Vec<u8>,
}

impl Page {
    fn of(shape: &Shape, prior: Option<u16>) -> Page {
        let artifact: &'static [u8] = builder::build(shape).leak();
        let model: &'static _ = Box::leak(Box::new(Model::from_bytes(artifact).expect("sound")));
        let mut bytes = vec![0xff; 4096];
        bytes[..HEADER_BYTES].copy_from_slice(&Additions::header(model, prior).expect("a bank"));
        Page { artifact, model, bytes }
    }

    fn new() -> Page {
        Page::of(&builder::SMALL, None)
    }

    fn read(&self) -> Additions<'_> {
        Additions::from_bytes(self.model, &self.bytes).expect("a region")
    }

    fn record_bytes(&self) -> usize {
        Additions::record_bytes(self.model).expect("a bank")
    }

    fn append(
        &mut self,
        record: impl FnOnce(&Additions<'_>, &mut [u8]) -> Result<Appended, GrowthError>,
    ) -> Result<Appended, GrowthError> {
        let mut bytes = vec![0xee; self.record_bytes()];
        let appended = record(&self.read(), &mut bytes)?;
        let slot = &mut self.bytes[appended.offset..][..bytes.len()];
        assert!(slot.iter().all(|byte| *byte == 0xff), "nothing is written twice");
        slot.copy_from_slice(&bytes);
        Ok(appended)
    }

    fn label(&mut self, window: &[f32], label: &Label<'_>) -> Result<Appended, GrowthError> {
        let mut scratch = vec![0; self.model.scratch_words()];
        let inference = self.model.infer(window, &mut scratch).expect("a window");
        self.append(|additions, record| additions.label(&inference, label, record))
    }

    /// Windows from everywhere, those far from the bank among them.
    fn windows(&self) -> Vec<Vec<f32>> {
        stress::windows(self.model.d_values()).into_iter().step_by(7).collect()
    }

    /// Three mechanisms, one of them new and named, and a label that was taken back.
    fn filled() -> Page {
        let mut page = Page::new();
        let windows = page.windows();
        let theta = [0.25, f32::NAN];
        for (at, mechanism) in [(20, 0), (40, NEW), (60, NEW), (80, 2), (100, 1)] {
            // So short a reach that none of them is more of another.
            let reach = Some(Reach(0x60));
            let label = Label { theta: &theta, tag: at, reach, ..Label::new(mechanism) };
            page.label(&windows[at as usize], &label).expect("room");
        }
        page.append(|additions, record| additions.name(NEW, "spill", record)).expect("room");
        page.append(|additions, record| additions.retract(4, record)).expect("room");
        page
    }
}

/// Every bit of what the additions say of a window.
fn answer(model: &Model<'_>, additions: &Additions<'_>, window: &[f32]) -> Vec<u32> {
    let mut scratch = vec![0xdead_beef; model.scratch_words()];
    let mut weights = vec![0xdead_beef; additions.slots_used()];
    let mut inference = model.infer(window, &mut scratch).expect("a window");
    let answer = inference.attribute_with::<7>(additions, &mut weights).expect("fits");
    let mut words = Vec::new();
    let total: f32 = answer.mechanism_posterior.iter().map(|share| share.probability).sum();
    assert!((total - 1.0).abs() < 1e-3, "{:?}", answer.mechanism_posterior);
    for share in &answer.mechanism_posterior {
        assert!(0.0 <= share.from_field && share.from_field <= share.probability);
        words.extend([share.probability.to_bits(), share.from_field.to_bits()]);
    }
    assert!(answer.nearest.iter().map(|near| near.squared_distance).is_sorted());
    for near in &answer.nearest {
        assert!(usize::from(near.mechanism) < additions.num_mechanisms());
        let weight = answer.weight(near.part, near.prototype);
        assert!((0.0..=1.0).contains(&weight) && weight == near.weight);
        words.extend([near.index as u32, near.squared_distance, near.weight.to_bits()]);
    }
    for theta in answer.thetas() {
        assert!((0.0..=1.0).contains(&theta.present));
        assert!(theta.present == 0.0 || (theta.mean.is_finite() && !theta.sd.is_nan()));
        words.extend([theta.present, theta.mean, theta.sd].map(f32::to_bits));
    }
    assert!((0.0..=1.0).contains(&answer.from_field));
    assert!(answer.novelty > 0.0 && answer.novelty <= answer.novelty_of_both);
    assert!(answer.novelty_of_both <= 1.0);
    words.extend([answer.from_field, answer.novelty, answer.novelty_of_both].map(f32::to_bits));
    words
}

/// Reads the region and everything in it; whether it was accepted.
fn exercise(model: &Model<'_>, region: &[u8]) -> Result<(), AdditionsError> {
    let additions = Additions::from_bytes(model, region)?;
    assert!(additions.slots_used() <= additions.capacity());
    assert!(additions.broken() <= additions.slots_used());
    for addition in additions.iter() {
        assert!(usize::from(addition.mechanism) < additions.num_mechanisms());
        assert!(addition.vector().all(|v| v.abs() <= 1_024));
    }
    for mechanism in 0..=u8::MAX {
        if let Some(name) = additions.mechanism_name(mechanism) {
            assert!(!name.is_empty());
        }
    }
    for value in [f32::NAN, 7.0, f32::MAX] {
        answer(model, &additions, &vec![value; model.d_values()]);
    }
    let mut scratch = vec![0; model.scratch_words()];
    let inference = model.infer(&vec![7.0; model.d_values()], &mut scratch).expect("a window");
    let mut record = [0; 320];
    let _ = additions.label(&inference, &Label::new(1), &mut record);
    let _ = additions.label(&inference, &Label::new(NEW), &mut record);
    let mut other = vec![0; region.len()];
    additions.compact(&mut other).expect("what is in force has room");
    let compacted = Additions::from_bytes(model, &other).expect("a region");
    assert_eq!(compacted.broken(), 0);
    assert_eq!(compacted.iter().count(), additions.iter().count());
    Ok(())
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// Makes the checksum of a record right again after a change.
fn repair(region: &mut [u8], record: usize, record_bytes: usize) {
    let start = HEADER_BYTES + record * record_bytes;
    let end = start + record_bytes - 4;
    let parts = [&region[..HEADER_BYTES], &(record as u16).to_le_bytes(), &region[start..end]];
    let crc = crc32(&parts.concat());
    region[end..end + 4].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn every_truncation_is_refused_or_has_the_whole_records() {
    let page = Page::filled();
    let size = page.record_bytes();
    for length in 0..page.bytes.len().min(HEADER_BYTES + 8 * size) {
        let region = &page.bytes[..length];
        let outcome = exercise(page.model, region);
        if length < HEADER_BYTES {
            let truncated = AdditionsError::Truncated { needed: HEADER_BYTES, found: length };
            assert_eq!(outcome, Err(truncated));
            continue;
        }
        assert_eq!(outcome, Ok(()));
        let additions = Additions::from_bytes(page.model, region).expect("a region");
        assert_eq!(additions.slots_used(), ((length - HEADER_BYTES) / size).min(7));
        assert_eq!(additions.broken(), 0);
    }
}

#[test]
fn every_bit_is_refused_or_skipped() {
    let mut page = Page::filled();
    let size = page.record_bytes();
    let used = HEADER_BYTES + page.read().slots_used() * size;
    for at in 0..used {
        for bit in 0..8 {
            page.bytes[at] ^= 1 << bit;
            let outcome = exercise(page.model, &page.bytes);
            if at < HEADER_BYTES {
                assert!(outcome.is_err());
            } else {
                assert_eq!(outcome, Ok(()));
                let record = ((at - HEADER_BYTES) / size) as u16;
                let additions = page.read();
                assert!(additions.broken() >= 1);
                assert_eq!(additions.at(record), None);
                // Without its retraction the record is in force; without its record the retraction has nothing to take back.
                let expected = 4 + usize::from(record == 6) - usize::from(record < 4);
                assert_eq!(additions.iter().count(), expected);
                let named = additions.mechanism_name(NEW);
                assert_eq!(named, (record != 5).then_some("spill"));
            }
            page.bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn every_byte_with_the_checksum_repaired_stays_in_bounds() {
    let page = Page::filled();
    let size = page.record_bytes();
    let (mut in_force, mut skipped) = (0, 0);
    for record in 0..page.read().slots_used() {
        for at in 0..size - 4 {
            for value in 0..=u8::MAX {
                let mut bytes = page.bytes.clone();
                bytes[HEADER_BYTES + record * size + at] = value;
                repair(&mut bytes, record, size);
                // The whole of it now and then: it takes its time.
                if value % 16 == 5 || value > 250 {
                    assert_eq!(exercise(page.model, &bytes), Ok(()));
                }
                let additions = Additions::from_bytes(page.model, &bytes).expect("a region");
                if additions.broken() == 0 { in_force += 1 } else { skipped += 1 }
            }
        }
    }
    // Both happen, or the test looks at nothing.
    assert!(in_force > 1_000 && skipped > 1_000, "{in_force} {skipped}");
}

#[test]
fn random_regions_stay_in_bounds() {
    let page = Page::filled();
    let (size, mut random) = (page.record_bytes(), Random::new(0xfeed));
    for _ in 0..2_000 {
        let mut bytes = page.bytes[..HEADER_BYTES + 12 * size].to_vec();
        for record in 0..12 {
            let slot = &mut bytes[HEADER_BYTES + record * size..][..size];
            match random.below(4) {
                0 => slot.fill_with(|| random.next() as u8),
                // A plausible head and random content.
                1 => {
                    slot.fill_with(|| random.next() as u8);
                    let replaced = [0xffff, random.below(12) as u16][random.below(2) as usize];
                    let count = [random.below(40) as u16, u16::MAX][random.below(2) as usize];
                    slot[0] = 1 + random.below(3) as u8;
                    slot[1] = random.below(13) as u8;
                    slot[2..4].copy_from_slice(&count.to_le_bytes());
                    slot[4..6].copy_from_slice(&replaced.to_le_bytes());
                    slot[7] = random.below(5) as u8;
                }
                _ => (),
            }
            if random.below(8) > 0 {
                repair(&mut bytes, record, size);
            }
        }
        assert_eq!(exercise(page.model, &bytes), Ok(()));
    }
}

#[test]
fn a_torn_record_is_skipped_and_what_it_replaces_stays() {
    let mut page = Page::new();
    let window = page.windows()[30].clone();
    page.label(&window, &Label::new(NEW)).expect("room");
    let size = page.record_bytes();
    let before = answer(page.model, &page.read(), &window);
    let mut whole = Page { bytes: page.bytes.clone(), ..page };
    let appended = whole.label(&window, &Label::new(NEW)).expect("room");
    assert_eq!(appended.replaces, Some(0));
    for written in 0..size {
        let mut torn = Page { bytes: page.bytes.clone(), ..page };
        let range = appended.offset..appended.offset + written;
        torn.bytes[range.clone()].copy_from_slice(&whole.bytes[range]);
        let additions = torn.read();
        assert_eq!(additions.broken(), usize::from(written > 0));
        assert_eq!(additions.at(0).map(|addition| addition.count), Some(ONE_OBSERVATION));
        assert_eq!(answer(torn.model, &additions, &window), before);
        // The next record goes behind it, and replaces the same one.
        let again = torn.label(&window, &Label::new(NEW)).expect("room");
        assert_eq!(usize::from(again.record), 1 + usize::from(written > 0));
        assert_eq!(again.replaces, Some(0));
        assert_eq!(torn.read().iter().count(), 1);
    }
}

#[test]
fn what_is_wrong_with_a_region_is_said() {
    let page = Page::filled();
    let error = |bytes: &[u8]| Additions::from_bytes(page.model, bytes).map(|_| ()).unwrap_err();
    assert_eq!(error(&[0xff; 4096]), AdditionsError::Blank);
    assert_eq!(error(page.artifact), AdditionsError::NotAdditions { found: *b"SGNN" });
    let change = |at: usize, value: u16| {
        let mut bytes = page.bytes.clone();
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        let crc = crc32(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        error(&bytes)
    };
    assert_eq!(change(4, 2), AdditionsError::UnsupportedVersion { found: 2, supported: 1 });
    for (at, value) in [(6, 64), (12, 0), (12, 4_097), (14, 4), (16, 1), (18, 2), (20, 1), (26, 1)]
    {
        assert_eq!(change(at, value), AdditionsError::Shape, "{at}");
    }
    // Additions to an artifact that differs in one name only are refused.
    let mut other = page.artifact.to_vec();
    let name = b"mechanism 1";
    let at = other.windows(name.len()).position(|window| window == name).expect("a name");
    other[at + 10] = b'9';
    builder::repair(&mut other);
    let other = Model::from_bytes(&other).expect("sound");
    let refused = Additions::from_bytes(&other, &page.bytes).map(|_| ());
    assert!(matches!(refused, Err(AdditionsError::OtherArtifact { .. })), "{refused:?}");
    let joint = builder::build(&builder::JOINT);
    let joint = Model::from_bytes(&joint).expect("sound");
    let refused = Additions::from_bytes(&joint, &page.bytes).map(|_| ());
    assert_eq!(refused, Err(AdditionsError::NoBank));
    assert_eq!(Additions::header(&joint, None), Err(AdditionsError::NoBank));
    assert_eq!(Additions::header(page.model, Some(0)), Err(AdditionsError::Shape));
    assert_eq!(page.read().prior_observations(), 30, "one a prototype");
}

#[test]
fn what_is_wrong_with_a_call_is_said() {
    let mut page = Page::new();
    let window = page.windows()[30].clone();
    let mut check = |label: Label<'_>, expected: GrowthError| {
        assert_eq!(page.label(&window, &label).unwrap_err(), expected);
    };
    let mechanism = |found| GrowthError::Mechanism { found, known: 3, end: 11 };
    check(Label::new(11), mechanism(11));
    assert_eq!(
        mechanism(11).to_string(),
        "mechanism 11, where the artifact has 0 to 2 and a region can add 3 to 10"
    );
    check(Label { count: 0, ..Label::new(0) }, GrowthError::Count);
    let one = [0.2];
    let label = Label { theta: &one, ..Label::new(0) };
    check(label, GrowthError::WrongWidth { needed: 2, found: 1 });
    let outside = [f32::NAN, 0.6];
    let label = Label { theta: &outside, ..Label::new(0) };
    check(label, GrowthError::Theta { parameter: 1 });
    let name = |mechanism, text| page.read().name(mechanism, text, &mut [0; 320]).unwrap_err();
    assert_eq!(name(2, "known"), mechanism(2));
    assert_eq!(name(11, "too many"), mechanism(11));
    let most = page.read().name_bytes();
    assert_eq!(most, 16);
    assert_eq!(name(NEW, ""), GrowthError::Name { most, found: 0 });
    assert_eq!(name(NEW, "seventeen letters"), GrowthError::Name { most, found: 17 });
    let retracted = page.read().retract(0, &mut [0; 320]).unwrap_err();
    assert_eq!(retracted, GrowthError::NotInForce { record: 0 });
    let mut scratch = vec![0; page.model.scratch_words()];
    let inference = page.model.infer(&window, &mut scratch).expect("a window");
    let short = page.read().label(&inference, &Label::new(0), &mut [0; 31]).unwrap_err();
    assert_eq!(short, GrowthError::RoomTooSmall { needed: 32, found: 31 });
    // An inference of another model, though the bytes are the same.
    let twin = page.model.clone();
    let mut inference = twin.infer(&window, &mut scratch).expect("a window");
    let additions = page.read();
    let other = additions.label(&inference, &Label::new(0), &mut [0; 32]);
    assert_eq!(other, Err(GrowthError::OtherModel));
    let other = inference.attribute_with::<1>(&additions, &mut []).map(|_| ());
    assert_eq!(other, Err(GrowthError::OtherModel));
    page.label(&window, &Label::new(0)).expect("room");
    let additions = page.read();
    let mut inference = page.model.infer(&window, &mut scratch).expect("a window");
    let few = inference.attribute_with::<1>(&additions, &mut []).map(|_| ());
    assert_eq!(few, Err(GrowthError::RoomTooSmall { needed: 1, found: 0 }));
}

#[test]
fn a_region_fills_and_is_compacted() {
    let mut page = Page::new();
    let (windows, capacity) = (page.windows(), page.read().capacity());
    assert_eq!(capacity, (4096 - 32) / 32);
    let mut labels = 0;
    let full = loop {
        let label = Label::new((labels % 5) as u8);
        match page.label(&windows[labels % windows.len()], &label) {
            Ok(appended) => assert_eq!(usize::from(appended.record), labels),
            Err(error) => break error,
        }
        labels += 1;
    };
    assert_eq!((full, labels), (GrowthError::Full { capacity }, capacity));
    let additions = page.read();
    let live = additions.iter().count();
    assert!(live < capacity, "some windows were alike");
    let mut other = vec![0; HEADER_BYTES + live * 32];
    let short = additions.compact(&mut other[..HEADER_BYTES + live * 32 - 1]).unwrap_err();
    let needed = HEADER_BYTES + live * 32;
    assert_eq!(short, GrowthError::RoomTooSmall { needed, found: needed - 1 });
    assert_eq!(additions.compact(&mut other), Ok(live));
    let compacted = Additions::from_bytes(page.model, &other).expect("a region");
    assert_eq!((compacted.broken(), compacted.slots_used()), (0, live));
    for window in &windows {
        let answers = [&additions, &compacted].map(|a| answer(page.model, a, window));
        assert_eq!(answers[0], answers[1]);
    }
}

#[test]
fn a_region_takes_as_many_records_as_it_says() {
    let mut page = Page::new();
    page.bytes.resize(HEADER_BYTES + 300 * 32, 0xff);
    assert_eq!(page.read().capacity(), MAX_RECORDS);
    // All of them next to the window and as heavy as can be: the sums stay in bounds.
    let mut heavy = Page::of(&builder::SMALL, Some(1));
    heavy.bytes.resize(HEADER_BYTES + 256 * 32, 0xff);
    let window = heavy.windows()[30].clone();
    let theta = [0.5, 0.5];
    let label = Label { count: u16::MAX, theta: &theta, ..Label::new(NEW) };
    heavy.label(&window, &label).expect("room");
    let record = heavy.bytes[HEADER_BYTES..HEADER_BYTES + 32].to_vec();
    for at in 1..256 {
        let start = HEADER_BYTES + at * 32;
        heavy.bytes[start..start + 32].copy_from_slice(&record);
        repair(&mut heavy.bytes, at, 32);
    }
    let additions = heavy.read();
    assert_eq!(additions.iter().count(), MAX_RECORDS);
    let mut scratch = vec![0; heavy.model.scratch_words()];
    let mut weights = [0; MAX_RECORDS];
    let mut inference = heavy.model.infer(&window, &mut scratch).expect("a window");
    let answer = inference.attribute_with::<1>(&additions, &mut weights).expect("fits");
    assert!(answer.from_field > 0.996, "{}", answer.from_field);
    assert!((answer.mechanism_posterior[3].probability - answer.from_field).abs() < 1e-6);
    let beta = answer.thetas().next().expect("a parameter");
    assert!((beta.mean - 0.5).abs() < 1e-3 && beta.present > 0.996, "{beta:?}");
}

#[test]
fn a_repeated_window_raises_the_count_and_moves_to_the_mean() {
    let mut page = Page::new();
    let window = page.windows()[90].clone();
    let mut scratch = vec![0; page.model.scratch_words()];
    let inference = page.model.infer(&window, &mut scratch).expect("a window");
    let embedding = inference.embedding().to_vec();
    for times in 1..=5_u16 {
        let reach = Some(Reach(0x60));
        let label = Label { tag: times.into(), reach, ..Label::new(NEW) };
        let appended = page.label(&window, &label).expect("room");
        assert_eq!(appended.replaces, times.checked_sub(2));
        let additions = page.read();
        let all: Vec<Addition<'_>> = additions.iter().collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].count, all[0].tag), (16 * times, times.into()));
        let finest = 1 << embedding.iter().map(|q| (q.abs() / 128).min(3)).max().unwrap_or(0);
        for (v, q) in all[0].vector().zip(&embedding) {
            assert!(v.abs_diff(*q) <= finest, "{v} {q}");
        }
    }
    // Not of another mechanism, nor with a parameter that the others do not have, nor from afar.
    let far = page.windows()[3].clone();
    let known = [0.3, f32::NAN];
    let with_theta = Label { theta: &known, ..Label::new(NEW) };
    for (window, label) in
        [(&window, Label::new(NEW + 1)), (&window, with_theta), (&far, Label::new(NEW))]
    {
        assert_eq!(page.label(window, &label).expect("room").replaces, None);
    }
    assert_eq!(page.read().iter().count(), 4);
    assert_eq!(page.read().num_mechanisms(), 5);
    assert_eq!(page.read().next_mechanism(), Some(5));
}

#[test]
fn an_empty_region_says_what_the_bank_says() {
    let page = Page::new();
    let additions = page.read();
    for window in page.windows() {
        let mut scratch = vec![0; page.model.scratch_words()];
        let mut inference = page.model.infer(&window, &mut scratch).expect("a window");
        let grown = inference.attribute_with::<5>(&additions, &mut []).expect("fits");
        let grown_thetas: Vec<_> = grown.thetas().map(|t| format!("{t:?}")).collect();
        let (posterior, nearest) = (grown.mechanism_posterior.clone(), grown.nearest.clone());
        assert_eq!((grown.from_field, grown.novelty), (0.0, grown.novelty_of_both));
        let novelty = grown.novelty;
        let plain = inference.attribute::<5>().expect("a bank");
        assert_eq!(novelty, plain.novelty);
        let thetas: Vec<_> = plain.thetas().map(|t| format!("{t:?}")).collect();
        assert_eq!(grown_thetas, thetas);
        let probabilities: Vec<f32> = posterior.iter().map(|share| share.probability).collect();
        assert_eq!(probabilities, plain.mechanism_posterior.to_vec());
        for (grown, plain) in nearest.iter().zip(&plain.nearest) {
            assert_eq!(grown.part, BankPart::Artifact);
            assert_eq!(grown.prototype, plain.prototype);
            assert_eq!((grown.index, grown.mechanism), (plain.index, plain.mechanism));
            assert_eq!(grown.squared_distance, plain.squared_distance);
            assert_eq!(grown.weight, plain.weight);
        }
    }
}

/// A section of the bank, as the file has it.
fn section(page: &Page, of: impl Fn(&Bank<'static>) -> Section) -> &'static [u8] {
    let start = u32::from_le_bytes(page.artifact[16..20].try_into().expect("four bytes"));
    let section = of(page.model.manifest().bank.as_ref().expect("a bank"));
    &page.artifact[(start + section.offset) as usize..][..section.length as usize]
}

/// A prototype of either part, for the reference.
struct Prototype {
    vector: Vec<i64>,
    reach: Reach,
    mass: u128,
    /// Of every mechanism, in 1/255.
    shares: Vec<u128>,
    /// Share that has each parameter, in 1/255; mean and deviation of its code.
    thetas: Vec<(u128, u128, u128)>,
}

fn prototypes(page: &Page, additions: &Additions<'_>) -> Vec<Prototype> {
    let model = page.model;
    let bank = model.manifest().bank.as_ref().expect("a bank");
    let (known, thetas) = (model.manifest().mechanisms.len(), bank.theta.len());
    let (reaches, shares) = (section(page, |b| b.reaches), section(page, |b| b.shares));
    let moments = section(page, |b| b.moments);
    let mut all: Vec<Prototype> = (0..bank.prototypes as usize)
        .map(|row| {
            let own = &shares[row * (known - 1)..][..known - 1];
            let mut shares: Vec<u128> = own.iter().map(|s| u128::from(*s)).collect();
            shares.push(255 - shares.iter().sum::<u128>());
            let of_theta = |at: usize| {
                let theta = bank.theta.at(at).expect("a parameter");
                let has = (0..known).filter(|m| theta.has(*m)).map(|m| shares[m]).sum();
                let pair = &moments[2 * (row * thetas + at)..][..2];
                (has, u128::from(pair[0]), u128::from(pair[1]))
            };
            Prototype {
                vector: model.prototype_vector(row as u32).expect("a row").map(i64::from).collect(),
                reach: Reach(reaches[row]),
                mass: model.prototype_mass(row as u32).expect("a row").into(),
                thetas: (0..thetas).map(of_theta).collect(),
                shares,
            }
        })
        .collect();
    all.extend(additions.iter().map(|addition| {
        let mut shares = vec![0; additions.num_mechanisms()];
        shares[usize::from(addition.mechanism)] = 255;
        let mass = u128::from(addition.count) * 4096 / u128::from(additions.prior_observations());
        let of_theta = |at| match addition.theta_code(at) {
            THETA_ABSENT => (0, 0, 0),
            code => (255, u128::from(code), 0),
        };
        Prototype {
            vector: addition.vector().map(i64::from).collect(),
            reach: addition.reach,
            mass: mass.clamp(1, 65_536),
            shares,
            thetas: (0..thetas).map(of_theta).collect(),
        }
    }));
    all
}

#[test]
fn answers_equal_a_slow_reference() {
    let mut random = Random::new(0x9e0);
    for (shape, prior) in [
        (builder::SMALL, None),
        (builder::SMALL, Some(1)),
        (builder::WIDE, Some(300)),
        (builder::BYTES, None),
    ] {
        let mut page = Page::of(&shape, prior);
        let windows = page.windows();
        for step in 0..60 {
            let window = &windows[random.below(windows.len() as u32) as usize];
            let theta = [[0.3, f32::NAN], [f32::NAN; 2], [0.15, 0.5]][random.below(3) as usize];
            let label = Label {
                count: 1 + random.below(if step % 7 == 0 { 60_000 } else { 40 }) as u16,
                theta: &theta,
                reach: (random.below(2) == 0).then(|| Reach(random.below(256) as u8)),
                tag: step,
                ..Label::new(random.below(8) as u8)
            };
            page.label(window, &label).expect("room");
            if random.below(6) == 0 {
                let record = page.read().iter().next().expect("one").record;
                page.append(|additions, bytes| additions.retract(record, bytes)).expect("room");
            }
            check_against_reference(&page, &windows[(7 * step as usize) % windows.len()]);
        }
    }
}

fn check_against_reference(page: &Page, window: &[f32]) {
    let additions = page.read();
    let bank = page.model.manifest().bank.as_ref().expect("a bank");
    let all = prototypes(page, &additions);
    let mut scratch = vec![0; page.model.scratch_words()];
    let mut inference = page.model.infer(window, &mut scratch).expect("a window");
    let query: Vec<i64> = inference.embedding().iter().map(|q| i64::from(*q)).collect();
    let distance = |p: &Prototype| -> u32 {
        let sum: i64 = p.vector.iter().zip(&query).map(|(v, q)| (v - q) * (v - q)).sum();
        sum.try_into().expect("a word")
    };
    let distances: Vec<u32> = all.iter().map(distance).collect();
    let exponent = |(p, d): (&Prototype, &u32)| p.reach.exponent(*d, bank.reach_shift);
    let exponents: Vec<u32> = all.iter().zip(&distances).map(exponent).collect();
    let least = *exponents.iter().min().expect("a prototype");
    let weight = |(p, e): (&Prototype, &u32)| u128::from(kernel_weight(e - least)) * p.mass;
    let weights: Vec<u128> = all.iter().zip(&exponents).map(weight).collect();
    let total: u128 = weights.iter().sum();
    let of_bank = bank.prototypes as usize;

    let mut room = vec![7; additions.slots_used() + 3];
    let answer = inference.attribute_with::<6>(&additions, &mut room).expect("fits");
    let close = |found: f32, numerator: u128, denominator: u128| {
        let exact = numerator as f64 / denominator as f64;
        assert!((f64::from(found) - exact).abs() <= 3e-7 * exact.max(1e-3), "{found} {exact}");
    };
    close(answer.from_field, weights[of_bank..].iter().sum(), total);
    assert_eq!(answer.mechanism_posterior.len(), additions.num_mechanisms());
    for (mechanism, share) in answer.mechanism_posterior.iter().enumerate() {
        let sum = |from: usize| -> u128 {
            let parts = all.iter().zip(&weights).skip(from);
            parts.map(|(p, w)| w * p.shares.get(mechanism).copied().unwrap_or(0)).sum()
        };
        close(share.probability, sum(0), 255 * total);
        close(share.from_field, sum(of_bank), 255 * total);
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|at| distances[*at]);
    let records: Vec<Addition<'_>> = additions.iter().collect();
    assert_eq!(answer.nearest.len(), 6);
    for (near, at) in answer.nearest.iter().zip(order) {
        assert_eq!(near.squared_distance, distances[at]);
        close(near.weight, weights[at], total);
        match at.checked_sub(of_bank) {
            None => {
                assert_eq!((near.part, near.prototype), (BankPart::Artifact, at as u32));
                assert_eq!(Some(near.index), page.model.prototype_index(at as u32));
            }
            Some(at) => {
                assert_eq!(near.part, BankPart::Field);
                assert_eq!(near.prototype, u32::from(records[at].record));
                assert_eq!(near.index, u64::from(records[at].tag));
                assert_eq!(near.mechanism, records[at].mechanism);
            }
        }
    }
    for (at, theta) in answer.thetas().enumerate() {
        let range = bank.theta.at(at).expect("a parameter");
        let sum = |of: &dyn Fn((u128, u128, u128)) -> u128| -> u128 {
            all.iter().zip(&weights).map(|(p, w)| w * of(p.thetas[at])).sum()
        };
        let present = sum(&|(has, _, _)| has);
        close(theta.present, present, 255 * total);
        if present == 0 {
            continue;
        }
        let mean = sum(&|(has, mean, _)| has * mean) as f64 / present as f64;
        let square = sum(&|(has, mean, sd)| has * (mean * mean + sd * sd)) as f64 / present as f64;
        let step = f64::from(range.step());
        assert!((f64::from(theta.mean) - f64::from(range.low) - step * mean).abs() < 1e-5);
        let sd = step * (square - mean * mean).max(0.0).sqrt();
        assert!((f64::from(theta.sd) - sd).abs() < 1e-4, "{theta:?} {sd}");
    }
}
