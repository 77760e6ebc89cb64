//! What a fault is about, by the provider's code and words, as data (`data/faults.tsv`).

use std::sync::LazyLock;

use crate::fault::{AttemptFault, Cause, FaultKind};

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
    cause: Cause,
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
    let (cause, status, told, text) = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
    let cause = match cause {
        "credential" => Cause::Credential,
        "context-window" => Cause::ContextWindow,
        "content-policy" => Cause::ContentPolicy,
        _ => return None,
    };
    let told = match told {
        "code" => Told::Code,
        "begins" => Told::Begins,
        "contains" => Told::Contains,
        _ => return None,
    };
    let status = if status == "*" { None } else { Some(status.parse().ok()?) };
    columns.next().is_none().then_some(Row { cause, status, told, text })
}

/// What a refusal is about.
#[must_use]
pub fn cause_of(status: Option<u16>, code: Option<&str>, message: &str) -> Option<Cause> {
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
    ROWS.iter().find(fits).map(|row| row.cause)
}

/// Says what a fault is about. What the credential is to blame for is no limit of the provider's and no fault of the request,
/// whatever its status.
pub fn classify(fault: &mut AttemptFault) {
    let of_provider = matches!(
        fault.kind,
        FaultKind::RateLimited | FaultKind::Rejected | FaultKind::Misconfigured | FaultKind::Unavailable
    );
    if fault.cause.is_some() || !of_provider || !fault.was_sent() {
        return;
    }
    fault.cause = cause_of(fault.status, fault.code.as_deref(), &fault.message);
    match fault.cause {
        Some(Cause::Credential) => fault.kind = FaultKind::Misconfigured,
        Some(Cause::ContextWindow | Cause::ContentPolicy | Cause::Capability) => fault.kind = FaultKind::Rejected,
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{ROWS, cause_of, rows};
    use crate::fault::Cause::{ContentPolicy, ContextWindow, Credential};

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
}
