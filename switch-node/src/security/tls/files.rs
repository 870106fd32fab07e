//! From files to configurations: every check that a file must pass before it replaces the one in use, file by file.

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
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
    pem::{self, PemObject},
};
use x509_parser::{
    oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, prelude::FromDer as _,
    revocation_list::CertificateRevocationList,
};

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

/// What rustls works with.
pub(super) struct Configuration {
    pub(super) generation: u64,
    /// Of the files, where every one of them is in use.
    pub(super) digest: Option<[u8; 32]>,
    pub(super) parts: Parts,
    pub(super) server: Arc<ServerConfig>,
    /// Offers HTTP/2.
    pub(super) client_h2: Arc<ClientConfig>,
    /// Offers no application protocol: ISO 8583 over TLS has none.
    pub(super) client_bare: Arc<ClientConfig>,
    pub(super) verify_client: Arc<dyn ClientCertVerifier>,
    verify_server: Arc<WebPkiServerVerifier>,
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

/// What the files hold, each found usable when it was taken.
#[derive(Clone)]
pub(super) struct Parts {
    own: Arc<Own>,
    roots: Arc<Roots>,
    /// File by file.
    lists: Vec<Vec<Arc<List>>>,
}

/// Our certificate chain with its key.
struct Own {
    digest: [u8; 32],
    key: Arc<CertifiedKey>,
    leaf: Leaf,
}

/// The roots of the other side.
struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    store: Arc<RootCertStore>,
    /// When the first of them ends, as far as that can be read: nothing but a metric needs it.
    not_after: Option<SystemTime>,
}

/// A revocation list.
struct List {
    list: CertificateRevocationListDer<'static>,
    /// Its issuer and, where it is one of several, which certificates of that issuer it is for.
    covers: (Vec<u8>, Option<Vec<u8>>),
    next_update: SystemTime,
}

impl Parts {
    /// Our own certificate.
    pub(super) fn leaf(&self) -> &Leaf {
        &self.own.leaf
    }

    /// When the first of the roots ends.
    pub(super) fn roots_not_after(&self) -> Option<SystemTime> {
        self.roots.not_after
    }

    /// When the first of the revocation lists goes stale.
    pub(super) fn revocation_stale_at(&self) -> Option<SystemTime> {
        self.lists.iter().flatten().map(|list| list.next_update).min()
    }

    /// True where both hold the same.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        fn lists(parts: &Parts) -> impl Iterator<Item = Vec<&CertificateRevocationListDer<'static>>> {
            parts.lists.iter().map(|file| file.iter().map(|list| &list.list).collect())
        }
        self.own.digest == other.own.digest
            && self.roots.certificates == other.roots.certificates
            && lists(self).eq(lists(other))
    }

    /// What rustls works with.
    pub(super) fn configure(
        self,
        files: &TlsFiles,
        generation: u64,
        digest: Option<[u8; 32]>,
    ) -> Result<Configuration, TlsFault> {
        let provider = provider();
        let lists: Vec<_> = self.lists.iter().flatten().map(|list| list.list.clone()).collect();
        let roots = &self.roots.store;
        let mut verify_client = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider));
        let mut verify_server = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider));
        if !lists.is_empty() {
            // Defaults that are meant: the whole chain is checked, an issuer without a list is refused.
            verify_client = verify_client.with_crls(lists.clone()).enforce_revocation_expiration();
            verify_server = verify_server.with_crls(lists).enforce_revocation_expiration();
        }
        let unusable = |reason: String| TlsFault::Unusable { path: files.certificates.clone(), reason };
        let verify_client = verify_client.build().map_err(|e| unusable(e.to_string()))?;
        let verify_server = verify_server.build().map_err(|e| unusable(e.to_string()))?;
        let own = Arc::new(SingleCertAndKey::from(Arc::clone(&self.own.key)));
        let server = server(&provider, Arc::clone(&verify_client), Arc::clone(&own));
        let server = server.map_err(|e| unusable(e.to_string()))?;
        let client_bare = client(&provider, Arc::clone(&verify_server), own).map_err(|e| unusable(e.to_string()))?;
        let mut client_h2 = client_bare.clone();
        client_h2.alpn_protocols = vec![H2.to_vec()];
        Ok(Configuration {
            generation,
            digest,
            parts: self,
            server: Arc::new(server),
            client_h2: Arc::new(client_h2),
            client_bare: Arc::new(client_bare),
            verify_client,
            verify_server,
        })
    }
}

