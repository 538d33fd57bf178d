//! Bytes that no exporter wrote: each is an error or a model that stays in bounds, never a panic.

use simground_record::{Generator, record};
use simground_runtime::artifact::{
    CRC_OFFSET, Conditional, Coordinate, FlowStep, Head, Layer, Layout, Manifest, OutputLayer,
    PRELUDE_BYTES, Parameter, ParameterTransform, Records, Section, Target, Theta,
};
use simground_runtime::{ArtifactError, Model, Part};
use simground_tests::builder::{self, Random, assemble, records, repair};
use simground_tests::{golden, stress};

fn golden() -> Vec<u8> {
    std::fs::read(golden::folder().join("small.sgnn")).expect("small.sgnn")
}

/// The golden artifact whose heads answer theta.
fn joint() -> Vec<u8> {
    std::fs::read(golden::folder().join("joint.sgnn")).expect("joint.sgnn")
}

/// Those of plain bytes: with inputs of 12 bits, and of 8.
fn of_bytes() -> [Vec<u8>; 2] {
    let read = |name| std::fs::read(golden::folder().join(name)).expect("a golden artifact");
    [read("wide.sgnn"), read("bytes.sgnn")]
}

/// A small one of that layout.
fn few_bytes() -> Vec<u8> {
    builder::build(&builder::Shape { d_values: 5, trunk: &[20], ..builder::BYTES })
}

/// The golden artifacts with a likelihood ratio, in either layout.
fn ratios() -> [Vec<u8>; 2] {
    let read = |name| std::fs::read(golden::folder().join(name)).expect("a golden artifact");
    [read("ratio.sgnn"), read("ratio-bytes.sgnn")]
}

/// The golden artifact with a flow.
fn flow() -> Vec<u8> {
    std::fs::read(golden::folder().join("flow.sgnn")).expect("flow.sgnn")
}

/// Runs everything that a model offers, over exactly the scratch that it asks for.
fn exercise(model: &Model<'_>) {
    let mut scratch = vec![0xdead_beef; model.scratch_words()];
    let mut words = 0_u64;
    for value in [f32::NAN, 7.0, f32::MAX, f32::NEG_INFINITY] {
        let window = vec![value; model.d_values()];
        record(model, &window, &mut scratch, &mut |_| words += 1);
        let mut inference = model.infer(&window, &mut scratch).expect("the lengths fit");
        assert!(inference.output_values().all(f32::is_finite));
        if let Some(posterior) = inference.mechanism_posterior() {
            let total: f32 = posterior.iter().sum();
            assert!((total - 1.0).abs() < 1e-3, "{posterior:?}");
        }
        if let Some(mixture) = inference.mixture() {
            let mut theta = vec![f32::NAN; mixture.parameters().len()];
            mixture.sample(&mut Generator(7), &mut theta);
            for (at, parameter) in mixture.parameters().iter().enumerate() {
                let inside = |value: f32| parameter.low <= value && value <= parameter.high;
                let answers = [Some(theta[at]), mixture.mean(at), mixture.quantile(at, 0.9)];
                assert!(answers.into_iter().flatten().all(inside), "{parameter:?} {answers:?}");
            }
            mixture.log_density(&theta);
            mixture.covariance(0, theta.len());
        }
        if let Some(mut ratio) = inference.ratio() {
            let maximum = ratio.maximum();
            assert!(maximum.log_ratio.is_finite() && ratio.log_ratio(&[]).is_nan());
            for (at, parameter) in ratio.parameters().iter().enumerate() {
                let inside = |value: f32| parameter.low <= value && value <= parameter.high;
                assert!(inside(maximum.theta[at]), "{parameter:?}");
                // An interval is hundreds of evaluations.
                if at == 0 && value == 7.0 {
                    let ends = ratio.interval(&maximum, at, 0.95).expect("a parameter");
                    assert!(inside(ends.0) && inside(ends.1), "{parameter:?} {ends:?}");
                }
                ratio.interval_contains(&maximum, at, value, 0.95);
            }
            assert_eq!(ratio.interval(&maximum, maximum.theta.len(), 0.95), None);
            ratio.log_ratio(&vec![value; maximum.theta.len()]);
        }
        if let Some(mut flow) = inference.flow() {
            let mut theta = vec![f32::NAN; flow.parameters().len()];
            for seed in 0..3 {
                flow.sample(&mut Generator(seed), &mut theta);
                for (parameter, value) in flow.parameters().iter().zip(&theta) {
                    assert!(parameter.low <= *value && *value <= parameter.high, "{parameter:?}");
                }
            }
            flow.sample(&mut Generator(7), &mut []);
        }
        if let Some(attribution) = inference.attribute::<3>() {
            assert!(attribution.novelty > 0.0 && attribution.novelty <= 1.0);
            for theta in attribution.thetas() {
                assert!(theta.present == 0.0 || (theta.mean.is_finite() && !theta.sd.is_nan()));
            }
        }
    }
    assert!(words > 0);
    let extremes = vec![i16::MIN; model.padded_input()];
    let mut inference = model.infer_integers(&extremes, &mut scratch).expect("the lengths fit");
    inference.checksums();
    inference.nearest::<4>();
    let _ = model.self_test(&mut scratch);
    for prototype in [0, 1, 29, 30, u32::MAX] {
        model.prototype_theta(prototype, 0);
        model.prototype_theta(prototype, usize::MAX);
        model.prototype_mass(prototype);
    }
}

