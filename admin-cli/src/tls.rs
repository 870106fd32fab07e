//! Mutual TLS 1.3 from PEM files.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use rustls::{ClientConfig, RootCertStore, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// A client's side that offers HTTP/2 only.
pub(crate) fn client(certificate: &Path, key: &Path, roots: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut trusted = RootCertStore::empty();
    for root in chain(roots)? {
        trusted.add(root).with_context(|| format!("{} holds a root that is none", roots.display()))?;
    }
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| format!("{} holds no key", key.display()))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .context("the ring provider speaks TLS 1.3")?
        .with_root_certificates(trusted)
        .with_client_auth_cert(chain(certificate)?, private)
        .with_context(|| format!("{} and {} do not go together", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain: Vec<_> = read.with_context(|| format!("{} holds no certificates", path.display()))?;
    anyhow::ensure!(!chain.is_empty(), "{} holds no certificates", path.display());
    Ok(chain)
}
