//! What one row of the table (`table.rs`) says of a setting, and what follows from it: the field of `Settings`, its
//! default, its flag with help, and how it is read, shown, compared and reloaded.

use std::fmt::Display;

use toml::Value;

use super::Settings;
use crate::config::kind::{Field, Kind, Wrong};

/// One setting. `reload` and `restart` of the table become [`Self::reloadable`].
pub(crate) struct Setting {
    /// The key, as in the file.
    pub(crate) key: &'static str,
    /// The heading that it stands under in the documentation.
    pub(in crate::config) group: &'static str,
    /// What it does, in one paragraph.
    pub(in crate::config) help: &'static str,
    /// The default as one would write it; `none` for no value.
    pub(in crate::config) default: &'static str,
    /// What the help says after the default.
    pub(in crate::config) note: &'static str,
    /// Whether a running server can change it.
    pub(crate) reloadable: bool,
    /// What its values are called: `SIZE`.
    pub(in crate::config) value_name: &'static str,
    /// Whether it takes a list.
    pub(in crate::config) list: bool,
    /// Whether its value is never shown.
    pub(in crate::config) secret: bool,
    /// Reads a value as written.
    pub(in crate::config) read: fn(&mut Settings, &Value) -> Result<(), Wrong>,
    /// The value as TOML; `None` where there is none.
    pub(in crate::config) show: fn(&Settings) -> Option<String>,
    /// Whether two values differ.
    pub(in crate::config) differs: fn(&Settings, &Settings) -> bool,
    /// Gives the first the value of the second.
    pub(in crate::config) copy: fn(&mut Settings, &Settings),
}

impl Setting {
    /// What it does and its default, for `--help`.
    pub(in crate::config) fn long_help(&self) -> String {
        let Self { help, default, note, .. } = self;
        format!("{} [default: {default}{note}]", help.trim_start())
    }
}

/// The flag of a key: `--backend-listen`.
pub(in crate::config) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The environment variable of a key: `INCOMING_BACKEND_LISTEN`.
pub(in crate::config) fn variable(key: &str) -> String {
    format!("INCOMING_{}", key.to_uppercase())
}

/// Makes `Settings` and `TABLE` of the table's rows.
macro_rules! settings {
    ($($group:literal { $(
        $(#[doc = $help:literal])+
        $when:ident $key:ident: $type:ty = $kind:expr, $default:literal $(, $note:literal)?;
    )+ })+) => {
        /// Every setting, read and checked. Sizes are bytes. `Settings::default()` is what a start without
        /// any flag, variable or file uses.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $($($(#[doc = $help])+ pub $key: $type,)+)+
            /// The number of `storage_group`; known once the machine was asked (`app/preflight.rs`).
            pub storage_gid: Option<u32>,
            /// What other users of the machine can read or replace; known once the machine was asked
            /// (`app/preflight.rs`).
            pub exposed_paths: Vec<ExposedPath>,
        }

        impl Default for Settings {
            fn default() -> Self {
                Self {
                    $($($key: setting::default(&$kind, $default),)+)+
                    storage_gid: None,
                    exposed_paths: Vec::new(),
                }
            }
        }

        /// The settings, in the order of `--help`.
        pub(crate) static TABLE: &[Setting] = &[$($(Setting {
            key: stringify!($key),
            group: $group,
            help: concat!($($help),+),
            default: $default,
            note: concat!("" $(, $note)?),
            reloadable: setting::$when,
            value_name: $kind.name,
            list: setting::is_list(&$kind, |settings: &Settings| &settings.$key),
            secret: $kind.secret,
            read: |settings, value| Ok(settings.$key = Field::read(&$kind, value)?),
            show: |settings| settings.$key.show(&$kind),
            differs: |one, other| one.$key != other.$key,
            copy: |to, from| to.$key.clone_from(&from.$key),
        },)+)+];
    };
}
pub(in crate::config) use settings;

/// Of settings that a running server can change.
#[allow(non_upper_case_globals)]
pub(in crate::config) const reload: bool = true;
/// Of those that it cannot.
#[allow(non_upper_case_globals)]
pub(in crate::config) const restart: bool = false;

/// The default of a field.
pub(in crate::config) fn default<T, E: Display, F: Field<T>>(
    kind: &Kind<T, E>,
    written: &str,
) -> F {
    F::absent(written).unwrap_or_else(|| {
        let read = F::read(kind, &written.into());
        read.unwrap_or_else(|(_, right)| panic!("default {written:?} {right}"))
    })
}

/// Whether the field is a list.
pub(in crate::config) const fn is_list<T, E, F: Field<T>>(
    _: &Kind<T, E>,
    _: fn(&Settings) -> &F,
) -> bool {
    F::LIST
}