/// The bytes as an artifact, after everything that it offers has run.
fn outcome(bytes: &[u8]) -> Result<(), ArtifactError> {
    Model::from_bytes(bytes).map(|model| exercise(&model))
}

#[test]
fn every_length_is_cut() {
    let bytes = golden();
    for length in 0..bytes.len() {
        let found = Model::from_bytes(&bytes[..length]).map(|_| ());
        let needed = if length < PRELUDE_BYTES { PRELUDE_BYTES } else { bytes.len() } as u32;
        assert_eq!(found, Err(ArtifactError::Truncated { needed, found: length as u32 }));
    }
}

#[test]
fn trailing_bytes_are_counted() {
    let mut bytes = golden();
    let expected = bytes.len() as u32;
    for more in 1..40 {
        bytes.push(0);
        let found = expected + more;
        let error = ArtifactError::TrailingBytes { expected, found };
        assert_eq!(Model::from_bytes(&bytes).map(|_| ()), Err(error));
    }
}

#[test]
fn every_changed_bit_is_an_error() {
    let mut bytes = golden();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let error = Model::from_bytes(&bytes).map(|_| ()).expect_err("a bit changed");
            match at {
                0..4 => assert!(matches!(error, ArtifactError::NotAnArtifact { .. })),
                4..6 => assert!(matches!(error, ArtifactError::UnsupportedVersion { .. })),
                6..8 => assert!(matches!(error, ArtifactError::UnknownFlags { .. })),
                8..12 => assert!(matches!(
                    error,
                    ArtifactError::Truncated { .. } | ArtifactError::TrailingBytes { .. }
                )),
                _ => assert!(matches!(error, ArtifactError::ChecksumMismatch { .. }), "{error:?}"),
            }
            bytes[at] ^= 1 << bit;
        }
        // Every other value of the byte differs in several bits.
        let original = bytes[at];
        for change in [0xff, 0xaa, 0x7f, 0x0f, original | 1] {
            bytes[at] = original ^ change;
            assert!(change == 0 || Model::from_bytes(&bytes).is_err());
        }
        bytes[at] = original;
    }
}

#[test]
fn unknown_versions_and_flags_are_named() {
    let mut bytes = golden();
    bytes[4..6].copy_from_slice(&2_u16.to_le_bytes());
    repair(&mut bytes);
    let error = Model::from_bytes(&bytes).map(|_| ()).expect_err("a newer version");
    assert_eq!(error, ArtifactError::UnsupportedVersion { found: 2, supported: 1 });
    assert_eq!(error.to_string(), "format version 2, but this runtime reads up to 1");
    let mut bytes = golden();
    bytes[6..8].copy_from_slice(&0x8001_u16.to_le_bytes());
    repair(&mut bytes);
    let error = Model::from_bytes(&bytes).map(|_| ()).expect_err("an unknown flag");
    assert_eq!(error.to_string(), "unknown flags 0x8001");
}

#[test]
fn every_bit_with_the_checksum_repaired_stays_in_bounds() {
    every_bit(golden());
}

#[test]
fn every_bit_of_the_heads_of_theta_stays_in_bounds() {
    every_bit(joint());
}

#[test]
fn every_bit_of_a_layout_of_bytes_stays_in_bounds() {
    every_bit(few_bytes());
}

#[test]
fn every_bit_of_a_ratio_stays_in_bounds() {
    for bytes in ratios() {
        every_bit(bytes);
    }
}

#[test]
fn every_bit_of_a_flow_stays_in_bounds() {
    every_bit(flow());
}

fn every_bit(mut bytes: Vec<u8>) {
    let (mut accepted, mut refused) = (0, 0);
    for at in (0..bytes.len()).filter(|at| !(CRC_OFFSET..CRC_OFFSET + 4).contains(at)) {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            repair(&mut bytes);
            match outcome(&bytes) {
                Ok(()) => accepted += 1,
                Err(_) => refused += 1,
            }
            bytes[at] ^= 1 << bit;
        }
    }
    // Both happen, or the test looks at nothing.
    assert!(accepted > 1_000 && refused > 500, "{accepted} {refused}");
}

#[test]
fn every_value_of_every_manifest_byte_stays_in_bounds() {
    let [ratio, _] = ratios();
    for original in [golden(), joint(), few_bytes(), ratio, flow()] {
        let manifest_len = u32::from_le_bytes(original[12..16].try_into().expect("four bytes"));
        let mut bytes = original.clone();
        for at in 8..PRELUDE_BYTES + manifest_len as usize {
            for value in 0..=u8::MAX {
                bytes[at] = value;
                repair(&mut bytes);
                let _ = outcome(&bytes);
            }
            bytes[at] = original[at];
        }
    }
}

#[test]
fn scattered_changes_stay_in_bounds() {
    let original = golden();
    let mut random = Random::new(0xbad);
    for _ in 0..20_000 {
        let mut bytes = original.clone();
        for _ in 0..=random.below(4) {
            let at = 8 + random.below(bytes.len() as u32 - 8) as usize;
            let extremes = [0, 1, 0x7f, 0x80, 0xff, random.below(256) as u8];
            bytes[at] = extremes[random.below(6) as usize];
        }
        repair(&mut bytes);
        let _ = outcome(&bytes);
    }
}

