//! Whose tokens authorise requests to Google's clouds: a key file, or the configuration of another service's identities, as a path or as its
//! text. It is read when the configuration is.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::aws_role::is_origin;
use super::google_federation;
use crate::catalog::{GoogleAccount, GoogleProof};

/// Where tokens are given where a file does not say; Google's own clients go there.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// No such file is larger.
const LARGEST: u64 = 1 << 20;
/// The file where Google's own clients look for credentials that nobody names, in the folder of `gcloud`'s configuration.
pub(super) const DEFAULT_FILE: &str = "application_default_credentials.json";
/// Longer paths are not told.
const LONGEST_TOLD: usize = 256;
/// How tokens of a user's consent begin, which may look like paths.
const TOKENS: &str = "1//";
/// Kinds of Google's credentials that are not spoken.
const OTHERS: [&str; 3] = ["external_account_authorized_user", "impersonated_service_account", "gdch_service_account"];
const HINT: &str = "write the key file of a service account, the one that `gcloud auth application-default login` leaves, or an \
                    `external_account` whose `credential_source` is a `file` or a `url`";

/// What is wrong, and what to do about it.
pub(super) type Unusable = (String, &'static str);

/// An account, and the project that its file names.
pub(super) struct Found {
    pub(super) account: GoogleAccount,
    pub(super) project: Option<String>,
}

/// What is needed of a key file.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: Option<String>,
    project_id: Option<String>,
    quota_project_id: Option<String>,
    token_uri: Option<String>,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    /// Of a service account, which needs none, it is digits alone: a number where a mapping says it without quotes.
    client_id: Option<Value>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
}

/// Where the file would be that `gcloud auth application-default login` leaves; `None` where no variable says it.
pub(super) fn default_file(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let home = || Some(PathBuf::from(variable("HOME")?).join(".config/gcloud"));
    let folder = variable("CLOUDSDK_CONFIG").map(PathBuf::from).or_else(home)?;
    Some(folder.join(DEFAULT_FILE).to_string_lossy().into_owned())
}

/// The account of a path or a text.
///
/// # Errors
/// The file cannot be read, or is no key file of a kind that is spoken. Nothing of what it holds is told.
pub(super) fn find(written: &SecretString) -> Result<Found, Unusable> {
    let written = written.expose_secret().trim();
    if written.starts_with('{') {
        return of_text(written).map_err(|(why, hint)| (format!("Google's credentials: {why}"), hint));
    }
    let shown = shown(written);
    let text = read(Path::new(written)).map_err(|fault| (format!("{shown}: cannot be read: {fault}"), HINT))?;
    of_text(&text).map_err(|(why, hint)| (format!("{shown}: {why}"), hint))
}

/// A path as it may be told: a key may have been pasted where it belongs.
pub(super) fn shown(written: &str) -> &str {
    let path = Path::new(written);
    let is_path = path.components().count() > 1 || path.extension().is_some_and(|ending| ending == "json");
    let is_path = is_path && !written.starts_with(TOKENS);
    if is_path && written.len() <= LONGEST_TOLD && !written.contains(char::is_control) {
        written
    } else {
        "Google's key file"
    }
}

/// A link is followed, a pipe is not waited for.
fn read(path: &Path) -> std::io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a plain file"));
    }
    let mut text = String::new();
    File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn of_text(text: &str) -> Result<Found, Unusable> {
    let file: KeyFile = serde_json::from_str(text).map_err(|error| unread(&error))?;
    let mut token_uri = file.token_uri;
    let (proof, project) = match file.kind.as_deref() {
        None | Some("service_account") => {
            let of = "the key file of a service account";
            let key = part(file.private_key, "private_key", of)?;
            if !is_whole_key(&key) {
                return Err(("its `private_key` is not an RSA key in PEM, or not all of one".to_owned(), HINT));
            }
            let email = part(file.client_email, "client_email", of)?;
            (GoogleProof::Key { email, id: file.private_key_id, key: key.into() }, file.project_id)
        }
        Some("authorized_user") => {
            let of = "a user's credentials";
            let client = file.client_id.as_ref().and_then(Value::as_str).map(str::to_owned);
            let client = part(client, "client_id", of)?;
            let secret = part(file.client_secret, "client_secret", of)?.into();
            let token = part(file.refresh_token, "refresh_token", of)?.into();
            // It names no other, as in LiteLLM.
            (GoogleProof::Refresh { client, secret, token }, file.quota_project_id.clone())
        }
        Some("external_account") => {
            let (address, federation) = google_federation::read(text)?;
            token_uri = Some(address);
            // As in LiteLLM, it names no project.
            (GoogleProof::Federated(Box::new(federation)), None)
        }
        Some(kind) => {
            let named = OTHERS.iter().find(|other| **other == kind);
            let kind = named.map_or_else(|| "of another type".to_owned(), |kind| format!("of the type `{kind}`"));
            return Err((format!("credentials {kind} are not spoken yet"), HINT));
        }
    };
    let token_uri = token_uri.unwrap_or_else(|| TOKEN_URI.to_owned());
    if !is_origin(&token_uri) {
        return Err(("its `token_uri` is not an address that can be called".to_owned(), HINT));
    }
    let quota_project = file.quota_project_id.filter(|project| !project.is_empty());
    if quota_project.as_deref().is_some_and(|project| HeaderValue::from_str(project).is_err()) {
        return Err(("its `quota_project_id` is no name of a project".to_owned(), HINT));
    }
    Ok(Found { account: GoogleAccount { token_uri, quota_project, proof }, project })
}

