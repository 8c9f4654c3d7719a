//! The queue against simulated backends. The clock is a number that the tests advance.

use super::*;
use crate::core::id::TicketId;

const SLOTS: usize = 512;
const TIME_OUT_S: u64 = 55;

/// What a backend does with a call: answers after so many seconds, or never (time-out), or refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    AnswersAfter(u64),
    Never,
    Refuses,
}

#[derive(Default)]
struct World {
    now_s: u64,
    serial: u64,
    natures: HashMap<Destination, Nature>,
    running: Vec<(u64, u64, Start<TicketId>)>,
    begun: HashMap<Destination, usize>,
    most_at_once: HashMap<Destination, usize>,
}

impl World {
    fn backend(&mut self, name: &str, nature: Nature) -> Destination {
        let destination = Destination::of(name, 80);
        self.natures.insert(destination.clone(), nature);
        destination
    }

    fn due(&mut self, queue: &mut FairQueue<TicketId>, destination: &Destination, count: usize) {
        for _ in 0..count {
            self.serial += 1;
            let mut random = [0; 16];
            random[..8].copy_from_slice(&self.serial.to_le_bytes());
            queue.push(TicketId::from_random(random), destination);
        }
    }

    /// Starts what may be started.
    fn start(&mut self, queue: &mut FairQueue<TicketId>) {
        while let Some(start) = queue.next() {
            let took = match self.natures[&start.destination] {
                Nature::AnswersAfter(seconds) => seconds,
                Nature::Never => TIME_OUT_S,
                Nature::Refuses => 0,
            };
            *self.begun.entry(start.destination.clone()).or_default() += 1;
            self.running.push((self.now_s + took, took, start));
        }
        let mut at_once: HashMap<&Destination, usize> = HashMap::new();
        for (_, _, start) in &self.running {
            *at_once.entry(&start.destination).or_default() += 1;
        }
        for (destination, now) in at_once {
            let most = self.most_at_once.entry(destination.clone()).or_default();
            *most = now.max(*most);
        }
        assert!(self.running.len() <= SLOTS);
    }

    /// Lets so many seconds pass; calls that fail are due again.
    fn pass(&mut self, queue: &mut FairQueue<TicketId>, seconds: u64) {
        let end = self.now_s + seconds;
        loop {
            self.start(queue);
            let Some(next) = self.running.iter().map(|(at, ..)| *at).min() else { break };
            if next > end {
                break;
            }
            self.now_s = next.max(self.now_s);
            let over = self.running.extract_if(.., |(at, ..)| *at == next).collect::<Vec<_>>();
            for (_, took, start) in over {
                let nature = self.natures[&start.destination];
                let after = Duration::from_secs(took);
                let outcome = match nature {
                    Nature::AnswersAfter(_) => Outcome::Answered,
                    Nature::Never | Nature::Refuses => Outcome::Failed { after },
                };
                queue.ended(&start.destination, outcome);
                queue.release(&start.destination, start.kind);
                if nature == Nature::Never {
                    self.due(queue, &start.destination, 1);
                }
            }
        }
        self.now_s = end;
        self.start(queue);
    }

    fn begun(&self, destination: &Destination) -> usize {
        self.begun.get(destination).copied().unwrap_or_default()
    }
}

fn dead(
    world: &mut World,
    queue: &mut FairQueue<TicketId>,
    count: usize,
    each: usize,
) -> Vec<Destination> {
    let backends: Vec<_> =
        (0..count).map(|number| world.backend(&format!("dead-{number}"), Nature::Never)).collect();
    for backend in &backends {
        world.due(queue, backend, each);
    }
    backends
}

#[test]
fn issue_13_two_backends_beside_a_hundred_dead_ones_are_called_at_once() {
    let (mut world, mut queue) = (World::default(), FairQueue::new(SLOTS));
    let dead = dead(&mut world, &mut queue, 100, 300);
    world.start(&mut queue);
    let good = ["a", "b"].map(|name| world.backend(name, Nature::AnswersAfter(0)));
    for seconds in [0, 1, 54, 100, 1000, 10_000] {
        world.pass(&mut queue, seconds);
        for good in &good {
            let before = world.begun(good);
            world.due(&mut queue, good, 40);
            world.pass(&mut queue, 0);
            assert_eq!(world.begun(good), before + 40, "at {} s", world.now_s);
        }
    }
    for dead in &dead {
        assert!(world.begun(dead) > 100, "all of them are called again and again");
        assert!(world.most_at_once[dead] <= 4);
    }
}

#[test]
fn one_backend_with_a_hundred_thousand_calls_delays_nobody() {
    let (mut world, mut queue) = (World::default(), FairQueue::new(SLOTS));
    let many = world.backend("many", Nature::AnswersAfter(40));
    world.due(&mut queue, &many, 100_000);
    world.pass(&mut queue, 100);
    assert_eq!(world.most_at_once[&many], 16, "it answers, and no more than that at once");
    let other = world.backend("other", Nature::AnswersAfter(0));
    world.due(&mut queue, &other, 3);
    world.pass(&mut queue, 0);
    assert_eq!(world.begun(&other), 3);
}

