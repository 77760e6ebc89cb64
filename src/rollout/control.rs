//! What operators ask for while the gateway runs. Only the thread that builds snapshots changes what is in force; here orders
//! wait for it, and it is woken.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::history::{Compiling, Generations, History};
use super::states::States;
use crate::id::GroupName;
use crate::policy::{Digest, Role};

/// What is to be done with the versions of a group's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Put the new version in force.
    Promote,
    /// Put the version before in force, or give up the new one.
    Rollback,
    /// Have a version decide beside, never obeyed.
    Shadow,
    /// Have a version decide a share of the requests.
    Canary,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Promote, Self::Rollback, Self::Shadow, Self::Canary];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
        }
    }
}

/// One order, and who waits for what comes of it.
#[derive(Debug)]
pub struct Order {
    /// Whose policy.
    pub group: GroupName,
    /// In which role.
    pub role: Role,
    /// Its name, where a group may have several in that role.
    pub policy: Option<String>,
    /// What is to be done.
    pub action: Action,
    /// The first digits of a version's digest, where one is named.
    pub to: Option<String>,
    /// The version that was tried when the order was given: what it is about where none is named.
    pub tried: Option<Digest>,
    /// What came of it, in words.
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// What came of an order, and who waits for it.
#[derive(Debug)]
struct Done {
    reply: oneshot::Sender<Result<String, String>>,
    words: String,
}

/// Orders on their way, and what has happened. It outlives every snapshot.
#[derive(Debug, Default)]
pub struct Control {
    orders: Mutex<Vec<Order>>,
    /// What has been done, and is told when it is in force.
    done: Mutex<Vec<Done>>,
    waker: Mutex<Option<Sender<()>>>,
    /// What groups name and is not compiled yet.
    compiling: Mutex<Vec<Compiling>>,
    /// What has happened to versions.
    pub history: History,
    /// What the last generations changed.
    pub generations: Generations,
    /// What policies have learned, where that outlives the process.
    pub states: States,
}

impl Control {
    /// From now on this is told that there is something to do.
    pub fn wakes(&self, waker: Sender<()>) {
        *lock(&self.waker) = Some(waker);
    }

    /// Whether anybody looks for orders.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        lock(&self.waker).is_some()
    }

    /// There is something to do.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*lock(&self.waker) {
            let _thread_ended = waker.send(());
        }
    }

    /// Hands in an order about a policy of a group, in which `tried` is tried now; what comes of it is told when the next snapshot is built.
    pub fn order(
        self: &Arc<Self>,
        (group, tried): (GroupName, Option<Digest>),
        (role, policy): (Role, Option<String>),
        action: Action,
        to: Option<String>,
    ) -> oneshot::Receiver<Result<String, String>> {
        let (reply, answer) = oneshot::channel();
        lock(&self.orders).push(Order { group, role, policy, action, to, tried, reply });
        self.wake();
        answer
    }

    /// An order has been obeyed in a snapshot that is about to be in force.
    pub fn obeyed(&self, reply: oneshot::Sender<Result<String, String>>, words: String) {
        lock(&self.done).push(Done { reply, words });
    }

    /// The snapshot is in force: whoever waits for that is told, and finds it so.
    pub fn in_force(&self) {
        for Done { reply, words } in std::mem::take(&mut *lock(&self.done)) {
            let _nobody_waits = reply.send(Ok(words));
        }
    }

    /// From now on these are being compiled.
    pub fn set_compiling(&self, components: Vec<Compiling>) {
        *lock(&self.compiling) = components;
    }

    /// The components that groups name and that are being compiled.
    #[must_use]
    pub fn compiling(&self) -> Vec<Compiling> {
        lock(&self.compiling).clone()
    }

    /// Takes the orders that wait.
    pub fn take(&self) -> Vec<Order> {
        std::mem::take(&mut lock(&self.orders))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
