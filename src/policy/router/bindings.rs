//! What wasmtime makes of `wit/router.wit`; nothing else.

wasmtime::component::bindgen!({
    path: "wit",
    world: "router",
    ownership: Borrowing { duplicate_if_necessary: true },
    with: { "witgate:policy/log": crate::policy::host::bindings::witgate::policy::log },
});
