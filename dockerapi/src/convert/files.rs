//! What a path is, as docker's clients read it: Go's file modes, in a header.

use super::time;
use base64::Engine;
use wsw_api::files::PathStat;

/// Kinds of files: the kernel's bits, Go's (`os.FileMode`).
const KINDS: [(u32, u32); 6] = [
    (0o040_000, 1 << 31),           // folder
    (0o120_000, 1 << 27),           // symbolic link
    (0o060_000, 1 << 26),           // block device
    (0o020_000, 1 << 26 | 1 << 21), // character device
    (0o010_000, 1 << 25),           // pipe
    (0o140_000, 1 << 24),           // socket
];
/// Set-user-id, set-group-id, sticky.
const BITS: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];

/// The value of `X-Docker-Container-Path-Stat`.
pub fn header(stat: &PathStat) -> String {
    let text = serde_json::json!({
        "name": stat.name,
        "size": stat.size,
        "mode": go_mode(stat.mode),
        "mtime": time::rfc3339(stat.modified),
        "linkTarget": stat.link_target,
    });
    base64::engine::general_purpose::STANDARD.encode(text.to_string())
}

fn go_mode(mode: u32) -> u32 {
    let kind = KINDS.iter().find(|(kernel, _)| mode & 0o170_000 == *kernel).map_or(0, |(_, go)| *go);
    let bits: u32 = BITS.iter().filter(|(kernel, _)| mode & kernel != 0).map(|(_, go)| go).sum();
    kind | bits | mode & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_go_s() {
        for (kernel, go) in [(0o100_644, 0o644), (0o041_777, 1 << 31 | 1 << 20 | 0o777), (0o120_777, 1 << 27 | 0o777), (0o020_666, 1 << 26 | 1 << 21 | 0o666)] {
            assert_eq!(go_mode(kernel), go, "{kernel:o}");
        }
        assert_eq!(go_mode(0o104_755), 1 << 23 | 0o755);
    }
}
