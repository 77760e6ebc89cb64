//! A client whose id and secret a provider exchanges for tokens (OAuth's client credentials): the entry's; or the variables', where it
//! has no key of its own.

use http::header::AUTHORIZATION;
use secrecy::SecretString;

use crate::catalog::{OauthClient, Origin};
use crate::config::providers::{Oauth, Provider};
use crate::config::shape::LitellmParams;

/// The client, where the entry or the variables name one and the provider takes such.
///
/// # Errors
/// A part of it is missing, which is told.
pub(super) fn find(params: &LitellmParams<'_, '_>, row: &Provider, origin: &Origin) -> Result<Option<OauthClient>, ()> {
    let (Some(oauth), Origin::Http(address)) = (&row.oauth, origin) else { return Ok(None) };
    let Oauth { path, scope, id_env, secret_env } = oauth;
    let (places, app) = (&params.places, &params.azure_app);
    if places.any_unread(&[("client_id", app.client.is_some()), ("client_secret", app.secret.is_some())]) {
        return Err(());
    }
    let named = app.client.is_some() || app.secret.is_some();
    if !named && (places.has("api_key") || params.headers.contains_key(AUTHORIZATION)) {
        return Ok(None);
    }
    let id = app.client.clone().or_else(|| places.reader.variable(id_env));
    let secret = app.secret.as_ref().map(|(secret, _)| secret.clone());
    let secret = secret.or_else(|| places.reader.variable(secret_env).map(|text| SecretString::from(text.trim())));
    let (id, secret) = match (id, secret) {
        (Some(id), Some(secret)) => (id.trim().to_owned(), secret),
        _ if !named => return Ok(None),
        (id, _) => {
            let (there, missing) =
                if id.is_none() { ("client_secret", "client_id") } else { ("client_id", "client_secret") };
            let hint = format!("write `client_id` and `client_secret`, or set {id_env} and {secret_env}");
            places.leave_out_at(there, format!("a client without its `{missing}`"), hint);
            return Err(());
        }
    };
    // The service is the host's, wherever below it models are asked.
    let host = address.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    Ok(Some(OauthClient { url: format!("{host}{path}"), id, secret, scope: scope.clone() }))
}
