//! A throw-away public key infrastructure: four roots, the certificates a cluster needs, and the ones that must be refused.
//!
//! Takes a folder, a trust domain and a cluster name; gives PEM files. Each plane has a root of its own that signs both its
//! servers and its clients; what a certificate may be used for is said by its extended key usage and its one URI name.
//!
//! | plane | server | client |
//! |---|---|---|
//! | gateways | the node's door for gateways | a payment gateway |
//! | peers | a node | the same certificate |
//! | operators | the node's door for operators | an operator |
//! | networks | a card network | the node's links |
//!
//! Never for production: the roots' keys live in this process and die with it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType, SerialNumber,
};

/// Who talks to whom; each has a root of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// Payment gateways and the door they knock at.
    Gateways,
    /// The nodes of the cluster among themselves.
    Peers,
    /// Operators and the door they knock at.
    Operators,
    /// Links to card networks.
    Networks,
}

/// What is wrong with a certificate that must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Its validity ended an hour ago.
    Expired,
    /// Its validity starts in an hour.
    NotYetValid,
    /// Nobody but itself signed it.
    SelfSigned,
    /// It carries two URI names, each of them good.
    TwoUriNames,
    /// It carries no URI name.
    NoUriName,
    /// A root with the same name and another key signed it.
    OtherRoot,
}

/// A certificate chain and its key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its PKCS #8 key, PEM, readable by its owner only.
    pub key: PathBuf,
    /// The serial number, what a revocation list names.
    pub serial: u64,
}

/// Four roots and what they sign.
pub struct Pki {
    folder: PathBuf,
    trust_domain: String,
    cluster: String,
    gateways: Root,
    peers: Root,
    operators: Root,
    networks: Root,
    serial: AtomicU64,
}

