//! Amazon Bedrock: which region's endpoint, which model or inference profile, and what requests are authorised with.
//!
//! A key of Bedrock's own is a bearer's; an access key signs: the entry's, that of the profile it names, the variables', that of the variables'
//! or the default profile; where a role is named, its temporary keys sign, which that access key or another service's token asks for. A
//! machine's own identity is not asked.

use secrecy::{ExposeSecret, SecretString};

use super::endpoint::{Endpoint, address_of, short_digest};
use super::{aws_profile, aws_role};
use crate::catalog::{AwsKeys, Identity};
use crate::config::providers::Provider;
use crate::config::report::Grade;
use crate::config::shape::LitellmParams;

/// LiteLLM's region where nobody says another.
const REGION: &str = "us-west-2";
/// Variables that may say the region, first one first.
const REGION_ENV: [&str; 3] = ["AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"];
/// Ways to say in LiteLLM which of Bedrock's APIs is meant. All lead to Converse.
const ROUTES: [(&str, bool); 4] =
    [("converse/", true), ("converse_like/", true), ("invoke/", false), ("invoke_converse/", false)];

/// A deployment of `model` there; `base_model` is what an inference profile stands for, whose name tells nothing of it. `None`
/// where it is left out; what is noted says why.
pub(super) fn endpoint(
    params: &LitellmParams<'_, '_>,
    row: &'static Provider,
    model: &str,
    base_model: Option<&str>,
) -> Option<Endpoint> {
    let places = &params.places;
    let given = [
        ("api_base", params.api_base.is_some()),
        ("api_key", params.api_key.is_some()),
        ("aws_access_key_id", params.aws_access_key_id.is_some()),
        ("aws_secret_access_key", params.aws_secret_access_key.is_some()),
        ("aws_session_token", params.aws_session_token.is_some()),
        ("aws_profile_name", params.aws_profile_name.is_some()),
        ("aws_region_name", params.aws_region_name.is_some()),
        ("aws_bedrock_runtime_endpoint", params.aws_bedrock_runtime_endpoint.is_some()),
    ];
    // What was given and could not be read is reported already.
    if given.iter().chain(&params.aws_role.given()).any(|(key, read)| places.has(key) && !read) {
        return None;
    }
    let mut model = model;
    for (route, exact) in ROUTES {
        if let Some(rest) = model.strip_prefix(route) {
            model = rest;
            if !exact {
                places.downgrade("model", Grade::Approximate, "through Bedrock's Converse API");
            }
        }
    }
    let (region, model) = region(params, model)?;
    let (base, from_file) =
        if let Some(base) = params.aws_bedrock_runtime_endpoint.as_ref().or(params.api_base.as_ref()) {
            (base.clone(), true)
        } else {
            let written = row.base_env.iter().find_map(|name| places.reader.variable(name));
            let ending = if region.starts_with("cn-") { ".cn" } else { "" };
            let template = row.regional_base.as_deref().unwrap_or_default();
            (written.unwrap_or_else(|| template.replace("{region}", &region) + ending), false)
        };
    let origin = address_of(places, &base, row)?;
    let mut endpoint = Endpoint::of(row, model, origin);
    if let Some(base_model) = base_model {
        endpoint.quirks = row.quirks_of(base_model);
    }
    if let Some((key, name)) = bearer(params, row) {
        endpoint.credential_name = name.unwrap_or_else(|| short_digest(&[key.expose_secret()]));
        endpoint.credential = Some(key);
        return Some(endpoint);
    }
    let keys = keys(params, &region).ok()?;
    if let Some(role) = aws_role::find(params, &region, keys.as_ref()).ok()? {
        endpoint.credential_name.clone_from(&role.arn);
        endpoint.identity = Some(Identity::AwsRole(role));
        return Some(endpoint);
    }
    if let Some(keys) = keys {
        endpoint.credential_name.clone_from(&keys.access_key);
        endpoint.identity = Some(Identity::AwsKeys(keys));
        return Some(endpoint);
    }
    let in_headers = params.headers.contains_key("authorization");
    if from_file && in_headers {
        return Some(endpoint);
    }
    let hint = "write `aws_access_key_id` and `aws_secret_access_key` or `aws_profile_name`, or set them or AWS_BEARER_TOKEN_BEDROCK where witgate runs";
    places.leave_out_at("aws_access_key_id", format!("`{}` answers nobody without an access key", row.name), hint);
    None
}

