//! Answers that hold something until their peers have taken them.

use super::Answer;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full};

/// The answer, whose body keeps `held` until it was sent, or its request was given up.
pub(super) async fn until_taken<H: Send + 'static>(answer: Answer, held: H) -> Answer {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    Answer::from_parts(head, Full::new(Bytes::from_owner(Untaken { body, _held: held })))
}

/// A body, and what is held as long as there is a copy of it.
struct Untaken<H> {
    body: Bytes,
    _held: H,
}

impl<H> AsRef<[u8]> for Untaken<H> {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
