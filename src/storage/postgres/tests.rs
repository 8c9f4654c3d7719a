//! The log suite against real databases, and what becomes of it when they break. `INCOMING_TEST_POSTGRES` names them, by
//! URLs separated by spaces; the first is PostgreSQL itself, with a role that may create databases and end connections.
//! See `tests/cluster/README.md`.

use super::*;
use crate::storage::agenda::{self, Agenda as _};
use crate::storage::clock::{SystemClock, fill_random};
use crate::storage::event_log::conformance::{self, append, created, id, more};
use crate::storage::servers::{ServerLoad, ServerReport, ServerState};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

impl PostgresLog {
    /// Ends all other connections to this database; answers how many.
    pub(crate) async fn end_others(&self) -> usize {
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE pid <> pg_backend_pid() AND datname = current_database()";
        self.connections.agenda.query(others, &[]).await.map_or(0, |it| it.len())
    }
}

fn urls() -> Vec<String> {
    let named = std::env::var("INCOMING_TEST_POSTGRES").expect("INCOMING_TEST_POSTGRES");
    named.split(' ').map(str::to_owned).collect()
}

fn log(url: &str) -> PostgresLog {
    PostgresLog::new(url, &PostgresTls::default(), 4).unwrap()
}

fn seed() -> [u8; 15] {
    let mut seed = [0; 15];
    fill_random(&mut seed).unwrap();
    seed
}

fn report(name: &str, state: ServerState) -> ServerReport {
    ServerReport {
        name: name.into(),
        address: "[::]:4001".into(),
        version: "1".into(),
        uptime: Duration::from_secs(1),
        state,
        problems: Vec::new(),
        load: ServerLoad::default(),
    }
}

#[tokio::test]
#[ignore = "needs the databases that INCOMING_TEST_POSTGRES names"]
async fn real_databases_pass_the_suite() {
    for url in urls() {
        let log = log(&url);
        log.prepare().await.unwrap();
        log.prepare().await.unwrap();
        assert!(log.examine().await.is_ok());
        conformance::check(Arc::new(log), seed()).await;
    }
}

/// In a database of its own, since everything that is due is taken.
#[tokio::test]
#[ignore = "needs the databases that INCOMING_TEST_POSTGRES names"]
async fn what_is_due_passes_the_suite() {
    for url in urls() {
        let log = log(&url);
        log.prepare().await.unwrap();
        log.connections.agenda.run("TRUNCATE incoming.upload CASCADE").await.unwrap();
        log.connections.agenda.run("TRUNCATE incoming.server").await.unwrap();
        let agenda = |server| PostgresAgenda::new(log.clone(), server, Arc::new(SystemClock));
        let pass = async |time| tokio::time::sleep(time).await;
        agenda::conformance::check(&log, [&agenda(1), &agenda(2)], seed(), pass).await;
    }
}

/// Time in which no server ran is no time.
#[tokio::test]
#[ignore = "needs the databases that INCOMING_TEST_POSTGRES names"]
async fn time_without_a_server_does_not_count() {
    let log = log(&urls()[0]);
    log.prepare().await.unwrap();
    let agenda = PostgresAgenda::new(log.clone(), 1, Arc::new(SystemClock));
    let now = async || {
        agenda.beat().await.unwrap();
        agenda.now()
    };
    let before = now().await;
    let hour = "UPDATE incoming.meta SET beat = beat - interval '1 hour'";
    log.connections.agenda.run(hour).await.unwrap();
    // As if the clock had gone on by an hour: what was counted before goes on, less the hour.
    let after = now().await;
    let gone = before.0 - after.0;
    assert!((3_590_000..3_610_000).contains(&gone), "{gone}");
    log.connections
        .agenda
        .run("UPDATE incoming.meta SET beat = beat - interval '30 s'")
        .await
        .unwrap();
    assert!(now().await >= after, "a server that was slow");
}

