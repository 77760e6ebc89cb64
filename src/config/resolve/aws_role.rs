//! A role of AWS: which one is taken on, under what name, and who asks for it.
//!
//! The entry wins over LiteLLM's variables. Where nobody names a role and there is no access key, what AWS's own clients are told in a
//! cluster is taken: `AWS_ROLE_ARN` with `AWS_WEB_IDENTITY_TOKEN_FILE`.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::catalog::{AwsKeys, AwsRole, IdentityToken, RoleProof};
use crate::config::shape::LitellmParams;

/// What sessions are called where nobody says.
const SESSION: &str = "witgate";
/// The variables of AWS's own clients.
const ARN_ENV: &str = "AWS_ROLE_ARN";
const TOKEN_FILE_ENV: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const HINT: &str = "write `aws_role_name` with an access key, or with `aws_web_identity_token: oidc/file/PATH`";

/// The role that an entry or a variable names; `None` where none is.
pub(super) fn named(params: &LitellmParams<'_, '_>) -> Option<String> {
    params.aws_role.name.clone().or_else(|| params.places.reader.variable("AWS_ROLE_NAME"))
}

/// The role that requests are signed as, where they are. `keys` ask for it, unless a token does.
///
/// # Errors
/// Nobody asks for the role that is named, or something is said of none; which is told.
pub(super) fn find(
    params: &LitellmParams<'_, '_>,
    region: &str,
    keys: Option<&AwsKeys>,
) -> Result<Option<AwsRole>, ()> {
    let (places, role) = (&params.places, &params.aws_role);
    let variable = |name: &str| places.reader.variable(name);
    let in_cluster = || variable(TOKEN_FILE_ENV).map(|path| IdentityToken::File(PathBuf::from(path)));
    let (arn, proof) = match (named(params), keys) {
        (Some(arn), keys) => match (web_identity(params)?, keys) {
            (Some(token), _) => (arn, RoleProof::Token(token)),
            (None, Some(keys)) => (arn, RoleProof::Keys(keys.clone())),
            (None, None) => match in_cluster() {
                Some(token) => (arn, RoleProof::Token(token)),
                None => return left_out(params, "aws_role_name", "nobody is there to ask for the role"),
            },
        },
        (None, None) => match variable(ARN_ENV).zip(in_cluster()) {
            Some((arn, token)) => (arn, RoleProof::Token(token)),
            None => return of_no_role(params),
        },
        (None, Some(_)) => return of_no_role(params),
    };
    let session = role.session.clone().or_else(|| variable("AWS_SESSION_NAME"));
    let session = session.or_else(|| variable("AWS_ROLE_SESSION_NAME")).unwrap_or_else(|| SESSION.to_owned());
    let ending = if region.starts_with("cn-") { ".cn" } else { "" };
    let service = role.sts_endpoint.clone().or_else(|| variable("AWS_STS_ENDPOINT"));
    let service = service.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com{ending}"));
    let service = service.trim().trim_end_matches('/').to_owned();
    if !is_origin(&service) {
        places.error_at("aws_sts_endpoint", "this is not an address that can be called", "scheme, host and port");
        return Err(());
    }
    let external_id = role.external_id.clone().or_else(|| variable("AWS_EXTERNAL_ID"));
    Ok(Some(AwsRole { arn, session, external_id, service, region: region.to_owned(), proof }))
}

/// Without a role nothing is to be said of one.
fn of_no_role<T>(params: &LitellmParams<'_, '_>) -> Result<Option<T>, ()> {
    match params.aws_role.given().into_iter().find(|(_, read)| *read) {
        Some((key, _)) => left_out(params, key, &format!("`{key}` without an `aws_role_name`")),
        None => Ok(None),
    }
}

fn left_out<T>(params: &LitellmParams<'_, '_>, key: &'static str, why: &str) -> Result<T, ()> {
    params.places.leave_out_at(key, why, HINT);
    Err(())
}

/// The token of another service by which the role is asked for, where there is one.
fn web_identity(params: &LitellmParams<'_, '_>) -> Result<Option<IdentityToken>, ()> {
    let variable = |name: &str| params.places.reader.variable(name);
    let written = params.aws_role.web_identity_token.as_ref().map(|(token, _)| token.clone());
    let written = written.or_else(|| variable("AWS_WEB_IDENTITY_TOKEN").map(SecretString::from));
    let read = written.map(|written| token(&written, &variable)).transpose();
    read.or_else(|why| left_out(params, "aws_web_identity_token", &why))
}

/// A token as it is written: itself, or where it is in LiteLLM's words.
fn token(written: &SecretString, variable: &dyn Fn(&str) -> Option<String>) -> Result<IdentityToken, String> {
    let text = written.expose_secret();
    let named = |name: &str| variable(name).ok_or_else(|| format!("the variable `{name}` is not set"));
    match text.strip_prefix("oidc/").and_then(|source| source.split_once('/')) {
        Some(("file", path)) => Ok(IdentityToken::File(PathBuf::from(path))),
        Some(("env", name)) => Ok(IdentityToken::Text(named(name)?.into())),
        Some(("env_path", name)) => Ok(IdentityToken::File(PathBuf::from(named(name)?))),
        Some((source, _)) => Err(format!("tokens of `oidc/{source}` are not asked for; `oidc/file/PATH` is read")),
        None if text.starts_with('/') => Ok(IdentityToken::File(PathBuf::from(text))),
        None => Ok(IdentityToken::Text(written.clone())),
    }
}

/// Scheme, host and port, and nothing that would not be seen.
pub(super) fn is_origin(address: &str) -> bool {
    let Ok(uri) = address.parse::<http::Uri>() else { return false };
    let plain = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none() && !address.contains('#');
    let host = uri.authority().filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    plain && host.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_where_litellm_finds_them() {
        let variable = |name: &str| (name == "SET").then(|| "/run/token".to_owned());
        let found = |text: &str| match token(&text.into(), &variable) {
            Ok(IdentityToken::File(path)) => format!("file {}", path.display()),
            Ok(IdentityToken::Text(text)) => format!("text {}", text.expose_secret()),
            Err(why) => format!("error {why}"),
        };
        assert_eq!(found("oidc/file//var/run/token"), "file /var/run/token");
        assert_eq!(found("oidc/env_path/SET"), "file /run/token");
        assert_eq!(found("oidc/env/SET"), "text /run/token");
        assert_eq!(found("/var/run/token"), "file /var/run/token");
        assert_eq!(found("eyJ.x.y"), "text eyJ.x.y");
        assert!(found("oidc/env/UNSET").contains("`UNSET` is not set"));
        assert!(found("oidc/google/aud").starts_with("error tokens of `oidc/google`"));
        for (address, sound) in
            [("https://a.test", true), ("http://127.0.0.1:9", true), ("a.test", false), ("ftp://a", false)]
        {
            assert_eq!(is_origin(address), sound, "{address}");
        }
    }
}
