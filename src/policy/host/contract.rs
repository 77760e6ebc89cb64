//! What the host must know of a role to run its components. Everything else about a role is its own part's.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::store::HostState;

/// One role.
pub(in crate::policy) trait Contract: 'static {
    /// The exports of an instance.
    type Exports;
    /// A component whose exports are found and of the right types.
    type Pre;

    /// Finds the exports.
    ///
    /// # Errors
    /// One is missing or of another type.
    fn bind(pre: InstancePre<HostState>) -> wasmtime::Result<Self::Pre>;

    /// Makes an instance.
    ///
    /// # Errors
    /// Its start functions trap, or there is no room for it.
    fn instantiate(pre: &Self::Pre, store: &mut Store<HostState>) -> wasmtime::Result<Self::Exports>;
}
