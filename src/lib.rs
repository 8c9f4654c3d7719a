//! Incoming!! takes large file uploads off a web app's back: the web app's backend asks for a ticket,
//! the browser sends the file in offset-addressed chunks, the server stores them durably and hands
//! the finished file over.
//!
//! # Layers
//!
//! Imports point down only; `tests/structure.rs` checks it. `docs/architecture.md` says what each
//! module promises.
//!
//! ```text
//!                    app   cli   config
//!               /      |         \
//!           wire      net     handover        wire: HTTP; net: connections; handover: calls out
//!               \      /   \     /
//!                engine     tls               use cases: all that the outside may do; certificates
//!                    \      /
//!                    storage                  bytes at offsets, journals; the local disk
//!                       |
//!                     core                    pure rules
//!
//!           diagnosis                         beside them, for wire and cli: what harms a path
//!           client                            beside them, for cli alone: calls a server from a terminal
//! ```
//!
//! # Glossary
//!
//! One word, one meaning, here and in names.
//!
//! | word | meaning |
//! |---|---|
//! | ticket | what the backend asked for: the right to upload one file, and where to hand it over |
//! | upload | a ticket and all that has become of it |
//! | chunk | the bytes of one PUT |
//! | extent | a half-open byte range of the file |
//! | claim | the right of one request to write bytes that nobody else writes |
//! | frame | bytes as the network brings them; a batch is some frames that are written together |
//! | part, blob | the file that an upload's bytes lie in while it runs |
//! | journal | the records that an upload's state is the sum of |
//! | commit queue | where the changes of one upload wait and are made durable, one group commit at a time |
//! | acknowledged | told to the client, and therefore true for ever |
//! | written, durable | in the page cache; synced to the disk |
//! | published | whole, in its place, for the backend to take |
//! | handover | calling the backend until it has taken the file |
//! | refusal, client fault, fault | the rules say no; the peer broke off; our disk or our bug |

pub mod app;
pub mod cli;
mod client;
pub mod config;
pub mod core;
pub mod diagnosis;
pub mod engine;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod handover;
pub mod net;
pub mod storage;
pub mod tls;
pub mod wire;
