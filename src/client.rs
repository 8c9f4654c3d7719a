//! The HTTP client of the commands: one stack for everything that calls an Incoming!! server from a terminal.
//!
//! [`Connector`] makes connections: TCP or a unix socket, with TLS or without. [`Client`] sends requests over a pool of
//! them (hyper-util's); [`Connection`] is one of them alone, for who counts connections (`incoming bench`) or looks at
//! one (`incoming doctor`). [`Transfer`] sends a file in chunks and goes on where it was interrupted, with what
//! [`ResumeSlot`] has kept.
//!
//! hyper-rustls is not used: it takes the server's name from the URL, and a unix socket has none there.

mod call;
mod compare;
mod connect;
mod endpoint;
mod error;
mod identity;
#[cfg(feature = "cluster")]
mod object_transport;
mod resume_state;
mod retry;
mod status;
mod transfer;
mod upload;

pub(crate) use call::{BodyProgress, Client, bearer, is_forbidden, refusal};
pub(crate) use compare::Coverage;
pub(crate) use connect::{ConnectError, Connection, Connector, Offer, PeerStream};
pub(crate) use endpoint::{Endpoint, InvalidEndpoint, Transport};
pub(crate) use error::{CallError, ProtocolSniffer, TransferError, lost};
pub(crate) use identity::{Identity, Likeness};
#[cfg(feature = "cluster")]
pub(crate) use object_transport::{ObjectTransport, Patience};
pub(crate) use resume_state::{ResumeState, Slot, SlotError};
pub(crate) use retry::Backoff;
pub(crate) use status::{RequestError, Status, read};
pub(crate) use transfer::{Observer, Transfer, TransferOptions};
pub(crate) use upload::{Source, Upload, UploadClient, UploadUrl};
