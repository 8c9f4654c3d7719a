//! What can be meant and mostly is not: the server starts with it, and says what it comes to.

use ipnet::IpNet;

use super::settings::Settings;
use crate::net::Address;

/// Strangers are among the trusted proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrangersTrusted {
    /// The networks that are too wide, separated by commas.
    pub networks: String,
    /// What they are believed in.
    pub believed: &'static str,
}

/// What guards a backend listener on TCP against other users of the machine.
pub const BACKEND_GUARD: &str =
    "backend_listen = \"unix:/PATH\", or backend_token; backend_open = true accepts it";

impl Settings {
    /// Whether a backend listener at `address` is on TCP and neither token, client certificate nor rule guards it, so that
    /// every user of the machine can call it.
    #[must_use]
    pub fn opens_backend_to_local_users(&self, address: &Address) -> bool {
        matches!(address, Address::Tcp(_)) && !self.guards_backend()
    }

    /// Whether `trusted_proxies` has a network that is wider than any private one, so that strangers are in it.
    #[must_use]
    pub fn strangers_trusted(&self) -> Option<StrangersTrusted> {
        let wide = self.trusted_proxies.iter().filter(|net| is_wide(net));
        let networks: Vec<String> = wide.map(ToString::to_string).collect();
        let believed = if self.proxy_protocol || self.backend_proxy_protocol {
            "PROXY headers, Forwarded and X-Forwarded-For"
        } else {
            "Forwarded and X-Forwarded-For"
        };
        let networks = networks.join(", ");
        (!networks.is_empty()).then_some(StrangersTrusted { networks, believed })
    }
}

/// Wider than 10.0.0.0/8 and fc00::/7, the widest that are nobody's.
fn is_wide(net: &IpNet) -> bool {
    let private = match net {
        IpNet::V4(_) => 8,
        IpNet::V6(_) => 7,
    };
    net.prefix_len() < private
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_everybody_are_told_of() {
        let check = |nets: &[&str], proxy_protocol: bool, networks: &str, word: &str| {
            let trusted_proxies = nets.iter().map(|net| net.parse().unwrap()).collect();
            let settings = Settings { trusted_proxies, proxy_protocol, ..Settings::default() };
            let found = settings.strangers_trusted();
            assert_eq!(found.is_some(), !networks.is_empty(), "{nets:?}");
            if let Some(found) = found {
                assert_eq!(found.networks, networks);
                assert!(found.believed.starts_with(word), "{}", found.believed);
            }
        };
        check(&[], true, "", "");
        check(&["10.0.0.0/8", "fc00::/7", "127.0.0.1/32", "192.0.2.0/24"], true, "", "");
        check(&["0.0.0.0/0"], false, "0.0.0.0/0", "Forwarded");
        check(&["10.0.0.0/8", "::/0"], true, "::/0", "PROXY");
        check(&["0.0.0.0/1", "128.0.0.0/1"], false, "0.0.0.0/1, 128.0.0.0/1", "Forwarded");
        check(&["2000::/3"], false, "2000::/3", "Forwarded");
    }
}
