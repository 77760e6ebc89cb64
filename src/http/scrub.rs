//! Providers repeat what they were sent. What is configured as a secret leaves their words before anyone
//! reads them.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};

/// What stands in the place of a secret.
const MASK: &str = "***";

/// Shorter ones are not secrets, and taking them out would make holes in every text.
const SHORTEST: usize = 4;

/// `text` without `secrets`. Borrowed where there is nothing to hide. Secrets shorter than four bytes stay.
#[must_use]
pub fn scrub<'a>(text: &'a str, secrets: &[SecretString]) -> Cow<'a, str> {
    let mut found: Vec<&str> = secrets
        .iter()
        .map(SecretString::expose_secret)
        .filter(|secret| secret.len() >= SHORTEST && text.contains(secret))
        .collect();
    // The longest first, so that no rest of a secret stays where one holds another.
    found.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    found.into_iter().fold(Cow::Borrowed(text), |text, secret| Cow::Owned(text.replace(secret, MASK)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_every_occurrence_and_leaves_the_rest() {
        let secrets = ["sk-1234".into(), "sk-1234-long".into(), "abc".into(), String::new().into()];
        assert_eq!(scrub("key sk-1234-long or sk-1234, abc", &secrets), "key *** or ***, abc");
        assert!(matches!(scrub("nothing here", &secrets), Cow::Borrowed(_)));
    }
}
