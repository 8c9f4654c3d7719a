//! The fuzz targets, one function each: every parser that meets the network or the disk, and the rules
//! against models. Each takes any bytes and panics where a promise is broken.
//!
//! `fuzz/run` gives them to a fuzzer. `cargo test` gives them what the fuzzer has found worth keeping
//! (`fuzz/corpus`), whole and a little changed, so that no fuzzer is needed to see them break.

use crate::config::fuzzing as config;
use crate::core::fuzzing as core;
use crate::handover::client::fuzzing as handover;
use crate::net::proxy_protocol::fuzzing as proxy_protocol;
use crate::storage::local::format::fuzzing as journal;
use crate::wire::fuzzing as wire;

/// A target: its name, also of its file and its corpus under `fuzz/`, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 23] = [
    ("backend_answer", handover::answer),
    ("callback_url", callback_url),
    ("config_file", config::file),
    ("config_value", config::value),
    ("content_digest", wire::content_digest),
    ("content_range", wire::content_range),
    ("doctor_findings", wire::doctor_findings),
    ("doctor_query", wire::doctor_query),
    ("extents", core::extents),
    ("file_facts", wire::file_facts),
    ("file_name", core::file_name),
    ("foreign_value", wire::foreign_value),
    ("forwarded", wire::forwarded),
    ("host", wire::host),
    ("journal", journal::journal),
    ("journal_records", journal::records),
    ("params", wire::params),
    ("proxy_header", proxy_protocol::header),
    ("route", wire::route),
    ("signing_secrets", core::signing_secrets),
    ("upload", core::upload),
    ("upload_checksum", wire::upload_checksum),
    ("upload_metadata", wire::upload_metadata),
];

/// The target of this name.
///
/// # Panics
/// There is none.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = target.unwrap_or_else(|| panic!("no target {name}"));
    target(data);
}

/// What a ticket takes as its callback URL can be called, and a journal gives it back as it was.
fn callback_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    handover::called(&(&*text).into());
    if let Some(url) = wire::callback_url(&text) {
        assert_eq!(url, url.as_str().into());
        assert!(url.target().is_ok(), "{url:?}");
        handover::called(&url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn corpus() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
    }

    /// The inputs of one target, in order of their names.
    fn inputs(name: &str) -> Vec<(String, Vec<u8>)> {
        let folder = corpus().join(name);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut inputs: Vec<_> =
            paths.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect();
        inputs.sort();
        inputs
    }

    #[test]
    fn every_target_has_a_file_and_a_corpus() {
        let names = |folder: &Path| {
            let entries = std::fs::read_dir(folder).unwrap();
            let names = entries.map(|entry| entry.unwrap().path());
            let mut names: Vec<_> =
                names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        let targets: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&corpus()), targets);
        assert_eq!(names(&corpus().with_file_name("fuzz_targets")), targets);
        for name in targets {
            assert!(inputs(&name).len() >= 2, "{name} has no corpus");
        }
    }

    /// What was found stays found; also cut, with a byte changed, and with a piece of another input.
    #[test]
    fn the_corpus_holds() {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = |end: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % (end as u64).max(1)).unwrap()
        };
        let mut broken = std::collections::BTreeMap::new();
        for (name, target) in TARGETS {
            let inputs = inputs(name);
            let mut attempt = |data: &[u8], from: &str| {
                if std::panic::catch_unwind(|| target(data)).is_err() {
                    broken.entry(name).or_insert_with(|| format!("{data:?}, made from {from}"));
                }
            };
            for (path, input) in &inputs {
                attempt(input, path);
                for _ in 0..4 {
                    let mut changed = input[..next(input.len() + 1)].to_vec();
                    let (_, other) = &inputs[next(inputs.len())];
                    changed.extend(&other[next(other.len() + 1)..]);
                    if !changed.is_empty() {
                        let at = next(changed.len());
                        changed[at] = changed[at].wrapping_add(u8::try_from(next(256)).unwrap());
                    }
                    attempt(&changed, path);
                }
            }
        }
        assert!(broken.is_empty(), "broken: {broken:#?}");
    }
}
