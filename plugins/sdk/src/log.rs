//! Lines in the gateway's log. The gateway takes 20 a call and cuts each at 1 KiB.

use std::cell::Cell;

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

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the policy's author.
    Debug,
    /// For the operator.
    Info,
    /// Something the operator should look at.
    Warn,
}

thread_local! {
    /// In a policy's own tests on the machine at hand there is no gateway to write to.
    static WRITER: Cell<fn(Level, &str)> = const { Cell::new(|_, _| {}) };
}

fn write(level: Level, message: &str) {
    WRITER.get()(level, message);
}

/// Lines go to `writer` from now on, and a panic, which ends the instance, leaves its words there. Every role's crate says this
/// when a policy is configured.
#[doc(hidden)]
pub fn begin(writer: fn(Level, &str)) {
    WRITER.set(writer);
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| warn(&panic.to_string())));
}

/// Makes the writer of a role's bindings.
#[doc(hidden)]
#[macro_export]
macro_rules! log_writer {
    ($host:path) => {{
        fn write(level: $crate::log::Level, message: &str) {
            #[cfg(target_arch = "wasm32")]
            {
                use $host as host;
                let level = match level {
                    $crate::log::Level::Debug => host::Level::Debug,
                    $crate::log::Level::Info => host::Level::Info,
                    $crate::log::Level::Warn => host::Level::Warn,
                };
                host::write(level, message);
            }
            #[cfg(not(target_arch = "wasm32"))]
            let _ = (level, message);
        }
        write
    }};
}
