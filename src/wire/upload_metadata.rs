//! The header `Upload-Metadata`: what tus clients say of their file. Kept and echoed as it came; only name and media type
//! are read. Source: tus 1.0, creation.

use super::dialect::native::json::short_type;
use super::problem::Problem;
use crate::core::name;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// Bytes of the header, at most: it is in the journal, in memory, and in each call to the backend.
pub(super) const MAX_BYTES: usize = 16 << 10;

/// What the header says of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Its harmless name.
    pub(super) name: Option<String>,
    /// Its media type.
    pub(super) media_type: Option<String>,
}

/// Reads name and media type, each by the first of its keys that has a value. A pair that cannot be read is no reason
/// to refuse a file: it is skipped.
///
/// Errors: the header is longer than [`MAX_BYTES`], or has characters that are not visible ASCII.
pub(super) fn read(raw: &str) -> Result<Named, Problem> {
    if raw.len() > MAX_BYTES {
        let detail =
            format!("Upload-Metadata has {} bytes, at most {MAX_BYTES} are allowed", raw.len());
        return Err(Problem::bad_request(detail));
    }
    if !raw.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Problem::bad_request("Upload-Metadata has characters that are not ASCII"));
    }
    let first = |keys: &[&str]| keys.iter().find_map(|key| value(raw, key));
    Ok(Named {
        name: first(&["filename", "name"]).map(|name| name::harmless(&name)),
        media_type: first(&["filetype", "type", "contentType"]).map(|it| short_type(&it)),
    })
}

/// The value of a key: decoded, and not empty.
fn value(raw: &str, key: &str) -> Option<String> {
    let pairs = raw.split(',').filter_map(|pair| pair.trim().split_once(' '));
    let found = pairs.filter(|(name, _)| *name == key);
    let mut values = found.filter_map(|(_, coded)| BASE64.decode(coded.trim()).ok());
    let bytes = values.find(|bytes| !bytes.is_empty())?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Clients differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_type() {
        let check = |raw: &str, name: Option<&str>, media_type: Option<&str>| {
            let expected =
                Named { name: name.map(str::to_owned), media_type: media_type.map(str::to_owned) };
            assert_eq!(read(raw).unwrap(), expected, "{raw:?}");
        };
        check("", None, None);
        check("filename ZmlsbS5tcDQ=,filetype dmlkZW8vbXA0", Some("film.mp4"), Some("video/mp4"));
        // Uppy sends both spellings, empty types, and keys without a value.
        check("relativePath bnVsbA==,name YQ==,type ,filetype", Some("a"), None);
        check("name YQ==,filename Yg==", Some("b"), None);
        check("filename,name YQ==", Some("a"), None);
        check(" filename  YS9iLnR4dA== , type dGV4dC9wbGFpbg", Some("b.txt"), Some("text/plain"));
        // Not base64, not UTF-8, not a known key.
        check("filename a b,filetype !!,contentType dGV4dA==", None, Some("text"));
        check("filename /w==", Some("\u{FFFD}"), None);
        check("Filename YQ==,is_confidential", None, None);
    }

    #[test]
    fn issue_15_one_odd_pair_refuses_nothing_but_size_does() {
        let longest = "x".repeat(MAX_BYTES);
        assert_eq!(read(&longest).unwrap(), Named::default());
        for bad in [format!("{longest}x"), "filename ä".to_owned(), "a\nb".to_owned()] {
            assert!(read(&bad).is_err());
        }
    }
}
