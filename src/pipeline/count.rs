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
        let model = self.counted_as(caller, &request.model)?;
        self.count_by(request, model).await
    }

    /// Input tokens of a request by the encoding of a model, which need not be served here.
    ///
    /// # Errors
    /// It could not be counted.
    pub async fn count_by(&self, request: ChatRequest, model: String) -> Result<Count, Refusal> {
        let counted = self.blocking.run(move || tokens::count(&request, &model)).await;
        counted.ok_or_else(uncounted)
    }

    /// Tokens of a text that is no message of a conversation.
    ///
    /// # Errors
    /// As [`Gateway::count`].
    pub async fn count_text(&self, caller: &Caller, model: &str, text: String) -> Result<Count, Refusal> {
        let model = self.counted_as(caller, model)?;
        let counted = self.blocking.run(move || tokens::count_text(&text, &model)).await;
        counted.ok_or_else(uncounted)
    }

    /// The model by whose encoding requests for `model` are counted.
    fn counted_as(&self, caller: &Caller, model: &str) -> Result<String, Refusal> {
        let snapshot = self.live.read();
        check_model(&snapshot, caller, model)?;
        let group = snapshot.group(model).ok_or_else(|| context::unknown(&snapshot, model))?;
        Ok(group.deployments.first().map(|first| first.config.model.to_string()).unwrap_or_default())
    }
}

fn uncounted() -> Refusal {
    Refusal::new(RefusalKind::Internal, "the request could not be counted")
}
