//! Groups whose name is a pattern: `openai/*` serves every name that begins so, and hands on what the star stood for.
//!
//! LiteLLM's rule: an exact name comes before every pattern, and of patterns the one that says more. Each star stands for any text, the
//! first for as much as it can. The stars of a deployment's model take those texts in their order.

use std::sync::Arc;

use crate::money::{Costs, Prices};

/// A name with stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What stands before, between and behind the stars: one more than there are stars.
    texts: Vec<String>,
}

impl Pattern {
    /// `None` where `name` has no star, so that it stands for itself alone.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.contains('*').then(|| Self { texts: name.split('*').map(str::to_owned).collect() })
    }

    /// How much it says: of two patterns that fit a name, the one that says more is taken. A star counts as the four letters
    /// LiteLLM writes for it.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.texts.iter().map(String::len).sum::<usize>() + 4 * (self.texts.len() - 1)
    }

    /// What the stars stand for in `name`; `None` where it does not fit.
    #[must_use]
    pub fn parts<'n>(&self, name: &'n str) -> Option<Vec<&'n str>> {
        let (first, rest) = self.texts.split_first()?;
        let (last, between) = rest.split_last()?;
        let mut left = name.strip_prefix(first.as_str())?.strip_suffix(last.as_str())?;
        // From behind, each as late as it can be: so the first star stands for as much as it can.
        let mut parts = Vec::with_capacity(rest.len());
        for text in between.iter().rev() {
            let at = left.rfind(text.as_str())?;
            parts.push(&left[at + text.len()..]);
            left = &left[..at];
        }
        parts.push(left);
        parts.reverse();
        Some(parts)
    }
}

/// A deployment that stands for many models: its `model` has a star for each part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard {
    /// Whose models it has, in the table of models.
    pub models_of: &'static str,
    /// The provider's name as it stands before the slash in names of its models.
    pub provider: String,
    /// Which of that provider's rows of the table of providers its models are of: it serves those of no other.
    pub row: usize,
    /// The model behind the provider's name as it is written. What stands there before the stars may say how and where it is asked.
    pub written: String,
    /// Whether it serves only names that lead to its provider: it is one of several that one entry `*` stands for.
    pub by_name: bool,
    /// Whether models that its provider serves by a newer API alone are asked by it: nothing else is said of how they are asked.
    pub newer: bool,
    /// The version of that API, where it has one of its own.
    pub newer_version: Option<String>,
    /// Whether it is where its region is, so that a model that says another, or is in another alone, is asked there.
    pub regional: bool,
    /// The region that its entry, or a variable, says.
    pub region: Option<String>,
    /// The prices that its entry gives, which are laid over those that are known of each model; `None` where it gives none, or says whose
    /// prices all its models have.
    pub costs: Option<Arc<Costs>>,
}

impl Wildcard {
    /// The model, as it would be written, that its own with stars comes to where a pattern's stand for `parts` of `name`. `None` where the
    /// name leads to another provider.
    #[must_use]
    pub fn fill(
        &self,
        parts: &[&str],
        name: &str,
        provider_of: impl Fn(&str) -> Option<&'static str>,
    ) -> Option<String> {
        let own = name.strip_prefix(&self.provider).and_then(|rest| rest.strip_prefix('/'));
        if self.by_name {
            return match own {
                Some(rest) => Some(rest.to_owned()),
                None => (provider_of(name) == Some(self.provider.as_str())).then(|| name.to_owned()),
            };
        }
        let stars = self.written.matches('*').count();
        if parts.len() > stars {
            // As in LiteLLM, where the parts have no place: what the client wrote.
            return Some(own.unwrap_or(name).to_owned());
        }
        let mut texts = self.written.split('*');
        let mut filled = texts.next().unwrap_or_default().to_owned();
        for (number, text) in texts.enumerate() {
            filled.push_str(parts.get(number).copied().unwrap_or("*"));
            filled.push_str(text);
        }
        Some(filled)
    }

    /// The prices of a model that fills the stars: `known` are those that are publicly known of it, and `own` what the entry comes to
    /// without it.
    #[must_use]
    pub fn prices(&self, own: Option<&Prices>, known: Option<Prices>) -> Option<Prices> {
        match &self.costs {
            Some(costs) => {
                let others = own.and_then(|own| own.others);
                let prices = costs.over(known).map(|prices| Prices { others: prices.others.or(others), ..prices });
                prices.or_else(|| own.cloned())
            }
            None => own.cloned().or(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_the_first_for_as_much_as_it_can() {
        for (pattern, name, expected) in [
            ("openai/*", "openai/gpt-4o", Some(vec!["gpt-4o"])),
            ("openai/*", "anthropic/claude", None),
            ("openai/gpt-*", "openai/gpt-", Some(vec![""])),
            ("*", "a/b", Some(vec!["a/b"])),
            ("*-x*", "a-xb-xc", Some(vec!["a-xb", "c"])),
            ("a*b*c", "abbc", Some(vec!["b", ""])),
            ("a*b*c", "abc", Some(vec!["", ""])),
            ("a*b*c", "acb", None),
            ("ab*ba", "aba", None),
            ("é*", "éé", Some(vec!["é"])),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().parts(name), expected, "{pattern} {name}");
        }
        assert_eq!(Pattern::parse("openai/gpt-4o"), None);
    }

    #[test]
    fn the_pattern_that_says_more_weighs_more() {
        let weight = |pattern| Pattern::parse(pattern).unwrap().weight();
        assert!(weight("openai/gpt-*") > weight("openai/*") && weight("openai/*") > weight("*"));
        assert!(weight("openai/*-*") > weight("openai/*"));
    }

    #[test]
    fn a_model_s_stars_take_the_parts_in_their_order() {
        let wildcard = |by_name, written: &str| Wildcard {
            models_of: "openai",
            provider: "openai".to_owned(),
            row: 0,
            written: written.to_owned(),
            by_name,
            newer: true,
            newer_version: None,
            regional: false,
            region: None,
            costs: None,
        };
        let nobody = |_: &str| None;
        let fill = |model: &str, pattern: &str, name: &str| {
            let pattern = Pattern::parse(pattern).unwrap();
            wildcard(false, model).fill(&pattern.parts(name).unwrap(), name, nobody).unwrap()
        };
        assert_eq!(fill("*", "openai/*", "openai/gpt-4o"), "gpt-4o");
        assert_eq!(fill("fo::*::static::*", "llm/fo::*::static::*", "llm/fo::a::static::b"), "fo::a::static::b");
        assert_eq!(fill("meta.llama3*", "*meta.llama3*", "hello-meta.llama3-70b"), "hello-meta.llama3-70b");
        assert_eq!(fill("*", "*/*", "openai/gpt-4o"), "gpt-4o", "two parts and one star: what the client wrote");
        assert_eq!(fill("responses/*", "mine-*", "mine-gpt-4.1"), "responses/gpt-4.1");
        assert_eq!(fill("*-*", "*/*", "a*/b"), "a*-b", "a client's star is no place for the next part");
        let openai = |name: &str| name.starts_with("gpt-").then_some("openai");
        assert_eq!(wildcard(true, "*").fill(&["x"], "openai/gpt-4o", openai).as_deref(), Some("gpt-4o"));
        assert_eq!(wildcard(true, "*").fill(&["x"], "gpt-4o", openai).as_deref(), Some("gpt-4o"));
        assert_eq!(wildcard(true, "*").fill(&["x"], "anthropic/gpt-4o", openai), None);
    }
}
