//! The fields of a record, and how bodies are framed: each with its length and its checksum.

use crate::core::time::{Stamp, Timestamp, Uptime};

/// No body is longer; a length field that says so is a torn tail.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// Length and checksum, before each body.
pub(in crate::storage::local) const HEAD_BYTES: usize = 8;

/// Appends a body, which `write` appends, behind its head.
pub(super) fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let head = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    write(out);
    let (length, checksum) = {
        let body = &out[head + HEAD_BYTES..];
        let length = u32::try_from(body.len()).expect("a record body fits its length field");
        (length, crc32c::crc32c(body))
    };
    out[head..head + 4].copy_from_slice(&length.to_le_bytes());
    out[head + 4..head + HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// The body at the start of `bytes`, if it is whole and has its checksum.
pub(super) fn checked_body(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader { rest: bytes, counted: false };
    let length = usize::try_from(reader.u32()?).ok()?;
    let checksum = reader.u32()?;
    if length > MAX_BODY_BYTES {
        return None;
    }
    reader.take(length).filter(|body| crc32c::crc32c(body) == checksum)
}

pub(super) fn time(at: Stamp, out: &mut Vec<u8>) {
    u64(at.date.0, out);
    if at.uptime != Uptime::NONE {
        u64(at.uptime.0, out);
    }
}

pub(super) fn u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn text(value: &str, out: &mut Vec<u8>) {
    let length = u32::try_from(value.len()).expect("texts are bounded where they come in");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value.as_bytes());
}

pub(super) fn option<T>(value: Option<T>, out: &mut Vec<u8>, put: impl Fn(T, &mut Vec<u8>)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(value, out);
    }
}

/// What is left to read; every step is checked, since a disk may hold anything.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    /// Whether times have a count.
    pub(super) counted: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn time(&mut self) -> Option<Stamp> {
        let date = Timestamp(self.u64()?);
        let uptime = if self.counted { Uptime(self.u64()?) } else { Uptime::NONE };
        // Only one form for each record.
        (self.counted == (uptime != Uptime::NONE)).then_some(Stamp { date, uptime })
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    pub(super) fn option<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }
}
