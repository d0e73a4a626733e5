//! Certificates, as far as decisions need them: who issued one, when it is renewed, and how the cluster's root is replaced.
//!
//! Owns: the shapes of a root's rotation, and the moment of a renewal (SwarmKit's: by chance between 50 and 80 % of a certificate's life, so
//! that nodes which joined together do not come back together). Never: parses or makes a certificate.

use crate::object::JoinTokens;
use serde::{Deserialize, Serialize};

/// A certificate is valid for so long before it was made: the clock of a node may be behind by less than this.
pub const BACKDATE_SECONDS: u64 = 3_600;
/// Where in its life a certificate is renewed, in per cent.
const EARLIEST: u64 = 50;
const LATEST: u64 = 80;
/// Between two tries of a renewal, in milliseconds: the first pause, and what it doubles up to.
const PAUSE: (u64, u64) = (1_000, 300_000);

/// Who issued a node's certificate: subject and public key of the issuer, base64 of DER, as docker shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    pub subject: String,
    pub public_key: String,
}

/// What the leader tells a node of trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// PEM of the root that nodes believe.
    pub root: String,
    /// Whose certificate a node should have; another one is renewed at once.
    pub issuer: Issuer,
}

/// A new root on its way in: it issues every certificate from now on, and is believed once every node has one.
///
/// Until then nodes believe the old root alone, and certificates come with the new root's key signed by the old one: so both those who
/// believe the old root and those who believe the new one accept them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRotation {
    /// PEM of the new root.
    pub root_ca: String,
    /// PEM of its private key.
    pub root_key: String,
    /// PEM of the new root's key, signed by the old root.
    pub cross_signed: String,
    pub issuer: Issuer,
    /// They name the new root, and count from when it is believed.
    pub join_tokens: JoinTokens,
}

impl std::fmt::Debug for RootRotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Key and tokens are secrets.
        f.debug_struct("RootRotation").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// What an update of the cluster does about its root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootChange {
    #[default]
    Keep,
    /// In place of one that is under way.
    Begin(Box<RootRotation>),
    /// The rotation that is under way leads back to the root that is believed.
    Abort,
}

/// When a certificate is valid: seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: u64,
    pub until: u64,
}

/// What is to be done about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing for so many seconds.
    Wait(u64),
    Due,
    /// It is not valid any more.
    Expired,
}

impl Validity {
    /// When it was made: what it was dated back is no part of its life.
    fn issued(&self) -> u64 {
        self.from.saturating_add(BACKDATE_SECONDS.min(self.until.saturating_sub(self.from) / 2))
    }

    /// What is to be done now; `chance` is any number, the same for one certificate.
    pub fn renewal(&self, now: u64, chance: u32) -> Renewal {
        if now >= self.until {
            return Renewal::Expired;
        }
        let life = self.until.saturating_sub(self.issued());
        let at = |percent: u64| u64::try_from(u128::from(life) * u128::from(percent) / 100).unwrap_or(u64::MAX);
        let (earliest, latest) = (at(EARLIEST), at(LATEST));
        let due = self.issued().saturating_add(earliest).saturating_add(u64::from(chance) % (latest - earliest + 1));
        if now >= due { Renewal::Due } else { Renewal::Wait(due - now) }
    }
}

/// Milliseconds to wait after so many failures in a row; half of it is by `chance`.
pub fn pause(failures: u32, chance: u32) -> u64 {
    let full = PAUSE.0.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(PAUSE.1);
    full / 2 + u64::from(chance) % (full / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    #[test]
    fn a_certificate_is_renewed_between_half_and_four_fifths_of_its_life() {
        for life in [HOUR, 24 * HOUR, 2_160 * HOUR] {
            let (issued, validity) = (1_000_000, Validity { from: 1_000_000 - BACKDATE_SECONDS, until: 1_000_000 + life });
            let mut due = std::collections::BTreeSet::new();
            for chance in (0..u32::MAX).step_by(86_028_157) {
                let Renewal::Wait(left) = validity.renewal(issued, chance) else { panic!("a new certificate is not due") };
                assert!((life / 2..=life * 4 / 5).contains(&left), "{left} of {life}");
                assert_eq!(validity.renewal(issued + left - 1, chance), Renewal::Wait(1));
                assert_eq!(validity.renewal(issued + left, chance), Renewal::Due);
                assert_eq!(validity.renewal(issued + life - 1, chance), Renewal::Due);
                assert_eq!(validity.renewal(issued + life, chance), Renewal::Expired);
                due.insert(left);
            }
            assert!(due.len() > 20, "chance moves it: {due:?}");
        }
    }

    #[test]
    fn odd_validities_and_clocks_break_nothing() {
        let none = Validity { from: 9, until: 9 };
        assert_eq!(none.renewal(0, 7), Renewal::Wait(9));
        assert_eq!(none.renewal(9, 7), Renewal::Expired);
        let backwards = Validity { from: 50, until: 20 };
        assert_eq!(backwards.renewal(30, 0), Renewal::Expired);
        let endless = Validity { from: 0, until: u64::MAX };
        assert!(matches!(endless.renewal(0, u32::MAX), Renewal::Wait(_)));
        // A clock that is behind: later, never a panic.
        assert!(matches!(Validity { from: 1_000, until: 2_000 }.renewal(0, 1), Renewal::Wait(_)));
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let longest = |failures| (0..2_000_000).step_by(1_009).map(|chance| pause(failures, chance)).max().unwrap();
        assert!((500..=1_000).contains(&longest(1)) && (1_000..=2_000).contains(&longest(2)));
        for failures in [0, 9, 10, 100, u32::MAX] {
            assert!(longest(failures) <= 300_000 && pause(failures, 0) >= 500);
        }
    }
}
