//! The address to listen on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::reader::SettingsReader;
use crate::domain::digits::parse_digits;

/// The port of a start without the Functions host. Core Tools uses the same.
const DEFAULT_PORT: u16 = 7071;

/// Reads the address. `None` means that a fault was recorded.
pub fn read(reader: &mut SettingsReader<'_>) -> Option<SocketAddr> {
    let port = reader.parsed_or("FUNCTIONS_CUSTOMHANDLER_PORT", DEFAULT_PORT, |text| {
        parse_digits(text).ok_or("must be a port: 1 to 65535, or 0 for any free one".into())
    });
    let ip = reader.parsed_or("ROOMKEY_BIND", IpAddr::V4(Ipv4Addr::LOCALHOST), |text| {
        text.parse()
            .map_err(|_| "must be an IP address, such as 127.0.0.1 or 0.0.0.0".into())
    });
    Some(SocketAddr::new(ip?, port?))
}
