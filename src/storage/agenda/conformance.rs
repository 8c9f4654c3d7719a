//! What every agenda must do; the one in memory runs this suite, and those of real databases.

use super::{Agenda, Census, Taken, Work};
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::storage::event_log::conformance::{append, id};
use crate::storage::event_log::{Append, Appended, CallMarks, EventLog, Marks, Seen};
use crate::storage::servers::{ServerLoad, ServerReport, ServerState};
use std::time::Duration;

/// Runs the suite for two servers over one log, in which nothing else is due. `seed` sets its names apart; `pass` lets
/// time pass.
pub(crate) async fn check(
    log: &impl EventLog,
    servers: [&dyn Agenda; 2],
    seed: [u8; 15],
    pass: impl AsyncFn(Duration),
) {
    for server in servers {
        server.beat().await.unwrap();
        server.well().await.unwrap();
    }
    let [one, other] = servers;
    let apart = one.now().0.abs_diff(other.now().0);
    assert!(apart < 2_000, "both have one clock: {apart} ms apart");
    let before = one.census().await.unwrap();
    let now = one.now();
    let (first, second) = (id(seed, 1), id(seed, 2));
    let ago = marks(StateName::New, now.before(Duration::from_secs(1)), None);
    let created = log.create(first, marked(1, ago)).await.unwrap();
    let Appended::At(seen) = created else { panic!("{created:?}") };
    let later = marks(StateName::Uploading, now.after(HOUR), None);
    assert!(matches!(log.create(second, marked(2, later)).await, Ok(Appended::At(_))));
    let mut upload = Upload { log, id: first, seen, now };
    looks_are_taken_by_one(&mut upload, servers, &pass).await;
    calls_have_leaves_of_their_own(&mut upload, servers, &pass).await;
    uploads_are_found(&mut upload, servers, second, &before).await;
    servers_see_each_other(servers, &pass).await;
}

/// The upload that most of it is about.
struct Upload<'a, L> {
    log: &'a L,
    id: TicketId,
    seen: Seen,
    /// The begin of the suite.
    now: Uptime,
}

impl<L: EventLog> Upload<'_, L> {
    async fn append(&mut self, append: Append) {
        let appended = self.log.append(self.id, self.seen, append).await.unwrap();
        let Appended::At(seen) = appended else { panic!("{appended:?}") };
        self.seen = seen;
    }
}

fn marks(state: StateName, due: Uptime, call: Option<CallMarks>) -> Marks {
    Marks { state, occupies: state != StateName::Finished, due, call }
}

fn marked(tag: u64, marks: Marks) -> Append {
    Append { marks: Some(marks), ..append(tag) }
}

async fn take(server: &dyn Agenda, work: Work) -> Vec<Taken> {
    server.take(work, 9, SHORT).await.unwrap()
}

async fn looks_are_taken_by_one(
    upload: &mut Upload<'_, impl EventLog>,
    [one, other]: [&dyn Agenda; 2],
    pass: &impl AsyncFn(Duration),
) {
    let (id, later) = (upload.id, upload.now.after(HOUR));
    let due = upload.now.before(Duration::from_secs(1));
    let taken = take(one, Work::Look).await;
    assert_eq!(taken, [Taken { id, due }]);
    assert_eq!(take(other, Work::Look).await, []);
    assert_eq!(take(one, Work::Look).await, [], "not by itself either");
    pass(SHORT * 2).await;
    assert_eq!(take(other, Work::Look).await, taken);
    // Who has lost it says nothing of it any more.
    one.looked(taken[0], later).await.unwrap();
    pass(SHORT * 2).await;
    assert_eq!(take(one, Work::Look).await, taken);
    // A hold is renewed by who has it.
    pass(SHORT / 2).await;
    assert!(one.hold_for(Work::Look, id, SHORT * 2).await.unwrap());
    pass(SHORT).await;
    assert!(!other.hold_for(Work::Look, id, SHORT).await.unwrap());
    assert_eq!(take(other, Work::Look).await, []);
    one.looked(taken[0], later).await.unwrap();
    pass(SHORT * 2).await;
    assert_eq!(take(other, Work::Look).await, []);
    // What the log says meanwhile is not forgotten.
    upload.append(marked(3, marks(StateName::Uploading, due, None))).await;
    let taken = take(one, Work::Look).await;
    let sooner = upload.now.before(Duration::from_secs(2));
    upload.append(marked(4, marks(StateName::Uploading, sooner, None))).await;
    one.looked(taken[0], later).await.unwrap();
    assert_eq!(take(other, Work::Look).await, [Taken { id, due: sooner }]);
    // An append without marks changes nothing, nor does one that comes too late.
    upload.append(append(5)).await;
    let stale = Seen { seq: upload.seen.seq - 1, ..upload.seen };
    let over = marked(6, marks(StateName::Finished, later, None));
    assert_eq!(upload.log.append(id, stale, over).await, Ok(Appended::Behind));
    assert_eq!(one.states(vec![id]).await.unwrap(), [(id, StateName::Uploading)]);
}

