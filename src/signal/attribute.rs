//! What a policy may be told of a request as text, by name, and which of it takes the operator's word.
//!
//! The names that the gateway itself gives (caller, team, group, API) are told to whoever asks. What a client wrote is told
//! where the configuration grants it: the prompt, tags, metadata, headers. A header that may hold a credential is told to
//! nobody, whatever is granted.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

/// Bytes of a name at most.
const NAME_BYTES: usize = 128;

/// Parts of names that headers with credentials have.
const CREDENTIALS: [&str; 8] = ["auth", "key", "token", "secret", "cookie", "password", "credential", "signature"];

/// A fact about a request as text; "" where it is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The name of the key that was shown, never the key.
    Caller,
    /// The team that key belongs to.
    Team,
    /// The group that is asked.
    Group,
    /// The API the request came through.
    Api,
    /// "1" where somebody only asks where the request would go, and why: it is not served.
    Explain,
    /// The text of the last message of the user.
    Prompt,
    /// Whether the request has this tag, or the value after it.
    Tag(Arc<str>),
    /// The request's `metadata` under this key.
    Metadata(Arc<str>),
    /// A header of the request.
    Header(HeaderName),
}

/// Why a name is no attribute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// There is none of this name.
    #[error("there is no attribute `{0}`")]
    Unknown(String),
    /// It may hold a credential.
    #[error("the header `{0}` may hold a credential, which no policy is told")]
    Credential(HeaderName),
}

impl Attribute {
    /// Those with a name of their own, in documentation order.
    pub const NAMED: [Self; 6] = [Self::Caller, Self::Team, Self::Group, Self::Api, Self::Explain, Self::Prompt];

    /// Every name as documentation writes it, for whoever gave another.
    pub const KNOWN: &str = "caller, team, group, api, explain, prompt, tag:NAME, metadata:KEY, header:NAME";

    /// The attribute of this name.
    ///
    /// # Errors
    /// There is none, or it is one that nobody may be told.
    pub fn parse(name: &str) -> Result<Self, AttributeError> {
        if let Some(named) = Self::NAMED.into_iter().find(|named| named.kind() == name) {
            return Ok(named);
        }
        let unknown = || AttributeError::Unknown(name.chars().take(NAME_BYTES).collect());
        let (kind, rest) = name.split_once(':').ok_or_else(unknown)?;
        // A star is a grant's, and no name's.
        if rest.is_empty() || rest.len() > NAME_BYTES || rest == "*" {
            return Err(unknown());
        }
        match kind {
            "tag" => Ok(Self::Tag(rest.into())),
            "metadata" => Ok(Self::Metadata(rest.into())),
            "header" => {
                let header = HeaderName::try_from(rest).map_err(|_| unknown())?;
                if CREDENTIALS.iter().any(|part| header.as_str().contains(part)) {
                    return Err(AttributeError::Credential(header));
                }
                Ok(Self::Header(header))
            }
            _ => Err(unknown()),
        }
    }

    /// Whether the operator must grant it.
    #[must_use]
    pub const fn needs_grant(&self) -> bool {
        !matches!(self, Self::Caller | Self::Team | Self::Group | Self::Api | Self::Explain)
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Team => "team",
            Self::Group => "group",
            Self::Api => "api",
            Self::Explain => "explain",
            Self::Prompt => "prompt",
            Self::Tag(_) => "tag",
            Self::Metadata(_) => "metadata",
            Self::Header(_) => "header",
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Tag(name) | Self::Metadata(name) => write!(f, ":{name}"),
            Self::Header(name) => write!(f, ":{name}"),
            Self::Caller | Self::Team | Self::Group | Self::Api | Self::Explain | Self::Prompt => Ok(()),
        }
    }
}

/// What the operator lets a policy read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants {
    /// Everything there is: for policies on trial, who see nobody's request.
    All,
    /// These.
    These(Arc<[Grant]>),
}

impl Default for Grants {
    /// Nothing that takes a grant.
    fn default() -> Self {
        Self::These(Arc::new([]))
    }
}

impl Grants {
    /// Whether a policy may read it.
    #[must_use]
    pub fn allow(&self, attribute: &Attribute) -> bool {
        match self {
            Self::All => true,
            Self::These(grants) => !attribute.needs_grant() || grants.iter().any(|grant| grant.covers(attribute)),
        }
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// This attribute.
    One(Attribute),
    /// Any tag (`tag:*`).
    AnyTag,
    /// Any metadata (`metadata:*`).
    AnyMetadata,
}

impl Grant {
    /// The grant that the configuration writes so.
    ///
    /// # Errors
    /// As [`Attribute::parse`].
    pub fn parse(written: &str) -> Result<Self, AttributeError> {
        match written {
            "tag:*" => Ok(Self::AnyTag),
            "metadata:*" => Ok(Self::AnyMetadata),
            name => Attribute::parse(name).map(Self::One),
        }
    }

    fn covers(&self, attribute: &Attribute) -> bool {
        match self {
            Self::One(granted) => granted == attribute,
            Self::AnyTag => matches!(attribute, Attribute::Tag(_)),
            Self::AnyMetadata => matches!(attribute, Attribute::Metadata(_)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        for name in ["caller", "team", "group", "api", "explain", "prompt", "tag:tier", "metadata:job", "header:x-tier"]
        {
            assert_eq!(Attribute::parse(name).unwrap().to_string(), name);
        }
        for name in ["", "face", "tag:", "tag", "header:a b", "cookie:x", "Caller"] {
            assert_eq!(Attribute::parse(name), Err(AttributeError::Unknown(name.to_owned())));
        }
        assert_eq!(Attribute::parse("header:X-Tier"), Attribute::parse("header:x-tier"));
    }

    #[test]
    fn a_header_that_may_hold_a_credential_is_none_however_it_is_written() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "x-api-key",
            "API-Key",
            "x-goog-api-key",
            "cookie",
            "x-amz-security-token",
            "x-client-secret",
        ] {
            let name = format!("header:{name}");
            assert!(matches!(Attribute::parse(&name), Err(AttributeError::Credential(_))), "{name}");
            assert!(Grant::parse(&name).is_err(), "{name}");
        }
        assert!(Grant::parse("header:*").is_err(), "no grant covers headers that nobody named");
    }

    #[test]
    fn what_a_client_wrote_takes_a_grant() {
        let grants =
            |written: &[&str]| Grants::These(written.iter().map(|written| Grant::parse(written).unwrap()).collect());
        let may = |grants: &Grants, name: &str| grants.allow(&Attribute::parse(name).unwrap());
        let some = grants(&["header:x-tier", "tag:*"]);
        for name in ["caller", "team", "group", "api", "explain", "header:x-tier", "tag:a", "tag:b"] {
            assert!(may(&some, name), "{name}");
        }
        for name in ["prompt", "header:x-other", "metadata:job"] {
            assert!(!may(&some, name), "{name}");
            assert!(may(&Grants::All, name), "{name}");
        }
        assert!(may(&grants(&["metadata:*", "prompt"]), "metadata:job"));
        assert!(!may(&Grants::default(), "prompt"));
    }
}
