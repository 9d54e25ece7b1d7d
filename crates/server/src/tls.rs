//! The certificate of a data directory: made at the first start, for this machine's names, kept with its key.
//!
//! `certificate.pem` may be handed to clients (`--ca`); `certificate-key.pem` is readable by its owner alone. Both may be
//! replaced by others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::datadir::write_private;
use crate::error::{Error, Result, at_path};

/// Where the certificate of a data directory is.
pub fn certificate_path(root: &Path) -> PathBuf {
    root.join("certificate.pem")
}

fn key_path(root: &Path) -> PathBuf {
    root.join("certificate-key.pem")
}

/// The TLS settings of a data directory, made at the first call.
pub(crate) fn server_config(root: &Path) -> Result<Arc<ServerConfig>> {
    let (certificate, key) = (certificate_path(root), key_path(root));
    if !certificate.exists() || !key.exists() {
        make(&certificate, &key)?;
    }
    let read = |path: &Path| std::fs::read(path).map_err(at_path("reading", path));
    let damaged = |path: &Path| {
        let path = path.display().to_string();
        move |e: rustls_pki_types::pem::Error| {
            Error::invalid(path, format!("it is no PEM file: {e}"))
        }
    };
    let chain = CertificateDer::pem_slice_iter(&read(&certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(damaged(&certificate))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(damaged(&key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::UseCertificate)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(Error::UseCertificate)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn make(certificate: &Path, key: &Path) -> Result<()> {
    let mut names = vec!["localhost".to_owned()];
    if let Some(name) = host_name().filter(|n| n != "localhost") {
        names.push(name);
    }
    let mut params = CertificateParams::new(names).map_err(Error::MakeCertificate)?;
    for ip in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        params.subject_alt_names.push(SanType::IpAddress(ip));
    }
    params
        .distinguished_name
        .push(DnType::CommonName, "Haversack server");
    params
        .extended_key_usages
        .push(ExtendedKeyUsagePurpose::ServerAuth);
    let pair = KeyPair::generate().map_err(Error::MakeCertificate)?;
    let signed = params.self_signed(&pair).map_err(Error::MakeCertificate)?;
    write_private(key, pair.serialize_pem().as_bytes())?;
    std::fs::write(certificate, signed.pem()).map_err(at_path("writing", certificate))
}

/// The machine's name, if it is one that a certificate can hold.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())?;
    let name = name.trim().to_lowercase();
    let fits = !name.is_empty()
        && name.len() < 254
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        server_config(dir.path()).unwrap();
        let first = std::fs::read(certificate_path(dir.path())).unwrap();
        server_config(dir.path()).unwrap();
        let second = std::fs::read(certificate_path(dir.path())).unwrap();
        assert_eq!(first, second);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(key_path(dir.path()))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        server_config(dir.path()).unwrap();
        std::fs::write(key_path(dir.path()), "nonsense").unwrap();
        let refused = server_config(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("certificate-key.pem"), "{refused}");
    }
}
