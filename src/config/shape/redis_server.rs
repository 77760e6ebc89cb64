//! Where a Redis server is (`redis_url`, `redis_host` …), which `router_settings` and `general_settings` may say.

use secrecy::SecretString;

use crate::config::report::Grade;
use crate::config::section::Section;

/// What is said of it. A value that names a variable which is not set is as if it were not there: many configurations carry these
/// keys, and few servers.
#[derive(Default)]
pub(in crate::config) struct Redis {
    pub(in crate::config) url: Option<SecretString>,
    pub(in crate::config) host: Option<String>,
    pub(in crate::config) port: Option<u16>,
    pub(in crate::config) username: Option<String>,
    pub(in crate::config) password: Option<SecretString>,
    pub(in crate::config) database: Option<u32>,
    pub(in crate::config) tls: Option<bool>,
}

impl Redis {
    pub(in crate::config) fn read(section: &mut Section<'_, '_>) -> Self {
        let port = if_set(section, "redis_port").and_then(|port| {
            let number = port.trim().parse().ok().filter(|port| *port > 0);
            if number.is_none() {
                section.places.error_at("redis_port", "`redis_port` must be a port, 1 to 65535", "");
            }
            number
        });
        let secret = |text: Option<String>| text.map(|text| SecretString::from(text.trim()));
        let url = if_set(section, "redis_url");
        let schemes = ["redis://", "rediss://", "valkey://", "valkeys://"];
        if url.as_ref().is_some_and(|url| !schemes.iter().any(|scheme| url.trim().starts_with(scheme))) {
            let hint = "write redis://:password@host:6379/0, or rediss:// where the connection is to be encrypted";
            section.places.error_at("redis_url", "`redis_url` is not the URL of a Redis server", hint);
        }
        Self {
            url: secret(url),
            host: if_set(section, "redis_host"),
            port,
            username: if_set(section, "redis_username"),
            password: secret(if_set(section, "redis_password")),
            database: section.small("redis_db"),
            tls: section.flag("redis_ssl"),
        }
    }

    /// Whether a server is named.
    pub(in crate::config) const fn is_named(&self) -> bool {
        self.url.is_some() || self.host.is_some()
    }
}

fn if_set(section: &mut Section<'_, '_>, key: &'static str) -> Option<String> {
    let text = section.text_if_set(key);
    if text.is_none() && section.places.has(key) {
        section.places.downgrade(key, Grade::NotYet, "its variable is not set: it is as if the key were not there");
    }
    text.filter(|text| !text.trim().is_empty())
}
