//! What windows are called at the server. The name of a quota ends in a short digest of its account: whoever reads names there could try
//! credentials on it, or find one at two servers. So it is disguised with random bytes that the server keeps, and all gateways ask for.
//!
//! The rule: gateways that are there together have the same names. The bytes are made by whoever finds no other gateway there; one that finds
//! some without them, which are of a version before, uses the names that those use, until it connects with none of them left.

use std::borrow::Cow;
use std::fmt::Write as _;

use redis::aio::MultiplexedConnection;
use sha2::{Digest as _, Sha256};

use super::Fault;
use super::script::{self, SALT};

/// What the names of quotas begin with.
const QUOTA: &str = "quota:";

/// How windows are called.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    salt: Option<String>,
}

impl Names {
    /// Asks for the bytes, as the gateway `id` that takes the place of `predecessor`.
    pub(super) async fn ask(
        connection: &mut MultiplexedConnection,
        id: &str,
        predecessor: &str,
    ) -> Result<Self, Fault> {
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh).map_err(|fault| Fault(format!("no random bytes: {fault}")))?;
        let mut asked = redis::cmd("EVAL");
        asked.arg(SALT).arg(2).arg(script::salt()).arg(script::gateways()).arg(id).arg(predecessor).arg(hex(&fresh));
        let salt: String = asked.query_async(connection).await?;
        Ok(Self { salt: (!salt.is_empty()).then_some(salt) })
    }

    /// What a window of this name is called.
    pub(super) fn of<'a>(&self, name: &'a str) -> Cow<'a, str> {
        // Quotas' names may hold anything: what comes behind, the length and the kind of window, has no say in it.
        match &self.salt {
            Some(salt) if name.starts_with(QUOTA) => {
                let digest = Sha256::new().chain_update(salt).chain_update([0]).chain_update(name).finalize();
                format!("{QUOTA}{}", hex(&digest[..16])).into()
            }
            _ => name.into(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_alone_are_disguised_each_window_by_itself() {
        let [one, other] = ["aa", "bb"].map(|salt| Names { salt: Some(salt.to_owned()) });
        let name = "quota:gpt-0123abcd:60000000000";
        let disguised = one.of(name).into_owned();
        assert!(disguised.starts_with("quota:") && !disguised.contains("0123abcd") && disguised.len() == 38);
        assert_eq!(one.of(name), disguised);
        for another in
            [other.of(name), one.of("quota:gpt-0123abcd:60000000000:fixed"), one.of("quota:gpt-0123abce:60000000000")]
        {
            assert_ne!(another, disguised);
        }
        assert_eq!(one.of("key:quota:1"), "key:quota:1");
        assert_eq!(Names::default().of(name), name, "as a version before");
    }
}
