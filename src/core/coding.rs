//! Content codings: whether a body is the bytes themselves. Source: RFC 9110, section 8.4.

/// All `Content-Encoding` lines of a message as one list, where they name a coding besides `identity`; `None` where the
/// body is the bytes themselves.
pub fn content_coding<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let lines: Vec<_> = lines.map(String::from_utf8_lossy).collect();
    let list = lines.join(", ");
    let plain = |member: &str| {
        let member = member.trim();
        member.is_empty() || member.eq_ignore_ascii_case("identity")
    };
    (!list.split(',').all(plain)).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_alone_is_no_coding() {
        let check = |lines: &[&str], expected: Option<&str>| {
            let found = content_coding(lines.iter().map(|line| line.as_bytes()));
            assert_eq!(found.as_deref(), expected, "{lines:?}");
        };
        check(&[], None);
        check(&["identity"], None);
        check(&["", "Identity, identity"], None);
        check(&["gzip"], Some("gzip"));
        check(&["identity", "br"], Some("identity, br"));
    }
}
