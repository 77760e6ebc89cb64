//! What a fault is about, by the provider's code and words, as data (`data/faults.tsv`).

use std::sync::LazyLock;

use crate::fault::{AttemptFault, Cause, FaultKind};
use crate::format::is_larger_than_limit;

/// Whose fault a row tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// What the cause says.
    Cause(Cause),
    /// The request's, where the status alone would blame the deployment.
    Request,
    /// The deployment's, or its account's: rows below are not looked at.
    Deployment,
    /// Nobody's: its provider has too much to do.
    Overloaded,
}

/// How a row tells its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// By the provider's code.
    Code,
    /// By how its message begins.
    Begins,
    /// By words anywhere in its message.
    Contains,
}

struct Row {
    about: About,
    /// `None` is any, none included.
    status: Option<u16>,
    told: Told,
    /// In small letters; `*` is anything.
    text: &'static str,
}

/// Rows that cannot be read are left out; a test reads all.
static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| rows().filter_map(row).collect());

fn rows() -> impl Iterator<Item = &'static str> {
    include_str!("../../data/faults.tsv").lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

fn row(line: &'static str) -> Option<Row> {
    let mut columns = line.split('\t');
    let (about, status, told, text) = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
    let about = match about {
        "credential" => About::Cause(Cause::Credential),
        "context-window" => About::Cause(Cause::ContextWindow),
        "content-policy" => About::Cause(Cause::ContentPolicy),
        "request" => About::Request,
        "deployment" => About::Deployment,
        "overloaded" => About::Overloaded,
        _ => return None,
    };
    let told = match told {
        "code" => Told::Code,
        "begins" => Told::Begins,
        "contains" => Told::Contains,
        _ => return None,
    };
    let status = if status == "*" { None } else { Some(status.parse().ok()?) };
    columns.next().is_none().then_some(Row { about, status, told, text })
}

/// What a refusal is about.
fn about(status: Option<u16>, code: Option<&str>, message: &str) -> Option<About> {
    let code = code.unwrap_or_default().to_ascii_lowercase();
    let message = message.to_ascii_lowercase();
    let fits = |row: &&Row| {
        let says = match row.told {
            Told::Code => row.text == "*" || code == row.text,
            Told::Begins => message.starts_with(row.text),
            Told::Contains => message.contains(row.text),
        };
        says && row.status.is_none_or(|wanted| status == Some(wanted))
    };
    ROWS.iter().find(fits).map(|row| row.about)
}

/// What a refusal is about, where that is one of the causes.
#[must_use]
pub fn cause_of(status: Option<u16>, code: Option<&str>, message: &str) -> Option<Cause> {
    match about(status, code, message) {
        Some(About::Cause(cause)) => Some(cause),
        _ => None,
    }
}

/// The status of an error inside a reply that began well, where its code is one.
fn status_in(code: Option<&str>) -> Option<u16> {
    code?.parse().ok().filter(|status| (400..600).contains(status))
}

/// Whether a 403 or a 404 blames a field of the request other than the model (OpenAI's `param`).
fn blames_a_field(fault: &AttemptFault) -> bool {
    matches!(fault.status, Some(403 | 404)) && fault.param.as_deref().is_some_and(|param| param != "model")
}

/// Whether no wait makes the request fit: the numbers of a rate limit say so. (Groq tells one with 413.)
fn is_too_large(fault: &AttemptFault) -> bool {
    (fault.kind == FaultKind::RateLimited || fault.status == Some(413)) && is_larger_than_limit(&fault.message)
}

