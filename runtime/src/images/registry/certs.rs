//! Certificates of single registries: docker's `certs.d`. A folder `<host[:port]>` in it holds authorities (`*.crt`) that vouch for that registry
//! beside those of the system, and pairs (`*.cert`, `*.key`) that this node shows to it.
//!
//! Owns: finding and reading them, anew for each session, so that a change needs no restart. Never: anything for another registry.

use crate::error::{Error, Result};
use crate::files;
use reqwest::Identity;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One file: a bundle of all of the system's authorities has a quarter of it.
const MAX_FILE: u64 = 1 << 20;
/// Files of one registry.
const MAX_FILES: usize = 64;

/// What one registry's folder holds.
#[derive(Clone, Default)]
pub(crate) struct Certs {
    pub authorities: Vec<CertificateDer<'static>>,
    pub identity: Option<Identity>,
}

impl Certs {
    pub(crate) fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.identity.is_none()
    }

    /// Reads the folder of a registry (`host[:port]`); there is none for most.
    pub(crate) fn read(folder: &Path, registry: &str) -> Result<Self> {
        let folder = folder.join(registry);
        let wrong = |path: &Path, why: &dyn std::fmt::Display| Error::Invalid(format!("certificates of registry {registry}: {}: {why}", path.display()));
        let entries = match std::fs::read_dir(&folder) {
            // A node without root may not look into the system's folder: then it has none.
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied) => return Ok(Self::default()),
            other => other.map_err(|error| wrong(&folder, &error))?,
        };
        let names = entries.flatten().take(MAX_FILES + 1).filter_map(|entry| entry.file_name().into_string().ok()).collect::<BTreeSet<_>>();
        if names.len() > MAX_FILES {
            return Err(wrong(&folder, &format!("more than {MAX_FILES} files")));
        }
        let read = |path: &Path| files::read_bounded(path, MAX_FILE).map_err(|error| wrong(path, &error));
        let mut certs = Self::default();
        for name in &names {
            let path = folder.join(name);
            if name.ends_with(".crt") {
                let found = CertificateDer::pem_slice_iter(&read(&path)?).collect::<std::result::Result<Vec<_>, _>>();
                let found = found.map_err(|error| wrong(&path, &error))?;
                if found.is_empty() {
                    return Err(wrong(&path, &"it holds no certificate in PEM"));
                }
                certs.authorities.extend(found);
            } else if let Some(stem) = name.strip_suffix(".cert") {
                let key = format!("{stem}.key");
                if !names.contains(&key) {
                    let text = format!("missing key {key} for client certificate {name}. CA certificates must use the extension .crt");
                    return Err(Error::Invalid(text));
                }
                certs.identity = Some(identity(&read(&path)?, &read(&folder.join(&key))?).map_err(|why| wrong(&path, &why))?);
            } else if let Some(stem) = name.strip_suffix(".key")
                && !names.contains(&format!("{stem}.cert"))
            {
                return Err(Error::Invalid(format!("missing client certificate {stem}.cert for key {name}")));
            }
        }
        Ok(certs)
    }
}

fn identity(certificate: &[u8], key: &[u8]) -> std::result::Result<Identity, reqwest::Error> {
    Identity::from_pem(&[certificate, b"\n", key].concat())
}

/// Who may be spoken to, and on whose word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    pub insecure: super::Insecure,
    /// Docker's `certs.d`; empty for none.
    pub certs: PathBuf,
}

impl Trust {
    /// What vouches for a registry beside the system. An insecure one needs nobody's word.
    pub(crate) async fn certs(&self, registry: &str, insecure: bool) -> Result<Certs> {
        if insecure || self.certs.as_os_str().is_empty() {
            return Ok(Certs::default());
        }
        let (folder, registry) = (self.certs.clone(), registry.to_owned());
        files::blocking(move || Certs::read(&folder, &registry)).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_belong_together_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("reg.example:5000");
        std::fs::create_dir(&host).unwrap();
        let read = || Certs::read(dir.path(), "reg.example:5000").map(|_| ()).map_err(|error| error.to_string());
        assert!(Certs::read(dir.path(), "other.example").unwrap().is_empty());
        assert_eq!(read(), Ok(()));
        std::fs::write(host.join("me.cert"), "x").unwrap();
        assert_eq!(read().unwrap_err(), "missing key me.key for client certificate me.cert. CA certificates must use the extension .crt");
        std::fs::rename(host.join("me.cert"), host.join("me.key")).unwrap();
        assert_eq!(read().unwrap_err(), "missing client certificate me.cert for key me.key");
        std::fs::remove_file(host.join("me.key")).unwrap();
        std::fs::write(host.join("ca.crt"), "no certificate").unwrap();
        assert!(read().unwrap_err().contains("ca.crt: it holds no certificate"), "{:?}", read());
    }
}
