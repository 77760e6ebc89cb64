use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use tokio::sync::{mpsc, oneshot};

use super::*;

const THREE: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");

#[tokio::test]
async fn connections_go_to_whoever_has_the_fewest_and_stay_there() {
    let workers = Workers::start(THREE).expect("workers");
    let threads_seen: Arc<Mutex<BTreeMap<usize, Vec<ThreadId>>>> = Arc::default();
    let mut ends = Vec::new();
    for index in 0..9 {
        let (end, ended) = oneshot::channel::<()>();
        ends.push(end);
        let threads_seen = Arc::clone(&threads_seen);
        workers.spawn(async move {
            let note = || {
                threads_seen.lock().expect("threads_seen").entry(index).or_default().push(std::thread::current().id());
            };
            note();
            tokio::task::yield_now().await;
            let _never_sent = ended.await;
            note();
        });
    }
    drop(ends);
    workers.idle().await;
    let mut connections: BTreeMap<String, usize> = BTreeMap::new();
    for threads in threads_seen.lock().expect("threads_seen").values() {
        assert_eq!(threads[0], threads[1], "it moved");
        *connections.entry(format!("{:?}", threads[0])).or_default() += 1;
    }
    assert_eq!(connections.into_values().collect::<Vec<_>>(), [3, 3, 3]);
}

#[tokio::test]
async fn the_end_drops_what_is_still_served() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let workers = Workers::start(THREE).expect("workers");
    let dropped = Arc::new(AtomicBool::new(false));
    let connection = Dropped(Arc::clone(&dropped));
    let (begun, mut begins) = mpsc::channel(1);
    workers.spawn(async move {
        let _held = connection;
        begun.send(()).await.expect("the test waits");
        std::future::pending::<()>().await;
    });
    begins.recv().await.expect("it began");
    workers.end().await;
    assert!(dropped.load(Ordering::SeqCst), "it outlived its worker");
}
