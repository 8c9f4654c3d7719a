//! A web app's backend that records every call and answers by script; `done` where the script is
//! at its end.

use crate::content::sha256;
use crate::until;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One call as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it was read.
    pub at: Instant,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
    /// The form, in the order it came.
    pub fields: Vec<(String, String)>,
    /// SHA-256 of the file at `filename` when the call arrived.
    pub sha256: Option<String>,
}

impl Call {
    /// The value of a field that must come exactly once.
    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        let values: Vec<_> = self.fields.iter().filter(|(field, _)| field == name).collect();
        assert_eq!(values.len(), 1, "field {name} in {:?}", self.fields);
        &values[0].1
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub enum Script {
    /// This status and body.
    Answer(u16, &'static str),
    /// A redirect to this place.
    Redirect(String),
    /// These bytes, then the end.
    Raw(&'static [u8]),
    /// Nothing, and the connection stays.
    Silence,
}

#[derive(Default)]
struct Book {
    calls: Vec<Call>,
    script: HashMap<String, VecDeque<Script>>,
    everyone: VecDeque<Script>,
}

/// The backend. Ends when dropped.
pub struct Backend {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    serving: JoinHandle<()>,
}

impl Backend {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Mutex::new(Book::default()));
        let shared = Arc::clone(&book);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, book, serving }
    }

    /// A loopback address on which nobody listens now.
    pub async fn nobody() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}/finished?app=1", self.address)
    }

    pub fn url_of(address: SocketAddr) -> String {
        format!("http://{address}/finished?app=1")
    }

    /// The next answers to whoever calls.
    pub fn answer(&self, script: impl IntoIterator<Item = Script>) {
        self.book.lock().unwrap().everyone.extend(script);
    }

    /// The next answers to calls about one upload; they go before those for everyone.
    pub fn answer_for(&self, id: &str, script: impl IntoIterator<Item = Script>) {
        self.book.lock().unwrap().script.entry(id.to_owned()).or_default().extend(script);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.book.lock().unwrap().calls.clone()
    }

    /// Calls about one upload, once there are at least `count`.
    pub async fn calls_for(&self, id: &str, count: usize) -> Vec<Call> {
        until(&format!("{count} calls about {id}"), async || {
            let mut calls = self.calls();
            calls.retain(|call| call.header("idempotency-key") == Some(id));
            (calls.len() >= count).then_some(calls)
        })
        .await
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, book: Arc<Mutex<Book>>) {
    let Some(call) = read_call(&mut stream).await else { return };
    let script = {
        let mut book = book.lock().unwrap();
        let id = call.header("idempotency-key").map(str::to_owned);
        book.calls.push(call);
        let own = id.and_then(|id| book.script.get_mut(&id)?.pop_front());
        own.or_else(|| book.everyone.pop_front()).unwrap_or(Script::Answer(200, "done"))
    };
    let answer = match script {
        Script::Answer(status, body) => {
            let length = body.len();
            format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        }
        Script::Redirect(to) => {
            format!("HTTP/1.1 302 X\r\nLocation: {to}\r\nContent-Length: 4\r\n\r\ndone")
                .into_bytes()
        }
        Script::Raw(bytes) => bytes.to_vec(),
        Script::Silence => {
            // Until the caller gives up.
            let _ = stream.read(&mut [0; 1]).await;
            return;
        }
    };
    // A caller that has gone is the test's own doing.
    let _ = stream.write_all(&answer).await;
}

async fn read_call(stream: &mut TcpStream) -> Option<Call> {
    let mut read = Vec::new();
    let head_end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while read.len() < head_end + 4 + length {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    let form = &read[head_end + 4..];
    let fields: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
    let filename = fields.iter().find(|(name, _)| name == "filename").map(|(_, path)| path);
    let sha256 = filename.and_then(|path| std::fs::read(path).ok()).map(|bytes| sha256(&bytes));
    let body = form.to_vec();
    Some(Call { at: Instant::now(), method, target, headers, body, fields, sha256 })
}
