//! Who may call the backend surface: by address, by token, by client certificate.

use super::forwarded::{self, Client, contains};
use super::reply::{Code, Problem};
use super::{Caller, Surface};
use hyper::header::{AUTHORIZATION, HeaderMap};
use ipnet::IpNet;
use std::fmt;
use subtle::ConstantTimeEq;

/// Who may call the backend surface. Every rule that is set must be met.
#[derive(Clone, Default)]
pub struct Access {
    /// Addresses that may call; `None` lets every address.
    pub allow: Option<Vec<IpNet>>,
    /// Proxies whose word on the client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// The bearer token, if one is demanded.
    pub token: Option<String>,
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
    /// Checks a request to the backend surface, on a socket that serves `surface`.
    pub fn check(
        &self,
        surface: Surface,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        self.check_address(surface, caller, headers)?;
        if self.client_certificate && !caller.client_certificate {
            return Err(Problem::new(Code::Forbidden, "a client certificate is required"));
        }
        self.check_token(headers)
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
                Err(Problem::new(Code::Forbidden, "this address may not call the backend surface"))
            }
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        // Whichever of two is looked at, something in front may have looked at the other.
        if headers.get_all(AUTHORIZATION).iter().count() > 1 {
            return Err(Problem::bad_request("header Authorization comes more than once"));
        }
        let Some(token) = &self.token else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let given = match given.split_at_checked(BEARER.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => token,
            Some(_) | None => b"",
        };
        if bool::from(given.ct_eq(token.as_bytes())) {
            Ok(())
        } else {
            Err(Problem::new(
                Code::Unauthorized,
                "header Authorization: the backend token is missing or wrong",
            ))
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
    use hyper::header::HeaderValue;

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
            let caller =
                Caller { address: peer.parse().ok(), port: None, client_certificate: false };
            let on = |surface| access.check(surface, &caller, &headers).is_ok();
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
        let caller =
            Caller { address: "127.0.0.1".parse().ok(), port: None, client_certificate: false };
        let check = |values: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            let checked = access.check(Surface::Backend, &caller, &headers);
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
