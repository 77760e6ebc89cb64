//! An application of Azure's directory, by whose tokens requests are authorised: the entry's, completed by the variables of Azure's own
//! clients; or theirs alone, where there is no key.

use secrecy::SecretString;

use super::aws_role::is_origin;
use crate::catalog::AzureApp;
use crate::config::shape::LitellmParams;

/// What tokens are asked for where nobody says.
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// Who gives them, where nobody says.
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// The variable that says so; Azure's own clients read it.
const AUTHORITY_ENV: &str = "AZURE_AUTHORITY_HOST";
const HINT: &str = "write `tenant_id`, `client_id` and `client_secret`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET";

/// The application, where the entry names one, or the variables alone may (`no_key`).
///
/// # Errors
/// A part of it is missing or cannot be, which is told.
pub(super) fn find(params: &LitellmParams<'_, '_>, no_key: bool) -> Result<Option<AzureApp>, ()> {
    let (places, app) = (&params.places, &params.azure_app);
    let variable = |name: &str| places.reader.variable(name);
    let named = app.tenant.is_some() || app.client.is_some() || app.secret.is_some();
    if !named && !no_key {
        return Ok(None);
    }
    let tenant = app.tenant.clone().or_else(|| variable("AZURE_TENANT_ID"));
    let client = app.client.clone().or_else(|| variable("AZURE_CLIENT_ID"));
    let secret = app.secret.as_ref().map(|(secret, _)| secret.clone());
    let secret = secret.or_else(|| variable("AZURE_CLIENT_SECRET").map(|text| SecretString::from(text.trim())));
    let (tenant, client, secret) = match (tenant, client, secret) {
        (Some(tenant), Some(client), Some(secret)) => (tenant, client, secret),
        _ if !named => return Ok(None),
        (tenant, client, _) => {
            let missing = match (tenant, client) {
                (None, _) => "tenant_id",
                (_, None) => "client_id",
                _ => "client_secret",
            };
            let there = app.given().into_iter().find(|(_, read)| *read).map_or("tenant_id", |(key, _)| key);
            places.leave_out_at(there, format!("an application without its `{missing}`"), HINT);
            return Err(());
        }
    };
    // It becomes a part of an address.
    if !tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        places.error_at("tenant_id", "this is no name of a directory", "letters, digits, `-`, `_` and `.`");
        return Err(());
    }
    let authority = variable(AUTHORITY_ENV).unwrap_or_else(|| AUTHORITY.to_owned());
    let authority = authority.trim().trim_end_matches('/');
    let authority = if authority.contains("://") { authority.to_owned() } else { format!("https://{authority}") };
    if !is_origin(&authority) {
        let message = format!("the variable `{AUTHORITY_ENV}` holds no address that can be called");
        places.error_at("tenant_id", message, "scheme, host and port");
        return Err(());
    }
    let scope = app.scope.clone().or_else(|| variable("AZURE_SCOPE")).unwrap_or_else(|| SCOPE.to_owned());
    Ok(Some(AzureApp { tenant, client, secret, scope, authority }))
}
