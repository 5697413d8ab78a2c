//! One HTTP POST to somebody outside.

use async_trait::async_trait;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is sent, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// The receiver answered; of the body only the beginning is kept.
    Answered { status: u16, body: String },
    /// Nobody answered: try again later.
    Unreachable(String),
    /// It was not sent: the address is none that this server talks to.
    Refused(String),
}

/// Posts to public addresses: what users name may not lead into the server's own network. One attempt a call, and no
/// redirection is followed.
#[async_trait]
pub trait Poster: Send + Sync {
    async fn post(&self, post: &Post) -> Posted;
}

/// Whether an address belongs to the public internet; an IPv4 address within IPv6 is looked at as what it is.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match within(v6) {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_special = a == 0 || a >= 224 || (a, b, c) == (192, 0, 0) || (a == 198 && (b == 18 || b == 19));
    !(address.is_private() || address.is_loopback() || address.is_link_local() || address.is_documentation() || is_shared || is_special)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is given out, and some of it for documentation and tunnels.
    (0x2000..0x4000).contains(&first) && !(first == 0x2001 && (second < 0x200 || second == 0xdb8)) && first != 0x3fff
}

/// The IPv4 address that a mapped, 6to4 or NAT64 address stands for.
fn within(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0x2002, high, low, ..] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        _ => address.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        let private = "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 192.0.2.1 \
                       198.18.0.1 ::1 :: fe80::1 fc00::1 ff02::1 2001:db8::1 ::ffff:127.0.0.1 2002:7f00:1:: 64:ff9b::a00:1";
        for private in private.split_whitespace() {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
}
