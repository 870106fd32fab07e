//! A public key infrastructure for development: a folder with a root for each plane and the certificates they signed.
//!
//! | plane | server | client |
//! |---|---|---|
//! | gateway | a node's door for gateways | a payment gateway |
//! | peer | a node | the same certificate |
//! | operator | a node's door for operators | an operator |
//! | network | a card network | a node's links |
//!
//! Keys are ECDSA P-256; a certificate carries one URI name, which says who it is, and servers their hosts. Not for
//! production: the roots' keys lie beside the certificates, and nothing can be revoked.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde::{Deserialize, Serialize};

use crate::{exit::Exit, failure::Failure};

/// Whose certificates a root signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plane {
    Gateway,
    Peer,
    Operator,
    Network,
}

impl Plane {
    const ALL: [Self; 4] = [Self::Gateway, Self::Peer, Self::Operator, Self::Network];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Peer => "peer",
            Self::Operator => "operator",
            Self::Network => "network",
        }
    }
}

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subject {
    /// A switch node: one certificate for each of its doors, one towards peers, one towards networks.
    Node,
    /// A payment gateway.
    Gateway,
    /// An operator.
    Operator,
    /// A card network.
    Network,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Written {
    /// The plane whose root signed it.
    pub(crate) plane: &'static str,
    /// The URI name; empty for a root.
    pub(crate) uri: String,
    /// PEM.
    pub(crate) certificate: PathBuf,
    /// PEM, PKCS #8.
    pub(crate) key: PathBuf,
    /// PEM, what it leads to.
    pub(crate) roots: PathBuf,
}

/// The folder.
pub(crate) struct Authority {
    folder: PathBuf,
    names: Names,
}

/// What every URI name begins with; kept in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    trust_domain: String,
    cluster: String,
}

