//! Protects `incoming upload` against what lies between it and a server: refusals that a retry or a
//! smaller chunk cures, and the usual mistakes, told in words that help.

use crate::backend::Backend;
use crate::child::{command, ended};
use crate::client::{Ask, Place};
use crate::content::{content, sha256};
use crate::in_time;
use crate::server::Running;
use crate::tls::{Authority, certify, files};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// An upload server of a few lines that refuses by script.
struct Stub {
    address: SocketAddr,
    state: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    got: usize,
    /// Larger bodies are refused, as by a proxy.
    most: usize,
    /// Answers to the next chunks.
    refusals: Vec<(u16, Option<&'static str>)>,
    /// Chunks that carried the digest of their bytes.
    digests: usize,
    /// The answer to the first chunk is lost, and so many bytes of it are other ones.
    lost_answer: Option<usize>,
    /// Sizes of the chunks that came, and when.
    chunks: Vec<(usize, std::time::Instant)>,
    verified: usize,
    /// The first bytes cannot be compared.
    incomparable: usize,
    /// How many chunks had come, at each comparison, and what was compared.
    compared: Vec<(usize, Value)>,
}

#[derive(Clone, Copy)]
enum Speaks {
    Http1,
    /// Without TLS and without asking.
    Http2,
}

impl Stub {
    async fn start(speaks: Speaks, most: usize, refusals: &[(u16, Option<&'static str>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = Held { most, refusals: refusals.to_vec(), ..Held::default() };
        let state = Arc::new(Mutex::new(held));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                let io = TokioIo::new(stream);
                tokio::spawn(async move {
                    // A client that breaks off is the test's own doing.
                    match speaks {
                        Speaks::Http1 => {
                            let http1 = hyper::server::conn::http1::Builder::new();
                            let _ = http1.serve_connection(io, service).await;
                        }
                        Speaks::Http2 => {
                            let http2 =
                                hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            let _ = http2.serve_connection(io, service).await;
                        }
                    }
                });
            }
        });
        Self { address, state }
    }
}

async fn answer(
    state: Arc<Mutex<Held>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut held = state.lock().unwrap();
    if head.method == Method::PUT {
        held.chunks.push((body.len(), std::time::Instant::now()));
        let refusal = if body.len() > held.most { Some((413, None)) } else { held.refusals.pop() };
        if let Some((status, after)) = refusal {
            let mut response = Response::builder().status(status);
            if let Some(after) = after {
                response = response.header("retry-after", after);
            }
            return Ok(response.body("<html><title>No</title>".into()).unwrap());
        }
        let digest = BASE64_STANDARD.encode(sha2::Sha256::digest(&body));
        let carried = head.headers.get("content-digest");
        held.digests +=
            usize::from(carried.is_some_and(|it| *it == *format!("sha-256=:{digest}:")));
        let range = head.headers["content-range"].to_str().unwrap();
        let start: usize = range[6..].split('-').next().unwrap().parse().unwrap();
        held.bytes[start..start + body.len()].copy_from_slice(&body);
        held.got += body.len();
        if let Some(wrong) = held.lost_answer.take() {
            held.bytes[start..start + wrong].iter_mut().for_each(|byte| *byte ^= 1);
            return Err(io::Error::other("the line breaks"));
        }
    } else if head.method == Method::POST
        && !head.uri.path().ends_with("/verify")
        && held.bytes.is_empty()
    {
        let told: Value = serde_json::from_slice(&body).unwrap();
        held.bytes = vec![0; usize::try_from(told["length"].as_u64().unwrap()).unwrap()];
    }
    let all = held.got == held.bytes.len();
    let received = if held.got == 0 { json!([]) } else { json!([[0, held.got]]) };
    let mut status = json!({
        "state": if all { "finished" } else { "uploading" }, "received": received,
        "chunk_size": 400_000, "max_chunk_size": null, "send_ahead": 1, "reason": null,
        "digest": if head.uri.path() == "/digest" { json!("sha-256") } else { json!(null) },
    });
    if head.uri.path().ends_with("/verify") {
        held.verified += 1;
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let ranges = asked["ranges"].as_array().unwrap();
        let incomparable = held.incomparable as u64;
        let same = |piece: &Value| {
            let [start, end] = [0, 1].map(|side| piece["range"][side].as_u64().unwrap());
            let held = &held.bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
            let same = piece["sha-256"] == BASE64_STANDARD.encode(sha2::Sha256::digest(held));
            if start < incomparable { json!(null) } else { json!(same) }
        };
        status["verified"] = ranges.iter().map(same).collect();
        let chunks = held.chunks.len();
        held.compared.push((chunks, ranges.iter().map(|piece| piece["range"].clone()).collect()));
    }
    Ok(Response::new(status.to_string().into()))
}

/// Uploads 700,001 bytes and tells what they are.
async fn upload(url: &str, flags: &str) -> (Output, Vec<u8>) {
    let content = content(41, 700_001);
    (upload_of(&content, url, flags).await, content)
}

