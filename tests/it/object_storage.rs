//! `check-config --probe`: a wrong bucket, key, host or database is one line that names the setting. Those marked need the
//! servers that `INCOMING_TEST_S3` and `INCOMING_TEST_POSTGRES` name; see `tests/cluster/README.md`.

use crate::child::run;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Output;

/// The probe with these flags, over a bucket of `store` (`host:port/bucket`).
fn probe(store: &str, flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let (authority, bucket) = store.split_once('/').unwrap();
    let home = tempfile::tempdir().unwrap();
    let endpoint = format!("http://{authority}");
    let mut all = vec!["check-config", "--probe", "--store", "s3", "--s3-endpoint", &endpoint];
    if !flags.contains(&"--s3-bucket") {
        all.extend(["--s3-bucket", bucket]);
    }
    all.extend(flags);
    run(home.path(), &all, variables)
}

/// The last line on standard error of a probe that failed.
fn fault(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    lines.lines().last().unwrap_or_default().to_owned()
}

fn named(variable: &str) -> Vec<String> {
    let named = std::env::var(variable).expect(variable);
    named.split(' ').map(str::to_owned).collect()
}

const KEYS: [&str; 4] = ["--s3-access-key", "testkey", "--s3-secret-key", "testsecret"];

#[test]
fn a_store_that_is_not_there_is_told() {
    let line = fault(&probe("127.0.0.1:1/uploads", &KEYS, &[]));
    assert!(line.contains("s3_bucket \"uploads\": cannot reach the store"), "{line}");
    assert!(line.contains("refused"), "{line}");
    let database = ["--journal", "postgres", "--postgres-url", "postgres://u:hidden@127.0.0.1:1/d"];
    // Both are tried, and both are told.
    let output = probe("127.0.0.1:1/uploads", &[&KEYS[..], &database].concat(), &[]);
    let line = fault(&output);
    assert!(line.contains("postgres_url: cannot connect") && !line.contains("hidden"), "{line}");
    let all = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(all.contains("s3_bucket \"uploads\": cannot reach the store"), "{all}");
}

/// A store that refuses everything to these credentials.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), Vec::new());
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|it| it.lines().next());
            let mut body = vec![0; length.map_or(0, |it| it.parse().unwrap())];
            stream.read_exact(&mut body).unwrap();
            let said = "<Error><Code>AccessDenied</Code></Error>";
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{said}",
                said.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn all_rights_that_are_missing_are_told() {
    let output = probe(&format!("{}/uploads", refusing()), &KEYS, &[]);
    fault(&output);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let rights = told.lines().filter_map(|line| line.split_once(" (s3:")?.1.split(')').next());
    let rights: Vec<_> = rights.collect();
    let expected =
        ["PutObject", "ListBucket", "PutObject", "ListBucketMultipartUploads", "DeleteObject"];
    assert_eq!(rights, expected, "{told}");
    // So does the start.
    let home = tempfile::tempdir().unwrap();
    let endpoint = format!("http://{}", refusing());
    let (storage, any) = (home.path().to_str().unwrap(), "127.0.0.1:0");
    let flags = ["serve", "--store", "s3", "--s3-endpoint", &endpoint, "--s3-bucket", "uploads"];
    let places = ["--storage-dir", storage, "--listen", any, "--backend-listen", any];
    let output = run(home.path(), &[&flags[..], &places, &KEYS].concat(), &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = told.lines().find(|line| line.contains("s3_bucket")).unwrap_or_default();
    assert!(expected.iter().all(|right| line.contains(&format!("(s3:{right})"))), "{told}");
}

#[test]
fn a_database_that_cannot_be_used_ends_the_start_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    let flags = ["serve", "--store", "s3", "--s3-bucket", "uploads"];
    let shared = ["--journal", "postgres", "--postgres-url", "postgres://u:hidden@h:port/d"];
    let flags = [&flags[..], &shared].concat();
    let output = run(home.path(), &flags, &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("journal: postgres_url: invalid database URL"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
    // Nothing is kept here.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
#[ignore = "needs what INCOMING_TEST_S3 and INCOMING_TEST_POSTGRES name"]
fn real_servers_are_tried() {
    let url = named("INCOMING_TEST_POSTGRES").pop().unwrap();
    let database = ["--journal", "postgres", "--postgres-url", url.as_str()];
    let environment = [("AWS_ACCESS_KEY_ID", "testkey"), ("AWS_SECRET_ACCESS_KEY", "testsecret")];
    for store in named("INCOMING_TEST_S3") {
        for (keys, variables) in [(&KEYS[..], &[][..]), (&[], &environment)] {
            let output = probe(&store, &[keys, &database].concat(), variables);
            let lines = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{store}: {lines}");
            assert!(lines.contains("all that is needed may be done there"), "{lines}");
            assert!(lines.contains("database: PostgreSQL"), "{lines}");
            assert!(!String::from_utf8_lossy(&output.stdout).contains("testsecret"));
        }
        let check = |flags: &[&str], says: &str| {
            let line = fault(&probe(&store, flags, &[]));
            assert!(line.contains(says), "{store}: {line}");
        };
        let (name, key) = ("--s3-access-key", "--s3-secret-key");
        check(&[name, "testkey", key, "other"], "SignatureDoesNotMatch");
        check(&[name, "other", key, "testsecret"], "InvalidAccessKeyId");
        check(&[], "no credentials");
        check(&[&KEYS[..], &["--s3-bucket", "no-such-bucket"]].concat(), "s3_bucket");
        let wrong = url.replacen(":secret@", ":hidden@", 1);
        let wrong = ["--journal", "postgres", "--postgres-url", &wrong];
        check(&[&KEYS[..], &wrong].concat(), "postgres_url: cannot connect to the database");
    }
}
