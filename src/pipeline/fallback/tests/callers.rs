//! Keys that are changed while their requests wait, in the queue or before a retry.

use std::time::Duration;

use super::*;
use crate::virtual_key::{KeyHash, VirtualKey};

const KEY: &str = "sk-kept";

impl Scene {
    /// The kept key, which may use these models, as it is from now on.
    fn keep(&self, models: &[&str], blocked: bool) {
        let now = self.gateway.clock.now();
        let models = models.iter().map(|model| (*model).to_owned()).collect();
        let key = VirtualKey { models, blocked, ..VirtualKey::new(KeyHash::of(KEY), String::new(), now) };
        self.gateway.live.read().callers.keys.put(now, key);
    }

    /// What the key's request is told, where the key becomes this while it waits.
    async fn told_when_changed(&self, more: &str, models: &[&str], blocked: bool) -> (u16, Option<String>) {
        let mut waiting = Box::pin(self.ask_as(KEY, more));
        assert!(tokio::time::timeout(Duration::from_secs(1), waiting.as_mut()).await.is_err(), "it waits");
        self.keep(models, blocked);
        let refusal = waiting.await.unwrap_err();
        (refusal.status, refusal.code)
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_may_not_use_a_model_any_more_is_told_so_when_its_turn_comes() {
    // What it may use then: not the model that it asks for, or not the one that is to take over.
    for (models, more) in [(["b"], ""), (["a"], r#", "fallbacks": ["b"]"#)] {
        let list = [deployment("a", "ok-1", ", rpm: 1"), deployment("b", "ok-b", "")].concat();
        let scene = Scene::of(&list, "general_settings: {master_key: sk-master}");
        scene.keep(&["a", "b"], false);
        scene.ask_as(KEY, "").await.unwrap();
        let told = scene.told_when_changed(more, &models, false).await;
        assert_eq!(told, (403, Some("key_model_access_denied".to_owned())), "{models:?}");
        assert_eq!(scene.hosts.called(), ["ok-1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_blocked_while_its_request_pauses_before_a_retry_sends_nothing_more() {
    let settings = "router_settings: {num_retries: 3}\ngeneral_settings: {master_key: sk-master}";
    let scene = Scene::new(&[("a", "later-20")], settings);
    scene.keep(&[], false);
    assert_eq!(scene.told_when_changed("", &[], true).await, (401, Some("key_blocked".to_owned())));
    assert_eq!(scene.hosts.called(), ["later-20"]);
}

/// The one that failed may be called again, and the other has no room.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_blocked_while_its_retry_waits_for_a_limit_is_told_so() {
    let list = [deployment("a", "down-1", ""), deployment("a", "ok-1", ", rpm: 1")].concat();
    let settings = "router_settings: {num_retries: 1, disable_cooldowns: true}\n\
        general_settings: {master_key: sk-master}";
    let scene = Scene::of(&list, settings);
    scene.keep(&[], false);
    scene.ask_as(KEY, "").await.unwrap();
    let before = scene.hosts.called().len();
    assert_eq!(scene.told_when_changed("", &[], true).await, (401, Some("key_blocked".to_owned())));
    assert_eq!(scene.hosts.called()[before..], ["down-1"]);
}
