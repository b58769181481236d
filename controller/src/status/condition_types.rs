//! The types of conditions that we set, with a row each.

use serde::{Serialize, Serializer};

use super::ConditionStatus;
use crate::kinds::StatusShape;

/// The conditions that we set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the condition of that name
pub enum ConditionType {
    Accepted,
    Conflicted,
    InsecureFrontendValidationMode,
    OverlappingTlsConfig,
    PartiallyInvalid,
    Programmed,
    ResolvedRefs,
    SupportedVersion,
}

/// What a condition says.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    /// The type as the API writes it.
    pub name: &'static str,
    /// Its status if all is well.
    pub good: ConditionStatus,
    /// Whether it is present only while something is wrong; every other one is always present.
    pub passing: bool,
    /// How much of the object is lost if its status is not good.
    pub impact: Impact,
    /// The level of the event that reports that it is no longer good; that it is good again is a Normal event. Without
    /// a level there is no event.
    pub event: Option<EventLevel>,
    /// The shapes of the statuses that have it.
    pub shapes: &'static [StatusShape],
}

/// How much of an object is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Impact {
    Nothing,
    Part,
    Whole,
}

/// The `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLevel {
    Normal,
    Warning,
}

impl EventLevel {
    /// The level as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

impl ConditionType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Programmed,
        Self::ResolvedRefs,
        Self::Conflicted,
        Self::PartiallyInvalid,
        Self::OverlappingTlsConfig,
        Self::InsecureFrontendValidationMode,
        Self::SupportedVersion,
    ];

    /// Its row.
    pub const fn meaning(self) -> &'static Meaning {
        use StatusShape::{Ancestors, Conditions, Listeners, Parents};
        match self {
            Self::Accepted => &Meaning {
                name: "Accepted",
                good: ConditionStatus::True,
                passing: false,
                impact: Impact::Whole,
                event: Some(EventLevel::Warning),
                shapes: &[Conditions, Listeners, Parents, Ancestors],
            },
            Self::Programmed => &Meaning {
                name: "Programmed",
                good: ConditionStatus::True,
                passing: false,
                impact: Impact::Part,
                event: Some(EventLevel::Warning),
                shapes: &[Listeners],
            },
            Self::ResolvedRefs => &Meaning {
                name: "ResolvedRefs",
                good: ConditionStatus::True,
                passing: false,
                impact: Impact::Part,
                event: Some(EventLevel::Warning),
                shapes: &[Listeners, Parents, Ancestors],
            },
            Self::Conflicted => &Meaning {
                name: "Conflicted",
                good: ConditionStatus::False,
                passing: false,
                impact: Impact::Part,
                event: Some(EventLevel::Warning),
                shapes: &[Listeners],
            },
            Self::PartiallyInvalid => &Meaning {
                name: "PartiallyInvalid",
                good: ConditionStatus::False,
                passing: true,
                impact: Impact::Part,
                event: Some(EventLevel::Warning),
                shapes: &[Parents],
            },
            Self::OverlappingTlsConfig => &Meaning {
                name: "OverlappingTLSConfig",
                good: ConditionStatus::False,
                passing: true,
                impact: Impact::Nothing,
                event: None,
                shapes: &[Listeners],
            },
            Self::InsecureFrontendValidationMode => &Meaning {
                name: "InsecureFrontendValidationMode",
                good: ConditionStatus::False,
                passing: true,
                impact: Impact::Nothing,
                event: Some(EventLevel::Warning),
                shapes: &[Listeners],
            },
            Self::SupportedVersion => &Meaning {
                name: "SupportedVersion",
                good: ConditionStatus::True,
                passing: false,
                impact: Impact::Part,
                event: None,
                shapes: &[Conditions],
            },
        }
    }

    /// The type as the API writes it.
    pub fn as_str(self) -> &'static str {
        self.meaning().name
    }

    /// The condition of ours that the API writes like this.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Serialize for ConditionType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
