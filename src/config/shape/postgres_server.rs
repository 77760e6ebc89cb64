//! Where the Postgres server is that keeps the ledger and the keys (`database_url`).

use secrecy::SecretString;

use crate::config::report::Grade;
use crate::config::section::Section;

const KEY: &str = "database_url";
const HINT: &str = "write postgres://USER:PASSWORD@HOST:5432/DATABASE";
/// Options with which URLs ask for an encrypted connection in a way that is not there.
const TLS: [&str; 8] =
    ["sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslaccept", "sslidentity", "channel_binding", "gssencmode"];
/// Values with which such an option asks for nothing.
const PLAIN: [&str; 4] = ["disable", "allow", "prefer", "strict"];
/// Options of LiteLLM's own database client, which say how it pools.
const POOL: [&str; 6] =
    ["schema", "connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size", "single_use_connections"];

/// The URL. A variable that is not set is as if the key were not there. The problems never repeat it: it has a password.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<SecretString> {
    let url = section.text_if_set(KEY).filter(|url| !url.trim().is_empty());
    if url.is_none() && section.places.has(KEY) {
        section.places.downgrade(KEY, Grade::NotYet, "its variable is not set: it is as if the key were not there");
    }
    let url = url?;
    let url = url.trim();
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        section.places.error_at(KEY, "`database_url` is not the URL of a Postgres server", HINT);
        return None;
    }
    // Behind the password, which may have the same letters.
    let behind = url.find('@').map_or(0, |at| at + 1);
    let Some(begin) = url[behind..].find('?').map(|at| behind + at) else { return Some(url.into()) };
    let options = || url[begin + 1..].split('&').map(|option| option.split_once('=').unwrap_or((option, "")));
    for (name, value) in options() {
        if name == "pgbouncer" && value == "true" {
            let hint = "name the server itself: what shares connections between transactions cannot be told where the tables are";
            section.places.error_at(KEY, "`database_url` names a pool (`pgbouncer=true`)", hint);
            return None;
        }
        if let Some(name) = TLS.iter().find(|known| **known == name && !PLAIN.contains(&value) && !value.is_empty()) {
            let message =
                format!("`database_url` asks for an encrypted connection in a way that is not there (`{name}`)");
            let hint = "write `sslmode=require`, and `sslrootcert=FILE` where the system does not trust the server's certificate";
            section.places.error_at(KEY, message, hint);
            return None;
        }
    }
    let passed_over: Vec<&str> = POOL.into_iter().filter(|known| options().any(|(name, _)| name == *known)).collect();
    if !passed_over.is_empty() {
        let note = format!(
            "passed over: {}; a gateway has two connections and its own schema, `witgate`",
            passed_over.join(", ")
        );
        section.places.downgrade(KEY, Grade::Approximate, note);
    }
    let meant = |name: &str| !(POOL.contains(&name) || TLS.contains(&name) || name == "pgbouncer");
    let kept: Vec<String> = options()
        .filter(|(name, _)| meant(name))
        // Libpq's `allow` is not among those the client knows.
        .map(|(name, value)| format!("{name}={}", if value == "allow" { "prefer" } else { value }))
        .collect();
    let mark = if kept.is_empty() { "" } else { "?" };
    Some(format!("{}{mark}{}", &url[..begin], kept.join("&")).into())
}
