//! One connection to the database, pipelined, made again when it is broken.

use super::timeline::{self, Timelines, hosts};
use super::tls::{Connector, Mode};
use super::{InvalidUrl, PostgresTls};
use crate::storage::event_log::LogError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
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
    /// Only a primary answers in whose place another one has been promoted.
    #[error(
        "the database is an old primary: it is on timeline {found}, and a later primary was on {latest}"
    )]
    Superseded {
        /// Of the database that answers.
        found: u32,
        /// The latest that was seen.
        latest: u32,
    },
    /// No connection, or no answer, in time.
    #[error("the database does not answer")]
    Timeout,
    /// The database refused it, or the connection broke.
    #[error("no result of a statement")]
    Statement(#[source] tokio_postgres::Error),
}

pub(super) struct Connection {
    /// One for each host that the URL names.
    hosts: Vec<Config>,
    tls: Connector,
    timelines: Arc<Timelines>,
    /// Held while a connection is made, so that one is made for all who wait; each of them has a deadline.
    live: Mutex<Option<Live>>,
    /// Whether the last statement had no answer, so that this is told once.
    failing: AtomicBool,
}

#[derive(Clone)]
struct Live {
    client: Arc<Client>,
    timeline: u32,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Connection {
    pub(super) fn new(
        url: &str,
        tls: &PostgresTls,
        timelines: Arc<Timelines>,
    ) -> Result<Self, InvalidUrl> {
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
            hosts: hosts(&config),
            tls: Connector::new(mode, tls),
            timelines,
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
            self.check(&live)?;
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
            let done = live.client.batch_execute(statements).await;
            self.check(&live)?;
            done.map_err(StatementError::Statement)
        };
        timeout(ANSWER, work).await.unwrap_or(Err(StatementError::Timeout))
    }

    /// What an old primary answers does not count: it may have been promised to no standby.
    fn check(&self, live: &Live) -> Result<(), StatementError> {
        match self.timelines.superseding(live.timeline) {
            Some(latest) => Err(StatementError::Superseded { found: live.timeline, latest }),
            None => Ok(()),
        }
    }

    async fn live(&self) -> Result<Live, StatementError> {
        self.watch_hosts();
        let mut live = self.live.lock().await;
        let is_good = |it: &&Live| {
            !it.client.is_closed() && self.timelines.superseding(it.timeline).is_none()
        };
        if let Some(live) = live.as_ref().filter(is_good) {
            return Ok(live.clone());
        }
        *live = None;
        let made = self.connect().await?;
        *live = Some(made.clone());
        Ok(made)
    }

    /// A connection to the latest primary of the hosts. All of them are asked: after a failover the old primary may answer as
    /// well, and may stand first.
    async fn connect(&self) -> Result<Live, StatementError> {
        let mut asked = ask(&self.hosts, &self.tls);
        let (mut latest, mut failed): (Option<Live>, _) = (None, None);
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(live)) if latest.as_ref().is_none_or(|it| it.timeline < live.timeline) => {
                    latest = Some(live);
                }
                Ok(Err(error)) => failed = Some(error),
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        let Some(live) = latest else {
            return Err(failed.map_or(StatementError::Timeout, StatementError::Connect));
        };
        self.timelines.seen(live.timeline);
        self.check(&live)?;
        Ok(live)
    }

    /// Has all hosts asked anew, now and then, beside the statements: a standby may be promoted while the old primary lives,
    /// and connections to that one stay as they are.
    fn watch_hosts(&self) {
        if self.hosts.len() < 2 {
            return;
        }
        self.timelines.look(|timelines| {
            let mut asked = ask(&self.hosts, &self.tls);
            async move {
                // Standbys, and hosts that do not answer, know no later timeline.
                while let Some(answer) = asked.join_next().await {
                    if let Ok(Ok(live)) = answer {
                        timelines.seen(live.timeline);
                    }
                }
            }
        });
    }
}

/// Connects to each of the hosts; those that take writes answer, with their timelines.
fn ask(hosts: &[Config], tls: &Connector) -> JoinSet<Result<Live, tokio_postgres::Error>> {
    hosts.iter().cloned().map(|host| connect(host, tls.clone())).collect()
}

async fn connect(host: Config, tls: Connector) -> Result<Live, tokio_postgres::Error> {
    let (client, connection) = host.connect(tls).await?;
    let task = tokio::spawn(async move {
        // Who waits for an answer has the same error.
        let _ = connection.await;
    });
    let task = Arc::new(AbortOnDropHandle::new(task));
    let timeline = timeline::of(&client).await?;
    Ok(Live { client: Arc::new(client), timeline, _task: task })
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
