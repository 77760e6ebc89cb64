//! Workload identity federation: where the token of another service is found, and what Google's token service is asked for it.
//!
//! Names and defaults are those of `google-auth` 2.63 on `PyPI` (`external_account.py`, `identity_pool.py`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::google_account::{Unusable, unread};
use crate::catalog::{Federation, Impersonation, SubjectSource};

/// Where tokens are exchanged where nobody says.
const TOKEN_URL: &str = "https://sts.googleapis.com/v1/token";
/// How long a service account's token is to hold where nobody says, in seconds.
const LIFETIME: u64 = 3600;
const HINT: &str = "write the configuration of a workload's federation whose `credential_source` is a `file` or a `url`; `executable`, \
                    `certificate` and AWS's `environment_id` are not asked";
const FORMATS: &str = "`text`, or `json` with a `subject_token_field_name`";
const ADDRESS: &str = "https, or http to this machine, without a query";

/// What is needed of such a configuration.
#[derive(Deserialize)]
struct Written {
    audience: Option<String>,
    subject_token_type: Option<String>,
    token_url: Option<String>,
    credential_source: Option<Source>,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<Lifetime>,
    client_id: Option<String>,
    client_secret: Option<String>,
    workforce_pool_user_project: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    file: Option<String>,
    url: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    format: Option<Format>,
    environment_id: Option<IgnoredAny>,
    executable: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct Lifetime {
    token_lifetime_seconds: Option<u64>,
}

/// The address that exchanges, and what for what. Nothing is asked of anybody.
///
/// # Errors
/// Something is missing, is of a kind that is not spoken, or would go where others can read it. Nothing of what it holds is told.
pub(super) fn read(text: &str) -> Result<(String, Federation), Unusable> {
    let written: Written = serde_json::from_str(text).map_err(|error| unread(&error))?;
    let audience = needed(written.audience, "audience")?;
    let subject_type = needed(written.subject_token_type, "subject_token_type")?;
    let token_url = written.token_url.unwrap_or_else(|| TOKEN_URL.to_owned());
    if !exchanges(&token_url) {
        return Err(("its `token_url` is not an address that can be called".to_owned(), ADDRESS));
    }
    let asked = written.credential_source.ok_or_else(|| missing("credential_source"))?;
    let (source, field) = source(asked)?;
    let lifetime = written.service_account_impersonation.and_then(|asked| asked.token_lifetime_seconds);
    let impersonation =
        written.service_account_impersonation_url.map(|url| impersonation(url, lifetime)).transpose()?;
    let client = written.client_id.filter(|id| !id.is_empty());
    let client = client.map(|id| (id, SecretString::from(written.client_secret.unwrap_or_default())));
    let user_project = written.workforce_pool_user_project;
    Ok((token_url, Federation { audience, subject_type, source, field, client, user_project, impersonation }))
}

fn needed(value: Option<String>, name: &str) -> Result<String, Unusable> {
    value.filter(|value| !value.trim().is_empty()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Unusable {
    (format!("an external account without its `{name}`"), HINT)
}

fn impersonation(url: String, lifetime: Option<u64>) -> Result<Impersonation, Unusable> {
    if !exchanges(&url) {
        let why = "its `service_account_impersonation_url` is not an address that can be called";
        return Err((why.to_owned(), ADDRESS));
    }
    let lifetime = lifetime.unwrap_or(LIFETIME);
    if !(600..=43_200).contains(&lifetime) {
        return Err(("its `token_lifetime_seconds` is none".to_owned(), "600 to 43200"));
    }
    Ok(Impersonation { url, lifetime: Duration::from_secs(lifetime) })
}

/// Where tokens are, and the field that holds one.
fn source(source: Source) -> Result<(SubjectSource, Option<String>), Unusable> {
    let others = [
        ("environment_id", &source.environment_id),
        ("executable", &source.executable),
        ("certificate", &source.certificate),
    ];
    if let Some((name, _)) = others.into_iter().find(|(_, given)| given.is_some()) {
        return Err((format!("its `credential_source` is of the kind `{name}`, which is not spoken yet"), HINT));
    }
    let field = match source.format {
        None => None,
        Some(Format { kind, subject_token_field_name }) => match kind.as_deref() {
            None | Some("" | "text") => None,
            Some("json") => Some(needed(subject_token_field_name, "subject_token_field_name")?),
            Some(_) => return Err(("the `format` of its `credential_source` is of no known type".to_owned(), FORMATS)),
        },
    };
    let found = match (source.file, source.url) {
        (Some(file), None) => SubjectSource::File(PathBuf::from(file)),
        (None, Some(url)) => {
            SubjectSource::Url { headers: headers(source.headers.unwrap_or_default())?, url: near(url)? }
        }
        (Some(_), Some(_)) => {
            return Err(("its `credential_source` is a `file` and a `url`".to_owned(), "one of both"));
        }
        (None, None) => return Err(("its `credential_source` is neither a `file` nor a `url`".to_owned(), HINT)),
    };
    Ok((found, field))
}

fn headers(written: BTreeMap<String, String>) -> Result<Vec<(String, SecretString)>, Unusable> {
    let is_sound = |name: &str, value: &str| {
        HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok()
    };
    if written.iter().any(|(name, value)| !is_sound(name, value)) {
        let why = "a header of its `credential_source` cannot be sent";
        return Err((why.to_owned(), "letters, digits and dashes in a name, and no line break in a value"));
    }
    Ok(written.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect())
}

/// The address of a source of tokens. Clouds tell their machines who they are at an address that never leaves the machine's own network,
/// and without encryption.
fn near(url: String) -> Result<String, Unusable> {
    let is_near = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    };
    if is_called(&url, is_near) {
        return Ok(url);
    }
    let why = "the `url` of its `credential_source` is not an address that can be called";
    Err((why.to_owned(), "https, or http to this machine or to its cloud's 169.254.169.254"))
}

/// Whether tokens may be sent to an address.
fn exchanges(address: &str) -> bool {
    !address.contains('?') && is_called(address, IpAddr::is_loopback)
}

/// Whether this is an address whose connections are encrypted, or go to where they `may_be_plain`.
fn is_called(address: &str, may_be_plain: impl FnOnce(&IpAddr) -> bool) -> bool {
    let Ok(uri) = address.parse::<Uri>() else { return false };
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else { return false };
    if address.contains('#') || uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return false;
    }
    let machine = match host {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.trim_matches(['[', ']']).parse().ok(),
    };
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => machine.as_ref().is_some_and(may_be_plain),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::{Value, json};

    use super::*;

    fn written() -> Value {
        json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "credential_source": {"file": "/var/run/token"}
        })
    }

    fn with(field: &str, value: Value) -> Result<(String, Federation), Unusable> {
        let mut whole = written();
        whole[field] = value;
        read(&whole.to_string())
    }

    #[test]
    fn a_configuration_says_where_tokens_are_and_what_they_are_exchanged_for() {
        let (address, found) = read(&written().to_string()).unwrap();
        assert_eq!(
            (address.as_str(), found.subject_type.as_str()),
            (TOKEN_URL, "urn:ietf:params:oauth:token-type:jwt")
        );
        assert!(matches!(&found.source, SubjectSource::File(path) if path.as_os_str() == "/var/run/token"));
        assert!(found.field.is_none() && found.impersonation.is_none() && found.client.is_none());
        let azure = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://x";
        let asked = json!({
            "url": azure,
            "headers": {"Metadata": "True", "x-key": "very-secret"},
            "format": {"type": "json", "subject_token_field_name": "access_token"}
        });
        let (_, found) = with("credential_source", asked).unwrap();
        let SubjectSource::Url { url, headers } = &found.source else { panic!("an address") };
        assert_eq!((url.as_str(), found.field.as_deref()), (azure, Some("access_token")));
        let told: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        assert_eq!(told, [("Metadata", "True"), ("x-key", "very-secret")]);
        assert!(!format!("{found:?}").contains("very-secret"));
        let account =
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p.test:generateAccessToken";
        let (_, found) = with("service_account_impersonation_url", account.into()).unwrap();
        let Impersonation { url, lifetime } = found.impersonation.unwrap();
        assert_eq!((url.as_str(), lifetime), (account, Duration::from_secs(3600)));
    }

    #[test]
    fn what_is_not_spoken_is_told_by_its_name() {
        let source = |value: Value| with("credential_source", value);
        for (found, told) in [
            (with("audience", "".into()), "without its `audience`"),
            (with("credential_source", Value::Null), "without its `credential_source`"),
            (with("audience", 1.into()), "not a key file: line 1"),
            (with("token_url", "http://sts.test/v1/token".into()), "`token_url` is not an address"),
            (with("token_url", "https://u:p@sts.test".into()), "`token_url` is not an address"),
            (with("token_url", "http://169.254.169.254/".into()), "`token_url` is not an address"),
            (
                with("service_account_impersonation_url", "http://iam.test/a".into()),
                "`service_account_impersonation_url`",
            ),
            (
                source(json!({"executable": {"command": "very-secret"}})),
                "of the kind `executable`, which is not spoken",
            ),
            (
                source(json!({"environment_id": "aws1", "url": "http://169.254.169.254/"})),
                "of the kind `environment_id`",
            ),
            (source(json!({"certificate": {}})), "of the kind `certificate`"),
            (source(json!({})), "neither a `file` nor a `url`"),
            (source(json!({"file": "/a", "url": "https://a.test"})), "a `file` and a `url`"),
            (source(json!({"url": "http://tokens.test/very-secret"})), "`url` of its `credential_source`"),
            (source(json!({"url": "https://a.test", "headers": {"a b": "very-secret"}})), "a header of its"),
            (source(json!({"file": "/a", "format": {"type": "xml"}})), "of no known type"),
            (source(json!({"file": "/a", "format": {"type": "json"}})), "without its `subject_token_field_name`"),
        ] {
            let (why, hint) = found.err().unwrap();
            assert!(why.contains(told) && !why.contains("very-secret") && !hint.is_empty(), "{why}");
        }
        let mut whole = written();
        whole["service_account_impersonation_url"] = "https://iam.test/a".into();
        whole["service_account_impersonation"] = json!({"token_lifetime_seconds": 5});
        assert!(read(&whole.to_string()).err().unwrap().0.contains("token_lifetime_seconds"));
    }

    #[test]
    fn tokens_are_fetched_over_encrypted_connections_or_from_beside() {
        for (address, source, exchange) in [
            ("https://a.test/x", true, true),
            ("https://a.test/x?a=b", true, false),
            ("http://127.0.0.1:9/x", true, true),
            ("http://localhost:5000/token", true, true),
            ("http://[::1]:9", true, true),
            ("http://169.254.169.254/x?a=b", true, false),
            ("http://10.0.0.1/x", false, false),
            ("http://localhost.test/x", false, false),
            ("ftp://127.0.0.1/x", false, false),
            ("https://a.test/#x", false, false),
            ("/x", false, false),
        ] {
            assert_eq!((near(address.to_owned()).is_ok(), exchanges(address)), (source, exchange), "{address}");
        }
    }
}
