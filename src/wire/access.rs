//! Who may call the backend surface: by address, by token, by client certificate, and not for a web page
//! ([`super::browser`]).

use super::browser::{self, Hosts};
use super::forwarded::{self, Client, contains};
use super::problem::{Code, Problem};
use super::{Caller, Surface};
use crate::core::id::TicketId;
use crate::engine::context::{RequestContext, request_of};
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request::Parts;
use ipnet::IpNet;
use std::fmt;
use subtle::ConstantTimeEq;

/// Who calls the backend surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A web app.
    WebApp,
    /// The operator, by `operator_token`.
    Operator,
}

impl Role {
    /// Why an upload ends that it cancels.
    pub(super) fn cancel_reason(self) -> &'static str {
        match self {
            Self::WebApp => "cancelled by the backend",
            Self::Operator => "cancelled by the operator",
        }
    }

    /// Logs that the operator has retried a handover. A web app is expected to, and a cancel has a line of its own.
    pub(super) fn log_retry(self, id: TicketId) {
        if self == Self::Operator {
            let context = RequestContext::current();
            let request = request_of(context.as_ref());
            tracing::info!(upload = %id.short(), request, "handover retried by the operator");
        }
    }

    /// Refuses the operator what only the upload's web app may do.
    pub(super) fn check_web_app(self) -> Result<(), Problem> {
        match self {
            Self::WebApp => Ok(()),
            Self::Operator => Err(Problem::new(
                Code::Forbidden,
                "the operator token does not give this permission; the web app calls this with backend_token",
            )),
        }
    }
}

/// Who may call the backend surface. Every rule that is set must be met.
#[derive(Clone, Default)]
pub struct Access {
    /// Addresses that may call; `None` lets every address.
    pub allow: Option<Vec<IpNet>>,
    /// Whether `allow` is loopback because the operator chose nothing for a shared socket.
    pub fallback: bool,
    /// What callers without token and certificate may name in `Host`.
    pub hosts: Hosts,
    /// Proxies whose word on the client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// The bearer token, if one is demanded.
    pub token: Option<String>,
    /// The bearer token of the operator, which stands for `token` too.
    pub operator_token: Option<String>,
    /// Whether a client certificate is demanded.
    pub client_certificate: bool,
}

