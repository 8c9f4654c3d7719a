//! Configuration: flags over environment over file over defaults, checked once, before anything
//! starts. The result is [`Settings`]: plain values.
//!
//! Not here: what a reload changes (`app/reload.rs` asks for settings anew and decides), an
//! implicit configuration file (one is read when `--config` or `INCOMING_CONFIG` names it), and
//! paths relative to the file (all are relative to the working directory, wherever written).

mod error;
mod exposed_paths;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod kind;
mod layers;
mod machine;
mod object_values;
mod parse;
mod raw;
mod raw_settings;
mod rules;
mod setting;
mod settings;
mod table;
mod types;
mod values;

use std::path::PathBuf;

pub use crate::net::{Address, AddressError};
pub use error::ConfigError;
pub use layers::Layers;
pub use machine::StorageDirectory;
pub use parse::{duration_text, filter_of, size_text};
pub use raw::Raw;
pub use raw_settings::RawSettings;
pub use settings::{BACKEND_GUARD, UntrustedNetworks};
pub use table::Settings;
#[cfg(test)]
pub(crate) use table::TABLE;
pub use types::{
    Ack, CallbackRule, CreateSecret, ExposedPath, JournalKind, LogFormat, Secret, StoreKind,
};

/// What a start of the server does: gathers the layers, with the environment of this process, and
/// checks everything. The storage directory is made if it is absent.
///
/// # Errors
/// What is wrong, one line for each mistake; the process then exits with code 2.
pub fn load(flags: RawSettings, config: Option<PathBuf>) -> Result<Settings, ConfigError> {
    Settings::check(&Layers::gather(flags, config, std::env::vars_os())?, StorageDirectory::Create)
}

impl Settings {
    /// Parses every value, checks them against each other, then against the machine: certificates,
    /// group, storage directory. Blocking; run it before there is a runtime.
    ///
    /// # Errors
    /// All errors. Checks that depend on a wrong value or an unknown key are skipped,
    /// so that nothing is reported twice.
    pub fn check(layers: &Layers, storage: StorageDirectory) -> Result<Self, ConfigError> {
        let (mut settings, mut found) = Self::ruled(layers);
        let asked = machine::check(&settings, layers, &found, storage);
        settings.storage_gid = found.note(asked).flatten();
        settings.exposed_paths = exposed_paths::exposed_paths(&settings, layers);
        found.or(settings)
    }

    /// As [`Self::check`], without the checks against the machine: a reload changes nothing that only the machine
    /// can tell, and a bad certificate must keep no limit from changing.
    ///
    /// # Errors
    /// What is wrong.
    pub fn checked(layers: &Layers) -> Result<Self, ConfigError> {
        let (settings, found) = Self::ruled(layers);
        found.or(settings)
    }

    fn ruled(layers: &Layers) -> (Self, ConfigError) {
        let (settings, mut found) = Self::values(layers);
        rules::check(&settings, layers, &mut found);
        (settings, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers with this file alone.
    pub(super) fn layers(file: &str) -> Layers {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), file).unwrap();
        Layers::gather(RawSettings::default(), Some(config.path().to_owned()), []).unwrap()
    }
}
