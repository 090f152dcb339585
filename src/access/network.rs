//! Networks: from where a key may be used, and where a request came from.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::HeaderMap;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A list of networks in CIDR notation, IPv4 and IPv6. Empty, it allows every address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads networks; a bare address is the network of that address alone. What is IPv4 in IPv6's clothes becomes IPv4.
    ///
    /// # Errors
    /// The texts that are no networks.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, Vec<String>> {
        let mut networks = Vec::new();
        let mut wrong = Vec::new();
        for text in texts.iter().map(AsRef::as_ref) {
            match network(text) {
                Some(network) if networks.contains(&network) => {}
                Some(network) => networks.push(network),
                None => wrong.push(text.to_owned()),
            }
        }
        if wrong.is_empty() { Ok(Self(networks)) } else { Err(wrong) }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the networks holds the address.
    pub fn hold(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether the address is allowed: one of the networks holds it, or there are none.
    pub fn allow(&self, address: IpAddr) -> bool {
        self.is_empty() || self.hold(address)
    }

    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.texts().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        Self::parse(&texts).map_err(|wrong| D::Error::custom(format!("no networks: {}", wrong.join(", "))))
    }
}

/// Bits before the IPv4 address in an IPv4-mapped IPv6 address.
const MAPPED: u8 = 96;

fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    let network = match network {
        IpNet::V6(wide) if wide.prefix_len() >= MAPPED => match wide.addr().to_ipv4_mapped() {
            Some(address) => IpNet::V4(Ipv4Net::new(address, wide.prefix_len() - MAPPED).ok()?),
            None => network,
        },
        IpNet::V4(_) | IpNet::V6(_) => network,
    };
    Some(network.trunc())
}

/// The header in which the configured proxies say for whom they ask. Only one is believed: a proxy that writes one of them
/// may let a client's own text of the other pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

impl ForwardedHeader {
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::XForwardedFor, Self::Forwarded].into_iter().find(|header| header.name() == name)
    }
}

/// Whose word about where a request came from is believed, and in which header; by default nobody's.
#[derive(Debug, Clone)]
pub struct Proxies {
    trusted: Arc<Networks>,
    header: ForwardedHeader,
    /// Somebody was disbelieved, and that was said.
    warned: Arc<AtomicBool>,
}

impl Default for Proxies {
    fn default() -> Self {
        Self::new(Networks::default(), ForwardedHeader::XForwardedFor)
    }
}

impl Proxies {
    pub fn new(trusted: Networks, header: ForwardedHeader) -> Self {
        Self { trusted: Arc::new(trusted), header, warned: Arc::default() }
    }

    /// Where a request with these headers came from, whose connection is `peer`'s. That a peer says for whom it asks and is not
    /// trusted is logged once: it may be a proxy that the configuration lacks, and all its clients would be one.
    pub fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let values = headers.get_all(self.header.name());
        let values: Vec<&str> = values.iter().filter_map(|value| value.to_str().ok()).collect();
        if !(values.is_empty() || self.trusted.hold(peer) || self.warned.swap(true, Ordering::Relaxed)) {
            tracing::warn!(
                %peer, header = self.header.name(),
                "a peer says for whom it asks and is not believed: if it is your proxy, add it to customer.trusted_proxies"
            );
        }
        client_address(peer, self.header, &values, &self.trusted)
    }
}

/// Where a request came from: the socket's peer, or, if that is a proxy that is trusted, the right-most address of the
/// header's values that is not. What stands left of an untrusted or unreadable hop is the client's own invention.
fn client_address(peer: IpAddr, header: ForwardedHeader, values: &[&str], trusted: &Networks) -> IpAddr {
    let mut address = peer.to_canonical();
    let hops = values.iter().flat_map(|value| value.split(','));
    let mut hops: Vec<&str> = hops.filter(|hop| !hop.trim().is_empty()).collect();
    while trusted.hold(address) {
        let Some(next) = hops.pop().and_then(|hop| hop_address(header, hop)) else { break };
        address = next.to_canonical();
    }
    address
}

fn hop_address(header: ForwardedHeader, hop: &str) -> Option<IpAddr> {
    match header {
        ForwardedHeader::XForwardedFor => node_address(hop.trim()),
        ForwardedHeader::Forwarded => hop.split(';').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let named = name.trim().eq_ignore_ascii_case("for");
            named.then(|| node_address(value.trim().trim_matches('"'))).flatten()
        }),
    }
}

/// An address with or without a port, IPv6 with or without brackets.
fn node_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn networks(texts: &[&str]) -> Networks {
        Networks::parse(texts).expect("networks")
    }

    #[test]
    fn networks_hold_what_is_in_them_in_both_families() {
        let list = networks(&["10.1.0.0/16", "2001:db8:7::/48", "192.0.2.7", "::ffff:198.51.100.0/120"]);
        assert_eq!(list.texts(), ["10.1.0.0/16", "2001:db8:7::/48", "192.0.2.7/32", "198.51.100.0/24"]);
        for inside in ["10.1.255.9", "::ffff:10.1.2.3", "2001:db8:7:1::5", "192.0.2.7", "198.51.100.200"] {
            assert!(list.allow(ip(inside)), "{inside}");
        }
        for outside in ["10.2.0.1", "2001:db8:8::1", "192.0.2.8", "198.51.101.1", "::1"] {
            assert!(!list.allow(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn no_network_allows_all_and_holds_none() {
        assert!(Networks::default().allow(ip("203.0.113.9")) && !Networks::default().hold(ip("203.0.113.9")));
    }

    #[test]
    fn what_is_no_network_is_named() {
        let wrong = Networks::parse(&["10.0.0.0/8", "10.0.0.0/33", "example.com"]).expect_err("refused");
        assert_eq!(wrong, ["10.0.0.0/33", "example.com"]);
    }

    #[test]
    fn a_header_is_believed_from_a_configured_proxy_alone() {
        let header = ForwardedHeader::XForwardedFor;
        let trusted = networks(&["10.0.0.0/8"]);
        let from = |peer: &str, values: &[&str]| client_address(ip(peer), header, values, &trusted).to_string();
        assert_eq!(from("203.0.113.1", &["198.51.100.1"]), "203.0.113.1", "an untrusted peer speaks for itself");
        assert_eq!(from("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(from("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1", "a mapped peer is the same proxy");
        assert_eq!(from("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.9.9.9"]), "198.51.100.1", "the left is invented");
        assert_eq!(from("10.0.0.1", &["1.1.1.1", "198.51.100.1:5000"]), "198.51.100.1", "the last line is nearest");
        assert_eq!(from("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(from("10.0.0.1", &["198.51.100.1, nonsense"]), "10.0.0.1", "what cannot be read ends the chain");
        assert_eq!(from("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(from("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn rfc_7239_is_read_with_its_quotes_and_parameters() {
        let trusted = networks(&["10.0.0.0/8", "2001:db8:cafe::/48"]);
        let from =
            |values: &[&str]| client_address(ip("10.0.0.1"), ForwardedHeader::Forwarded, values, &trusted).to_string();
        assert_eq!(from(&["for=192.0.2.60;proto=http;by=203.0.113.43"]), "192.0.2.60");
        assert_eq!(from(&["For=\"198.51.100.7\", for=\"[2001:db8:cafe::17]:4711\""]), "198.51.100.7");
        assert_eq!(from(&["for=192.0.2.60, for=_hidden"]), "10.0.0.1");
        assert_eq!(from(&["for=192.0.2.60, for=unknown;by=1.2.3.4"]), "10.0.0.1");
    }
}
