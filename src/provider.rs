//! Providers that are not a wire format over HTTP.
//!
//! A provider reached over HTTP is a dialect and an origin, both data, and has no code here.

pub mod simulated;
