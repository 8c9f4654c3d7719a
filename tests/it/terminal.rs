//! Protects what a terminal gets besides the commands themselves: completions that a shell takes, and
//! a manual for every command.

use crate::child::run;
use std::process::Command;

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
