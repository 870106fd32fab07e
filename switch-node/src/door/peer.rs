//! Who stands at the door: the certificate that was verified, read once for each connection.
//!
//! The roots say whose word it is, the one URI name says who: `spiffe://<domain>/gateway/<name>`,
//! `spiffe://<domain>/operator/<name>`, `spiffe://<domain>/cluster/<cluster>/node`. Anything else has no role and no entry.

use std::{fmt, net::SocketAddr, sync::Arc, time::SystemTime};

use tokio::time::Instant;

use crate::security::certificate::Leaf;

/// What somebody may be; each role has a door and a root of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A payment gateway.
    Gateway,
    /// A node of this cluster.
    Peer,
    /// An operator.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Peer, Self::Operator];

    /// The name in logs, metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Peer => "peer",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A SPIFFE id: who is audited, and what the directory maps to a tenant (R10).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    /// Parses `spiffe://<domain>/<segment>/...` to the letter of the SPIFFE specification.
    pub fn parse(uri: &str) -> Result<Self, NotAPrincipal> {
        let refuse = || NotAPrincipal(uri.chars().take(SHOWN_MAX).collect());
        let rest = uri.strip_prefix("spiffe://").filter(|_| uri.len() <= SPIFFE_ID_MAX).ok_or_else(refuse)?;
        let (domain, path) = rest.split_once('/').ok_or_else(refuse)?;
        let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        let in_segment = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let domain_is_good = !domain.is_empty() && domain.len() <= DOMAIN_MAX && domain.bytes().all(in_domain);
        let is_good =
            |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(in_segment);
        if domain_is_good && path.split('/').all(is_good) { Ok(Self(uri.into())) } else { Err(refuse()) }
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    fn parts(&self) -> (&str, &str) {
        self.0.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).unwrap_or_default()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URI that is no SPIFFE id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SPIFFE id of a workload")]
pub struct NotAPrincipal(String);

/// Whose identities this node understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm {
    /// The trust domain of every identity.
    pub trust_domain: String,
    /// The cluster that a peer must be a node of.
    pub cluster: String,
}

impl Realm {
    /// The identity of every node of the cluster.
    pub fn node(&self) -> String {
        format!("spiffe://{}/cluster/{}/node", self.trust_domain, self.cluster)
    }

    /// The principal and its role, from a verified certificate.
    pub fn recognize(&self, leaf: &Leaf) -> Result<(Principal, Role), Unrecognized> {
        if leaf.is_authority {
            return Err(Unrecognized::Authority);
        }
        let uri = leaf.only_uri().ok_or(Unrecognized::NotOneUri { found: leaf.uris.len() })?;
        let principal = Principal::parse(uri)?;
        let (domain, path) = principal.parts();
        if domain != self.trust_domain {
            return Err(Unrecognized::ForeignDomain { principal });
        }
        let role = match path.split('/').collect::<Vec<_>>().as_slice() {
            ["gateway", _] => Role::Gateway,
            ["operator", _] => Role::Operator,
            ["cluster", cluster, "node"] if *cluster == self.cluster => Role::Peer,
            ["cluster", _, "node"] => return Err(Unrecognized::ForeignCluster { principal }),
            _ => return Err(Unrecognized::NoRole { principal }),
        };
        Ok((principal, role))
    }
}

/// Why a verified certificate is nobody's here. The other side's operator must act, or an attacker was stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrecognized {
    /// It may sign other certificates.
    #[error("the certificate is an authority's, not a workload's")]
    Authority,
    /// It names nobody, or somebody more.
    #[error("the certificate has {found} URI names, not one")]
    NotOneUri {
        /// How many.
        found: usize,
    },
    /// Its name is no SPIFFE id.
    #[error(transparent)]
    NotAPrincipal(#[from] NotAPrincipal),
    /// It comes from elsewhere.
    #[error("{principal} is of another trust domain")]
    ForeignDomain {
        /// Who.
        principal: Principal,
    },
    /// It is a node of another cluster.
    #[error("{principal} is a node of another cluster")]
    ForeignCluster {
        /// Who.
        principal: Principal,
    },
    /// Its path says nothing that we know.
    #[error("{principal} has no role here")]
    NoRole {
        /// Who.
        principal: Principal,
    },
    /// It belongs to another door.
    #[error("{principal} is {found} and this is the door for {expected}")]
    OtherDoor {
        /// Who.
        principal: Principal,
        /// Its role.
        found: Role,
        /// The door's role.
        expected: Role,
    },
}

/// The other side of one connection. tonic puts it into every request's extensions; only the acceptor makes it.
#[derive(Debug, Clone)]
pub struct PeerIdentity(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    principal: Principal,
    role: Role,
    serial: String,
    not_after: SystemTime,
    address: SocketAddr,
    retires_at: Option<Instant>,
}

