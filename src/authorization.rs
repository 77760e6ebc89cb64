//! What a provider demands before it takes a request, added by the host: a header, a token that must be refreshed, a
//! signature over the body.
//!
//! A provider's format says in which header its key goes, and no more: requests are written by formats and policies,
//! authorised here, and sent at once. A header is prepared when a configuration is put in force; what
//! takes time or looks at the body is an [`Authorizer`].

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};

use crate::catalog::Deployment;
use crate::fault::AttemptFault;
use crate::moment::Moment;
use crate::upstream::UpstreamRequest;

/// A request being authorised.
pub type Authorizing<'a> = BoxFuture<'a, Result<(), AttemptFault>>;

/// Authorises requests in a way that takes time or sees the whole request. Time is an argument, as everywhere.
pub trait Authorizer: Send + Sync {
    /// Adds to `request` whatever the provider asks for. The request is sent as it is left here.
    ///
    /// # Errors
    /// Nothing could be had to authorise it with: the attempt fails before it was sent.
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, now: Moment) -> Authorizing<'a>;

    /// The same account as it authorises requests in another region; `None` where regions are nothing to it. What is fetched for the one is
    /// the other's too.
    fn in_region(&self, _region: &str) -> Option<Arc<dyn Authorizer>> {
        None
    }
}

/// How one deployment's requests are authorised.
#[derive(Clone)]
pub enum Authorization {
    /// Not at all: a local server, or a key among the deployment's own headers.
    None,
    /// By the same header on every request, marked sensitive.
    Header(HeaderName, HeaderValue),
    /// By what is made for each request.
    PerRequest(Arc<dyn Authorizer>),
}

impl Authorization {
    /// By the header that the key of `deployment` goes in, prepared; not at all where the operator's own headers hold it already.
    ///
    /// # Errors
    /// Its key cannot be the value of a header.
    pub fn by_key(deployment: &Deployment) -> Result<Self, String> {
        let Some(key) = &deployment.credential else { return Ok(Self::None) };
        match deployment.format.credential_header(key, deployment.api_version.as_deref()) {
            Some((name, _)) if deployment.headers.contains_key(&name) => Ok(Self::None),
            Some((name, value)) => Ok(Self::Header(name, value)),
            None => Err(format!(
                "deployment `{}`: its key cannot be sent in a header\nhint: it holds a line break or another character that is no key's",
                deployment.id
            )),
        }
    }

    /// Whether what authorises a request is not known before: it may take time, and is among no deployment's secrets.
    #[must_use]
    pub const fn is_made(&self) -> bool {
        matches!(self, Self::PerRequest(_))
    }

    /// Authorises a request that is otherwise finished. A header costs neither an allocation nor a wait.
    ///
    /// # Errors
    /// As [`Authorizer::authorize`].
    pub async fn apply(&self, request: &mut UpstreamRequest, now: Moment) -> Result<(), AttemptFault> {
        match self {
            Self::None => Ok(()),
            Self::Header(name, value) => {
                request.headers.insert(name.clone(), value.clone());
                Ok(())
            }
            Self::PerRequest(authorizer) => authorizer.authorize(request, now).await,
        }
    }
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Header(name, _) => write!(f, "Header({name})"),
            Self::PerRequest(_) => f.write_str("PerRequest"),
        }
    }
}

#[cfg(test)]
mod tests;
