//! Vertex AI: where a project's models are, and which service account authorises its requests.
//!
//! As in LiteLLM, the entry wins over the variables `VERTEXAI_PROJECT`, `VERTEXAI_LOCATION` and `GOOGLE_APPLICATION_CREDENTIALS`; the location is
//! `us-central1` where nobody says, and the project the account's own where its key file is at hand as text.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::endpoint::{Endpoint, short_digest};
use crate::catalog::{Identity, Origin, ServiceAccount};
use crate::config::providers::Provider;
use crate::config::shape::LitellmParams;

/// LiteLLM's location where nobody says another.
const LOCATION: &str = "us-central1";

/// A deployment of `model` there. `None` where it is left out; what is noted says why.
pub(super) fn endpoint(params: &LitellmParams<'_, '_>, row: &'static Provider, model: String) -> Option<Endpoint> {
    let places = &params.places;
    if let Some(beginnings) = row.unspoken(&model) {
        let message = format!("of `{}` only models {beginnings} are spoken yet", row.name);
        places.leave_out_at("model", message, "reach others through an OpenAI-compatible address");
        return None;
    }
    let given = [
        ("vertex_project", params.vertex_project.is_some()),
        ("vertex_location", params.vertex_location.is_some()),
        ("vertex_credentials", params.vertex_credentials.is_some()),
        ("api_base", params.api_base.is_some()),
    ];
    // What was given and could not be read is reported already.
    if given.iter().any(|(key, read)| places.has(key) && !read) {
        return None;
    }
    let variable = |name: &str| places.reader.variable(name);
    let from_variable =
        || row.key_env.iter().find_map(|name| Some((SecretString::from(variable(name)?), name.clone())));
    let written = params.vertex_credentials.clone().map(|(text, name)| {
        let name = name.map_or_else(|| short_digest(&[text.expose_secret()]), str::to_owned);
        (text, name)
    });
    let Some((text, credential_name)) = written.or_else(from_variable) else {
        let hint =
            "write `vertex_credentials: PATH` of a service account's key file, or set GOOGLE_APPLICATION_CREDENTIALS";
        places.leave_out_at(
            "vertex_credentials",
            format!("`{}` answers nobody without a service account", row.name),
            hint,
        );
        return None;
    };
    let account = account(&text);
    let project =
        params.vertex_project.clone().or_else(|| variable("VERTEXAI_PROJECT")).or_else(|| project_of(&account));
    let Some(project) = project else {
        let hint = "write `vertex_project`, or set VERTEXAI_PROJECT";
        places.leave_out_at("vertex_project", format!("`{}` needs the name of a project", row.name), hint);
        return None;
    };
    let location = params.vertex_location.clone().or_else(|| variable("VERTEXAI_LOCATION"));
    let location = location.unwrap_or_else(|| LOCATION.to_owned());
    let origin = origin(params, row, &project, &location)?;
    Some(Endpoint { credential_name, identity: Some(Identity::Google(account)), ..Endpoint::of(row, model, origin) })
}

fn account(text: &SecretString) -> ServiceAccount {
    if text.expose_secret().trim_start().starts_with('{') {
        ServiceAccount::Text(text.clone())
    } else {
        ServiceAccount::File(PathBuf::from(text.expose_secret()))
    }
}

fn project_of(account: &ServiceAccount) -> Option<String> {
    let ServiceAccount::Text(text) = account else { return None };
    let file: serde_json::Value = serde_json::from_str(text.expose_secret()).ok()?;
    file.get("project_id")?.as_str().map(str::to_owned)
}

fn origin(params: &LitellmParams<'_, '_>, row: &Provider, project: &str, location: &str) -> Option<Origin> {
    let places = &params.places;
    // A location becomes a part of the host; a project may be one of a domain's, `example.com:name`.
    let made_of = |name: &str, others: &str| {
        !name.is_empty() && name.chars().all(|one| one.is_ascii_alphanumeric() || others.contains(one))
    };
    for (key, sound) in [("vertex_project", made_of(project, "-_.:")), ("vertex_location", made_of(location, "-"))] {
        if !sound {
            places.error_at(key, format!("`{key}` is no name of one"), "letters, digits and dashes");
            return None;
        }
    }
    let base_env = || row.base_env.iter().find_map(|name| places.reader.variable(name));
    let template = row.regional_base.as_deref().unwrap_or_default();
    let base = params.api_base.clone().or_else(base_env).unwrap_or_else(|| {
        let (place, host) = match location {
            // The one location without a host of its own.
            "global" => ("{location}", String::new()),
            // Continents have hosts of another kind.
            "us" | "eu" => ("{location}aiplatform", format!("aiplatform.{location}.rep")),
            _ => ("{location}", format!("{location}-")),
        };
        template.replacen(place, &host, 1).replace("{location}", location).replace("{project}", project)
    });
    super::endpoint::address_of(places, &base, row)
}
