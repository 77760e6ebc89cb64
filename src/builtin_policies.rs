//! The policies that come with the binary, so that it decides well with no folder beside it.

/// Name and component of every shipped policy; sources are under `plugins/`, digests in `policies.lock`.
pub const SHIPPED: [(&str, &[u8]); 15] = [
    ("bandit", include_bytes!("../policies/bandit.wasm")),
    ("batch", include_bytes!("../policies/batch.wasm")),
    ("batch-split", include_bytes!("../policies/batch-split.wasm")),
    ("cohere", include_bytes!("../policies/cohere.wasm")),
    ("cost-based", include_bytes!("../policies/cost-based.wasm")),
    ("json", include_bytes!("../policies/json.wasm")),
    ("latency-based", include_bytes!("../policies/latency-based.wasm")),
    ("least-busy", include_bytes!("../policies/least-busy.wasm")),
    ("reasoning", include_bytes!("../policies/reasoning.wasm")),
    ("redact", include_bytes!("../policies/redact.wasm")),
    ("restore", include_bytes!("../policies/restore.wasm")),
    ("simple-shuffle", include_bytes!("../policies/simple-shuffle.wasm")),
    ("template", include_bytes!("../policies/template.wasm")),
    ("tpm-aware", include_bytes!("../policies/tpm-aware.wasm")),
    ("usage-based", include_bytes!("../policies/usage-based.wasm")),
];

#[cfg(test)]
mod tests {
    use super::SHIPPED;
    use crate::policy::{Role, inspect};

    #[test]
    fn each_has_one_role() {
        for (name, bytes) in SHIPPED {
            let role = match name {
                "cohere" => Role::Provider,
                "batch-split" | "json" | "reasoning" | "restore" => Role::ResponseParser,
                "batch" | "redact" | "template" => Role::PromptBuilder,
                _ => Role::Router,
            };
            assert_eq!(inspect(bytes, false).map(|found| found.roles), Ok(vec![role]), "{name}");
        }
    }
}
