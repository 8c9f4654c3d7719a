//! The serialised form of a journal, byte by byte; nothing else is ever written to one.
//!
//! ```text
//! file    := "INCJRNL2" record*                     "INCJRNL1": records without a count alone
//! record  := length:u32 checksum:u32 body            length = bytes of body
//! body    := kind:u8 fields                          checksum = CRC32C of body
//! u32, u64 := little endian          text := length:u32 UTF-8 bytes
//! option  := 0:u8 | 1:u8 value       time := milliseconds since the epoch, u64; where the kind has
//!                                            bit 64 set, the count of `Uptime` after it, u64, not 0
//! ```
//!
//! Versions before the count wrote the kinds without that bit. Their records are read, as `Uptime::NONE`, and count from
//! the `Counted` that the first later version wrote behind them.
//!
//! Reading stops at the first record that is cut short or has a wrong checksum: the torn tail, which a crash leaves. A
//! record that is whole, with the right checksum, and of a kind or with fields that this program does not know was
//! written by a later version: the journal is then an error and stays as it is ([`Undecoded::Unknown`]). The two cannot
//! be taken for each other: no body is empty, so zeros are no record, and other bytes have the right checksum by chance
//! once in 2^32 times. So a later version may add kinds without another magic.

mod kind;

use super::fields::{Reader, checked_body, framed, option, text, time, u64};
use crate::core::dialect::{Client, Dialect};
use crate::core::event::{
    CallFormat, CallOutcome, DigestRequest, Durability, Event, Notice, Removal, Ticket, TicketFile,
};
use crate::core::extent::Extent;
use crate::core::id::RunIdentity;
use crate::core::id::TicketId;
use crate::core::signing::SigningSecrets;
use crate::core::time::{Stamp, Uptime};
use std::sync::Arc;
use std::time::Duration;

pub(in crate::storage::local) use super::fields::HEAD_BYTES;
pub use super::fields::MAX_BODY_BYTES;

/// First bytes of every journal; the last one is the version of the format.
pub const MAGIC: &[u8; 8] = b"INCJRNL2";

/// Those of a journal to which a version has written that knows no counts. It becomes one of the present version
/// before anything is appended: an older program would take what it does not know for a torn tail.
pub const MAGIC_DATED: &[u8; 8] = b"INCJRNL1";

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A fact about the upload.
    Event(Event),
    /// What follows was written in this run.
    Run(RunIdentity),
    /// The bytes of every record so far that begins before this offset of the journal are durable.
    Synced {
        /// The offset in bytes.
        before: u64,
    },
    /// What was recorded so far without a count counts from here.
    Counted {
        /// When a version that counts first met it.
        from: Uptime,
    },
    /// A write or sync failed: bytes recorded since the last sync point may be gone.
    Faulted,
}

/// Appends the serialised form of `record` to `out`.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    framed(out, |out| body(record, out));
}

/// Why bytes are no record of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecoded {
    /// Cut short, or the checksum does not fit.
    Torn,
    /// Whole and checked, but of a kind or with fields of another version.
    Unknown {
        /// The kind, as it is in the body.
        kind: u8,
        /// The record's size in bytes.
        size: usize,
    },
}

/// Reads the record at the start of `bytes`: it and its size in bytes.
pub fn decode(bytes: &[u8]) -> Result<(Record, usize), Undecoded> {
    let body = checked_body(bytes).ok_or(Undecoded::Torn)?;
    let kind = *body.first().ok_or(Undecoded::Torn)?;
    let size = HEAD_BYTES + body.len();
    let mut reader = Reader { rest: body, counted: false };
    match reader.record().filter(|_| reader.rest.is_empty()) {
        Some(record) => Ok((record, size)),
        None => Err(Undecoded::Unknown { kind, size }),
    }
}

