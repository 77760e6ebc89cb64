//! The name of the end user, by which providers find out who abuses them: what they refuse as one is sent as a digest, always the same.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// Bytes of the digest that are sent: with the word before them in no more letters than any provider takes.
const BYTES: usize = 24;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Which names of end users a provider takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserRule {
    /// Any.
    Any,
    /// Up to this many letters.
    Longest(usize),
    /// The same where they tell nobody's address and number, and can be seen.
    Opaque(usize),
}

impl UserRule {
    fn takes(self, user: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Longest(most) => user.chars().count() <= most,
            Self::Opaque(most) => {
                user.chars().count() <= most
                    && !user.chars().any(char::is_control)
                    && !user.split_whitespace().any(is_address)
                    && !is_number(user)
            }
        }
    }

    /// The name as such a provider is told it; another one than was written is owned.
    pub(super) fn sent(self, user: &str) -> Cow<'_, str> {
        if self.takes(user) {
            return Cow::Borrowed(user);
        }
        let digest = Sha256::digest(user.as_bytes());
        let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)]));
        Cow::Owned("user_".chars().chain(digest.iter().take(BYTES).flat_map(digits)).collect())
    }
}

/// Whether it has the shape of an e-mail's address.
fn is_address(word: &str) -> bool {
    let Some((name, host)) = word.split_once('@') else { return false };
    let dot = host.char_indices().skip(1).find(|(_, sign)| *sign == '.');
    !name.is_empty() && dot.is_some_and(|(at, _)| at + 1 < host.len())
}

/// Whether it has the shape of a telephone's number.
fn is_number(user: &str) -> bool {
    let digits = user.strip_prefix('+').unwrap_or(user);
    let is_sign = |sign: char| sign.is_ascii_digit() || sign.is_whitespace() || "()-".contains(sign);
    digits.len() >= 7 && digits.chars().all(is_sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_as_a_user_s_name_is_sent_as_a_digest_that_is_always_the_same() {
        let long = "u".repeat(65);
        for (rule, user, taken) in [
            (UserRule::Any, "ann@example.org", true),
            (UserRule::Longest(64), "ann@example.org", true),
            (UserRule::Longest(64), "ééééééééééééééééééééééééééééééééé", true),
            (UserRule::Longest(64), long.as_str(), false),
            (UserRule::Opaque(255), long.as_str(), true),
            (UserRule::Opaque(255), "u-1", true),
            (UserRule::Opaque(255), "0f8fad5b-d9cb-469f-a165-70867728950e", true),
            (UserRule::Opaque(255), "@ann", true),
            (UserRule::Opaque(255), "ann@host", true),
            (UserRule::Opaque(255), "ann@example.org", false),
            (UserRule::Opaque(255), "Ann ann@example.org", false),
            (UserRule::Opaque(255), "+49 (170) 123-456", false),
            (UserRule::Opaque(255), "a\nb", false),
            (UserRule::Opaque(64), long.as_str(), false),
        ] {
            let sent = rule.sent(user);
            assert_eq!(sent == user, taken, "{rule:?} {user}");
            assert!(sent.chars().count() <= 64 || taken, "{sent}");
            assert_eq!(sent, rule.sent(user));
            assert!(UserRule::Opaque(64).takes(&sent) || taken, "{sent}");
        }
        let of = |user: &str| UserRule::Longest(1).sent(user).into_owned();
        assert_ne!(of("ann"), of("bob"));
    }
}
