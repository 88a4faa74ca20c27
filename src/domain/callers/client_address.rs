//! Where an anonymous caller asks from: the address that budgets count by, and whose word on it is
//! taken.
//!
//! An IPv6 customer is handed a /64 or more (RFC 6177), so single addresses of it are free to take
//! and count as one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::domain::requests::fields::Requirement;

/// An IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// The whole address.
    V4([u8; 4]),
    /// The /64.
    V6([u8; 8]),
}

impl ClientAddress {
    /// The address in the `CLIENT-IP` header that Azure's front end writes: `ip:port`, `[ip]:port`,
    /// or without a port.
    #[must_use]
    pub fn from_client_ip(value: &[u8]) -> Option<Self> {
        address(value).map(Self::from)
    }

    /// The last but one address in `X-Forwarded-For`: behind Static Web Apps the visitor's, since
    /// Azure's front end adds the one from which Static Web Apps asks. `None` where there are
    /// fewer, or it is none.
    #[must_use]
    pub fn before_last_proxy<'v, V>(values: V) -> Option<Self>
    where
        V: IntoIterator<Item = &'v [u8], IntoIter: DoubleEndedIterator>,
    {
        address(elements_from_the_right(values).nth(1)?).map(Self::from)
    }

    /// The last address in `X-Forwarded-For` that is no trusted proxy's. Only a trusted peer's word
    /// counts, and none of it once it holds, right of that address, something that is not an
    /// address: then it is the peer's own address.
    #[must_use]
    pub fn from_forwarded_for<'v, V>(values: V, peer: IpAddr, trusted: &TrustedProxies) -> Self
    where
        V: IntoIterator<Item = &'v [u8], IntoIter: DoubleEndedIterator>,
    {
        if !trusted.contains(peer) {
            return peer.into();
        }
        let mut addresses = elements_from_the_right(values).map(address);
        addresses
            .find(|address| address.is_none_or(|ip| !trusted.contains(ip)))
            .flatten()
            .unwrap_or(peer)
            .into()
    }

    /// Four bytes or eight, so that no IPv4 address is taken for an IPv6 one.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => Self::V6(ip.octets().first_chunk().copied().unwrap_or_default()),
        }
    }
}

/// Proxies of the operator's own, by address range.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and ranges, separated by commas: `10.0.0.0/8,::1`.
    ///
    /// # Errors
    /// The rule, for anything else, and for a range that trusts everyone.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let ranges: Option<Vec<_>> = text
            .split(',')
            .map(|range| Self::range(range.trim()))
            .collect();
        ranges.map(Self).ok_or_else(|| {
            "must be IP addresses or ranges, such as 10.0.0.0/8 or ::1, separated by commas; a range begins at its first address and is not \
             /0"
            .into()
        })
    }

    fn range(text: &str) -> Option<IpNet> {
        let range = text
            .parse()
            .or_else(|_| text.parse().map(|ip: IpAddr| IpNet::from(ip)))
            .ok()?;
        let range = match range {
            // Peers are compared in their IPv4 form, so a range that is written in the mapped form
            // is brought to it.
            IpNet::V6(v6) => match (
                v6.network().to_ipv4_mapped(),
                v6.prefix_len().checked_sub(96),
            ) {
                (Some(_), Some(length)) => Ipv4Net::new(v6.addr().to_ipv4_mapped()?, length)
                    .ok()?
                    .into(),
                _ => range,
            },
            IpNet::V4(_) => range,
        };
        (range.prefix_len() > 0 && range.addr() == range.network()).then_some(range)
    }

    /// Whether the address is a trusted proxy's.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|range| range.contains(&ip))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The elements of a list that may stand in several headers, the last one first.
