//! From files to configurations: every check that a file must pass before it replaces the one in use.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    ClientConfig, InconsistentKeys, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
    pem::{self, PemObject},
};
use x509_parser::prelude::FromDer as _;

use super::live::{Connection, Severed, Side};
use crate::security::certificate::{Leaf, system_time};

/// Where one plane's material lies. Every file is PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The node's certificate, then its intermediates.
    pub certificates: PathBuf,
    /// The key of the first certificate: PKCS #8, SEC 1 or PKCS #1.
    pub key: PathBuf,
    /// The roots that the other side's chain must end in.
    pub roots: PathBuf,
    /// Revocation lists; with at least one, every issuer in a chain must be covered by a list that is not stale.
    pub revocation_lists: Vec<PathBuf>,
}

impl TlsFiles {
    /// Every file of them.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.certificates, &self.key, &self.roots].into_iter().chain(&self.revocation_lists).map(PathBuf::as_path)
    }
}

/// What is in a file, as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPart {
    /// Our certificate chain.
    Certificates,
    /// Our key.
    Key,
    /// The roots of the other side.
    Roots,
    /// A revocation list.
    RevocationList,
}

impl fmt::Display for TlsPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificates => "certificate",
            Self::Key => "key",
            Self::Roots => "root",
            Self::RevocationList => "revocation list",
        })
    }
}

/// Why files cannot be used. Whoever deploys the node, or the authority that issued the file, must act; never a caller.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The file is missing or not readable.
    #[error(
        "{part} file {path} cannot be read ({source}); the deployment must provide it, readable by the switch's user"
    )]
    Unreadable {
        /// What it should hold.
        part: TlsPart,
        /// Where it should lie.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds nothing of its kind, or something that does not parse.
    #[error("{part} file {path} is not usable ({reason}); the deployment must provide PEM of a {part}")]
    Malformed {
        /// What it should hold.
        part: TlsPart,
        /// Where it lies.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key is not the certificate's.
    #[error("key {key} does not belong to certificate {certificates}; the deployment must replace both together")]
    KeyMismatch {
        /// The certificate.
        certificates: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Our own certificate is of another time.
    #[error(
        "certificate {path} is not valid now (from {not_before_s} to {not_after_s} s since 1970, now {now_s}); its issuer must renew it"
    )]
    NotValidNow {
        /// Where it lies.
        path: PathBuf,
        /// Seconds since 1970.
        not_before_s: u64,
        /// Seconds since 1970.
        not_after_s: u64,
        /// Seconds since 1970.
        now_s: u64,
    },
    /// A revocation list says that a newer one exists.
    #[error("revocation list {path} is stale since {next_update_s} s since 1970; its issuer must publish the next one")]
    StaleRevocationList {
        /// Where it lies.
        path: PathBuf,
        /// Seconds since 1970.
        next_update_s: u64,
    },
    /// Each file parses and together they make no configuration.
    #[error("certificate {path} makes no TLS configuration ({reason}); its issuer must replace it")]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// What rustls said.
        reason: String,
    },
}

/// What rustls works with, made from one content of the files.
pub(super) struct Configuration {
    pub(super) generation: u64,
    pub(super) digest: [u8; 32],
    pub(super) server: Arc<ServerConfig>,
    /// Offers HTTP/2.
    pub(super) client_h2: Arc<ClientConfig>,
    /// Offers no application protocol: ISO 8583 over TLS has none.
    pub(super) client_bare: Arc<ClientConfig>,
    pub(super) verify_client: Arc<dyn ClientCertVerifier>,
    pub(super) verify_server: Arc<WebPkiServerVerifier>,
    pub(super) serial: String,
    pub(super) not_after: SystemTime,
    pub(super) revocation_stale_at: Option<SystemTime>,
}

impl Configuration {
    /// Why a live connection must end now, if it must. A stale list ends none: it stops new ones, loudly enough.
    pub(super) fn verify(&self, connection: &Connection, now: SystemTime) -> Option<Severed> {
        let unix_now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let (leaf, intermediates) = connection.chain().split_first()?;
        let verified = match connection.side() {
            Side::Client => self.verify_client.verify_client_cert(leaf, intermediates, unix_now).map(drop),
            Side::Server(name) => {
                self.verify_server.verify_server_cert(leaf, intermediates, name, &[], unix_now).map(drop)
            }
        };
        Severed::of(verified.err()?)
    }
}

/// The bytes of the files, and a digest of them all.
pub(super) struct Content {
    certificates: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
    roots: Vec<u8>,
    revocation_lists: Vec<Vec<u8>>,
    pub(super) digest: [u8; 32],
}

impl Content {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsFault> {
        let certificates = read(TlsPart::Certificates, &files.certificates)?;
        let key = zeroize::Zeroizing::new(read(TlsPart::Key, &files.key)?);
        let roots = read(TlsPart::Roots, &files.roots)?;
        let revocation_lists = files
            .revocation_lists
            .iter()
            .map(|path| read(TlsPart::RevocationList, path))
            .collect::<Result<Vec<_>, _>>()?;
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        for file in [&certificates, &*key, &roots].into_iter().chain(&revocation_lists) {
            hash.update(&(file.len() as u64).to_be_bytes());
            hash.update(file);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        Ok(Self { certificates, key, roots, revocation_lists, digest })
    }

