//! What servers know of each other.

use super::*;
use crate::engine::servers::{Presence, SeenServer};
use crate::storage::servers::{AWAY, AWAY_KEPT, STOPPED_KEPT, ServerReport, ServerState};

fn report(engine: &Engine, name: &str, state: ServerState) -> ServerReport {
    ServerReport {
        name: name.into(),
        address: "0.0.0.0:4001".into(),
        version: "1".into(),
        uptime: Duration::ZERO,
        state,
        problems: Vec::new(),
        load: engine.load(7),
    }
}

fn seen(engine: &Engine) -> Vec<(String, Presence)> {
    let seen = |it: SeenServer| (it.report.name, it.presence);
    engine.servers().into_iter().map(seen).collect()
}

#[tokio::test(start_paused = true)]
async fn issue_17_each_server_knows_which_are_there_and_which_are_away() {
    let cluster = Cluster::new();
    let [one, two, three] = [1, 2, 3].map(|server| cluster.start(server));
    assert_eq!(seen(&one), [], "nothing was asked yet");
    let at = |name: &str, presence| (name.to_owned(), presence);
    for (engine, name) in [(&one, "one"), (&two, "two"), (&three, "three")] {
        engine.report(report(engine, name, ServerState::Ready)).await;
    }
    assert_eq!(
        seen(&three),
        [at("three", Presence::Here), at("one", Presence::Here), at("two", Presence::Here)]
    );
    assert_eq!(one.servers()[0].report.load.connections, 7);
    // One stops, and one is silent.
    two.release_holds().await;
    // It has nothing more to say, though its last word may be on its way.
    two.report(report(&two, "two", ServerState::Stopping)).await;
    cluster.log.pass(AWAY + Duration::from_secs(1));
    one.report(report(&one, "one", ServerState::NotReady)).await;
    let known =
        [at("one", Presence::Here), at("three", Presence::Away), at("two", Presence::Stopped)];
    assert_eq!(seen(&one), known);
    // Without an answer from the log nothing is known of those that were here.
    three.report(report(&three, "three", ServerState::Ready)).await;
    one.report(report(&one, "one", ServerState::Ready)).await;
    cluster.log.set_down(true);
    tokio::time::advance(AWAY + Duration::from_secs(1)).await;
    one.report(report(&one, "one", ServerState::NotReady)).await;
    assert_eq!(seen(&one)[1..], [at("three", Presence::Unknown), at("two", Presence::Stopped)]);
    assert!(one.servers()[1].silent > AWAY);
    cluster.log.set_down(false);
    // Who stopped is forgotten soon, who is away later.
    cluster.log.pass(STOPPED_KEPT);
    one.report(report(&one, "one", ServerState::Ready)).await;
    assert_eq!(seen(&one), [at("one", Presence::Here), at("three", Presence::Away)]);
    cluster.log.pass(AWAY_KEPT);
    one.report(report(&one, "one", ServerState::Ready)).await;
    assert_eq!(seen(&one), [at("one", Presence::Here)]);
}

#[tokio::test(start_paused = true)]
async fn issue_17_a_server_that_was_started_again_is_listed_once() {
    let cluster = Cluster::new();
    let [before, after, other] = [1, 2, 3].map(|server| cluster.start(server));
    before.report(report(&before, "one", ServerState::Ready)).await;
    other.report(report(&other, "other", ServerState::Ready)).await;
    after.report(report(&after, "one", ServerState::Ready)).await;
    // Two servers that run may have one name and address.
    assert_eq!(after.servers().len(), 3);
    cluster.log.pass(AWAY + Duration::from_secs(6));
    after.report(report(&after, "one", ServerState::Ready)).await;
    let numbers: Vec<_> = after.servers().iter().map(|it| it.number).collect();
    assert_eq!(numbers, [2, 3]);
}

#[tokio::test]
async fn issue_17_a_server_alone_knows_of_no_others() {
    let engine = Machine::default().start(Durability::Written);
    engine.report(report(&engine, "one", ServerState::Ready)).await;
    assert!(!engine.is_shared() && engine.servers().is_empty());
}
