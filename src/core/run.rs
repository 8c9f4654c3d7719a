//! Which run of the machine wrote something.

/// Which run of machine and mount wrote what follows. Ranges that were only written, not synced,
/// hold as long as this stays the same: a crash of the process changes neither part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunIdentity {
    /// The kernel's boot id.
    pub boot: [u8; 16],
    /// The identity of the mount that holds the bytes.
    pub mount: u64,
}
