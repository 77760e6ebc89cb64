//! What wasmtime makes of `wit/provider.wit`; nothing else.

wasmtime::component::bindgen!({
    path: "wit",
    world: "provider",
    ownership: Borrowing { duplicate_if_necessary: true },
    with: {
        "witgate:policy/log": crate::policy::host::bindings::witgate::policy::log,
        "witgate:policy/tokens": crate::policy::host::bindings::witgate::policy::tokens,
    },
});
