//! The names of the upload protocols, and who speaks one: what is counted and kept of an upload says by which of them it
//! came.

/// An upload protocol over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// This server's own (docs/protocol.md).
    #[default]
    Native,
    /// tus 1.0.
    Tus,
    /// The IETF's resumable uploads.
    Resumable,
}

impl Dialect {
    /// All of them, each at its place as a number.
    pub const ALL: [Self; 3] = [Self::Native, Self::Tus, Self::Resumable];

    /// The word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tus => "tus",
            Self::Resumable => "resumable",
        }
    }
}

/// The program that sends an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// What it speaks.
    pub dialect: Dialect,
    /// What it says that it is, made harmless and cut short; for people alone.
    pub agent: Option<String>,
}
