//! What wit-bindgen makes of `wit/response-parser.wit`, and nothing else.
#![expect(missing_docs, reason = "the macro writes some items without a comment; the WIT file documents them")]
#![expect(clippy::pedantic, reason = "written by the macro")]

wit_bindgen::generate!({
    world: "response-parser",
    path: "../../wit",
    pub_export_macro: true,
    export_macro_name: "__export_response_parser_world",
    default_bindings_module: "witgate_response_parser::bindings",
    additional_derives: [PartialEq],
});
