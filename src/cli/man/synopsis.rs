//! How a command is called, with the names of what its options take: the manual's own section leaves
//! them out.

use clap::{Arg, Command};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// The section of a command that is built.
pub(super) fn synopsis(command: &Command) -> Roff {
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
