//! The rules of the source: reads every file under `src/` and reports where it breaks a rule that no
//! compiler checks. The rules are the tables below; each finding names the file, the line and the
//! rule.

// Tests may stop at a surprise; the lint's own exception does not reach functions beside tests.
#![allow(clippy::unwrap_used)]

#[path = "structure/operations.rs"]
mod operations;
#[path = "structure/source.rs"]
mod source;
#[path = "structure/versions.rs"]
mod versions;

use source::{File, check, files, words};
use std::collections::{BTreeMap, BTreeSet};

/// The modules, and what each may import besides itself. Modules that are not named are the top layer
/// and may import everything.
const LAYERS: [(&str, &[&str]); 9] = [
    ("core", &[]),
    ("storage", &["core"]),
    ("engine", &["core", "storage"]),
    ("diagnosis", &["core"]),
    ("client", &["core", "storage", "config"]),
    ("wire", &["core", "storage", "engine", "diagnosis", "net"]),
    ("tls", &["core", "storage"]),
    ("net", &["core", "storage", "engine", "tls"]),
    ("handover", &["core", "storage", "engine", "tls"]),
];

/// Modules of the top layer. A new module has to be added here.
const TOP: [&str; 4] = ["app", "cli", "config", "fuzzing"];

/// What `core` may take from outside, for everything and by file.
const CORE_CRATES: [(&str, &str); 9] = [
    ("", "std"),
    ("", "crate"),
    ("core/digest.rs", "sha1"),
    ("core/digest.rs", "sha2"),
    ("core/id.rs", "uuid"),
    ("core/name.rs", "unicode_segmentation"),
    ("core/signing.rs", "base64"),
    ("core/signing.rs", "hmac"),
    ("core/signing.rs", "sha2"),
];

/// Words that must not occur in `core`: no async, no IO, no clock, no randomness, no HTTP.
const CORE_WORDS: [&str; 13] = [
    "async",
    "await",
    "tokio",
    "SystemTime",
    "Instant",
    "rand",
    "getrandom",
    "serde",
    "serde_json",
    "hyper",
    "http",
    "futures_core",
    "tracing",
];

/// Modules of the standard library that `core` must not touch.
const CORE_STD: [&str; 7] = ["io", "fs", "net", "env", "process", "thread", "os"];

/// Longest file, in lines.
const MOST_LINES: usize = 450;

/// The tables of the dialects.
const STATUS_TABLES: [&str; 3] = [
    "wire/dialect/native/problem.rs",
    "wire/dialect/resumable/status.rs",
    "wire/dialect/tus/status.rs",
];

/// Files besides them that name a status code, and why.
const STATUS_FILES: [(&str, &str); 3] = [
    ("wire/create.rs", "the web app's status is passed on"),
    ("wire/assets.rs", "204 and 304 are no refusals"),
    ("wire/reply.rs", "204 of a preflight and 308 are no refusals"),
];

#[test]
fn imports_point_down() {
    check("imports point down only (see LAYERS in tests/structure.rs)", |file, found| {
        let Some((module, allowed)) = LAYERS.iter().find(|(module, _)| *module == file.module)
        else {
            return;
        };
        for (line, target) in file.imports() {
            if target != *module && !allowed.contains(&target.as_str()) {
                found.push((line, format!("{module} imports crate::{target}")));
            }
        }
    });
}

/// A database or a bucket can be behind the same interfaces.
#[test]
fn the_engine_knows_no_local_disk() {
    check("engine names the interfaces of storage alone, not storage::local", |file, found| {
        if file.module != "engine" {
            return;
        }
        for (number, line) in file.product() {
            if line.contains("storage::local") || line.contains("storage::memory") {
                found.push((number, line.trim().into()));
            }
        }
    });
}

#[test]
fn every_module_has_a_layer() {
    check("every module has a layer (see LAYERS and TOP in tests/structure.rs)", |file, found| {
        let known = LAYERS.iter().any(|(module, _)| *module == file.module)
            || TOP.contains(&file.module.as_str())
            || ["lib.rs", "main.rs"].contains(&file.name.as_str());
        if !known {
            found.push((1, format!("module {} has no layer", file.module)));
        }
    });
}

