//! How what is asked of a bucket looks as a request.

use super::answer::{Found, Reading};
use super::keys::{folder, key_text, root};
use super::{Naming, S3Options};
use crate::core::grid::PartNumber;
use crate::core::id::TicketId;
use crate::core::piece_event::{Etag, Purpose};
use crate::core::pieces::ObjectRange;
use crate::storage::objects::judge::Call as Kind;
use crate::storage::objects::{Key, Multipart, ObjectError, ObjectRequest, Payload};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, RANGE};
use hyper::{Method, Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write;

/// One request, before it is signed.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) kind: Kind,
    method: Method,
    /// `None`: the bucket itself.
    key: Option<Named>,
    query: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, String)>,
    /// An object that is copied from.
    source: Option<Key>,
    body: Payload,
    /// Below which keys are listed: behind the prefix.
    within: Option<String>,
    reading: Reading,
}

impl Call {
    /// # Errors
    /// Lists are asked for page by page, by the others below.
    pub(super) fn of(request: ObjectRequest) -> Result<Self, ObjectError> {
        let call = match request {
            ObjectRequest::Put(key, bytes) => Self {
                headers: vec![(CONTENT_TYPE, "application/octet-stream".into())],
                body: bytes,
                ..Self::new(Kind::Write, Method::PUT, Some(key), Reading::Stored)
            },
            ObjectRequest::Get(id, range) => {
                let key = Key { id, name: range.object };
                let call = Self::new(Kind::Read, Method::GET, Some(key), Reading::Bytes(range));
                Self { headers: vec![(RANGE, range_text(range))], ..call }
            }
            ObjectRequest::Head(key) => {
                Self::new(Kind::Head, Method::HEAD, Some(key), Reading::Size)
            }
            ObjectRequest::Describe(key) => {
                Self::new(Kind::Head, Method::HEAD, Some(key), Reading::Description)
            }
            ObjectRequest::Delete(key) => {
                Self::new(Kind::Remove, Method::DELETE, Some(key), Reading::Removed)
            }
            ObjectRequest::Begin(key) => Self {
                query: vec![("uploads", String::new())],
                headers: vec![(CONTENT_TYPE, "application/octet-stream".into())],
                ..Self::new(Kind::Write, Method::POST, Some(key), Reading::Begun(key))
            },
            ObjectRequest::Part(multipart, number, bytes) => Self {
                query: part_of(&multipart, number),
                body: bytes,
                ..Self::new(Kind::Write, Method::PUT, Some(multipart.key), Reading::Part)
            },
            ObjectRequest::CopyPart(multipart, number, range) => Self {
                query: part_of(&multipart, number),
                headers: vec![(COPY_RANGE, range_text(range))],
                source: Some(Key { id: multipart.key.id, name: range.object }),
                ..Self::new(Kind::Write, Method::PUT, Some(multipart.key), Reading::CopiedPart)
            },
            ObjectRequest::Complete(multipart, list) => Self {
                query: vec![("uploadId", multipart.name)],
                headers: vec![(CONTENT_TYPE, "application/xml".into())],
                body: Bytes::from(list_text(&list)).into(),
                ..Self::new(Kind::Complete, Method::POST, Some(multipart.key), Reading::Completed)
            },
            ObjectRequest::Abort(multipart) => Self {
                query: vec![("uploadId", multipart.name)],
                ..Self::new(Kind::Remove, Method::DELETE, Some(multipart.key), Reading::Removed)
            },
            ObjectRequest::ListParts(_)
            | ObjectRequest::List(_)
            | ObjectRequest::ListMultiparts(_) => return Err(ObjectError::Unsure),
        };
        Ok(call)
    }

    /// A whole object.
    pub(super) fn read(key: Key) -> Self {
        Self::new(Kind::Read, Method::GET, Some(key), Reading::Size)
    }

    /// The parts behind the number `after`.
    pub(super) fn list_parts(multipart: &Multipart, after: u32) -> Self {
        let mut query = vec![("uploadId", multipart.name.clone()), ("max-parts", String::new())];
        if after > 0 {
            query.push(("part-number-marker", after.to_string()));
        }
        Self { query, ..Self::new(Kind::Read, Method::GET, Some(multipart.key), Reading::Parts) }
    }

