//! What one gateway kept another finds; a server that is away costs nobody anything but the vector.

use super::*;

#[tokio::test]
async fn what_one_gateway_kept_another_finds() {
    let Some(redis) = Redis::start() else { return };
    let stores = [(); 2].map(|()| VectorStore::new(&redis.server(), Clock::system()).unwrap());
    let [one, two] = &stores;
    let (key, other) = ([7; 32], [8; 32]);
    assert_eq!(one.get(&key).await, None, "it is not connected, and a look-up does not connect");
    one.put(&key, vec![1, 2, 3]).await;
    two.connect().await;
    assert_eq!((two.get(&key).await, two.get(&other).await), (Some(vec![1, 2, 3]), None));
    let client = Client::open(format!("redis://:pw@127.0.0.1:{}/1", redis.port)).unwrap();
    let mut plain = client.get_connection().unwrap();
    let name = format!("witgate:vector:{}", "07".repeat(32));
    let left: i64 = redis::cmd("TTL").arg(name).query(&mut plain).unwrap();
    assert!((600_000..=604_800).contains(&left), "a week: {left}");
}

#[tokio::test]
async fn a_server_that_is_away_is_left_alone_for_a_moment_and_found_again() {
    let Some(mut redis) = Redis::start() else { return };
    let store = VectorStore::new(&redis.server(), Clock::system()).unwrap();
    store.put(&[7; 32], vec![1]).await;
    redis.kill();
    assert_eq!(store.get(&[7; 32]).await, None);
    store.put(&[7; 32], vec![2]).await;
    redis.begin();
    let late = Clock::system().now() + Duration::from_secs(10);
    loop {
        store.put(&[7; 32], vec![3]).await;
        if store.get(&[7; 32]).await == Some(vec![3]) {
            break;
        }
        assert!(Clock::system().now() < late, "it was never found again");
        tokio::task::yield_now().await;
    }
}
