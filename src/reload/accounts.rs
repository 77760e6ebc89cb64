//! Accounts whose tokens or temporary keys are fetched: one for each of them, so that all its deployments share what was fetched, and
//! keep it over a reload that leaves the account as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::authorization::Authorizer;
use crate::catalog::{Identity, IdentityToken, RoleProof};
use crate::http::{AwsRoleKeys, AwsSignature, AzureToken, ClientToken, GoogleToken};

/// The accounts there are, by a digest of all that is said of them.
#[derive(Default)]
pub(super) struct Accounts(BTreeMap<[u8; 32], Arc<dyn Authorizer>>);

impl Accounts {
    /// A build begins: accounts that no snapshot uses any more are forgotten, and their keys with them.
    pub(super) fn begin(&mut self) {
        self.0.retain(|_, account| Arc::strong_count(account) > 1);
    }

    /// What authorises requests of this identity.
    ///
    /// # Errors
    /// Its key is none, or what authorises cannot be sent.
    pub(super) fn authorizer(&mut self, identity: &Identity) -> Result<Arc<dyn Authorizer>, String> {
        match identity {
            Identity::Google(account) => {
                let project = account.quota_project.as_deref().unwrap_or_default();
                let details = account.proof.details();
                let mut parts = vec![&*account.token_uri, account.proof.name(), project];
                parts.extend(details.iter().map(String::as_str));
                parts.extend(identity.secrets());
                self.shared(&parts, || Ok(Arc::new(GoogleToken::new(account)?)))
            }
            // Nothing is fetched for a signature.
            Identity::AwsKeys(keys) => Ok(Arc::new(AwsSignature::new(keys)?)),
            Identity::AwsRole(role) => {
                let mut parts = vec![&*role.arn, &role.session, &role.service, &role.service_region, &role.region];
                parts.extend(role.external_id.as_deref());
                let proof = match &role.proof {
                    RoleProof::Keys(keys) => keys.access_key.clone(),
                    RoleProof::Token(IdentityToken::Text(_)) => String::new(),
                    RoleProof::Token(IdentityToken::File(path)) => path.display().to_string(),
                    RoleProof::Role(first) => {
                        format!("{} {}", first.arn, first.token_file().unwrap_or(Path::new("")).display())
                    }
                };
                parts.push(&proof);
                parts.extend(identity.secrets());
                self.shared(&parts, || Ok(Arc::new(AwsRoleKeys::new(role)?)))
            }
            Identity::Azure(app) => {
                let mut parts = vec![&*app.tenant, &app.client, &app.scope, &app.authority];
                parts.extend(identity.secrets());
                self.shared(&parts, || Ok(Arc::new(AzureToken::new(app))))
            }
            Identity::Client(client) => {
                let mut parts = vec![&*client.url, &client.id, &client.scope];
                parts.extend(identity.secrets());
                self.shared(&parts, || Ok(Arc::new(ClientToken::new(client))))
            }
        }
    }

    /// The account of which all of this is said, made where it is new.
    fn shared(
        &mut self,
        parts: &[&str],
        make: impl FnOnce() -> Result<Arc<dyn Authorizer>, String>,
    ) -> Result<Arc<dyn Authorizer>, String> {
        let mut hash = Sha256::new();
        for part in parts {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize().into();
        if let Some(known) = self.0.get(&digest) {
            return Ok(Arc::clone(known));
        }
        let account = make()?;
        self.0.insert(digest, Arc::clone(&account));
        Ok(account)
    }
}