fn body(record: &Record, out: &mut Vec<u8>) {
    let event = match record {
        Record::Event(event) => event,
        Record::Run(run) => {
            out.push(kind::RUN);
            out.extend_from_slice(&run.boot);
            return u64(run.mount, out);
        }
        Record::Synced { before } => {
            out.push(kind::SYNCED);
            return u64(*before, out);
        }
        Record::Faulted => return out.push(kind::FAULTED),
        Record::Counted { from } => {
            out.push(kind::COUNTED_FROM);
            return u64(from.0, out);
        }
    };
    match event {
        Event::Created(ticket) => created(ticket, out),
        Event::Bound { at, length, name, media_type, last_modified, client_metadata } => {
            let with = client_metadata.is_some();
            timed(if with { kind::BOUND_WITH_METADATA } else { kind::BOUND }, *at, out);
            option(*length, out, u64);
            option(name.as_deref(), out, text);
            option(media_type.as_deref(), out, text);
            option(*last_modified, out, u64);
            client_metadata.iter().for_each(|metadata| text(metadata, out));
        }
        Event::SentBy(client) => {
            out.extend([kind::SENT_BY, client.dialect as u8]);
            option(client.agent.as_deref(), out, text);
        }
        Event::Stored { at, extent, durability } => {
            timed(kind::STORED, *at, out);
            u64(extent.start(), out);
            u64(extent.end(), out);
            out.push(match durability {
                Durability::Written => 0,
                Durability::Durable => 1,
            });
        }
        Event::Published { at } => timed(kind::PUBLISHED, *at, out),
        Event::Digested { sha256 } => {
            out.push(kind::DIGESTED);
            out.extend_from_slice(sha256);
        }
        Event::CallBegun { at } => timed(kind::CALL_BEGUN, *at, out),
        Event::CallEnded { at, outcome } => {
            timed(kind::CALL_ENDED, *at, out);
            let reason = match outcome {
                CallOutcome::Wait => None,
                CallOutcome::Retry(reason) => Some(reason.as_str()),
            };
            option(reason, out, text);
        }
        Event::Finished { at } => timed(kind::FINISHED, *at, out),
        Event::Failed { at, reason } => {
            timed(kind::FAILED, *at, out);
            text(reason, out);
        }
        Event::RetryAsked { at } => timed(kind::RETRY_ASKED, *at, out),
        Event::Cancelled { at, reason, notice } => {
            timed(kind::CANCELLED, *at, out);
            text(reason, out);
            out.push(match notice {
                Notice::NotDue => 0,
                Notice::Due => 1,
            });
        }
        Event::NoticeEnded { at } => timed(kind::NOTICE_ENDED, *at, out),
        Event::Partial { at } => timed(kind::PARTIAL, *at, out),
        Event::Final { at, parts, length } => {
            timed(kind::FINAL, *at, out);
            u64(*length, out);
            // The ids fill the rest of the record.
            parts.iter().for_each(|id| out.extend_from_slice(id.as_bytes()));
        }
        Event::Taken { at, into } => timed_id(kind::TAKEN, *at, *into, out),
        Event::Joined { at, into } => timed_id(kind::JOINED, *at, *into, out),
    }
}

fn created(ticket: &Ticket, out: &mut Vec<u8>) {
    let TicketFile { name, media_type, client_metadata } = &ticket.file;
    let kind = if ticket.format == CallFormat::Json {
        kind::CREATED_FOR_JSON
    } else if !ticket.signing.is_empty() {
        kind::CREATED_SIGNED
    } else if ticket.file == TicketFile::default() {
        kind::CREATED
    } else {
        kind::CREATED_FOR_FILE
    };
    out.push(kind_of(kind, ticket.created));
    out.extend_from_slice(ticket.id.as_bytes());
    time(ticket.created, out);
    text(ticket.finish_url.as_str(), out);
    text(&ticket.secret, out);
    out.push(match ticket.removal {
        Removal::Keep => 0,
        Removal::RemoveWhenFinished => 1,
    });
    option(ticket.max_bytes, out, u64);
    option(ticket.length, out, u64);
    out.push(match ticket.digest {
        DigestRequest::None => 0,
        DigestRequest::Sha256 => 1,
    });
    text(&ticket.metadata, out);
    let idle = ticket.idle_timeout.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
    option(idle, out, u64);
    if kind != kind::CREATED {
        for field in [name, media_type, client_metadata] {
            option(field.as_deref(), out, text);
        }
    }
    if matches!(kind, kind::CREATED_SIGNED | kind::CREATED_FOR_JSON) {
        text(&ticket.signing.expose(), out);
    }
}

fn timed(kind: u8, at: Stamp, out: &mut Vec<u8>) {
    out.push(kind_of(kind, at));
    time(at, out);
}

fn timed_id(kind: u8, at: Stamp, id: TicketId, out: &mut Vec<u8>) {
    timed(kind, at, out);
    out.extend_from_slice(id.as_bytes());
}

fn kind_of(kind: u8, at: Stamp) -> u8 {
    if at.uptime == Uptime::NONE { kind } else { kind | kind::COUNTED }
}

