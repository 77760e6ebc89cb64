//! What is tried out, by name: a header of such names unlocks fields of bodies.
//!
//! A cloud refuses whatever names one that it does not know, and agents name the newest of all. So those that are known there go out
//! (`data/betas.tsv`), under the cloud's own names, and that others are left out is reported. What an operator writes himself is his.

const ROWS: &str = include_str!("../../../data/betas.tsv");

/// Those of a header's names that the cloud knows, and whether these are all.
pub(super) fn known(betas: &str) -> (String, bool) {
    let asked = || betas.split(',').map(str::trim).filter(|beta| !beta.is_empty());
    let mut known: Vec<&str> = Vec::new();
    for beta in asked().filter_map(there) {
        if !known.contains(&beta) {
            known.push(beta);
        }
    }
    (known.join(","), asked().all(|beta| there(beta).is_some()))
}

fn there(beta: &str) -> Option<&'static str> {
    let mut rows = ROWS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
    rows.find(|(name, _)| *name == beta).map(|(_, there)| there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_name_and_its_name_there() {
        let rows: Vec<&str> = ROWS.lines().filter(|line| !line.starts_with('#')).collect();
        for row in &rows {
            let (name, there) = row.split_once('\t').unwrap_or_else(|| panic!("two columns: {row}"));
            let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            assert!(is_name(name) && is_name(there) && known(name) == (there.to_owned(), true), "{row}");
        }
        assert!(rows.len() > 10);
    }

    #[test]
    fn what_is_not_known_is_left_out_and_nothing_is_said_twice() {
        let asked = "advanced-tool-use-2025-11-20, oauth-2025-04-20,tool-search-tool-2025-10-19,,context-1m-2025-08-07";
        assert_eq!(known(asked), ("tool-search-tool-2025-10-19,context-1m-2025-08-07".to_owned(), false));
        assert_eq!(known("oauth-2025-04-20"), (String::new(), false));
    }
}
