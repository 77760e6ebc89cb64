//! Lines in the gateway's log. The gateway takes 20 a call and cuts each at 1 KiB.

/// A detail for whoever looks closely.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Something an operator may want to know.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something an operator should look at.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

use crate::bindings::witgate::policy::log::Level;

#[cfg(target_arch = "wasm32")]
fn write(level: Level, message: &str) {
    crate::bindings::witgate::policy::log::write(level, message);
}

/// In a policy's own tests on the machine at hand there is no gateway to write to.
#[cfg(not(target_arch = "wasm32"))]
fn write(_level: Level, _message: &str) {}

/// A panic ends the instance without a word; this gives it one. Costs 1 KiB of component.
pub(crate) fn tell_of_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| warn(&panic.to_string())));
}