impl Pki {
    /// Makes the four roots and writes their certificates into `folder`, which is created if need be.
    pub fn create(folder: &Path, trust_domain: &str, cluster: &str) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let root = |name: &str| Root::create(folder, name);
        Ok(Self {
            folder: folder.to_path_buf(),
            trust_domain: trust_domain.to_owned(),
            cluster: cluster.to_owned(),
            gateways: root("gateway-ca")?,
            peers: root("peer-ca")?,
            operators: root("operator-ca")?,
            networks: root("network-ca")?,
            // No run of zeros: in base64, a packed card number of the sandbox is mostly that.
            serial: AtomicU64::new(0x5c3b_97d1_e24a_6801),
        })
    }

    /// The trust domain of every URI name.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The cluster named in the nodes' certificates.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The root certificate of a plane.
    pub fn root(&self, plane: Plane) -> &Path {
        &self.plane(plane).certificate
    }

    /// A node's certificate at its door for gateways, `<name>-gateway-door`.
    pub fn gateway_door(&self, name: &str, hosts: &[&str]) -> Result<Issued> {
        self.issue(Plane::Gateways, &format!("{name}-gateway-door"), &Leaf::server(&[self.node_uri()], hosts))
    }

    /// A node's certificate towards its peers, both sides, `<name>-peer`.
    pub fn peer(&self, name: &str, hosts: &[&str]) -> Result<Issued> {
        self.issue(Plane::Peers, &format!("{name}-peer"), &Leaf::both(&[self.node_uri()], hosts))
    }

    /// A node's certificate at its door for operators, `<name>-operator-door`.
    pub fn operator_door(&self, name: &str, hosts: &[&str]) -> Result<Issued> {
        self.issue(Plane::Operators, &format!("{name}-operator-door"), &Leaf::server(&[self.node_uri()], hosts))
    }

    /// A node's certificate towards card networks, `<name>-link`.
    pub fn link_client(&self, name: &str) -> Result<Issued> {
        self.issue(Plane::Networks, &format!("{name}-link"), &Leaf::client(&[self.node_uri()]))
    }

    /// A card network's certificate, `<name>-network`.
    pub fn network_server(&self, name: &str, hosts: &[&str]) -> Result<Issued> {
        let uri = self.uri("network", name);
        self.issue(Plane::Networks, &format!("{name}-network"), &Leaf::server(&[uri], hosts))
    }

    /// A payment gateway's certificate, `<name>-gateway`.
    pub fn gateway(&self, name: &str) -> Result<Issued> {
        let uri = self.gateway_uri(name);
        self.issue(Plane::Gateways, &format!("{name}-gateway"), &Leaf::client(&[uri]))
    }

    /// An operator's certificate, `<name>-operator`.
    pub fn operator(&self, name: &str) -> Result<Issued> {
        let uri = self.operator_uri(name);
        self.issue(Plane::Operators, &format!("{name}-operator"), &Leaf::client(&[uri]))
    }

    /// A certificate that a door must refuse, `<name>-<flaw>`: as a client of its plane it would be good but for `flaw`.
    pub fn flawed(&self, plane: Plane, name: &str, flaw: Flaw) -> Result<Issued> {
        let uri = match plane {
            Plane::Gateways => self.gateway_uri(name),
            Plane::Operators => self.operator_uri(name),
            Plane::Peers | Plane::Networks => self.node_uri(),
        };
        let stem = format!("{name}-{flaw:?}").to_lowercase();
        let good = Leaf::client(&[uri]);
        match flaw {
            Flaw::Expired => self.issue(plane, &stem, &good.valid(-2 * HOUR_S, -HOUR_S)),
            Flaw::NotYetValid => self.issue(plane, &stem, &good.valid(HOUR_S, 2 * HOUR_S)),
            Flaw::SelfSigned => {
                let key = KeyPair::generate()?;
                let serial = self.next_serial();
                let certificate = good.parameters(&stem, serial)?.self_signed(&key)?;
                self.write(&stem, &certificate.pem(), &key, serial)
            }
            Flaw::TwoUriNames => {
                let mut uris = good.uris.clone();
                uris.push(self.gateway_uri("somebody-else"));
                self.issue(plane, &stem, &Leaf { uris, ..good })
            }
            Flaw::NoUriName => self.issue(plane, &stem, &Leaf { uris: Vec::new(), ..good }),
            Flaw::OtherRoot => {
                let name = self.plane(plane).name.clone();
                let impostor = Root::make(&name)?.1;
                let serial = self.next_serial();
                self.sign(&impostor, &stem, &good, serial)
            }
        }
    }

    /// A client certificate of `plane` under any URI names, for what no method above covers.
    pub fn client_with(&self, plane: Plane, stem: &str, uris: &[String]) -> Result<Issued> {
        self.issue(plane, stem, &Leaf::client(uris))
    }

    /// A client certificate of `plane` that ends `from_now` from now; seconds are the finest step of a certificate.
    pub fn short_lived(&self, plane: Plane, stem: &str, uri: String, from_now: Duration) -> Result<Issued> {
        let until_s = i64::try_from(from_now.as_secs()).context("too long")?;
        self.issue(plane, stem, &Leaf::client(&[uri]).valid(-HOUR_S, until_s))
    }

    /// Revokes a certificate of `plane` and writes the plane's list anew; gives the list's path.
    pub fn revoke(&self, plane: Plane, issued: &Issued) -> Result<PathBuf> {
        self.plane(plane).revoked.lock().unwrap_or_else(PoisonError::into_inner).push(issued.serial);
        self.revocation_list(plane)
    }

    /// Writes the revocation list of `plane`, empty at first, good for a day; gives its path.
    pub fn revocation_list(&self, plane: Plane) -> Result<PathBuf> {
        self.write_revocation_list(plane, DAY_S)
    }

    /// Writes a revocation list of `plane` that should have been replaced an hour ago.
    pub fn stale_revocation_list(&self, plane: Plane) -> Result<PathBuf> {
        self.write_revocation_list(plane, -HOUR_S)
    }

    /// `spiffe://<domain>/cluster/<cluster>/node`, the identity of every node.
    pub fn node_uri(&self) -> String {
        format!("spiffe://{}/cluster/{}/node", self.trust_domain, self.cluster)
    }

    /// `spiffe://<domain>/gateway/<name>`.
    pub fn gateway_uri(&self, name: &str) -> String {
        self.uri("gateway", name)
    }

    /// `spiffe://<domain>/operator/<name>`.
    pub fn operator_uri(&self, name: &str) -> String {
        self.uri("operator", name)
    }

    fn uri(&self, role: &str, name: &str) -> String {
        format!("spiffe://{}/{role}/{name}", self.trust_domain)
    }

    fn plane(&self, plane: Plane) -> &Root {
        match plane {
            Plane::Gateways => &self.gateways,
            Plane::Peers => &self.peers,
            Plane::Operators => &self.operators,
            Plane::Networks => &self.networks,
        }
    }

    fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    fn issue(&self, plane: Plane, stem: &str, leaf: &Leaf) -> Result<Issued> {
        self.sign(&self.plane(plane).issuer, stem, leaf, self.next_serial())
    }

    fn sign(&self, issuer: &Issuer<'static, KeyPair>, stem: &str, leaf: &Leaf, serial: u64) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let certificate = leaf.parameters(stem, serial)?.signed_by(&key, issuer)?;
        self.write(stem, &certificate.pem(), &key, serial)
    }

    fn write(&self, stem: &str, certificate: &str, key: &KeyPair, serial: u64) -> Result<Issued> {
        let issued = Issued {
            certificate: self.folder.join(format!("{stem}.crt")),
            key: self.folder.join(format!("{stem}.key")),
            serial,
        };
        replace(&issued.certificate, certificate, PUBLIC_MODE)?;
        replace(&issued.key, &key.serialize_pem(), SECRET_MODE)?;
        Ok(issued)
    }

    fn write_revocation_list(&self, plane: Plane, until_s: i64) -> Result<PathBuf> {
        let root = self.plane(plane);
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let revoked = root.revoked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let list = CertificateRevocationListParams {
            this_update: epoch + from_now(-DAY_S),
            next_update: epoch + from_now(until_s),
            crl_number: SerialNumber::from(self.next_serial()),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .into_iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(serial),
                    revocation_time: epoch + from_now(-MINUTE_S),
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&root.issuer)?;
        let path = self.folder.join(format!("{}.crl", root.name));
        replace(&path, &list.pem()?, PUBLIC_MODE)?;
        Ok(path)
    }
}