async fn calls_have_leaves_of_their_own(
    upload: &mut Upload<'_, impl EventLog>,
    [one, other]: [&dyn Agenda; 2],
    pass: &impl AsyncFn(Duration),
) {
    let (id, due, later) = (upload.id, upload.now, upload.now.after(HOUR));
    let call = Some(CallMarks { since: due, due });
    upload.append(marked(7, marks(StateName::HandingOver, later, call))).await;
    assert_eq!(take(other, Work::Look).await, []);
    assert_eq!(take(one, Work::Call).await, [Taken { id, due }]);
    assert_eq!(take(other, Work::Call).await, []);
    assert!(!other.hold_for(Work::Call, id, SHORT).await.unwrap());
    assert!(one.hold_for(Work::Call, id, SHORT).await.unwrap());
    let not_before = |due| Some(CallMarks { since: upload.now, due });
    other.end_call(id, not_before(later)).await.unwrap();
    assert_eq!(take(other, Work::Call).await, [], "it was not the other's to end");
    one.end_call(id, None).await.unwrap();
    assert!(other.hold_for(Work::Call, id, SHORT).await.unwrap());
    assert!(!one.hold_for(Work::Call, id, SHORT).await.unwrap());
    pass(SHORT * 2).await;
    assert!(one.hold_for(Work::Call, id, SHORT).await.unwrap());
    // A server that stops keeps nothing from the others, of its own.
    assert!(one.hold_for(Work::Look, id, SHORT * 9).await.unwrap());
    other.release().await.unwrap();
    assert!(!other.hold_for(Work::Look, id, SHORT).await.unwrap());
    one.release().await.unwrap();
    for work in [Work::Look, Work::Call] {
        assert!(other.hold_for(work, id, SHORT).await.unwrap());
    }
    other.release().await.unwrap();
    assert!(one.hold_for(Work::Call, id, SHORT).await.unwrap());
    one.end_call(id, not_before(later)).await.unwrap();
    assert_eq!(take(other, Work::Call).await, [], "not before it may be made");
    // A moment that has come is not moved.
    for (within, due) in [(HOUR * 2, None), (Duration::ZERO, Some(due)), (HOUR, Some(due))] {
        one.hurry_calls(within).await.unwrap();
        let taken: Vec<_> = due.into_iter().map(|due| Taken { id, due }).collect();
        assert_eq!(take(other, Work::Call).await, taken, "{within:?}");
        other.release().await.unwrap();
    }
    // One that was asked for meanwhile is not put off with the one before.
    assert!(one.hold_for(Work::Call, id, SHORT).await.unwrap());
    let asked = due.before(Duration::from_secs(1));
    let call = Some(CallMarks { since: asked, due: asked });
    let before = Some(CallMarks { since: due, due: later });
    upload.append(marked(8, marks(StateName::HandingOver, later, call))).await;
    one.end_call(id, before).await.unwrap();
    assert_eq!(take(other, Work::Call).await, [Taken { id, due: asked }]);
    other.end_call(id, None).await.unwrap();
}