impl PeerIdentity {
    /// Recognizes the owner of a verified certificate at the door for `role`.
    pub(super) fn recognize(
        leaf: &Leaf,
        realm: &Realm,
        expected: Role,
        address: SocketAddr,
        retires_at: Option<Instant>,
    ) -> Result<Self, Unrecognized> {
        let (principal, found) = realm.recognize(leaf)?;
        if found != expected {
            return Err(Unrecognized::OtherDoor { principal, found, expected });
        }
        let (serial, not_after) = (leaf.serial.clone(), leaf.not_after);
        Ok(Self(Arc::new(Facts { principal, role: found, serial, not_after, address, retires_at })))
    }

    /// An identity without a certificate, for tests of what stands behind the door.
    #[cfg(test)]
    pub(crate) fn invented(principal: &str, role: Role) -> Self {
        Self(Arc::new(Facts {
            principal: Principal::parse(principal).expect("a test's own constant"),
            role,
            serial: "00".to_owned(),
            not_after: SystemTime::UNIX_EPOCH,
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            retires_at: None,
        }))
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// What it may be.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The serial number of its certificate, for the audit record.
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// The end of its certificate.
    pub fn not_after(&self) -> SystemTime {
        self.0.not_after
    }

    /// Where it connected from; behind a load balancer, the balancer.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// When the caller is asked to connect anew, if ever. A stream that lives longer must drain by itself from then on (R19): it is
    /// cut [`grace`](super::Http2Limits::grace) later.
    pub fn retires_at(&self) -> Option<Instant> {
        self.0.retires_at
    }
}

/// The longest SPIFFE id that implementations must accept.
const SPIFFE_ID_MAX: usize = 2048;
/// The longest trust domain.
const DOMAIN_MAX: usize = 255;
/// How much of somebody's nonsense a message repeats.
const SHOWN_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn realm() -> Realm {
        Realm { trust_domain: "switch.test".to_owned(), cluster: "blue".to_owned() }
    }

    fn leaf(uris: &[&str]) -> Leaf {
        Leaf {
            uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
            serial: "01".to_owned(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
            is_authority: false,
        }
    }

    #[test]
    fn a_role_is_the_path_of_the_one_uri() {
        for (uri, role) in [
            ("spiffe://switch.test/gateway/acme", Role::Gateway),
            ("spiffe://switch.test/operator/ada.l", Role::Operator),
            ("spiffe://switch.test/cluster/blue/node", Role::Peer),
        ] {
            let (principal, found) = realm().recognize(&leaf(&[uri])).expect(uri);
            assert_eq!((principal.as_str(), found), (uri, role));
        }
    }

    #[test]
    fn everybody_else_has_no_role() {
        let principal = |uri: &str| Principal::parse(uri).expect(uri);
        let cases: Vec<(&[&str], Unrecognized)> = vec![
            (&[], Unrecognized::NotOneUri { found: 0 }),
            (
                &["spiffe://switch.test/gateway/acme", "spiffe://switch.test/gateway/acme"],
                Unrecognized::NotOneUri { found: 2 },
            ),
            (
                &["spiffe://other.test/gateway/acme"],
                Unrecognized::ForeignDomain { principal: principal("spiffe://other.test/gateway/acme") },
            ),
            (
                &["spiffe://switch.test/cluster/green/node"],
                Unrecognized::ForeignCluster { principal: principal("spiffe://switch.test/cluster/green/node") },
            ),
            (
                &["spiffe://switch.test/gateway/acme/node"],
                Unrecognized::NoRole { principal: principal("spiffe://switch.test/gateway/acme/node") },
            ),
            (
                &["spiffe://switch.test/network/visa"],
                Unrecognized::NoRole { principal: principal("spiffe://switch.test/network/visa") },
            ),
        ];
        for (uris, refusal) in cases {
            assert_eq!(realm().recognize(&leaf(uris)), Err(refusal));
        }
        let authority = Leaf { is_authority: true, ..leaf(&["spiffe://switch.test/gateway/acme"]) };
        assert_eq!(realm().recognize(&authority), Err(Unrecognized::Authority));
    }

    #[test]
    fn a_uri_that_is_no_spiffe_id_is_nobody() {
        for uri in [
            "https://switch.test/gateway/acme",
            "SPIFFE://switch.test/gateway/acme",
            "spiffe://switch.test",
            "spiffe://switch.test/",
            "spiffe:///gateway/acme",
            "spiffe://Switch.test/gateway/acme",
            "spiffe://switch.test:443/gateway/acme",
            "spiffe://user@switch.test/gateway/acme",
            "spiffe://switch.test/gateway//acme",
            "spiffe://switch.test/gateway/acme/",
            "spiffe://switch.test/gateway/../acme",
            "spiffe://switch.test/gateway/ac%6De",
            "spiffe://switch.test/gateway/acme?x=1",
            "spiffe://switch.test/gateway/acme#x",
            "spiffe://switch.test/gateway/acmé",
        ] {
            assert_eq!(Principal::parse(uri), Err(NotAPrincipal(uri.to_owned())), "{uri}");
        }
        let long = format!("spiffe://switch.test/gateway/{}", "a".repeat(SPIFFE_ID_MAX));
        assert_eq!(Principal::parse(&long), Err(NotAPrincipal(long[..SHOWN_MAX].to_owned())));
    }
}
