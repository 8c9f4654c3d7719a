//! A URL, taken apart into what a call needs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use percent_encoding::percent_decode_str;

use super::CallError;

/// Whom to call. Has no `Debug`: it holds credentials.
pub(super) struct Target {
    /// The call goes over TLS.
    pub(super) tls: bool,
    /// A name or an address; an IPv6 one without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// For the `Host` header: the port only where it is not the scheme's own.
    pub(super) authority: String,
    /// Path and query, never empty.
    pub(super) path: String,
    /// Basic authentication, from the URL's credentials.
    pub(super) authorization: Option<HeaderValue>,
    /// The URL for logs and people: no credentials, no query.
    pub(super) shown: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, CallError> {
        let bad = |why| CallError::BadUrl(harmless(url), why);
        let uri: Uri = url.trim_ascii().parse().map_err(|_| bad("it is not a valid URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("it does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        let bracketed = authority.host();
        let host = bracketed.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let usual = if tls { 443 } else { 80 };
        let (credentials, place) = match authority.as_str().rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, authority.as_str()),
        };
        let port = match place.strip_prefix(bracketed) {
            Some("" | ":") => usual,
            Some(rest) => match rest.strip_prefix(':').map(str::parse) {
                Some(Ok(port)) if port != 0 && !rest.contains('+') => port,
                Some(_) => return Err(bad("its port is not between 1 and 65535")),
                None => return Err(bad("there is text between its host and its port")),
            },
            None => return Err(bad("it has no host")),
        };
        let authority =
            if port == usual { bracketed.to_owned() } else { format!("{bracketed}:{port}") };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        let authorization = credentials.map(basic).transpose().map_err(bad)?;
        let shown = harmless(url);
        Ok(Self { tls, host, port, authority, path, authorization, shown })
    }

    /// The host is this one, in any case, with or without a final dot or brackets.
    pub(super) fn is_host(&self, rule: &str) -> bool {
        plain(&self.host).eq_ignore_ascii_case(plain(rule))
    }
}

fn plain(host: &str) -> &str {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.strip_suffix('.').unwrap_or(host)
}

fn basic(credentials: &str) -> Result<HeaderValue, &'static str> {
    let (name, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut pair: Vec<u8> = percent_decode_str(name).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| "its credentials are not valid in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// A URL, or what was meant as one, without credentials, query and fragment.
fn harmless(url: &str) -> String {
    let url = url.trim_ascii();
    let url = url.split_once(['?', '#']).map_or(url, |(front, _)| front);
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let place = rest.split('/').next().unwrap_or_default();
    let shown = match place.rsplit_once('@') {
        Some((credentials, _)) => &rest[credentials.len() + 1..],
        None => rest,
    };
    if scheme.is_empty() { shown.to_owned() } else { format!("{scheme}://{shown}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, host: &str, port: u16, authority: &str, path: &str) {
        let target = Target::parse(url).unwrap();
        let found = (&*target.host, target.port, &*target.authority, &*target.path);
        assert_eq!(found, (host, port, authority, path), "{url}");
    }

    #[test]
    fn urls_are_taken_apart() {
        check("http://app", "app", 80, "app", "/");
        check(
            "https://App.example/done?x=1&y=%20#top",
            "App.example",
            443,
            "App.example",
            "/done?x=1&y=%20",
        );
        check("http://app:8080?x=1", "app", 8080, "app:8080", "/?x=1");
        check(" http://app:80/ ", "app", 80, "app", "/");
        check("http://app:/", "app", 80, "app", "/");
        check("HTTP://[::1]:81/a", "::1", 81, "[::1]:81", "/a");
        check("http://me:pass@app:81/a", "app", 81, "app:81", "/a");
    }

    #[test]
    fn bad_urls_are_named_without_their_secrets() {
        for url in [
            "",
            "app",
            "/path",
            "ftp://app/",
            "http://",
            "http:///x",
            "http://app:0/",
            "http://app:99999/",
            "http://a b/",
            "http://[::1]2:80/",
        ] {
            let error = Target::parse(url).err().unwrap().to_string();
            assert!(error.contains(url), "{error}");
        }
        for url in ["ftp://me:secret@app/path?key=secret", "http://me:secret@app:0/#secret"] {
            let error = Target::parse(url).err().unwrap().to_string();
            assert!(error.contains("app") && !error.contains("secret"), "{error}");
        }
        assert_eq!(Target::parse("http://me:x@app/p@th?q").unwrap().shown, "http://app/p@th");
    }

    #[test]
    fn credentials_become_basic_authentication() {
        let target = Target::parse("http://me:p%40ss@app/").unwrap();
        let expected = format!("Basic {}", STANDARD.encode("me:p@ss"));
        assert_eq!(target.authorization.unwrap(), expected);
    }

    #[test]
    fn hosts_compare_as_dns_does() {
        let target = Target::parse("http://App.Example./").unwrap();
        assert!(target.is_host("app.example") && target.is_host("APP.EXAMPLE."));
        assert!(!target.is_host("example") && !target.is_host("app.example.org"));
        assert!(Target::parse("http://[::1]/").unwrap().is_host("::1"));
    }
}
