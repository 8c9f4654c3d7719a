//! One layer of settings, as written and not read yet: the flags, the environment or the file.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::raw::Raw;
use super::setting::Setting;
use super::table::{Settings, TABLE};

const HEADING: &str = "Settings (priority: flag, environment INCOMING_KEY, file, default)";

/// One layer of settings, as written: the flags, the environment or the file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RawSettings(pub(super) BTreeMap<&'static str, Raw>);

impl RawSettings {
    pub(super) fn set(&mut self, setting: &Setting<Settings>, raw: Raw) {
        self.0.insert(setting.key, if setting.secret { raw.concealed() } else { raw });
    }
}

/// Each setting is a flag.
impl clap::Args for RawSettings {
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

impl clap::FromArgMatches for RawSettings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in TABLE {
            let Some(values) = matches.get_many::<String>(setting.key) else { continue };
            let mut values: Vec<Raw> = values.cloned().map(Raw::Text).collect();
            let only = if values.len() == 1 { values.pop() } else { None };
            self.set(setting, only.unwrap_or(Raw::List(values)));
        }
        Ok(())
    }
}
