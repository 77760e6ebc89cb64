//! Azure's OpenAI: which resource, which deployment of it, and which version of its API.
//!
//! People paste addresses as the portal shows them, whole or in part: what an address says of the deployment and the version is
//! read out of it. The entry wins over the address, and the address over the variables.

use http::HeaderValue;
use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};

use super::azure_app;
use super::endpoint::{Endpoint, address_of, credential, short_digest};
use crate::catalog::Identity;
use crate::config::providers::Provider;
use crate::config::shape::LitellmParams;

/// Between a resource and the name of a deployment.
const DEPLOYMENTS: &str = "/openai/deployments/";
/// Where the API without dates is.
const UNDATED: &str = "/openai/v1";

/// What an address says.
struct Address<'a> {
    base: &'a str,
    deployment: Option<&'a str>,
    version: Option<&'a str>,
}

fn split(address: &str) -> Address<'_> {
    let (base, query) = address.trim().split_once('?').unwrap_or((address.trim(), ""));
    let base = base.trim_end_matches('/');
    let base = ["/chat/completions", "/responses"].into_iter().find_map(|end| base.strip_suffix(end)).unwrap_or(base);
    let version = query.strip_prefix("api-version=").filter(|version| is_name(version));
    if let Some((base, deployment)) = base.split_once(DEPLOYMENTS) {
        return Address { base, deployment: Some(deployment), version };
    }
    match base.strip_suffix(UNDATED) {
        Some(base) => Address { base, deployment: None, version: version.or(Some("v1")) },
        None => Address { base: base.strip_suffix("/openai").unwrap_or(base), deployment: None, version },
    }
}

/// Letters, digits and `-_.`: what deployments and versions are named with.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A deployment of `model` there. `None` where it is left out; what is noted says why.
pub(super) fn endpoint(
    params: &LitellmParams<'_, '_>,
    row: &'static Provider,
    model: &str,
    base_model: Option<&str>,
) -> Option<Endpoint> {
    let places = &params.places;
    if places.any_unread(&[(params.base_key(), params.api_base.is_some()), ("api_key", params.api_key.is_some())]) {
        return None;
    }
    let variable = |names: &[String]| names.iter().find_map(|name| places.reader.variable(name));
    let Some(written) = params.api_base.clone().or_else(|| variable(&row.base_env)) else {
        let hint = "the resource's address: https://NAME.openai.azure.com";
        places.leave_out_at("api_base", format!("`{}` needs an `api_base`", row.name), hint);
        return None;
    };
    let address = split(&written);
    let (named, like) = row.marked(model);
    let model = address.deployment.unwrap_or(named);
    let version = params.api_version.clone().or_else(|| address.version.map(str::to_owned));
    let version = version.or_else(|| variable(&row.version_env)).or_else(|| row.api_version.clone());
    // A star may stand for a name; what fills it is looked at then.
    let whole = address.deployment.map_or_else(|| named.replace('*', "-"), str::to_owned);
    for (key, name) in [("model", Some(whole.as_str())), ("api_version", version.as_deref())] {
        if name.is_some_and(|name| !is_name(name)) {
            places.leave_out_at(key, format!("this is no name of an Azure {key}"), "letters, digits, `-`, `_` and `.`");
            return None;
        }
    }
    let origin = address_of(places, address.base, row)?;
    let mut endpoint = Endpoint::of(row, model.to_owned(), origin);
    endpoint.quirks = row.quirks_at(version.as_deref(), base_model.or(like).unwrap_or(named));
    endpoint.api_version = version;
    if by_directory(params, row, &mut endpoint)? {
        return Some(endpoint);
    }
    (endpoint.credential, endpoint.credential_name) = credential(params, row)?;
    if endpoint.credential.is_none() && !has_key_in_headers(params) {
        let hint = "set AZURE_API_KEY where witgate runs, or `api_key`, `azure_ad_token` or an application's `tenant_id`, `client_id` and `client_secret` here";
        places.leave_out_at("api_key", format!("`{}` answers nobody without a key", row.name), hint);
        return None;
    }
    Some(endpoint)
}

fn has_key_in_headers(params: &LitellmParams<'_, '_>) -> bool {
    ["api-key", "x-api-key", "authorization"].iter().any(|name| params.headers.contains_key(*name))
}

/// Authorises by a token of Azure's directory or as an application of it, where the entry says so, or the variables do and there is no key.
/// Whether it is authorised so; `None` where it cannot be, which is told.
pub(super) fn by_directory(
    params: &LitellmParams<'_, '_>,
    row: &'static Provider,
    endpoint: &mut Endpoint,
) -> Option<bool> {
    let places = &params.places;
    let token_read = [("azure_ad_token", params.azure_ad_token.is_some())];
    if places.any_unread(&token_read) || places.any_unread(&params.azure_app.given()) {
        return None;
    }
    let token = params.azure_ad_token.clone().map(|(token, name)| (token, name.map(str::to_owned)));
    let no_key = params.api_key.is_none() && row.key_env.iter().all(|name| places.reader.variable(name).is_none());
    let from_variable = || {
        let found =
            |name: &String| Some((SecretString::from(places.reader.variable(name)?.trim()), Some(name.clone())));
        row.token_env.iter().find_map(found).filter(|_| no_key)
    };
    if let Some((token, name)) = token.or_else(from_variable) {
        endpoint.credential_name = name.unwrap_or_else(|| short_digest(&[token.expose_secret()]));
        let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())) else {
            places.error_at(
                "azure_ad_token",
                "`azure_ad_token` holds what no header can carry",
                "is it the token itself?",
            );
            return None;
        };
        value.set_sensitive(true);
        endpoint.headers.insert(AUTHORIZATION, value);
        return Some(true);
    }
    if let Some(app) = azure_app::find(params, no_key && !has_key_in_headers(params)).ok()? {
        endpoint.credential_name.clone_from(&app.client);
        endpoint.identity = Some(Identity::Azure(app));
        return Some(true);
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn addresses_are_taken_as_people_paste_them() {
        let plain = "https://x.openai.azure.com";
        for (address, deployment, version) in [
            ("https://x.openai.azure.com", None, None),
            ("https://x.openai.azure.com/", None, None),
            ("https://x.openai.azure.com/openai", None, None),
            ("https://x.openai.azure.com/openai/v1/", None, Some("v1")),
            ("https://x.openai.azure.com/openai/v1/chat/completions?api-version=preview", None, Some("preview")),
            ("https://x.openai.azure.com/openai/v1/responses", None, Some("v1")),
            (
                "https://x.openai.azure.com/openai/responses?api-version=2025-04-01-preview",
                None,
                Some("2025-04-01-preview"),
            ),
            ("https://x.openai.azure.com/openai/deployments/mine", Some("mine"), None),
            (
                "https://x.openai.azure.com/openai/deployments/mine/chat/completions?api-version=2024-10-21",
                Some("mine"),
                Some("2024-10-21"),
            ),
        ] {
            let read = split(address);
            assert_eq!((read.base, read.deployment, read.version), (plain, deployment, version), "{address}");
        }
    }
}