struct Root {
    name: String,
    certificate: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    revoked: Mutex<Vec<u64>>,
}

impl Root {
    fn create(folder: &Path, name: &str) -> Result<Self> {
        let (pem, issuer) = Self::make(name)?;
        let certificate = folder.join(format!("{name}.crt"));
        replace(&certificate, &pem, PUBLIC_MODE)?;
        Ok(Self { name: name.to_owned(), certificate, issuer, revoked: Mutex::new(Vec::new()) })
    }

    fn make(name: &str) -> Result<(String, Issuer<'static, KeyPair>)> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut parameters, -DAY_S, 365 * DAY_S);
        let key = KeyPair::generate()?;
        let pem = parameters.self_signed(&key)?.pem();
        Ok((pem, Issuer::new(parameters, key)))
    }
}

struct Leaf {
    uris: Vec<String>,
    hosts: Vec<String>,
    usages: Vec<ExtendedKeyUsagePurpose>,
    from_s: i64,
    until_s: i64,
}

impl Leaf {
    fn client(uris: &[String]) -> Self {
        Self::new(uris, &[], vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    fn server(uris: &[String], hosts: &[&str]) -> Self {
        Self::new(uris, hosts, vec![ExtendedKeyUsagePurpose::ServerAuth])
    }

    fn both(uris: &[String], hosts: &[&str]) -> Self {
        Self::new(uris, hosts, vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
    }

    fn new(uris: &[String], hosts: &[&str], usages: Vec<ExtendedKeyUsagePurpose>) -> Self {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Self { uris: uris.to_vec(), hosts, usages, from_s: -HOUR_S, until_s: 30 * DAY_S }
    }

    fn valid(self, from_s: i64, until_s: i64) -> Self {
        Self { from_s, until_s, ..self }
    }

    fn parameters(&self, name: &str, serial: u64) -> Result<CertificateParams> {
        let mut parameters = CertificateParams::new(self.hosts.clone())?;
        for uri in &self.uris {
            parameters.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.serial_number = Some(SerialNumber::from(serial));
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages.clone_from(&self.usages);
        parameters.use_authority_key_identifier_extension = true;
        set_validity(&mut parameters, self.from_s, self.until_s);
        Ok(parameters)
    }
}

fn set_validity(parameters: &mut CertificateParams, from_s: i64, until_s: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + from_now(from_s);
    parameters.not_after = epoch + from_now(until_s);
}

/// The time `offset_s` from now, since 1970.
fn from_now(offset_s: i64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let offset = Duration::from_secs(offset_s.unsigned_abs());
    if offset_s < 0 { now.saturating_sub(offset) } else { now.saturating_add(offset) }
}

/// Replaces a file in one step, so that a node that re-reads it never sees half of it.
fn replace(path: &Path, content: &str, mode: u32) -> Result<()> {
    let fresh = path.with_extension("fresh");
    // A file left by a run that died would keep its mode.
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)
        .with_context(|| format!("creating {}", fresh.display()))?;
    file.write_all(content.as_bytes())?;
    fs::rename(&fresh, path).with_context(|| format!("replacing {}", path.display()))
}

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;
const PUBLIC_MODE: u32 = 0o644;
const SECRET_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_owner_reads_a_key_and_a_certificate_takes_no_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::create(folder.path(), "switch.test", "blue").expect("a PKI");
        let started = std::time::Instant::now();
        for number in 0..10 {
            let issued = pki.gateway(&format!("acme-{number}")).expect("a certificate");
            let mode = fs::metadata(&issued.key).expect("written").permissions().mode();
            assert_eq!(mode & 0o777, SECRET_MODE);
        }
        assert!(started.elapsed() < Duration::from_millis(500), "{:?} for ten", started.elapsed());
    }
}
