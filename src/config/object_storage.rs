//! What holds the settings of object storage and of the shared log against each other.

use super::table::Settings;
use super::types::{Ack, JournalKind, StoreKind};
use crate::core::grid::MIN_PART_BYTES;

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
    if !fits {
        return broken("s3_part_size", "must be from 5MiB to 1GiB");
    }
    let fits = settings.part_memory >= LEAST_PART_MEMORY;
    (!fits).then(|| ("part_memory", "must be at least 8MiB".to_owned()))
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

/// One upload has an eighth of it, and asks for 1 MiB at a time.
const LEAST_PART_MEMORY: u64 = 8 << 20;
/// A server holds whole parts in memory.
const MOST_PART_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

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
        check(|it| it.part_memory = LEAST_PART_MEMORY - 1, Some("part_memory"));
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
