//! Tags as a filter: which deployments a request with these tags may go to. LiteLLM's rules.
//!
//! A plain tag asks for a deployment that has it; `&tag` for one that has it beside all else; `!tag` for one that has it not. A request
//! without tags goes to the deployments tagged `default`, where there are any. A tag that no deployment of the group knows sends it
//! there, too; one that some deployment knows, and none that is left, is refused.

/// The tag of deployments for requests without tags.
const DEFAULT: &str = "default";

/// How tags filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFilter {
    /// Whether one tag in common is enough; otherwise a deployment must have all.
    pub match_any: bool,
    /// Only tags that begin so are meant for routing, and only without it.
    pub prefix: Option<String>,
}

impl TagFilter {
    /// Which of a group's deployments, by their tags, a request with `tags` may go to. `None`: to none of them.
    #[must_use]
    pub fn fitting(&self, deployments: &[&[String]], tags: &[String]) -> Option<Vec<bool>> {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let tags = || tags.iter().filter_map(|tag| tag.strip_prefix(prefix)).filter(|tag| !tag.is_empty());
        let marked = |mark: char| {
            let marked = tags().filter_map(move |tag| tag.strip_prefix(mark)).filter(|tag| !tag.is_empty());
            marked.collect::<Vec<&str>>()
        };
        let (required, excluded) = (marked('&'), marked('!'));
        let plain: Vec<&str> = tags().filter(|tag| !tag.starts_with(['&', '!'])).collect();
        let has = |own: &[String], tag: &str| own.iter().any(|one| one == tag);
        let allowed =
            |own: &[String]| required.iter().all(|tag| has(own, tag)) && !excluded.iter().any(|tag| has(own, tag));
        let some = |fits: &dyn Fn(&[String]) -> bool| {
            let fitting: Vec<bool> = deployments.iter().map(|own| fits(own)).collect();
            fitting.contains(&true).then_some(fitting)
        };
        let any_default = deployments.iter().any(|own| has(own, DEFAULT));
        let default = |own: &[String]| has(own, DEFAULT) || !any_default;
        if plain.is_empty() {
            return some(&|own| allowed(own) && (!required.is_empty() || default(own)));
        }
        let matches = |own: &[String]| {
            let mut found = plain.iter().map(|tag| has(own, tag));
            if self.match_any { found.any(|has| has) } else { found.all(|has| has) }
        };
        let known = self.prefix.is_some() || plain.iter().any(|tag| deployments.iter().any(|own| has(own, tag)));
        some(&|own| allowed(own) && matches(own))
            .or_else(|| if known { None } else { some(&|own| allowed(own) && has(own, DEFAULT)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_where_its_tags_fit() {
        let tags = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let group = [tags("free"), tags("paid eu"), tags("paid us"), tags("default")];
        let untagged = [tags("free"), tags("paid")];
        let fitting = |group: &[Vec<String>], asked: &str, match_any: bool, prefix: Option<&str>| {
            let filter = TagFilter { match_any, prefix: prefix.map(str::to_owned) };
            let own: Vec<&[String]> = group.iter().map(Vec::as_slice).collect();
            let fitting = filter.fitting(&own, &tags(asked))?;
            Some(fitting.into_iter().map(|fits| if fits { '1' } else { '0' }).collect::<String>())
        };
        for (asked, any, all) in [
            ("", Some("0001"), Some("0001")),
            ("free", Some("1000"), Some("1000")),
            ("paid eu", Some("0110"), Some("0100")),
            ("free eu", Some("1100"), None),
            ("unheard-of", Some("0001"), Some("0001")),
            ("paid !eu", Some("0010"), Some("0010")),
            ("&paid", Some("0110"), Some("0110")),
            ("&paid &us", Some("0010"), Some("0010")),
            ("!default", None, None),
            ("&free &eu", None, None),
            ("! &", Some("0001"), Some("0001")),
        ] {
            assert_eq!(fitting(&group, asked, true, None).as_deref(), any, "any of `{asked}`");
            assert_eq!(fitting(&group, asked, false, None).as_deref(), all, "all of `{asked}`");
        }
        assert_eq!(fitting(&untagged, "", true, None).as_deref(), Some("11"), "no default: all of them");
        assert_eq!(fitting(&untagged, "unheard-of", true, None), None);
        assert_eq!(fitting(&group, "team:red route:paid", true, Some("route:")).as_deref(), Some("0110"));
        assert_eq!(fitting(&group, "paid", true, Some("route:")).as_deref(), Some("0001"), "not for routing");
        assert_eq!(fitting(&group, "route:unheard-of", true, Some("route:")), None, "meant, and nobody's");
    }
}
