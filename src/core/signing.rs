//! Signatures of calls to a web app.
//!
//! Source: [Standard Webhooks](https://www.standardwebhooks.com), scheme `v1`: HMAC-SHA256 over `ID.SECONDS.BODY`, with the
//! bytes of a secret that is written `whsec_` and base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

use super::callback::CallbackUrl;

/// Secrets in force for one receiver: none, one, or two while the receiver changes from one to the other.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SigningSecrets(Vec<Vec<u8>>);

/// Why a text holds no secrets. It does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningSecretError {
    /// A secret of another form.
    #[error("expected whsec_ and base64")]
    Form,
    /// Its bytes are too few or too many.
    #[error("the secret has {0} bytes, expected 24 to 64")]
    Length(usize),
    /// More than two.
    #[error("there are {0} secrets, expected at most two")]
    TooMany(usize),
}

/// Secrets of the calls to all URLs that begin with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlSecrets {
    /// How the URLs begin: without credentials and query.
    pub prefix: CallbackUrl,
    /// At least one.
    pub secrets: SigningSecrets,
}

/// Why a text is no URL with secrets. It does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlSecretsError {
    /// The URL is none, has more than scheme, host, port and path, or its path leads upwards.
    #[error("must begin with an http(s) URL without credentials, query, fragment and ..")]
    Url,
    /// Nothing follows it.
    #[error("must have a secret after the URL and a space")]
    Missing,
    /// What follows is something else.
    #[error(transparent)]
    Secret(#[from] SigningSecretError),
}

impl UrlSecrets {
    /// Reads a URL and one or two secrets, with white space between them.
    pub fn parse(text: &str) -> Result<Self, UrlSecretsError> {
        let text = text.trim_ascii();
        let (url, secrets) =
            text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""));
        let prefix = CallbackUrl::parse(url.to_owned()).ok();
        // One that does not cover itself covers none, and nothing would be signed.
        let prefix = prefix.filter(|it| it.shown() == url && it.covers(it));
        let prefix = prefix.ok_or(UrlSecretsError::Url)?;
        let secrets = SigningSecrets::parse(secrets)?;
        if secrets.is_empty() {
            return Err(UrlSecretsError::Missing);
        }
        Ok(Self { prefix, secrets })
    }

    /// The secrets of the longest prefix of a URL.
    pub fn of<'a>(all: &'a [Self], url: &CallbackUrl) -> Option<&'a SigningSecrets> {
        let covering = all.iter().filter(|it| it.prefix.covers(url));
        covering.max_by_key(|it| it.prefix.as_str().len()).map(|it| &it.secrets)
    }
}

impl SigningSecrets {
    /// Reads secrets with white space between them; a text without any holds none.
    pub fn parse(text: &str) -> Result<Self, SigningSecretError> {
        let secrets: Vec<_> =
            text.split_ascii_whitespace().map(secret).collect::<Result<_, _>>()?;
        if secrets.len() > MOST {
            return Err(SigningSecretError::TooMany(secrets.len()));
        }
        Ok(Self(secrets))
    }

    /// Whether nothing is signed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secrets as [`SigningSecrets::parse`] reads them.
    pub fn expose(&self) -> String {
        let texts: Vec<_> =
            self.0.iter().map(|secret| format!("{PREFIX}{}", STANDARD.encode(secret))).collect();
        texts.join(" ")
    }

    /// The value of `webhook-signature`: one signature for each secret. `seconds` since the epoch.
    pub fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let signatures: Vec<_> = self
            .0
            .iter()
            .map(|secret| {
                let signature = mac(secret, id, seconds, body).finalize().into_bytes();
                format!("{VERSION}{}", STANDARD.encode(signature))
            })
            .collect();
        signatures.join(" ")
    }

    /// Whether one of the signatures in `header` is by one of these secrets; compares in constant time.
    pub fn verify(&self, id: &str, seconds: u64, body: &[u8], header: &str) -> bool {
        let signatures = header
            .split_ascii_whitespace()
            .filter_map(|one| STANDARD.decode(one.strip_prefix(VERSION)?).ok());
        let signatures: Vec<_> = signatures.collect();
        self.0.iter().any(|secret| {
            let mac = mac(secret, id, seconds, body);
            signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
        })
    }
}