#[test]
fn a_backend_that_stops_answering_gets_one_call_at_a_time_until_it_answers_again() {
    let (mut world, mut queue) = (World::default(), FairQueue::new(SLOTS));
    let backend = world.backend("b", Nature::AnswersAfter(1));
    world.due(&mut queue, &backend, 20);
    world.pass(&mut queue, 10);
    assert_eq!(world.most_at_once[&backend], 16);
    world.natures.insert(backend.clone(), Nature::Never);
    world.due(&mut queue, &backend, 20);
    world.pass(&mut queue, TIME_OUT_S);
    world.most_at_once.clear();
    world.pass(&mut queue, 5 * TIME_OUT_S);
    assert_eq!(world.most_at_once[&backend], 1);
    world.natures.insert(backend.clone(), Nature::AnswersAfter(0));
    world.pass(&mut queue, TIME_OUT_S);
    assert_eq!(world.running.len(), 0, "all were called");
}

#[test]
fn backends_that_answer_keep_places_of_their_own() {
    // Far more dead host names than places, and more all the time.
    let (mut world, mut queue) = (World::default(), FairQueue::new(SLOTS));
    let good = world.backend("good", Nature::AnswersAfter(1));
    world.due(&mut queue, &good, 1);
    world.pass(&mut queue, 1);
    for wave in 0..20 {
        for number in 0..1000 {
            let name = format!("dead-{wave}-{number}");
            let backend = world.backend(&name, Nature::Never);
            world.due(&mut queue, &backend, 2);
        }
        let before = world.begun(&good);
        world.due(&mut queue, &good, 10);
        world.pass(&mut queue, 1);
        assert_eq!(world.begun(&good), before + 10);
    }
}

#[test]
fn refused_calls_cost_no_standing() {
    let (mut world, mut queue) = (World::default(), FairQueue::new(SLOTS));
    let backend = world.backend("b", Nature::AnswersAfter(0));
    world.due(&mut queue, &backend, 1);
    world.pass(&mut queue, 0);
    world.natures.insert(backend.clone(), Nature::Refuses);
    world.due(&mut queue, &backend, 5);
    world.pass(&mut queue, 0);
    world.natures.insert(backend.clone(), Nature::AnswersAfter(9));
    world.due(&mut queue, &backend, 20);
    world.start(&mut queue);
    assert_eq!(world.running.len(), 16, "a restart of a backend slows nothing down");
}

#[test]
fn each_in_its_turn() {
    let mut queue = FairQueue::new(LEAST_SLOTS);
    let mut world = World::default();
    // More untried destinations than places for their first calls.
    let first: Vec<_> = (0..20).map(|n| world.backend(&format!("u{n}"), Nature::Never)).collect();
    for backend in &first {
        world.due(&mut queue, backend, 2);
    }
    let mut started = Vec::new();
    while let Some(start) = queue.next() {
        started.push(start);
    }
    let firsts: Vec<_> = started.iter().take(12).map(|s| s.destination.clone()).collect();
    assert_eq!(firsts, first[..12], "in the order in which they came");
    assert_eq!(started.len(), 14, "and two further ones");
    // A place that is freed goes to the next destination, not to the one that had it.
    let over = started.remove(5);
    queue.release(&over.destination, over.kind);
    assert_eq!(queue.next().unwrap().destination, first[12]);
    assert_eq!(queue.next(), None);
}

#[test]
fn a_place_is_taken_until_it_is_released() {
    let mut queue = FairQueue::new(SLOTS);
    let mut world = World::default();
    let hangs = world.backend("hangs", Nature::Never);
    world.due(&mut queue, &hangs, 9);
    let starts: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
    assert_eq!(starts.len(), 4);
    for start in &starts {
        queue.ended(&start.destination, Outcome::Failed { after: LONG });
    }
    assert_eq!(queue.next(), None, "its look-ups still run");
    for start in &starts[1..] {
        queue.release(&start.destination, start.kind);
    }
    assert_eq!(queue.next(), None);
    queue.release(&starts[0].destination, starts[0].kind);
    assert!(queue.next().is_some());
    assert_eq!(queue.next(), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut queue = FairQueue::new(SLOTS);
    let mut world = World::default();
    let good = world.backend("good", Nature::AnswersAfter(0));
    world.due(&mut queue, &good, 1);
    world.pass(&mut queue, 0);
    for number in 0..3 * REMEMBERED {
        let backend = Destination::of(&format!("x{number}"), 80);
        world.due(&mut queue, &backend, 1);
        let start = queue.next().unwrap();
        queue.ended(&backend, Outcome::Failed { after: LONG });
        queue.release(&backend, start.kind);
        assert!(queue.destinations.len() <= REMEMBERED);
    }
    assert_eq!(queue.destinations[&good].standing, Standing::Answers);
    assert!(queue.queues.iter().all(BTreeMap::is_empty));
    let whole: usize = queue.free.iter().sum();
    assert_eq!(whole, SLOTS, "every place is free again");
}
