//! What shares a limit.

use std::fmt;
use std::sync::Arc;

use crate::model::ModelId;
use crate::text::write_escaped;

/// Whose calls a limit counts together.
///
/// A demand is held against the limits of [`LimitKey::All`] and of every scope it names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LimitKey {
    /// Every call.
    All,
    /// Calls to one model; aliases of it must be resolved before.
    Model(
        /// The model.
        ModelId,
    ),
    /// Calls from one place in a program.
    Tag(
        /// The tag.
        Tag,
    ),
    /// Calls for one tenant or user.
    Caller(
        /// The caller.
        Caller,
    ),
}

/// The place in a program that a call comes from, such as `summaries`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "String", into = "String"))]
pub struct Tag(Arc<str>);

/// The tenant or user that a call is made for. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "String", into = "String"))]
pub struct Caller(Arc<str>);

macro_rules! name {
    ($name:ident) => {
        impl $name {
            /// By its name.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_escaped(f, &self.0)
            }
        }
    };
}

name!(Tag);
name!(Caller);

impl LimitKey {
    /// Whether it counts what names this model, this tag and this caller, where it names them.
    pub fn counts(
        &self,
        model: Option<&ModelId>,
        tag: Option<&Tag>,
        caller: Option<&Caller>,
    ) -> bool {
        match self {
            Self::All => true,
            Self::Model(own) => model == Some(own),
            Self::Tag(own) => tag == Some(own),
            Self::Caller(own) => caller == Some(own),
        }
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all calls"),
            Self::Model(model) => write!(f, "model {model}"),
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Caller(caller) => write!(f, "caller {caller}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_whose_it_is() {
        assert_eq!(LimitKey::Model("grok-4.3".into()).to_string(), "model grok-4.3");
        assert_eq!(LimitKey::Caller("a\tb".into()).to_string(), "caller a\\tb");
    }
}
