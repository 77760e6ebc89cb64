//! Tokens of a request that is not served.

use crate::chat::ChatRequest;
use crate::fault::{Refusal, RefusalKind};
use crate::snapshot::Caller;
use crate::tokens::{self, Count};

use super::auth::check_model;
use super::{Gateway, context, steering};

impl Gateway {
    /// Input tokens of a request, by the encoding of its group's first deployment, as limits count them.
    ///
    /// # Errors
    /// No group has its name, or its caller may not ask for it, or it steers.
    pub async fn count(&self, caller: &Caller, request: ChatRequest) -> Result<Count, Refusal> {
        steering::refuse(&request)?;
        let snapshot = self.live.read();
        check_model(&snapshot, caller, &request.model)?;
        let group = snapshot.group(&request.model).ok_or_else(|| context::unknown(&snapshot, &request.model))?;
        let model = group.deployments.first().map(|first| first.config.model.clone()).unwrap_or_default();
        let counted = self.blocking.run(move || tokens::count(&request, &model)).await;
        counted.ok_or_else(|| Refusal::new(RefusalKind::Internal, "the request could not be counted"))
    }
}
