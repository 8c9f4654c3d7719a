//! The types that only settings have: secrets, and words with a meaning.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use ipnet::IpNet;
use subtle::ConstantTimeEq;

use crate::core::event::Durability;
use crate::core::signing::SigningSecrets;

/// A secret such as `backend_token`. `Debug` redacts it, `Display` and `Serialize` are absent on
/// purpose, and `==` takes the same time wherever two secrets of one length differ.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it or compares it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether both are the same, in a time that does not tell how much of them is.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(redacted)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other)
    }
}

impl Eq for Secret {}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

/// What proves to the web app that this server calls `create_url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateSecret {
    /// Sent along.
    Sent(Secret),
    /// Signs the call, and is not sent.
    Signing(SigningSecrets),
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    /// Data and record are synced: a power cut takes nothing back.
    Durable,
    /// Data and record are with the kernel: a crash of the process takes nothing back.
    Written,
}

impl From<Ack> for Durability {
    fn from(ack: Ack) -> Self {
        match ack {
            Ack::Durable => Self::Durable,
            Ack::Written => Self::Written,
        }
    }
}

/// Where finished files lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// In the storage directory.
    File,
    /// In a bucket of object storage.
    S3,
}

/// Where the logs of uploads lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JournalKind {
    /// In the storage directory, for one server.
    File,
    /// In a database, for any number of servers.
    Postgres,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// One place that handovers may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackRule {
    /// Exactly this host name, in lower case and without a final dot.
    Host(String),
    /// The addresses of this network, compared with the address of the connection.
    Net(IpNet),
}

impl fmt::Display for CallbackRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => out.write_str(host),
            Self::Net(network) => network.fmt(out),
        }
    }
}

/// One thing that another user of this machine can do, and what ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedPath {
    /// The key that names the path; `config` for the settings file.
    pub setting: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What is so, and what comes of it.
    pub problem: String,
    /// The command that fixes it.
    pub fix: String,
}

impl fmt::Display for ExposedPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, path, problem, fix } = self;
        write!(out, "{setting} = {:?}: {problem}: {fix}", path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_show_itself() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(secret, Secret::new("hunter2"));
        assert_ne!(secret, Secret::new("hunter3"));
    }
}
