//! The headers of tus requests, read strictly: what is misspelt must not pass for absent.

use crate::core::command::FileFacts;
use crate::core::digest::ChunkDigest;
use crate::core::limits::MAX_FILE_BYTES;
use crate::wire::content_digest::content_digest;
use crate::wire::header::{media_type, once};
use crate::wire::problem::{Code, Problem};
use crate::wire::reply::shown;
use crate::wire::upload_concat::{self, UploadConcat};
use crate::wire::upload_metadata;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, TRAILER};
use hyper::http::request::Parts;

/// The version that is spoken.
pub(super) const VERSION: &str = "1.0.0";
/// Algorithms of `Upload-Checksum`.
pub(super) const ALGORITHMS: &str = "sha1,sha256,sha512";

/// What `Tus-Resumable` says.
pub(super) enum Version {
    Spoken,
    Absent,
    Other,
}

pub(super) fn version(headers: &HeaderMap) -> Version {
    let mut values = headers.get_all(TUS_RESUMABLE).iter();
    match (values.next(), values.next()) {
        (None, _) => Version::Absent,
        (Some(value), None) if value == VERSION => Version::Spoken,
        (Some(_), _) => Version::Other,
    }
}

/// Whether a request for an upload's native URL is one of this dialect: it says so, or is an append in its media type.
pub(in crate::wire) fn names_tus(head: &Parts) -> bool {
    head.headers.contains_key(TUS_RESUMABLE)
        || head.method == Method::PATCH
            && media_type(&head.headers).eq_ignore_ascii_case(APPEND_TYPE)
}

/// A POST that stands for another method, where a proxy or library knows only GET and POST, becomes that one.
/// Source: tus 1.0, `X-HTTP-Method-Override`.
pub(in crate::wire) fn override_method(head: &mut Parts) {
    if head.method != Method::POST {
        return;
    }
    let meant = match once(&head.headers, OVERRIDE.as_str()) {
        Ok(Some("PATCH")) => Method::PATCH,
        Ok(Some("DELETE")) => Method::DELETE,
        Ok(Some("HEAD")) => Method::HEAD,
        Ok(_) | Err(_) => return,
    };
    head.method = meant;
    head.headers.remove(OVERRIDE);
}

/// The media type of appends, and of creations with bytes.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = media_type(headers);
    if given.eq_ignore_ascii_case(APPEND_TYPE) {
        return Ok(());
    }
    let detail = format!("header Content-Type {}: expected {APPEND_TYPE}", shown(given));
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

/// The offset of an append.
pub(in crate::wire) fn upload_offset(headers: &HeaderMap) -> Result<u64, Problem> {
    number(headers, "Upload-Offset")?
        .ok_or_else(|| Problem::bad_request("header Upload-Offset is missing"))
}

/// The file's length, where an append tells it.
pub(in crate::wire) fn upload_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    number(headers, "Upload-Length")
}

/// The file's length as a creation has to say it: in bytes, or that it comes later.
pub(super) fn new_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let deferred = once(headers, "Upload-Defer-Length")?;
    match (number(headers, "Upload-Length")?, deferred) {
        (Some(length), None) => Ok(Some(length)),
        (None, Some("1")) => Ok(None),
        (None, Some(value)) => Err(Problem::bad_request(format!(
            "header Upload-Defer-Length {}: expected 1",
            shown(value)
        ))),
        (Some(_), Some(_)) => {
            Err(Problem::bad_request("Upload-Length and Upload-Defer-Length exclude each other"))
        }
        (None, None) => Err(Problem::bad_request(
            "header Upload-Length is missing; Upload-Defer-Length: 1 says that it comes later",
        )),
    }
}

/// The header `Upload-Metadata` as it came.
pub(in crate::wire) fn metadata(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    once(headers, "Upload-Metadata")
}