#[tokio::test]
#[ignore = "needs the databases that INCOMING_TEST_POSTGRES names"]
async fn servers_that_start_at_once_make_the_tables_once() {
    let url = &urls()[0];
    let name = format!("suite_{:x}", u64::from_be_bytes(seed()[..8].try_into().unwrap()));
    log(url).connections.agenda.run(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (before, _) = url.rsplit_once('/').unwrap();
    let fresh = format!("{before}/{name}");
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let log = log(&fresh);
        servers.spawn(async move { log.prepare().await.map_err(|error| error.to_string()) });
    }
    assert_eq!(servers.join_all().await, vec![Ok(()); 6]);
    // Tables of versions before are brought to this one, with what is in them.
    let older = log(&fresh);
    let back_to_2 = "DROP TABLE incoming.server; UPDATE incoming.meta SET version = 2";
    let back_to_1 = "DROP TABLE incoming.server; \
        DROP INDEX incoming.upload_due, incoming.upload_call, incoming.upload_state; \
        ALTER TABLE incoming.upload DROP COLUMN state, DROP COLUMN occupies, DROP COLUMN due, \
        DROP COLUMN call_since, DROP COLUMN call_due, DROP COLUMN call_by, DROP COLUMN call_until; \
        ALTER TABLE incoming.meta DROP COLUMN beat, DROP COLUMN idle_ms; \
        UPDATE incoming.meta SET version = 1";
    let id = id(seed(), 1);
    created(&older, id, 1).await;
    for back in [back_to_1, back_to_2] {
        older.connections.agenda.run(back).await.unwrap();
        assert!(matches!(older.check_version().await, Err(SchemaError::Absent)));
        older.prepare().await.unwrap();
        assert!(older.check_version().await.is_ok());
        assert_eq!(more(&older, id, None).await.len(), 1);
    }
    let newer = log(&fresh);
    newer.connections.agenda.run("UPDATE incoming.meta SET version = 99").await.unwrap();
    assert!(matches!(newer.prepare().await, Err(SchemaError::Later(99))));
    // One that runs goes on.
    assert!(newer.check_version().await.is_ok());
    drop((older, newer));
    log(url).connections.agenda.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}

/// In a database of its own, since the rows of all servers are listed.
#[tokio::test]
#[ignore = "needs the databases that INCOMING_TEST_POSTGRES names"]
async fn issue_17_servers_that_were_silent_for_long_are_forgotten() {
    let log = log(&urls()[0]);
    log.prepare().await.unwrap();
    let run = async |statement: &str| log.connections.agenda.run(statement).await.unwrap();
    run("TRUNCATE incoming.server").await;
    let agenda = |server| PostgresAgenda::new(log.clone(), server, Arc::new(SystemClock));
    let [own, same, stopped, away] = [1, u64::MAX, 3, 4].map(agenda);
    own.report(report("own", ServerState::Ready)).await.unwrap();
    same.report(report("own", ServerState::Ready)).await.unwrap();
    stopped.report(report("stopped", ServerState::Stopped)).await.unwrap();
    away.report(report("away", ServerState::Ready)).await.unwrap();
    let listed = async || {
        let all = own.report(report("own", ServerState::Ready)).await.unwrap();
        all.iter().map(|it| it.number).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [1, 4, u64::MAX, 3]);
    let pass = async |time| {
        run(&format!("UPDATE incoming.server SET seen = seen - interval '{time}'")).await;
    };
    pass("21 s").await;
    assert_eq!(listed().await, [1, 4, 3], "one that was started again");
    pass("10 min").await;
    assert_eq!(listed().await, [1, 4]);
    // A row that another transaction holds is not waited for.
    pass("24 h").await;
    run("BEGIN; SELECT 1 FROM incoming.server WHERE id = 4 FOR UPDATE").await;
    let other = PostgresAgenda::new(self::log(&urls()[0]), 1, Arc::new(SystemClock));
    assert_eq!(other.report(report("own", ServerState::Ready)).await.unwrap().len(), 2);
    run("COMMIT").await;
    assert_eq!(listed().await, [1]);
    // A table without rights costs this and nothing else.
    run("ALTER TABLE incoming.server RENAME TO hidden").await;
    assert_eq!(own.report(report("own", ServerState::Ready)).await, Err(LogError::Unsure));
    own.beat().await.unwrap();
    run("ALTER TABLE incoming.hidden RENAME TO server").await;
    assert_eq!(listed().await, [1]);
}

