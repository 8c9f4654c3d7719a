//! The XML of answers. Unknown elements are passed over; names are read without their namespace.

use quick_xml::events::Event;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The first element's name, and what it holds; `None` where it is none of these, or not whole.
pub(super) fn read<T: DeserializeOwned>(root: &str, body: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(body).ok()?;
    if root_of(text)? == root { quick_xml::de::from_str(text).ok() } else { None }
}

/// What a store says when it refuses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Refusal {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

/// `CreateMultipartUpload`.
#[derive(Debug, Deserialize)]
pub(super) struct Begun {
    #[serde(rename = "UploadId")]
    pub(super) upload: String,
}

/// `UploadPartCopy`.
#[derive(Debug, Deserialize)]
pub(super) struct Copied {
    #[serde(rename = "ETag")]
    pub(super) etag: String,
}

/// `CompleteMultipartUpload`: that it is there is what counts. Ceph's first answer has no ETag.
#[derive(Debug, Deserialize)]
pub(super) struct Completed {
    #[serde(default, rename = "ETag")]
    pub(super) etag: String,
}

/// `ListParts`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parts {
    #[serde(default)]
    pub(super) is_truncated: bool,
    #[serde(default)]
    pub(super) next_part_number_marker: Option<u32>,
    #[serde(default, rename = "Part")]
    pub(super) parts: Vec<Part>,
}

/// One part.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Part {
    pub(super) part_number: u32,
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    pub(super) size: u64,
}

/// `ListObjectsV2`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Objects {
    #[serde(default)]
    pub(super) is_truncated: bool,
    #[serde(default)]
    pub(super) next_continuation_token: Option<String>,
    #[serde(default)]
    pub(super) contents: Vec<Object>,
}

/// One object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Object {
    pub(super) key: String,
    #[serde(default)]
    pub(super) last_modified: String,
}

/// `ListMultipartUploads`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Multiparts {
    #[serde(default)]
    pub(super) is_truncated: bool,
    #[serde(default)]
    pub(super) next_key_marker: Option<String>,
    #[serde(default)]
    pub(super) next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    pub(super) uploads: Vec<Multipart>,
}

/// One multipart upload.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Multipart {
    pub(super) key: String,
    pub(super) upload_id: String,
    #[serde(default)]
    pub(super) initiated: String,
}

impl Multiparts {
    /// Where the next page begins, if there is one; `None` where that is not said.
    #[expect(clippy::option_option, reason = "a page that leads nowhere is not the last one")]
    pub(super) fn next(&self) -> Option<Option<(String, String)>> {
        let next = (self.next_key_marker.clone(), self.next_upload_id_marker.clone());
        // SeaweedFS goes on by the name of the multipart upload alone.
        match (next.0.unwrap_or_default(), next.1.unwrap_or_default()) {
            _ if !self.is_truncated => Some(None),
            (key, name) if key.is_empty() && name.is_empty() => None,
            next => Some(Some(next)),
        }
    }
}

/// An ETag without the quotes that it may have.
pub(super) fn bare(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

fn root_of(text: &str) -> Option<String> {
    let mut reader = quick_xml::Reader::from_str(text);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) | Event::Empty(start) => {
                let name = start.local_name();
                return Some(name.as_ref().to_owned());
            }
            Event::Eof => return None,
            Event::End(_)
            | Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_stores() {
        let spaces = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n   \n";
        let whole = format!(
            "{spaces}<CompleteMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <ETag></ETag></CompleteMultipartUploadResult>"
        );
        assert!(read::<Completed>("CompleteMultipartUploadResult", whole.as_bytes()).is_some());
        let late = format!("{spaces}<Error><Code>InternalError</Code><RequestId/></Error>");
        assert!(read::<Completed>("CompleteMultipartUploadResult", late.as_bytes()).is_none());
        let error: Refusal = read("Error", late.as_bytes()).unwrap();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("InternalError", ""));
        // Cut off.
        for cut in [0, spaces.len(), whole.len() - 1] {
            let result =
                read::<Completed>("CompleteMultipartUploadResult", &whole.as_bytes()[..cut]);
            assert!(result.is_none(), "{cut}");
        }
        assert!(read::<Refusal>("Error", b"<html><body>502</body></html>").is_none());
    }

    #[test]
    fn lists_of_stores() {
        let parts: Parts = read(
            "ListPartsResult",
            b"<ListPartsResult><Bucket>b</Bucket><Part><PartNumber>1</PartNumber>\
              <LastModified>x</LastModified><ETag>&quot;a&quot;</ETag><Size>5</Size></Part>\
              <IsTruncated>true</IsTruncated><Part><PartNumber>7</PartNumber><ETag>b</ETag><Size>6</Size></Part>\
              <NextPartNumberMarker>7</NextPartNumberMarker></ListPartsResult>",
        )
        .unwrap();
        let found: Vec<_> =
            parts.parts.iter().map(|it| (it.part_number, bare(&it.etag), it.size)).collect();
        assert_eq!(found, [(1, "a", 5), (7, "b", 6)]);
        assert_eq!((parts.is_truncated, parts.next_part_number_marker), (true, Some(7)));
        let none: Objects = read("ListBucketResult", b"<ListBucketResult/>").unwrap();
        assert!(none.contents.is_empty() && !none.is_truncated);
    }
}
