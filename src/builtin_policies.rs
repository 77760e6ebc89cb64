//! The policies that come with the binary, so that it decides well with no folder beside it.

/// Name and component of every shipped policy; sources are under `plugins/`, digests in `policies.lock`.
pub const SHIPPED: [(&str, &[u8]); 6] = [
    ("cost-based", include_bytes!("../policies/cost-based.wasm")),
    ("latency-based", include_bytes!("../policies/latency-based.wasm")),
    ("least-busy", include_bytes!("../policies/least-busy.wasm")),
    ("simple-shuffle", include_bytes!("../policies/simple-shuffle.wasm")),
    ("tpm-aware", include_bytes!("../policies/tpm-aware.wasm")),
    ("usage-based", include_bytes!("../policies/usage-based.wasm")),
];

#[cfg(test)]
mod tests {
    use super::SHIPPED;
    use crate::policy::{Role, inspect};

    #[test]
    fn each_is_a_router() {
        for (name, bytes) in SHIPPED {
            assert_eq!(inspect(bytes, false).map(|found| found.role), Ok(Role::Router), "{name}");
        }
    }
}
