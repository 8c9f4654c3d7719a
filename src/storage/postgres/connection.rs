//! One connection to the database, pipelined, made again when it is broken.

use super::tls::{Connector, Mode};
use super::{InvalidUrl, PostgresTls};
use crate::storage::event_log::LogError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};
use tokio_util::task::AbortOnDropHandle;

/// Values of a statement, with their types: so it needs no preparation.
pub(super) type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// Why a statement has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatementError {
    /// No connection was made.
    #[error("cannot connect to the database")]
    Connect(#[source] tokio_postgres::Error),
    /// No connection, or no answer, in time.
    #[error("the database does not answer")]
    Timeout,
    /// The database refused it, or the connection broke.
    #[error("no result of a statement")]
    Statement(#[source] tokio_postgres::Error),
}

pub(super) struct Connection {
    config: Config,
    tls: Connector,
    /// Held while a connection is made, so that one is made for all who wait; each of them has a deadline.
    live: Mutex<Option<Live>>,
    /// Whether the last statement had no answer, so that this is told once.
    failing: AtomicBool,
}

#[derive(Clone)]
struct Live {
    client: Arc<Client>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Connection {
    pub(super) fn new(url: &str, tls: &PostgresTls) -> Result<Self, InvalidUrl> {
        let (url, mode) = Mode::of_url(url);
        // The error's text names what is wrong, never the value.
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            InvalidUrl(why.unwrap_or_else(|| error.to_string()))
        })?;
        let mode = match (mode, config.get_ssl_mode()) {
            (Some(mode), _) => mode,
            (None, SslMode::Disable) => Mode::None,
            (None, _) => Mode::Unchecked,
        };
        config
            .application_name("incoming")
            .connect_timeout(CONNECT)
            .tcp_user_timeout(ANSWER)
            .keepalives_idle(KEEPALIVE);
        if config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self {
            config,
            tls: Connector::new(mode, tls),
            live: Mutex::new(None),
            failing: AtomicBool::new(false),
        })
    }

    /// Runs a statement that is to answer a few rows.
    ///
    /// # Errors
    /// It may have been done, or may be done later. Why is in the log, once for all that follow each other.
    ///
    /// Cancel: as an error.
    pub(super) async fn rows(
        &self,
        statement: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, LogError> {
        match self.query(statement, parameters).await {
            Ok(rows) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the database answers again");
                }
                Ok(rows)
            }
            Err(error) => {
                let error = text(&error);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error, "no answer from the database");
                }
                Err(LogError::Unsure)
            }
        }
    }

    /// As [`Self::rows`], with what is wrong.
    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StatementError> {
        let work = async {
            let live = self.live().await?;
            let rows = live.client.query_typed(statement, parameters).await;
            rows.map_err(StatementError::Statement)
        };
        match timeout(ANSWER, work).await {
            Ok(rows) => rows,
            Err(_) => {
                // What waits behind it on this connection waits for it too.
                if let Ok(mut live) = self.live.try_lock() {
                    *live = None;
                }
                Err(StatementError::Timeout)
            }
        }
    }

    /// Runs several statements, without parameters.
    pub(super) async fn run(&self, statements: &str) -> Result<(), StatementError> {
        let work = async {
            let live = self.live().await?;
            live.client.batch_execute(statements).await.map_err(StatementError::Statement)
        };
        timeout(ANSWER, work).await.unwrap_or(Err(StatementError::Timeout))
    }

    async fn live(&self) -> Result<Live, StatementError> {
        let mut live = self.live.lock().await;
        if let Some(live) = live.as_ref().filter(|live| !live.client.is_closed()) {
            return Ok(live.clone());
        }
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, connection) = connected.map_err(StatementError::Connect)?;
        let task = tokio::spawn(async move {
            // Who waits for an answer has the same error.
            let _ = connection.await;
        });
        let task = Arc::new(AbortOnDropHandle::new(task));
        let made = Live { client: Arc::new(client), _task: task };
        *live = Some(made.clone());
        Ok(made)
    }
}

/// An error with what is behind it.
pub(super) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

/// For one host.
const CONNECT: Duration = Duration::from_secs(3);
/// For a statement, connecting included.
const ANSWER: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(10);
