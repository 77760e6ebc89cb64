//! Who asks. Authentication is the default: a surface that needs none has to say so itself.

use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::Settings;
use crate::fault::{Refusal, RefusalKind};
use crate::id::KeyId;

static ANYBODY: LazyLock<KeyId> = LazyLock::new(|| KeyId::from("anonymous"));
static MASTER: LazyLock<KeyId> = LazyLock::new(|| KeyId::from("master"));

/// The caller behind a key.
///
/// # Errors
/// `Unauthorized` where a master key is configured and another one, or none, was shown.
pub fn authenticate(settings: &Settings, key: Option<&SecretString>) -> Result<KeyId, Refusal> {
    let Some(master) = &settings.server.master_key else { return Ok(ANYBODY.clone()) };
    let Some(key) = key else {
        let message = "no API key was sent; send the gateway's key as `Authorization: Bearer KEY` or `x-api-key: KEY`";
        return Err(Refusal::new(RefusalKind::Unauthorized, message));
    };
    if same(master, key) {
        return Ok(MASTER.clone());
    }
    let mut refusal = Refusal::new(RefusalKind::Unauthorized, "this API key is not known to the gateway");
    refusal.code = Some("invalid_api_key".to_owned());
    Err(refusal)
}

/// Compares digests, so that the time taken tells nothing about the key.
fn same(one: &SecretString, other: &SecretString) -> bool {
    let digest = |secret: &SecretString| Sha256::digest(secret.expose_secret().as_bytes());
    digest(one) == digest(other)
}
