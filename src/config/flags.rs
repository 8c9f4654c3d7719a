//! Each setting as a flag, for clap.

use std::collections::BTreeMap;
use std::fmt;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::table::TABLE;

const HEADING: &str = "Settings (priority: flag, environment INCOMING_KEY, file, default)";

/// The settings that are given as flags, as typed; `Debug` shows which.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Flags(pub(super) BTreeMap<&'static str, Vec<String>>);

impl fmt::Debug for Flags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.next_help_heading(HEADING).args(TABLE.iter().map(|setting| {
            let arg =
                Arg::new(setting.key).long(setting.key.replace('_', "-")).help(setting.long_help());
            match setting.value_name {
                name if setting.list => {
                    arg.value_name(format!("{name},...")).action(ArgAction::Append)
                }
                "BOOL" => arg.value_name("BOOL").num_args(0..=1).default_missing_value("true"),
                name => arg.value_name(name),
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let typed = TABLE.iter().filter_map(|setting| {
            Some((setting.key, matches.get_many(setting.key)?.cloned().collect()))
        });
        self.0.extend(typed);
        Ok(())
    }
}
