//! Requests of the commands to one listener: HTTP/1.1 or HTTP/2, plain or over TLS, to TCP or a unix
//! socket, on connections that are used again. What goes wrong is told in the words of somebody at a
//! terminal.

mod client;
mod dial;
mod gauge;
mod heard;
mod trouble;

pub(super) use client::{Answer, Client, Protocol};
pub(super) use dial::{NotDialed, Stream, dial};
pub(super) use gauge::Gauge;
pub(super) use heard::{Heard, Listening};
pub(super) use trouble::{Trouble, first_cause, is_forbidden, lost, refusal, tls_fault};
