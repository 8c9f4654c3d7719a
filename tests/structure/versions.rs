//! Holds `Cargo.lock` to versions without the flaws that are known of earlier ones, and keeps out what
//! must not come in. `cargo deny` knows more, where it and its advisories can be had; this list needs
//! nothing.

use std::path::Path;

/// Crates that meet untrusted bytes, the least version of each, and what is wrong before it.
const LEAST: [(&str, [u64; 3], &str); 8] = [
    ("bytes", [1, 11, 1], "BytesMut::reserve overflows"),
    ("h2", [0, 4, 20], "resets, CONTINUATION or empty frames without bounds"),
    ("hyper", [1, 11, 0], "not what the limits in net/options.rs were tried with"),
    ("ring", [0, 17, 12], "panics where overflow is checked"),
    ("rustls", [0, 23, 18], "a crafted hello makes Acceptor panic"),
    ("rustls-webpki", [0, 103, 13], "certificates or revocation lists judged wrongly"),
    ("tokio", [1, 44, 2], "a broadcast channel clones what is not Sync"),
    ("tracing-subscriber", [0, 3, 20], "commands for terminals pass into logs"),
];

/// Crates that are no longer maintained, and TLS in C.
const OUT: [&str; 8] = [
    "rustls-pemfile",
    "openssl",
    "openssl-sys",
    "native-tls",
    "atty",
    "instant",
    "paste",
    "proc-macro-error",
];

/// Names and versions in a lock file.
fn locked(text: &str) -> Vec<(String, [u64; 3])> {
    let table: toml::Table = toml::from_str(text).unwrap();
    let packages = table["package"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap().to_owned();
            // A pre-release is before its version; none is in use.
            let version = text("version");
            let plain = version.split('+').next().unwrap();
            let numbers: Vec<u64> = plain.split('.').map(|n| n.parse().unwrap()).collect();
            (text("name"), numbers.try_into().unwrap())
        })
        .collect()
}

/// What is wrong with a lock file.
fn known_flaws(locked: &[(String, [u64; 3])]) -> Vec<String> {
    let old = locked.iter().flat_map(|(name, version)| {
        let least = LEAST.iter().filter(move |(krate, least, _)| krate == name && version < least);
        least.map(move |(_, least, why)| format!("{name} {version:?} is before {least:?}: {why}"))
    });
    let out = locked.iter().filter(|(name, _)| OUT.contains(&name.as_str()));
    old.chain(out.map(|(name, _)| format!("{name} must stay out"))).collect()
}

#[test]
fn no_version_with_a_known_flaw() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let locked = locked(&std::fs::read_to_string(root.join("Cargo.lock")).unwrap());
    assert!(locked.len() > 50, "Cargo.lock was not read");
    assert_eq!(known_flaws(&locked), Vec::<String>::new());
}

#[test]
fn the_list_is_not_blind() {
    let check = |name: &str, version: [u64; 3], wrong: bool| {
        let found = known_flaws(&[(name.to_owned(), version)]);
        assert_eq!(!found.is_empty(), wrong, "{found:?}");
    };
    check("h2", [0, 4, 19], true);
    check("h2", [0, 4, 20], false);
    check("hyper", [0, 14, 99], true);
    check("rustls-pemfile", [2, 2, 0], true);
    check("itoa", [1, 0, 0], false);
}
