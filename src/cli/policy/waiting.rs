//! Versions that the folder holds and nobody tries, because they were rolled back: `witgate policies` says so, and how one is put in force.

use serde_json::Value;

/// One line for each, of what a gateway says of its policies and of what has happened to them.
pub(super) fn lines(policies: &Value, history: &Value) -> Vec<String> {
    let waiting = history["changes"].as_array().into_iter().flatten().filter(|change| change["waits"] == true);
    waiting.map(|change| line(change, policies)).collect()
}

fn line(change: &Value, policies: &Value) -> String {
    let text = |key: &str| change[key].as_str().unwrap_or_default();
    let short = |key: &str| text(key).get(..12).unwrap_or_default().to_owned();
    let (group, role, policy) = (text("group"), text("role"), text("policy"));
    let why = match (text("how"), text("by"), text("result")) {
        ("rollback", by, "") => format!("was rolled back by {by}"),
        ("rollback", by, result) => format!("was rolled back by {by} ({result})"),
        _ => format!("gave its place to {}", short("digest")),
    };
    // By its digest: without one, what is promoted is the version that is tried, which may be another by now.
    let mut command = format!("witgate policies promote {group} --role {role} --to {}", short("from"));
    let mut rows = policies["policies"].as_array().into_iter().flatten();
    if rows.any(|row| row["group"] == group && row["role"] == role && row["name"] != policy) {
        command.extend([" --policy ", policy]);
    }
    format!(
        "{group}: {policy} {} {why}: it is not tried again until its file changes; `{command}` puts it in force",
        short("from")
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
}