#[test]
fn moved_and_repeated_stretches_stay_in_bounds() {
    let original = golden();
    let mut random = Random::new(0xc0de);
    for _ in 0..5_000 {
        let mut bytes = original.clone();
        let length = 1 + random.below(64) as usize;
        let mut place = || PRELUDE_BYTES + random.below((bytes.len() - 100) as u32) as usize;
        let (from, to) = (place(), place());
        bytes.copy_within(from..from + length, to);
        repair(&mut bytes);
        let _ = outcome(&bytes);
    }
}

/// A change of the golden artifact's manifest and tensors, and what must come of it.
fn check(
    change: impl FnOnce(&mut Manifest<'static>, &mut Vec<u8>),
    expected: Result<(), ArtifactError>,
) {
    check_in(golden(), change, expected);
}

fn check_in(
    bytes: Vec<u8>,
    change: impl FnOnce(&mut Manifest<'static>, &mut Vec<u8>),
    expected: Result<(), ArtifactError>,
) {
    let bytes: &'static [u8] = bytes.leak();
    let mut manifest = Model::from_bytes(bytes).expect("golden").manifest().clone();
    let start = u32::from_le_bytes(bytes[16..20].try_into().expect("four bytes")) as usize;
    let mut tensors = bytes[start..].to_vec();
    change(&mut manifest, &mut tensors);
    let encoded = postcard::to_stdvec(&manifest).expect("encodes");
    assert_eq!(outcome(&assemble(&encoded, &tensors)), expected);
}

fn list<T: serde::Serialize + serde::Deserialize<'static>>(items: &[T]) -> Records<'static, T> {
    Records::new(items.len() as u16, records(items).leak())
}

/// The records of a list with one of them changed.
fn with<T>(
    list_of: &Records<'static, T>,
    position: usize,
    change: impl FnOnce(&mut T),
) -> Records<'static, T>
where
    T: serde::Serialize + serde::Deserialize<'static>,
{
    let mut items: Vec<T> = list_of.iter().collect();
    change(&mut items[position]);
    list(&items)
}

fn trunk(change: impl FnOnce(&mut Layer), expected: Result<(), ArtifactError>) {
    check(|m, _| m.trunk = with(&m.trunk, 0, change), expected);
}

fn target(change: impl FnOnce(&mut Target<'static>), expected: Result<(), ArtifactError>) {
    let change = |m: &mut Manifest<'static>, _: &mut Vec<u8>| {
        m.heads = with(&m.heads, 1, |head| {
            if let Head::Quantiles { targets, .. } = head {
                *targets = with(targets, 1, change);
            }
        });
    };
    check(change, expected);
}

fn levels(values: &[f32], expected: Result<(), ArtifactError>) {
    let change = |m: &mut Manifest<'static>, _: &mut Vec<u8>| {
        m.heads = with(&m.heads, 1, |head| {
            if let Head::Quantiles { levels, .. } = head {
                *levels = list(values);
            }
        });
    };
    check(change, expected);
}

fn bank(
    change: impl FnOnce(&mut simground_runtime::artifact::Bank<'static>, &mut Vec<u8>),
    expected: Result<(), ArtifactError>,
) {
    check(|m, tensors| change(m.bank.as_mut().expect("a bank"), tensors), expected);
}

fn head_layer<'h>(head: &'h mut Head<'static>) -> &'h mut OutputLayer {
    match head {
        Head::Categorical { layer }
        | Head::Quantiles { layer, .. }
        | Head::Point { layer, .. }
        | Head::Mixture { layer, .. }
        | Head::Ratio { layer, .. }
        | Head::Flow { layer, .. } => layer,
    }
}

/// A change of one parameter of the mixture.
fn parameter(
    position: usize,
    change: impl FnOnce(&mut Parameter<'static>),
    expected: Result<(), ArtifactError>,
) {
    let change = |m: &mut Manifest<'static>, _: &mut Vec<u8>| {
        m.heads = with(&m.heads, 1, |head| {
            if let Head::Mixture { parameters, .. } = head {
                *parameters = with(parameters, position, change);
            }
        });
    };
    check_in(joint(), change, expected);
}

/// A change of the mixture's number of components or of its list of parameters.
fn mixture(
    change: impl FnOnce(&mut u8, &mut Records<'static, Parameter<'static>>),
    expected: Result<(), ArtifactError>,
) {
    let change = |m: &mut Manifest<'static>, _: &mut Vec<u8>| {
        m.heads = with(&m.heads, 1, |head| {
            if let Head::Mixture { parameters, components, .. } = head {
                change(components, parameters);
            }
        });
    };
    check_in(joint(), change, expected);
}

/// A change of the ratio's own layer or of its stack.
fn stack(
    change: impl Fn(&mut OutputLayer, &mut Conditional<'static>, &mut Vec<u8>),
    expected: Result<(), ArtifactError>,
) {
    let change = |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
        m.heads = with(&m.heads, 0, |head| {
            if let Head::Ratio { layer, stack, .. } = head {
                change(layer, stack, tensors);
            }
        });
    };
    for bytes in ratios() {
        check_in(bytes, change, expected);
    }
}

/// A change of the flow's own parts or of its stack.
fn flow_head(change: impl Fn(&mut Head<'static>), expected: Result<(), ArtifactError>) {
    let change = |m: &mut Manifest<'static>, _: &mut Vec<u8>| {
        m.heads = with(&m.heads, 0, |head| change(head));
    };
    check_in(flow(), change, expected);
}

/// A change of one step of the flow.
fn flow_step(at: usize, change: impl Fn(&mut FlowStep), expected: Result<(), ArtifactError>) {
    flow_head(
        |head| {
            if let Head::Flow { steps, .. } = head {
                *steps = with(steps, at, &change);
            }
        },
        expected,
    );
}

const fn value(part: Part) -> Result<(), ArtifactError> {
    Err(ArtifactError::Value(part))
}

const fn shape(part: Part) -> Result<(), ArtifactError> {
    Err(ArtifactError::Shape(part))
}

const fn section(part: Part, needed: u32, found: u32) -> Result<(), ArtifactError> {
    Err(ArtifactError::Section { part, needed, found })
}

/// Writes bytes into a section.
fn overwrite(tensors: &mut [u8], section: Section, at: usize, bytes: &[u8]) {
    let start = section.offset as usize + at;
    tensors[start..start + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn nothing_changed_is_accepted() {
    check(|_, _| (), Ok(()));
}

#[test]
fn wrong_offsets() {
    trunk(|l| l.stream.offset += 1, Err(ArtifactError::SectionAlignment(Part::Trunk(0))));
    let length = 24 * (28 * 4 + 32) / 4;
    for offset in [1 << 20, u32::MAX - 15, 0x8000_0000] {
        trunk(|l| l.stream.offset = offset, section(Part::Trunk(0), length, length));
    }
    bank(|b, _| b.vectors.offset = u32::MAX - 15, section(Part::Bank, 240, 240));
    check(|m, _| m.input.affine.length = u32::MAX, section(Part::Input, 14 * 8, u32::MAX));
    check(|m, t| t.truncate(m.self_test.section.offset as usize), {
        let found = 3 * (14 * 4 + 28 * 2 + 8);
        section(Part::SelfTest, found, found)
    });
}

#[test]
fn overlapping_sections_are_read_in_bounds() {
    // Sections are only read, so two may share their bytes; each must still be sound as what it is read as.
    bank(|b, _| b.vectors.offset = 0, Ok(()));
    bank(|b, _| b.thetas.offset = b.indices.offset, Ok(()));
    bank(|b, _| b.moments.offset = b.vectors.offset, Ok(()));
    bank(|b, _| b.shares.offset = b.vectors.offset, value(Part::Bank));
    bank(|b, _| b.mechanisms.offset = b.vectors.offset, value(Part::Bank));
}

#[test]
fn enormous_shapes() {
    trunk(|l| l.d_output = u16::MAX, shape(Part::Trunk(0)));
    trunk(|l| l.d_input = u16::MAX, shape(Part::Trunk(0)));
    let needed = 1024 * (28 * 4 + 32);
    let found = 24 * (28 * 4 + 32) / 4;
    trunk(|l| l.d_output = 4096, section(Part::Trunk(0), needed, found));
    check(|m, _| m.input.steps = u16::MAX, shape(Part::Input));
    check(|m, _| m.input.steps = 4096, shape(Part::Input));
    bank(|b, _| b.prototypes = u32::MAX, shape(Part::Bank));
    bank(|b, _| b.prototypes = 65_536, section(Part::Bank, 65_536 * 8, 240));
    bank(|b, _| b.embedding.d_output = 4096, {
        let found = 8 / 4 * (20 * 4 + 32);
        section(Part::Embedding, 1024 * (20 * 4 + 32), found)
    });
    check(|m, _| m.self_test.vectors = u16::MAX, {
        section(Part::SelfTest, 65_535 * 120, 3 * 120)
    });
    check(|m, _| m.mechanisms = list(&["many"; 17]), shape(Part::Manifest));
    check(
        |m, _| {
            let layer = m.trunk.at(0).expect("a layer");
            m.trunk = list(&[layer; 9]);
        },
        shape(Part::Manifest),
    );
    check(
        |m, _| {
            let head = m.heads.at(0).expect("a head");
            m.heads = list(&vec![head; 7]);
        },
        shape(Part::Manifest),
    );
    levels(&[0.01; 17], shape(Part::Head(1)));
    let theta = Theta { name: "", unit: "", low: 0.0, high: 1.0, mechanisms: 0 };
    bank(|b, _| b.theta = list(&[theta; 33]), shape(Part::Bank));
}

#[test]
fn zero_sizes() {
    trunk(|l| l.d_output = 0, shape(Part::Trunk(0)));
    trunk(|l| l.d_input = 0, shape(Part::Trunk(0)));
    trunk(|l| l.stream.length = 0, section(Part::Trunk(0), 864, 0));
    check(|m, _| m.input.steps = 0, shape(Part::Input));
    check(|m, _| m.input.channels = list(&[]), shape(Part::Input));
    check(|m, _| m.mechanisms = list(&[]), shape(Part::Manifest));
    check(
        |m, _| m.heads = with(&m.heads, 0, |head| head_layer(head).d_output = 0),
        shape(Part::Head(0)),
    );
    levels(&[], shape(Part::Head(1)));
    bank(|b, _| b.prototypes = 0, shape(Part::Bank));
    bank(|b, _| b.embedding.d_output = 0, shape(Part::Embedding));
    bank(|b, _| b.novelty.length = 0, shape(Part::Novelty));
    bank(|b, _| b.novelty.length = 255, shape(Part::Novelty));
}

#[test]
fn what_may_be_absent_may_be_absent() {
    check(|m, _| m.heads = list(&[]), Ok(()));
    check(|m, _| m.bank = None, Ok(()));
    check(
        |m, _| {
            m.self_test = simground_runtime::artifact::SelfTest {
                vectors: 0,
                section: Section { offset: 0, length: 0 },
            }
        },
        Ok(()),
    );
    bank(
        |b, _| {
            b.theta = list(&[]);
            b.thetas.length = 0;
            b.moments.length = 0;
        },
        Ok(()),
    );
}

#[test]
fn counts_that_disagree() {
    check(
        |m, _| {
            let transforms: Vec<_> = m.input.transforms.iter().collect();
            m.input.transforms = list(&transforms[1..]);
        },
        shape(Part::Input),
    );
    let encoded = |m: &Manifest<'static>| -> &'static [u8] {
        records(&m.trunk.iter().collect::<Vec<_>>()).leak()
    };
    for count in [0, 1, 3, u16::MAX] {
        let undecodable = Err(ArtifactError::Undecodable(Part::Manifest));
        check(|m, _| m.trunk = Records::new(count, encoded(m)), undecodable);
    }
    // The second hidden layer no longer fits what it reads.
    check(|m, _| m.trunk = list(&[m.trunk.at(1).expect("a layer")]), shape(Part::Trunk(0)));
    check(|m, _| m.mechanisms = list(&["SIR", "SEIR"]), shape(Part::Head(0)));
    levels(&[0.1, 0.9], shape(Part::Head(1)));
    bank(|b, _| b.prototypes = 29, section(Part::Bank, 232, 240));
    check(|m, _| m.self_test.vectors = 2, section(Part::SelfTest, 240, 360));
}

#[test]
fn numbers_outside_their_range() {
    for q_max in [0, -1, i16::MIN] {
        check(|m, _| m.input.q_max = q_max, value(Part::Input));
    }
    check(|m, _| m.input.indicator = -1, value(Part::Input));
    check(|m, _| m.input.indicator = m.input.q_max + 1, value(Part::Input));
    for scale in [f32::NAN, 0.0, -1.0, f32::INFINITY] {
        let change = |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
            overwrite(tensors, m.input.affine, 8 * 3 + 4, &scale.to_le_bytes());
        };
        check(change, value(Part::Input));
    }
    for center in [f32::NAN, f32::INFINITY] {
        let change = |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
            overwrite(tensors, m.input.affine, 8 * 13, &center.to_le_bytes());
        };
        check(change, value(Part::Input));
    }
    trunk(|l| (l.low, l.high) = (1, 0), value(Part::Trunk(0)));
    trunk(|l| (l.low, l.high) = (i16::MAX, i16::MIN), value(Part::Trunk(0)));
    bank(|b, _| b.embedding.low = i16::MIN, value(Part::Embedding));
    bank(|b, _| b.embedding.high = 1024, value(Part::Embedding));
    bank(|b, _| b.reach_shift = u8::MAX, Ok(()));
    for bytes in [0, 9, u8::MAX] {
        bank(|b, _| b.index_bytes = bytes, shape(Part::Bank));
    }
    bank(|b, _| b.index_bytes = 8, section(Part::Bank, 240, 90));
    bank(|b, _| b.theta = with(&b.theta, 0, |t| t.mechanisms = 0b1000), value(Part::Bank));
    bank(|b, _| b.theta = with(&b.theta, 0, |t| t.mechanisms = 0), Ok(()));
    for spread in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        target(|t| t.spread = spread, value(Part::Head(1)));
    }
    target(|t| t.center = f32::NAN, value(Part::Head(1)));
    target(|t| t.lower = f32::NAN, value(Part::Head(1)));
    target(|t| (t.lower, t.upper) = (1.0, 0.0), value(Part::Head(1)));
    target(|t| (t.center, t.spread) = (f32::MAX, f32::MAX), Ok(()));
}

