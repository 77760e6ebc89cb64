//! A role of AWS: which one is taken on, under what name, and who asks for it.
//!
//! The entry wins over LiteLLM's variables. Where nobody names a role and there is no access key, what AWS's own clients are told in a
//! cluster is taken: `AWS_ROLE_ARN` with `AWS_WEB_IDENTITY_TOKEN_FILE`. Another role that is named there is reached by way of that one.

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
    let mut by_way_of = None;
    let (arn, proof) = match (named(params), keys) {
        (Some(arn), keys) => match (web_identity(params)?, keys) {
            (Some(token), _) => (arn, RoleProof::Token(token)),
            (None, Some(keys)) => (arn, RoleProof::Keys(keys.clone())),
            (None, None) => match (in_cluster(), variable(ARN_ENV)) {
                (Some(token), first) => {
                    by_way_of = first.filter(|first| *first != arn).map(|first| (first, token.clone()));
                    (arn, RoleProof::Token(token))
                }
                (None, _) => return left_out(params, "aws_role_name", "nobody is there to ask for the role"),
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
    let service_region = region_of(&service).or_else(|| variable("AWS_REGION")).unwrap_or_else(|| region.to_owned());
    let region = region.to_owned();
    let mut found = AwsRole { arn, session, external_id, service, service_region, region, proof };
    if let Some((arn, token)) = by_way_of {
        let first = AwsRole { arn, external_id: None, proof: RoleProof::Token(token), ..found.clone() };
        found.proof = RoleProof::Role(Box::new(first));
    }
    Ok(Some(found))
}

/// The region that AWS's token service at this address wants signatures for; `None` where the address does not say.
fn region_of(service: &str) -> Option<String> {
    let uri = service.parse::<http::Uri>().ok()?;
    let labels: Vec<&str> = uri.host()?.split('.').collect();
    match labels.as_slice() {
        ["sts", "amazonaws", "com"] => Some("us-east-1".to_owned()),
        ["sts" | "sts-fips", region, "amazonaws", ..] | [_, "sts" | "sts-fips", region, "vpce", "amazonaws", ..] => {
            Some((*region).to_owned())
        }
        _ => None,
    }
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
    fn the_token_service_s_address_says_its_region() {
        for (address, region) in [
            ("https://sts.amazonaws.com", Some("us-east-1")),
            ("https://sts.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("https://sts-fips.us-gov-west-1.amazonaws.com:443", Some("us-gov-west-1")),
            ("https://sts.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("https://vpce-0a1-b2.sts.ap-south-1.vpce.amazonaws.com", Some("ap-south-1")),
            ("https://sts.test", None),
            ("http://127.0.0.1:9", None),
        ] {
            assert_eq!(region_of(address).as_deref(), region, "{address}");
        }
    }

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