    /// The objects of an upload, from where a page before has ended.
    pub(super) fn list(id: TicketId, purpose: Purpose, token: Option<&str>) -> Self {
        let mut query = vec![("list-type", "2".to_owned()), ("max-keys", String::new())];
        query.extend(token.map(|token| ("continuation-token", token.to_owned())));
        let reading = Reading::Objects { id, purpose };
        Self {
            query,
            within: Some(folder("", id, purpose)),
            ..Self::new(Kind::Read, Method::GET, None, reading)
        }
    }

    /// The multipart uploads of an upload, from where a page before has ended.
    pub(super) fn list_multiparts(id: TicketId, markers: Option<&(String, String)>) -> Self {
        let reading = Reading::Multiparts(id);
        Self {
            query: multiparts_query(markers),
            within: Some(folder("", id, Purpose::File)),
            ..Self::new(Kind::Read, Method::GET, None, reading)
        }
    }

    /// The objects of all uploads, from where a page before has ended.
    pub(super) fn all_objects(purpose: Purpose, markers: Option<&(String, String)>) -> Self {
        let mut query = vec![("list-type", "2".to_owned()), ("max-keys", String::new())];
        query.extend(markers.map(|(token, _)| ("continuation-token", token.clone())));
        let all = Self::new(Kind::Read, Method::GET, None, Reading::AllObjects);
        Self { query, within: Some(root("", purpose)), ..all }
    }

    /// The multipart uploads of all uploads, from where a page before has ended.
    pub(super) fn all_multiparts(purpose: Purpose, markers: Option<&(String, String)>) -> Self {
        let all = Self::new(Kind::Read, Method::GET, None, Reading::AllMultiparts);
        Self { query: multiparts_query(markers), within: Some(root("", purpose)), ..all }
    }

    /// The end of something that was found in the bucket.
    pub(super) fn remove(found: Found) -> Self {
        let query = found.multipart.map(|name| ("uploadId", name)).into_iter().collect();
        let removal = Self::new(Kind::Remove, Method::DELETE, None, Reading::Removed);
        Self { query, key: Some(Named::Whole(found.key)), ..removal }
    }

    fn new(kind: Kind, method: Method, key: Option<Key>, reading: Reading) -> Self {
        let (query, headers, body) = (Vec::new(), Vec::new(), Bytes::new().into());
        let key = key.map(Named::Own);
        Self { kind, method, key, query, headers, source: None, body, within: None, reading }
    }

    /// The request, and how its answer is read.
    ///
    /// # Errors
    /// A setting that makes no URL.
    pub(super) fn build(
        self,
        options: &S3Options,
    ) -> Result<(Request<Payload>, Reading), ObjectError> {
        let unusable = |error: hyper::http::Error| ObjectError::Unusable(error.to_string());
        let mut request = Request::builder().method(self.method).uri(url(
            options,
            self.key,
            &query_text(options, self.query, self.within),
        )?);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(source) = self.source {
            let path = encoded(&key_text(&options.prefix, source), PATH);
            request = request.header(COPY_SOURCE, format!("/{}/{path}", options.bucket));
        }
        Ok((request.body(self.body).map_err(unusable)?, self.reading))
    }
}

/// A key.
#[derive(Debug)]
enum Named {
    Own(Key),
    Whole(String),
}

fn multiparts_query(markers: Option<&(String, String)>) -> Vec<(&'static str, String)> {
    let mut query = vec![("uploads", String::new()), ("max-uploads", String::new())];
    if let Some((key, name)) = markers {
        let markers = [("key-marker", key.clone()), ("upload-id-marker", name.clone())];
        query.extend(markers.into_iter().filter(|(_, marker)| !marker.is_empty()));
    }
    query
}

