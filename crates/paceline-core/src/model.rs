//! The name of a model, as the API spells it.

use std::fmt;
use std::sync::Arc;

use crate::text::write_escaped;

/// A model's name, such as `grok-4.3`. Cheap to clone.
///
/// Any text is taken, because providers name models as they like; control characters are
/// escaped when it is shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "String", into = "String"))]
pub struct ModelId(Arc<str>);

impl ModelId {
    /// A model by its name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name, as it goes on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ModelId {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for ModelId {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<ModelId> for String {
    fn from(model: ModelId) -> Self {
        model.0.as_ref().to_owned()
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.0)
    }
}

impl fmt::Debug for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelId({:?})", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        assert_eq!(ModelId::from("grok\n\u{1b}[31m").to_string(), "grok\\n\\u{1b}[31m");
    }
}
