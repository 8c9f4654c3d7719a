//! How the objects of an upload are called in the bucket.

use crate::core::id::TicketId;
use crate::core::piece_event::{ObjectName, Purpose};
use crate::storage::objects::Key;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The key of an object, with the bucket's prefix.
pub(super) fn key_text(prefix: &str, key: Key) -> String {
    folder(prefix, key.id, key.name.purpose) + &hex(&key.name.random)
}

/// The object with the key `text` among those of an upload.
pub(super) fn key_of(text: &str, id: TicketId, purpose: Purpose) -> Option<Key> {
    let name = text.rsplit('/').next().filter(|name| name.len() == 32 && name.is_ascii())?;
    let mut random = [0; 16];
    for (at, byte) in random.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&name[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(Key { id, name: ObjectName { purpose, random } })
}

/// What the keys of an upload begin with.
pub(super) fn folder(prefix: &str, id: TicketId, purpose: Purpose) -> String {
    format!("{}{}/", root(prefix, purpose), upload_text(id))
}

/// What the keys of all uploads begin with.
pub(super) fn root(prefix: &str, purpose: Purpose) -> String {
    let kind = match purpose {
        Purpose::File => "files",
        Purpose::Fragment => "parts",
    };
    format!("{prefix}{kind}/")
}

/// How an upload is named in keys. Half of a digest: the id cannot be found by it.
pub(super) fn upload_text(id: TicketId) -> String {
    hex(&Sha256::digest(id.as_bytes())[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_no_id() {
        let name = ObjectName { purpose: Purpose::File, random: [0xab; 16] };
        let key = Key { id: TicketId::from_random([1; 16]), name };
        let text = key_text("p/", key);
        assert_eq!(
            text,
            format!(
                "p/files/{}/{}",
                &hex(&Sha256::digest(key.id.as_bytes()))[..32],
                "ab".repeat(16)
            )
        );
        assert_eq!(key_of(&text, key.id, Purpose::File), Some(key));
        for foreign in ["", "p/files/x/", "p/files/x/zz", &"ä".repeat(16), &"g".repeat(32)] {
            assert_eq!(key_of(foreign, key.id, Purpose::File), None, "{foreign}");
        }
    }
}
