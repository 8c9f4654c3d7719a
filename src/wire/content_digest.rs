//! `Content-Digest`, by the letter: a digest that is misspelt must not pass for none.
//!
//! Sources: RFC 9530, section 2, for the field; RFC 9651, sections 3.2 and 4.2, for the dictionary
//! of byte sequences that it is.

use super::header::text;
use super::problem::Problem;
use super::reply::shown;
use crate::core::digest::ChunkDigest;
use hyper::header::HeaderMap;
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

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
    let bad = |why: &str| {
        Problem::bad_request(format!("header Content-Digest {}: {why}", shown(&joined)))
    };
    let members: Dictionary = Parser::new(&joined).parse().map_err(|_| bad(FORM))?;
    let (mut sha256, mut sha512) = (None, None);
    for (algorithm, member) in &members {
        let ListEntry::Item(Item { bare_item: BareItem::ByteSequence(bytes), .. }) = member else {
            return Err(bad(FORM));
        };
        let length = |_| bad("the digest has not its algorithm's length");
        match algorithm.as_str() {
            "sha-256" => sha256 = Some(bytes.as_slice().try_into().map_err(length)?),
            "sha-512" => {
                let bytes: [u8; 64] = bytes.as_slice().try_into().map_err(length)?;
                sha512 = Some(Box::new(bytes));
            }
            _ => {}
        }
    }
    if members.is_empty() {
        return Err(bad(FORM));
    }
    Ok(sha512.map(ChunkDigest::Sha512).or_else(|| sha256.map(ChunkDigest::Sha256)))
}

const FORM: &str = "expected ALGORITHM=:BASE64:";

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
