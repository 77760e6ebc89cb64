//! What wasmtime makes of `wit/log.wit` and `wit/lifecycle.wit`, which all roles share; nothing else.

wasmtime::component::bindgen!({
    path: "wit",
    world: "policy",
    ownership: Borrowing { duplicate_if_necessary: true },
});
