//! Growth in the field on the host: files of additions, and answers by both parts of a bank in names and units.
//!
//! A file is a region as a device has it, `docs/additions-format.md`: one that a device wrote is read here, and the other way round.

use serde::Serialize;
use simground_runtime::additions::HEADER_BYTES;
use simground_runtime::{
    Additions, AdditionsError, Appended, BankPart, GrowthError, Label, Model, ThetaSummary,
};

use crate::explanation::{MAX_NEAREST, Moments};
use crate::named::Named;

/// A region that grows with its records.
#[derive(Debug, Clone)]
pub struct Region(Vec<u8>);

impl Region {
    /// An empty region; `prior_observations` is what the whole bank is worth, by default one observation a prototype.
    ///
    /// # Errors
    ///
    /// A model without a bank, or a prior outside 1 to 4,096.
    pub fn new(
        model: &Model<'_>,
        prior_observations: Option<u16>,
    ) -> Result<Region, AdditionsError> {
        Ok(Region(Additions::header(model, prior_observations)?.to_vec()))
    }

    /// The bytes of a file, to be proved by [`read`](Self::read).
    pub fn from_bytes(bytes: Vec<u8>) -> Region {
        Region(bytes)
    }

    /// The bytes of a file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the region holds.
    ///
    /// # Errors
    ///
    /// Bytes that are no additions to this model.
    pub fn read<'r>(&'r self, model: &'r Model<'r>) -> Result<Additions<'r>, AdditionsError> {
        Additions::from_bytes(model, &self.0)
    }

    /// Whether the region ends within a record that is not erased.
    pub fn is_cut(&self, model: &Model<'_>) -> bool {
        let size = Additions::record_bytes(model).unwrap_or(0).max(1);
        let records = self.0.get(HEADER_BYTES..).unwrap_or(&[]);
        records.chunks_exact(size).remainder().iter().any(|byte| *byte != 0xff)
    }

    /// Appends the record that `write` makes, into an erased slot where there is one, else behind the last.
    ///
    /// A region that has as many records as it can have is compacted first.
    ///
    /// # Errors
    ///
    /// Why there is no such record; the region then is as it was.
    pub fn append(
        &mut self,
        model: &Model<'_>,
        mut write: impl FnMut(&Additions<'_>, &mut [u8]) -> Result<Appended, GrowthError>,
    ) -> Result<Appended, GrowthError> {
        let size = Additions::record_bytes(model).unwrap_or(0);
        let mut grown = self.0.clone();
        let whole = (grown.len().max(HEADER_BYTES) - HEADER_BYTES) / size.max(1) * size;
        grown.truncate(HEADER_BYTES + whole);
        let mut record = vec![0; size];
        let mut attempt = |bytes: &[u8]| {
            let additions = Additions::from_bytes(model, bytes).expect("the region was read");
            write(&additions, &mut record)
        };
        let mut appended = attempt(&grown);
        if matches!(appended, Err(GrowthError::Full { .. })) {
            grown.resize(grown.len() + size, 0xff);
            appended = attempt(&grown);
        }
        if matches!(appended, Err(GrowthError::Full { .. })) {
            let mut compacted = vec![0xff; grown.len()];
            let additions = Additions::from_bytes(model, &grown).expect("the region was read");
            let records = additions.compact(&mut compacted)?;
            compacted.truncate(HEADER_BYTES + (records + 1) * size);
            grown = compacted;
            appended = attempt(&grown);
        }
        let appended = appended?;
        grown[appended.offset..][..size].copy_from_slice(&record);
        self.0 = grown;
        Ok(appended)
    }

    /// Appends a labeled window.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append).
    ///
    /// # Panics
    ///
    /// If the window is not as wide as the model's.
    pub fn label(
        &mut self,
        model: &Model<'_>,
        window: &[f32],
        label: &Label<'_>,
    ) -> Result<Appended, GrowthError> {
        let mut scratch = vec![0; model.scratch_words()];
        let inference = model.infer(window, &mut scratch).expect("a window of the model's width");
        self.append(model, |additions, record| additions.label(&inference, label, record))
    }
}

