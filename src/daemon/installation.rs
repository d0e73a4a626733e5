//! The installation's own name.
//!
//! Owns: the file `installation-id` of the data root.
//! Never: changes it once it is there.

use super::data_root;
use anyhow::Result;
use std::fs;
use std::path::Path;

/// A random name of this installation, kept for good.
pub(super) fn id(root: &Path) -> Result<String> {
    let path = root.join("installation-id");
    if let Ok(text) = fs::read_to_string(&path) {
        return Ok(text.trim().to_owned());
    }
    let mut bytes = [0_u8; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| anyhow::anyhow!("no randomness"))?;
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| hex.get(from..to).unwrap_or_default());
    let id = parts.join("-");
    data_root::write_synced(&path, format!("{id}\n").as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installation_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let first = id(dir.path()).unwrap();
        assert_eq!(first.len(), 36);
        assert_eq!(id(dir.path()).unwrap(), first);
    }
}
