//! Clients that upload at the same time, dealt to a thread for each core.

use crate::client::Client;
use crate::place::Place;
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// As many clients as uploads, each connected.
pub struct Crowd<'a> {
    place: &'a Place,
    file: Bytes,
    teams: Vec<Team>,
}

/// The clients of one thread.
struct Team {
    runtime: Runtime,
    clients: Vec<Client>,
    /// The tickets that its clients upload to, one for each.
    tickets: Vec<String>,
}

impl<'a> Crowd<'a> {
    /// Connects so many clients, each with a file of `file_bytes`.
    pub fn gather(place: &'a Place, clients: usize, file_bytes: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(clients);
        let teams = (0..threads).map(|thread| {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let count = (thread..clients).step_by(threads).count();
            let clients = runtime.block_on(async {
                let mut clients = Vec::new();
                for _ in 0..count {
                    clients.push(Client::connect(place).await);
                }
                clients
            });
            Team { runtime, clients, tickets: Vec::new() }
        });
        Self { place, file: content(file_bytes), teams: teams.collect() }
    }

    /// Every client sends its file once, in chunks. Answers how long it took from the first byte to
    /// the last acknowledgement.
    pub fn upload(&mut self, chunk_bytes: u64) -> Duration {
        for team in &mut self.teams {
            team.take_tickets(self.place);
        }
        let file = &self.file;
        let began = Instant::now();
        std::thread::scope(|scope| {
            for team in &mut self.teams {
                scope.spawn(move || team.upload(file, chunk_bytes));
            }
        });
        let took = began.elapsed();
        for team in &mut self.teams {
            team.give_up(self.place);
        }
        took
    }
}

impl Team {
    fn take_tickets(&mut self, place: &Place) {
        self.tickets = self.runtime.block_on(async {
            let mut tickets = Vec::new();
            for _ in &self.clients {
                tickets.push(place.ticket().await);
            }
            tickets
        });
    }

    fn upload(&mut self, file: &Bytes, chunk_bytes: u64) {
        self.runtime.block_on(async {
            let mut running = JoinSet::new();
            for (mut client, id) in self.clients.drain(..).zip(self.tickets.clone()) {
                let file = file.clone();
                running.spawn(async move {
                    client.upload(&id, &file, chunk_bytes).await;
                    client
                });
            }
            self.clients = running.join_all().await;
        });
    }

    fn give_up(&mut self, place: &Place) {
        self.runtime.block_on(async {
            for id in self.tickets.drain(..) {
                place.cancel(&id).await;
            }
        });
    }
}

/// So many bytes, none of them a page of zeros.
fn content(bytes: u64) -> Bytes {
    let words = (0..bytes / 8).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>().into()
}