#[test]
fn core_is_pure() {
    check("core has no async, IO, clock, randomness, serde or HTTP", |file, found| {
        if file.module != "core" {
            return;
        }
        for (number, line) in file.product() {
            let found_words: Vec<&str> = words(line).collect();
            for word in CORE_WORDS {
                if found_words.contains(&word) {
                    found.push((number, format!("the word {word}")));
                }
            }
            for module in CORE_STD {
                if line.contains(&format!("std::{module}"))
                    && found_words.windows(2).any(|pair| pair == ["std", module])
                {
                    found.push((number, format!("std::{module}")));
                }
            }
            let used = line.trim_start().strip_prefix("use ").and_then(|rest| words(rest).next());
            let allowed = |used: &str| {
                ["super", "self"].contains(&used)
                    || CORE_CRATES.iter().any(|(name, krate)| {
                        *krate == used && (name.is_empty() || *name == file.name)
                    })
            };
            if let Some(used) = used.filter(|used| !allowed(used)) {
                found.push((number, format!("use of {used}")));
            }
        }
    });
}

/// What a command prints may come from a server, a file name or a journal: one file writes it, and escapes it.
#[test]
fn issue_13_commands_print_through_the_terminal_alone() {
    check("commands print through cli/terminal.rs alone, which escapes", |file, found| {
        if file.module != "cli" || file.name == "cli/terminal.rs" {
            return;
        }
        for (number, line) in file.product() {
            for way in ["io::stdout", "io::stderr", "println!", "print!", "dbg!"] {
                if line.contains(way) {
                    found.push((number, way.to_owned()));
                }
            }
        }
    });
}

/// A request's body is made by `net`, so that another transport can make it too.
#[test]
fn request_bodies_come_from_net() {
    check("net/body.rs alone names the body that hyper hands to a server", |file, found| {
        let serves = ["engine", "wire", "app"].contains(&file.module.as_str())
            || file.name.starts_with("cli/demo");
        for (number, line) in file.product().filter(|_| serves) {
            if words(line).any(|word| word == "Incoming") {
                found.push((number, "hyper's Incoming".into()));
            }
        }
    });
}

#[test]
fn files_are_short() {
    check("a file has at most 450 lines", |file, found| {
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            found.push((lines, format!("{lines} lines, at most {MOST_LINES} are allowed")));
        }
    });
}

#[test]
fn files_begin_with_their_promise() {
    check("a file begins with //! and what it promises", |file, found| {
        if !file.text.starts_with("//! ") {
            found.push((1, "no //! on the first line".into()));
        }
    });
}

#[test]
fn status_codes_stand_in_one_table() {
    check("status codes stand in one table (exceptions: STATUS_FILES)", |file, found| {
        // The demo's web app is a user of the server, with a surface of its own.
        let apart = STATUS_TABLES.contains(&&*file.name)
            || file.name.starts_with("cli/demo/")
            // A client reads answers.
            || file.name.starts_with("client/");
        if apart || STATUS_FILES.iter().any(|(name, _)| *name == file.name) {
            return;
        }
        for (number, line) in file.product() {
            let named = line.split("StatusCode::").skip(1).any(|rest| {
                rest.starts_with(|c: char| c.is_ascii_uppercase()) || rest.starts_with("from_u16")
            });
            if named {
                found.push((number, line.trim().into()));
            }
        }
    });
}

/// A failure is a type that its caller can match, not a sentence.
#[test]
fn errors_are_types() {
    check("no Result<_, String> outside tests and the configuration", |file, found| {
        for (number, line) in file.product().filter(|_| file.module != "config") {
            if line.contains(", String>") && line.contains("Result<") {
                found.push((number, line.trim().into()));
            }
        }
    });
}

/// Two files that import each other are one file in two pieces. A module and the files in its folder are one.
#[test]
fn imports_have_no_circle() {
    let files = files();
    let index: BTreeMap<Vec<String>, usize> =
        files.iter().enumerate().map(|(at, file)| (file.path(), at)).collect();
    let imports: Vec<BTreeSet<usize>> = files
        .iter()
        .enumerate()
        .map(|(at, file)| {
            let from = file.path();
            let related = |to: &[String]| from.starts_with(to) || to.starts_with(&from);
            let targets = file.used_paths().into_iter().filter_map(|path| {
                let known = (1..=path.len()).rev().find(|n| index.contains_key(&path[..*n]))?;
                (!related(&path[..known])).then(|| index[&path[..known]])
            });
            targets.filter(|to| *to != at).collect()
        })
        .collect();
    // A file is in a circle if it can be reached from what it imports.
    let reached = |from: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            open.extend(imports[next].iter().filter(|to| seen.insert(**to)));
        }
        seen
    };
    let circle: Vec<&str> = (0..files.len())
        .filter(|at| reached(*at).contains(at))
        .map(|at| files[at].name.as_str())
        .collect();
    assert!(circle.is_empty(), "these files import each other in a circle: {circle:?}");
}

