//! A small HTTP/1.1 client that sends exactly the bytes it is given and reads whole answers. It
//! runs over TCP, unix sockets and TLS alike.

use crate::in_time;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// One request. `Host` and `Content-Length` are added where they are not given.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, headers: Vec::new(), body: Vec::new() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name))
    }

    /// The head as it goes over the wire.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.has("host") {
            head += "Host: localhost\r\n";
        }
        let bodied = !self.body.is_empty() || matches!(&*self.method, "POST" | "PUT");
        if bodied && !self.has("content-length") && !self.has("transfer-encoding") {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        (head + "\r\n").into_bytes()
    }
}

/// One whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Interim answers that came before it.
    pub interim: Vec<u16>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a header, joined as HTTP allows.
    pub fn joined(&self, name: &str) -> String {
        let found = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in answer {} {}", self.status, self.text()))
    }

    /// The same answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Expects a problem of the contract's table, and its text.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str, number: u64) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["error_code"], number, "{body}");
        assert_eq!(body["type"], format!("/incoming/problems/{code}"), "{body}");
        assert!(body["title"].is_string(), "{body}");
        body["detail"].as_str().unwrap().to_owned()
    }
}

/// What a connection runs over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One connection.
pub struct Conn {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl Conn {
    pub async fn open(place: &Place) -> Self {
        Self::try_open(place).await.unwrap()
    }

    pub async fn try_open(place: &Place) -> io::Result<Self> {
        Ok(match place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Self::over(stream)
            }
            Place::Unix(path) => Self::over(UnixStream::connect(path).await?),
        })
    }

    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), read: Vec::new() }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// One chunk of `Transfer-Encoding: chunked`; an empty one is the last.
    pub async fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(&chunk).await
    }

    /// One request and its answer.
    pub async fn ask(&mut self, ask: &Ask) -> io::Result<Reply> {
        self.send(&ask.head()).await?;
        // The answer may come, and the connection end, before the whole body is sent.
        let sent = self.send(&ask.body).await;
        match self.reply(&ask.method).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }

    /// The next final answer; `method` is that of the request.
    pub async fn reply(&mut self, method: &str) -> io::Result<Reply> {
        in_time("an answer", self.read_reply(method)).await
    }

    async fn read_reply(&mut self, method: &str) -> io::Result<Reply> {
        let mut interim = Vec::new();
        loop {
            let (status, headers) = self.read_head().await?;
            if (100..200).contains(&status) {
                interim.push(status);
                continue;
            }
            let length =
                headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
            let none = method == "HEAD" || matches!(status, 204 | 304);
            let body = if none { Vec::new() } else { self.read_exactly(length).await? };
            return Ok(Reply { status, headers, body, interim });
        }
    }

    /// The next head, also an interim one.
    pub async fn read_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if self.read_more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
        self.read.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap();
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        });
        Ok((status, headers.collect()))
    }

    async fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            if self.read_more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.read.drain(..length).collect())
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.read).await
    }

    /// Whether the server ends the connection, with nothing more to say, before the deadline.
    pub async fn ends(&mut self) -> bool {
        let ended = in_time("the end of a connection", self.read_more()).await;
        self.read.is_empty() && matches!(ended, Ok(0))
    }
}

/// One request on a connection of its own.
pub async fn ask(place: &Place, ask: &Ask) -> Reply {
    let reply = async { Conn::open(place).await.ask(ask).await };
    in_time("a request", reply).await.unwrap()
}
