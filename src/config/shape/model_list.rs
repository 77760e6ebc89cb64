//! `model_list`: its entries, each with its `litellm_params` and its `model_info`.

use super::{LitellmParams, ModelInfo};
use crate::config::reader::Reader;
use crate::config::section::Section;
use crate::config::yaml::{Node, Place, Value};

/// One entry.
#[derive(Clone)]
pub(in crate::config) struct ModelEntry<'r, 'e> {
    pub(in crate::config) at: Place,
    pub(in crate::config) model_name: Option<String>,
    pub(in crate::config) rpm: Option<u64>,
    pub(in crate::config) tpm: Option<u64>,
    pub(in crate::config) blocked: Option<bool>,
    pub(in crate::config) params: LitellmParams<'r, 'e>,
    pub(in crate::config) info: ModelInfo<'r, 'e>,
}

impl<'r, 'e> ModelEntry<'r, 'e> {
    pub(in crate::config) fn read_all(reader: &'r Reader<'e>, list: Option<&'r Node>) -> Vec<Self> {
        let nodes = list.map_or(&[] as &[Node], |list| reader.list(list, "model_list"));
        let mut entries = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let section = reader.section(node, "model_list", &format!("model_list[{index}]"));
            match node.value {
                Value::Map(_) => entries.push(Self::read(section, node.at)),
                Value::Null => {
                    reader.problem(node.at, "an empty deployment", "remove the dash, or write a `model_name`");
                }
                // Told by the line above.
                _ => {}
            }
        }
        entries
    }

    fn read(mut section: Section<'r, 'e>, at: Place) -> Self {
        let model_name = section.text("model_name");
        if model_name.is_none() {
            let hint = "the name clients send as `model`";
            section.places.error_at("model_name", "a deployment needs a `model_name`", hint);
        }
        let entry = Self {
            at,
            model_name,
            rpm: section.count("rpm"),
            tpm: section.count("tpm"),
            blocked: section.flag("blocked"),
            params: LitellmParams::read(section.inner("litellm_params", "litellm_params")),
            info: ModelInfo::read(section.inner("model_info", "model_info")),
        };
        section.finish();
        entry
    }
}
