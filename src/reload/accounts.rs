//! Service accounts: one for each key file, so that all deployments of an account share its token, and keep it over a reload that
//! leaves the file as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

use super::folder;
use crate::authorization::Authorization;
use crate::catalog::{Deployment, ServiceAccount};
use crate::http::GoogleToken;

/// The accounts there are, by the digest of their key files.
#[derive(Debug, Default)]
pub(super) struct Accounts(BTreeMap<[u8; 32], Arc<GoogleToken>>);

impl Accounts {
    /// A build begins: accounts that no snapshot uses any more are forgotten, and their keys with them.
    pub(super) fn begin(&mut self) {
        self.0.retain(|_, token| Arc::strong_count(token) > 1);
    }

    /// The token of an account.
    ///
    /// # Errors
    /// Its key file cannot be read, or is none.
    pub(super) fn token(&mut self, account: &ServiceAccount) -> Result<Arc<GoogleToken>, String> {
        let (text, shown) = match account {
            ServiceAccount::Text(text) => (text.clone(), "its service account".to_owned()),
            ServiceAccount::File(path) => {
                // A key may have been pasted where the path belongs.
                let is_path = path.components().count() > 1 || path.extension().is_some_and(|ending| ending == "json");
                let shown =
                    if is_path { path.display().to_string() } else { "its service account's key file".to_owned() };
                let text = folder::read_text(path).map_err(|fault| format!("{shown}: cannot be read: {fault}"))?;
                (SecretString::from(text), shown)
            }
        };
        let digest = Sha256::digest(text.expose_secret()).into();
        if let Some(known) = self.0.get(&digest) {
            return Ok(Arc::clone(known));
        }
        let token = Arc::new(GoogleToken::new(&text).map_err(|why| format!("{shown}: {why}"))?);
        self.0.insert(digest, Arc::clone(&token));
        Ok(token)
    }
}

/// The header its key goes in, prepared; nothing where the operator's own headers hold it already.
pub(super) fn by_key(deployment: &Deployment) -> Result<Authorization, String> {
    let Some(key) = &deployment.credential else { return Ok(Authorization::None) };
    match deployment.format.credential_header(key, deployment.api_version.as_deref()) {
        Some((name, _)) if deployment.headers.contains_key(&name) => Ok(Authorization::None),
        Some((name, value)) => Ok(Authorization::Header(name, value)),
        None => Err(format!(
            "deployment `{}`: its key cannot be sent in a header\nhint: it holds a line break or another character that is no key's",
            deployment.id
        )),
    }
}
