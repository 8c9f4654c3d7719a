//! The files under `src/`, read as text: comments and literals are blanked, tests and imports are found.
//! The layout that rustfmt gives is relied on to tell where a module ends.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// One file under `src/`.
pub(crate) struct File {
    /// Path below `src/`.
    pub(crate) name: String,
    /// First part of the path, without `.rs`.
    pub(crate) module: String,
    pub(crate) text: String,
    /// The lines with comments and literals blanked.
    pub(crate) code: Vec<String>,
    /// Which lines are compiled for tests alone.
    pub(crate) tests: Vec<bool>,
}

impl File {
    pub(crate) fn new(name: String, text: String, test_files: &[String]) -> Self {
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
    pub(crate) fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.code.iter().enumerate().filter(|(number, _)| !self.tests[*number]);
        numbered.map(|(number, line)| (number + 1, line.as_str()))
    }

    /// Modules that a path in this file names, tests included.
    pub(crate) fn imports(&self) -> Vec<(usize, String)> {
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

    /// The module of this file, from the root.
    pub(crate) fn path(&self) -> Vec<String> {
        self.name.trim_end_matches(".rs").split('/').map(str::to_owned).collect()
    }

    /// What its product code imports by `use`, from the root.
    pub(crate) fn used_paths(&self) -> Vec<Vec<String>> {
        let product: Vec<&str> = self.product().map(|(_, line)| line).collect();
        let mut found = Vec::new();
        for statement in product.join("\n").split(';') {
            let Some((before, tree)) = statement.rsplit_once("use ") else { continue };
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            expand(tree, &mut Vec::new(), &mut found);
        }
        found.into_iter().filter_map(|path| self.absolute(&path)).collect()
    }

    /// An imported path as one from the root; `None` for another crate's.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "super" | "self" => self.path(),
            _ => return None,
        };
        for (at, part) in path.iter().enumerate() {
            match part.as_str() {
                "crate" | "self" if at == 0 => {}
                "super" => drop(base.pop()),
                _ => base.push(part.clone()),
            }
        }
        Some(base)
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

/// The paths of a use tree.
fn expand(tree: &str, above: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let (path, group) =
        tree.split_once('{').map_or((tree, None), |(path, rest)| (path, Some(rest)));
    let depth = above.len();
    above.extend(words(path.split(" as ").next().unwrap_or_default()).map(str::to_owned));
    match group {
        None => found.push(above.clone()),
        Some(group) => {
            let group = group.trim_end();
            let group = group.strip_suffix('}').unwrap_or(group);
            let (mut level, mut begin) = (0_usize, 0);
            for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
                match c {
                    '{' => level += 1,
                    '}' => level = level.saturating_sub(1),
                    ',' if level == 0 => {
                        let part = group[begin..at].trim();
                        if !part.is_empty() {
                            expand(part, above, found);
                        }
                        begin = at + 1;
                    }
                    _ => {}
                }
            }
        }
    }
    above.truncate(depth);
}

/// Identifiers and numbers, in order.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
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

/// Checks every file by one rule; fails with all that was found.
pub(crate) fn check(rule: &str, read: impl Fn(&File, &mut Vec<(usize, String)>)) {
    let mut findings = String::new();
    for file in files() {
        let mut found = Vec::new();
        read(file, &mut found);
        for (line, what) in found {
            let _ = writeln!(findings, "  src/{}:{line}: {what}", file.name);
        }
    }
    assert!(findings.is_empty(), "{rule}, but:\n{findings}");
}

/// Every file under `src/`, in order of its name; read once for all checks.
pub(crate) fn files() -> &'static [File] {
    static FILES: LazyLock<Vec<File>> = LazyLock::new(read_files);
    &FILES
}

fn read_files() -> Vec<File> {
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
pub(crate) fn declared_tests(name: &str, text: &str) -> Vec<String> {
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
