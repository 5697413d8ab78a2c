//! Ids and names. A name is validated where it enters, so that the rest of the code need not ask.

use crate::Refusal;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is: for ids that were checked or made by this program.
            pub fn new(text: impl Into<String>) -> Self {
                $name(text.into())
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A name from the project file: a letter or `_`, then letters, digits, `_` and `-`, at most 100 characters.
    Name
);
text_id!(
    /// An experiment: a decimal number as text, `0` is the default experiment.
    ExperimentId
);
text_id!(
    /// A tracking run: 32 hexadecimal digits.
    RunId
);
text_id!(
    /// A registered model: not empty, without `/`, `:` and control characters.
    ModelName
);
text_id!(
    /// A pipeline run.
    PipelineRunId
);
text_id!(
    /// A prediction: given by the caller or made by the gateway.
    PredictionId
);
text_id!(
    /// An incident of a model, such as `demand-1`.
    IncidentId
);
text_id!(
    /// A recorded training set.
    TrainingSetId
);

impl Name {
    /// Checks a name that a user wrote.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut chars = text.chars();
        let starts_well = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let goes_on_well = chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if starts_well && goes_on_well && text.len() <= 100 {
            return Ok(Name(text.into()));
        }
        Err(Refusal::invalid("name/invalid", format!("`{text}` is not a name"))
            .hint("use a letter first, then letters, digits, `_` and `-`, at most 100 characters"))
    }
}

impl ModelName {
    /// Checks the name of a registered model.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() || text.contains(['/', ':']) || text.chars().any(char::is_control) {
            return Err(Refusal::invalid("model/name", format!("`{text}` cannot name a registered model"))
                .hint("the name must not be empty and must not contain `/` or `:`"));
        }
        Ok(ModelName(text.into()))
    }
}

/// The version of a registered model: 1, 2, 3, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionNumber(pub u64);

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
