//! Several servers over a real log and a real bucket, with requests to the bucket that break off, whose answers are lost, and
//! that have their effect after they were given up. See `tests/cluster/README.md`.
//!
//! `CAMPAIGN_ROUNDS` is how many uploads are made, `CAMPAIGN_SEED` the first one's seed.

#[cfg(test)]
mod proxy;
#[cfg(test)]
mod round;

use crate::client::{ObjectTransport, Patience};
use crate::core::time::Timestamp;
use crate::storage::clock::fill_random;
use crate::storage::postgres::{PostgresLog, PostgresTls};
use crate::storage::s3::{Credentials, Naming, S3Bucket, S3Options};
use proxy::{Faults, Proxy};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// What a campaign runs over.
struct Place {
    database: String,
    bucket: String,
}

impl Place {
    fn log(&self) -> PostgresLog {
        PostgresLog::new(&self.database, &PostgresTls::default(), 2).unwrap()
    }

    /// The bucket, by way of `authority`.
    async fn bucket(&self, authority: &str) -> S3Bucket {
        let options = S3Options {
            tls: false,
            authority: authority.parse().unwrap(),
            region: "us-east-1".into(),
            bucket: self.bucket.clone(),
            naming: Naming::Path,
            prefix: "campaign/".into(),
            requests: 16,
            page: 1000,
        };
        let patience = Patience { still: Duration::from_secs(2), whole: Duration::from_secs(20) };
        let keys =
            Credentials::Keys { access_key: "testkey".into(), secret_key: "testsecret".into() };
        let transport = Arc::new(ObjectTransport::new(None, patience));
        S3Bucket::new(options, keys, transport)
    }
}

/// Small numbers in a row that a seed repeats.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// xorshift64*.
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(super) fn once_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
}

#[tokio::test]
#[ignore = "needs what INCOMING_TEST_S3 and INCOMING_TEST_POSTGRES name"]
async fn no_fault_of_the_store_loses_a_byte() {
    let databases = std::env::var("INCOMING_TEST_POSTGRES").expect("INCOMING_TEST_POSTGRES");
    let stores = std::env::var("INCOMING_TEST_S3").expect("INCOMING_TEST_S3");
    let (rounds, seed) = (number("CAMPAIGN_ROUNDS", 5), number("CAMPAIGN_SEED", 1));
    for store in stores.split(' ') {
        let (authority, bucket) = store.split_once('/').unwrap();
        let database = databases.split(' ').next_back().unwrap().to_owned();
        let place = Place { database, bucket: bucket.into() };
        place.log().prepare().await.unwrap();
        let proxy = Proxy::start(authority.to_owned()).await;
        let plain = place.bucket(authority).await;
        let mut random = [0; 16];
        fill_random(&mut random).unwrap();
        let rule = plain.probe(Timestamp(0), random).await.unwrap();
        let ends = AbortOnDropHandle::new(tokio::spawn(end_connections(
            databases.split(' ').next().unwrap().to_owned(),
        )));
        let (since, mut counts) = (Instant::now(), round::Counts::default());
        for seed in seed..seed + rounds {
            proxy.set(Faults { seed, one_in: number("CAMPAIGN_FAULT_IN", 4) });
            let one = round::run(&place, &plain, rule, &proxy, seed).await;
            counts =
                counts.and(&one.unwrap_or_else(|what| panic!("{authority}, seed {seed}: {what}")));
        }
        drop(ends);
        let (faults, took) = (proxy.counts(), since.elapsed().as_secs());
        println!("{authority} {rule:?}: {rounds} uploads in {took} s, {counts:?}, {faults:?}");
    }
}

/// Ends all other connections to the database of `url` again and again.
async fn end_connections(url: String) {
    let pause = Duration::from_millis(number("CAMPAIGN_KILL_MS", 300));
    let log = PostgresLog::new(&url, &PostgresTls::default(), 1).unwrap();
    loop {
        tokio::time::sleep(pause).await;
        log.end_others().await;
    }
}
