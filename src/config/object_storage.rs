//! Settings of object storage and of the shared log: how their values are read, and what holds them against each other.

use super::table::Settings;
use super::types::{Ack, JournalKind, StoreKind};
use crate::core::grid::MIN_PART_BYTES;

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

type Broken = (&'static str, String);

/// A bucket has a name, keys come in pairs, and an acknowledgement is as safe as the bucket.
pub(super) fn bucket_rule(settings: &Settings) -> Option<Broken> {
    let Settings { s3_access_key, s3_secret_key, .. } = settings;
    if s3_access_key.is_some() != s3_secret_key.is_some() {
        return broken("s3_access_key", "needs s3_secret_key, and the other way round");
    }
    if settings.store == StoreKind::File {
        return None;
    }
    if !cfg!(feature = "cluster") {
        return broken("store", "needs a program built with the feature cluster");
    }
    if settings.s3_bucket.is_none() {
        return broken("store", "needs s3_bucket");
    }
    (settings.ack == Ack::Written)
        .then_some(("ack", "must be durable: what is in a bucket is".to_owned()))
}

/// Parts have the size that stores take; the last one of a file may be smaller.
pub(super) fn part_rule(settings: &Settings) -> Option<Broken> {
    let fits = (MIN_PART_BYTES..=MOST_PART_BYTES).contains(&settings.s3_part_size);
    (!fits).then(|| ("s3_part_size", "must be from 5MiB to 1GiB".to_owned()))
}

/// Servers that share a log share a bucket, and the log is somewhere.
pub(super) fn journal_rule(settings: &Settings) -> Option<Broken> {
    if settings.journal == JournalKind::File {
        return None;
    }
    if settings.store == StoreKind::File {
        return broken(
            "journal",
            "needs store = s3: two servers that write into one file cannot be told apart",
        );
    }
    if settings.postgres_url.is_none() {
        return broken("journal", "needs postgres_url");
    }
    None
}

fn broken(key: &'static str, right: &str) -> Option<Broken> {
    Some((key, right.to_owned()))
}

/// A server holds whole parts in memory.
const MOST_PART_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

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

    #[test]
    fn what_does_not_fit_together() {
        let check = |change: fn(&mut Settings), key: Option<&str>| {
            let mut settings = Settings::default();
            change(&mut settings);
            let rules = [bucket_rule, part_rule, journal_rule];
            let found = rules.iter().find_map(|rule| rule(&settings)).map(|(key, _)| key);
            assert_eq!(found, key, "{settings:?}");
        };
        let built =
            |key: &'static str| if cfg!(feature = "cluster") { Some(key) } else { Some("store") };
        check(|_| {}, None);
        check(|it| it.s3_access_key = Some("a".into()), Some("s3_access_key"));
        check(|it| it.s3_part_size = MIN_PART_BYTES - 1, Some("s3_part_size"));
        check(|it| it.journal = JournalKind::Postgres, Some("journal"));
        check(|it| it.store = StoreKind::S3, Some("store"));
        let s3: fn(&mut Settings) = |it| {
            it.store = StoreKind::S3;
            it.s3_bucket = Some("uploads".into());
        };
        check(s3, if cfg!(feature = "cluster") { None } else { Some("store") });
        let written: fn(&mut Settings) = |it| {
            it.store = StoreKind::S3;
            it.s3_bucket = Some("uploads".into());
            it.ack = Ack::Written;
        };
        check(written, built("ack"));
        let nowhere: fn(&mut Settings) = |it| {
            it.store = StoreKind::S3;
            it.s3_bucket = Some("uploads".into());
            it.journal = JournalKind::Postgres;
        };
        check(nowhere, built("journal"));
        let whole: fn(&mut Settings) = |it| {
            it.store = StoreKind::S3;
            it.s3_bucket = Some("uploads".into());
            it.journal = JournalKind::Postgres;
            it.postgres_url = Some(Secret::new("postgres://h/d"));
        };
        check(whole, if cfg!(feature = "cluster") { None } else { Some("store") });
    }
}
