//! The rules of the source: reads every file under `src/` and reports where it breaks a rule that no
//! compiler checks. The rules are the tables below; each verdict names the file, the line and the
//! rule.
//!
//! It reads text, not syntax trees: comments and literals are blanked first, and the layout that
//! rustfmt gives is relied on to tell where a module ends.

// Tests may stop at a surprise; the lint's own exception does not reach functions beside tests.
#![allow(clippy::unwrap_used)]

#[path = "floors/operations.rs"]
mod operations;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

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
const CORE_CRATES: [(&str, &str); 5] = [
    ("", "std"),
    ("", "crate"),
    ("core/digest.rs", "sha2"),
    ("core/id.rs", "uuid"),
    ("core/name.rs", "unicode_segmentation"),
];

/// Words that must not occur in `core`: no async, no IO, no clock, no chance, no HTTP.
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
/// Files that are longer, and why; none is over [`LAST_LINE`].
const LONG_FILES: [(&str, &str); 1] =
    [("net/tests.rs", "tests of a whole module against one pair of sockets")];
/// No reason is good enough beyond this.
const LAST_LINE: usize = 700;

/// Files besides `wire/dialect/native/problem.rs` that name a status code, and why.
const STATUS_FILES: [(&str, &str); 2] = [
    ("wire/assets.rs", "204 and 304 are no refusals"),
    ("wire/reply.rs", "204 of a preflight and 308 are no refusals"),
];