/// The bytes of the files, or why they cannot be read, and a digest of them all.
pub(super) struct Content {
    certificates: Result<Vec<u8>, TlsFault>,
    key: Result<zeroize::Zeroizing<Vec<u8>>, TlsFault>,
    roots: Result<Vec<u8>, TlsFault>,
    revocation_lists: Vec<Result<Vec<u8>, TlsFault>>,
    pub(super) digest: [u8; 32],
}

impl Content {
    pub(super) fn read(files: &TlsFiles) -> Self {
        let certificates = read(TlsPart::Certificates, &files.certificates);
        let key = read(TlsPart::Key, &files.key).map(zeroize::Zeroizing::new);
        let roots = read(TlsPart::Roots, &files.roots);
        let lists = files.revocation_lists.iter().map(|path| read(TlsPart::RevocationList, path));
        let revocation_lists: Vec<_> = lists.collect();
        let all = [bytes_of(&certificates), key.as_ref().ok().map(|key| &***key), bytes_of(&roots)];
        let digest = digest_of(all.into_iter().chain(revocation_lists.iter().map(bytes_of)));
        Self { certificates, key, roots, revocation_lists, digest }
    }

    /// Checks the parts. One that is not usable leaves the one in use in its place, so that a certificate that has ended or a list
    /// that nobody renewed keeps no revocation in another file from being enforced; the first such fault is given beside them.
    ///
    /// # Errors
    /// The first fault, where nothing is in use yet.
    pub(super) fn parts(
        self,
        files: &TlsFiles,
        used: Option<&Parts>,
        now: SystemTime,
    ) -> Result<(Parts, Option<TlsFault>), TlsFault> {
        let mut taking = Taking { first: None };
        let own = Own::new(files, self.certificates, self.key, now).map(Arc::new);
        let own = taking.or_used(own, used.map(|used| &used.own))?;
        let roots = self.roots.and_then(|bytes| Roots::new(&files.roots, &bytes)).map(Arc::new);
        let roots = taking.or_used(roots, used.map(|used| &used.roots))?;
        let mut lists = Vec::new();
        for (place, (path, bytes)) in files.revocation_lists.iter().zip(self.revocation_lists).enumerate() {
            let used = used.and_then(|used| used.lists.get(place));
            let read = bytes.and_then(|bytes| List::all(path, &bytes, &roots.store));
            let read = taking.or_used(read, used)?;
            lists.push(taking.fresh(path, read, used, now)?);
        }
        Ok((Parts { own, roots, lists }, taking.first))
    }
}

/// Takes what is usable, and what is in use where that is not.
struct Taking {
    first: Option<TlsFault>,
}

impl Taking {
    fn or_used<T: Clone>(&mut self, part: Result<T, TlsFault>, used: Option<&T>) -> Result<T, TlsFault> {
        part.or_else(|fault| self.keep(fault, used).cloned())
    }

    /// The lists of one file, with the one in use in the place of one that is stale. Where none is in use the stale one is taken,
    /// under which no certificate that it covers is accepted.
    fn fresh(
        &mut self,
        path: &Path,
        mut lists: Vec<Arc<List>>,
        used: Option<&Vec<Arc<List>>>,
        now: SystemTime,
    ) -> Result<Vec<Arc<List>>, TlsFault> {
        for list in lists.iter_mut().filter(|list| list.next_update <= now) {
            let next_update_s = seconds(list.next_update);
            let used = self.keep(TlsFault::StaleRevocationList { path: path.to_path_buf(), next_update_s }, used)?;
            if let Some(kept) = used.iter().find(|used| used.covers == list.covers) {
                *list = Arc::clone(kept);
            }
        }
        Ok(lists)
    }

