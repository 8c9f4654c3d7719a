//! The bucket suite against real stores, whose addresses the environment names (`INCOMING_TEST_S3`); see
//! `tests/cluster/README.md`. And what a broken connection proves.

use super::*;
use crate::core::id::TicketId;
use crate::core::piece_event::{ObjectName, Purpose};
use crate::core::time::Timestamp;
use crate::storage::clock::fill_random;
use crate::storage::objects::conformance;
use crate::storage::objects::{Key, ObjectAnswer, ObjectError, ObjectRequest, Objects};
use crate::storage::s3::{Credentials, LogName, Naming, S3Bucket, S3Options, Sweep, Swept};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATIENCE: Patience =
    Patience { still: Duration::from_secs(10), whole: Duration::from_secs(60) };

fn keys(secret: &str) -> Credentials {
    Credentials::Keys { access_key: "testkey".into(), secret_key: secret.into() }
}

fn bucket(authority: &str, name: &str, patience: Patience, secret: &str) -> S3Bucket {
    bucket_below("suite/".into(), authority, name, patience, secret)
}

fn bucket_below(
    prefix: String,
    authority: &str,
    name: &str,
    patience: Patience,
    secret: &str,
) -> S3Bucket {
    let options = S3Options {
        tls: false,
        authority: authority.parse().unwrap(),
        region: "us-east-1".into(),
        bucket: name.into(),
        naming: Naming::Path,
        prefix,
        requests: 8,
        // Lists of several pages.
        page: 2,
    };
    S3Bucket::new(options, keys(secret), Arc::new(ObjectTransport::new(None, patience)))
}

/// The stores to be tested: `host:port/bucket`, separated by spaces; made with the keys `testkey` and `testsecret`.
fn stores() -> Vec<(String, String)> {
    let named = std::env::var("INCOMING_TEST_S3").expect("INCOMING_TEST_S3 names the stores");
    let pair = |it: &str| it.split_once('/').map(|(host, name)| (host.into(), name.into()));
    named.split(' ').map(|it| pair(it).expect("host:port/bucket")).collect()
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    fill_random(&mut bytes).unwrap();
    bytes
}

/// Only what is below the prefix, has a name of this program's making, is old and of no upload that is known goes.
#[tokio::test]
#[ignore = "needs the stores that INCOMING_TEST_S3 names"]
async fn what_lost_uploads_left_is_swept() {
    for (authority, name) in stores() {
        // Of its own: what other tests do meanwhile is of no upload that is known here.
        let prefix = format!("sweep-{}/", u64::from_be_bytes(*random().first_chunk().unwrap()));
        let bucket = bucket_below(prefix, &authority, &name, PATIENCE, "testsecret");
        let key = |id: [u8; 16], purpose| Key {
            id: TicketId::from_random(id),
            name: ObjectName { purpose, random: random() },
        };
        let (known, lost, log) = (random(), random(), LogName(random()));
        let all = [Purpose::File, Purpose::Fragment].map(|it| [key(known, it), key(lost, it)]);
        let all = all.concat();
        for key in &all {
            bucket.ask(ObjectRequest::Put(*key, Bytes::from_static(b"x").into())).await.unwrap();
            bucket.ask(ObjectRequest::Begin(*key)).await.unwrap();
        }
        let left = async |id: [u8; 16]| {
            let id = TicketId::from_random(id);
            let objects = bucket.ask(ObjectRequest::List(id)).await.unwrap();
            let multiparts = bucket.ask(ObjectRequest::ListMultiparts(id)).await.unwrap();
            let (ObjectAnswer::Objects(objects), ObjectAnswer::Multiparts(multiparts)) =
                (objects, multiparts)
            else {
                panic!("{authority}: other answers");
            };
            (objects.len(), multiparts.len())
        };
        let ids = [TicketId::from_random(known)];
        let week = Duration::from_secs(7 * 24 * 3600);
        assert_eq!(bucket.sweep(log, &ids, week).await, Ok(Sweep::Done(Swept::default())));
        assert_eq!((left(known).await, left(lost).await), ((2, 1), (2, 1)));
        let swept = bucket.sweep(log, &ids, Duration::ZERO).await;
        assert_eq!(swept, Ok(Sweep::Done(Swept { objects: 1, multiparts: 2 })), "{authority}");
        // The file stays, and all of the other upload.
        assert_eq!((left(known).await, left(lost).await), ((2, 1), (1, 0)), "{authority}");
        // Another log: nothing goes.
        let other = bucket.sweep(LogName(random()), &[], Duration::ZERO).await;
        assert!(matches!(&other, Ok(Sweep::Shared(names)) if names.len() == 1), "{other:?}");
        assert_eq!(left(known).await, (2, 1), "{authority}");
    }
}

