//! A provider's vectors, as the client gets them.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::chat::Vectors;
use crate::fault::{AttemptFault, FaultKind};
use crate::snapshot::DeploymentRuntime;

use super::call::{name_model, priced};
use super::{ReplyMeta, RequestContext, RequestGuard};

/// The reply's body in the client's words. Where the provider tells no tokens, it tells those that are billed: clients add them up.
///
/// # Errors
/// The provider's body is not understood, or has not one vector for each input.
pub(super) async fn given(
    context: &RequestContext<'_>,
    guard: &mut RequestGuard,
    runtime: &Arc<DeploymentRuntime>,
    (headers, body): (&HeaderMap, Bytes),
    meta: &mut ReplyMeta,
) -> Result<Bytes, AttemptFault> {
    let mut vectors = read(context, runtime, body).await?;
    vectors.usage = vectors.usage.or_else(|| runtime.format.usage_in_headers(headers));
    name_model(&mut vectors.model, context, meta, &runtime.config);
    guard.first_content();
    if let Some(progress) = guard.progress() {
        vectors.usage.iter().for_each(|usage| progress.reported(usage));
    }
    guard.count_to_bill(None).await;
    if let Some(progress) = guard.progress() {
        priced(meta, progress, &runtime.config);
        if progress.usage().is_none() {
            vectors.usage = Some(progress.assumed());
        }
    }
    (meta.took, meta.overhead) = guard.times();
    Ok(guard.api().vectors(&context.request, &vectors))
}

/// Reads them, of which there must be as many as inputs.
async fn read(
    context: &RequestContext<'_>,
    runtime: &Arc<DeploymentRuntime>,
    body: Bytes,
) -> Result<Vectors, AttemptFault> {
    let (format, inputs) =
        (runtime.format.serving(context.id, context.gateway.clock.now()), context.request.messages.len());
    let slow = format.is_slow();
    let read = move || {
        let vectors = format.decode_vectors(&body)?;
        if vectors.list.len() != inputs {
            let message = format!("the provider answered {inputs} inputs with {} vectors", vectors.list.len());
            return Err(AttemptFault::new(FaultKind::BrokenStream, message));
        }
        Ok(vectors)
    };
    let read = context.gateway.pool_for(slow).run(read).await;
    read.unwrap_or_else(|| Err(AttemptFault::new(FaultKind::BrokenStream, "the embeddings could not be read")))
}