#[test]
fn imports_point_down() {
    check("imports point down only (see LAYERS in tests/floors.rs)", |file, found| {
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

#[test]
fn every_module_has_a_layer() {
    check("every module has a layer (see LAYERS and TOP in tests/floors.rs)", |file, found| {
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
    check("core has no async, IO, clock, chance, serde or HTTP", |file, found| {
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
    check(
        "a file has at most 450 lines (exceptions: LONG_FILES in tests/floors.rs)",
        |file, found| {
            let lines = file.text.lines().count();
            let excepted = LONG_FILES.iter().any(|(name, _)| *name == file.name);
            let most = if excepted { LAST_LINE } else { MOST_LINES };
            if lines > most {
                found.push((lines, format!("{lines} lines, at most {most} are allowed")));
            }
            if excepted && lines <= MOST_LINES {
                found.push((lines, "is short again: take it out of LONG_FILES".into()));
            }
        },
    );
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
        let apart = file.name == "wire/dialect/native/problem.rs"
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
    let names: BTreeSet<String> = files().into_iter().map(|file| file.name).collect();
    let excepted = LONG_FILES.iter().chain(&STATUS_FILES).map(|(name, _)| *name);
    for name in excepted.chain(CORE_CRATES.iter().map(|(name, _)| *name)) {
        assert!(name.is_empty() || names.contains(name), "no file src/{name}");
    }
}

/// The checks find what they should find.
#[test]
fn the_checks_find_violations() {
    let judge = |name: &str, text: &str| File::new(name.into(), text.into(), &[]);
    let imports = |name: &str, text: &str| {
        let file = judge(name, text);
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
        judge("core/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
    let product: Vec<usize> = file.product().map(|(number, _)| number).collect();
    assert_eq!(product, [1, 6]);
}

/// One file under `src/`.
struct File {
    /// Path below `src/`.
    name: String,
    /// First part of the path, without `.rs`.
    module: String,
    text: String,
    /// The lines with comments and literals blanked.
    code: Vec<String>,
    /// Which lines are compiled for tests alone.
    tests: Vec<bool>,
}

impl File {
    fn new(name: String, text: String, test_files: &[String]) -> Self {
        let module = name.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        let code: Vec<String> = blank(&text).lines().map(str::to_owned).collect();
        let whole = test_files.iter().any(|test| {
            let folder = format!("{}/", test.trim_end_matches(".rs"));
            name == *test || name.starts_with(&folder)
        });
        let tests = if whole { vec![true; code.len()] } else { test_lines(&code) };
        Self { name, module, text, code, tests }
    }

    /// Lines that are part of the product, numbered from 1.
    fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.code.iter().enumerate().filter(|(number, _)| !self.tests[*number]);
        numbered.map(|(number, line)| (number + 1, line.as_str()))
    }

    /// Modules that a path in this file names, tests included.
    fn imports(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let code = self.code.join("\n");
        let line_of = |at: usize| code[..at].matches('\n').count() + 1;
        for (at, _) in code.match_indices("crate::") {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            for module in heads(&code[at + "crate::".len()..]) {
                found.push((line_of(at), module));
            }
        }
        // `super::` chains that climb to the root.
        let mut nesting: Vec<usize> = Vec::new();
        for (number, line) in self.code.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if line.trim() == "}" && nesting.last() == Some(&indent) {
                nesting.pop();
            }
            for chain in
                line.match_indices("super::").filter(|(at, _)| !line[..*at].ends_with("super::"))
            {
                let rest = &line[chain.0..];
                let climbs = rest.split("super::").take_while(|part| part.is_empty()).count();
                if climbs >= self.depth() + nesting.len() {
                    let below = &rest[climbs * "super::".len()..];
                    found.extend(heads(below).into_iter().map(|module| (number + 1, module)));
                }
            }
            if line.trim_end().ends_with('{') && words(line).any(|word| word == "mod") {
                nesting.push(indent);
            }
        }
        found
    }

    /// How many modules this file is below the root.
    fn depth(&self) -> usize {
        self.name.matches('/').count() + 1
    }
}

/// The first names of what follows `crate::`: one, or those of a group.
fn heads(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return words(rest).next().map(str::to_owned).into_iter().collect();
    };
    let mut depth = 0_usize;
    let mut part = String::new();
    let mut parts = Vec::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            c if depth == 0 => part.push(c),
            _ => {}
        }
    }
    parts.push(part);
    parts.iter().filter_map(|part| words(part).next()).map(str::to_owned).collect()
}

/// Identifiers and numbers, in order.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Which lines belong to an item under `#[cfg(test)]`.
fn test_lines(code: &[String]) -> Vec<bool> {
    let mut tests = vec![false; code.len()];
    let mut number = 0;
    while number < code.len() {
        if code[number].trim() != "#[cfg(test)]" {
            number += 1;
            continue;
        }
        let indent = code[number].len() - code[number].trim_start().len();
        let mut end = number;
        // Attributes, then the item's first line, then its end.
        while end < code.len() && code[end].trim_start().starts_with('#') {
            end += 1;
        }
        if code.get(end).is_some_and(|line| line.trim_end().ends_with('{')) {
            let close = format!("{}}}", " ".repeat(indent));
            while end < code.len() && code[end].trim_end() != close {
                end += 1;
            }
        }
        let last = end.min(code.len() - 1);
        tests[number..=last].fill(true);
        number = last + 1;
    }
    tests
}

/// `text` with comments and literals as blanks, line ends kept.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    let keep = |c: char| if c == '\n' { '\n' } else { ' ' };
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let ahead = |pattern: &str| rest.iter().copied().take(pattern.len()).eq(pattern.chars());
        let before = if at == 0 { ' ' } else { chars[at - 1] };
        let word = before.is_alphanumeric() || before == '_';
        let length = if ahead("//") {
            rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
        } else if ahead("/*") {
            let end = rest.windows(2).skip(2).position(|pair| pair == ['*', '/']);
            end.map_or(rest.len(), |end| end + 4)
        } else if rest[0] == '"' {
            string(rest)
        } else if !word && (ahead("r\"") || ahead("r#") || ahead("br\"") || ahead("br#")) {
            raw_string(rest)
        } else if ahead("'\\") {
            rest.iter().skip(3).position(|c| *c == '\'').map_or(1, |end| end + 4)
        } else if rest[0] == '\'' && rest.get(2) == Some(&'\'') {
            3
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        out.extend(rest[..length].iter().map(|c| keep(*c)));
        at += length;
    }
    out
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[char]) -> usize {
    let prefix = if rest[0] == 'b' { 2 } else { 1 };
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    if rest.get(prefix + hashes) != Some(&'"') {
        // A raw identifier.
        return prefix;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = prefix + hashes + 1;
    let end = rest[body..].windows(close.len()).position(|window| window == close);
    end.map_or(rest.len(), |end| body + end + close.len())
}

/// Judges every file by one rule; fails with all that was found.
fn check(rule: &str, judge: impl Fn(&File, &mut Vec<(usize, String)>)) {
    let mut verdict = String::new();
    for file in files() {
        let mut found = Vec::new();
        judge(&file, &mut found);
        for (line, what) in found {
            let _ = writeln!(verdict, "  src/{}:{line}: {what}", file.name);
        }
    }
    assert!(verdict.is_empty(), "{rule}, but:\n{verdict}");
}

/// Every file under `src/`, in order of its name.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let read: Vec<(String, String)> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    let test_files: Vec<String> =
        read.iter().flat_map(|(name, text)| declared_tests(name, text)).collect();
    read.into_iter().map(|(name, text)| File::new(name, text, &test_files)).collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, paths);
        } else if path.extension().is_some_and(|end| end == "rs") {
            paths.push(path);
        }
    }
}

/// Files that `name` declares as modules under `#[cfg(test)]`.
fn declared_tests(name: &str, text: &str) -> Vec<String> {
    let folder = match name.rsplit_once('/') {
        _ if name == "lib.rs" || name == "main.rs" => String::new(),
        _ => format!("{}/", name.trim_end_matches(".rs")),
    };
    let beside = name.rsplit_once('/').map_or(String::new(), |(above, _)| format!("{above}/"));
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (number, _) in lines.iter().enumerate().filter(|(_, line)| line.trim() == "#[cfg(test)]") {
        let mut path = None;
        for line in lines[number + 1..].iter().map(|line| line.trim()) {
            if let Some(given) = line.strip_prefix("#[path = \"") {
                path = Some(format!("{beside}{}", given.trim_end_matches("\"]")));
            } else if let Some(module) = line.strip_suffix(';').and_then(|l| l.split("mod ").nth(1))
            {
                found.push(path.unwrap_or_else(|| format!("{folder}{module}.rs")));
                break;
            } else if !line.starts_with('#') {
                break;
            }
        }
    }
    found
}
