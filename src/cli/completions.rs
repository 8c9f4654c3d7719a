//! `incoming completions`: what a shell needs to complete this program's command line, made from the
//! command line itself and so never out of step with it.

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Cli, CliError, printed, terminal};

/// For which shell.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct CompletionsArgs {
    /// Shell that is to complete
    #[arg(value_name = "SHELL")]
    pub shell: For,
}

/// The shells that Debian's packages complete for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum For {
    /// To `/usr/share/bash-completion/completions/incoming`
    Bash,
    /// To `/usr/share/zsh/vendor-completions/_incoming`
    Zsh,
    /// To `/usr/share/fish/vendor_completions.d/incoming.fish`
    Fish,
}

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    printed(terminal::data(&text(args.shell)))
}

fn text(shell: For) -> Vec<u8> {
    let shell = match shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "incoming", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_a_flag_of_a_nested_one_are_completed() {
        for shell in For::value_variants() {
            let text = String::from_utf8(text(*shell)).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell:?}: {}", command.get_name());
            }
            for word in ["handing_over", "backend-listen"] {
                assert!(text.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