#[tokio::test]
#[ignore = "needs the stores that INCOMING_TEST_S3 names"]
async fn real_stores_pass_the_suite() {
    for (authority, name) in stores() {
        let bucket = bucket(&authority, &name, PATIENCE, "testsecret");
        let rule = bucket.probe(Timestamp(0), random()).await.unwrap();
        println!("{authority}: {rule:?}");
        let bucket = bucket.with_orphan_rule(rule);
        conformance::check(&bucket, random()[0]).await;
    }
}

#[tokio::test]
#[ignore = "needs the stores that INCOMING_TEST_S3 names"]
async fn real_stores_refuse_what_is_wrong() {
    for (authority, name) in stores() {
        let id = TicketId::from_random(random());
        let object = Key { id, name: ObjectName { purpose: Purpose::Fragment, random: [1; 16] } };
        let put = ObjectRequest::Put(object, Bytes::from_static(b"x").into());
        for (name, secret) in [(name.as_str(), "wrong"), ("no-such-bucket-here", "testsecret")] {
            let refused = bucket(&authority, name, PATIENCE, secret).ask(put.clone()).await;
            assert!(matches!(refused, Err(ObjectError::Unusable(_))), "{authority} {refused:?}");
        }
    }
}

/// A body that was changed under way is not stored.
#[tokio::test]
#[ignore = "needs the stores that INCOMING_TEST_S3 names"]
async fn real_stores_notice_other_bytes() {
    for (authority, name) in stores() {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = proxy.local_addr().unwrap().port();
        let target = authority.clone();
        let flip = tokio::spawn(async move {
            let (mut near, _) = proxy.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
            let mut seen = vec![0; 1 << 16];
            let count = near.read(&mut seen).await.unwrap();
            let at = seen[..count].windows(8).position(|it| it == b"original").expect("one read");
            seen[at] = b'x';
            far.write_all(&seen[..count]).await.unwrap();
            tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
        });
        let id = TicketId::from_random(random());
        let key = Key { id, name: ObjectName { purpose: Purpose::Fragment, random: [2; 16] } };
        let put = ObjectRequest::Put(key, Bytes::from_static(b"original").into());
        let through = bucket(&format!("127.0.0.1:{port}"), &name, PATIENCE, "testsecret");
        let refused = through.ask(put).await;
        assert_eq!(refused, Err(ObjectError::Busy), "{authority}: refused on sight of the body");
        let bucket = bucket(&authority, &name, PATIENCE, "testsecret");
        assert_eq!(bucket.ask(ObjectRequest::Head(key)).await, Err(ObjectError::Gone));
        flip.abort();
    }
}

/// What a store that answers `answer` to a PUT, or nothing, is taken to have done.
async fn put_to(answer: Option<&'static str>, accepts: bool) -> Result<(), ObjectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    if !accepts {
        drop(listener);
        return ask(&authority).await;
    }
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; 1 << 16];
            let _ = stream.read(&mut seen).await;
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                None => drop(stream),
            }
        }
    });
    let done = ask(&authority).await;
    server.abort();
    done
}

async fn ask(authority: &str) -> Result<(), ObjectError> {
    let still = Duration::from_millis(300);
    let bucket = bucket(authority, "b", Patience { still, whole: 4 * still }, "s");
    let name = ObjectName { purpose: Purpose::Fragment, random: [1; 16] };
    let key = Key { id: TicketId::from_random([1; 16]), name };
    bucket.ask(ObjectRequest::Put(key, Bytes::from_static(b"bytes").into())).await.map(drop)
}

#[tokio::test]
async fn a_request_without_an_answer_may_have_been_done() {
    let unsure = Err(ObjectError::Unsure);
    assert_eq!(put_to(None, false).await, Err(ObjectError::Busy), "no listener: not sent");
    assert_eq!(put_to(None, true).await, unsure, "the connection breaks");
    assert_eq!(put_to(Some("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut"), true).await, unsure);
    assert_eq!(put_to(Some("HTTP/1.1 200 OK\r\ncontent-"), true).await, unsure, "cut head");
    assert_eq!(put_to(Some("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"), true).await, unsure);
    let slow = "HTTP/1.1 503 Busy\r\ncontent-length: 43\r\n\r\n<Error><Code>SlowDown</Code></Error>       ";
    assert_eq!(put_to(Some(slow), true).await, Err(ObjectError::Busy), "its own word");
    let done = "HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(put_to(Some(done), true).await, Ok(()));
}