/// What a creation says of its file; of the length nothing.
///
/// Errors: `Upload-Metadata` that is too long or no ASCII.
pub(super) fn file(headers: &HeaderMap) -> Result<FileFacts, Problem> {
    let client_metadata = metadata(headers)?;
    let named = upload_metadata::read(client_metadata.unwrap_or_default())?;
    Ok(FileFacts {
        name: named.name,
        media_type: named.media_type,
        client_metadata: client_metadata.map(str::to_owned),
        ..FileFacts::default()
    })
}

/// What a creation says of its part in a file, and its words.
pub(super) fn concat(headers: &HeaderMap) -> Result<Option<(UploadConcat, &str)>, Problem> {
    let Some(text) = once(headers, "Upload-Concat")? else { return Ok(None) };
    Ok(Some((upload_concat::read(text)?, text)))
}

/// The parts tell the length of a final upload, and have its bytes. Source: tus 1.0, concatenation.
pub(super) fn check_final(headers: &HeaderMap) -> Result<(), Problem> {
    let given = ["Upload-Length", "Upload-Defer-Length"];
    match given.into_iter().find(|name| headers.contains_key(*name)) {
        Some(name) => {
            let detail = format!("header {name}: a final upload is as long as its partial uploads");
            Err(Problem::bad_request(detail))
        }
        None => Ok(()),
    }
}

/// The digest that a body promises, by `Upload-Checksum` or by `Content-Digest`.
pub(super) fn stated_digest(headers: &HeaderMap) -> Result<Option<ChunkDigest>, Problem> {
    match checksum(headers)? {
        Some(digest) => Ok(Some(digest)),
        None => content_digest(headers),
    }
}

/// The digest in `Upload-Checksum`.
///
/// Errors: an algorithm that is not known, or a value that is no base64. One that is too long or too short for its
/// algorithm is that of no body.
pub(in crate::wire) fn checksum(headers: &HeaderMap) -> Result<Option<ChunkDigest>, Problem> {
    let Some(text) = once(headers, "Upload-Checksum")? else { return Ok(None) };
    let bad =
        |why: &str| Problem::bad_request(format!("header Upload-Checksum {}: {why}", shown(text)));
    if headers.contains_key("content-digest") {
        return Err(bad("Content-Digest promises another; send one of them"));
    }
    let (algorithm, value) =
        text.split_once(' ').ok_or_else(|| bad("expected ALGORITHM BASE64"))?;
    let bytes = BASE64_STANDARD.decode(value.trim()).map_err(|_| bad("the value is not base64"))?;
    let wrong = || {
        let detail = format!("the checksum {} is of no body: its length is wrong", shown(text));
        Problem::new(Code::DigestMismatch, detail)
    };
    match algorithm {
        "sha1" => Ok(Some(ChunkDigest::Sha1(bytes.as_slice().try_into().map_err(|_| wrong())?))),
        "sha256" => {
            Ok(Some(ChunkDigest::Sha256(bytes.as_slice().try_into().map_err(|_| wrong())?)))
        }
        "sha512" => {
            let bytes: [u8; 64] = bytes.as_slice().try_into().map_err(|_| wrong())?;
            Ok(Some(ChunkDigest::Sha512(Box::new(bytes))))
        }
        _ => Err(bad("the algorithm must be one of sha1, sha256, sha512")),
    }
}

/// Whether a body says that its digest comes in its trailer section. A digest that comes there without a word cannot be
/// checked any more. Source: RFC 9110, section 6.6.2.
pub(super) fn announces_trailer(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(TRAILER).iter().filter_map(|line| line.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(','));
    names.any(|name| name.trim().eq_ignore_ascii_case("upload-checksum"))
}

fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = once(headers, name)? else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = digits.then(|| text.parse().ok()).flatten();
    let value = value.filter(|value: &u64| *value < MAX_FILE_BYTES);
    value.map(Some).ok_or_else(|| {
        Problem::bad_request(format!(
            "header {name} {}: expected a whole number of bytes below 2^63 - 1",
            shown(text)
        ))
    })
}

const APPEND_TYPE: &str = "application/offset+octet-stream";
const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
