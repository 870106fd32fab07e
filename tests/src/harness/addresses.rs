//! A /24 of 127.0.0.0/8 that belongs to one cluster, so that suites run beside each other.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use rand::Rng;

/// A network 127.x.y.0/24 that nobody else of these suites uses while this value lives.
#[derive(Debug)]
pub(super) struct Addresses {
    x: u8,
    y: u8,
    /// Bound for as long as the network is ours: another harness that tries the same one sees it taken.
    _claim: TcpListener,
}

impl Addresses {
    /// Picks a free one at random.
    pub(super) fn pick() -> anyhow::Result<Self> {
        let mut random = rand::rng();
        for _ in 0..PICKS_MAX {
            let (x, y) = (random.random_range(1..=254), random.random_range(0..=255));
            let Ok(claim) = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::new(127, x, y, 1), CLAIM_PORT)) else {
                continue;
            };
            // Whoever listens on every address (a server on 0.0.0.0) would take a port away from us.
            let free = (FIRST_NODE_PORT..FIRST_NODE_PORT + 4)
                .all(|port| TcpListener::bind(SocketAddrV4::new(Ipv4Addr::new(127, x, y, 10), port)).is_ok());
            if free {
                return Ok(Self { x, y, _claim: claim });
            }
        }
        anyhow::bail!("no free network in 127.0.0.0/8 after {PICKS_MAX} tries")
    }

    /// The host number `last`.
    pub(super) fn host(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.x, self.y, last)
    }

    /// The host of a node, 1 to 99.
    pub(super) fn node(&self, number: usize) -> Ipv4Addr {
        let number = u8::try_from(number).expect("clusters have fewer than 100 nodes");
        self.host(10 + number)
    }

    /// The host of the sandbox networks.
    pub(super) fn sandbox(&self) -> Ipv4Addr {
        self.host(200)
    }
}

const PICKS_MAX: usize = 1000;
const CLAIM_PORT: u16 = 7000;
const FIRST_NODE_PORT: u16 = 7001;