#[test]
fn parameters_that_no_answer_can_have() {
    let wrong = || value(Part::Head(1));
    check_in(joint(), |_, _| (), Ok(()));
    for (position, _) in [(); 5].iter().enumerate() {
        parameter(position, |p| p.spread = 0.0, wrong());
        parameter(position, |p| p.spread = f32::NAN, wrong());
        parameter(position, |p| p.center = f32::INFINITY, wrong());
        parameter(position, |p| p.center = 1e30, wrong());
        parameter(position, |p| (p.low, p.high) = (2.0, 1.0), wrong());
        parameter(position, |p| p.low = f32::NAN, wrong());
    }
    // A transform and a support that do not fit each other.
    parameter(0, |p| p.transform = ParameterTransform::Log, wrong());
    parameter(0, |p| p.transform = ParameterTransform::LogValue, wrong());
    parameter(1, |p| p.high = 9.0, wrong());
    parameter(1, |p| p.low = f32::NEG_INFINITY, wrong());
    parameter(4, |p| p.high = f32::INFINITY, wrong());
    parameter(4, |p| p.low = 0.0, wrong());
    parameter(4, |p| (p.integer, p.low) = (true, 0.5), wrong());
    parameter(3, |p| p.high = f32::INFINITY, Ok(()));
    parameter(0, |p| (p.low, p.high) = (1.0, 1.0), wrong());
    parameter(3, |p| (p.low, p.high) = (1.0, 1.0), Ok(()));
    parameter(0, |p| (p.low, p.high) = (-3.0, 3.0), Ok(()));
    mixture(|components, _| *components = 0, shape(Part::Head(1)));
    mixture(|components, _| *components = 17, shape(Part::Head(1)));
    mixture(|components, _| *components = 1, shape(Part::Head(1)));
    mixture(|_, parameters| *parameters = list(&[]), shape(Part::Head(1)));
    mixture(
        |_, parameters| *parameters = list(&[parameters.at(0).expect("a parameter"); 33]),
        shape(Part::Head(1)),
    );
    mixture(
        |_, parameters| *parameters = Records::new(6, records(&builder::parameters()).leak()),
        Err(ArtifactError::Undecodable(Part::Head(1))),
    );
}