/// A text that is no such file; what is in it is not told.
pub(super) fn unread(error: &serde_json::Error) -> Unusable {
    (format!("not a key file: line {}, column {}", error.line(), error.column()), HINT)
}

fn part(value: Option<String>, name: &str, of: &str) -> Result<String, Unusable> {
    value.filter(|value| !value.trim().is_empty()).ok_or_else(|| (format!("{of} without its `{name}`"), HINT))
}

/// Whether this is a private key in PEM, and all of it: one that was cut signs nothing.
fn is_whole_key(text: &str) -> bool {
    let Some((begin, rest)) = text.trim_start().split_once("PRIVATE KEY-----") else { return false };
    let Some((key, _)) = rest.split_once("-----END ") else { return false };
    let key: String = key.split_whitespace().collect();
    // A sequence of two bytes' length, which is how long such a key is.
    matches!(begin, "-----BEGIN " | "-----BEGIN RSA ")
        && STANDARD.decode(key).is_ok_and(|key| match key.as_slice() {
            [0x30, 0x82, high, low, rest @ ..] => usize::from(u16::from_be_bytes([*high, *low])) == rest.len(),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = include_str!("../../../tests/fixtures/google/service-account.json");
    const USER: &str = include_str!("../../../tests/fixtures/google/authorized-user.json");

    fn text_of(text: &str) -> Result<Found, Unusable> {
        find(&text.into())
    }

    #[test]
    fn an_account_is_found_by_its_text_or_its_file() {
        let found = text_of(ACCOUNT).unwrap();
        assert_eq!(found.project.as_deref(), Some("test-project"));
        assert_eq!((found.account.token_uri.as_str(), found.account.quota_project.as_deref()), (TOKEN_URI, None));
        let GoogleProof::Key { email, id, .. } = &found.account.proof else { panic!("a service account") };
        assert_eq!((email.as_str(), id.as_deref()), ("tester@test-project.iam.gserviceaccount.com", Some("key-1")));
        let unquoted = ACCOUNT.replace("\"client_id\": \"1\"", "\"client_id\": 113774264463038321964");
        assert!(unquoted != ACCOUNT && text_of(&unquoted).is_ok(), "a number that nobody needs");
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("adc.json");
        fs::write(&path, USER).unwrap();
        for written in [USER.to_owned(), path.display().to_string()] {
            let found = text_of(&written).unwrap();
            let quota = found.account.quota_project.as_deref();
            assert_eq!((found.project.as_deref(), quota), (Some("quota-project"), Some("quota-project")));
            assert_eq!(found.account.token_uri, TOKEN_URI);
            let GoogleProof::Refresh { client, secret, token } = &found.account.proof else { panic!("a user") };
            let told = [client.as_str(), secret.expose_secret(), token.expose_secret()];
            assert_eq!(told, ["client-1", "very-secret-client", "very-secret-consent"]);
            assert!(!format!("{:?}", found.account).contains("very-secret"));
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_without_what_it_holds() {
        let federated = r#"{"type": "external_account", "audience": "very-secret"}"#;
        let other = r#"{"type": "impersonated_service_account", "audience": "very-secret"}"#;
        for (text, told) in [
            ("{", "not a key file: line 1, column 1"),
            (r#"{"type": 1, "private_key": "very-secret"}"#, "not a key file: line 1"),
            (r#"{"private_key": "very-secret"}"#, "its `private_key` is not an RSA key in PEM"),
            (r#"{"type": "service_account"}"#, "the key file of a service account without its `private_key`"),
            (r#"{"type": "authorized_user", "client_id": "very-secret"}"#, "credentials without its `client_secret`"),
            (&*USER.replace("\"client-1\"", "1"), "a user's credentials without its `client_id`"),
            (federated, "an external account without its `subject_token_type`"),
            (other, "credentials of the type `impersonated_service_account` are not spoken yet"),
            (r#"{"type": "very-secret"}"#, "credentials of another type are not spoken yet"),
            ("/nowhere/adc.json", "/nowhere/adc.json: cannot be read: No such file"),
            ("/", "Google's key file: cannot be read: not a plain file"),
            ("very-secret", "Google's key file: cannot be read: No such file"),
            ("1//very-secret", "Google's key file: cannot be read: No such file"),
            ("-----BEGIN PRIVATE KEY-----\nvery/secret", "Google's key file: cannot be read"),
            (&*ACCOUNT.replace("BEGIN", "BEGUN"), "its `private_key` is not an RSA key in PEM"),
            (&*ACCOUNT.replace("\\n-----END", "AAAA\\n-----END"), "or not all of one"),
            (&*ACCOUNT.replace("https://oauth2", "oauth2"), "its `token_uri` is not an address"),
            (&*USER.replace("quota-project", "quota\\nproject"), "its `quota_project_id` is no name of a project"),
        ] {
            let (why, hint) = text_of(text).err().unwrap();
            assert!(why.contains(told) && !hint.is_empty(), "{why}");
            assert!(!why.contains("very-secret") && !why.contains("very/secret"), "{why}");
        }
    }
}
