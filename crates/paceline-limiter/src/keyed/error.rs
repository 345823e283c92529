//! Why the limits that every key is to have can't be kept.

use std::error::Error;
use std::fmt;

use crate::limit::LimitError;

/// Why a keyed limiter can't be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyedError {
    /// A limit contradicts itself.
    Limit {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        error: LimitError,
    },
    /// A limit has the key, dimension and refill of one before it.
    Repeated {
        /// Which one, from 0.
        index: usize,
    },
    /// A limit by the rule [`ChargeRule::Flow`](crate::ChargeRule::Flow), which learns from what it
    /// has seen: no key would ever be idle, and evicting one would forget something.
    Learns {
        /// Which one, from 0.
        index: usize,
    },
    /// More limits than each key may have.
    TooManyLimits {
        /// How many each may have.
        most: usize,
    },
}

impl fmt::Display for KeyedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { index, .. } => write!(f, "limit {index} of every key is not possible"),
            Self::Repeated { index } => {
                write!(f, "limit {index} of every key has the refill of one before it")
            }
            Self::Learns { index } => {
                write!(f, "limit {index} is kept by the rule `Flow`, which no key can forget")
            }
            Self::TooManyLimits { most } => write!(f, "a key has {most} limits at most"),
        }
    }
}

impl Error for KeyedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Limit { error, .. } => Some(error),
            _ => None,
        }
    }
}
