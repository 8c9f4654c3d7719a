//! Configuration: flags over environment over file over defaults, checked once, before anything
//! starts. What leaves this room is [`Settings`]: plain values.
//!
//! Absent on purpose: what a reload changes (`app/reload.rs` asks for settings anew and decides), an
//! implicit configuration file (one is read when `--config` or `INCOMING_CONFIG` names it), and
//! paths relative to the file (all are relative to the working directory, wherever written).

mod caution;
mod effective;
mod error;
mod exposed;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod layers;
mod machine;
mod parse;
mod raw;
mod rules;
mod secret;
mod settings;
mod typed;
mod values;

use std::path::PathBuf;

pub use crate::net::{Address, AddressError};
pub use caution::{BACKEND_GUARD, StrangersTrusted};
use error::Mistakes;
pub use error::{ConfigError, Origin};
pub use exposed::Exposed;
pub use layers::Layers;
pub use machine::Storage;
pub use parse::{duration_text, filter_of, size_text};
pub use raw::Raw;
pub use secret::Secret;
pub use settings::{Ack, Acme, CallbackRule, HostPort, LogFormat, Settings};
pub use typed::Typed;
#[cfg(test)]
pub(crate) use typed::keys;

/// What a start of the server does: gathers the layers, with the environment of this process, and
/// checks everything. The storage directory is made if it is absent.
///
/// # Errors
/// What is wrong, one line for each mistake; the process then exits with code 2.
pub fn load(flags: Typed, config: Option<PathBuf>) -> Result<Settings, ConfigError> {
    Settings::check(&Layers::gather(flags, config, std::env::vars_os())?, Storage::Make)
}

impl Settings {
    /// Reads every value, holds them against each other, then asks the machine: certificates,
    /// group, storage directory. Blocking; run it before there is a runtime.
    ///
    /// # Errors
    /// All that is wrong and can be judged: what a wrong value or an unknown key has a part in is not,
    /// since that would be told twice.
    pub fn check(layers: &Layers, storage: Storage) -> Result<Self, ConfigError> {
        let (mut settings, mut found) = Self::ruled(layers);
        let asked = machine::check(&settings, layers, &found, storage);
        settings.storage_gid = found.note(asked).flatten();
        settings.exposed = exposed::exposed(&settings, layers);
        found.or(settings)
    }

    /// As [`Self::check`], without asking the machine: what a reload takes changes nothing that only the machine
    /// can tell, and a bad certificate must keep no limit from changing.
    ///
    /// # Errors
    /// What is wrong.
    pub fn judged(layers: &Layers) -> Result<Self, ConfigError> {
        let (settings, found) = Self::ruled(layers);
        found.or(settings)
    }

    fn ruled(layers: &Layers) -> (Self, Mistakes) {
        let (settings, mut found) = Self::values(layers);
        let ruled = rules::check(&settings, layers, &found);
        found.note(ruled);
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
        Layers::gather(Typed::default(), Some(config.path().to_owned()), []).unwrap()
    }
}
