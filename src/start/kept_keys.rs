//! The keys and teams that are kept, followed where other gateways may change them. A key that one gateway blocks is refused at all of them
//! within [`LOOK_AGAIN`] and the time it takes to read them.

use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::Gateway;
use crate::store::KeysVersion;

/// How often is looked whether another gateway has changed them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks for changes on a thread of its own, as long as there is a gateway and where there is a server that others may use, too.
pub(super) fn follow(gateway: &Arc<Gateway>) {
    if !gateway.ledger.as_ref().is_some_and(|ledger| ledger.keys().are_shared()) {
        return;
    }
    let followed = Arc::downgrade(gateway);
    let look = move || {
        let mut seen = None;
        loop {
            std::thread::sleep(LOOK_AGAIN);
            let Some(gateway) = followed.upgrade() else { return };
            seen = look(&gateway, seen);
        }
    };
    if let Err(fault) = std::thread::Builder::new().name("keys".to_owned()).spawn(look) {
        tracing::error!(%fault, "no thread that looks for keys that other gateways change");
    }
}

/// Puts in force what has changed since `seen`. Returns what is seen now; what cannot be read is looked for again.
fn look(gateway: &Gateway, seen: Option<KeysVersion>) -> Option<KeysVersion> {
    let ledger = gateway.ledger.as_ref()?;
    let Ok(version) = ledger.keys().version() else { return seen };
    if seen == Some(version) {
        return seen;
    }
    let book = Arc::clone(&gateway.live.read().callers.keys);
    // Nobody changes a key meanwhile.
    match book.change(|| book.take_up(ledger.keys(), || gateway.clock.now())) {
        Some(Ok(changed)) => {
            if changed {
                tracing::info!("the database has other keys or teams than before, which act from now on");
                // Who waits for their limits or budgets may have more room.
                gateway.capacity.notify();
            }
            Some(version)
        }
        Some(Err(why)) => {
            tracing::warn!(why, "keys or teams that another gateway changed cannot be read, which is tried again");
            seen
        }
        None => seen,
    }
}
