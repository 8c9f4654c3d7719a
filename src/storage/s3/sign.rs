//! Signatures, and the credentials for them.

use super::S3Options;
use super::transport::{SendError, Transport};
use crate::storage::objects::{ObjectError, Payload};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Request, Response, Uri};
use md5::{Digest, Md5};
use reqsign_aws_v4::{
    Credential, DefaultCredentialProvider, EMPTY_STRING_SHA256, RequestSigner,
    StaticCredentialProvider,
};
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, FileRead, HttpSend, OsEnv, SignRequest};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
    /// With the same credentials.
    links: reqsign_core::Signer<Credential>,
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
        let request_signer = || RequestSigner::new("s3", &options.region);
        let signer = reqsign_core::Signer::new(context, provider, request_signer());
        let links = signer.clone().with_request_signer(LinkSigner(request_signer()));
        Self { signer, links, digests: !options.tls }
    }

    /// The URL of a request without a body, with a signature that lasts so long, or as long as the credentials.
    ///
    /// # Errors
    /// There are no credentials.
    pub(super) async fn link(
        &self,
        request: Request<Payload>,
        lasts: Duration,
    ) -> Result<Uri, ObjectError> {
        let (mut head, _) = request.into_parts();
        let signed = self.links.sign(&mut head, Some(lasts)).await;
        signed.map_err(|_| unusable("no credentials"))?;
        Ok(head.uri)
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

/// Signs URLs. Credentials that end before the URL would sign it all the same: it ends with them.
#[derive(Debug)]
struct LinkSigner(RequestSigner);

impl SignRequest for LinkSigner {
    type Credential = Credential;

    fn required_valid_until(&self, credential: &Credential, _: Option<Duration>) -> Timestamp {
        self.0.required_valid_until(credential, None)
    }

    async fn sign_request(
        &self,
        context: &Context,
        head: &mut hyper::http::request::Parts,
        credential: Option<&Credential>,
        lasts: Option<Duration>,
    ) -> reqsign_core::Result<()> {
        let end = credential.and_then(|credential| credential.expires_in);
        // Without the second that the signer may see later.
        let left = end.map(|end| end.as_second() - Timestamp::now().as_second() - 1);
        let left = left.map(|left| Duration::from_secs(u64::try_from(left).unwrap_or(0)));
        let lasts = lasts.map(|lasts| left.map_or(lasts, |left| left.min(lasts)));
        self.0.sign_request(context, head, credential, lasts).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_lasts_as_long_as_it_is_to_or_as_the_credentials_do() {
        let signer = LinkSigner(RequestSigner::new("s3", "r"));
        let lasts = async |left: Option<u64>| {
            let credential = Credential {
                access_key_id: "key".into(),
                secret_access_key: "secret".into(),
                session_token: left.map(|_| "token/".into()),
                expires_in: left.map(|left| Timestamp::now() + Duration::from_secs(left)),
            };
            let (mut head, ()) = Request::get("http://s3/b/a%20b").body(()).unwrap().into_parts();
            let lasts = Some(Duration::from_secs(7200));
            let end = signer.required_valid_until(&credential, lasts);
            assert!(end < Timestamp::now() + Duration::from_secs(60));
            signer
                .sign_request(&Context::new(), &mut head, Some(&credential), lasts)
                .await
                .unwrap();
            let query = head.uri.query().unwrap().to_owned();
            assert_eq!(query.contains("X-Amz-Security-Token=token%2F"), left.is_some());
            let (_, rest) = query.split_once("X-Amz-Expires=").unwrap();
            rest.split('&').next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!([lasts(None).await, lasts(Some(90_000)).await], [7200, 7200]);
        let left = lasts(Some(3600)).await;
        assert!((3000..3600).contains(&left), "{left}");
    }
}
