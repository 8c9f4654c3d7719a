//! What can happen to an upload: the facts that its journal keeps, in the order they came true.

use super::callback::CallbackUrl;
use super::dialect::Client;
use super::extent::Extent;
use super::id::TicketId;
use super::signing::SigningSecrets;
use super::time::Stamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the backend asked for when it took the ticket. Never changes.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The upload's name everywhere.
    pub id: TicketId,
    /// When the ticket was given out.
    pub created: Stamp,
    /// Where the finished file is handed over.
    pub finish_url: CallbackUrl,
    /// Echoed to the backend, demanded from it; may be empty.
    pub secret: String,
    /// What calls to the backend are signed with; mostly none.
    pub signing: SigningSecrets,
    /// How its calls to the backend are written.
    pub format: CallFormat,
    /// What becomes of the file after the handover.
    pub removal: Removal,
    /// Largest file this ticket takes, in bytes.
    pub max_bytes: Option<u64>,
    /// The file's length, if the backend knew it.
    pub length: Option<u64>,
    /// Whether the backend wants the file's digest.
    pub digest: DigestRequest,
    /// Opaque text for the backend.
    pub metadata: String,
    /// How long this ticket may lie idle, where it differs from the server's setting.
    pub idle_timeout: Option<Duration>,
    /// What the backend said of the file.
    pub file: TicketFile,
}

impl Ticket {
    /// A ticket for any file, which is removed when the backend has it; without a secret and text for the backend.
    pub fn new(id: TicketId, created: Stamp, finish_url: CallbackUrl) -> Self {
        Self {
            id,
            created,
            finish_url,
            secret: String::new(),
            signing: SigningSecrets::default(),
            format: CallFormat::Form,
            removal: Removal::RemoveWhenFinished,
            max_bytes: None,
            length: None,
            digest: DigestRequest::None,
            metadata: String::new(),
            idle_timeout: None,
            file: TicketFile::default(),
        }
    }
}

/// What a backend says of the file of a ticket; it holds over what the browser says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketFile {
    /// The file's name, already harmless.
    pub name: Option<String>,
    /// Its media type.
    pub media_type: Option<String>,
    /// The header `Upload-Metadata` of a creation that the backend answered itself.
    pub client_metadata: Option<String>,
}

/// Without the secret.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("id", &self.id)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

/// How the body of a call to the backend is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFormat {
    /// `application/x-www-form-urlencoded`, as in 2014.
    Form,
    /// `application/json`, as Standard Webhooks has it.
    Json,
}

/// What becomes of the published file once the backend has taken it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The server removes it.
    RemoveWhenFinished,
    /// It stays, or the backend has moved it away.
    Keep,
}

/// Which digest of the whole file the backend wants at handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestRequest {
    /// None.
    None,
    /// SHA-256.
    Sha256,
}

/// How far a stored range is safe at the moment its record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In the page cache: survives the process, not the machine.
    Written,
    /// Data synced before the record was written.
    Durable,
}

/// Whether the backend is to be called about a cancelled upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The backend cancelled it itself.
    NotDue,
    /// The backend is to be notified.
    Due,
}

/// How a call to the backend ended, as far as the journal cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// `wait`: the backend will call `finish_upload`.
    Wait,
    /// Anything that is not an answer; the text says what, for people.
    Retry(String),
}

/// One fact about an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A ticket was issued. Always the first event, and only there.
    Created(Box<Ticket>),
    /// What the browser said of the file; fields it did not give stay as they were.
    Bound {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// The file's length in bytes.
        length: Option<u64>,
        /// The file's name, already harmless.
        name: Option<String>,
        /// The media type the browser gave.
        media_type: Option<String>,
        /// The file's modification time, in milliseconds since the epoch.
        last_modified: Option<u64>,
        /// The header `Upload-Metadata` as it came.
        client_metadata: Option<String>,
    },
    /// Who said or stored something first.
    SentBy(Arc<Client>),
    /// Bytes are stored and acknowledged.
    Stored {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// Range of the stored bytes, acknowledged as a whole.
        extent: Extent,
        /// How safe they were when this was recorded.
        durability: Durability,
    },
    /// The whole file is synced, renamed into the directory of published files, and that directory synced.
    Published {
        /// Uptime and date at which it was recorded.
        at: Stamp,
    },
    /// The whole file's SHA-256.
    Digested {
        /// SHA-256 over the whole file.
        sha256: [u8; 32],
    },
    /// A call to the backend is about to be made (recorded before the first byte leaves).
    CallBegun {
        /// Uptime and date at which it was recorded.
        at: Stamp,
    },
    /// The call came back, or did not.
    CallEnded {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// Answer of the backend, or why there is none.
        outcome: CallOutcome,
    },
    /// The backend has taken the file.
    Finished {
        /// Uptime and date at which it was recorded.
        at: Stamp,
    },
    /// The handover was given up; the file stays.
    Failed {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// The reason, as text for people.
        reason: String,
    },
    /// A failed handover is to be tried again.
    RetryAsked {
        /// Uptime and date at which it was recorded.
        at: Stamp,
    },
    /// Cancelled before the file was complete.
    Cancelled {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// The reason, as text for people.
        reason: String,
        /// Whether the backend is to be notified.
        notice: Notice,
    },
    /// The backend was notified of the cancellation, or notifying it was given up.
    NoticeEnded {
        /// Uptime and date at which it was recorded.
        at: Stamp,
    },
    /// The upload is a part of a file. Source of this and the next three: tus 1.0, concatenation.
    Partial {
        /// Uptime and date at which it was recorded.
        at: Stamp,
    },
    /// The upload is made of partial ones and takes no other bytes.
    Final {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// The partial uploads, in the order of their bytes.
        parts: Arc<[TicketId]>,
        /// Bytes of all of them together.
        length: u64,
    },
    /// A final upload is to get the bytes of this partial one: no other one may, unless that is cancelled or unknown.
    Taken {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// The final upload.
        into: TicketId,
    },
    /// A final upload with the bytes of this partial one is published; they are not needed here any more.
    Joined {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// The final upload.
        into: TicketId,
    },
}

impl Event {
    /// When it came true, where that is kept.
    pub fn at_mut(&mut self) -> Option<&mut Stamp> {
        match self {
            Self::Created(ticket) => Some(&mut ticket.created),
            Self::Bound { at, .. }
            | Self::Stored { at, .. }
            | Self::Published { at }
            | Self::CallBegun { at }
            | Self::CallEnded { at, .. }
            | Self::Finished { at }
            | Self::Failed { at, .. }
            | Self::RetryAsked { at }
            | Self::Cancelled { at, .. }
            | Self::NoticeEnded { at }
            | Self::Partial { at }
            | Self::Final { at, .. }
            | Self::Taken { at, .. }
            | Self::Joined { at, .. } => Some(at),
            Self::Digested { .. } | Self::SentBy(_) => None,
        }
    }
}
