//! What is asked for in words where a format has no field for it.

/// What stands for the mode of other dialects in which a reply is any JSON object, where only schemas can be asked for otherwise.
pub(super) const JSON_ONLY: &str = "Answer with one JSON object and nothing else: no text around it, no code fence.";
