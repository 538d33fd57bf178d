//! The mechanisms that a study can name.

use std::sync::Arc;

use serde::Serialize;

use super::compartments::{Compartments, ObservedEpidemic};
use super::gaussian_field::GaussianField;
use super::gaussian_linear::GaussianLinear;
use super::mechanism::{Mechanism, ParameterSpec};
use super::seair::Seair;
use super::seir::Seir;
use super::sir::Sir;
use super::sis::Sis;
use super::student_t_field::StudentTField;
use super::two_moons::TwoMoons;
use crate::study::{Epidemic, MechanismPrior};

/// The mechanisms that a study can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum MechanismKind {
    /// [`Sir`]
    #[serde(rename = "SIR")]
    Sir,
    /// [`Seir`]
    #[serde(rename = "SEIR")]
    Seir,
    /// [`Seair`]
    #[serde(rename = "SEAIR")]
    Seair,
    /// [`Sis`]
    #[serde(rename = "SIS")]
    Sis,
    /// [`GaussianLinear`]
    #[serde(rename = "gaussian-linear")]
    GaussianLinear,
    /// [`TwoMoons`]
    #[serde(rename = "two-moons")]
    TwoMoons,
    /// [`GaussianField`]
    #[serde(rename = "gaussian-field")]
    GaussianField,
    /// [`StudentTField`]
    #[serde(rename = "student-t-field")]
    StudentTField,
}

/// How a mechanism comes to its x.
#[derive(Debug, Clone, Copy)]
pub enum Structure {
    /// Through the observation model that all mechanisms of an epidemic study share.
    Compartments(&'static dyn Compartments),
    /// By itself.
    Complete {
        /// Its parameters.
        parameters: &'static [ParameterSpec],
        /// Numbers that a study must give beside the priors.
        settings: &'static [ParameterSpec],
        /// The mechanism with these settings.
        make: fn(&[f64]) -> Arc<dyn Mechanism>,
    },
}

impl MechanismKind {
    /// All of them.
    pub const ALL: [MechanismKind; 8] = [
        MechanismKind::Sir,
        MechanismKind::Seir,
        MechanismKind::Seair,
        MechanismKind::Sis,
        MechanismKind::GaussianLinear,
        MechanismKind::TwoMoons,
        MechanismKind::GaussianField,
        MechanismKind::StudentTField,
    ];

    /// Its name in studies and, unless a study says otherwise, in answers.
    pub fn name(self) -> &'static str {
        match self {
            MechanismKind::Sir => "SIR",
            MechanismKind::Seir => "SEIR",
            MechanismKind::Seair => "SEAIR",
            MechanismKind::Sis => "SIS",
            MechanismKind::GaussianLinear => "gaussian-linear",
            MechanismKind::TwoMoons => "two-moons",
            MechanismKind::GaussianField => "gaussian-field",
            MechanismKind::StudentTField => "student-t-field",
        }
    }

    /// What is behind the name.
    pub fn structure(self) -> Structure {
        match self {
            MechanismKind::Sir => Structure::Compartments(&Sir),
            MechanismKind::Seir => Structure::Compartments(&Seir),
            MechanismKind::Seair => Structure::Compartments(&Seair),
            MechanismKind::Sis => Sis::STRUCTURE,
            MechanismKind::GaussianLinear => GaussianLinear::STRUCTURE,
            MechanismKind::TwoMoons => TwoMoons::STRUCTURE,
            MechanismKind::GaussianField => GaussianField::STRUCTURE,
            MechanismKind::StudentTField => StudentTField::STRUCTURE,
        }
    }

    /// The parameters whose priors a study gives with the mechanism.
    pub fn parameters(self) -> &'static [ParameterSpec] {
        match self.structure() {
            Structure::Compartments(compartments) => compartments.parameters(),
            Structure::Complete { parameters, .. } => parameters,
        }
    }
}

impl MechanismPrior {
    /// The mechanism that this describes.
    ///
    /// # Panics
    /// When compartments come without an epidemic, which a checked study excludes.
    pub fn mechanism(&self, epidemic: Option<&Epidemic>) -> Arc<dyn Mechanism> {
        match self.kind.structure() {
            Structure::Compartments(compartments) => {
                let epidemic =
                    epidemic.expect("a study with compartments has an observation model");
                Arc::new(ObservedEpidemic::new(compartments, &self.priors, epidemic))
            }
            Structure::Complete { make, .. } => make(&self.settings),
        }
    }
}