#[test]
fn unsorted_tables() {
    levels(&[0.5, 0.05, 0.95], value(Part::Head(1)));
    levels(&[0.5, 0.5, 0.95], value(Part::Head(1)));
    levels(&[0.0, 0.5, 0.95], value(Part::Head(1)));
    levels(&[0.05, 0.5, 1.0], value(Part::Head(1)));
    levels(&[0.05, f32::NAN, 0.95], value(Part::Head(1)));
    bank(
        |b, tensors| overwrite(tensors, b.novelty, 4 * 10, &u32::MAX.to_le_bytes()),
        value(Part::Novelty),
    );
}

#[test]
fn weights_that_could_overflow() {
    // All weights at the limit: 28 inputs of at most 2,047 stay below 2^23, of 32,767 they do not.
    let change = |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
        let stream = m.trunk.at(0).expect("a layer").stream;
        overwrite(tensors, stream, 0, &[0x7f; 28 * 4]);
    };
    check(change, Ok(()));
    let change = |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
        change(m, tensors);
        m.input.q_max = i16::MAX;
    };
    check(change, Err(ArtifactError::AccumulatorBound { part: Part::Trunk(0), row: 0 }));
    let change = |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
        let stream = m.trunk.at(0).expect("a layer").stream;
        overwrite(tensors, stream, 28 * 4 + 4, &i32::MIN.to_le_bytes());
    };
    check(change, Err(ArtifactError::AccumulatorBound { part: Part::Trunk(0), row: 1 }));
}

