//! Calls to a backend that keeps connections open, as well as it can.

use crate::handover::client::{Answer, CallError, Client, Options};
use hyper::header::HeaderMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{advance, pause};

const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
/// The connection ends behind the answer.
const END: char = '#';
const FAR: Duration = Duration::from_secs(20);

/// What a backend saw: on which connection, counted from 1.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(usize),
    End(usize),
}

/// A backend that gives each request of each connection the answer at that place; where there is none it ends the
/// connection instead.
async fn backend(answers: &'static [&'static [&'static str]]) -> (u16, UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, seen) = unbounded_channel();
    tokio::spawn(async move {
        for (at, answers) in answers.iter().enumerate() {
            let (io, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(io, at + 1, answers, tell.clone()));
        }
    });
    (port, seen)
}

async fn serve(
    mut io: TcpStream,
    number: usize,
    answers: &'static [&'static str],
    tell: UnboundedSender<Seen>,
) {
    let mut answers = answers.iter();
    let mut heard = Vec::new();
    loop {
        if io.read_buf(&mut heard).await.unwrap_or(0) == 0 {
            return drop(tell.send(Seen::End(number)));
        }
        if heard.ends_with(b"id=7") {
            heard.clear();
            drop(tell.send(Seen::Request(number)));
            match answers.next() {
                Some(answer) => {
                    let last = answer.strip_suffix(END);
                    io.write_all(last.unwrap_or(answer).as_bytes()).await.unwrap();
                    if last.is_some() {
                        return;
                    }
                }
                None => return,
            }
        }
    }
}

fn client() -> Client {
    Client::new(Options { timeout: FAR, allow: Vec::new() })
}

async fn call(client: &Client, url: String) -> Result<Answer, CallError> {
    let form = "id=7".to_owned();
    client.post_idempotent(&url.into(), form, "7", HeaderMap::new(), Arc::new(())).await
}

async fn done(client: &Client, port: u16) {
    let answer = call(client, format!("http://127.0.0.1:{port}/")).await.unwrap();
    assert_eq!(answer.word.unwrap(), "done");
}

#[tokio::test]
async fn issue_19_calls_to_one_peer_share_a_connection() {
    let (port, mut seen) = backend(&[&[DONE, DONE, DONE], &[DONE], &[DONE]]).await;
    let one = client();
    done(&one, port).await;
    done(&one, port).await;
    call(&one, format!("http://LOCALHOST:{port}/")).await.unwrap();
    call(&one, format!("http://user:pass@127.0.0.1:{port}/other")).await.unwrap();
    done(&client(), port).await;
    for expected in [1, 1, 2, 1, 3] {
        assert_eq!(seen.recv().await, Some(Seen::Request(expected)));
    }
}

#[tokio::test]
async fn a_connection_that_waits_or_is_used_for_long_is_closed() {
    let (port, mut seen) = backend(&[&[DONE; 40], &[DONE]]).await;
    let client = client();
    done(&client, port).await;
    assert_eq!(seen.recv().await, Some(Seen::Request(1)));
    pause();
    for _ in 0..12 {
        advance(Duration::from_millis(800)).await;
        done(&client, port).await;
        assert_eq!(seen.recv().await, Some(Seen::Request(1)));
    }
    advance(Duration::from_millis(800)).await;
    assert_eq!(seen.recv().await, Some(Seen::End(1)), "after ten seconds, though it was in use");
    done(&client, port).await;
    assert_eq!(seen.recv().await, Some(Seen::Request(2)));
    advance(Duration::from_millis(1001)).await;
    assert_eq!(seen.recv().await, Some(Seen::End(2)), "after a second without a call");
    assert!(client.kept.lock().closing.is_none());
}

#[tokio::test]
async fn a_connection_that_ends_is_no_failed_call() {
    // Its peer ends the first one when the second request comes, the second one with its answer.
    const LAST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ndone";
    let (port, mut seen) = backend(&[&[DONE], &[LAST], &[DONE]]).await;
    let client = client();
    for _ in 0..3 {
        done(&client, port).await;
    }
    let mut requests = Vec::new();
    while requests.len() < 4 {
        if let Some(Seen::Request(number)) = seen.recv().await {
            requests.push(number);
        }
    }
    assert_eq!(requests, [1, 1, 2, 3]);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failed_call() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ndone#";
    let nonsense = "done#";
    for wrong in [short, nonsense] {
        let answers: &[&str] = Box::leak(Box::new([DONE, wrong]));
        let (port, mut seen) = backend(Box::leak(Box::new([answers]))).await;
        let client = client();
        done(&client, port).await;
        let failed = call(&client, format!("http://127.0.0.1:{port}/")).await;
        assert!(matches!(failed, Err(CallError::Http(..))), "{failed:?}");
        assert_eq!(seen.recv().await, Some(Seen::Request(1)));
        assert_eq!(seen.recv().await, Some(Seen::Request(1)));
    }
}

/// Bytes behind an answer would be taken for the answer of the next call.
#[tokio::test]
async fn a_peer_that_says_more_than_it_was_asked_is_not_believed() {
    let twice = "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noopsHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
    let more = "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops\n";
    let unread = "HTTP/1.1 500 Oops\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\noops";
    for first in [twice, more, unread] {
        let answers: &[&str] = Box::leak(Box::new([first, first]));
        let second: &[&str] = &[DONE];
        let (port, mut seen) = backend(Box::leak(Box::new([answers, second]))).await;
        let client = client();
        let answer = call(&client, format!("http://127.0.0.1:{port}/")).await.unwrap();
        assert_eq!(answer.status, 500);
        done(&client, port).await;
        assert_eq!(seen.recv().await, Some(Seen::Request(1)));
        let ended = seen.recv().await == Some(Seen::End(1));
        assert!(!ended || seen.recv().await == Some(Seen::Request(2)), "{first}");
    }
}
