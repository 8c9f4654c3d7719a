//! `incoming man`: the manual, a page for each command, made from the command line itself and so
//! never out of step with it.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{Cli, CliError, printed, terminal};

/// Which page, and where to.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ManArgs {
    /// Command whose page is printed, such as uploads list [default: the program itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub command: Vec<String>,
    /// Write every page into this folder instead, created if absent: incoming.1, incoming-upload.1, ...
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,
}

/// Prints a page, to be read with `man -l -`, or writes all of them.
///
/// # Errors
/// There is no such command; the output cannot be written.
pub fn man(args: &ManArgs) -> Result<(), CliError> {
    let root = program();
    if let Some(dir) = &args.dir {
        return std::fs::create_dir_all(dir)
            .and_then(|()| write_all(&root, dir))
            .map_err(|error| CliError::Failed(format!("{}: {error}", dir.display())));
    }
    let typed = args.command.join(" ");
    let mut command = &root;
    // In quotes or not, as the help shows it and as it is typed.
    for name in typed.split_whitespace() {
        command = command
            .find_subcommand(name)
            .ok_or_else(|| CliError::Usage(format!("there is no command {typed:?}")))?;
    }
    let page = page(command).map_err(CliError::failed)?;
    printed(terminal::data(&page))
}

/// The program, with the full names of its commands.
fn program() -> Command {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    root
}

fn write_all(command: &Command, dir: &Path) -> io::Result<()> {
    std::fs::write(dir.join(format!("{}.1", full_name(command))), page(command)?)?;
    command.get_subcommands().try_for_each(|below| write_all(below, dir))
}

/// As the page is called: `incoming-uploads-list`.
fn full_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .source(concat!("incoming ", env!("CARGO_PKG_VERSION")))
        .manual("Incoming!!");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    synopsis(command).to_writer(&mut out)?;
    man.render_description_section(&mut out)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut out)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    for (heading, entries) in sections(full_name(command)) {
        let mut roff = Roff::new();
        roff.control("SH", [heading]);
        for &(term, text) in entries {
            roff.control("TP", []);
            roff.text([bold(term)]).text([roman(text)]);
        }
        roff.to_writer(&mut out)?;
    }
    Ok(out)
}

/// How a command is called, with the names of what its options take, which the library's own section leaves out.
fn synopsis(command: &Command) -> Roff {
    let mut line = vec![bold(command.get_bin_name().unwrap_or_else(|| command.get_name()))];
    let choices: Vec<Vec<&Arg>> = command
        .get_groups()
        .filter(|group| group.is_required_set())
        .map(|group| {
            let members = |arg: &&Arg| group.get_args().any(|id| id == arg.get_id());
            command.get_arguments().filter(members).collect()
        })
        .collect();
    let chosen = |arg: &Arg| choices.iter().flatten().any(|other| other.get_id() == arg.get_id());
    let mut others: Vec<&Arg> =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && !chosen(arg)).collect();
    // What may be left out, what may not, and what stands at the end.
    others.sort_by_key(|arg| (arg.is_positional(), !arg.is_positional() && arg.is_required_set()));
    let (last, options) = others.into_iter().partition::<Vec<_>, _>(|arg| arg.is_positional());
    let each = |arg: &&Arg| match arg.is_required_set() {
        true => one(arg),
        false => around("[", one(arg), "]"),
    };
    let choices = choices.iter().map(|members| {
        let members: Vec<_> = members.iter().map(|arg| one(arg)).collect();
        around("{", members.join(&roman(" | ")), "}")
    });
    let parts = options.iter().map(each).chain(choices).chain(last.iter().map(each));
    for part in parts {
        line.push(roman(" "));
        line.extend(part);
    }
    if command.has_subcommands() {
        let name = italic("COMMAND");
        let needed = command.is_subcommand_required_set();
        line.push(roman(" "));
        line.extend(if needed { vec![name] } else { around("[", vec![name], "]") });
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text(line);
    roff
}

fn one(arg: &Arg) -> Vec<Inline> {
    let mut parts = Vec::new();
    if let Some(long) = arg.get_long() {
        parts.push(bold(format!("--{long}")));
    } else if let Some(short) = arg.get_short() {
        parts.push(bold(format!("-{short}")));
    } else if arg.is_last_set() {
        parts.push(bold("--"));
    }
    let range = arg.get_num_args().unwrap_or_default();
    if range.takes_values() && (arg.is_positional() || arg.get_action().takes_values()) {
        if !parts.is_empty() {
            parts.push(roman(" "));
        }
        let names = arg.get_value_names().map(|names| names.join(" "));
        parts.push(italic(names.unwrap_or_else(|| arg.get_id().as_str().to_uppercase())));
        if range.max_values() > 1 {
            parts.push(roman("..."));
        }
    }
    parts
}

