//! The system's date, followed by the clock: after a computer slept, or its date was set, keys end, budgets begin anew and requests are signed by
//! the date that everybody else has.

use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::Gateway;

/// How often is looked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks at the date on a thread of its own, as long as there is a gateway and where its clock goes on with it.
pub(super) fn follow(gateway: &Arc<Gateway>) {
    if !gateway.clock.follows() {
        return;
    }
    let (clock, followed) = (gateway.clock, Arc::downgrade(gateway));
    let look = move || {
        while followed.strong_count() > 0 {
            std::thread::sleep(LOOK_AGAIN);
            let Some(further) = clock.follow() else { continue };
            let seconds = further.as_secs();
            tracing::warn!(seconds, "the computer slept, or its date was set: the clock goes on to the system's date");
            // What fills limits and budgets may be of long ago.
            if let Some(gateway) = followed.upgrade() {
                gateway.capacity.notify();
            }
        }
    };
    if let Err(fault) = std::thread::Builder::new().name("date".to_owned()).spawn(look) {
        tracing::error!(%fault, "no thread that looks at the system's date");
    }
}
