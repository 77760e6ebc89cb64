//! What wasmtime makes of the imports in `wit/log.wit`; nothing else.

wasmtime::component::bindgen!({
    path: "wit",
    world: "imports",
});
