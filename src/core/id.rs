//! The ticket id: a version 4 UUID in exactly one spelling, safe as a file name once parsed.

use std::fmt;

/// A ticket id. Only the canonical text (36 characters, lower case, hyphens) parses, so a held
/// id always has one spelling and can never name another path.
///
/// Source: RFC 9562, section 5.4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicketId(uuid::Uuid);

/// The text is not a ticket id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATicketId;

impl TicketId {
    /// A new id from 16 random bytes; version and variant bits are set here.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Parses the canonical text of a version 4 UUID; anything else is refused, undecoded.
    pub fn parse(text: &str) -> Result<Self, NotATicketId> {
        let canonical =
            text.len() == 36 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        if !canonical {
            return Err(NotATicketId);
        }
        let id = uuid::Uuid::try_parse(text).map_err(|_| NotATicketId)?;
        if id.get_version_num() == 4 { Ok(Self(id)) } else { Err(NotATicketId) }
    }

    /// The first eight characters: enough to follow an upload in a log, too little to use it.
    pub fn short(self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }

    /// The sixteen bytes, as the journal keeps them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id of sixteen bytes read from a journal, if they are a version 4 UUID.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, NotATicketId> {
        let id = uuid::Uuid::from_bytes(bytes);
        if id.get_version_num() == 4 { Ok(Self(id)) } else { Err(NotATicketId) }
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Shortened: an id is a bearer capability and does not belong into logs whole.
impl fmt::Debug for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Which run of machine and mount wrote what follows. Ranges that were only written, not synced,
/// hold as long as this stays the same: a crash of the process changes neither part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunIdentity {
    /// The kernel's boot id.
    pub boot: [u8; 16],
    /// The identity of the mount that holds the bytes.
    pub mount: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        let id = TicketId::from_random([0xab; 16]);
        let text = id.to_string();
        assert_eq!(TicketId::parse(&text), Ok(id));
        assert_eq!(TicketId::from_bytes(*id.as_bytes()), Ok(id));
        for bad in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
            format!("urn:uuid:{text}"),
            format!("{text} "),
            "../../etc/passwd".into(),
            "00000000-0000-0000-0000-000000000000".into(),
            "gbababab-abab-4bab-abab-abababababab".into(),
            String::new(),
        ] {
            assert_eq!(TicketId::parse(&bad), Err(NotATicketId), "{bad}");
        }
    }
}
