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
        let (mut seen, mut trouble) = (None, Trouble::default());
        loop {
            std::thread::sleep(LOOK_AGAIN);
            let Some(gateway) = followed.upgrade() else { return };
            match look(&gateway, seen) {
                Ok(now) => {
                    seen = now;
                    if trouble.turns(false) {
                        tracing::info!("keys and teams that other gateways change can be read again");
                    }
                }
                Err(why) if trouble.turns(true) => {
                    tracing::warn!(
                        why,
                        "keys or teams that another gateway changed cannot be read, which is tried again each second"
                    );
                }
                Err(_told) => {}
            }
        }
    };
    if let Err(fault) = std::thread::Builder::new().name("keys".to_owned()).spawn(look) {
        tracing::error!(%fault, "no thread that looks for keys that other gateways change");
    }
}

/// Whether something is wrong, which is told when it begins and when it ends.
#[derive(Debug, Default)]
struct Trouble(bool);

impl Trouble {
    /// Whether it is another one now.
    const fn turns(&mut self, now: bool) -> bool {
        std::mem::replace(&mut self.0, now) != now
    }
}

/// Puts in force what has changed since `seen`. Returns what is seen now.
///
/// # Errors
/// It cannot be read, in words.
fn look(gateway: &Gateway, seen: Option<KeysVersion>) -> Result<Option<KeysVersion>, String> {
    let Some(ledger) = &gateway.ledger else { return Ok(seen) };
    let version = ledger.keys().version()?;
    if seen == Some(version) {
        return Ok(seen);
    }
    let book = Arc::clone(&gateway.live.read().callers.keys);
    // Nobody changes a key meanwhile; where somebody takes too long for that, it is looked for again.
    let Some(changed) = book.change(|| book.take_up(ledger.keys(), || gateway.clock.now())) else { return Ok(seen) };
    if changed? {
        tracing::info!("the database has other keys or teams than before, which act from now on");
        // Who waits for their limits or budgets may have more room.
        gateway.capacity.notify();
    }
    Ok(Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_when_it_begins_and_when_it_ends() {
        let mut trouble = Trouble::default();
        let told = [false, true, true, true, false, false, true].map(|now| trouble.turns(now));
        assert_eq!(told, [false, true, false, false, true, false, true]);
    }
}
