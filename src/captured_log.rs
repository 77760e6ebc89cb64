//! What was logged, for tests to read.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Subscriber};

/// While there is no more than one subscriber, whoever reaches a line of the log first decides for good whether it is written anywhere: a
/// thread that runs another test has none and says that it is not. With these beside it all subscribers are asked.
static OTHERS: LazyLock<[Dispatch; 2]> = LazyLock::new(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::new())));

/// The log of one test.
#[derive(Clone, Default)]
pub(crate) struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    /// Empty, and what writes into it.
    pub(crate) fn begin() -> (Self, impl Subscriber + Send + Sync) {
        LazyLock::force(&OTHERS);
        let log = Self::default();
        let to = log.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || to.clone()).finish();
        (log, subscriber)
    }

    /// Its lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::CapturedLog;

    #[test]
    fn a_line_that_another_thread_reached_first_is_captured_all_the_same() {
        let say = || tracing::info!("said");
        let (log, subscriber) = CapturedLog::begin();
        let _logged = tracing::subscriber::set_default(subscriber);
        std::thread::spawn(say).join().unwrap();
        say();
        assert_eq!(log.lines().len(), 1);
    }
}