async fn upload_of(content: &[u8], url: &str, flags: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("film.mp4"), content).unwrap();
    let mut go = command(home.path());
    go.args(["upload", "film.mp4", "--url", url]).args(flags.split_whitespace());
    go.stdout(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || ended(go)).await.unwrap();
    drop(home);
    output
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn chunks_become_smaller_where_they_are_refused() {
    for (speaks, flags) in [(Speaks::Http1, ""), (Speaks::Http2, "--http2")] {
        let stub = Stub::start(speaks, 100_000, &[]).await;
        let (output, content) = upload(&format!("http://{}/u?x=1", stub.address), flags).await;
        assert!(output.status.success(), "{flags}: {}", error(&output));
        let held = stub.state.lock().unwrap();
        assert!(held.bytes == content, "{flags}: other bytes");
        let sizes: Vec<usize> = held.chunks.iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes[..4], [400_000, 200_000, 100_000, 100_000], "{flags}: {sizes:?}");
        assert!(held.verified > 0, "compared once more before the last chunk");
    }
}

/// A chunk whose answer is lost may be there, and it may be another client's bytes that are: it counts
/// as sent once it is compared, and goes out again only where the server lacks it.
#[tokio::test]
async fn what_was_not_acknowledged_is_compared_before_it_counts() {
    let once = json!([0, 65_536]);
    for (wrong, code) in [(0, 0), (100_000, 1)] {
        let stub = Stub::start(Speaks::Http1, usize::MAX, &[]).await;
        stub.state.lock().unwrap().lost_answer = Some(wrong);
        let flags = "--chunk-size 100000 --parallel 1";
        let (output, content) = upload(&format!("http://{}/u", stub.address), flags).await;
        assert_eq!(output.status.code(), Some(code), "{}", error(&output));
        let held = stub.state.lock().unwrap();
        let (chunks, pieces) = &held.compared[0];
        assert_eq!((*chunks, &pieces[0]), (1, &once), "compared before anything else is sent");
        let sizes: Vec<usize> = held.chunks.iter().map(|(size, _)| *size).collect();
        if wrong > 0 {
            assert_eq!(sizes, [100_000], "nothing more is sent");
            assert!(error(&output).contains("the server has other bytes"), "{}", error(&output));
        } else {
            assert_eq!(sizes, [[100_000; 7].as_slice(), &[1]].concat(), "only what it lacks");
            assert!(held.bytes == content, "other bytes");
        }
    }
}

#[tokio::test]
async fn chunks_carry_digests_where_the_web_app_asked_for_one() {
    for (path, expected) in [("digest", 2), ("u", 0)] {
        let stub = Stub::start(Speaks::Http1, usize::MAX, &[]).await;
        let (output, content) = upload(&format!("http://{}/{path}", stub.address), "").await;
        assert!(output.status.success(), "{}", error(&output));
        let held = stub.state.lock().unwrap();
        assert!(held.bytes == content, "other bytes");
        assert_eq!((held.chunks.len(), held.digests), (2, expected), "{path}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_time_gets_it() {
    let refusals = [(503, Some("1")), (429, Some("1")), (507, None)];
    let stub = Stub::start(Speaks::Http1, usize::MAX, &refusals).await;
    let (output, content) = upload(&format!("http://{}/u", stub.address), "--json").await;
    assert!(output.status.success(), "{}", error(&output));
    let held = stub.state.lock().unwrap();
    assert!(held.bytes == content, "other bytes");
    let pauses: Vec<_> = held.chunks.windows(2).map(|two| two[1].1 - two[0].1).collect();
    // 507 came first, then the two that named a time.
    assert!(pauses[1..3].iter().all(|pause| pause.as_secs_f64() > 0.99), "{pauses:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("\"waiting\"")).count(), 3, "{text}");
}

#[tokio::test]
async fn is_given_up_where_that_is_asked_for_or_nothing_helps() {
    let stub = Stub::start(Speaks::Http1, usize::MAX, &[(502, None); 9]).await;
    let url = format!("http://{}/u", stub.address);
    let (output, _) = upload(&url, "--retry-for 0s").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).ends_with("film.mp4: 502 Bad Gateway: No\n"), "{}", error(&output));
    let stub = Stub::start(Speaks::Http1, 0, &[]).await;
    let (output, _) = upload(&format!("http://{}/u", stub.address), "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("413 Payload Too Large"), "{}", error(&output));
}

