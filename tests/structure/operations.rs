//! docs/operations against the source: every log event and every error code is documented,
//! with its level, fields, status and number, and nothing that does not exist.

use incoming::wire::problem::Code;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The cells of every row of every table, without the heads.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let lines: Vec<&str> = text.lines().collect();
    let table = |at: usize| lines.get(at).is_some_and(|line| line.starts_with('|'));
    let rule = |at: usize| lines.get(at).is_some_and(|line| line.starts_with("|--"));
    let body = (0..lines.len()).filter(|at| table(*at) && !rule(*at) && !rule(at + 1));
    body.map(|at| cells(lines[at])).collect()
}

/// The words of a cell that stand between backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_code_has_a_row_that_says_what_to_do() {
    let told: BTreeSet<(u16, String, u8)> = rows(&read("docs/operations/errors.md"))
        .into_iter()
        .map(|row| {
            assert!(row.len() == 5 && row[4].len() > 10, "{row:?}");
            (row[0].parse().unwrap(), quoted(&row[1]).remove(0), row[2].parse().unwrap())
        })
        .collect();
    let facts = |code: Code| {
        let (status, word, number) = code.facts();
        (status, word.to_owned(), number)
    };
    let table: BTreeSet<_> = Code::ALL.into_iter().map(facts).collect();
    assert_eq!(told, table, "docs/operations/errors.md against src/wire/dialect/native/problem.rs");
    // The protocol's own table says the same.
    let protocol = read("docs/protocol.md");
    let section = protocol.split("\n## ").find(|section| section.starts_with("3. Errors")).unwrap();
    let wire: BTreeSet<_> = rows(section)
        .into_iter()
        .map(|row| (row[0].parse().unwrap(), quoted(&row[1]).remove(0), row[2].parse().unwrap()))
        .collect();
    assert_eq!(
        wire, table,
        "docs/protocol.md, section 3, against src/wire/dialect/native/problem.rs"
    );
}

/// One `tracing` macro in the source.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    message: String,
    level: String,
    fields: BTreeSet<String>,
}

#[test]
fn every_log_event_is_documented() {
    let told: BTreeSet<Event> = rows(&read("docs/operations/logs.md"))
        .into_iter()
        .map(|row| {
            assert!(row.len() == 4 && !row[3].is_empty(), "{row:?}");
            let fields = quoted(&row[2]).into_iter().collect();
            Event { message: quoted(&row[0]).remove(0), level: row[1].clone(), fields }
        })
        .collect();
    let mut found = BTreeSet::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        found.extend(events(&text));
    }
    assert!(found.len() > 50, "{} events: the reader finds too few", found.len());
    let mut missing = Vec::new();
    for event in &found {
        // One message may come from two places, with and without some fields.
        let same = |told: &&Event| told.message == event.message && told.level == event.level;
        let named = told.iter().find(same);
        let Some(named) = named else {
            missing.push(event);
            continue;
        };
        assert!(event.fields.is_subset(&named.fields), "{event:?} is documented as {named:?}");
    }
    assert!(missing.is_empty(), "docs/operations/logs.md needs a row for each of: {missing:#?}");
    for told in &told {
        let same = |event: &&Event| told.message == event.message && told.level == event.level;
        let same: Vec<&Event> = found.iter().filter(same).collect();
        assert!(!same.is_empty(), "{told:?} is documented and never logged");
        let fields: BTreeSet<String> = same.iter().flat_map(|event| event.fields.clone()).collect();
        assert_eq!(told.fields, fields, "{} in docs/operations/logs.md", told.message);
    }
}

#[test]
fn the_reader_of_events_sees_what_it_should() {
    let text = r#"
        tracing::warn!(%address, error = ?e.kind(), ms = f(1, 2), "it, \"broke\""); // tracing::info!("x")
        tracing::info!("plain");
        tracing::debug!(a = b.map(|c| c.d(")")), e, "two");
    "#;
    let event = |level: &str, fields: &[&str], message: &str| Event {
        message: message.into(),
        level: level.into(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let expected = [
        event("warn", &["address", "error", "ms"], "it, \\\"broke\\\""),
        event("info", &[], "plain"),
        event("debug", &["a", "e"], "two"),
    ];
    assert_eq!(events(text), expected);
}

/// What the server may log: everything but the other commands, which write for whoever called them.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("src/cli") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn events(text: &str) -> Vec<Event> {
    let code: Vec<&str> = text.lines().map(|line| line.split("// ").next().unwrap()).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("tracing::") {
        let rest = &code[at + "tracing::".len()..];
        let Some((level, rest)) = rest.split_once("!(") else { continue };
        if !["trace", "debug", "info", "warn", "error"].contains(&level) {
            continue;
        }
        let mut parts = arguments(rest);
        let last = parts.pop().unwrap();
        let message = last.strip_prefix('"').and_then(|last| last.strip_suffix('"'));
        let message = message.unwrap_or_else(|| panic!("no message: {last}")).to_owned();
        let field = |part: &String| {
            let name = part.split(" = ").next().unwrap();
            name.trim_start_matches(['%', '?']).rsplit('.').next().unwrap().to_owned()
        };
        let fields = parts.iter().map(field).collect();
        found.push(Event { message, level: level.to_owned(), fields });
    }
    found
}

/// The arguments of a macro, from behind its bracket to its end.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut literal, mut part, mut parts) = (0, false, String::new(), Vec::new());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if literal => {
                part.push(c);
                part.extend(chars.next());
                continue;
            }
            '"' => literal = !literal,
            _ if literal => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part).trim().to_owned());
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part.trim().to_owned());
    parts.retain(|part| !part.is_empty());
    parts
}
