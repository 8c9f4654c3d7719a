//! `Content-Digest`, by the letter: a digest that is misspelt must not pass for none.
//!
//! Sources: RFC 9530, section 2, for the field; RFC 8941, sections 3.2 and 4.2, for the dictionary
//! of byte sequences that it is.

use super::header::text;
use super::problem::Problem;
use super::reply::shown;
use crate::core::digest::ChunkDigest;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::header::HeaderMap;

/// The digest that a chunk promises, if it promises one that the server knows. Other algorithms
/// are ignored, as the source demands, and parameters too; of two digests the stronger decides.
///
/// Errors: a header that is not what the source says, also where an algorithm that is not known, or
/// decides nothing, is concerned.
pub fn content_digest(headers: &HeaderMap) -> Result<Option<ChunkDigest>, Problem> {
    let lines = headers.get_all("content-digest").iter();
    let lines = lines.map(|value| text("Content-Digest", value)).collect::<Result<Vec<_>, _>>()?;
    if lines.is_empty() {
        return Ok(None);
    }
    let joined = lines.join(", ");
    let mut rest = joined.trim_matches(' ');
    let (mut sha256, mut sha512) = (None, None);
    loop {
        let member = rest;
        let bad = |why: &str| {
            let value = if member.is_empty() { &joined } else { member };
            Problem::bad_request(format!("header Content-Digest {}: {why}", shown(value)))
        };
        let algorithm = key(&mut rest).ok_or_else(|| bad(FORM))?;
        let bytes = eat(&mut rest, '=').then(|| byte_sequence(&mut rest)).flatten();
        let bytes = bytes.ok_or_else(|| bad(FORM))?;
        parameters(&mut rest).ok_or_else(|| bad("a parameter is malformed"))?;
        let length = |_| bad("the digest's length does not fit its algorithm");
        match algorithm {
            // Of two values for one key the last counts.
            "sha-256" => sha256 = Some(bytes.try_into().map_err(length)?),
            "sha-512" => {
                sha512 = Some(bytes.into_boxed_slice().try_into().map_err(|_| length(vec![]))?)
            }
            _ => {}
        }
        rest = rest.trim_start_matches(SPACE);
        if rest.is_empty() {
            break;
        }
        if !eat(&mut rest, ',') {
            return Err(bad(FORM));
        }
        rest = rest.trim_start_matches(SPACE);
        if rest.is_empty() {
            return Err(bad("there is nothing after the comma"));
        }
    }
    Ok(sha512.map(ChunkDigest::Sha512).or_else(|| sha256.map(ChunkDigest::Sha256)))
}

/// Takes `c`, if it comes next.
fn eat(rest: &mut &str, c: char) -> bool {
    rest.strip_prefix(c).map(|after| *rest = after).is_some()
}

/// Takes the characters that are `wanted`.
fn run<'a>(rest: &mut &'a str, wanted: impl Fn(char) -> bool) -> &'a str {
    let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
    let (taken, after) = rest.split_at(end);
    *rest = after;
    taken
}

fn key<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let begins = rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
    begins.then(|| {
        run(rest, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.' | '*')
        })
    })
}

fn byte_sequence(rest: &mut &str) -> Option<Vec<u8>> {
    let (inner, after) = rest.strip_prefix(':')?.split_once(':')?;
    *rest = after;
    LENIENT.decode(inner).ok()
}

/// `;key` and `;key=value`, of any type; nobody looks at them.
fn parameters(rest: &mut &str) -> Option<()> {
    while eat(rest, ';') {
        *rest = rest.trim_start_matches(' ');
        key(rest)?;
        if eat(rest, '=') {
            bare_item(rest)?;
        }
    }
    Some(())
}

fn bare_item(rest: &mut &str) -> Option<()> {
    match rest.chars().next()? {
        ':' => byte_sequence(rest).map(|_| ()),
        '"' => quoted(rest),
        '?' => {
            *rest = rest.strip_prefix("?0").or_else(|| rest.strip_prefix("?1"))?;
            Some(())
        }
        '-' | '0'..='9' => {
            eat(rest, '-');
            let whole = run(rest, |c| c.is_ascii_digit());
            let part = if eat(rest, '.') { run(rest, |c| c.is_ascii_digit()) } else { "0" };
            (!whole.is_empty() && !part.is_empty()).then_some(())
        }
        c if c.is_ascii_alphabetic() || c == '*' => {
            run(rest, |c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c));
            Some(())
        }
        _ => None,
    }
}

