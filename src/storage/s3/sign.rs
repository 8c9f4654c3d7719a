//! Signatures, and the credentials for them.

use super::S3Options;
use super::transport::{SendError, Transport};
use crate::storage::objects::{ObjectError, Payload};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Request, Response};
use md5::{Digest, Md5};
use reqsign_aws_v4::{
    Credential, DefaultCredentialProvider, EMPTY_STRING_SHA256, RequestSigner,
    StaticCredentialProvider,
};
use reqsign_core::{Context, FileRead, HttpSend, OsEnv};
use std::fmt;
use std::sync::Arc;

/// Where the credentials come from.
#[derive(Clone)]
pub enum Credentials {
    /// As AWS's own tools find them: `AWS_ACCESS_KEY_ID` and its companions, the shared files and their profile, web
    /// identity (Kubernetes), ECS, EC2. Those that end are renewed. Programs that a profile names are not run.
    Environment,
    /// These.
    Keys {
        /// Names the user.
        access_key: String,
        /// Never shown.
        secret_key: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::Keys { .. } => "Keys",
        })
    }
}

#[derive(Debug)]
pub(super) struct Signer {
    signer: reqsign_core::Signer<Credential>,
    /// Whether bodies have their MD5 before them.
    digests: bool,
}

impl Signer {
    pub(super) fn new(
        options: &S3Options,
        credentials: Credentials,
        transport: &Arc<dyn Transport>,
    ) -> Self {
        let context = Context::new()
            .with_file_read(Files)
            .with_http_send(Http(Arc::clone(transport)))
            .with_env(OsEnv);
        let provider = match credentials {
            Credentials::Environment => DefaultCredentialProvider::new(),
            Credentials::Keys { access_key, secret_key } => {
                let keys = StaticCredentialProvider::new(&access_key, &secret_key);
                DefaultCredentialProvider::new().push_front(keys)
            }
        };
        let signer = RequestSigner::new("s3", &options.region);
        Self { signer: reqsign_core::Signer::new(context, provider, signer), digests: !options.tls }
    }

    /// # Errors
    /// There are no credentials.
    pub(super) async fn sign(
        &self,
        request: Request<Payload>,
    ) -> Result<Request<Payload>, ObjectError> {
        let (mut head, body) = request.into_parts();
        if body.is_empty() {
            let digest = HeaderValue::from_static(EMPTY_STRING_SHA256);
            head.headers.insert("x-amz-content-sha256", digest);
        } else if self.digests {
            let digest = body.buffers().iter().fold(Md5::new(), Md5::chain_update).finalize();
            let digest = STANDARD.encode(digest);
            let digest = HeaderValue::try_from(digest).map_err(|_| unusable("digest"))?;
            head.headers.insert("content-md5", digest);
        }
        // The text of its errors may hold more than belongs into a log.
        self.signer.sign(&mut head, None).await.map_err(|_| unusable("no credentials"))?;
        Ok(Request::from_parts(head, body))
    }
}

fn unusable(what: &str) -> ObjectError {
    ObjectError::Unusable(what.to_owned())
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let failed = |error| reqsign_core::Error::config_invalid(path).with_source(error);
        tokio::fs::read(path).await.map_err(|error: std::io::Error| failed(error))
    }
}

#[derive(Debug)]
struct Http(Arc<dyn Transport>);

impl HttpSend for Http {
    async fn http_send(&self, request: Request<Bytes>) -> reqsign_core::Result<Response<Bytes>> {
        let failed = |error: SendError| {
            reqsign_core::Error::unexpected("credentials were not given out").with_source(error)
        };
        self.0.send(request.map(Payload::from), CREDENTIAL_BYTES).await.map_err(failed)
    }
}

/// The longest answer of a service that gives out credentials.
const CREDENTIAL_BYTES: usize = 256 << 10;
