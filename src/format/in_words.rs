//! What is asked for in words where a format has no field for it.

use std::borrow::Cow;

use super::quirks::Schemas;
use super::rest::Report;
use crate::chat::OutputFormat;

/// What stands for the mode of other dialects in which a reply is any JSON object, where only schemas can be asked for otherwise.
const JSON_ONLY: &str = "Answer with one JSON object and nothing else: no text around it, no code fence.";

/// What is asked of a model to reply with any JSON, where its format `has_a_mode` for that or not, or with JSON of a schema where the provider
/// knows none, or not this one. Nothing holds the model to a schema then: where that was wanted it is reported.
pub(super) fn json(
    output: Option<&OutputFormat>,
    schemas: Schemas,
    has_a_mode: bool,
    report: &mut Report,
) -> Option<Cow<'static, str>> {
    match output? {
        OutputFormat::JsonObject if !has_a_mode => Some(Cow::Borrowed(JSON_ONLY)),
        OutputFormat::JsonSchema { description, schema, strict, .. } if schemas == Schemas::Words => {
            if *strict == Some(true) {
                report.dropped.push("response_format.json_schema.strict".to_owned());
            }
            let what = description.as_deref().unwrap_or_default();
            let space = if what.is_empty() { "" } else { " " };
            Some(Cow::Owned(format!(
                "Answer with one JSON value that fits the JSON Schema below and nothing else: no text around it, no code fence, and not the \
                 schema itself.{space}{what}\n\n{schema}"
            )))
        }
        OutputFormat::Text | OutputFormat::JsonObject | OutputFormat::JsonSchema { .. } => None,
    }
}
