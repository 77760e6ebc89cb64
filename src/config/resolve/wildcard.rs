//! An entry whose model is a star alone stands for every provider whose key is at hand, as in LiteLLM, which finds the provider in
//! the name a client sends.

use crate::config::providers;
use crate::config::shape::ModelEntry;

/// The entry, or one for each provider it stands for.
pub(super) fn entries<'r, 'e>(entry: ModelEntry<'r, 'e>) -> Vec<ModelEntry<'r, 'e>> {
    let params = &entry.params;
    let (places, reader) = (&params.places, params.places.reader);
    let alone = params.model.as_deref() == Some("*");
    if !alone || params.custom_llm_provider.is_some() || places.has("api_base") || params.simulated.is_some() {
        return vec![entry];
    }
    if places.has("api_key") {
        let hint = "name the provider it belongs to: `model: openai/*`";
        places.error_at("api_key", "a key beside `model: \"*\"` would be sent to every provider", hint);
        return Vec::new();
    }
    let all: Vec<_> = providers::with_key(|name| reader.variable(name).is_some()).collect();
    if all.is_empty() {
        // Whoever writes it wants what there is; other groups are served.
        let hint = "set the keys of providers where witgate runs, such as OPENAI_API_KEY";
        places.leave_out_at("model", "`*` stands for every provider whose key is set, and none is", hint);
    }
    let of = |provider: &str| {
        let mut one = entry.clone();
        (one.params.model, one.params.by_name) = (Some(format!("{provider}/*")), true);
        // Given once, it would be several deployments'.
        if all.len() > 1 {
            one.info.id = one.info.id.map(|id| format!("{id}-{provider}"));
        }
        one
    };
    all.iter().map(|provider| of(provider)).collect()
}
