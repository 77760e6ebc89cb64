//! What wit-bindgen makes of `wit/provider.wit`, and nothing else.
#![expect(missing_docs, reason = "the macro writes some items without a comment; the WIT file documents them")]
#![expect(clippy::pedantic, reason = "written by the macro")]

wit_bindgen::generate!({
    world: "provider",
    path: "../../wit",
    pub_export_macro: true,
    export_macro_name: "__export_provider_world",
    default_bindings_module: "witgate_provider::bindings",
    additional_derives: [PartialEq],
});