fn elements_from_the_right<'v, V>(values: V) -> impl Iterator<Item = &'v [u8]>
where
    V: IntoIterator<Item = &'v [u8], IntoIter: DoubleEndedIterator>,
{
    values
        .into_iter()
        .rev()
        .flat_map(|value| value.rsplit(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
}

/// An address with or without a port. No zone, no leading zeros, no names.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(bracketed) = text.strip_prefix('[') {
        let (ip, rest) = bracketed.split_once(']')?;
        let ip = ip.parse::<Ipv6Addr>().ok()?;
        return (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
            .then_some(ip.into());
    }
    match text.split_once(':') {
        Some((ip, port)) if is_port(port) && ip.contains('.') => {
            ip.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        }
        _ => text.parse().ok(),
    }
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn bucket(text: &str) -> ClientAddress {
        ip(text).into()
    }

    #[test]
    fn an_ipv4_address_counts_alone_and_an_ipv6_address_by_its_64_bits() {
        assert_eq!(bucket("192.0.2.7").as_bytes(), [192, 0, 2, 7]);
        assert_ne!(bucket("192.0.2.7"), bucket("192.0.2.8"));
        assert_eq!(
            bucket("2001:db8:1:2::1").as_bytes(),
            [0x20, 1, 0x0d, 0xb8, 0, 1, 0, 2]
        );
        assert_eq!(
            bucket("2001:db8:1:2::1"),
            bucket("2001:db8:1:2:ffff:ffff:ffff:ffff")
        );
        assert_ne!(bucket("2001:db8:1:2::1"), bucket("2001:db8:1:3::1"));
        assert_eq!(bucket("::ffff:192.0.2.7"), bucket("192.0.2.7"));
    }

    #[test]
    fn azures_client_ip_is_read_with_and_without_a_port() {
        for (text, expected) in [
            ("203.0.113.9:51234", "203.0.113.9"),
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:0", "203.0.113.9"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::1", "::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
        ] {
            assert_eq!(
                ClientAddress::from_client_ip(text.as_bytes()),
                Some(bucket(expected)),
                "{text}"
            );
        }
        for text in [
            "",
            " ",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.9:",
            "203.0.113.9:x",
            "203.0.113.9:65536",
            "203.0.113.9:+1",
            "203.0.113.9:1:1",
            "203.0.113.256",
            "010.0.0.1",
            "0x7f.0.0.1",
            "2130706433",
            " 203.0.113.9",
            "203.0.113.9 ",
            "203.0.113.9,198.51.100.1",
            "[203.0.113.9]:1",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]x",
            "[2001:db8::1]:",
            "[2001:db8::1]:99999",
            "[]",
            "fe80::1%eth0",
            "localhost:80",
            "203.0.113.9/32",
        ] {
            assert_eq!(
                ClientAddress::from_client_ip(text.as_bytes()),
                None,
                "{text:?}"
            );
        }
        assert_eq!(ClientAddress::from_client_ip(b"\xff203.0.113.9"), None);
    }

    #[test]
    fn only_a_trusted_proxys_word_counts_and_only_up_to_the_first_stranger() {
        let trusted = TrustedProxies::parse("10.0.0.0/8, 2001:db8:9::/48,192.0.2.1").unwrap();
        for (peer, values, expected, why) in [
            (
                "198.51.100.1",
                &["203.0.113.9"][..],
                "198.51.100.1",
                "the peer is a stranger",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9"],
                "203.0.113.9",
                "the proxy names its client",
            ),
            (
                "::ffff:10.0.0.1",
                &["203.0.113.9"],
                "203.0.113.9",
                "a proxy in the mapped form",
            ),
            (
                "2001:db8:9::5",
                &["203.0.113.9:4711"],
                "203.0.113.9",
                "an IPv6 proxy, and a port",
            ),
            (
                "10.0.0.1",
                &["1.1.1.1, 203.0.113.9"],
                "203.0.113.9",
                "what the client claimed stands left of what the proxy saw",
            ),
            (
                "10.0.0.1",
                &["1.1.1.1", "203.0.113.9"],
                "203.0.113.9",
                "the same in two headers",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9, 10.9.9.9,192.0.2.1"],
                "203.0.113.9",
                "a chain of proxies",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9", "10.9.9.9 ,\t192.0.2.1"],
                "203.0.113.9",
                "a chain over two headers",
            ),
            (
                "10.0.0.1",
                &["garbage, 203.0.113.9"],
                "203.0.113.9",
                "garbage of the client's own",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9, garbage"],
                "10.0.0.1",
                "garbage from the proxy",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9, garbage, 10.0.0.2"],
                "10.0.0.1",
                "garbage from a proxy behind",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9,"],
                "10.0.0.1",
                "an empty element",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9", ""],
                "10.0.0.1",
                "an empty header",
            ),
            (
                "10.0.0.1",
                &["10.0.0.7, 10.0.0.2"],
                "10.0.0.1",
                "proxies only",
            ),
            ("10.0.0.1", &[], "10.0.0.1", "no header"),
            (
                "10.0.0.1",
                &["2001:db8:1:2::9"],
                "2001:db8:1:2::1",
                "an IPv6 client by its /64",
            ),
        ] {
            let values = values.iter().map(|value| value.as_bytes());
            assert_eq!(
                ClientAddress::from_forwarded_for(values, ip(peer), &trusted),
                bucket(expected),
                "{why}"
            );
        }
    }

    #[test]
    fn behind_static_web_apps_the_last_but_one_address_is_the_visitors() {
        for (values, expected) in [
            (&["203.0.113.9:4711, 20.1.2.3:5"][..], Some("203.0.113.9")),
            (&["203.0.113.9:4711", "20.1.2.3:5"], Some("203.0.113.9")),
            (
                &["6.6.6.6, 203.0.113.9:4711,20.1.2.3:5"],
                Some("203.0.113.9"),
            ),
            (
                &["6.6.6.6", "garbage, [2001:db8::1]:4711", "20.1.2.3"],
                Some("2001:db8::1"),
            ),
            (&["20.1.2.3:5"], None),
            (&["garbage, 20.1.2.3:5"], None),
            (&["203.0.113.9,, 20.1.2.3:5"], None),
            (&[""], None),
            (&[], None),
        ] {
            let values = values.iter().map(|value| value.as_bytes());
            assert_eq!(
                ClientAddress::before_last_proxy(values),
                expected.map(bucket),
                "{expected:?}"
            );
        }
    }

    #[test]
    fn without_trusted_proxies_the_header_is_nothing() {
        let none = TrustedProxies::default();
        assert!(none.is_empty());
        assert_eq!(
            ClientAddress::from_forwarded_for([&b"203.0.113.9"[..]], ip("127.0.0.1"), &none),
            bucket("127.0.0.1")
        );
    }

    #[test]
    fn a_range_of_proxies_is_exact() {
        let contains = |ranges: &str, address: &str| {
            TrustedProxies::parse(ranges).unwrap().contains(ip(address))
        };
        assert!(contains("10.0.0.0/8", "10.255.255.255"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("::1", "::1"));
        assert!(!contains("::1", "::2"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(contains("::ffff:10.1.2.3", "10.1.2.3"));
        assert!(!contains("::/1", "10.1.2.3"));
        for text in [
            "",
            ",",
            "10.0.0.0/8,",
            "10.0.0.1/8",
            "0.0.0.0/0",
            "::/0",
            "::ffff:0:0/96",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/08x",
            "10/8",
            "proxy.example.com",
            "*",
            "10.0.0.1:80",
            "[::1]",
            "10.0.0.0-10.0.0.9",
            "2001:db8::1/64",
        ] {
            assert!(TrustedProxies::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_changes_what_the_proxy_saw(
            claims in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            client in any::<[u8; 4]>().prop_map(IpAddr::from),
        ) {
            let trusted = TrustedProxies::parse("10.0.0.0/8").unwrap();
            prop_assume!(!trusted.contains(client));
            let seen = client.to_string();
            let values = claims.iter().map(Vec::as_slice).chain([seen.as_bytes()]);
            prop_assert_eq!(ClientAddress::from_forwarded_for(values, ip("10.0.0.1"), &trusted), client.into());
        }

        #[test]
        fn every_address_is_read_back(address in any::<[u8; 16]>().prop_map(Ipv6Addr::from), port in any::<u16>()) {
            let expected = ClientAddress::from(IpAddr::V6(address));
            for text in [address.to_string(), format!("[{address}]"), format!("[{address}]:{port}")] {
                prop_assert_eq!(ClientAddress::from_client_ip(text.as_bytes()), Some(expected));
            }
        }
    }
}