/// Without the token.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl Access {
    /// Checks a request to the backend surface, on a socket that serves `surface`, and tells who makes it. What is
    /// refused here is refused before its body is read.
    pub fn check(&self, surface: Surface, caller: &Caller, head: &Parts) -> Result<Role, Problem> {
        self.check_without_token(surface, caller, head)?;
        self.check_token(&head.headers)
    }

    /// The same for what has no secret in it: everything but the token.
    pub(super) fn check_without_token(
        &self,
        surface: Surface,
        caller: &Caller,
        head: &Parts,
    ) -> Result<(), Problem> {
        self.check_address(surface, caller, &head.headers)?;
        self.check_direct(caller, &head.headers)?;
        self.check_host(surface, caller, head)?;
        // No call has this method, so the answer is 405 to a browser's preflight as to all others.
        if head.method != Method::OPTIONS {
            browser::check_page(head)?;
        }
        self.check_certificate(caller)
    }

    /// Under the fallback every peer on loopback is let in, so a proxy there that passes on the backend's paths lets in everybody.
    /// That such a one is in between shows in what it adds, or in what a browser sent.
    fn check_direct(&self, caller: &Caller, headers: &HeaderMap) -> Result<(), Problem> {
        if !self.fallback || self.trusts(caller) {
            return Ok(());
        }
        let Some(header) = browser::sign_of_proxy(headers) else { return Ok(()) };
        Err(Problem::new(
            Code::Forbidden,
            format!(
                "header {header}: this request came through a proxy or from a browser; let the proxy pass on \
                 /incoming/frontend/ and /incoming/0.1/frontend/ alone, or name it in trusted_proxies, or \
                 set backend_token"
            ),
        ))
    }

    /// A token or a certificate is nothing that a browser adds for a page, so with either the name does not matter. Nor does it on a
    /// unix socket, which browsers do not connect to.
    fn check_host(&self, surface: Surface, caller: &Caller, head: &Parts) -> Result<(), Problem> {
        if self.token.is_some() || self.client_certificate || caller.on_unix_socket() {
            return Ok(());
        }
        let from_here = match self.client(surface, caller, &head.headers)? {
            Client::At(address) => address.is_loopback(),
            Client::Unknown => false,
        };
        if from_here || !self.hosts.named.is_empty() { self.hosts.check(head) } else { Ok(()) }
    }

    fn check_certificate(&self, caller: &Caller) -> Result<(), Problem> {
        if !self.client_certificate {
            return Ok(());
        }
        match &caller.certificate {
            None => Err(Problem::new(Code::Forbidden, "a client certificate is required")),
            Some(is_good) if is_good() => Ok(()),
            Some(_) => Err(Problem::new(
                Code::Forbidden,
                "the client certificate of this connection has expired, or its CA is no longer in \
                 backend_tls_client_ca; connect again with one that is good",
            )),
        }
    }

    /// Whether the caller is a proxy whose word counts.
    pub(super) fn trusts(&self, caller: &Caller) -> bool {
        caller.address.is_some_and(|address| contains(&self.trusted_proxies, address))
    }

    /// Checks the address alone: all that is asked of a balancer that looks whether the server
    /// lives.
    pub fn check_address(
        &self,
        surface: Surface,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let client = self.client(surface, caller, headers)?;
        let Some(allow) = &self.allow else { return Ok(()) };
        match client {
            Client::At(address) if contains(allow, address) => Ok(()),
            Client::At(_) | Client::Unknown => {
                Err(Problem::new(Code::Forbidden, "this address may not call the backend API"))
            }
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<Role, Problem> {
        // Whichever of two is looked at, something in front may have looked at the other.
        if headers.get_all(AUTHORIZATION).iter().count() > 1 {
            return Err(Problem::bad_request("header Authorization comes more than once"));
        }
        let given = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let given = match given.split_at_checked(BEARER.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => token,
            Some(_) | None => b"",
        };
        let is = |token: &str| bool::from(given.ct_eq(token.as_bytes()));
        match (&self.operator_token, &self.token) {
            (Some(operator), _) if is(operator) => Ok(Role::Operator),
            (_, Some(token)) if !is(token) => Err(Problem::new(
                Code::Unauthorized,
                "header Authorization: the backend token is missing or wrong",
            )),
            (_, Some(_) | None) => Ok(Role::WebApp),
        }
    }

    /// Who the client is: the peer, or, where the peer is a trusted proxy, whom it names. On a shared socket a trusted
    /// proxy that names nobody leaves the client unknown: one that forgets to name browsers would else let them all in
    /// as itself.
    ///
    /// # Errors
    /// What a trusted proxy sends is malformed, or can be read in two ways.
    pub fn client(
        &self,
        surface: Surface,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<Client, Problem> {
        let Some(peer) = caller.address else { return Ok(Client::Unknown) };
        let peer = peer.to_canonical();
        if let Some(client) = forwarded::named(&self.trusted_proxies, peer, headers)? {
            return Ok(client);
        }
        let nameless = surface == Surface::Shared && contains(&self.trusted_proxies, peer);
        Ok(if nameless { Client::Unknown } else { Client::At(peer) })
    }
}

const BEARER: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;
    use hyper::header::{HOST, HeaderName, HeaderValue};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn head(method: Method, headers: &[(&'static str, &'static str)]) -> Parts {
        let mut head = Request::builder().method(method).body(()).unwrap().into_parts().0;
        for (name, value) in headers {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
            head.headers.append(name, value);
        }
        head
    }

    fn tcp(from: &str) -> Caller {
        Caller::tcp(from.parse().unwrap())
    }

    /// A page whose name was pointed at this server (DNS rebinding) is known by nothing but `Host`.
    #[test]
    fn issue_13_a_foreign_host_is_refused_where_nothing_else_guards() {
        let hosts = |named: &[&str]| Hosts {
            named: named.iter().map(|&name| name.to_owned()).collect(),
            machine: "m1".into(),
        };
        let evil = head(Method::GET, &[("host", "evil.example:4001")]);
        let check = |access: &Access, caller: &Caller, expected: bool| {
            let checked = access.check(Surface::Backend, caller, &evil);
            assert_eq!(checked.is_ok(), expected, "{access:?}");
        };
        let open = Access { hosts: hosts(&[]), ..Access::default() };
        for here in ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            check(&open, &tcp(here), false);
        }
        // Not a peer on loopback: as it always was, until the operator names the hosts.
        check(&open, &tcp("10.0.0.1:9"), true);
        check(&Access { hosts: hosts(&["app"]), ..open.clone() }, &tcp("10.0.0.1:9"), false);
        check(&Access { hosts: hosts(&["app"]), ..open.clone() }, &Caller::unknown(), false);
        check(&Access { hosts: hosts(&["evil.example"]), ..open.clone() }, &tcp("[::1]:9"), true);
        check(&open, &Caller::unix(), true);
        let allow = Some(vec!["127.0.0.0/8".parse().unwrap()]);
        check(&Access { allow, ..open.clone() }, &tcp("127.0.0.1:9"), false);
        // A trusted proxy on loopback brings whom it names.
        let trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        let proxied = Access { trusted_proxies, ..open.clone() };
        let mut brought = evil.clone();
        brought.headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
        assert!(proxied.check(Surface::Backend, &tcp("127.0.0.1:9"), &brought).is_ok());
        // A token is what a page does not have.
        let token = Access { token: Some("t".into()), ..open };
        let mut told = evil.clone();
        told.headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        assert!(token.check(Surface::Backend, &tcp("127.0.0.1:9"), &told).is_ok());
        told.headers.insert(HOST, HeaderValue::from_static("localhost"));
        told.headers.append("origin", HeaderValue::from_static("http://evil.example"));
        assert!(token.check(Surface::Backend, &tcp("127.0.0.1:9"), &told).is_err());
        told.method = Method::OPTIONS;
        assert!(token.check(Surface::Backend, &tcp("127.0.0.1:9"), &told).is_ok());
    }

    /// A proxy on loopback that passes on everything lets everybody in as itself.
    #[test]
    fn issue_13_the_fallback_refuses_what_comes_through_a_proxy() {
        let fallback = Access {
            allow: Some(vec!["127.0.0.0/8".parse().unwrap()]),
            fallback: true,
            ..Access::default()
        };
        let trusting =
            Access { trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()], ..fallback.clone() };
        let chosen = Access { fallback: false, ..fallback.clone() };
        let caller = tcp("127.0.0.1:9");
        for (name, value) in [
            ("forwarded", "for=127.0.0.1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a"),
            ("via", "1.1 proxy"),
            ("x-real-ip", "127.0.0.1"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-dest", "empty"),
            ("sec-ch-ua", "x"),
            ("origin", "http://localhost"),
        ] {
            let head = head(Method::GET, &[("host", "localhost"), (name, value)]);
            for caller in [&caller, &Caller::unix()] {
                let refused = fallback.check(Surface::Shared, caller, &head).unwrap_err();
                let text = format!("{refused:?}");
                assert!(text.contains(name) && text.contains("trusted_proxies"), "{text}");
            }
            assert!(chosen.check(Surface::Shared, &caller, &head).is_ok(), "{name}");
        }
        let named = head(Method::GET, &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1")]);
        assert!(trusting.check(Surface::Shared, &caller, &named).is_ok());
        // What programs send by themselves; Sec-Fetch-Mode is Node's.
        let plain = [("host", "localhost"), ("user-agent", "node"), ("sec-fetch-mode", "cors")];
        assert!(fallback.check(Surface::Shared, &caller, &head(Method::GET, &plain)).is_ok());
    }

    #[test]
    fn issue_13_a_certificate_must_still_be_good() {
        let access = Access { client_certificate: true, ..Access::default() };
        let head = head(Method::GET, &[("host", "a")]);
        let good = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&good);
        let certificate: crate::wire::Certificate = Arc::new(move || asked.load(Ordering::Relaxed));
        let caller = Caller { certificate: Some(certificate), ..tcp("127.0.0.1:9") };
        assert!(access.check(Surface::Backend, &caller, &head).is_ok());
        good.store(false, Ordering::Relaxed);
        let refused = access.check(Surface::Backend, &caller, &head).unwrap_err();
        assert!(format!("{refused:?}").contains("backend_tls_client_ca"), "{refused:?}");
        assert!(access.check(Surface::Backend, &tcp("127.0.0.1:9"), &head).is_err());
    }

    #[test]
    fn the_resolved_address_decides() {
        let access = Access {
            allow: Some(vec!["127.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap()]),
            trusted_proxies: vec!["127.0.0.1/32".parse().unwrap(), "10.9.9.9/32".parse().unwrap()],
            ..Access::default()
        };
        let check = |peer: &str, forwarded: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            let caller = Caller { address: peer.parse().ok(), ..Caller::unix() };
            let on = |surface| access.check_address(surface, &caller, &headers).is_ok();
            assert_eq!(on(Surface::Shared), expected, "{peer} {forwarded:?}");
            // A socket for backends alone is one that a proxy does not send browsers to.
            let alone = expected || (peer == "127.0.0.1" && forwarded.is_empty());
            assert_eq!(on(Surface::Backend), alone, "{peer} {forwarded:?}");
        };
        check("127.0.0.1", &[], false);
        check("127.0.0.1", &["127.0.0.1"], true);
        check("127.0.0.1", &[""], false);
        check("::ffff:127.0.0.2", &[], true);
        check("8.8.8.8", &[], false);
        check("127.0.0.1", &["8.8.8.8"], false);
        check("127.0.0.1", &["10.1.2.3"], true);
        check("127.0.0.1", &["10.1.2.3, 8.8.8.8"], false);
        check("127.0.0.1", &["8.8.8.8, 10.1.2.3"], true);
        check("127.0.0.1", &["10.1.2.3", "10.9.9.9"], true);
        check("127.0.0.1", &["nonsense"], false);
        check("127.0.0.2", &["8.8.8.8"], true);
    }

    #[test]
    fn the_token_must_match() {
        let access = Access { token: Some("s3cret".into()), ..Access::default() };
        let check = |values: &[&'static str], expected: bool| {
            let mut head = Request::new(()).into_parts().0;
            for value in values {
                head.headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            let checked = access.check(Surface::Backend, &Caller::unix(), &head);
            assert_eq!(checked.is_ok(), expected, "{values:?}");
        };
        check(&[], false);
        check(&["Bearer s3cret", "Bearer s3cret"], false);
        check(&["Bearer s3cret"], true);
        check(&["bearer s3cret"], true);
        check(&["Bearer s3cre"], false);
        check(&["s3cret"], false);
        check(&["Bearer "], false);
        assert!(!format!("{access:?}").contains("s3cret"));
    }
}