/// A certificate that is to be signed.
struct Leaf<'a> {
    plane: Plane,
    /// Name of its files.
    stem: String,
    uri: String,
    /// DNS names and addresses of a server.
    hosts: &'a [String],
    usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Authority {
    /// Makes the folder and its four roots. Nothing that exists is overwritten.
    pub(crate) fn init(
        folder: &Path,
        trust_domain: &str,
        cluster: &str,
        valid: Duration,
    ) -> Result<Vec<Written>, Failure> {
        let names = Names { trust_domain: trust_domain.to_owned(), cluster: cluster.to_owned() };
        for (what, name) in [("the trust domain", trust_domain), ("the cluster", cluster)] {
            check_name(what, name)?;
        }
        let authority = Self { folder: folder.to_owned(), names };
        let roots = Plane::ALL.map(|plane| authority.root(plane));
        let own = authority.folder.join(NAMES);
        absent(roots.iter().flat_map(|root| [&root.certificate, &root.key]).chain([&own]))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(folder, &error))?;
        for root in &roots {
            let key = KeyPair::generate().map_err(unsigned)?;
            let mut parameters = parameters(&format!("{} root of {cluster}", root.plane), valid);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let certificate = parameters.self_signed(&key).map_err(unsigned)?;
            write_new(&root.key, &key.serialize_pem(), SECRET_MODE)?;
            write_new(&root.certificate, &certificate.pem(), PUBLIC_MODE)?;
        }
        let text = toml::to_string(&authority.names);
        let text = text.map_err(|error| Failure::local(Exit::Failure, "PKI", error.to_string()))?;
        write_new(&own, &text, PUBLIC_MODE)?;
        Ok(roots.to_vec())
    }

    /// A folder that [`Self::init`] made.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(NAMES);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let words = format!("{} holds no roots: make them with `pki init`", folder.display());
                Failure::local(Exit::NotFound, "NO_ROOTS", words)
            }
            _ => failed(&path, &error),
        })?;
        let names = toml::from_str(&text);
        let names =
            names.map_err(|error| Failure::local(Exit::Usage, "PKI", format!("{}: {error}", path.display())))?;
        Ok(Self { folder: folder.to_owned(), names })
    }

    /// Signs what `name` needs. Nothing that exists is overwritten.
    pub(crate) fn issue(
        &self,
        subject: Subject,
        name: &str,
        hosts: &[String],
        valid: Duration,
    ) -> Result<Vec<Written>, Failure> {
        check_name("the name", name)?;
        let leaves = self.leaves(subject, name, hosts)?;
        let written: Vec<Written> = leaves.iter().map(|leaf| self.leaf(leaf)).collect();
        absent(written.iter().flat_map(|files| [&files.certificate, &files.key]))?;
        for (leaf, files) in leaves.iter().zip(&written) {
            let key = KeyPair::generate().map_err(unsigned)?;
            let mut parameters = parameters(&leaf.stem, valid);
            for host in leaf.hosts {
                let name = match host.parse() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) => SanType::DnsName(host.as_str().try_into().map_err(unsigned)?),
                };
                parameters.subject_alt_names.push(name);
            }
            parameters.subject_alt_names.push(SanType::URI(leaf.uri.as_str().try_into().map_err(unsigned)?));
            parameters.is_ca = IsCa::ExplicitNoCa;
            parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            parameters.extended_key_usages.clone_from(&leaf.usages);
            parameters.use_authority_key_identifier_extension = true;
            let certificate = parameters.signed_by(&key, &self.issuer(leaf.plane)?).map_err(unsigned)?;
            write_new(&files.key, &key.serialize_pem(), SECRET_MODE)?;
            write_new(&files.certificate, &certificate.pem(), PUBLIC_MODE)?;
        }
        Ok(written)
    }

    fn leaves<'a>(&self, subject: Subject, name: &str, hosts: &'a [String]) -> Result<Vec<Leaf<'a>>, Failure> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let Names { trust_domain, cluster } = &self.names;
        let is_server = matches!(subject, Subject::Node | Subject::Network);
        if is_server == hosts.is_empty() {
            let words = if is_server { "a server needs at least one --host" } else { "a client has no --host" };
            return Err(Failure::usage(words));
        }
        let uri = |role: &str| format!("spiffe://{trust_domain}/{role}/{name}");
        let leaf =
            |plane, end: &str, uri, hosts, usages| Leaf { plane, stem: format!("{name}-{end}"), uri, hosts, usages };
        Ok(match subject {
            Subject::Node => {
                let node = || format!("spiffe://{trust_domain}/cluster/{cluster}/node");
                vec![
                    leaf(Plane::Gateway, "gateway-door", node(), hosts, vec![ServerAuth]),
                    leaf(Plane::Peer, "peer", node(), hosts, vec![ServerAuth, ClientAuth]),
                    leaf(Plane::Operator, "operator-door", node(), hosts, vec![ServerAuth]),
                    leaf(Plane::Network, "link", node(), &[], vec![ClientAuth]),
                ]
            }
            Subject::Gateway => vec![leaf(Plane::Gateway, "gateway", uri("gateway"), &[], vec![ClientAuth])],
            Subject::Operator => vec![leaf(Plane::Operator, "operator", uri("operator"), &[], vec![ClientAuth])],
            Subject::Network => vec![leaf(Plane::Network, "network", uri("network"), hosts, vec![ServerAuth])],
        })
    }

    fn root(&self, plane: Plane) -> Written {
        let path = |end: &str| self.folder.join(format!("{}-ca.{end}", plane.name()));
        Written {
            plane: plane.name(),
            uri: String::new(),
            certificate: path("crt"),
            key: path("key"),
            roots: path("crt"),
        }
    }

    fn leaf(&self, leaf: &Leaf<'_>) -> Written {
        let path = |end: &str| self.folder.join(format!("{}.{end}", leaf.stem));
        let roots = self.root(leaf.plane).certificate;
        let (plane, uri) = (leaf.plane.name(), leaf.uri.clone());
        Written { plane, uri, certificate: path("crt"), key: path("key"), roots }
    }

    fn issuer(&self, plane: Plane) -> Result<Issuer<'static, KeyPair>, Failure> {
        let root = self.root(plane);
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| failed(path, &error));
        let key = KeyPair::from_pem(&read(&root.key)?).map_err(unsigned)?;
        Issuer::from_ca_cert_pem(&read(&root.certificate)?, key).map_err(unsigned)
    }
}

fn parameters(common_name: &str, valid: Duration) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    parameters.not_before = epoch + now.saturating_sub(CLOCKS_APART);
    parameters.not_after = epoch + now.saturating_add(valid);
    parameters
}

/// A segment of a SPIFFE id that is a file's name too.
fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let is_good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.');
    let begins = name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_MAX && name.bytes().all(is_good) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{what} is 1 to {NAME_MAX} characters of a-z 0-9 - _ . and begins with a letter or digit"
    )))
}

/// Fails where one of the files is there.
fn absent<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Failure> {
    match paths.into_iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(exists(path)),
        None => Ok(()),
    }
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => failed(path, &error),
    })
}

