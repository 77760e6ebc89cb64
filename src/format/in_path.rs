//! A model's name as a part of a path. Where a group's name has stars a client wrote some of it, and it must lead nowhere else.

use std::fmt::Write as _;

use crate::fault::{AttemptFault, FaultKind};

/// The name with every sign but letters, digits, `-_.~` and those that stay encoded.
///
/// # Errors
/// `Rejected` where it is empty, or one of its parts would be no part of a path but a way in it (`..`).
pub(super) fn in_path(model: &str, stay: &[u8]) -> Result<String, AttemptFault> {
    if model.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let message = "`model`: this is no name of a model";
        return Err(AttemptFault {
            param: Some("model".to_owned()),
            ..AttemptFault::new(FaultKind::Rejected, message)
        });
    }
    let mut segment = String::with_capacity(model.len() + 8);
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || stay.contains(&byte) {
            segment.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    Ok(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_but_to_its_model() {
        let encoded = |model: &str| in_path(model, b"@/").ok();
        assert_eq!(encoded("claude-x@20250929").as_deref(), Some("claude-x@20250929"));
        assert_eq!(encoded("tunedModels/a b").as_deref(), Some("tunedModels/a%20b"));
        assert_eq!(encoded("x:countTokens?a=1#b").as_deref(), Some("x%3AcountTokens%3Fa%3D1%23b"));
        assert_eq!(in_path("arn:a/b", b"").unwrap(), "arn%3Aa%2Fb");
        for model in ["", "..", "a/../b", "./a", "a//b", "/a", "a/"] {
            let fault = in_path(model, b"/").unwrap_err();
            assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::Rejected, Some("model")), "{model}");
        }
    }
}