/// In plain bytes a row has its accumulator for itself, and hidden activations are bytes.
#[test]
fn plain_bytes_out_of_range() {
    for bytes in of_bytes() {
        check_in(bytes.clone(), |_, _| (), Ok(()));
        for clamps in [(-129, 127), (-128, 128), (0, i16::MAX)] {
            let change = |m: &mut Manifest<'static>, _: &mut Vec<u8>| {
                m.trunk = with(&m.trunk, 1, |l| (l.low, l.high) = clamps);
            };
            check_in(bytes.clone(), change, value(Part::Trunk(1)));
        }
        // Its embedding is as wide as any.
        let change = |m: &mut Manifest<'static>, _: &mut Vec<u8>| {
            m.bank.as_mut().expect("a bank").embedding.high = 1024;
        };
        check_in(bytes.clone(), change, value(Part::Embedding));
        // The last row's bias stands at the beginning of its block.
        let change = |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
            let stream = m.trunk.at(1).expect("a layer").stream;
            let last_block = stream.length as usize - (4 * 152 + 32);
            overwrite(tensors, stream, last_block + 12, &i32::MIN.to_le_bytes());
        };
        let error = ArtifactError::AccumulatorBound { part: Part::Trunk(1), row: 23 };
        check_in(bytes.clone(), change, Err(error));
        // Its scales at the end.
        let change = |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
            let stream = m.heads.at(0).expect("a head").layer().stream;
            let last = stream.length as usize - 4;
            overwrite(tensors, stream, last, &f32::NAN.to_le_bytes());
        };
        check_in(bytes, change, value(Part::Head(0)));
    }
    // Weights of one sign and inputs of 16 bits: 256 inputs stay below 2^30, 300 do not.
    let tall = builder::Shape { name: "tall", d_values: 150, q_max: i16::MAX, ..builder::WIDE };
    let change = |inputs: usize| {
        move |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
            let stream = m.trunk.at(0).expect("a layer").stream;
            overwrite(tensors, stream, 16, &vec![0; 4 * 300]);
            overwrite(tensors, stream, 16, &vec![0x80; 4 * inputs]);
        }
    };
    check_in(builder::build(&tall), change(252), Ok(()));
    let error = ArtifactError::AccumulatorBound { part: Part::Trunk(0), row: 0 };
    check_in(builder::build(&tall), change(300), Err(error));
}

