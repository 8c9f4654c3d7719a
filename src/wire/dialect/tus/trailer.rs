//! `Upload-Checksum` behind the body, in its trailer section: for clients that read a file once, and hash it on the way.
//!
//! Source: tus 1.0, checksum-trailer. Bytes whose checksum is missing, malformed or another one never count. Of a body whose
//! checksum was not announced nothing counts from its trailer section on: only what was counted before.

use super::header;
use crate::core::digest::{ExpectedDigest, TrailingDigest};
use crate::engine::error::ClientFault;
use crate::net::{Protocol, RequestBody};
use crate::wire::problem::Problem;
use hyper::header::HeaderMap;
use std::sync::{Arc, OnceLock};

/// What was wrong with the trailer section, once the body has come to its end.
#[derive(Clone, Default)]
pub(super) struct TrailerProblem(Arc<OnceLock<Problem>>);

impl TrailerProblem {
    /// The problem instead of what the body made of it.
    pub(super) fn or(self, other: Problem) -> Problem {
        self.0.get().cloned().unwrap_or(other)
    }
}

/// The digest that the head of a request states or announces.
///
/// Errors: it does both, or announces one on a body that has no trailer section.
pub(super) fn expected(
    headers: &HeaderMap,
    length: Option<u64>,
    body: &RequestBody,
) -> Result<ExpectedDigest, Problem> {
    let stated = header::stated_digest(headers)?;
    match (stated, header::announces_trailer(headers)) {
        (stated, false) => Ok(stated.into()),
        (Some(_), true) => Err(bad("the head has a digest already; send one of them")),
        // RFC 9112, section 6.5: only the chunked coding has one.
        (None, true) if body.protocol() == Protocol::Http1 && length.is_some() => {
            Err(bad("a body with Content-Length has no trailer section; send it chunked"))
        }
        (None, true) => Ok(ExpectedDigest::Trailing(TrailingDigest::default())),
    }
}

/// Has the trailer section of a body read where it may hold the digest.
pub(super) fn check(body: &mut RequestBody, expected: &ExpectedDigest) -> TrailerProblem {
    let (problem, found) = (TrailerProblem::default(), expected.clone());
    let noted = problem.clone();
    body.check_trailers(Box::new(move |trailers| {
        check_section(trailers, &found).map_err(|problem| {
            let fault = ClientFault::BadTrailers(problem.detail().to_owned());
            drop(noted.0.set(problem));
            fault
        })
    }));
    problem
}

fn check_section(trailers: &HeaderMap, expected: &ExpectedDigest) -> Result<(), Problem> {
    match (header::checksum(trailers)?, expected) {
        (Some(digest), ExpectedDigest::Trailing(expected)) => {
            expected.set(digest);
            Ok(())
        }
        (Some(_), ExpectedDigest::None | ExpectedDigest::Known(_)) => {
            Err(bad("the header Trailer has to announce it"))
        }
        (None, ExpectedDigest::Trailing(_)) => {
            Err(bad("announced, and missing; a proxy may have dropped it"))
        }
        (None, ExpectedDigest::None | ExpectedDigest::Known(_)) => Ok(()),
    }
}

fn bad(why: &str) -> Problem {
    Problem::bad_request(format!("trailer Upload-Checksum: {why}"))
}
