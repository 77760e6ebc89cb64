//! Keys of the configuration that do nothing here: told in one line of the log, and again when they change. Who only put another program in the
//! place of the one before never asks `witgate check`.

use crate::config::KeyReport;

/// Keys that are told one by one.
const MOST_TOLD: usize = 20;

/// Those of the last configuration.
#[derive(Debug, Default)]
pub(super) struct Unused(Vec<String>);

impl Unused {
    /// Tells those of this configuration, where they are news.
    pub(super) fn tell(&mut self, report: &[KeyReport]) {
        let told = |row: &KeyReport| {
            let file = row.file.as_ref().map_or_else(|| "line ".to_owned(), |file| format!("{file}:"));
            format!("`{}` ({file}{})", row.key, row.line)
        };
        let unused: Vec<String> = report.iter().filter(|row| row.grade.is_without_effect()).map(told).collect();
        if unused != self.0 && !unused.is_empty() {
            let first = unused.iter().take(MOST_TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
            tracing::warn!(
                keys = unused.len(),
                "keys of the configuration do nothing here (`witgate check` says why): {first}"
            );
        }
        self.0 = unused;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captured_log::CapturedLog;
    use crate::config::parse;

    #[test]
    fn keys_without_effect_are_told_when_they_are_news() {
        let (log, subscriber) = CapturedLog::begin();
        let mut unused = Unused::default();
        let model =
            |more: &str| format!("model_list: [{{model_name: a, litellm_params: {{model: simulated/a{more}}}}}]");
        tracing::subscriber::with_default(subscriber, || {
            for more in
                ["", ", num_ctx: 5", ", num_ctx: 6", ", num_ctx: 6, default_api_key_rpm_limit: 1", "", ", num_ctx: 5"]
            {
                let report = parse(&model(more), "a.yaml", &|_| None).unwrap().report;
                unused.tell(&report);
            }
        });
        let lines = log.lines();
        let keys: Vec<u64> = lines.iter().map(|line| line["keys"].as_u64().unwrap()).collect();
        assert_eq!(keys, [1, 2, 1], "{lines:?}");
        let told = lines[0]["message"].as_str().unwrap();
        assert!(told.ends_with("says why): `model_list[0].litellm_params.num_ctx` (line 1)"), "{told}");
    }
}