    fn keep<'a, T>(&mut self, fault: TlsFault, used: Option<&'a T>) -> Result<&'a T, TlsFault> {
        match used {
            Some(used) => {
                self.first.get_or_insert(fault);
                Ok(used)
            }
            None => Err(fault),
        }
    }
}

impl Own {
    fn new(
        files: &TlsFiles,
        certificates: Result<Vec<u8>, TlsFault>,
        key: Result<zeroize::Zeroizing<Vec<u8>>, TlsFault>,
        now: SystemTime,
    ) -> Result<Self, TlsFault> {
        let (certificates, key) = (certificates?, key?);
        let digest = digest_of([Some(certificates.as_slice()), Some(key.as_slice())]);
        let chain: Vec<CertificateDer<'static>> = every(TlsPart::Certificates, &files.certificates, &certificates)?;
        let leaf = usable_now(&files.certificates, &chain, now)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(malformed(TlsPart::Key, &files.key))?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|e| match e {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsFault::KeyMismatch { certificates: files.certificates.clone(), key: files.key.clone() }
            }
            e => TlsFault::Unusable { path: files.certificates.clone(), reason: e.to_string() },
        })?;
        Ok(Self { digest, key: Arc::new(key), leaf })
    }
}

impl Roots {
    fn new(path: &Path, bytes: &[u8]) -> Result<Self, TlsFault> {
        let certificates: Vec<CertificateDer<'static>> = every(TlsPart::Roots, path, bytes)?;
        let mut store = RootCertStore::empty();
        let mut ends = Vec::new();
        for root in &certificates {
            ends.extend(Leaf::parse(root).map(|root| root.not_after));
            store.add(root.clone()).map_err(malformed(TlsPart::Roots, path))?;
        }
        Ok(Self { certificates, store: Arc::new(store), not_after: ends.into_iter().min() })
    }
}

impl List {
    /// Those of one file. What rustls cannot read is found here, where the file has a name.
    fn all(path: &Path, bytes: &[u8], roots: &Arc<RootCertStore>) -> Result<Vec<Arc<Self>>, TlsFault> {
        let lists: Vec<CertificateRevocationListDer<'static>> = every(TlsPart::RevocationList, path, bytes)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider());
        verifier.with_crls(lists.clone()).build().map_err(malformed(TlsPart::RevocationList, path))?;
        lists.into_iter().map(|list| Self::new(path, list).map(Arc::new)).collect()
    }

    fn new(path: &Path, list: CertificateRevocationListDer<'static>) -> Result<Self, TlsFault> {
        let (covers, next_update) = {
            let read = CertificateRevocationList::from_der(&list);
            let (_, read) = read.map_err(malformed(TlsPart::RevocationList, path))?;
            let next_update = read.next_update().ok_or("it names no next update");
            let next_update = next_update.map_err(malformed(TlsPart::RevocationList, path))?;
            let part = read.extensions().iter().find(|part| part.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
            let covers = (read.issuer().as_raw().to_vec(), part.map(|part| part.value.to_vec()));
            (covers, system_time(next_update.timestamp()))
        };
        Ok(Self { list, covers, next_update })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn bytes_of(file: &Result<Vec<u8>, TlsFault>) -> Option<&[u8]> {
    file.as_deref().ok()
}

/// Over the bytes of files, those that cannot be read among them.
fn digest_of<'a>(files: impl IntoIterator<Item = Option<&'a [u8]>>) -> [u8; 32] {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for file in files {
        hash.update(&file.map_or(u64::MAX, |file| file.len() as u64).to_be_bytes());
        hash.update(file.unwrap_or_default());
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    digest
}

fn server(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    own: Arc<SingleCertAndKey>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own);
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
    own: Arc<SingleCertAndKey>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_cert_resolver(own);
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