/// Position of a mechanism by name: the artifact's, or one that the region names.
pub fn mechanism(additions: &Additions<'_>, name: &str) -> Option<u8> {
    let all = 0..additions.num_mechanisms() as u8;
    all.into_iter().find(|at| mechanism_name(additions, *at) == name)
}

/// The name of a mechanism, control characters escaped; one that the region adds without a name is `unknown 1`, `unknown 2` and so on.
pub fn mechanism_name(additions: &Additions<'_>, mechanism: u8) -> String {
    let known = additions.num_artifact_mechanisms();
    let unnamed = || format!("unknown {}", usize::from(mechanism).saturating_sub(known) + 1);
    // The bytes come from outside, and the name goes to terminals.
    let printable = |name: &str| -> String {
        let escaped =
            |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        name.chars().map(escaped).collect()
    };
    additions.mechanism_name(mechanism).map_or_else(unnamed, printable)
}

/// What both parts of the bank say of one window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grown {
    /// Kernel posterior, and how much of each share rests on the field.
    pub mechanism: Named<Share>,
    /// Share of the kernel posterior that comes from the field.
    pub from_field: f32,
    /// Kernel posterior of each parameter; a label counts for those that it has.
    pub theta: Named<Moments>,
    /// Conformal p-value of the distance to the nearest of both parts: no smaller than the artifact's own.
    pub novelty_of_both: f32,
    /// Nearest of both parts, ascending.
    pub nearest: Vec<Near>,
}

/// A mechanism's share of the kernel posterior.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// All of it.
    pub probability: f32,
    /// What of it rests on labels of the field.
    pub from_field: f32,
}

/// A simulation, or labeled windows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Near {
    /// `artifact` or `field`.
    pub part: &'static str,
    /// Index of the simulation in the corpus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Number of the field's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u32>,
    /// The label's tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<u64>,
    /// How many observations a label stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observations: Option<f32>,
    /// Name of its mechanism.
    pub mechanism: String,
    /// In grid units of the bank.
    pub squared_distance: u32,
    /// Its root.
    pub distance: f32,
    /// Share of the kernel posterior.
    pub weight: f32,
}

/// Explains the answer to one window by the `k` nearest of both parts.
///
/// # Panics
///
/// If the window is not as wide as the model's.
pub fn explain(
    model: &Model<'_>,
    additions: &Additions<'_>,
    window: &[f32],
    k: usize,
) -> Result<Grown, GrowthError> {
    let mut scratch = vec![0; model.scratch_words()];
    let mut weights = vec![0; additions.slots_used()];
    let mut inference = model.infer(window, &mut scratch).expect("a window of the model's width");
    let answer = inference.attribute_with::<MAX_NEAREST>(additions, &mut weights)?;
    let shares = (0..).zip(&answer.mechanism_posterior).map(|(at, share)| {
        let own = Share { probability: share.probability, from_field: share.from_field };
        (mechanism_name(additions, at), own)
    });
    let thetas = model.manifest().bank.iter().flat_map(|bank| bank.theta.iter());
    let near = |near: &simground_runtime::GrownNearest| {
        let field = near.part == BankPart::Field;
        let addition = u16::try_from(near.prototype).ok().and_then(|record| additions.at(record));
        Near {
            part: if field { "field" } else { "artifact" },
            index: (!field).then_some(near.index),
            record: field.then_some(near.prototype),
            tag: field.then_some(near.index),
            observations: addition.filter(|_| field).map(|a| f32::from(a.count) / 16.0),
            mechanism: mechanism_name(additions, near.mechanism),
            squared_distance: near.squared_distance,
            distance: (near.squared_distance as f32).sqrt(),
            weight: near.weight,
        }
    };
    Ok(Grown {
        mechanism: shares.collect(),
        from_field: answer.from_field,
        theta: thetas.zip(answer.thetas()).map(|(t, s)| (t.name.to_owned(), moments(s))).collect(),
        novelty_of_both: answer.novelty_of_both,
        nearest: answer.nearest.iter().take(k).map(near).collect(),
    })
}

fn moments(summary: ThetaSummary) -> Moments {
    let finite = |value: f32| value.is_finite().then_some(value);
    Moments { present: summary.present, mean: finite(summary.mean), sd: finite(summary.sd) }
}
