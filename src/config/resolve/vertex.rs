//! Vertex AI: where a project's models are, and whose account authorises its requests.
//!
//! As in LiteLLM, the entry wins over the variables `VERTEXAI_PROJECT`, `VERTEXAI_LOCATION` and `VERTEXAI_CREDENTIALS`, these over Google's own
//! `GOOGLE_APPLICATION_CREDENTIALS`, and that over the file where `gcloud` leaves a user's credentials; the location is `us-central1` where nobody says, and the project the one that the account's key file names.
//! Models that are in few locations are asked in one of theirs.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::endpoint::{Endpoint, address_of, short_digest};
use super::google_account;
use crate::catalog::{Identity, Origin};
use crate::config::providers::Provider;
use crate::config::report::Grade;
use crate::config::shape::{LitellmParams, VERTEX_CREDENTIALS, VERTEX_LOCATION, VERTEX_PROJECT};

/// LiteLLM's location where nobody says another.
const LOCATION: &str = "us-central1";
// Versions of the API that an address may say without saying more.
const VERSIONS: [&str; 2] = ["/v1", "/v1beta1"];

/// A deployment of `model` there. `None` where it is left out; what is noted says why.
pub(super) fn endpoint(params: &LitellmParams<'_, '_>, row: &'static Provider, model: String) -> Option<Endpoint> {
    let places = &params.places;
    if let Some(beginnings) = row.unspoken(&model) {
        let message = format!("of `{}` only models {beginnings} are spoken yet", row.name);
        places.leave_out_at("model", message, "reach others through an OpenAI-compatible address");
        return None;
    }
    let [project_key, location_key, credentials_key] =
        [VERTEX_PROJECT, VERTEX_LOCATION, VERTEX_CREDENTIALS].map(|names| key_of(params, names));
    let given = [
        (project_key, params.vertex_project.is_some()),
        (location_key, params.vertex_location.is_some()),
        (credentials_key, params.vertex_credentials.is_some()),
        (params.base_key(), params.api_base.is_some()),
    ];
    if places.any_unread(&given) {
        return None;
    }
    let variable = |name: &str| places.reader.variable(name);
    let (text, credential_name) = credentials(params, row, credentials_key)?;
    let found = google_account::find(&text);
    let found = found.map_err(|(why, hint)| places.leave_out_at(credentials_key, why, hint)).ok()?;
    let project = params.vertex_project.clone().or_else(|| variable("VERTEXAI_PROJECT")).or(found.project);
    let Some(project) = project else {
        let hint = "write `vertex_project`, or set VERTEXAI_PROJECT";
        places.leave_out_at(project_key, format!("`{}` needs the name of a project", row.name), hint);
        return None;
    };
    let written = params.vertex_location.clone().or_else(|| variable("VERTEXAI_LOCATION"));
    let location = location_of(row, &model, written.as_deref());
    if written.as_deref().is_some_and(|written| written != location) {
        let note = format!("the model is asked in `{location}`: there is none elsewhere");
        places.downgrade(location_key, Grade::Approximate, note);
    }
    let (origin, regional) = origin(params, row, &project, location)?;
    let identity = Some(Identity::Google(found.account));
    Some(Endpoint { regional, credential_name, identity, ..Endpoint::of(row, model, origin) })
}

/// Google's credentials, as a path or as text, and what they are called: the entry's, a variable's, or those in the file where Google's own
/// clients look. `None` where there are none, which is noted at `key`.
fn credentials(params: &LitellmParams<'_, '_>, row: &Provider, key: &str) -> Option<(SecretString, String)> {
    let places = &params.places;
    let variable = |name: &str| places.reader.variable(name);
    let written = params.vertex_credentials.clone().map(|(text, name)| {
        let name = name.map_or_else(|| short_digest(&[text.expose_secret()]), str::to_owned);
        (text, name)
    });
    let from_variable =
        || row.key_env.iter().find_map(|name| Some((SecretString::from(variable(name)?), name.clone())));
    if let Some(found) = written.or_else(from_variable) {
        return Some(found);
    }
    let file = google_account::default_file(variable);
    // One that cannot be looked at is told of by who reads it.
    if let Some(file) = file.as_deref().filter(|file| Path::new(file).try_exists().unwrap_or(true)) {
        return Some((SecretString::from(file), google_account::DEFAULT_FILE.to_owned()));
    }
    let missing = file.map(|file| format!(", and there is no file {}", google_account::shown(&file)));
    let message = format!("`{}` answers nobody without a service account{}", row.name, missing.unwrap_or_default());
    let hint = "write `vertex_credentials: PATH` of a service account's key file, set GOOGLE_APPLICATION_CREDENTIALS, or run \
                `gcloud auth application-default login`";
    places.leave_out_at(key, message, hint);
    None
}