/// What one layout's weights are as the other's is another network, never a fault.
#[test]
fn an_artifact_of_the_other_layout_stays_in_bounds() {
    let [wide, bytes] = of_bytes();
    for original in [golden(), joint(), wide, bytes] {
        let original: &'static [u8] = original.leak();
        let mut manifest = Model::from_bytes(original).expect("golden").manifest().clone();
        manifest.layout = match manifest.layout {
            Layout::Pairs => Layout::Bytes,
            Layout::Bytes => Layout::Pairs,
        };
        // Clamps that both have.
        let layers: Vec<_> =
            manifest.trunk.iter().map(|l| Layer { low: 0, high: 127, ..l }).collect();
        manifest.trunk = list(&layers);
        let start = u32::from_le_bytes(original[16..20].try_into().expect("four bytes")) as usize;
        let encoded = postcard::to_stdvec(&manifest).expect("encodes");
        let _ = outcome(&assemble(&encoded, &original[start..]));
    }
}

#[test]
fn a_bank_without_mass_or_mechanism() {
    bank(|b, tensors| overwrite(tensors, b.masses, 2 * 7, &[0, 0]), value(Part::Bank));
    bank(|b, tensors| overwrite(tensors, b.masses, 0, &[0xff; 60]), value(Part::Bank));
    bank(|b, tensors| overwrite(tensors, b.mechanisms, 4, &[3]), value(Part::Bank));
    bank(|b, tensors| overwrite(tensors, b.thetas, 0, &[0xff; 60]), Ok(()));
    bank(|b, tensors| overwrite(tensors, b.moments, 0, &[0xff; 120]), Ok(()));
    bank(|b, tensors| overwrite(tensors, b.reaches, 0, &[0xff; 30]), Ok(()));
    bank(|b, tensors| overwrite(tensors, b.reaches, 0, &[0; 30]), Ok(()));
}

#[test]
fn shares_beyond_the_whole() {
    bank(|b, tensors| overwrite(tensors, b.shares, 2 * 11, &[0, 255]), Ok(()));
    bank(|b, tensors| overwrite(tensors, b.shares, 2 * 11, &[1, 255]), value(Part::Bank));
    bank(|b, tensors| overwrite(tensors, b.shares, 0, &[128; 60]), value(Part::Bank));
}

/// Two logits of infinity differ by NaN: scales whose outputs overflow are refused.
#[test]
fn regression_scales_that_overflow_are_refused() {
    for scale in [f32::NAN, f32::INFINITY, f32::MAX, -f32::MAX, 1e30] {
        let change = |m: &mut Manifest<'static>, tensors: &mut Vec<u8>| {
            let stream = m.heads.at(0).expect("a head").layer().stream;
            let scales = scale.to_le_bytes().repeat(4);
            overwrite(tensors, stream, 20 * 4 + 16, &scales);
        };
        check(change, value(Part::Head(0)));
    }
}

/// The step between two codes of a parameter is finite.
#[test]
fn regression_parameter_ranges_that_overflow_are_refused() {
    let theta = |low, high, expected| {
        bank(|b, _| b.theta = with(&b.theta, 0, |t| (t.low, t.high) = (low, high)), expected);
    };
    theta(-f32::MAX, f32::MAX, value(Part::Bank));
    theta(0.0, f32::INFINITY, value(Part::Bank));
    theta(f32::NAN, 1.0, value(Part::Bank));
    theta(1.0, 0.0, value(Part::Bank));
    theta(0.0, f32::MAX, value(Part::Bank));
    theta(-7e28, 7e28, Ok(()));
    theta(1.0, 1.0, Ok(()));
}

#[test]
fn lengths_in_the_prelude_that_contradict() {
    let word = |at: usize, change: &dyn Fn(u32) -> u32| {
        let mut bytes = golden();
        let old = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        bytes[at..at + 4].copy_from_slice(&change(old).to_le_bytes());
        repair(&mut bytes);
        outcome(&bytes)
    };
    for at in [12, 16, 20, 24] {
        for change in [|_| u32::MAX, |old: u32| old.wrapping_add(16), |_| 0x8000_0000] {
            assert_eq!(word(at, &change), Err(ArtifactError::Prelude), "word at {at}");
        }
    }
    // One byte less of the manifest, within the same padding.
    assert_eq!(word(12, &|old| old - 1), Err(ArtifactError::Undecodable(Part::Manifest)));
}

#[test]
fn a_window_of_another_length_is_refused() {
    let bytes = golden();
    let model = Model::from_bytes(&bytes).expect("golden");
    let mut scratch = vec![0; model.scratch_words()];
    for length in [0, 13, 15, 4096] {
        assert!(model.infer(&vec![0.0; length], &mut scratch).is_err());
    }
    assert!(model.infer(&[0.0; 14], &mut scratch[1..]).is_err());
    assert_eq!(stress::host_record(&model, &[]).len(), 1);
}

