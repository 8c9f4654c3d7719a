//! Settings that are valid but usually a mistake: the server starts with them and warns.

use ipnet::IpNet;

use super::settings::Settings;
use crate::net::Address;

/// `trusted_proxies` includes networks that are not private.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntrustedNetworks {
    /// The networks that are too wide, separated by commas.
    pub networks: String,
    /// The headers that a client in them can forge.
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

    /// Whether `trusted_proxies` has a network that is wider than any private one, so that untrusted peers are in it.
    #[must_use]
    pub fn untrusted_networks(&self) -> Option<UntrustedNetworks> {
        let wide = self.trusted_proxies.iter().filter(|net| is_wide(net));
        let networks: Vec<String> = wide.map(ToString::to_string).collect();
        let believed = if self.proxy_protocol || self.backend_proxy_protocol {
            "PROXY headers, Forwarded and X-Forwarded-For"
        } else {
            "Forwarded and X-Forwarded-For"
        };
        let networks = networks.join(", ");
        (!networks.is_empty()).then_some(UntrustedNetworks { networks, believed })
    }
}

/// Wider than 10.0.0.0/8 and fc00::/7, the widest private networks.
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
    fn wide_networks_are_reported() {
        let check = |nets: &[&str], proxy_protocol: bool, networks: &str, word: &str| {
            let trusted_proxies = nets.iter().map(|net| net.parse().unwrap()).collect();
            let settings = Settings { trusted_proxies, proxy_protocol, ..Settings::default() };
            let found = settings.untrusted_networks();
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
