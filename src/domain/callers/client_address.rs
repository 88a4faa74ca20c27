//! The address of an anonymous caller, by which budgets are counted, and the proxies that are
//! trusted to report it.
//!
//! An IPv6 customer gets a /64 or more (RFC 6177) and can use any address in it, so the whole /64
//! counts as one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::domain::digits::parse_digits;
use crate::domain::requests::fields::Requirement;

/// An IPv4 address, or the first 64 bits of an IPv6 address.
///
/// # Examples
/// ```
/// use roomkey::domain::callers::client_address::{ClientAddress, TrustedProxies};
/// use roomkey::domain::requests::fields::Requirement;
///
/// let trusted = TrustedProxies::parse("10.0.0.0/8")?;
/// // The client wrote the first address itself; the proxy appended the second.
/// let forwarded_for = [&b"1.1.1.1, 203.0.113.9"[..]];
/// let peer = [10, 0, 0, 1].into();
/// assert_eq!(
///     ClientAddress::from_forwarded_for(forwarded_for, peer, &trusted),
///     ClientAddress::V4([203, 0, 113, 9])
/// );
/// # Ok::<(), Requirement>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// The whole IPv4 address.
    V4([u8; 4]),
    /// The /64 of an IPv6 address.
    V6([u8; 8]),
}

impl ClientAddress {
    /// Reads the `CLIENT-IP` header that Azure's front end writes: `ip:port`, `[ip]:port`, or
    /// without a port.
    #[must_use]
    pub fn from_client_ip(value: &[u8]) -> Option<Self> {
        parse_address(value).map(Self::from)
    }

    /// Returns the last address but one of `X-Forwarded-For`, or `None` if there are fewer or it is
    /// not an address.
    ///
    /// Behind Static Web Apps it is the visitor's: Azure's front end appends the address of Static
    /// Web Apps.
    #[must_use]
    pub fn before_last_proxy<'v, V>(values: V) -> Option<Self>
    where
        V: IntoIterator<Item = &'v [u8], IntoIter: DoubleEndedIterator>,
    {
        parse_address(elements_from_the_right(values).nth(1)?).map(Self::from)
    }

    /// Returns the last address of `X-Forwarded-For` that is not a trusted proxy's.
    ///
    /// The header counts only if the peer is trusted and every element to the right of that address
    /// is an address. Otherwise the peer's own address is returned.
    #[must_use]
    pub fn from_forwarded_for<'v, V>(values: V, peer: IpAddr, trusted: &TrustedProxies) -> Self
    where
        V: IntoIterator<Item = &'v [u8], IntoIter: DoubleEndedIterator>,
    {
        if !trusted.contains(peer) {
            return peer.into();
        }
        let mut addresses = elements_from_the_right(values).map(parse_address);
        addresses
            .find(|address| address.is_none_or(|ip| !trusted.contains(ip)))
            .flatten()
            .unwrap_or(peer)
            .into()
    }

    /// Returns four bytes or eight, so that an IPv4 address never equals an IPv6 one.
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

/// The address ranges of proxies that are trusted to report the client's address.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and ranges separated by commas: `10.0.0.0/8,::1`.
    ///
    /// # Errors
    /// The requirement, for any other text and for a range that contains every address.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let ranges: Option<Vec<_>> = text
            .split(',')
            .map(|range| parse_range(range.trim()))
            .collect();
        ranges.map(Self).ok_or_else(|| {
            "must be IP addresses or ranges, such as 10.0.0.0/8 or ::1, separated by commas; a \
             range begins at its first address and is not /0"
                .into()
        })
    }

    /// Reports whether an address is that of a trusted proxy.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|range| range.contains(&ip))
    }

    /// Reports whether no proxy is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse_range(text: &str) -> Option<IpNet> {
    let range = text
        .parse()
        .or_else(|_| text.parse().map(|ip: IpAddr| IpNet::from(ip)))
        .ok()?;
    let range = match range {
        // Peers are compared in their IPv4 form, so a range in the mapped form is converted to it.
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

/// Returns the elements of a comma-separated list that may span several headers, the last one
/// first.
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

/// Reads an address with or without a port. Zones, leading zeros and names are rejected.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
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
    text.len() <= 5 && parse_digits::<u16>(text).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn address(text: &str) -> ClientAddress {
        ip(text).into()
    }

    #[test]
    fn an_ipv6_address_counts_by_its_first_64_bits() {
        assert_eq!(address("192.0.2.7").as_bytes(), [192, 0, 2, 7]);
        assert_ne!(address("192.0.2.7"), address("192.0.2.8"));
        assert_eq!(
            address("2001:db8:1:2::1").as_bytes(),
            [0x20, 1, 0x0d, 0xb8, 0, 1, 0, 2]
        );
        assert_eq!(
            address("2001:db8:1:2::1"),
            address("2001:db8:1:2:ffff:ffff:ffff:ffff")
        );
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.7"), address("192.0.2.7"));
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
                Some(address(expected)),
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
    #[expect(clippy::too_many_lines, reason = "one table of cases")]
    fn forwarded_for_counts_only_behind_trusted_proxies() {
        let trusted = TrustedProxies::parse("10.0.0.0/8, 2001:db8:9::/48,192.0.2.1").unwrap();
        for (peer, values, expected, why) in [
            (
                "198.51.100.1",
                &["203.0.113.9"][..],
                "198.51.100.1",
                "the peer is not trusted",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9"],
                "203.0.113.9",
                "the proxy reports its client",
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
                "the client's own value is left of the proxy's",
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
                "garbage from the client",
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
                "garbage left of a trusted proxy",
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
                address(expected),
                "{why}"
            );
        }
    }

    #[test]
    fn behind_static_web_apps_the_last_address_but_one_is_the_visitors() {
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
                expected.map(address),
                "{expected:?}"
            );
        }
    }

    #[test]
    fn without_trusted_proxies_the_header_is_ignored() {
        let none = TrustedProxies::default();
        assert!(none.is_empty());
        assert_eq!(
            ClientAddress::from_forwarded_for([&b"203.0.113.9"[..]], ip("127.0.0.1"), &none),
            address("127.0.0.1")
        );
    }

    #[test]
    fn proxy_ranges_are_exact() {
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
        fn values_that_a_client_sends_never_change_its_address(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            client in any::<[u8; 4]>().prop_map(IpAddr::from),
        ) {
            let trusted = TrustedProxies::parse("10.0.0.0/8").unwrap();
            prop_assume!(!trusted.contains(client));
            let reported = client.to_string();
            let values = sent.iter().map(Vec::as_slice).chain([reported.as_bytes()]);
            let counted = ClientAddress::from_forwarded_for(values, ip("10.0.0.1"), &trusted);
            prop_assert_eq!(counted, client.into());
        }

        #[test]
        fn every_written_address_is_read_back(
            address in any::<[u8; 16]>().prop_map(Ipv6Addr::from),
            port in any::<u16>(),
        ) {
            let expected = ClientAddress::from(IpAddr::V6(address));
            let (plain, bracketed) = (address.to_string(), format!("[{address}]"));
            for text in [plain, format!("{bracketed}:{port}"), bracketed] {
                prop_assert_eq!(ClientAddress::from_client_ip(text.as_bytes()), Some(expected));
            }
        }
    }
}