fn exists(path: &Path) -> Failure {
    let words = format!("{} exists and is not overwritten", path.display());
    Failure::local(Exit::Precondition, "FILE_EXISTS", words)
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::local(Exit::Failure, "PKI", format!("{}: {error}", path.display()))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unsigned(error: rcgen::Error) -> Failure {
    Failure::local(Exit::Failure, "PKI", error.to_string())
}

/// The file with the names.
const NAMES: &str = "pki.toml";
/// How far the clock of another machine may be behind this one.
const CLOCKS_APART: Duration = Duration::from_secs(3_600);
/// Characters of a name.
const NAME_MAX: usize = 63;
const PUBLIC_MODE: u32 = 0o644;
const SECRET_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, sync::Arc};

    use rustls::{ClientConnection, RootCertStore, ServerConnection, server::WebPkiClientVerifier};
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

    fn authority(folder: &Path) -> Authority {
        Authority::init(folder, "switch.test", "blue", WEEK).expect("roots");
        Authority::open(folder).expect("the same roots")
    }

    /// Whether client and server accept each other, each with the roots that it was told.
    fn shake_hands(server: &Written, client: &Written) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let read = |path: &Path| vec![CertificateDer::from_pem_file(path).expect("a certificate")];
        let key = |path: &Path| PrivateKeyDer::from_pem_file(path).expect("a key");
        let roots = |path: &Path| {
            let mut store = RootCertStore::empty();
            store.add(read(path).swap_remove(0)).expect("a root");
            Arc::new(store)
        };
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(&server.roots), provider.clone());
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(read(&server.certificate), key(&server.key))?;
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots(&client.roots))
            .with_client_auth_cert(read(&client.certificate), key(&client.key))?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        let mut client = ClientConnection::new(Arc::new(client), "127.0.0.1".try_into().expect("a name"))?;
        while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).expect("memory");
            server.read_tls(&mut bytes.as_slice()).expect("memory");
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).expect("memory");
            client.read_tls(&mut bytes.as_slice()).expect("memory");
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn what_one_root_signed_accepts_each_other_and_nobody_elses() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = authority(folder.path());
        let node = authority.issue(Subject::Node, "node-1", &["127.0.0.1".into(), "node-1.switch".into()], WEEK);
        let node = node.expect("signed");
        let [gateway_door, peer, operator_door, link] = node.as_slice() else { panic!("{node:?}") };
        let one = |subject| authority.issue(subject, "ann", &[], WEEK).expect("signed").swap_remove(0);
        let (gateway, operator) = (one(Subject::Gateway), one(Subject::Operator));
        let network = authority.issue(Subject::Network, "visa", &["127.0.0.1".into()], WEEK);
        let network = network.expect("signed").swap_remove(0);
        for (server, client) in [(gateway_door, &gateway), (operator_door, &operator), (peer, peer), (&network, link)] {
            assert_eq!(shake_hands(server, client), Ok(()), "{server:?} {client:?}");
        }
        let stranger = Written { roots: operator_door.roots.clone(), ..gateway.clone() };
        shake_hands(operator_door, &stranger).expect_err("a gateway is no operator");
        let uris = [gateway_door, peer, &gateway, &operator, &network].map(|written| written.uri.as_str());
        let node = "spiffe://switch.test/cluster/blue/node";
        let others = [
            "spiffe://switch.test/gateway/ann",
            "spiffe://switch.test/operator/ann",
            "spiffe://switch.test/network/visa",
        ];
        assert_eq!(uris, [node, node, others[0], others[1], others[2]]);
    }

    #[test]
    fn only_the_owner_reads_keys_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("pki");
        let authority = authority(&folder);
        let written = authority.issue(Subject::Operator, "ann", &[], WEEK).expect("signed").swap_remove(0);
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&written.key), mode(&folder.join("peer-ca.key"))), (0o700, 0o600, 0o600));
        let before = fs::read(&written.key).expect("a key");
        for failure in [
            authority.issue(Subject::Operator, "ann", &[], WEEK).expect_err("it exists"),
            Authority::init(&folder, "switch.test", "blue", WEEK).expect_err("it exists"),
        ] {
            assert!(failure.exit == Exit::Precondition && failure.is_any_of(&["FILE_EXISTS"]), "{failure}");
        }
        assert_eq!(fs::read(&written.key).expect("a key"), before);
    }

    #[test]
    fn names_that_leave_the_folder_and_hosts_where_none_belong_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = authority(folder.path());
        let host = ["localhost".to_owned()];
        for (subject, name, hosts) in [
            (Subject::Operator, "../ann", &host[..0]),
            (Subject::Operator, "", &host[..0]),
            (Subject::Operator, ".ann", &host[..0]),
            (Subject::Operator, "Ann", &host[..0]),
            (Subject::Operator, "ann", &host),
            (Subject::Node, "node-1", &host[..0]),
        ] {
            let failure = authority.issue(subject, name, hosts, WEEK).expect_err("refused");
            assert_eq!(failure.exit, Exit::Usage, "{name:?} {hosts:?}");
        }
        let nowhere = Authority::open(&folder.path().join("nowhere")).map(drop).expect_err("no roots");
        assert_eq!(nowhere.exit, Exit::NotFound);
    }
}