/// What waits for a lock, of the reports or of a row among all, stands before nothing that uploads need.
#[tokio::test]
#[ignore = "needs the databases that INCOMING_TEST_POSTGRES names"]
async fn appends_go_on_while_a_report_or_a_scan_waits() {
    let url = &urls()[0];
    let admin = log(url);
    admin.prepare().await.unwrap();
    let run = async |statement: &str| admin.connections.agenda.run(statement).await.unwrap();
    let (seed, server) = (seed(), PostgresLog::new(url, &PostgresTls::default(), 1).unwrap());
    let (locked, other) = (id(seed, 1), id(seed, 2));
    created(&server, locked, 1).await;
    let seen = created(&server, other, 1).await;
    let agenda = Arc::new(PostgresAgenda::new(server.clone(), 1, Arc::new(SystemClock)));
    let waiting = async |statement: &str| {
        let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE";
        let waits = format!("{waits} '%{statement}%'");
        while admin.connections.report.query(&waits, &[]).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    run("BEGIN; LOCK TABLE incoming.server").await;
    let asked = Arc::clone(&agenda);
    let reported = tokio::spawn(async move { asked.report(report("m", ServerState::Ready)).await });
    waiting("INSERT INTO incoming.server").await;
    let Ok(Appended::At(seen)) = server.append(other, seen, append(2)).await else { panic!() };
    agenda.beat().await.unwrap();
    agenda.census().await.unwrap();
    run("COMMIT").await;
    assert!(reported.await.unwrap().is_ok());
    run(&format!("BEGIN; SELECT 1 FROM incoming.upload WHERE id = '{locked}' FOR UPDATE")).await;
    let asked = Arc::clone(&agenda);
    let scan = tokio::spawn(async move { asked.hurry(Duration::ZERO).await });
    waiting("UPDATE incoming.upload SET due").await;
    // An append may wait for the scan's own lock of its row.
    assert!(matches!(server.read(other, Some(seen)).await, Ok(LogRead::More(_))));
    agenda.beat().await.unwrap();
    assert!(agenda.report(report("m", ServerState::Ready)).await.is_ok());
    run("COMMIT").await;
    scan.await.unwrap().unwrap();
}

/// A role without rights, and settings under which an acknowledgement would mean nothing.
#[tokio::test]
#[ignore = "needs the databases that INCOMING_TEST_POSTGRES names"]
async fn databases_that_cannot_be_used_say_why() {
    let url = &urls()[0];
    let name = format!("suite_{:x}", u64::from_be_bytes(seed()[..8].try_into().unwrap()));
    let admin = log(url);
    let run = async |statement: String| admin.connections.agenda.run(&statement).await.unwrap();
    run(format!("CREATE DATABASE {name}")).await;
    run(format!("CREATE ROLE {name} LOGIN PASSWORD 'secret'")).await;
    let (_, place) = url.split_once('@').unwrap();
    let (place, _) = place.rsplit_once('/').unwrap();
    let poor = log(&format!("postgres://{name}:secret@{place}/{name}"));
    let refused = poor.prepare().await;
    assert!(matches!(refused, Err(SchemaError::NotAllowed(_))), "{refused:?}");
    // The connection is as good as before.
    assert!(poor.examine().await.is_ok());
    let owner = log(&format!("{}/{name}", url.rsplit_once('/').unwrap().0));
    owner.prepare().await.unwrap();
    let grant = async |what: &str| {
        owner.connections.agenda.run(&format!("GRANT {what} TO {name}")).await.unwrap();
    };
    let lacks = async |tables| match poor.check_rights(tables).await {
        Err(SchemaError::NoRights { role, rights }) => {
            assert_eq!(role, name);
            rights
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        lacks(Tables::OfUploads).await,
        "SELECT, INSERT on incoming.record; SELECT, INSERT, UPDATE, DELETE on incoming.upload; \
         SELECT, UPDATE on incoming.meta; USAGE on the schema incoming"
    );
    grant("USAGE ON SCHEMA incoming").await;
    grant("SELECT, UPDATE ON incoming.meta").await;
    grant("SELECT, INSERT, UPDATE ON incoming.upload").await;
    grant("SELECT, INSERT ON incoming.record").await;
    let told = poor.prepare().await.unwrap_err().to_string();
    assert!(told.contains(&format!("{name:?} lacks DELETE on incoming.upload: ")), "{told}");
    grant("DELETE ON incoming.upload").await;
    poor.prepare().await.unwrap();
    assert!(lacks(Tables::All).await.ends_with("DELETE on incoming.server"), "for people alone");
    grant("SELECT, INSERT, UPDATE, DELETE ON incoming.server").await;
    poor.check_rights(Tables::All).await.unwrap();
    // These do.
    conformance::check(Arc::new(poor.clone()), seed()).await;
    let agenda = |server| PostgresAgenda::new(poor.clone(), server, Arc::new(SystemClock));
    owner.connections.agenda.run("TRUNCATE incoming.upload CASCADE").await.unwrap();
    let pass = async |time| tokio::time::sleep(time).await;
    agenda::conformance::check(&poor, [&agenda(1), &agenda(2)], seed(), pass).await;
    drop(owner);
    run(format!("ALTER ROLE {name} SET synchronous_commit = off")).await;
    let careless = log(&format!("postgres://{name}:secret@{place}/{name}"));
    let fault = careless.examine().await.unwrap_err();
    assert_eq!(fault, PostgresFault::NotDurable("off".into()));
    run(format!("ALTER ROLE {name} SET default_transaction_read_only = on")).await;
    let standby = log(&format!("postgres://{name}:secret@{place}/{name}"));
    let fault = standby.examine().await.unwrap_err().to_string();
    assert!(fault.contains("does not allow writes"), "{fault}");
    drop((poor, careless, standby));
    run(format!("DROP DATABASE {name} WITH (FORCE)")).await;
    run(format!("DROP ROLE {name}")).await;
}

/// A failover that has lost appends.
#[tokio::test]
#[ignore = "needs the databases that INCOMING_TEST_POSTGRES names"]
async fn a_log_that_was_set_back_has_another_history() {
    let log = log(&urls()[0]);
    log.prepare().await.unwrap();
    let id = id(seed(), 1);
    let first = created(&log, id, 1).await;
    let Ok(Appended::At(second)) = log.append(id, first, append(2)).await else { panic!() };
    let back = format!(
        "DELETE FROM incoming.record WHERE upload = '{id}' AND seq = 2; \
         UPDATE incoming.upload SET seq = 1, tag = 1 WHERE id = '{id}'"
    );
    log.connections.agenda.run(&back).await.unwrap();
    assert!(matches!(log.read(id, Some(second)).await, Ok(LogRead::OtherHistory)));
    assert_eq!(log.append(id, second, append(3)).await, Ok(Appended::Behind));
    assert!(matches!(log.append(id, first, append(4)).await, Ok(Appended::At(_))));
    assert!(matches!(log.read(id, Some(second)).await, Ok(LogRead::OtherHistory)));
    // A record that is gone, or other bytes, is no shorter log.
    let damaged = [
        format!("UPDATE incoming.record SET body = 'x' WHERE upload = '{id}' AND seq = 2"),
        format!("DELETE FROM incoming.record WHERE upload = '{id}' AND seq = 2"),
        format!("DELETE FROM incoming.record WHERE upload = '{id}' AND seq = 1"),
    ];
    for damage in damaged {
        log.connections.agenda.run(&damage).await.unwrap();
        assert!(matches!(log.read(id, None).await, Err(LogError::Unreadable)), "{damage}");
    }
}

/// Connections are ended all the time: what was acknowledged is there, once, and what was not is there once or never.
#[tokio::test]
#[ignore = "needs the databases that INCOMING_TEST_POSTGRES names"]
async fn connections_that_break_lose_nothing() {
    for url in urls() {
        let (killer, ends) = (log(&urls()[0]), Arc::new(AtomicBool::new(false)));
        killer.prepare().await.unwrap();
        let log = Arc::new(log(&url));
        let id = id(seed(), 1);
        let mut seen = created(&*log, id, 1).await;
        let over = Arc::clone(&ends);
        let kills = tokio::spawn(async move {
            let mut kills = 0;
            while !over.load(Ordering::Relaxed) {
                kills += killer.end_others().await;
                tokio::time::sleep(Duration::from_millis(7)).await;
            }
            kills
        });
        let (mut acknowledged, mut unsure) = (BTreeSet::from([1]), 0);
        for tag in 2..600 {
            loop {
                match log.append(id, seen, append(tag)).await {
                    Ok(Appended::At(now)) => seen = now,
                    Ok(Appended::Behind) => {
                        // Its own, whose answer was lost: nobody else is here.
                        let Ok(LogRead::More(behind)) = log.read(id, Some(seen)).await else {
                            continue;
                        };
                        assert_eq!(behind.len(), 1);
                        assert_eq!(behind[0].tag, Tag(tag));
                        seen = Seen { seq: seen.seq + 1, tag: Tag(tag) };
                    }
                    Err(error) => {
                        assert_eq!(error, LogError::Unsure);
                        unsure += 1;
                        continue;
                    }
                }
                acknowledged.insert(tag);
                break;
            }
        }
        ends.store(true, Ordering::Relaxed);
        let kills = kills.await.unwrap();
        let found: Vec<u64> = more(&*log, id, None).await.iter().map(|it| it.tag.0).collect();
        assert_eq!(found, acknowledged.into_iter().collect::<Vec<_>>());
        println!("{kills} connections ended, {unsure} appends without an answer");
        assert!(kills > 10 && unsure > 0, "{kills} {unsure}");
    }
}

/// A standby that no commit waits for is promoted while its primary lives, with connections of a server that works: that one's
/// answers count no more as soon as the hosts were asked. `INCOMING_TEST_POSTGRES_PAIR` names both, the standby second, in a
/// URL that ends with the database's name.
#[tokio::test]
#[ignore = "needs the primary and its standby that INCOMING_TEST_POSTGRES_PAIR names"]
async fn connections_to_an_old_primary_are_left_while_it_lives() {
    let url = std::env::var("INCOMING_TEST_POSTGRES_PAIR").expect("INCOMING_TEST_POSTGRES_PAIR");
    let (who, hosts) = url.split_once('@').unwrap();
    let (hosts, name) = hosts.split_once('/').unwrap();
    let [old, new] = hosts.split(',').collect::<Vec<_>>()[..] else { panic!("two hosts") };
    let alone = |host| format!("{who}@{host}/{name}");
    let server = log(&url);
    server.prepare().await.unwrap();
    let seed = seed();
    let id_at = |number| id(seed, number);
    // One for each connection.
    let mut seen = Vec::new();
    for number in 0..4 {
        seen.push(created(&server, id_at(number), 1).await);
    }
    let standby = log(&format!("{}?target_session_attrs=read-only", alone(new)));
    let last = format!("SELECT 1 FROM incoming.record WHERE upload = '{}'", id_at(3));
    while !standby.connections.agenda.query(&last, &[]).await.is_ok_and(|rows| !rows.is_empty()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(standby.connections.agenda.query("SELECT pg_promote()", &[]).await.is_ok());
    let promoted = Instant::now();
    let (mut tag, mut kept) = (2, 0);
    // What it acknowledges from now on is on no other disk.
    while promoted.elapsed() < timeline::LOOK_EVERY * 4 {
        match server.append(id_at(0), seen[0], append(tag)).await {
            Ok(Appended::At(now)) => seen[0] = now,
            Ok(Appended::Behind) | Err(LogError::Unsure) => break,
            Err(error) => panic!("{error}"),
        }
        (tag, kept) = (tag + 1, kept + 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{kept} appends lost within {:?} of the promotion", promoted.elapsed());
    assert!(promoted.elapsed() < timeline::LOOK_EVERY * 2);
    let (old, new) = (log(&alone(old)), log(&alone(new)));
    let count = async |log: &PostgresLog| {
        let rows = log.connections.agenda.query("SELECT count(*) FROM incoming.record", &[]).await;
        rows.unwrap()[0].get::<_, i64>(0)
    };
    let left = count(&old).await;
    // All connections lead to the new one, and no other answer than a right one comes.
    let read = server.read(id_at(0), Some(seen[0])).await.unwrap();
    assert!(matches!(read, LogRead::OtherHistory | LogRead::More(_)), "{read:?}");
    for number in 1..4 {
        let at = usize::from(number);
        let appended = server.append(id_at(number), seen[at], append(tag)).await;
        assert!(matches!(appended, Ok(Appended::At(_))), "{appended:?}");
        assert_eq!(more(&new, id_at(number), None).await.len(), 2);
    }
    assert_eq!(count(&old).await, left, "nothing more is written there");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_in_time() {
    let log = log("postgres://user:hidden@127.0.0.1:1/none");
    let fault = log.date().await.unwrap_err().to_string();
    assert!(fault.contains("cannot connect") && !fault.contains("hidden"), "{fault}");
    let id = id([1; 15], 1);
    assert!(matches!(log.read(id, None).await, Err(LogError::Unsure)));
}

#[test]
fn urls_that_cannot_be_read_are_told_without_their_password() {
    for url in ["postgres://user:hidden@host:port/x", "postgres://user:hidden@h/x?no=1", "hidden"] {
        let told = PostgresLog::new(url, &PostgresTls::default(), 1).err().map(|it| it.to_string());
        assert!(told.as_ref().is_some_and(|told| !told.contains("hidden")), "{url}: {told:?}");
    }
    for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
        let url = format!("postgres://u@h/x?sslmode={mode}");
        assert!(PostgresLog::new(&url, &PostgresTls::default(), 1).is_ok(), "{mode}");
    }
}
