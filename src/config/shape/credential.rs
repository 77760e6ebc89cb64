//! `credential_list`: values of `litellm_params` under a name. They are in the deployments that name them by now; here they are
//! checked and reported.

use crate::config::reader::Reader;
use crate::config::section::Kind;
use crate::config::yaml::{Node, Value};

/// Reads every one.
pub(super) fn read_all(reader: &Reader<'_>, list: Option<&Node>) {
    let nodes = list.map_or(&[] as &[Node], |list| reader.list(list, "credential_list"));
    for (index, node) in nodes.iter().enumerate() {
        let mut section = reader.section(node, "credential_list", &format!("credential_list[{index}]"));
        match section.text("credential_name") {
            Some(name) => reader.name_credential(name),
            None => section.places.error_at("credential_name", "a credential needs a `credential_name`", ""),
        }
        if section.get("credential_values", Kind::Map).is_none_or(|node| !matches!(node.value, Value::Map(_))) {
            let hint = "credential_values: { api_key: os.environ/NAME }";
            section.places.error_at("credential_values", "a credential needs its `credential_values`", hint);
        }
        // What else it has is for LiteLLM's page.
        let _described = section.get("credential_info", Kind::Map);
        section.finish();
    }
}
