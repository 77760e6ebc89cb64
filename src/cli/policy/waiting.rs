//! Versions that the folder holds and nobody tries, because they are being compiled, were rolled back or another was put in their place:
//! `witgate policies` says so, and how one is put in force.

use serde_json::Value;

/// One line for each, of what a gateway says of its policies and of what has happened to them.
pub(super) fn lines(policies: &Value, history: &Value) -> Vec<String> {
    let list = |key: &str| history[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let (changes, waiting) = (list("changes"), list("waiting"));
    let left = changes.iter().filter(|change| change["waits"] == true);
    let mut lines: Vec<String> = left.map(|one| line(one, short(one, "from"), &why(one), policies)).collect();
    for one in waiting {
        let mut here = changes.iter().filter(|change| is_same_place(change, one));
        if here.clone().any(|change| change["waits"] == true && change["from"] == one["digest"]) {
            continue;
        }
        // It never was in force, so that no change left it: an operator put another in its place.
        let instead = here.rfind(|change| change["by"] == "operator" && change["digest"] != one["digest"]);
        let why = instead.map_or_else(|| "gave its place to another".to_owned(), given_up_for);
        lines.push(line(one, short(one, "digest"), &why, policies));
    }
    lines
}

/// One line for each component that groups name and that is being compiled.
pub(super) fn compiling(policies: &Value) -> Vec<String> {
    let line = |one: &Value| {
        let until = if one["goes_on"] == true {
            "what is in force decides until then"
        } else {
            "the configuration that names it is put in force then"
        };
        format!("{} {} is being compiled: {until}", text(one, "policy"), short(one, "digest"))
    };
    policies["compiling"].as_array().into_iter().flatten().map(line).collect()
}

/// Whether two are about the same policy in the same role of a group.
fn is_same_place(one: &Value, other: &Value) -> bool {
    ["group", "role", "policy"].iter().all(|key| one[key] == other[key])
}

/// What is said of something under `key`.
fn text<'v>(of: &'v Value, key: &str) -> &'v str {
    of[key].as_str().unwrap_or_default()
}

/// A digest's first digits.
fn short<'v>(of: &'v Value, key: &str) -> &'v str {
    text(of, key).get(..12).unwrap_or_default()
}

/// Why the version waits that was left by a change.
fn why(change: &Value) -> String {
    match (text(change, "how"), text(change, "by"), text(change, "result")) {
        ("rollback", by, "") => format!("was rolled back by {by}"),
        ("rollback", by, result) => format!("was rolled back by {by} ({result})"),
        _ => format!("gave its place to {}", short(change, "digest")),
    }
}

/// Why a version waits in whose place an operator put another.
fn given_up_for(change: &Value) -> String {
    let back = if text(change, "how") == "rollback" { ", to which an operator went back" } else { "" };
    format!("gave its place to {}{back}", short(change, "digest"))
}

/// Of a version at the place that `of` names.
fn line(of: &Value, version: &str, why: &str, policies: &Value) -> String {
    let (group, role, policy) = (text(of, "group"), text(of, "role"), text(of, "policy"));
    // By its digest: without one, what is promoted is the version that is tried, which may be another by now.
    let mut command = format!("witgate policies promote {group} --role {role} --to {version}");
    let mut rows = policies["policies"].as_array().into_iter().flatten();
    if rows.any(|row| row["group"] == group && row["role"] == role && row["name"] != policy) {
        command.extend([" --policy ", policy]);
    }
    format!(
        "{group}: {policy} {version} {why}: it is not tried again until its file changes; `{command}` puts it in force"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_is_told_with_the_command_that_puts_it_in_force() {
        let policies = json!({"policies": [
            {"group": "g", "role": "router", "name": "p"},
            {"group": "g", "role": "provider", "name": "p"},
            {"group": "g", "role": "provider", "name": "q"},
        ]});
        let change = |role: &str, how: &str, result: &str, waits: bool| {
            json!({
                "group": "g", "role": role, "policy": "p", "from": "0123456789abcdef", "digest": "fedcba9876543210",
                "how": how, "by": "rule", "result": result, "waits": waits,
            })
        };
        let history = json!({"changes": [
            change("router", "rollback", "", false),
            change("router", "rollback", "1 fault", true),
            change("provider", "promote", "", true),
        ]});
        assert_eq!(
            lines(&policies, &history),
            [
                "g: p 0123456789ab was rolled back by rule (1 fault): it is not tried again until its file changes; \
                 `witgate policies promote g --role router --to 0123456789ab` puts it in force",
                "g: p 0123456789ab gave its place to fedcba987654: it is not tried again until its file changes; \
                 `witgate policies promote g --role provider --to 0123456789ab --policy p` puts it in force",
            ]
        );
        assert_eq!(lines(&policies, &Value::Null), [""; 0]);
    }

    #[test]
    fn what_is_being_compiled_is_told_with_what_decides_until_then() {
        let one =
            |policy: &str, goes_on: bool| json!({"policy": policy, "digest": "0123456789abcdef", "goes_on": goes_on});
        let told = compiling(&json!({"compiling": [one("p", true), one("q", false)]}));
        assert_eq!(
            told,
            [
                "p 0123456789ab is being compiled: what is in force decides until then",
                "q 0123456789ab is being compiled: the configuration that names it is put in force then",
            ]
        );
        assert_eq!(compiling(&json!({"policies": []})), [""; 0], "an older gateway says nothing of it");
    }

    #[test]
    fn what_waits_and_never_was_in_force_is_told_by_what_was_put_in_its_place() {
        let policies = json!({"policies": [{"group": "g", "role": "router", "name": "p"}]});
        let change = |how: &str, by: &str, from: &str, digest: &str, waits: bool| {
            json!({
                "group": "g", "role": "router", "policy": "p", "from": from, "digest": digest, "how": how, "by": by,
                "waits": waits,
            })
        };
        let tried = "0123456789abcdef";
        let waiting = json!([{"group": "g", "role": "router", "policy": "p", "digest": tried}]);
        let told = |changes: &[Value]| lines(&policies, &json!({"changes": changes, "waiting": waiting}));
        let until = "it is not tried again until its file changes; \
                     `witgate policies promote g --role router --to 0123456789ab` puts it in force";
        let canary = change("canary", "file", "fedcba9876543210", tried, false);
        let back = change("rollback", "operator", "fedcba9876543210", "aaaabbbbccccdddd", false);
        let why = "gave its place to aaaabbbbcccc, to which an operator went back";
        assert_eq!(told(&[canary, back.clone()]), [format!("g: p 0123456789ab {why}: {until}")]);
        assert_eq!(told(&[]), [format!("g: p 0123456789ab gave its place to another: {until}")]);
        // Once, where a change tells it.
        let left = change("promote", "operator", tried, "fedcba9876543210", true);
        let why = "gave its place to fedcba987654";
        assert_eq!(told(&[left, back]), [format!("g: p 0123456789ab {why}: {until}")]);
    }
}
