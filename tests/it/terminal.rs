//! Protects what a terminal gets besides the commands themselves: completions that a shell takes, and
//! a manual for every command.

use crate::child::run;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn said(directory: &std::path::Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments, &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_commands_and_flags() {
    let directory = tempfile::tempdir().unwrap();
    let script = said(directory.path(), &["completions", "bash"]);
    std::fs::write(directory.path().join("incoming.bash"), script).unwrap();
    let completed = |typed: &str, word: &str| {
        let line = format!(
            "source incoming.bash; COMP_WORDS=(incoming {typed} {word}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _incoming incoming {word} ${{COMP_WORDS[COMP_CWORD - 1]}}; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let bash = ["--noprofile", "--norc", "-c", &line];
        let output = Command::new("bash").args(bash).current_dir(&directory).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(completed("", "uplo"), ["upload", "uploads"]);
    assert_eq!(completed("uploads", "ca"), ["cancel"]);
    assert_eq!(completed("serve", "--backend-l"), ["--backend-listen"]);
    assert_eq!(completed("uploads list --state", "handing"), ["handing_over"]);
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let of = |command: &[&str]| said(directory.path(), &[&["man"], command].concat());
    assert!(of(&[]).contains(".SH SUBCOMMANDS"), "the program's own");
    assert!(of(&["uploads", "list"]).contains("\\-\\-state"), "a command below a command");
    assert_eq!(of(&["uploads list"]), of(&["uploads", "list"]), "as one word of a shell");
    said(directory.path(), &["man", "--dir", "."]);
    let pages = std::fs::read_dir(&directory).unwrap().count();
    let names = of(&[]).lines().filter(|line| line.starts_with("incoming\\-")).count();
    assert!(names >= 8 && pages > names, "{pages} pages, {names} commands");
}

/// Runs the program with `body` on its standard input.
fn piped(directory: &std::path::Path, arguments: &[&str], body: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_incoming"));
    command.args(arguments).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(body);
    child.wait_with_output().unwrap()
}

#[test]
fn signatures_are_made_and_checked_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    std::fs::write(path.join("none"), "s3cret\n").unwrap();
    let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
    let sign = |more: &[&str]| {
        piped(path, &[&["sign", "--secret-file", "secret", "--id", id], more].concat(), body)
    };
    // The vector of Standard Webhooks.
    let old = sign(&["--timestamp", "1614265330"]);
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let headers = format!(
        "webhook-id: {id}\nwebhook-timestamp: 1614265330\nwebhook-signature: {signature}\n"
    );
    assert_eq!(String::from_utf8(old.stdout).unwrap(), headers);
    let check = |at: &str, signature: &str, body: &[u8], said: &str, code: i32| {
        let told = ["--id", id, "--timestamp", at, "--signature", signature];
        let arguments = [&["verify-handover", "--secret-file", "secret"], &told[..]].concat();
        let output = piped(path, &arguments, body);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(said), "{text}");
        assert_eq!(output.status.code(), Some(code), "{text}");
    };
    check("1614265330", signature, body, "is right, but its time is", 1);
    let now = String::from_utf8(sign(&[]).stdout).unwrap();
    let values: Vec<_> = now.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    check(values[1], values[2], body, "the signature is right\n", 0);
    check(values[1], values[2], b"another", "the signature is wrong", 1);
    let no_secret = piped(path, &["sign", "--secret-file", "none", "--id", id], body);
    let said = String::from_utf8(no_secret.stderr).unwrap();
    assert!(said.contains("--secret-file none: expected whsec_ and base64"), "{said}");
    assert_eq!(no_secret.status.code(), Some(2));
}