/// Without the secrets.
impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecrets({})", self.0.len())
    }
}

/// How each secret begins.
pub const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";
const MOST: usize = 2;

fn secret(text: &str) -> Result<Vec<u8>, SigningSecretError> {
    let base64 = text.strip_prefix(PREFIX).ok_or(SigningSecretError::Form)?;
    let bytes = STANDARD.decode(base64).map_err(|_| SigningSecretError::Form)?;
    match bytes.len() {
        24..=64 => Ok(bytes),
        length => Err(SigningSecretError::Length(length)),
    }
}

fn mac(secret: &[u8], id: &str, seconds: u64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the reference libraries' tests: standardwebhooks 1.1.0, Python and JavaScript.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn signs_as_the_reference_does() {
        let secrets = SigningSecrets::parse(SECRET).unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        assert_eq!(secrets.sign(id, 1_614_265_330, body), SIGNATURE);
        assert!(secrets.verify(id, 1_614_265_330, body, &format!("v0,x v1,AAAA {SIGNATURE}")));
        for (other_id, seconds, text) in
            [("msg", 1_614_265_330, &body[..]), (id, 1_614_265_331, body), (id, 1_614_265_330, b"")]
        {
            assert!(!secrets.verify(other_id, seconds, text, SIGNATURE));
        }
        assert!(!SigningSecrets::default().verify(id, 1_614_265_330, body, SIGNATURE));
    }

    #[test]
    fn two_secrets_make_two_signatures_either_of_which_is_enough() {
        let other = format!("whsec_{}", STANDARD.encode([7; 64]));
        let both = SigningSecrets::parse(&format!("{other}  {SECRET}")).unwrap();
        let header = both.sign("i", 1, b"b");
        assert_eq!(header.split(' ').count(), 2);
        for one in [SECRET, &other] {
            let one = SigningSecrets::parse(one).unwrap();
            assert!(one.verify("i", 1, b"b", &header));
            assert!(both.verify("i", 1, b"b", &one.sign("i", 1, b"b")));
        }
        assert_eq!(SigningSecrets::parse(&both.expose()), Ok(both));
    }

    #[test]
    fn the_longest_prefix_has_the_secrets() {
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let all = [
            UrlSecrets::parse(&format!("https://app {SECRET}")).unwrap(),
            UrlSecrets::parse(&format!(" https://app/a/  {other} {SECRET} ")).unwrap(),
        ];
        let of = |url: &str| UrlSecrets::of(&all, &url.into()).map(SigningSecrets::expose);
        assert_eq!(of("https://app/b"), Some(SECRET.into()));
        assert_eq!(of("https://app/a/b"), Some(format!("{other} {SECRET}")));
        assert_eq!(of("http://app/a/b"), None);
        for (text, why) in [
            (SECRET.to_owned(), UrlSecretsError::Url),
            (format!("https://me:x@app/ {SECRET}"), UrlSecretsError::Url),
            (format!("https://app/?x {SECRET}"), UrlSecretsError::Url),
            (format!("https://app/a/../b {SECRET}"), UrlSecretsError::Url),
            (format!("https://app/%2E%2e/b {SECRET}"), UrlSecretsError::Url),
            ("https://app".into(), UrlSecretsError::Missing),
            ("https://app s3cret".into(), UrlSecretsError::Secret(SigningSecretError::Form)),
        ] {
            assert_eq!(UrlSecrets::parse(&text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret() {
        let check =
            |text: &str, expected| assert_eq!(SigningSecrets::parse(text).map(|_| ()), expected);
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
        check("", Ok(()));
        check("s3cret", Err(SigningSecretError::Form));
        check("whsec_!", Err(SigningSecretError::Form));
        check(&of(23), Err(SigningSecretError::Length(23)));
        check(&of(24), Ok(()));
        check(&of(64), Ok(()));
        check(&of(65), Err(SigningSecretError::Length(65)));
        check(&format!("{SECRET} {SECRET} {SECRET}"), Err(SigningSecretError::TooMany(3)));
        let shown = format!("{:?}", SigningSecrets::parse(SECRET).unwrap());
        assert_eq!(shown, "SigningSecrets(1)");
    }
}