fn url(options: &S3Options, key: Option<Named>, query: &str) -> Result<Uri, ObjectError> {
    let authority = match options.naming {
        Naming::Path => options.authority.to_string(),
        Naming::Host => format!("{}.{}", options.bucket, options.authority),
    };
    let mut path = String::from("/");
    if options.naming == Naming::Path {
        path.push_str(&encoded(&options.bucket, PATH));
        path.push('/');
    }
    match key {
        Some(Named::Own(key)) => path.push_str(&encoded(&key_text(&options.prefix, key), PATH)),
        Some(Named::Whole(key)) => path.push_str(&encoded(&key, PATH)),
        None => {}
    }
    if !query.is_empty() {
        path.push('?');
        path.push_str(query);
    }
    let scheme = if options.tls { "https" } else { "http" };
    let url = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    url.map_err(|error| ObjectError::Unusable(error.to_string()))
}

fn query_text(
    options: &S3Options,
    query: Vec<(&'static str, String)>,
    within: Option<String>,
) -> String {
    let mut text = String::new();
    let prefix = within.map(|within| ("prefix", options.prefix.clone() + &within));
    for (name, value) in query.into_iter().chain(prefix) {
        let value = if name.starts_with("max-") { options.page.to_string() } else { value };
        let between = if text.is_empty() { "" } else { "&" };
        // Writing to a text does not fail.
        let _ = write!(text, "{between}{name}={}", encoded(&value, QUERY));
    }
    text
}

fn part_of(multipart: &Multipart, number: PartNumber) -> Vec<(&'static str, String)> {
    vec![("partNumber", number.get().to_string()), ("uploadId", multipart.name.clone())]
}

fn range_text(range: ObjectRange) -> String {
    let last = range.offset + range.bytes.max(1) - 1;
    format!("bytes={}-{last}", range.offset)
}

fn list_text(list: &[(PartNumber, Etag)]) -> String {
    let mut text = String::from("<CompleteMultipartUpload>");
    for (number, Etag(etag)) in list {
        let (number, etag) = (number.get(), quick_xml::escape::escape(etag));
        let _ =
            write!(text, "<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>");
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

fn encoded(text: &str, set: &'static AsciiSet) -> String {
    utf8_percent_encode(text, set).to_string()
}

/// What is written as it is in a query. Source: RFC 3986, section 2.3, as SigV4 asks for.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// And in a path.
const PATH: &AsciiSet = &QUERY.remove(b'/');
const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const COPY_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::piece_event::ObjectName;

    fn options(naming: Naming) -> S3Options {
        S3Options {
            tls: true,
            authority: "s3.example:8443".parse().unwrap(),
            region: "r".into(),
            bucket: "b".into(),
            naming,
            prefix: "in box/".into(),
            requests: 1,
            page: 7,
        }
    }

    fn key() -> Key {
        let name = ObjectName { purpose: Purpose::File, random: [0xab; 16] };
        Key { id: TicketId::from_random([1; 16]), name }
    }

    #[test]
    fn urls_name_the_bucket_in_the_path_or_the_host() {
        let multipart = Multipart { key: key(), name: "a+b/c=".into() };
        let check = |naming, expected: &str| {
            let number = PartNumber::new(3).unwrap();
            let part = ObjectRequest::Part(multipart.clone(), number, Bytes::new().into());
            let (request, _) = Call::of(part).unwrap().build(&options(naming)).unwrap();
            let expected = expected.replace("KEY", &key_text("in%20box/", key()));
            assert_eq!(request.uri().to_string(), expected);
        };
        let query = "partNumber=3&uploadId=a%2Bb%2Fc%3D";
        check(Naming::Path, &format!("https://s3.example:8443/b/KEY?{query}"));
        check(Naming::Host, &format!("https://b.s3.example:8443/KEY?{query}"));
        let list = Call::list(key().id, Purpose::Fragment, Some("x y"));
        let (request, _) = list.build(&options(Naming::Path)).unwrap();
        let query = request.uri().query().unwrap();
        assert!(
            query.starts_with("list-type=2&max-keys=7&continuation-token=x%20y&prefix=in%20box")
        );
    }

    #[test]
    fn a_list_of_parts_is_xml() {
        let etag = Etag("a<b".into());
        assert_eq!(
            list_text(&[(PartNumber::new(9997).unwrap(), etag)]),
            "<CompleteMultipartUpload><Part><PartNumber>9997</PartNumber>\
             <ETag>\"a&lt;b\"</ETag></Part></CompleteMultipartUpload>"
        );
    }
}
