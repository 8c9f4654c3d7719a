//! Calls of the backend API by the commands: HTTP/1.1, over TLS where the listener speaks that.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Builder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::{CliError, Credentials, terminal};
use crate::client::{self, BodyProgress, CallError, Endpoint, Offer};
use crate::config::Secret;

/// For connecting, asking and reading the whole answer: far more than a page takes, and short
/// enough for somebody who waits at a terminal.
const DEADLINE: Duration = Duration::from_secs(30);
/// The longest page of a list that is read: uploads with very many ranges.
const PAGE_BYTES: usize = 16 << 20;
/// What stays as it is in a segment of a path, besides letters and digits.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// One value as a segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Why a call to the backend listener did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the server refused: {0}")]
    Refused(String),
    #[error("the server refused: {0}")]
    Forbidden(String),
    #[error("{0}: no answer within {DEADLINE:?}")]
    Timeout(Endpoint),
    #[error("unexpected answer from {0}: {1}")]
    OtherAnswer(Endpoint, String),
    #[error("cannot ask {0}: {1}")]
    Request(Endpoint, hyper::http::Error),
}

impl BackendError {
    /// What may help where nothing at the listener answers as it does, and no flag named that one.
    pub(super) fn hint(&self, flag: Option<&str>) -> &'static str {
        match (self, flag) {
            (Self::Call(_) | Self::Timeout(_) | Self::OtherAnswer(..), None) => {
                " (--backend names another listener)"
            }
            (Self::Call(_) | Self::Timeout(_) | Self::OtherAnswer(..), Some(_))
            | (Self::Refused(_) | Self::Forbidden(_) | Self::Request(..), _) => "",
        }
    }
}

/// Knows where to call and with which token.
pub(super) struct BackendClient {
    client: client::Client<Full<Bytes>>,
    authorization: Option<HeaderValue>,
}

impl BackendClient {
    /// Blocks on reading certificates.
    pub(super) fn new(
        endpoint: Endpoint,
        token: Option<&Secret>,
        credentials: &Credentials,
    ) -> Result<Self, CliError> {
        credentials.check_use([&endpoint]).map_err(CliError::usage)?;
        let tls = credentials.config_for(&endpoint).map_err(CliError::usage)?;
        Ok(Self {
            client: client::Client::new(endpoint, tls, Offer::Http1).reading_up_to(PAGE_BYTES),
            authorization: token.map(client::bearer).transpose().map_err(CliError::usage)?,
        })
    }

    /// `GET`s JSON. Changes nothing, so dropping it is harmless.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, BackendError> {
        let request = Request::get(path).header(ACCEPT, "application/json");
        self.parsed(&self.call(request, Bytes::new()).await?)
    }

    /// `GET`s text. Changes nothing, so dropping it is harmless.
    pub(super) async fn text(&self, path: &str) -> Result<String, BackendError> {
        let answer = self.call(Request::get(path), Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// `POST`s a form, and reads the JSON of the answer: as [`Self::post`].
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<T, BackendError> {
        self.parsed(&self.post(path, fields).await?)
    }

    /// `POST`s a form; the fields travel in the body, since URLs end up in logs. Dropped while in
    /// flight, the server may or may not have done it.
    pub(super) async fn post(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Bytes, BackendError> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.call(request, Bytes::from(form)).await
    }

    fn parsed<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, BackendError> {
        serde_json::from_slice(answer).map_err(|error| {
            let why = terminal::short(&error.to_string());
            BackendError::OtherAnswer(self.client.endpoint().clone(), why)
        })
    }

    async fn call(&self, request: Builder, body: Bytes) -> Result<Bytes, BackendError> {
        let endpoint = self.client.endpoint();
        let mut request = request
            .body(Full::new(body))
            .map_err(|error| BackendError::Request(endpoint.clone(), error))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let progress = BodyProgress::default();
        let call = self.client.call(request, &progress, Duration::ZERO);
        let answered = tokio::time::timeout(DEADLINE, call).await;
        let answer = answered.map_err(|_| BackendError::Timeout(endpoint.clone()))??;
        match client::refusal(&answer) {
            _ if answer.status.is_success() => Ok(answer.body),
            why if client::is_forbidden(&answer) => Err(BackendError::Forbidden(why)),
            why => Err(BackendError::Refused(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_stay_segments() {
        assert_eq!(segment("0b-1_f"), "0b-1_f");
        assert_eq!(segment("../a?b"), "%2E%2E%2Fa%3Fb");
    }
}
