//! Which deployments share one quota. A provider counts by account and model, whatever rows lead there: rows with the same
//! address, credential, organisation and model share one scope by themselves; `quota: NAME` of `litellm_params` says it where it
//! cannot be seen, and keeps apart what would be joined.
//!
//! The limits of a shared scope are the lowest that its rows give. A credential is compared and never told: a quota is named
//! after its model and a digest of what its rows have in common.
//!
//! Rows come to share and cease to with every change of a file, while their provider goes on counting: each spec says where this
//! configuration keeps the limits of every deployment, so that what was counted goes on counting wherever they are kept next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::deployment::Member;
use super::endpoint::short_digest;
use crate::catalog::Origin;
use crate::limits::{Places, Scope};

/// Gives each deployment the scope of its limits.
pub(super) fn assign(members: &mut [Member]) {
    let mut rows: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (number, member) in members.iter().enumerate() {
        rows.entry(name(member)).or_default().push(number);
    }
    for (name, rows) in rows {
        for number in &rows {
            let Some(member) = members.get_mut(*number) else { continue };
            // Alone it is its own, unless a name was given: others may come to share it.
            let shared = rows.len() > 1 || member.quota.is_some();
            let deployment = &mut member.deployment;
            deployment.scope =
                if shared { Scope::Quota(Arc::from(name.as_str())) } else { Scope::Deployment(deployment.id.clone()) };
        }
    }
    let kept = members.iter().map(|member| (member.deployment.id.clone(), member.deployment.scope.clone()));
    let places: Arc<Places> = Arc::new(kept.collect());
    for member in members {
        member.deployment.limits.places = Some(Arc::clone(&places));
    }
}

/// The quota a deployment belongs to.
fn name(member: &Member) -> String {
    let deployment = &member.deployment;
    if let Some(name) = &member.quota {
        return name.clone();
    }
    let Origin::Http(base) = &deployment.origin else {
        // Each simulated deployment keeps limits of its own.
        return format!("{}-{}", deployment.model, short_digest(&["simulated", deployment.id.as_str()]));
    };
    let account = deployment.account().unwrap_or_default();
    let organization = deployment.format.organization_header().and_then(|name| deployment.headers.get(name));
    let organization = organization.map_or(&[] as &[u8], |value| value.as_bytes());
    let organization = String::from_utf8_lossy(organization);
    let digest = short_digest(&["quota", base, &account, &organization, &deployment.model]);
    format!("{}-{digest}", deployment.model)
}