async fn uploads_are_found(
    upload: &mut Upload<'_, impl EventLog>,
    [one, other]: [&dyn Agenda; 2],
    second: TicketId,
    before: &Census,
) {
    let (first, later) = (upload.id, upload.now.after(HOUR));
    let states = one.states(vec![first, second]).await.unwrap();
    assert!(states.contains(&(first, StateName::HandingOver)), "{states:?}");
    assert!(states.contains(&(second, StateName::Uploading)), "{states:?}");
    let census = one.census().await.unwrap();
    let more = |state: StateName| census.states[state as usize] - before.states[state as usize];
    assert_eq!((more(StateName::Uploading), more(StateName::HandingOver)), (1, 1));
    assert_eq!((census.open - before.open, census.calls - before.calls), (2, 1));
    assert!(census.oldest_call.is_some_and(|since| since <= upload.now));
    upload.append(marked(9, marks(StateName::Finished, later, None))).await;
    let census = one.census().await.unwrap();
    assert_eq!((census.open - before.open, census.calls - before.calls), (1, 0));
    assert_eq!(take(other, Work::Call).await, []);
    let page = async |state, limit| other.page(state, None, limit).await.unwrap();
    let all = page(None, 1000).await;
    assert!(all.is_sorted() && all.contains(&first) && all.contains(&second));
    assert_eq!(page(None, 1).await, all[..1]);
    assert!(page(Some(StateName::Finished), 1000).await.contains(&first));
    assert!(!page(Some(StateName::Uploading), 1000).await.contains(&first));
    assert!(!one.page(None, Some(first), 1000).await.unwrap().contains(&first));
    one.hurry(HOUR * 2).await.unwrap();
    let mut ids: Vec<_> = take(one, Work::Look).await.iter().map(|taken| taken.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [first, second]);
    assert!(matches!(upload.log.remove(first, upload.seen).await, Ok(Appended::At(_))));
    assert!(!one.hold_for(Work::Call, first, SHORT).await.unwrap(), "there is none");
}

async fn servers_see_each_other([one, other]: [&dyn Agenda; 2], pass: &impl AsyncFn(Duration)) {
    let first = ServerReport {
        name: "m1 \u{e9}".into(),
        address: "0.0.0.0:4001".into(),
        version: "1.2.3".into(),
        uptime: RAN,
        state: ServerState::Ready,
        problems: Vec::new(),
        load: ServerLoad::default(),
    };
    let known = one.report(first.clone()).await.unwrap();
    assert_eq!(known.len(), 1, "{known:?}");
    let own = &known[0];
    assert_eq!((&own.report, own.silent), (&first, Duration::ZERO));
    pass(SHORT).await;
    let load = ServerLoad {
        chunks: 3,
        connections: 70,
        received_per_s: u64::from(u32::MAX) * 2,
        acknowledged_per_s: 5,
    };
    let problems = vec!["the disk, \"it\" {fails}".to_owned(), "a\0b".to_owned()];
    let second = ServerReport {
        address: "unix:/run/incoming/backend.sock".into(),
        uptime: Duration::ZERO,
        state: ServerState::NotReady,
        problems,
        load,
        ..first.clone()
    };
    let known = other.report(second.clone()).await.unwrap();
    assert_eq!(known.len(), 2, "{known:?}");
    assert_eq!(known[0].report, second.clone().bounded(), "its own first");
    assert_eq!((&known[1].report, known[1].number), (&first, own.number));
    let silent = known[1].silent;
    assert!(silent >= SHORT && silent < SHORT * 4, "{silent:?}");
    assert_eq!(known[1].started, own.started);
    assert!(known[0].started.0 >= own.started.0 + 600_000, "{known:?}");
    // It goes on from its own start, whatever it says of that.
    let known = one.report(ServerReport { uptime: RAN * 5, ..first.clone() }).await.unwrap();
    assert_eq!((known[0].number, known[0].started), (own.number, own.started));
    let uptime = known[0].report.uptime;
    assert!(uptime >= RAN + SHORT && uptime < RAN + SHORT * 4, "{uptime:?}");
    assert_eq!(known[1].report.load, load);
    let stopped = ServerReport { state: ServerState::Stopped, ..second };
    assert_eq!(other.report(stopped).await.unwrap()[0].report.state, ServerState::Stopped);
    assert_eq!(one.report(first).await.unwrap()[1].report.state, ServerState::Stopped);
}

/// How long what is taken is held.
const SHORT: Duration = Duration::from_millis(1500);
const HOUR: Duration = Duration::from_secs(3600);
/// How long a server has run.
const RAN: Duration = Duration::from_secs(600);