fn around(left: &str, inside: Vec<Inline>, right: &str) -> Vec<Inline> {
    [vec![roman(left)], inside, vec![roman(right)]].concat()
}

type Entries = &'static [(&'static str, &'static str)];

/// What the command line itself does not say.
fn sections(name: &str) -> Vec<(&'static str, Entries)> {
    match name {
        "incoming" => vec![
            ("EXIT STATUS", &EXIT[..]),
            ("ENVIRONMENT", &SETTINGS[..]),
            ("SEE ALSO", &[("incoming-serve(1), incoming-upload(1), incoming-uploads(1)", "")]),
        ],
        "incoming-serve" | "incoming-check-config" => {
            vec![("EXIT STATUS", &EXIT[..]), ("ENVIRONMENT", &SETTINGS[..])]
        }
        "incoming-verify" => vec![("EXIT STATUS", &FOUND[..]), ("ENVIRONMENT", &SETTINGS[..])],
        "incoming-upload" => vec![("EXIT STATUS", &STOPPED[..]), ("FILES", &KEPT[..])],
        _ => vec![("EXIT STATUS", &EXIT[..])],
    }
}

const EXIT: [(&str, &str); 3] = [
    ("0", "Done."),
    ("1", "It failed; one line on standard error says why."),
    ("2", "The command line or the configuration is wrong; nothing was done."),
];
const STOPPED: [(&str, &str); 4] = [
    EXIT[0],
    ("1", "A file was not uploaded; the others were tried."),
    EXIT[2],
    ("130, 143", "Ctrl-C or SIGTERM stopped it. Run the same command to resume."),
];
const KEPT: [(&str, &str); 1] = [(
    "$XDG_STATE_HOME/incoming/uploads/ (default ~/.local/state)",
    "What the same command needs to resume: a small private file for each unfinished upload.",
)];
const FOUND: [(&str, &str); 3] = [
    ("0", "Nothing is damaged; there may be notes."),
    ("1", "Something is damaged, or an upload named on the command line does not exist."),
    ("2", "The directory could not be read, or the command line is wrong."),
];
const SETTINGS: [(&str, &str); 2] = [
    ("INCOMING_CONFIG", "Names the configuration file, as --config does."),
    (
        "INCOMING_KEY",
        "A setting: the flag in upper case with _ for -, such as INCOMING_STORAGE_DIR. A flag \
         overrides it, and it overrides the file.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("share/man1");
        man(&ManArgs { command: vec![], dir: Some(dir.clone()) }).unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        let serve = page("incoming-serve.1");
        assert!(serve.starts_with(".ie"), "{serve}");
        for part in ["NAME", "EXIT STATUS", "INCOMING_CONFIG", "backend\\-listen", "default: 8MiB"]
        {
            assert!(serve.contains(part), "{part} in {serve}");
        }
        assert!(page("incoming-uploads-list.1").contains("handing_over"));
        for command in Cli::command().get_subcommands() {
            let name = format!("incoming-{}.1", command.get_name());
            let shown = format!("incoming-{}", command.get_name()).replace('-', "\\-");
            assert!(page(&name).contains(&shown), "{name}");
        }
        let synopsis = |name: &str| {
            let page = page(name).replace("\\-", "-");
            let start = page.split(".SH SYNOPSIS\n").nth(1).unwrap();
            let line = start.lines().next().unwrap();
            ["\\fB", "\\fI", "\\fR"]
                .iter()
                .fold(line.to_owned(), |line, mark| line.replace(mark, ""))
        };
        let upload = synopsis("incoming-upload.1");
        for part in [
            "incoming upload [",
            " [--chunk-size SIZE] ",
            " [--http2] ",
            " {--url UPLOAD_URL | --backend URL} ",
        ] {
            assert!(upload.contains(part), "{part} in {upload}");
        }
        assert!(upload.ends_with(" FILE..."), "{upload}");
        let cancel = synopsis("incoming-uploads-cancel.1");
        assert!(cancel.contains(" [--secret-file PATH] ") && cancel.ends_with(" ID"), "{cancel}");
        assert!(synopsis("incoming-uploads.1").ends_with(" COMMAND"));
        let own = synopsis("incoming-man.1");
        assert_eq!(own, "incoming man [--dir PATH] [--help] [COMMAND...]");
        assert!(synopsis("incoming-bench.1").ends_with(" [-- SERVER_FLAGS...]"));
        let missing = ManArgs { command: vec!["fly".into()], dir: None };
        assert!(matches!(man(&missing), Err(CliError::Usage(_))));
    }
}