/// The region and the model: a region may stand before the model, or in its ARN.
fn region(params: &LitellmParams<'_, '_>, model: &str) -> Option<(String, String)> {
    let places = &params.places;
    let before = model.split_once('/').filter(|(region, _)| is_region(region) && !model.starts_with("arn:"));
    let (written, model) = before.map_or((None, model), |(region, model)| (Some(region), model));
    let in_arn = || model.strip_prefix("arn:")?.split(':').nth(2).filter(|region| is_region(region));
    let variable = || REGION_ENV.iter().find_map(|name| places.reader.variable(name));
    let region = written
        .or_else(in_arn)
        .map(str::to_owned)
        .or_else(|| params.aws_region_name.clone())
        .or_else(variable)
        .unwrap_or_else(|| REGION.to_owned());
    // It becomes a part of the host.
    if !is_region(&region) {
        places.error_at("aws_region_name", "this is no name of a region", "for example us-east-1");
        return None;
    }
    Some((region, model.to_owned()))
}

/// `us-east-1`, `us-gov-west-1`, …
fn is_region(text: &str) -> bool {
    text.split('-').count() >= 3
        && text.ends_with(|last: char| last.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A key of Bedrock's own: the entry's, or a variable's where the entry has no access key.
fn bearer(params: &LitellmParams<'_, '_>, row: &Provider) -> Option<(SecretString, Option<String>)> {
    if let Some((key, name)) = &params.api_key {
        return Some((key.clone(), name.map(str::to_owned)));
    }
    if params.aws_access_key_id.is_some() || params.aws_profile_name.is_some() || aws_role::named(params).is_some() {
        return None;
    }
    let found =
        |name: &String| Some((SecretString::from(params.places.reader.variable(name)?.trim()), Some(name.clone())));
    row.key_env.iter().find_map(found)
}

type KeyParts = (Option<SecretString>, Option<SecretString>, Option<SecretString>);

/// The access key of a profile, where there is one.
///
/// # Errors
/// A profile is named and has none, which is told.
fn of_profile(params: &LitellmParams<'_, '_>) -> Result<KeyParts, ()> {
    let (places, named) = (&params.places, params.aws_profile_name.as_deref());
    let hint = "a profile of the shared credentials file (~/.aws/credentials, or AWS_SHARED_CREDENTIALS_FILE) with an access key";
    let left_out = |why: String| {
        places.leave_out_at("aws_profile_name", why, hint);
        Err(())
    };
    let profile = match aws_profile::find(named, |name| places.reader.variable(name)) {
        Ok(profile) => profile.unwrap_or_default(),
        Err(why) => return left_out(why),
    };
    if let Some(elsewhere) = profile.elsewhere.filter(|_| profile.access.is_none() && named.is_some()) {
        return left_out(format!("the profile has no access key, and its `{elsewhere}` is not asked"));
    }
    Ok((profile.access, profile.secret, profile.token))
}

/// The access key, of the entry, of a profile or of the variables and never half of each; a problem where half of it is missing.
///
/// # Errors
/// Half of it is missing, which is told.
fn keys(params: &LitellmParams<'_, '_>, region: &str) -> Result<Option<AwsKeys>, ()> {
    let variable = |name: &str| params.places.reader.variable(name).map(|text| SecretString::from(text.trim()));
    let half = || ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].iter().any(|name| variable(name).is_some());
    let in_variables = || params.aws_profile_name.is_none() && half();
    let (access, secret, token) = if params.aws_access_key_id.is_some() || params.aws_secret_access_key.is_some() {
        let of = |pair: &Option<(SecretString, _)>| pair.as_ref().map(|(text, _)| text.clone());
        let token = params.aws_session_token.as_ref().map(|(text, _)| text.clone());
        (of(&params.aws_access_key_id), of(&params.aws_secret_access_key), token)
    } else if in_variables() {
        (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"), variable("AWS_SESSION_TOKEN"))
    } else {
        of_profile(params)?
    };
    match (access, secret) {
        (None, None) => Ok(None),
        (Some(access), Some(secret_key)) => {
            let access_key = access.expose_secret().to_owned();
            let region = region.to_owned();
            Ok(Some(AwsKeys { access_key, secret_key, session_token: token, region }))
        }
        (access, _) => {
            let missing = if access.is_some() { "aws_secret_access_key" } else { "aws_access_key_id" };
            let there = if access.is_some() { "aws_access_key_id" } else { "aws_secret_access_key" };
            params.places.leave_out_at(
                there,
                format!("an access key without its `{missing}`"),
                "write both, or neither",
            );
            Err(())
        }
    }
}
