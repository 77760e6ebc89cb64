//! Witgate: an LLM gateway whose decisions are WebAssembly components you can swap while it runs.

// L0: words
pub mod chat;
pub mod fault;
pub mod id;
pub mod moment;
pub mod money;
pub mod seed;
// L1: machines and contracts; time is an argument, nothing here does I/O
pub mod catalog;
pub mod limits;
pub mod signal;
pub mod upstream;
// L2: edges, which never import each other
pub mod policy;
// L4: the request, and trying things out
pub mod scenario;