/// What is left of a body.
impl Reader<'_> {
    fn record(&mut self) -> Option<Record> {
        let kind;
        (kind, self.counted) = kind::split(self.u8()?);
        let event = match kind {
            kind::RUN => {
                return Some(Record::Run(RunIdentity { boot: self.array()?, mount: self.u64()? }));
            }
            kind::SYNCED => return Some(Record::Synced { before: self.u64()? }),
            kind::FAULTED => return Some(Record::Faulted),
            kind::COUNTED_FROM => return Some(Record::Counted { from: Uptime(self.u64()?) }),
            kind::CREATED => Event::Created(Box::new(self.ticket()?)),
            kind::CREATED_FOR_FILE => {
                let ticket = self.ticket_for_file()?;
                Event::Created(Box::new(
                    Some(ticket).filter(|it| it.file != TicketFile::default())?,
                ))
            }
            kind::CREATED_SIGNED => {
                let mut ticket = self.ticket_for_file()?;
                ticket.signing = SigningSecrets::parse(&self.text()?).ok()?;
                Event::Created(Box::new(Some(ticket).filter(|it| !it.signing.is_empty())?))
            }
            kind::CREATED_FOR_JSON => {
                let mut ticket = self.ticket_for_file()?;
                ticket.signing = SigningSecrets::parse(&self.text()?).ok()?;
                ticket.format = CallFormat::Json;
                Event::Created(Box::new(ticket))
            }
            kind::BOUND | kind::BOUND_WITH_METADATA => Event::Bound {
                at: self.time()?,
                length: self.option(Self::u64)?,
                name: self.option(Self::text)?,
                media_type: self.option(Self::text)?,
                last_modified: self.option(Self::u64)?,
                client_metadata: match kind {
                    kind::BOUND => None,
                    _ => Some(self.text()?),
                },
            },
            kind::SENT_BY => Event::SentBy(Arc::new(Client {
                dialect: *Dialect::ALL.get(usize::from(self.u8()?))?,
                agent: self.option(Self::text)?,
            })),
            kind::STORED => Event::Stored {
                at: self.time()?,
                extent: Extent::new(self.u64()?, self.u64()?)?,
                durability: if self.flag()? { Durability::Durable } else { Durability::Written },
            },
            kind::PUBLISHED => Event::Published { at: self.time()? },
            kind::DIGESTED => Event::Digested { sha256: self.array()? },
            kind::CALL_BEGUN => Event::CallBegun { at: self.time()? },
            kind::CALL_ENDED => Event::CallEnded {
                at: self.time()?,
                outcome: self.option(Self::text)?.map_or(CallOutcome::Wait, CallOutcome::Retry),
            },
            kind::FINISHED => Event::Finished { at: self.time()? },
            kind::FAILED => Event::Failed { at: self.time()?, reason: self.text()? },
            kind::RETRY_ASKED => Event::RetryAsked { at: self.time()? },
            kind::CANCELLED => Event::Cancelled {
                at: self.time()?,
                reason: self.text()?,
                notice: if self.flag()? { Notice::Due } else { Notice::NotDue },
            },
            kind::NOTICE_ENDED => Event::NoticeEnded { at: self.time()? },
            kind::PARTIAL => Event::Partial { at: self.time()? },
            kind::FINAL => {
                Event::Final { at: self.time()?, length: self.u64()?, parts: self.ids()?.into() }
            }
            kind::TAKEN => Event::Taken { at: self.time()?, into: self.id()? },
            kind::JOINED => Event::Joined { at: self.time()?, into: self.id()? },
            _ => return None,
        };
        Some(Record::Event(event))
    }

    fn id(&mut self) -> Option<TicketId> {
        TicketId::from_bytes(self.array()?).ok()
    }

    /// All that are left.
    fn ids(&mut self) -> Option<Vec<TicketId>> {
        let left = self.rest.len().div_ceil(16);
        (0..left).map(|_| self.id()).collect()
    }

    fn ticket_for_file(&mut self) -> Option<Ticket> {
        let mut ticket = self.ticket()?;
        ticket.file = TicketFile {
            name: self.option(Self::text)?,
            media_type: self.option(Self::text)?,
            client_metadata: self.option(Self::text)?,
        };
        Some(ticket)
    }

    fn ticket(&mut self) -> Option<Ticket> {
        Some(Ticket {
            id: self.id()?,
            created: self.time()?,
            finish_url: self.text()?.into(),
            secret: self.text()?,
            signing: SigningSecrets::default(),
            format: CallFormat::Form,
            removal: if self.flag()? { Removal::RemoveWhenFinished } else { Removal::Keep },
            max_bytes: self.option(Self::u64)?,
            length: self.option(Self::u64)?,
            digest: if self.flag()? { DigestRequest::Sha256 } else { DigestRequest::None },
            metadata: self.text()?,
            idle_timeout: self.option(Self::u64)?.map(Duration::from_millis),
            file: TicketFile::default(),
        })
    }
}

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
