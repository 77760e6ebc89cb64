//! What builds complain of, as the log has it: each problem once, until it changes or goes. The whole list is there for whoever asks.

/// Logs those of `problems` that are not among the `known` ones, which were told when they came.
pub(super) fn log_new(known: &[String], problems: &[String]) {
    for problem in problems.iter().filter(|problem| !known.contains(problem)) {
        tracing::error!("{}", problem.replace("\nhint: ", "; hint: "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captured_log::CapturedLog;

    #[test]
    fn a_problem_is_told_once_until_it_changes_or_goes() {
        let (log, subscriber) = CapturedLog::begin();
        let _logged = tracing::subscriber::set_default(subscriber);
        let mut known: Vec<String> = Vec::new();
        for problems in [&["a\nhint: mend it", "b"][..], &["b", "a\nhint: mend it", "c"], &["b"], &["b", "c"], &["b2"]]
        {
            let problems: Vec<String> = problems.iter().map(|&problem| problem.to_owned()).collect();
            log_new(&known, &problems);
            known = problems;
        }
        let told: Vec<_> = log.lines().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect();
        assert_eq!(told, ["a; hint: mend it", "b", "c", "c", "b2"]);
    }
}
