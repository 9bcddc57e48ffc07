//! Connection to Redis. Each connection has one user at a time; after an error or a timeout it is discarded, so that an
//! answer cannot be assigned to another command.

use std::future::Future;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult};
use tokio::time::timeout;

use super::keys::VERSION;
use super::options::RedisOptions;
use crate::store::error::StoreError;

/// Idle time after which a connection is checked before its use. No server restarts faster.
const IDLE: Duration = Duration::from_millis(10);

pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Error of a command: complete for the log, short for the client.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Unusable(String),
}

impl Failure {
    pub(super) fn foreign_data() -> Failure {
        Failure::Unusable("its keys contain data of another program".to_owned())
    }

    /// Returns the error for the client: the reason without the address.
    pub(super) fn to_store_error(&self) -> StoreError {
        let reason = match self {
            Failure::Timeout(_) => "Redis does not answer",
            Failure::Unusable(reason) => reason,
            Failure::Redis(error) => reason(error),
        };
        StoreError::Unavailable(reason.to_owned())
    }
}

fn reason(error: &RedisError) -> &'static str {
    let text = error.to_string();
    let has = |codes: &[&str]| codes.iter().any(|code| error.code() == Some(*code) || text.contains(code));
    match () {
        () if error.is_timeout() => "Redis does not answer",
        () if text.contains("certificate") => {
            "the certificate of Redis, or the client certificate for it, is not trusted"
        }
        () if error.is_io_error() => "Redis cannot be reached",
        () if has(&["OOM"]) => "the memory of Redis is full",
        () if has(&["MISCONF"]) => "Redis cannot write to its disk",
        () if has(&["READONLY", "MASTERDOWN", "NOREPLICAS"]) => {
            "Redis accepts no writes: it is a replica, or has too few replicas"
        }
        () if has(&["LOADING"]) => "Redis is loading its data",
        () if has(&["NOAUTH", "WRONGPASS", "NOPERM"]) || error.kind() == ErrorKind::AuthenticationFailed => {
            "Redis refuses access: password or rights are missing"
        }
        () if has(&["VERSION"]) => "its data is of another version of this program",
        () if has(&["WRONGTYPE", "XADD"]) => "its keys contain data of another program",
        () => "Redis refuses the command",
    }
}

/// Connection to Redis.
pub(super) struct Connection {
    inner: MultiplexedConnection,
    command_timeout: Duration,
    used: Instant,
}

impl Connection {
    /// Connects, and checks the version of the data.
    pub(super) async fn open(options: &RedisOptions) -> Result<Connection> {
        let RedisOptions { client, prefix, command_timeout, .. } = options;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(*command_timeout))
            .set_response_timeout(Some(*command_timeout));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let inner = with_timeout(*command_timeout, connecting).await?;
        let mut connection = Connection { inner, command_timeout: *command_timeout, used: Instant::now() };
        let version: Option<String> =
            connection.query(redis::cmd("HGET").arg(format!("{prefix}meta")).arg("version")).await?;
        match version {
            Some(version) if version != VERSION => Err(Failure::Unusable(format!(
                "its data has version {version}, this program supports {VERSION}"
            ))),
            _ => Ok(connection),
        }
    }

    /// Returns the connection if it is alive, so that no call fails because the server was restarted in the meantime.
    pub(super) async fn if_alive(mut self) -> Option<Connection> {
        let alive = self.used.elapsed() < IDLE || self.query::<()>(&redis::cmd("PING")).await.is_ok();
        alive.then_some(self)
    }

    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T> {
        let answer = with_timeout(self.command_timeout, command.query_async(&mut self.inner)).await?;
        self.used = Instant::now();
        Ok(answer)
    }

    pub(super) async fn query_all<T: FromRedisValue>(&mut self, commands: &Pipeline) -> Result<T> {
        if commands.is_empty() {
            return Ok(T::from_redis_value(redis::Value::Array(Vec::new())).map_err(RedisError::from)?);
        }
        let answer = with_timeout(self.command_timeout, commands.query_async(&mut self.inner)).await?;
        self.used = Instant::now();
        Ok(answer)
    }
}

async fn with_timeout<T>(limit: Duration, answer: impl Future<Output = RedisResult<T>>) -> Result<T> {
    match timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Timeout(limit)),
    }
}
