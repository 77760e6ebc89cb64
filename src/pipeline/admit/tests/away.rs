//! Clients that are told when to come back, and do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::task::JoinHandle;

use crate::fault::Refusal;
use crate::format::{ClientRequest, OpenAi};
use crate::moment::Moment;
use crate::pipeline::tests::support::gateway;
use crate::pipeline::{Access, Gateway, authenticate};
use crate::virtual_key::{KeyHash, VirtualKey};

/// Who was served, in which minute, and how often it had been sent away.
type Served = Arc<Mutex<Vec<(String, u64, usize)>>>;

async fn ask(gateway: &Arc<Gateway>, (key, priority): (&str, i32), words: &str) -> Result<(), Refusal> {
    let (snapshot, key) = (gateway.live.read(), SecretString::from(key));
    let caller = authenticate(&snapshot, Access::Client, Some(&key), gateway.clock.now())?;
    let body =
        format!(r#"{{"model": "g", "priority": {priority}, "messages": [{{"role": "user", "content": "{words}"}}]}}"#);
    let request = ClientRequest::post("/v1/chat/completions".parse().unwrap(), body);
    let mut guard = gateway.arrive(&OpenAi);
    guard.set_caller(Some(caller));
    gateway.serve(guard, Box::new(request)).await.map(drop)
}

/// Asks so many times, each when it was told to come back, in whole seconds as most clients read them.
fn patient(
    gateway: &Arc<Gateway>,
    served: &Served,
    whose: (&'static str, i32),
    words: String,
    times: usize,
) -> JoinHandle<()> {
    let (gateway, served) = (Arc::clone(gateway), Arc::clone(served));
    tokio::spawn(async move {
        let began = gateway.clock.now();
        for sent_away in 0..times {
            match ask(&gateway, whose, &words).await {
                Ok(()) => {
                    let minute = gateway.clock.now().since(Moment::from_millis(1_000_000)).as_secs() / 60;
                    served.lock().unwrap().push((words, minute, sent_away));
                    return;
                }
                Err(refusal) => {
                    let away = refusal.retry_after.expect("a time");
                    let seconds = away.as_secs() + u64::from(away.subsec_nanos() > 0);
                    gateway.clock.sleep_until(gateway.clock.now() + Duration::from_secs(seconds)).await;
                }
            }
        }
        assert_eq!(times, 1, "{words} was not served within {:?}", gateway.clock.now().since(began));
    })
}

/// One a minute is served, and nobody may wait for as long as that takes. Others come all the time, and do not come back.
#[tokio::test(start_paused = true)]
async fn who_comes_back_when_it_was_told_is_served_in_its_turn_whoever_came_meanwhile() {
    let order = |words: &'static [&'static str]| (0..).zip(words).map(|(minute, word)| ((*word).to_owned(), minute));
    for (max_wait, places, whose, strangers, expected) in [
        (30, 100, [("sk-a", 0), ("sk-a", 0)], 60, &["p0", "p1", "p2", "p3", "p4", "p5"][..]),
        (30, 100, [("sk-a", 0), ("sk-b", 0)], 60, &["p0", "p1", "p2", "p3", "p4", "p5"]),
        (100, 100, [("sk-a", 0), ("sk-b", 0)], 60, &["p0", "p1", "p2", "p3", "p4", "p5"]),
        // All places of the queue are taken, most of the time: which of them gets one first is chance.
        (100, 2, [("sk-a", 0), ("sk-b", 0)], 60, &[]),
        // The more urgent ones first, each class in its order.
        (30, 100, [("sk-a", 5), ("sk-b", 0)], 0, &["p0", "p1", "p3", "p5", "p2", "p4"]),
    ] {
        let gateway = gateway(&format!(
            "model_list:\n- {{model_name: g, litellm_params: {{model: simulated/m, rpm: 1, simulated: {{ttft_ms: 0}}}}}}\n\
             general_settings: {{master_key: sk-master}}\n\
             witgate: {{queue: {{max_wait_seconds: {max_wait}, max_waiting: {places}}}}}"
        ));
        let now = gateway.clock.now();
        for key in ["sk-a", "sk-b", "sk-stranger"] {
            let kept = VirtualKey::new(KeyHash::of(key), String::new(), now);
            gateway.live.read().callers.keys.put(now, kept);
        }
        let (served, mut asking) = (Served::default(), Vec::new());
        for number in 0..6 {
            asking.push(patient(&gateway, &served, whose[number % 2], format!("p{number}"), 20));
            gateway.clock.sleep_until(gateway.clock.now() + Duration::from_millis(100)).await;
        }
        for number in 0..strangers {
            asking.push(patient(&gateway, &served, ("sk-stranger", 0), format!("stranger {number}"), 1));
            gateway.clock.sleep_until(gateway.clock.now() + Duration::from_secs(5)).await;
        }
        for one in asking {
            one.await.unwrap();
        }
        let served = served.lock().unwrap();
        let first: Vec<_> = served.iter().take(6).map(|(words, minute, _)| (words.clone(), *minute)).collect();
        let told = format!("{max_wait} s, {places} places, {whose:?}: {served:?}");
        if expected.is_empty() {
            assert!(first.iter().all(|(words, _)| words.starts_with('p')), "{told}");
        } else {
            assert_eq!(first, order(expected).collect::<Vec<_>>(), "{told}");
        }
        let oftenest = served.iter().map(|(_, _, sent_away)| *sent_away).max();
        assert!(oftenest <= Some(5), "{told}");
    }
}