    pub(super) fn build(&self, files: &TlsFiles, generation: u64, now: SystemTime) -> Result<Configuration, TlsFault> {
        let chain = self.chain(&files.certificates)?;
        let leaf = usable_now(&files.certificates, &chain, now)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(malformed(TlsPart::Key, &files.key))?;
        let roots = Arc::new(self.root_store(&files.roots)?);
        let (lists, revocation_stale_at) = self.lists(&files.revocation_lists, now)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());

        let mut verify_client = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let mut verify_server = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        if !lists.is_empty() {
            // Defaults that are meant: the whole chain is checked, an issuer without a list is refused.
            verify_client = verify_client.with_crls(lists.clone()).enforce_revocation_expiration();
            verify_server = verify_server.with_crls(lists).enforce_revocation_expiration();
        }
        let unusable = |reason: String| TlsFault::Unusable { path: files.certificates.clone(), reason };
        let verify_client = verify_client.build().map_err(|e| unusable(e.to_string()))?;
        let verify_server = verify_server.build().map_err(|e| unusable(e.to_string()))?;
        let refuse = |e: rustls::Error| match e {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsFault::KeyMismatch { certificates: files.certificates.clone(), key: files.key.clone() }
            }
            e => unusable(e.to_string()),
        };
        let server = server(&provider, Arc::clone(&verify_client), chain.clone(), key.clone_key()).map_err(refuse)?;
        let client_bare = client(&provider, Arc::clone(&verify_server), chain, key).map_err(refuse)?;
        let mut client_h2 = client_bare.clone();
        client_h2.alpn_protocols = vec![H2.to_vec()];
        Ok(Configuration {
            generation,
            digest: self.digest,
            server: Arc::new(server),
            client_h2: Arc::new(client_h2),
            client_bare: Arc::new(client_bare),
            verify_client,
            verify_server,
            serial: leaf.serial,
            not_after: leaf.not_after,
            revocation_stale_at,
        })
    }

    fn chain(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
        every(TlsPart::Certificates, path, &self.certificates)
    }

    fn root_store(&self, path: &Path) -> Result<RootCertStore, TlsFault> {
        let mut store = RootCertStore::empty();
        for root in every::<CertificateDer<'static>>(TlsPart::Roots, path, &self.roots)? {
            store.add(root).map_err(malformed(TlsPart::Roots, path))?;
        }
        Ok(store)
    }

    #[allow(clippy::type_complexity)] // two results of one pass
    fn lists(
        &self,
        paths: &[PathBuf],
        now: SystemTime,
    ) -> Result<(Vec<CertificateRevocationListDer<'static>>, Option<SystemTime>), TlsFault> {
        let mut lists = Vec::new();
        let mut first_stale: Option<SystemTime> = None;
        for (path, bytes) in paths.iter().zip(&self.revocation_lists) {
            for list in every::<CertificateRevocationListDer<'static>>(TlsPart::RevocationList, path, bytes)? {
                let next_update = next_update(path, &list)?;
                if next_update <= now {
                    let next_update_s = seconds(next_update);
                    return Err(TlsFault::StaleRevocationList { path: path.clone(), next_update_s });
                }
                first_stale = Some(first_stale.map_or(next_update, |first| first.min(next_update)));
                lists.push(list);
            }
        }
        Ok((lists, first_stale))
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![H2.to_vec()];
    // A ticket would outlive the revocation of the certificate that earned it.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

fn usable_now(path: &Path, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Leaf, TlsFault> {
    let fault = |reason: String| TlsFault::Malformed { part: TlsPart::Certificates, path: path.to_path_buf(), reason };
    let first = chain.first().ok_or_else(|| fault("it holds none".to_owned()))?;
    let leaf = Leaf::parse(first).map_err(|e| fault(e.to_string()))?;
    if now < leaf.not_before || leaf.not_after <= now {
        return Err(TlsFault::NotValidNow {
            path: path.to_path_buf(),
            not_before_s: seconds(leaf.not_before),
            not_after_s: seconds(leaf.not_after),
            now_s: seconds(now),
        });
    }
    Ok(leaf)
}

fn next_update(path: &Path, list: &CertificateRevocationListDer<'_>) -> Result<SystemTime, TlsFault> {
    let fault =
        |reason: String| TlsFault::Malformed { part: TlsPart::RevocationList, path: path.to_path_buf(), reason };
    let (_, list) =
        x509_parser::revocation_list::CertificateRevocationList::from_der(list).map_err(|e| fault(e.to_string()))?;
    let next_update = list.next_update().ok_or_else(|| fault("it names no next update".to_owned()))?;
    Ok(system_time(next_update.timestamp()))
}

/// Every item of one kind in a PEM file; none is an error.
fn every<T: PemObject>(part: TlsPart, path: &Path, bytes: &[u8]) -> Result<Vec<T>, TlsFault> {
    let items: Vec<T> = T::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(malformed(part, path))?;
    if items.is_empty() {
        return Err(malformed(part, path)(pem::Error::NoItemsFound));
    }
    Ok(items)
}

fn malformed<E: fmt::Display>(part: TlsPart, path: &Path) -> impl Fn(E) -> TlsFault {
    let path = path.to_path_buf();
    move |e| TlsFault::Malformed { part, path: path.clone(), reason: e.to_string() }
}

fn read(part: TlsPart, path: &Path) -> Result<Vec<u8>, TlsFault> {
    let unreadable = |source| TlsFault::Unreadable { part, path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(malformed(part, path)(format!("longer than {FILE_MAX} bytes")));
    }
    Ok(bytes)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A revocation list of a hundred thousand entries fits; a mistyped path to a disk image does not.
pub(super) const FILE_MAX: u64 = 16 << 20;
pub(super) const H2: &[u8] = b"h2";