#[test]
fn a_stack_on_theta_is_proved() {
    let head = Part::Head(0);
    stack(|_, _, _| (), Ok(()));
    for grid in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        stack(|_, s, _| s.grid = grid, value(head));
    }
    for q_max in [0, -1, i16::MIN] {
        stack(|_, s, _| s.q_max = q_max, value(head));
    }
    // Fraction bits: 9 of the outputs, 1 to 28 more of the sums.
    for (fraction, expected) in [(9, value(head)), (10, Ok(())), (37, Ok(())), (38, value(head))] {
        stack(|_, s, _| s.fraction = fraction, expected);
    }
    for (low, high) in [(0, 2_047), (-500, 2_047), (512, 2_047), (-512, 511), (i16::MIN, i16::MAX)]
    {
        stack(|_, s, _| (s.low, s.high) = (low, high), value(head));
    }
    let layer = |low: i16| {
        move |_: &mut OutputLayer, s: &mut Conditional<'static>, _: &mut Vec<u8>| {
            s.hidden = with(&s.hidden, 0, |layer| layer.low = low);
        }
    };
    stack(layer(0), value(head));
    stack(layer(-256), Ok(()));
    stack(|_, s, _| s.hidden = with(&s.hidden, 0, |layer| layer.d_input = 11), shape(head));
    stack(|_, s, _| s.hidden = list(&[s.hidden.at(0).expect("a layer"); 4]), shape(head));
    stack(|_, s, _| s.hidden = Records::new(2, &[0]), Err(ArtifactError::Undecodable(head)));
    stack(|_, s, _| s.output.d_output = 2, shape(head));
    stack(|layer, _, _| layer.d_output = 0, shape(head));
    stack(|layer, _, _| layer.d_output = 14, section(head, 4 * (4 * 12 + 32), 3 * (4 * 12 + 32)));
    // Twelve rows of four values, ten and three rounded up.
    stack(|_, s, _| s.theta.length = 94, section(head, 96, 94));
    stack(|_, s, _| s.theta.offset += 2, Err(ArtifactError::SectionAlignment(head)));
}

#[test]
fn flows_that_are_none() {
    let head = Part::Head(0);
    for noise in [0.0, -0.5, 16.5, f32::NAN, f32::INFINITY] {
        let change = |head: &mut Head<'static>| {
            if let Head::Flow { noise: own, .. } = head {
                *own = noise;
            }
        };
        flow_head(change, value(head));
    }
    flow_step(1, |step| step.sharpness = 0, value(head));
    flow_step(1, |step| step.sharpness = -1, value(head));
    flow_step(1, |step| step.sharpness = i32::MAX, Ok(()));
    flow_step(2, |step| step.time[3] = 8_191, Ok(()));
    flow_step(2, |step| step.time[3] = 8_192, value(head));
    flow_step(2, |step| step.time[3] = i16::MIN, value(head));
    flow_step(0, |step| step.keep = f32::NAN, value(head));
    flow_step(0, |step| step.gain = -16.0, Ok(()));
    flow_step(0, |step| step.gain = -16.1, value(head));
    flow_step(2, |step| step.correction = f32::INFINITY, value(head));
    let counted = |count: u16| {
        move |head: &mut Head<'static>| {
            if let Head::Flow { steps, .. } = head {
                let step = steps.at(0).expect("a step");
                *steps = list(&vec![step; count.into()]);
            }
        }
    };
    flow_head(counted(0), shape(head));
    flow_head(counted(1), Ok(()));
    flow_head(counted(64), Ok(()));
    flow_head(counted(65), shape(head));
    let placed = |spread: f32, count: usize| {
        move |head: &mut Head<'static>| {
            if let Head::Flow { coordinates, .. } = head {
                *coordinates = list(&vec![Coordinate { center: 0.0, spread }; count]);
            }
        }
    };
    flow_head(placed(1.0, 3), Ok(()));
    flow_head(placed(1.0, 2), shape(head));
    flow_head(placed(0.0, 3), value(head));
    flow_head(placed(f32::NAN, 3), value(head));
    // Three coordinates and four functions of the time are read, three velocities given.
    let d_output = |d: u16| {
        move |head: &mut Head<'static>| {
            if let Head::Flow { stack, .. } = head {
                stack.output.d_output = d;
            }
        }
    };
    flow_head(d_output(2), shape(head));
    flow_head(d_output(1), shape(head));
    let many = |head: &mut Head<'static>| {
        if let Head::Flow { parameters, coordinates, .. } = head {
            let (one, place) = (parameters.at(0).expect("one"), coordinates.at(0).expect("one"));
            *parameters = list(&vec![one; 29]);
            *coordinates = list(&vec![place; 29]);
        }
    };
    flow_head(many, shape(head));
}

#[test]
fn sums_of_a_stack_cannot_leave_their_range() {
    let head = Part::Head(0);
    // A row of theta's weights: 2^29 / 8,191 is 65,544.
    for (third, expected) in
        [(10, Ok(())), (11, Err(ArtifactError::AccumulatorBound { part: head, row: 4 }))]
    {
        let row: Vec<u8> =
            [32_767_i16, -32_767, third, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
        stack(|_, s, tensors| overwrite(tensors, s.theta, 4 * 8, &row), expected);
    }
    // The largest multipliers carry any accumulator to a part that is clamped.
    let largest = i32::MAX.to_le_bytes().repeat(4);
    stack(|layer, _, tensors| overwrite(tensors, layer.stream, 4 * 12 + 16, &largest), Ok(()));
    // Accumulators are compared in the place of ratios: the scale is positive.
    for scale in [0.0_f32, -2e-6, f32::NAN, f32::INFINITY] {
        let bytes = scale.to_le_bytes();
        let change = |_: &mut OutputLayer, s: &mut Conditional<'static>, tensors: &mut Vec<u8>| {
            overwrite(tensors, s.output.stream, 4 * 8 + 16, &bytes);
        };
        stack(change, value(head));
    }
}