/// The port of the public listener is a guess where `--public` does not name it.
#[tokio::test]
async fn no_ticket_is_taken_where_nobody_answers_in_public() {
    let (server, home) = (Running::start().await, tempfile::tempdir().unwrap());
    let Place::Tcp(backend) = &server.backend else { panic!("not on TCP") };
    std::fs::write(home.path().join("film.mp4"), "film").unwrap();
    let go = async |flags: &str| {
        let mut go = command(home.path());
        go.env("INCOMING_LISTEN", "0.0.0.0:1").args(["upload", "film.mp4", "--backend"]);
        go.args([&format!("http://{backend}"), "--signal-finish-url", "http://127.0.0.1:1/"]);
        go.args(flags.split_whitespace());
        let output = tokio::task::spawn_blocking(move || ended(go)).await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        error(&output)
    };
    let list = Ask::new("GET", "/incoming/backend/uploads");
    let tickets = async || server.back(&list).await.json()["uploads"].as_array().unwrap().len();
    let guessed = format!("http://{}:1", backend.ip());
    let said = go("").await;
    assert!(said.starts_with(&format!("film.mp4: uploading to {guessed} (")), "{said}");
    let end = "guessed; name the public listener with --public); no ticket was requested\n";
    assert!(said.ends_with(&format!("({guessed} is {end}")), "{said}");
    let said = go("--public http://127.0.0.1:1").await;
    assert!(said.contains("as --public says") && !said.contains("uploading to"), "{said}");
    assert_eq!(tickets().await, 0);
    // Something answers there, and it is another listener.
    let said = go(&format!("--public http://{backend}")).await;
    assert!(said.contains("Name it with --public; the ticket expires unused"), "{said}");
    assert_eq!(tickets().await, 1);
}

/// More often than a wrong address is tried.
#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let home = Arc::new(tempfile::tempdir().unwrap());
    let content = content(43, 100_001);
    std::fs::write(home.path().join("film.mp4"), &content).unwrap();
    let backend = Backend::start().await;
    let at = |name: &str| format!("unix:{}", home.path().join(name).display());
    let mut go = command(home.path());
    go.args(["upload", "film.mp4", "--json", "--backend", &at("b"), "--public", &at("p")]);
    // Should the test fail, it ends by itself.
    go.args(["--signal-finish-url", &backend.url(), "--retry-for", "1m"]).stdout(Stdio::piped());
    let mut child = go.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = tokio::task::spawn_blocking(move || {
        let waiting = lines.by_ref().map_while(Result::ok).filter(|it| it.contains("\"waiting\""));
        (waiting.take(4).count(), lines)
    });
    let (waited, rest) = in_time("four pauses", told).await.unwrap();
    assert_eq!(waited, 4);
    let (public, own) = (at("p").parse().unwrap(), at("b").parse().unwrap());
    let mut settings = crate::server::settings(home.path());
    (settings.listen, settings.backend_listen) = (public, own);
    let _server = Running::start_in(Arc::clone(&home), settings).await;
    let last = tokio::task::spawn_blocking(move || rest.map_while(Result::ok).last());
    let last = in_time("the end", last).await.unwrap().unwrap();
    assert!(last.contains("\"finished\":1"), "{last}");
    assert!(child.wait().unwrap().success());
    assert_eq!(backend.calls()[0].sha256.as_deref(), Some(&*sha256(&content)));
}

#[tokio::test]
async fn the_usual_mistakes_are_told_in_words_that_help() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.issue(folder.path(), "server");
    let tls = files(folder.path());
    let secure = Running::start_with(|settings| certify(settings, tls)).await;
    let plain = Running::start().await;
    let (Place::Tcp(secure), Place::Tcp(public), Place::Tcp(backend)) =
        (&secure.public, &plain.public, &plain.backend)
    else {
        panic!("not on TCP")
    };
    let upload_path = "incoming/frontend/uploads/0a0b0c0d-0102-4304-8506-0708090a0b0c";
    for (url, flags, code, word) in [
        (format!("http://{secure}/u"), "", 1, "speaks TLS; did you mean https://?"),
        (format!("https://{public}/u"), "--insecure", 1, "did you mean http://?"),
        (format!("http://{public}/{upload_path}"), "--http2", 1, "leave out --http2"),
        (format!("http://{public}/{upload_path}"), "", 1, "404 Not Found"),
        (format!("http://{backend}/{upload_path}"), "", 1, "not the public listener"),
        (format!("{public}/u"), "", 2, "must begin with http:// or https://"),
        (
            "http://127.0.0.1:1/u".into(),
            "--retry-for 0s",
            1,
            "cannot connect to http://127.0.0.1:1: ",
        ),
    ] {
        let (output, _) = upload(&url, flags).await;
        let said = error(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(code), 1), "{url}: {said}");
        assert!(said.contains(word), "{url} {flags}: {said}");
    }
}

/// A server that cannot compare some bytes yet holds others that are of another file, farther on than one request compares.
#[tokio::test]
async fn what_can_be_compared_is_though_other_bytes_cannot() {
    let file = content(43, 20 << 20);
    for wrong in [false, true] {
        let stub = Stub::start(Speaks::Http1, usize::MAX, &[]).await;
        {
            let mut held = stub.state.lock().unwrap();
            held.bytes.clone_from(&file);
            (held.got, held.incomparable) = (file.len() - 100, 1 << 20);
            let middle = file.len() - (3 << 20);
            held.bytes[middle] ^= u8::from(wrong);
        }
        let output = upload_of(&file, &format!("http://{}/u", stub.address), "").await;
        assert_eq!(output.status.success(), !wrong, "{}", error(&output));
        assert_eq!(stub.state.lock().unwrap().chunks.is_empty(), wrong);
    }
}
