//! The header `Upload-Concat`: whether an upload is a part of a file, or made of such parts. Source: tus 1.0, concatenation.

use super::problem::Problem;
use super::reply::shown;
use crate::core::id::TicketId;
use crate::core::limits::MAX_PARTS;

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UploadConcat {
    /// A part of a file.
    Partial,
    /// These partial uploads, one behind the other.
    Final(Vec<TicketId>),
}

/// Reads its value.
///
/// Errors: it is neither, or a URL in it is not that of an upload of this server.
pub(super) fn read(text: &str) -> Result<UploadConcat, Problem> {
    if text == "partial" {
        return Ok(UploadConcat::Partial);
    }
    let Some(urls) = text.strip_prefix("final;") else {
        return Err(Problem::bad_request(format!(
            "Upload-Concat {}: expected partial, or final; and the URLs of partial uploads",
            shown(text)
        )));
    };
    // One more shows that there are too many.
    let urls = urls.split(' ').filter(|url| !url.is_empty()).take(MAX_PARTS + 1);
    urls.map(part).collect::<Result<_, _>>().map(UploadConcat::Final)
}

/// Where the store cannot join parts.
pub(super) fn unsupported() -> Problem {
    Problem::bad_request(
        "Upload-Concat: this server does not concatenate; set parallelUploads to 1",
    )
}

/// The upload of a URL. Host and prefix are the proxy's to choose; the id is a secret of this server.
fn part(url: &str) -> Result<TicketId, Problem> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (before, id) = path.rsplit_once('/').unwrap_or_default();
    let named = before == "tus" || before.ends_with("/tus");
    let id = TicketId::parse(id).ok().filter(|_| named);
    id.ok_or_else(|| {
        // The id in it is a secret, if it is one.
        Problem::bad_request(
            "Upload-Concat: a URL in it is not that of a tus upload of this server",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let id = |seed: u8| TicketId::from_random([seed; 16]);
        let check = |text: &str, expected: Option<UploadConcat>| {
            assert_eq!(read(text).ok(), expected, "{text}");
        };
        let (one, two) = (id(1), id(2));
        check("partial", Some(UploadConcat::Partial));
        let both = Some(UploadConcat::Final(vec![one, two]));
        check(
            &format!("final;https://a.example/x/tus/{one} /incoming/frontend/tus/{two}"),
            both.clone(),
        );
        check(&format!("final;tus/{one}  http://[::1]:8/tus/{two}?a=/b#c"), both);
        check("final;", Some(UploadConcat::Final(vec![])));
        for wrong in ["", "Partial", "partial;", "final", "final, /tus/x", "final;/tus/x"] {
            check(wrong, None);
        }
        for path in ["/tus/{}/", "/uploads/{}", "{}", "/nottus/{}", "/tus/a{}"] {
            check(&format!("final;{}", path.replace("{}", &one.to_string())), None);
        }
        let many = format!("final;{}", format!("/tus/{one} ").repeat(MAX_PARTS + 9));
        check(&many, Some(UploadConcat::Final(vec![one; MAX_PARTS + 1])));
    }
}