fn quoted(rest: &mut &str) -> Option<()> {
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => {
                *rest = &rest[at + 1..];
                return Some(());
            }
            '\\' => {
                characters.next().filter(|(_, c)| matches!(c, '"' | '\\'))?;
            }
            ' '..='~' => {}
            _ => return None,
        }
    }
    None
}

const FORM: &str = "expected ALGORITHM=:BASE64:";
/// What may stand between members.
const SPACE: [char; 2] = [' ', '\t'];
/// Padding may be missing and its bits be anything, as the source asks of readers.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::super::problem::Code;
    use super::super::reply::digest_value;
    use super::*;
    use hyper::header::HeaderValue;

    fn parse(lines: &[&str]) -> Result<Option<ChunkDigest>, Code> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("content-digest", HeaderValue::from_str(line).unwrap());
        }
        content_digest(&headers).map_err(|problem| problem.code())
    }

    #[test]
    fn good_ones() {
        let (short, long) = (ChunkDigest::Sha256([0; 32]), ChunkDigest::Sha512(Box::new([0; 64])));
        let (sha256, sha512) = (digest_value(&short), digest_value(&long));
        let check = |lines: &[&str], expected: Option<&ChunkDigest>| {
            assert_eq!(parse(lines), Ok(expected.cloned()), "{lines:?}");
        };
        check(&[], None);
        check(&[&sha256], Some(&short));
        check(&[&format!("{sha512}, {sha256}")], Some(&long));
        check(&[&format!("{sha256} ,\t {sha512}")], Some(&long));
        check(&[&sha256, &sha512], Some(&long));
        check(&[&sha256.replace("A=:", "A:")], Some(&short));
        for parameters in
            [";a", ";a=1", "; a=-1.5;b", ";a=\"x,\\\"y\"", ";a=?1;*b=t/o:k", ";a=:AA==:"]
        {
            check(&[&format!("{sha256}{parameters}, md5=:AAAA:")], Some(&short));
        }
        check(&["md5=:AAAA:"], None);
        check(&["md5=::"], None);
        check(&["*a_1-.*=:AAAA:;x"], None);
    }

    #[test]
    fn bad_ones_are_refused() {
        let good = digest_value(&ChunkDigest::Sha256([0; 32]));
        let value = good.strip_prefix("sha-256=").unwrap();
        for bad in [
            "",
            " ",
            ",",
            "=",
            "sha-256",
            "sha-256=",
            "sha-256=AAAA",
            "sha-256=:AAAA:",
            "sha-256=:!:",
            "sha-256=::",
            "sha-256=:AAAA",
            "sha-256;a=1",
            "md5=x",
            "md5=1",
            "md5",
            "md5=?1",
            "md5=()",
            "md5=(:AAAA:)",
            "md5=:A:",
            "md5=:AA AA:",
            "1md5=:AAAA:",
            "-md5=:AAAA:",
            "md5=:AAAA: x=:AAAA:",
            "md5=:AAAA:;",
            "md5=:AAAA:;A=1",
            "md5=:AAAA:;a=",
            "md5=:AAAA:;a=1.",
            "md5=:AAAA:;a=\"",
            "md5=:AAAA:;a=\"\\n\"",
            "md5=:AAAA: ;a",
            "md5=:AAAA:,",
            "md5=:AAAA:, ,x=:AAAA:",
            ", md5=:AAAA:",
        ] {
            assert_eq!(parse(&[bad]), Err(Code::BadRequest), "{bad:?}");
            assert_eq!(parse(&[&format!("{good}, {bad}")]), Err(Code::BadRequest), "{bad:?}");
        }
        for bad in
            [format!("SHA-256={value}"), format!("sha-256 ={value}"), format!("sha-256= {value}")]
        {
            assert_eq!(parse(&[&bad]), Err(Code::BadRequest), "{bad:?}");
        }
        assert_eq!(parse(&[&good, ""]), Err(Code::BadRequest));
    }
}
