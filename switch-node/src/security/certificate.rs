//! What the switch reads from a certificate: its URI names, its serial number, its end, and whether it may sign others.
//!
//! The chain was verified before; nothing here decides about trust.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

/// The facts of an end-entity certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Every URI in the subject alternative names, in their order.
    pub uris: Vec<String>,
    /// The serial number, lower-case hexadecimal with colons.
    pub serial: String,
    /// Valid from here on.
    pub not_before: SystemTime,
    /// Valid until here.
    pub not_after: SystemTime,
    /// Whether it may sign others; no caller's certificate may.
    pub is_authority: bool,
}

impl Leaf {
    /// Reads one DER certificate.
    pub fn parse(der: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let (rest, certificate) =
            x509_parser::certificate::X509Certificate::from_der(der).map_err(|e| Unreadable(e.to_string()))?;
        if !rest.is_empty() {
            return Err(Unreadable(format!("{} bytes follow the certificate", rest.len())));
        }
        let mut uris = Vec::new();
        let names = certificate.subject_alternative_name().map_err(|e| Unreadable(e.to_string()))?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                // A name that does not decode might be a URI for somebody else: refuse rather than overlook it.
                GeneralName::Invalid(tag, _) => return Err(Unreadable(format!("name with tag {tag} does not decode"))),
                _ => {}
            }
        }
        Ok(Self {
            uris,
            serial: certificate.raw_serial_as_string(),
            not_before: system_time(certificate.validity().not_before.timestamp()),
            not_after: system_time(certificate.validity().not_after.timestamp()),
            is_authority: certificate.is_ca(),
        })
    }

    /// The one URI name, or nothing if there are none or several.
    pub fn only_uri(&self) -> Option<&str> {
        match self.uris.as_slice() {
            [uri] => Some(uri),
            _ => None,
        }
    }
}

/// A certificate that passed verification and still cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("certificate does not parse: {0}")]
pub struct Unreadable(String);

/// Seconds since 1970 as a time; before 1970 counts as 1970.
pub(crate) fn system_time(timestamp_s: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(timestamp_s).unwrap_or(0))
}
