//! A real registry (Debian's `docker-registry`) on a free loopback port, with a storage folder of its own; and a plain way to push to it.

use super::wait::{free_tcp_port, until};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running registry, ended when dropped.
pub struct Registry {
    folder: tempfile::TempDir,
    port: u16,
    /// `user:password` in base64, where it wants one.
    basic: Option<&'static str>,
    child: Child,
}

impl Registry {
    /// Open to everybody.
    pub fn start() -> Self {
        Self::with(None)
    }

    /// For the user `wendy` with the password `s3cret-pass`.
    pub fn with_login() -> Self {
        Self::with(Some("d2VuZHk6czNjcmV0LXBhc3M="))
    }

    fn with(basic: Option<&'static str>) -> Self {
        let folder = tempfile::Builder::new().prefix("r").rand_bytes(5).tempdir().expect("there is a temporary folder");
        let port = free_tcp_port();
        let registry = Self { child: Self::spawn(folder.path(), port, basic, ""), folder, port, basic };
        until("the registry to answer", || registry.ask("GET", "/v2/", "", &[]).map(drop));
        registry
    }

    fn spawn(folder: &Path, port: u16, basic: Option<&str>, tls: &str) -> Child {
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}/data\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{tls}",
            folder.display()
        );
        if basic.is_some() {
            let made = Command::new("htpasswd").args(["-Bbn", "wendy", "s3cret-pass"]).output().expect("htpasswd is installed: run scripts/setup");
            let file = folder.join("users");
            std::fs::write(&file, made.stdout).expect("the folder is ours");
            config += &format!("auth:\n  htpasswd:\n    realm: here\n    path: {}\n", file.display());
        }
        let path = folder.join("config.yml");
        std::fs::write(&path, config).expect("the folder is ours");
        let child = Command::new("docker-registry").arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.expect("docker-registry is installed: run scripts/setup")
    }

    /// The same registry from now on in TLS, as `name`; with `clients` it wants a certificate of that authority from whoever comes.
    pub fn with_tls(mut self, authority: &Authority, name: &str, clients: bool) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let path = |name: &str| self.folder.path().join(name);
        let (certificate, key) = authority.vouch(name);
        for (name, text) in [("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &authority.pem)] {
            std::fs::write(path(name), text).expect("the folder is ours");
        }
        let wants = if clients { format!("    clientcas:\n      - {}\n", path("ca.crt").display()) } else { String::new() };
        let tls = format!("  tls:\n    certificate: {}\n    key: {}\n{wants}", path("tls.crt").display(), path("tls.key").display());
        self.child = Self::spawn(self.folder.path(), self.port, self.basic, &tls);
        until("the registry to listen", || TcpStream::connect(("127.0.0.1", self.port)).map(drop).map_err(|error| error.to_string()));
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// One request; status, headers and body of the answer.
    pub fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<(u16, String, Vec<u8>), String> {
        let login = self.basic.map(|basic| format!("Authorization: Basic {basic}\r\n")).unwrap_or_default();
        let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{login}{kind}Content-Length: {}\r\n\r\n", self.host(), body.len());
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(super::wait::BOUND)).map_err(|error| error.to_string())?;
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no head")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or("no status")?;
        Ok((status, head, answer[end + 4..].to_vec()))
    }

    /// Uploads one blob; its descriptor.
    #[track_caller]
    pub fn blob(&self, repository: &str, media_type: &str, content: &[u8]) -> Value {
        let digest = digest(content);
        let (status, head, _) = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[]).expect("the registry answers");
        assert_eq!(status, 202, "{head}");
        let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).expect("an upload has a location").trim();
        let path = location.split_once(&self.host()).map_or(location, |(_, path)| path);
        let mark = if path.contains('?') { '&' } else { '?' };
        let (status, head, _) = self.ask("PUT", &format!("{path}{mark}digest={digest}"), "application/octet-stream", content).expect("the registry answers");
        assert_eq!(status, 201, "{head}");
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }

    /// Uploads a manifest under a tag or digest; its descriptor.
    #[track_caller]
    pub fn manifest(&self, repository: &str, tag: &str, manifest: &Value) -> Value {
        let (bytes, kind) = (manifest.to_string().into_bytes(), manifest["mediaType"].as_str().expect("a manifest has a type"));
        let name = if tag.is_empty() { digest(&bytes) } else { tag.to_owned() };
        let (status, head, body) = self.ask("PUT", &format!("/v2/{repository}/manifests/{name}"), kind, &bytes).expect("the registry answers");
        assert_eq!(status, 201, "{head}\n{}", String::from_utf8_lossy(&body));
        json!({"mediaType": kind, "digest": digest(&bytes), "size": bytes.len()})
    }

    /// Pushes a Wasm file as the CNCF artifact; the manifest's descriptor.
    #[track_caller]
    pub fn artifact(&self, repository: &str, tag: &str, wasm: &Path) -> Value {
        let module = std::fs::read(wasm).expect("the guest is readable");
        let layer = self.blob(repository, "application/wasm", &module);
        let config = json!({"created": "2026-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip2", "layerDigests": [layer["digest"]]});
        let config = self.blob(repository, "application/vnd.wasm.config.v0+json", config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]});
        self.manifest(repository, tag, &manifest)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority of a test's own, which nobody trusts.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// Its certificate.
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("there is chance");
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("no name is a bad one");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("it can sign").pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// A certificate for a name, and its key.
    pub fn vouch(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("there is chance");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("the name is one");
        (params.signed_by(&key, &self.issuer).expect("it can sign").pem(), key.serialize_pem())
    }
}

/// `sha256:…`
pub fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
