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
/// Ways to say there which other API is meant (`get_bedrock_route`), of which none is spoken.
const OTHER_ROUTES: [&str; 6] =
    ["agent/", "agentcore/", "async_invoke/", "chat_completions/", "claude_platform/", "mantle/"];
/// Ways to say there in front of an ARN in whose words a model of one's own is spoken to, and whether LiteLLM does so through Converse.
const SPECS: [(&str, bool); 8] = [
    ("llama/", false),
    ("nova/", true),
    ("nova-2/", true),
    ("deepseek_r1/", false),
    ("qwen2/", false),
    ("qwen3/", false),
    ("openai/", false),
    ("moonshot/", false),
];

/// What a model's name says.
pub(super) struct Named<'m> {
    /// The model, or its ARN.
    pub(super) model: &'m str,
    /// The region that stands before the model, or in its ARN.
    pub(super) region: Option<&'m str>,
    /// Whether LiteLLM asks for it through the API that is asked here.
    exact: bool,
}

/// Reads what stands before a model in its name.
///
/// # Errors
/// The route to another API.
pub(super) fn named(written: &str) -> Result<Named<'_>, &'static str> {
    let (mut model, mut exact) = (written, true);
    for (route, same) in ROUTES {
        if let Some(rest) = model.strip_prefix(route) {
            (model, exact) = (rest, exact && same);
        }
    }
    let before = model.split_once('/').filter(|(region, _)| is_region(region));
    let (region, model) = before.map_or((None, model), |(region, model)| (Some(region), model));
    if let Some(other) = OTHER_ROUTES.into_iter().find(|route| model.starts_with(route)) {
        return Err(other);
    }
    let of_ones_own = |(spec, same): (&'static str, bool)| {
        let arn = model.strip_prefix(spec).filter(|rest| rest.starts_with("arn:"))?;
        Some((arn, exact && same))
    };
    let (model, exact) = SPECS.into_iter().find_map(of_ones_own).unwrap_or((model, exact));
    Ok(Named { model, region: region.or_else(|| region_in(model)), exact })
}

/// The region of an ARN.
fn region_in(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:")?.split(':').nth(2).filter(|region| is_region(region))
}

/// Where the models of a region are.
pub(super) fn address_in(row: &Provider, region: &str) -> String {
    let ending = if region.starts_with("cn-") { ".cn" } else { "" };
    row.regional_base.as_deref().unwrap_or_default().replace("{region}", region) + ending
}

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
        (params.base_key(), params.api_base.is_some()),
        ("api_key", params.api_key.is_some()),
        ("aws_access_key_id", params.aws_access_key_id.is_some()),
        ("aws_secret_access_key", params.aws_secret_access_key.is_some()),
        ("aws_session_token", params.aws_session_token.is_some()),
        ("aws_profile_name", params.aws_profile_name.is_some()),
        ("aws_region_name", params.aws_region_name.is_some()),
        ("aws_bedrock_runtime_endpoint", params.aws_bedrock_runtime_endpoint.is_some()),
        ("model_id", params.model_id.is_some()),
    ];
    if places.any_unread(&given) || places.any_unread(&params.aws_role.given()) {
        return None;
    }
    let named = match named(model) {
        Ok(named) => named,
        Err(other) => {
            let message = format!("`{other}` leads to another API of `{}`, which is not spoken yet", row.name);
            let hint = "models are asked through Converse where nothing stands before them: `bedrock/MODEL`";
            places.downgrade("model", Grade::NotYet, message.as_str());
            places.leave_out_at("model", message, hint);
            return None;
        }
    };
    if !named.exact {
        places.downgrade("model", Grade::Approximate, "through Bedrock's Converse API");
    }
    let profile = params.model_id.as_deref();
    let region = region(params, profile.and_then(region_in).or(named.region))?;
    let written = params.aws_bedrock_runtime_endpoint.as_ref().or(params.api_base.as_ref());
    let from_file = written.is_some();
    let variable = || row.base_env.iter().find_map(|name| places.reader.variable(name));
    let written = written.cloned().or_else(variable);
    let regional = written.is_none();
    let origin = address_of(places, &written.unwrap_or_else(|| address_in(row, &region)), row)?;
    let mut endpoint = Endpoint::of(row, profile.unwrap_or(named.model).to_owned(), origin);
    endpoint.regional = regional;
    endpoint.region = Some(region.clone());
    endpoint.known_as = profile.map(|_| named.model.to_owned());
    if let Some(known) = base_model.or(endpoint.known_as.as_deref()) {
        endpoint.quirks = row.quirks_of(known);
    }
    authorised(params, row, &region, from_file, endpoint)
}

/// The same with what authorises its requests.
fn authorised(
    params: &LitellmParams<'_, '_>,
    row: &Provider,
    region: &str,
    from_file: bool,
    mut endpoint: Endpoint,
) -> Option<Endpoint> {
    if let Some((key, name)) = bearer(params, row) {
        endpoint.credential_name = name.unwrap_or_else(|| short_digest(&[key.expose_secret()]));
        endpoint.credential = Some(key);
        return Some(endpoint);
    }
    let keys = keys(params, region).ok()?;
    if let Some(role) = aws_role::find(params, region, keys.as_ref()).ok()? {
        endpoint.credential_name.clone_from(&role.arn);
        endpoint.identity = Some(Identity::AwsRole(role));
        return Some(endpoint);
    }
    if let Some(keys) = keys {
        endpoint.credential_name.clone_from(&keys.access_key);
        endpoint.identity = Some(Identity::AwsKeys(keys));
        return Some(endpoint);
    }
    if from_file && params.headers.contains_key("authorization") {
        return Some(endpoint);
    }
    let hint = "write `aws_access_key_id` and `aws_secret_access_key` or `aws_profile_name`, or set them or AWS_BEARER_TOKEN_BEDROCK where witgate runs";
    params.places.leave_out_at(
        "aws_access_key_id",
        format!("`{}` answers nobody without an access key", row.name),
        hint,
    );
    None
}