/// Says what a fault is about. What the credential is to blame for is no limit of the provider's and no fault of the request,
/// whatever its status; what the request is to blame for says nothing about the deployment. A request that is larger than the
/// provider's limit is one that is too long, for this deployment.
pub fn classify(fault: &mut AttemptFault) {
    let of_provider = matches!(
        fault.kind,
        FaultKind::RateLimited | FaultKind::Rejected | FaultKind::Misconfigured | FaultKind::Unavailable
    );
    if fault.cause.is_some() || !of_provider || !fault.was_sent() {
        return;
    }
    let code = fault.code.as_deref();
    let about = about(fault.status.or_else(|| status_in(code)), code, &fault.message);
    // A 400 that names a field is the request's, whatever its words begin with.
    let about = about.filter(|about| {
        let of_request = matches!(about, About::Request | About::Cause(Cause::ContextWindow | Cause::ContentPolicy));
        of_request || fault.status != Some(400) || fault.param.as_deref().is_none_or(|param| param == "model")
    });
    fault.cause = match about {
        Some(About::Cause(cause)) => Some(cause),
        None if is_too_large(fault) => Some(Cause::ContextWindow),
        _ => None,
    };
    match fault.cause {
        Some(Cause::Credential) => fault.kind = FaultKind::Misconfigured,
        Some(Cause::ContextWindow | Cause::ContentPolicy | Cause::Capability) => fault.kind = FaultKind::Rejected,
        None if about == Some(About::Request) || about.is_none() && blames_a_field(fault) => {
            fault.kind = FaultKind::Rejected;
        }
        // Whoever asked for nothing wrong is not to blame for a model that its provider does not have.
        None if about == Some(About::Deployment) && fault.kind == FaultKind::Rejected => {
            fault.kind = FaultKind::Misconfigured;
        }
        None if about == Some(About::Overloaded) && fault.kind != FaultKind::RateLimited => {
            fault.kind = FaultKind::Unavailable;
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{ROWS, cause_of, classify, rows};
    use crate::fault::Cause::{self, ContentPolicy, ContextWindow, Credential};
    use crate::fault::FaultKind::{Misconfigured, RateLimited, Rejected};
    use crate::fault::{AttemptFault, FaultKind, Refusal, RefusalKind};

    /// What a fault is taken for whose status alone says `kind`.
    fn classified(status: u16, kind: FaultKind, told: (Option<&str>, Option<&str>), message: &str) -> AttemptFault {
        let (code, param) = told;
        let (code, param) = (code.map(str::to_owned), param.map(str::to_owned));
        let mut fault = AttemptFault { status: Some(status), code, param, ..AttemptFault::new(kind, message) };
        classify(&mut fault);
        fault
    }

    #[test]
    fn every_row_is_read() {
        assert_eq!(ROWS.len(), rows().count());
        assert!(ROWS.iter().all(|row| row.text == row.text.to_ascii_lowercase()));
    }

    #[test]
    fn credentials_and_requests_are_told_apart() {
        for (status, code, message, expected) in [
            (401, None, "Incorrect API key provided", Some(Credential)),
            (402, Some("unknown"), "Insufficient Balance", Some(Credential)),
            (429, Some("insufficient_quota"), "You exceeded your current quota", Some(Credential)),
            // A limit per minute, in the very words of an empty account.
            (429, Some("RESOURCE_EXHAUSTED"), "You exceeded your current quota, please check your plan", None),
            (429, Some("rate_limit_exceeded"), "Rate limit reached", None),
            (400, Some("invalid_request_error"), "Your credit balance is too low to access the API", Some(Credential)),
            (
                400,
                Some("invalid_request_error"),
                "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
                Some(Credential),
            ),
            // What a client wrote, repeated.
            (400, None, "invalid value 'your credit balance is too low'", None),
            (400, Some("INVALID_ARGUMENT"), "API key not valid. Please pass a valid API key.", Some(Credential)),
            (403, None, "Country, region, or territory not supported", None),
            (404, Some("model_not_found"), "The model does not exist", None),
            (400, Some("context_length_exceeded"), "too long", Some(ContextWindow)),
            (
                400,
                Some("invalid_request_error"),
                "prompt is too long: 210000 tokens > 200000 maximum",
                Some(ContextWindow),
            ),
            (400, Some("content_filter"), "filtered", Some(ContentPolicy)),
            (400, Some("invalid_request_error"), "Output blocked by content filtering policy", Some(ContentPolicy)),
            (413, Some("request_too_large"), "Request exceeds the maximum size", None),
        ] {
            assert_eq!(cause_of(Some(status), code, message), expected, "{status} {code:?} {message}");
        }
    }

    #[test]
    fn a_403_or_404_is_the_request_s_fault_where_its_words_say_so() {
        let moderated = "openai/gpt-4 requires moderation on OpenAI. Your input was flagged for \"violence\".";
        for (status, code, param, message, kind, cause) in [
            (403, Some("403"), None, moderated, Rejected, Some(ContentPolicy)),
            (403, Some("content_policy_violation"), None, "No.", Rejected, Some(ContentPolicy)),
            (403, None, None, "Content violates usage guidelines. Failed check: X", Rejected, Some(ContentPolicy)),
            (404, Some("404"), None, "No endpoints found that support image input", Rejected, None),
            (404, Some("invalid_request_error"), Some("id"), "No such File object: file-abc", Rejected, None),
            (404, Some("invalid_request_error"), Some("messages[0].content"), "It is not there.", Rejected, None),
            (
                403,
                Some("PERMISSION_DENIED"),
                None,
                "You do not have permission to access the File abc or it may not exist.",
                Rejected,
                None,
            ),
            // Of the credential, the account, the project or the deployment.
            (401, None, Some("id"), "No such File object: file-abc", Misconfigured, Some(Credential)),
            (403, None, None, "Your account was flagged for misuse", Misconfigured, None),
            (403, Some("403"), None, "Key limit exceeded (total limit)", Misconfigured, None),
            (403, Some("PERMISSION_DENIED"), None, "The caller does not have permission", Misconfigured, None),
            (403, Some("model_not_found"), None, "Project `p` does not have access to model `m`", Misconfigured, None),
            (404, Some("model_not_found"), Some("x"), "The model `m` does not exist", Misconfigured, None),
            (404, Some("404"), Some("model"), "The model `m` does not exist.", Misconfigured, None),
            (404, Some("404"), None, "No endpoints found for some/model.", Misconfigured, None),
            (404, Some("404"), None, "No endpoints found matching your data policy", Misconfigured, None),
            (404, None, None, "<html> Not Found", Misconfigured, None),
        ] {
            let fault = classified(status, Misconfigured, (code, param), message);
            assert_eq!((fault.kind, fault.cause), (kind, cause), "{status} {code:?} {param:?} {message}");
            if kind == Rejected {
                let refusal = Refusal::from(fault);
                assert_eq!((refusal.kind, refusal.status), (RefusalKind::Rejected, status), "{message}");
                assert_eq!(refusal.message, message);
            }
        }
    }

    #[test]
    fn a_request_that_is_larger_than_the_limit_is_not_worth_a_wait() {
        const WORDS: &str =
            "Request too large for m on tokens per min (TPM): Limit 30000, Requested 40666, please reduce it.";
        for (status, kind) in [(429, RateLimited), (413, Rejected)] {
            let fault = classified(status, kind, (Some("rate_limit_exceeded"), None), WORDS);
            assert_eq!((fault.kind, fault.cause), (Rejected, Some(ContextWindow)));
            assert!(fault.is_over_limit());
            let refusal = Refusal::from(fault);
            assert_eq!((refusal.kind, refusal.status, refusal.code), (RefusalKind::NeverFits, 413, None));
            assert_eq!((refusal.message.as_str(), refusal.retry_after), (WORDS, None));
        }
        let told = |status, kind, code, message| {
            let fault = classified(status, kind, (Some(code), None), message);
            (fault.kind, fault.cause, fault.is_over_limit())
        };
        let usual = "Rate limit reached on tokens per min (TPM): Limit 30000, Used 20000, Requested 12000.";
        assert_eq!(told(429, RateLimited, "rate_limit_exceeded", usual), (RateLimited, None, false));
        let quota: (_, Option<Cause>, _) = told(429, RateLimited, "insufficient_quota", WORDS);
        assert_eq!(quota, (Misconfigured, Some(Credential), false));
        let long = told(413, Rejected, "context_length_exceeded", "prompt is too long");
        assert_eq!(long, (Rejected, Some(ContextWindow), false));
        // Anthropic's, of an account whose prompts may not be that long.
        for words in [
            "Extra usage is required for long context requests.",
            "Usage credits are required for long context requests.",
        ] {
            let told = told(429, RateLimited, "rate_limit_error", words);
            assert_eq!(told, (Rejected, Some(ContextWindow), true), "{words}");
        }
    }
}
