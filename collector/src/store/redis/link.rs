//! Connection to Redis. Each connection has one user at a time; after an error or a timeout it is discarded, so that an
//! answer cannot be assigned to another command.

use std::future::Future;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult};
use tokio::time::timeout;

use super::names::VERSION;
use crate::store::StoreError;

/// Idle time after which a connection is checked before its use. No server restarts faster.
const IDLE: Duration = Duration::from_millis(10);

/// Error of a command: complete for the log, short for the client.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("{0}")]
    Unfit(String),
}

impl Failure {
    pub(super) fn foreign() -> Failure {
        Failure::Unfit("its keys hold what is not of this program".to_owned())
    }

    /// Returns the error for the client: the reason without the address.
    pub(super) fn told(&self) -> StoreError {
        let told = match self {
            Failure::Silent(_) => "Redis does not answer",
            Failure::Unfit(why) => why,
            Failure::Redis(error) if error.is_timeout() => "Redis does not answer",
            Failure::Redis(error) if error.to_string().contains("certificate") => {
                "the certificate of Redis, or the one shown to it, is not trusted"
            }
            Failure::Redis(error) if error.is_io_error() => "Redis cannot be reached",
            Failure::Redis(error) => {
                let text = error.to_string();
                let of = |codes: &[&str]| {
                    codes.iter().any(|code| error.code() == Some(*code) || text.contains(code))
                };
                if of(&["OOM"]) {
                    "the memory of Redis is full"
                } else if of(&["MISCONF"]) {
                    "Redis cannot write to its disk"
                } else if of(&["READONLY", "MASTERDOWN", "NOREPLICAS"]) {
                    "Redis takes no writes: it is a replica, or has too few"
                } else if of(&["LOADING"]) {
                    "Redis is reading its data"
                } else if of(&["NOAUTH", "WRONGPASS", "NOPERM"])
                    || error.kind() == redis::ErrorKind::AuthenticationFailed
                {
                    "Redis refuses: password or rights are missing"
                } else if of(&["VERSION"]) {
                    "its data are of another version of this program"
                } else if of(&["WRONGTYPE", "XADD"]) {
                    "its keys hold what is not of this program"
                } else {
                    "Redis refuses"
                }
            }
        };
        StoreError::Unavailable(told.to_owned())
    }
}

/// Connection to Redis.
pub(super) struct Link {
    connection: MultiplexedConnection,
    patience: Duration,
    used: Instant,
}

impl Link {
    /// Connects, and checks the version of the data below `prefix`.
    pub(super) async fn open(client: &Client, prefix: &str, patience: Duration) -> Result<Link, Failure> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let connection = within(patience, connecting).await?;
        let mut link = Link { connection, patience, used: Instant::now() };
        let version: Option<String> =
            link.ask(redis::cmd("HGET").arg(format!("{prefix}meta")).arg("version")).await?;
        match version {
            Some(version) if version != VERSION => Err(Failure::Unfit(format!(
                "its data are of version {version}, this program knows {VERSION}"
            ))),
            _ => Ok(link),
        }
    }

    /// Returns the connection if it is alive, so that no call fails because the server was restarted in the meantime.
    pub(super) async fn if_alive(mut self) -> Option<Link> {
        let alive = self.used.elapsed() < IDLE || self.ask::<()>(&redis::cmd("PING")).await.is_ok();
        alive.then_some(self)
    }

    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Failure> {
        let answer = within(self.patience, command.query_async(&mut self.connection)).await?;
        self.used = Instant::now();
        Ok(answer)
    }

    pub(super) async fn ask_all<T: FromRedisValue>(&mut self, commands: &Pipeline) -> Result<T, Failure> {
        if commands.is_empty() {
            return Ok(T::from_redis_value(redis::Value::Array(Vec::new())).map_err(RedisError::from)?);
        }
        let answer = within(self.patience, commands.query_async(&mut self.connection)).await?;
        self.used = Instant::now();
        Ok(answer)
    }
}

async fn within<T>(patience: Duration, asked: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
    match timeout(patience, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Silent(patience)),
    }
}
