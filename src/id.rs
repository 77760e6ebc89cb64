//! Names that cannot be mistaken for one another, and the identity of a request.
//!
//! Every name is an `Arc<str>` inside: cloning one never copies text. A request's id is derived from
//! the moment it arrived and a seed, so the same run gives the same ids.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::moment::Moment;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name! {
    /// The public model name a client sends: an ordered set of deployments.
    GroupName
}
name! {
    /// One callable target. Limits, breakers and learned state follow this id across reloads.
    DeploymentId
}
name! {
    /// A policy, by the stem of its file: `tpm-aware` for `tpm-aware.wasm`.
    PolicyName
}
name! {
    /// An API family, as configuration spells it: `openai`, `anthropic`, `simulated` …
    ProviderName
}
name! {
    /// Several keys that belong together.
    TeamId
}
name! {
    /// Who asks. The key itself is never kept; this is the name it was given.
    KeyId
}

impl PolicyName {
    /// What a policy's name is made of, for whoever wrote another.
    pub const RULE: &'static str = "small letters, digits and single hyphens, a letter first, at most 64";
    const LONGEST: usize = 64;

    /// Whether a policy of a folder can have this name: it is a word of the lock, and that of packages in several languages too.
    #[must_use]
    pub fn is_fit(name: &str) -> bool {
        let letters = |part: &str| {
            !part.is_empty() && part.bytes().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        };
        name.len() <= Self::LONGEST
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.split('-').all(letters)
    }
}

/// Identity of one request: a version 7 UUID, so ids sort by arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// The id written like this.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// Derives the id from the arrival time and the request's seed; nothing else enters it.
    #[must_use]
    pub fn derive(now: Moment, seed: u64) -> Self {
        let spread = crate::seed::mix(seed);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&seed.to_be_bytes());
        random[8..].copy_from_slice(&spread.to_be_bytes()[..2]);
        let builder = uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &random);
        Self(builder.into_uuid())
    }

    /// What stands before the ids of requests that arrive then, and behind those of all that arrived before: ids are ordered, as
    /// text, by their first 48 bits, which are milliseconds.
    #[must_use]
    pub fn first_at(at: Moment) -> String {
        let millis = at.as_millis().min((1 << 48) - 1);
        format!("{:08x}-{:04x}", millis >> 16, millis & 0xffff)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