/// The name by which the entry says something that has two, the first where it says nothing.
fn key_of(params: &LitellmParams<'_, '_>, [name, other]: [&'static str; 2]) -> &'static str {
    if !params.places.has(name) && params.places.has(other) { other } else { name }
}

/// Where a model is asked: where the file or a variable says, unless it is in others alone. As in LiteLLM (`get_vertex_region`), the first
/// of those is taken.
fn location_of<'a>(row: &'static Provider, model: &str, written: Option<&'a str>) -> &'a str {
    let few = row.few_locations.get(model);
    let has_it = |location: &&str| few.is_none_or(|few| few.iter().any(|one| one == location));
    let first = few.and_then(|few| few.first()).map(String::as_str);
    written.filter(has_it).or(first).unwrap_or(LOCATION)
}

/// Where `model` is asked of the cloud, where this address of its own is in a location that does not have it.
pub(super) fn elsewhere(row: &'static Provider, address: &str, model: &str) -> Option<String> {
    let (project, rest) = address.split_once("/projects/")?.1.split_once("/locations/")?;
    let (written, _) = rest.split_once('/')?;
    let location = location_of(row, model, Some(written));
    (location != written).then(|| address_in(row, project, location))
}

/// The cloud's own address of a project's models in a location.
fn address_in(row: &Provider, project: &str, location: &str) -> String {
    let (place, host) = match location {
        // The one location without a host of its own.
        "global" => ("{location}", String::new()),
        // Continents have hosts of another kind.
        "us" | "eu" => ("{location}aiplatform", format!("aiplatform.{location}.rep")),
        _ => ("{location}", format!("{location}-")),
    };
    let template = row.regional_base.as_deref().unwrap_or_default();
    template.replacen(place, &host, 1).replace("{location}", location).replace("{project}", project)
}

/// The address, and whether it is the cloud's own.
fn origin(params: &LitellmParams<'_, '_>, row: &Provider, project: &str, location: &str) -> Option<(Origin, bool)> {
    let places = &params.places;
    // A location becomes a part of the host; a project may be one of a domain's, `example.com:name`.
    let made_of = |name: &str, others: &str| {
        !name.is_empty() && name.chars().all(|one| one.is_ascii_alphanumeric() || others.contains(one))
    };
    for (names, sound) in [(VERTEX_PROJECT, made_of(project, "-_.:")), (VERTEX_LOCATION, made_of(location, "-"))] {
        if !sound {
            let key = key_of(params, names);
            places.error_at(key, format!("`{key}` is no name of one"), "letters, digits and dashes");
            return None;
        }
    }
    let base_env = || row.base_env.iter().find_map(|name| places.reader.variable(name));
    let cloud = address_in(row, project, location);
    let own = params.api_base.clone().or_else(base_env);
    let regional = own.is_none();
    let base = own.map_or_else(|| cloud.clone(), |own| at_own_address(&own, &cloud, row));
    Some((address_of(places, &base, row)?, regional))
}

/// Where models are asked at an address of the operator's own. As in LiteLLM, one that says nothing, or a version alone, behind its host
/// stands for the cloud's host, and any other names the model, so that a method alone follows it; models that have no methods are asked below
/// it. An address that ends where the name of a model follows is taken at its word.
fn at_own_address(own: &str, cloud: &str, row: &Provider) -> String {
    let own = own.trim().trim_end_matches('/');
    let (path, default) = (path_of(own), path_of(cloud));
    if path.is_empty() {
        return format!("{own}{default}");
    }
    if VERSIONS.contains(&path) {
        return format!("{own}{}", default.strip_prefix("/v1").unwrap_or(default));
    }
    let place = default.rmatch_indices('/').nth(1).map_or(default, |(at, _)| &default[at..]);
    let mut endings = row.format.path_endings().iter().copied().chain([place]);
    if endings.any(|ending| path.ends_with(ending)) {
        own.to_owned()
    } else if place.starts_with("/publishers/") {
        format!("{own}:")
    } else {
        format!("{own}{default}")
    }
}

/// What follows the host.
fn path_of(address: &str) -> &str {
    let (_, rest) = address.split_once("://").unwrap_or(("", address));
    rest.find('/').map_or("", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::{at_own_address, location_of};
    use crate::catalog::Origin;
    use crate::config::providers::{Found, find};
    use crate::config::{Grade, parse};

    const ACCOUNT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/google/service-account.json");

    #[test]
    fn a_model_that_is_in_few_locations_is_asked_in_one_of_them() {
        let (coder, instruct) = ("qwen/qwen3-coder-480b-a35b-instruct-maas", "qwen/qwen3-235b-a22b-instruct-2507-maas");
        for (model, written, location) in [
            (coder, None, "global"),
            (coder, Some("us-east5"), "global"),
            (instruct, Some("us-south1"), "us-south1"),
            (instruct, Some("us-east5"), "global"),
            ("gemini-2.5-pro", None, "us-central1"),
            ("gemini-2.5-pro", Some("europe-west4"), "europe-west4"),
        ] {
            let Found::Spoken(row, _) = find(model, Some("vertex_ai"), None) else { panic!("{model}") };
            assert_eq!(location_of(row, model, written), location, "{model} in {written:?}");
        }
        let text = format!(
            "model_list: [{{model_name: a, litellm_params: {{model: vertex_ai/{coder}, vertex_project: p, \
             vertex_location: us-east5, vertex_credentials: \"{ACCOUNT}\"}}}}]\n"
        );
        let loaded = parse(&text, "a.yaml", &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
        let Origin::Http(told) = &loaded.settings.catalog.groups["a"].deployments[0].origin else { panic!("{coder}") };
        assert_eq!(**told, *"https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi");
        let row = loaded.report.iter().find(|row| row.key.ends_with(".vertex_location")).unwrap();
        assert!(row.grade == Grade::Approximate && row.note.contains("`global`"), "{}", row.note);
    }

    #[test]
    fn keys_that_litellm_reads_by_two_names_are_read_by_both() {
        let loaded = |params: &str| {
            let text = format!(
                "model_list:\n- {{model_name: a, litellm_params: {{model: vertex_ai/gemini-2.5-pro, {params}}}}}\n\
                 - {{model_name: a, litellm_params: {{model: simulated/a}}}}\n"
            );
            parse(&text, "a.yaml", &|_| None).map_err(|problems| problems.to_string())
        };
        let other = "vertex_ai_project: p, vertex_ai_location: europe-west4";
        let account = format!("vertex_ai_credentials: \"{ACCOUNT}\"");
        for (params, place) in [
            (format!("{other}, {account}"), "p/locations/europe-west4"),
            (format!("vertex_project: first, {other}, {account}"), "first/locations/europe-west4"),
            (format!("{other}, {account}, vertex_location: us-east5"), "p/locations/us-east5"),
            (format!("{other}, vertex_credentials: \"{ACCOUNT}\", vertex_ai_credentials: os.environ/NOWHERE"), "p/"),
        ] {
            let loaded = loaded(&params).unwrap();
            assert!(loaded.left_out.is_empty(), "{params}: {:?}", loaded.left_out);
            let deployments = &loaded.settings.catalog.groups["a"].deployments;
            let Origin::Http(told) = &deployments[0].origin else { panic!("{params}") };
            assert!(told.contains(&format!("/projects/{place}")), "{params}: {told}");
            let mut rows = loaded.report.iter().filter(|row| row.key.contains(".vertex_"));
            assert!(rows.all(|row| row.grade == Grade::Exact), "{params}: {:?}", loaded.report);
        }
        // What is wrong is told where it is written.
        for (params, place) in [
            ("vertex_ai_project: os.environ/NOWHERE", "a.yaml:2:88: "),
            ("vertex_ai_credentials: /no/account.json", "a.yaml:2:92: "),
        ] {
            let loaded = loaded(&format!("{params}, vertex_location: global")).unwrap();
            let [told] = &loaded.left_out[..] else { panic!("{:?}", loaded.left_out) };
            assert!(told.to_string().starts_with(place), "{told}");
        }
        let told = loaded(&format!("vertex_ai_project: /, {account}")).unwrap_err();
        assert!(told.contains("`vertex_ai_project` is no name of one"), "{told}");
    }

    #[test]
    fn litellm_s_variable_of_credentials_is_read_before_google_s() {
        let env = |name: &str| match name {
            "VERTEXAI_CREDENTIALS" => Some(ACCOUNT.to_owned()),
            "GOOGLE_APPLICATION_CREDENTIALS" => Some("/nowhere/adc.json".to_owned()),
            _ => None,
        };
        let text = "model_list: [{model_name: a, litellm_params: {model: vertex_ai/gemini-2.5-pro}}]";
        let loaded = parse(text, "a.yaml", &env).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.left_out.is_empty(), "{:?}", loaded.left_out);
    }

    #[test]
    fn credentials_that_gcloud_left_are_read_where_nobody_names_others() {
        let user = r#"{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "t", "quota_project_id": "q"}"#;
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/gcloud");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("application_default_credentials.json");
        let (home, config) = (home.path().to_str().unwrap(), folder.to_str().unwrap());
        let loaded = |params: &str, variables: &[(&str, &str)]| {
            let env = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let text = format!(
                "model_list:\n- {{model_name: a, litellm_params: {{model: vertex_ai/gemini-2.5-pro{params}}}}}\n\
                 - {{model_name: a, litellm_params: {{model: simulated/a}}}}\n"
            );
            let loaded = parse(&text, "a.yaml", &env).unwrap_or_else(|problems| panic!("{problems}"));
            let left_out: Vec<String> = loaded.left_out.iter().map(ToString::to_string).collect();
            let Origin::Http(told) = &loaded.settings.catalog.groups["a"].deployments[0].origin else {
                return Err(left_out.concat());
            };
            Ok(told.split_once("/projects/").unwrap().1.split_once('/').unwrap().0.to_owned())
        };
        let missing = loaded("", &[("HOME", home)]).unwrap_err();
        assert!(missing.contains(&format!("there is no file {}", file.display())), "{missing}");
        assert!(missing.contains("gcloud auth application-default login"), "{missing}");
        let nowhere = loaded("", &[]).unwrap_err();
        assert!(nowhere.contains("without a service account\n"), "{nowhere}");
        std::fs::write(&file, user).unwrap();
        assert_eq!(loaded("", &[("HOME", home)]).as_deref(), Ok("q"));
        // As Google's own clients look: the variable's folder, and no other.
        assert_eq!(loaded("", &[("CLOUDSDK_CONFIG", config), ("HOME", "/nowhere")]).as_deref(), Ok("q"));
        assert!(loaded("", &[("CLOUDSDK_CONFIG", "/nowhere"), ("HOME", home)]).unwrap_err().contains(" /nowhere/"));
        let named = format!(", vertex_credentials: \"{ACCOUNT}\"");
        assert_eq!(loaded(&named, &[("HOME", home)]).as_deref(), Ok("test-project"));
        let variables = [("GOOGLE_APPLICATION_CREDENTIALS", ACCOUNT), ("HOME", home)];
        assert_eq!(loaded("", &variables).as_deref(), Ok("test-project"));
        std::fs::write(&file, r#"{"type": "gdch_service_account"}"#).unwrap();
        let told = loaded("", &[("HOME", home)]).unwrap_err();
        assert!(told.contains(&format!("{}: credentials of the type", file.display())), "{told}");
    }

    #[test]
    fn an_address_of_one_s_own_means_what_it_means_in_litellm() {
        let below = "/projects/p/locations/l/publishers/google";
        let claude = "/v1/projects/p/locations/l/publishers/anthropic";
        let open = "/v1/projects/p/locations/l/endpoints/openapi";
        for (model, own, asked) in [
            ("gemini-2.5-pro", "https://x.test", format!("https://x.test/v1{below}")),
            ("gemini-2.5-pro", "https://x.test:8443/", format!("https://x.test:8443/v1{below}")),
            ("gemini-2.5-pro", "https://x.test/v1", format!("https://x.test/v1{below}")),
            ("gemini-2.5-pro", "https://x.test/v1beta1/", format!("https://x.test/v1beta1{below}")),
            ("gemini-2.5-pro", "https://x.test/v1/a/models/m", "https://x.test/v1/a/models/m:".to_owned()),
            ("gemini-2.5-pro", "https://x.test/proxy/", "https://x.test/proxy:".to_owned()),
            ("gemini-2.5-pro", "https://x.test/a/publishers/google", "https://x.test/a/publishers/google".to_owned()),
            ("gemini-2.5-pro", "https://x.test/a/models", "https://x.test/a/models".to_owned()),
            ("claude-sonnet-5", "https://x.test", format!("https://x.test{claude}")),
            ("claude-sonnet-5", "https://x.test/v1", format!("https://x.test{claude}")),
            ("claude-sonnet-5", "https://x.test/proxy", "https://x.test/proxy:".to_owned()),
            ("meta/llama-4-maas", "https://x.test/v1", format!("https://x.test{open}")),
            ("meta/llama-4-maas", "https://x.test/proxy", format!("https://x.test/proxy{open}")),
            ("meta/llama-4-maas", &*format!("https://x.test{open}"), format!("https://x.test{open}")),
        ] {
            let Found::Spoken(row, _) = find(model, Some("vertex_ai"), None) else { panic!("{model}") };
            let cloud = row.regional_base.as_deref().unwrap().replace("{project}", "p").replace("{location}", "l");
            assert_eq!(at_own_address(own, &cloud, row), asked, "{model} at {own}");
        }
    }
}
