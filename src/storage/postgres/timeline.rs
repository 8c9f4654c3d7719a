//! Which of several primaries is the latest: PostgreSQL counts its timeline up when a standby is promoted, and an old primary
//! that comes back stays on its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::Host;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error};
use tokio_util::task::AbortOnDropHandle;

/// The latest timeline that a process has seen, over all of its connections.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    latest: AtomicU32,
    last_look: Mutex<Option<Look>>,
}

/// The last time that all hosts were asked.
#[derive(Debug)]
struct Look {
    began: Instant,
    _task: AbortOnDropHandle<()>,
}

impl Timelines {
    /// A primary on this timeline answers.
    pub(super) fn seen(&self, timeline: u32) {
        self.latest.fetch_max(timeline, Ordering::Relaxed);
    }

    /// The latest one, if this is an earlier one.
    pub(super) fn superseding(&self, timeline: u32) -> Option<u32> {
        let latest = self.latest.load(Ordering::Relaxed);
        (timeline < latest).then_some(latest)
    }

    /// Has `look` run beside the caller, which says what it sees, unless one began less than [`LOOK_EVERY`] ago. It ends by
    /// then.
    pub(super) fn look<F>(self: &Arc<Self>, look: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut last = self.last_look.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if last.as_ref().is_some_and(|last| began - last.began < LOOK_EVERY) {
            return;
        }
        let look = timeout(LOOK_EVERY, look(Arc::clone(self)));
        let task = tokio::spawn(async move { look.await.unwrap_or_default() });
        *last = Some(Look { began, _task: AbortOnDropHandle::new(task) });
    }
}

/// How often all hosts are asked, where there are several: for so long an old primary that lives beside a new one may be taken
/// for the primary.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The timeline of a primary; 0 where the database has none, or does not tell this role.
///
/// # Errors
/// There is no answer.
pub(super) async fn of(client: &Client) -> Result<u32, Error> {
    match client
        .query_typed(TIMELINE, &[] as &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)])
        .await
    {
        Ok(rows) => {
            let name: Option<&str> = rows.first().and_then(|row| row.try_get(0).ok());
            Ok(name.and_then(of_segment).unwrap_or(0))
        }
        Err(error) if error.as_db_error().is_some() => Ok(0),
        Err(error) => Err(error),
    }
}

/// The name of a segment of WAL begins with its timeline.
fn of_segment(name: &str) -> Option<u32> {
    u32::from_str_radix(name.get(..8)?, 16).ok()
}

/// One configuration for each host that `all` names.
pub(super) fn hosts(all: &Config) -> Vec<Config> {
    let count = all.get_hosts().len().max(all.get_hostaddrs().len());
    if count < 2 {
        return vec![all.clone()];
    }
    (0..count).map(|number| host(all, number)).collect()
}

fn host(all: &Config, number: usize) -> Config {
    let mut one = Config::new();
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    if let Some(name) = all.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = all.get_options() {
        one.options(options);
    }
    if let Some(name) = all.get_application_name() {
        one.application_name(name);
    }
    if let Some(time) = all.get_connect_timeout() {
        one.connect_timeout(*time);
    }
    if let Some(time) = all.get_tcp_user_timeout() {
        one.tcp_user_timeout(*time);
    }
    if let Some(time) = all.get_keepalives_interval() {
        one.keepalives_interval(time);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .keepalives(all.get_keepalives())
        .keepalives_idle(all.get_keepalives_idle())
        .target_session_attrs(all.get_target_session_attrs())
        .channel_binding(all.get_channel_binding());
    match all.get_hosts().get(number) {
        Some(Host::Tcp(name)) => {
            one.host(name);
        }
        #[cfg(unix)]
        Some(Host::Unix(path)) => {
            one.host_path(path);
        }
        None => {}
    }
    if let Some(address) = all.get_hostaddrs().get(number) {
        one.hostaddr(*address);
    }
    let ports = all.get_ports();
    if let Some(port) = ports.get(number).or_else(|| ports.first()) {
        one.port(*port);
    }
    one
}

const TIMELINE: &str = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_timeline_than_one_that_was_seen_is_told() {
        let timelines = Timelines::default();
        timelines.seen(0);
        assert_eq!(timelines.superseding(0), None);
        timelines.seen(2);
        timelines.seen(1);
        assert_eq!(timelines.superseding(2), None);
        assert_eq!(timelines.superseding(1), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_statements_the_hosts_are_asked_now_and_then() {
        let (timelines, looks) = (Arc::new(Timelines::default()), Arc::new(AtomicU32::new(0)));
        let statement = || {
            let looks = Arc::clone(&looks);
            timelines.look(|timelines| async move {
                timelines.seen(looks.fetch_add(1, Ordering::Relaxed) + 1);
                // A host that does not answer.
                std::future::pending().await
            });
        };
        for _ in 0..100 {
            statement();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(timelines.superseding(1), Some(2), "in ten seconds");
        tokio::time::sleep(LOOK_EVERY).await;
        statement();
        tokio::task::yield_now().await;
        assert_eq!(timelines.superseding(2), Some(3));
    }

    #[test]
    fn names_of_segments_begin_with_their_timeline() {
        for (name, expected) in
            [("0000000A0000000100000002", Some(10)), ("0000", None), ("x0000001ABC", None)]
        {
            assert_eq!(of_segment(name), expected, "{name}");
        }
    }

    #[test]
    fn each_host_has_what_the_url_says() {
        let url = "postgres://user:secret@one:1,two:2/name?application_name=it&sslmode=require&\
            target_session_attrs=read-write&connect_timeout=7&keepalives_idle=9&options=-ca%3Db";
        let all = hosts(&url.parse().unwrap());
        for (number, name) in ["one", "two"].into_iter().enumerate() {
            let alone = url.replace("one:1,two:2", &format!("{name}:{}", number + 1));
            assert_eq!(all[number], alone.parse().unwrap(), "{name}");
        }
        assert_eq!(all.len(), 2);
        let one_port = hosts(&"host=one,two port=5 user=u".parse().unwrap());
        assert!(one_port.iter().all(|it| it.get_ports() == [5]), "{one_port:?}");
    }
}
