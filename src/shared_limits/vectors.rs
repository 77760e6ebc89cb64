//! Vectors of questions, kept with the server that gateways share limits through: what one has paid for, the others need not.
//!
//! The rule: it is a convenience and never waited for. A look-up takes as long as 50 ms at most, and only what keeps a vector
//! connects, behind whoever waits. A server that fails is left alone for a while. Keys are digests; no text gets there.

use std::time::Duration;

use redis::Client;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use super::Server;
use super::driver::{CONNECT, connection};
use crate::clock::Clock;
use crate::moment::Moment;

/// What a look-up may take: a vector that comes later than this is made about as fast.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long a server that failed is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// How long a vector is kept after it was last made, in seconds: a week.
const KEPT: u64 = 7 * 86_400;

/// Where vectors are kept, as bytes. It belongs to one runtime: its connection ends with that.
#[derive(Debug)]
pub struct VectorStore {
    client: Client,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Until when nobody connects.
    alone: Moment,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("connected", &self.connection.is_some()).finish_non_exhaustive()
    }
}

impl VectorStore {
    /// Nothing is asked of the server yet.
    ///
    /// # Errors
    /// Its address is none.
    pub fn new(server: &Server, clock: Clock) -> Result<Self, String> {
        let client =
            Client::open(server.info()?).map_err(|fault| format!("the Redis server cannot be asked: {fault}"))?;
        Ok(Self { client, clock, state: Mutex::default() })
    }

    /// What was kept by this key; `None` where nothing was, or the server does not say so at once.
    pub async fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        let mut connection = self.state.lock().await.connection.clone()?;
        let asked = redis::cmd("GET").arg(name(key)).clone();
        match tokio::time::timeout(LOOK_UP, asked.query_async(&mut connection)).await {
            Ok(Ok(found)) => found,
            Ok(Err(fault)) => {
                self.lost(&fault).await;
                None
            }
            Err(_late) => None,
        }
    }

    /// Keeps these bytes by this key, if the server takes them.
    pub async fn put(&self, key: &[u8; 32], bytes: Vec<u8>) {
        self.connect().await;
        let Some(mut connection) = self.state.lock().await.connection.clone() else { return };
        let told = redis::cmd("SET").arg(name(key)).arg(bytes).arg("EX").arg(KEPT).clone();
        let told: Result<(), redis::RedisError> = told.query_async(&mut connection).await;
        if let Err(fault) = told {
            self.lost(&fault).await;
        }
    }

    /// Connects, unless that is done or was tried a moment ago.
    pub async fn connect(&self) {
        {
            let mut state = self.state.lock().await;
            let now = self.clock.now();
            if state.connection.is_some() || now < state.alone {
                return;
            }
            state.alone = now + CONNECT;
        }
        match connection(&self.client).await {
            Ok(connection) => self.state.lock().await.connection = Some(connection),
            Err(fault) => self.lost(&fault).await,
        }
    }

    async fn lost(&self, fault: &redis::RedisError) {
        tracing::debug!(%fault, "vectors are not shared for a moment");
        let mut state = self.state.lock().await;
        (state.connection, state.alone) = (None, self.clock.now() + LEFT_ALONE);
    }
}

fn name(key: &[u8; 32]) -> String {
    key.iter().fold("witgate:vector:".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}
