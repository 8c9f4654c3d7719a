//! How the values of object storage and of the shared log are read.

use super::types::{JournalKind, StoreKind};

pub(super) fn store(text: &str) -> Result<StoreKind, String> {
    match text {
        "file" => Ok(StoreKind::File),
        "s3" => Ok(StoreKind::S3),
        _ => Err("must be file or s3".into()),
    }
}

pub(super) fn journal(text: &str) -> Result<JournalKind, String> {
    match text {
        "file" => Ok(JournalKind::File),
        "postgres" => Ok(JournalKind::Postgres),
        _ => Err("must be file or postgres".into()),
    }
}

/// The name of a bucket. Source: Amazon S3, "general purpose bucket naming rules"; older stores take underscores too.
pub(super) fn bucket(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if (3..=255).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("must be the name of a bucket: letters, digits, - . and _, at least 3".into())
    }
}

/// A region, or another word of visible characters.
pub(super) fn word(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("must be visible ASCII characters, at least one, no spaces".into())
    }
}

/// What all keys begin with: with a slash at its end, and none at its beginning.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    if !text.is_empty() && text.len() <= 512 && !text.starts_with('/') && text.bytes().all(fits) {
        Ok(format!("{text}/"))
    } else {
        Err("must be letters, digits, - . _ and /, not / first".into())
    }
}

/// The scheme, host and port of a store.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    const RIGHT: &str = "must be http://HOST:PORT or https://HOST:PORT, without a path";
    let url = super::parse::http_url(text).map_err(|_| RIGHT)?;
    if url.matches('/').count() == 2 { Ok(url) } else { Err(RIGHT.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(prefix("a/b").as_deref(), Ok("a/b/"));
        assert_eq!(prefix("a/b//").as_deref(), Ok("a/b/"));
        for wrong in ["", "/", "/a", "a b", "ä"] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
        assert_eq!(endpoint("http://a:9000/").as_deref(), Ok("http://a:9000"));
        for wrong in ["a:9000", "http://a/b", "http://", "ftp://a", "http://u:p@a"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "ab", "a/b", "a b"] {
            assert!(bucket(wrong).is_err(), "{wrong}");
        }
    }
}
