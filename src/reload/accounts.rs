//! Service accounts: one for each key file, so that all deployments of an account share its token, and keep it over a reload that
//! leaves the file as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

use super::folder;
use crate::catalog::ServiceAccount;
use crate::http::GoogleToken;

/// The accounts there are, by the digest of their key files.
#[derive(Debug, Default)]
pub(super) struct Accounts(BTreeMap<[u8; 32], Arc<GoogleToken>>);

impl Accounts {
    /// The token of an account.
    ///
    /// # Errors
    /// Its key file cannot be read, or is none.
    pub(super) fn token(&mut self, account: &ServiceAccount) -> Result<Arc<GoogleToken>, String> {
        let (text, shown) = match account {
            ServiceAccount::Text(text) => (text.clone(), "its service account".to_owned()),
            ServiceAccount::File(path) => {
                let shown = path.display().to_string();
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
