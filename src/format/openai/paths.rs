//! Where clients of this family ask: with and without `/v1`, and below a deployment's path as Azure's clients do.

use percent_encoding::percent_decode_str;

/// What stands before a model's name in a path, and after it comes what is asked.
const NAMED: [&str; 2] = ["/deployments/", "/engines/"];

/// What is asked for at `path`, without a version and a deployment: `/chat/completions`.
pub(super) fn asked(path: &str) -> &str {
    let path = unversioned(path);
    match named(path) {
        Some((_, asked)) => asked,
        None => path,
    }
}

/// The model that `path` names.
pub(super) fn deployment(path: &str) -> Option<String> {
    let (name, _) = named(unversioned(path))?;
    let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

fn unversioned(path: &str) -> &str {
    let without = |path, start: &str| strip(path, start).unwrap_or(path);
    without(without(path, "/openai"), "/v1")
}

fn strip<'p>(path: &'p str, start: &str) -> Option<&'p str> {
    path.strip_prefix(start).filter(|rest| rest.starts_with('/'))
}

fn named(path: &str) -> Option<(&str, &str)> {
    let rest = NAMED.into_iter().find_map(|start| path.strip_prefix(start))?;
    let end = rest.find('/')?;
    Some(rest.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_asked_for_at_many_paths() {
        for path in [
            "/chat/completions",
            "/v1/chat/completions",
            "/openai/v1/chat/completions",
            "/openai/deployments/a%2Fb/chat/completions",
            "/engines/m/chat/completions",
        ] {
            assert_eq!(asked(path), "/chat/completions", "{path}");
        }
        for path in
            ["/v2/chat/completions", "/openaichat/completions", "/v1chat/completions", "/openai/deployments/chat"]
        {
            assert_ne!(asked(path), "/chat/completions", "{path}");
        }
        assert_eq!(deployment("/openai/deployments/a%2Fb/chat/completions").as_deref(), Some("a/b"));
        assert_eq!(deployment("/openai/deployments//chat/completions"), None);
        assert_eq!(deployment("/v1/chat/completions"), None);
    }
}
