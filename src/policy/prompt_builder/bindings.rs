//! What wasmtime makes of `wit/prompt-builder.wit`; nothing else.

wasmtime::component::bindgen!({
    path: "wit",
    world: "prompt-builder",
    ownership: Borrowing { duplicate_if_necessary: true },
    with: {
        "witgate:policy/log": crate::policy::host::bindings::witgate::policy::log,
        "witgate:policy/tokens": crate::policy::host::bindings::witgate::policy::tokens,
    },
});