/// The region: what the model's name says, else the entry, else a variable.
fn region(params: &LitellmParams<'_, '_>, named: Option<&str>) -> Option<String> {
    let places = &params.places;
    let variable = || REGION_ENV.iter().find_map(|name| places.reader.variable(name));
    let region = named
        .map(str::to_owned)
        .or_else(|| params.aws_region_name.clone())
        .or_else(variable)
        .unwrap_or_else(|| REGION.to_owned());
    // It becomes a part of the host.
    if !is_region(&region) {
        places.error_at("aws_region_name", "this is no name of a region", "for example us-east-1");
        return None;
    }
    Some(region)
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

#[cfg(test)]
mod tests {
    use super::{OTHER_ROUTES, named};
    use crate::catalog::{Identity, Origin};
    use crate::config::{Grade, Loaded, parse};

    fn loaded(entries: &[&str]) -> Loaded {
        let keys = "aws_access_key_id: a, aws_secret_access_key: b";
        let entry = |params: &&str| format!("- {{model_name: a, litellm_params: {{{params}, {keys}}}}}\n");
        let text = format!("model_list:\n{}", entries.iter().map(entry).collect::<String>());
        parse(&text, "a.yaml", &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn what_stands_before_a_model_is_read_out_of_its_name() {
        let arn = "arn:aws:bedrock:us-east-1:123456789012:imported-model/xyz";
        for (written, model, region, exact) in [
            ("anthropic.claude-v2", "anthropic.claude-v2", None, true),
            ("us-west-1/anthropic.claude-v2", "anthropic.claude-v2", Some("us-west-1"), true),
            ("converse/us-gov-west-1/amazon.nova", "amazon.nova", Some("us-gov-west-1"), true),
            ("invoke/anthropic.claude-v2", "anthropic.claude-v2", None, false),
            (arn, arn, Some("us-east-1"), true),
            (format!("eu-west-1/{arn}").as_str(), arn, Some("eu-west-1"), true),
            (format!("nova/{arn}").as_str(), arn, Some("us-east-1"), true),
            (format!("nova-2/{arn}").as_str(), arn, Some("us-east-1"), true),
            (format!("llama/{arn}").as_str(), arn, Some("us-east-1"), false),
            (format!("deepseek_r1/{arn}").as_str(), arn, Some("us-east-1"), false),
            (format!("invoke/openai/{arn}").as_str(), arn, Some("us-east-1"), false),
            ("llama/mine", "llama/mine", None, true),
        ] {
            let told = named(written).unwrap();
            assert_eq!((told.model, told.region, told.exact), (model, region, exact), "{written}");
        }
        for other in OTHER_ROUTES {
            assert_eq!(named(&format!("{other}m")).err(), Some(other));
            assert_eq!(named(&format!("us-west-1/{other}m")).err(), Some(other));
        }
    }

    #[test]
    fn a_route_to_another_api_leaves_a_deployment_out_and_is_told() {
        let loaded = loaded(&["model: bedrock/mantle/openai.gpt-oss-120b", "model: bedrock/amazon.nova-lite-v1:0"]);
        let told: Vec<_> = loaded.left_out.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("a.yaml:2:") && told[0].contains("`mantle/` leads to another API"), "{told:?}");
        let graded = loaded.report.iter().find(|row| row.key == "model_list[0].litellm_params.model").unwrap();
        assert_eq!(graded.grade, Grade::NotYet);
        let deployments = &loaded.settings.catalog.groups["a"].deployments;
        assert_eq!(deployments.iter().map(|one| &*one.model).collect::<Vec<_>>(), ["amazon.nova-lite-v1:0"]);
    }

    #[test]
    fn an_inference_profile_is_asked_for_in_the_place_of_the_model_that_it_is_known_by() {
        let arn = "arn:aws:bedrock:eu-west-3:123456789012:application-inference-profile/abc";
        let model = "model: bedrock/anthropic.claude-haiku-4-5-20251001-v1:0, aws_region_name: us-east-1";
        let loaded = loaded(&[format!("{model}, model_id: \"{arn}\"").as_str(), model]);
        let [profile, plain] = &loaded.settings.catalog.groups["a"].deployments[..] else { panic!("two") };
        assert_eq!((&*profile.model, &*plain.model), (arn, "anthropic.claude-haiku-4-5-20251001-v1:0"));
        assert!(plain.prices.is_some() && plain.context_window.is_some());
        assert_eq!((&profile.prices, profile.context_window), (&plain.prices, plain.context_window));
        assert_eq!((profile.quirks, profile.supports), (plain.quirks, plain.supports));
        assert_eq!(profile.origin, Origin::Http("https://bedrock-runtime.eu-west-3.amazonaws.com".into()));
        assert!(matches!(&profile.identity, Some(Identity::AwsKeys(keys)) if keys.region == "eu-west-3"));
        let grades: Vec<_> = loaded.report.iter().filter(|row| row.key.ends_with(".model_id")).collect();
        assert!(grades.len() == 1 && grades[0].grade == Grade::Exact, "{grades:?}");
    }
}