#[test]
fn nothing_is_unwrapped() {
    check("outside tests nothing is unwrapped: expect states the invariant", |file, found| {
        for (number, line) in file.product().filter(|(_, line)| line.contains(".unwrap()")) {
            found.push((number, line.trim().into()));
        }
    });
}

#[test]
fn nothing_is_unsafe() {
    check("no unsafe code", |file, found| {
        for (number, line) in file.code.iter().enumerate() {
            if words(line).any(|word| word == "unsafe") {
                found.push((number + 1, line.trim().into()));
            }
        }
    });
}

/// `==` ends at the first byte that differs, and so tells how many were right.
#[test]
fn secrets_are_compared_in_constant_time() {
    check("secrets and tokens are compared by ct_eq, never by == or !=", |file, found| {
        for (number, line) in file.product().filter(|(_, line)| compares_a_secret(line)) {
            found.push((number, line.trim().into()));
        }
    });
}

fn compares_a_secret(line: &str) -> bool {
    let sides = line.split("&&").flat_map(|part| part.split("||"));
    sides.filter(|part| part.contains(" == ") || part.contains(" != ")).any(|part| {
        let secret = |word| ["secret", "token", "backend_token", "password"].contains(&word);
        words(part).any(secret)
    })
}

/// The exceptions themselves must not rot.
#[test]
fn exceptions_name_files_that_exist() {
    let names: BTreeSet<String> = files().iter().map(|file| file.name.clone()).collect();
    let excepted = STATUS_FILES.iter().map(|(name, _)| *name);
    for name in excepted.chain(CORE_CRATES.iter().map(|(name, _)| *name)) {
        assert!(name.is_empty() || names.contains(name), "no file src/{name}");
    }
}

/// The checks find what they should find.
#[test]
fn the_checks_find_violations() {
    let read = |name: &str, text: &str| File::new(name.into(), text.into(), &[]);
    let imports = |name: &str, text: &str| {
        let file = read(name, text);
        file.imports().into_iter().map(|(_, module)| module).collect::<Vec<_>>()
    };
    assert_eq!(imports("core/a.rs", "use crate::engine::Engine;\n"), ["engine"]);
    assert_eq!(
        imports("core/a.rs", "use crate::{\n    storage::S,\n    wire::{self, W},\n};\n"),
        ["storage", "wire"]
    );
    assert_eq!(imports("core/a.rs", "fn f() { crate::net::serve(); }\n"), ["net"]);
    assert_eq!(imports("core/a.rs", "use super::super::storage::log;\n"), ["storage"]);
    assert_eq!(imports("core/a.rs", "use super::b;\n"), Vec::<String>::new());
    let nested = "mod tests {\n    use super::super::b;\n    use super::super::super::wire;\n}\n";
    assert_eq!(imports("core/a.rs", nested), ["wire"]);
    assert_eq!(
        imports("core/a.rs", "// crate::net\n/* crate::net */ const A: &str = \"crate::net\";\n"),
        Vec::<String>::new()
    );
    assert!(compares_a_secret("if given == ticket.secret {"));
    assert!(compares_a_secret("let right = token != &*given;"));
    assert!(!compares_a_secret("if bool::from(token.ct_eq(given)) && length == 3 {"));
    let file =
        read("core/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
    let used =
        read("net/a.rs", "use crate::core::{a::A, b::{self, B}};\nuse super::c;\nuse std::io;\n");
    let paths: Vec<String> = used.used_paths().iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["core::a::A", "core::b::self", "core::b::B", "net::c"]);
    let product: Vec<usize> = file.product().map(|(number, _)| number).collect();
    assert_eq!(product, [1, 6]);
}
