//! What is known of a call beside what crosses: when it is made, and for whom.

use crate::id::RequestId;
use crate::moment::Moment;

/// When a policy is called, and for which request.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct CallContext {
    now: Moment,
    request: Option<RequestId>,
    begins: bool,
}

impl CallContext {
    /// A call for a request, with which a use begins; a dry run is for none.
    pub(in crate::policy) const fn new(now: Moment, request: Option<RequestId>) -> Self {
        Self { now, request, begins: true }
    }

    /// The same within a use that began before.
    pub(in crate::policy) const fn going_on(self) -> Self {
        Self { begins: false, ..self }
    }

    /// Whether a use begins with it.
    pub(in crate::policy) const fn begins(self) -> bool {
        self.begins
    }

    /// When.
    pub(in crate::policy) const fn now(self) -> Moment {
        self.now
    }

    /// For which request.
    pub(in crate::policy) const fn request(self) -> Option<RequestId> {
        self.request
    }
}

impl From<Moment> for CallContext {
    /// For no request.
    fn from(now: Moment) -> Self {
        Self::new(now, None)
    }
}
