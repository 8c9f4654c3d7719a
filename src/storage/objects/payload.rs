//! The bytes of an object or a part, in as many buffers as they came in: none is copied or grown to join them.

use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Bytes that are stored, in order. A clone shares them.
#[derive(Clone, Debug)]
pub struct Payload {
    /// None is empty.
    buffers: Arc<[Bytes]>,
    bytes: u64,
}

impl Payload {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The buffers, none of them empty.
    pub fn buffers(&self) -> &[Bytes] {
        &self.buffers
    }

    /// All bytes in one buffer, which is a copy where there are several.
    pub fn joined(&self) -> Bytes {
        match &*self.buffers {
            [] => Bytes::new(),
            [one] => one.clone(),
            several => several.iter().fold(BytesMut::new(), joined_with).freeze(),
        }
    }
}

fn joined_with(mut all: BytesMut, buffer: &Bytes) -> BytesMut {
    all.extend_from_slice(buffer);
    all
}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(buffers: I) -> Self {
        let buffers: Arc<[Bytes]> = buffers.into_iter().filter(|it| !it.is_empty()).collect();
        Self { bytes: buffers.iter().map(|it| it.len() as u64).sum(), buffers }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        [bytes].into_iter().collect()
    }
}

/// By their bytes, wherever they are cut.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.joined() == other.joined()
    }
}

impl Eq for Payload {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_bytes_are_cut_makes_no_difference() {
        let of = |buffers: &[&'static str]| -> Payload {
            buffers.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
        };
        let cut = of(&["ab", "", "c"]);
        assert_eq!((cut.len(), cut.buffers().len(), cut.is_empty()), (3, 2, false));
        assert_eq!(cut.joined(), "abc");
        assert_eq!(cut, of(&["abc"]));
        assert_ne!(cut, of(&["ab", "d"]));
        assert_ne!(cut, of(&["ab"]));
        let none = of(&["", ""]);
        assert!(none.is_empty() && none.buffers().is_empty());
        assert_eq!(none, Bytes::new().into());
    }
}
