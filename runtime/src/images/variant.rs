//! Variants of a processor: `arm/v6`, `arm64/v8`, `amd64/v3`.
//!
//! Owns: which of them a machine runs, and which it runs best: containerd's rule, where one without a word is the oldest that is common (`arm` is v7). Never: looks at an index.

/// The level that a variant stands for.
fn level(architecture: &str, variant: &str) -> Option<u8> {
    match (architecture, variant) {
        ("arm", "") => Some(7),
        ("arm64", "") => Some(8),
        (_, "") => Some(1),
        (_, word) => word.strip_prefix('v').unwrap_or(word).split('.').next()?.parse().ok(),
    }
}

/// How well code of a variant suits a processor of another; less is better, none does not run there.
pub(super) fn rank(architecture: &str, found: &str, wanted: &str) -> Option<u8> {
    if found == wanted {
        return Some(0);
    }
    match (level(architecture, wanted), level(architecture, found)) {
        (Some(wanted), Some(found)) => wanted.checked_sub(found),
        // A word that means nothing here, where none was asked for.
        _ if wanted.is_empty() => Some(u8::MAX),
        _ => None,
    }
}

/// This machine's.
pub(super) fn own() -> String {
    match std::env::consts::ARCH {
        "arm" => of_machine(&rustix::system::uname().machine().to_string_lossy()).to_owned(),
        "x86_64" => x86().to_owned(),
        _ => String::new(),
    }
}

/// As the kernel calls a 32-bit processor; on one of 64 bits it is one of the newest.
fn of_machine(machine: &str) -> &'static str {
    match machine {
        name if name.starts_with("armv5") => "v5",
        name if name.starts_with("armv6") => "v6",
        name if name.starts_with("armv7") => "v7",
        name if name.starts_with("armv8") || name.starts_with("aarch64") => "v8",
        _ => "",
    }
}

#[cfg(target_arch = "x86_64")]
fn x86() -> &'static str {
    let second = is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("popcnt") && is_x86_feature_detected!("cmpxchg16b");
    let third = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("movbe");
    let fourth = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl");
    match (second, second && third, second && third && fourth) {
        (_, _, true) => "v4",
        (_, true, _) => "v3",
        (true, ..) => "v2",
        _ => "",
    }
}

#[cfg(not(target_arch = "x86_64"))]
const fn x86() -> &'static str {
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_names_have_variants() {
        for (machine, variant) in [("armv6l", "v6"), ("armv7l", "v7"), ("armv8l", "v8"), ("aarch64", "v8"), ("armv5tel", "v5"), ("riscv64", "")] {
            assert_eq!(of_machine(machine), variant, "{machine}");
        }
    }

    #[test]
    fn older_code_runs_and_newer_does_not() {
        assert_eq!([rank("arm", "v6", "v7"), rank("arm", "", "v7"), rank("arm", "v8", "v7"), rank("arm", "v7", "v8")], [Some(1), Some(0), None, Some(1)]);
        assert_eq!(
            [rank("amd64", "", "v3"), rank("amd64", "v4", "v3"), rank("riscv64", "", ""), rank("mips", "odd", "")],
            [Some(2), None, Some(0), Some(u8::MAX)]
        );
        assert!(rank("amd64", "", &own()).is_some() || std::env::consts::ARCH != "x86_64");
    }
}
