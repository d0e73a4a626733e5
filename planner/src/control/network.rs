//! Writes to networks: create, remove. And which networks a service may name.
//!
//! Owns: the checks of SwarmKit's `controlapi/network.go`, with its messages. Never: chooses an address (there is no allocator yet).

use super::{Code, Decision, Mint, invalid, refuse, validate};
use crate::Store;
use std::net::IpAddr;
use wsw_api::entry::{Change, Guard, Outcome};
use wsw_api::error::{Error, Result};
use wsw_api::id::NetworkId;
use wsw_api::network::{Network, NetworkAttachment, NetworkScope, NetworkSpec, Pool};
use wsw_api::object::Meta;

/// Address ranges of one network: a bound on what one request can make the state hold.
const MAX_POOLS: usize = 16;
/// Networks of one service.
const MAX_ATTACHMENTS: usize = 64;

pub(super) fn create(view: &Store, spec: &NetworkSpec, mint: &mut Mint<'_>) -> Result<Decision> {
    validate::annotations(&spec.annotations)?;
    if spec.ipam.pools.len() > MAX_POOLS {
        return Err(invalid(format!("IPAM: {} address ranges are too many; use at most {MAX_POOLS}", spec.ipam.pools.len())));
    }
    let subnets: Vec<Subnet> = spec.ipam.pools.iter().map(check_pool).collect::<Result<_>>()?;
    validate::size("network", spec)?;
    let name = spec.annotations.name.clone();
    if view.network_by_name(&name).is_some() {
        return Err(Error::conflict(format!("network with name {name} already exists")));
    }
    let taken = view.networks().filter(|other| other.spec.scope == spec.scope).flat_map(|other| &other.spec.ipam.pools);
    let taken: Vec<Subnet> = taken.filter_map(|pool| Subnet::parse(&pool.subnet)).collect();
    if subnets.iter().enumerate().any(|(at, subnet)| taken.iter().chain(subnets.iter().take(at)).any(|other| subnet.overlaps(other))) {
        return Err(Error::forbidden("invalid pool request: Pool overlaps with other one on this address space"));
    }
    let id = NetworkId::from_bytes(mint());
    let network = Network { id, meta: Meta::default(), spec: spec.clone() };
    let changes = vec![Change::PutNetwork(Box::new(network))];
    Ok(Decision { guards: vec![Guard::NetworkNameAbsent(name)], changes, outcome: Outcome::NetworkCreated { id } })
}

pub(super) fn remove(view: &Store, id: &NetworkId) -> Result<Decision> {
    if view.network(id).is_none() {
        return Err(Error::not_found(format!("network {id} not found")));
    }
    if let Some(service) = view.network_user(id) {
        return Err(refuse(Code::FailedPrecondition, format!("network {id} is in use by service {service}")));
    }
    let guards = vec![Guard::NetworkExists(*id), Guard::NetworkUnused(*id)];
    Ok(Decision { guards, changes: vec![Change::RemoveNetwork(*id)], outcome: Outcome::Done })
}

/// The guards of a service's attachments, or why one cannot be.
pub(super) fn attachments(view: &Store, attachments: &[NetworkAttachment]) -> Result<Vec<Guard>> {
    if attachments.len() > MAX_ATTACHMENTS {
        return Err(invalid(format!("Networks: {} are too many; use at most {MAX_ATTACHMENTS}", attachments.len())));
    }
    for (at, attachment) in attachments.iter().enumerate() {
        let network = view.network(&attachment.network).ok_or_else(|| Error::not_found(format!("network {} not found", attachment.network)))?;
        if network.spec.scope != NetworkScope::Swarm {
            let name = network.name();
            return Err(Error::forbidden(format!(
                "The network {name} cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver."
            )));
        }
        if attachments.iter().take(at).any(|other| other.network == attachment.network) {
            return Err(invalid(format!("Networks: {} is named twice", network.name())));
        }
    }
    Ok(attachments.iter().map(|attachment| Guard::NetworkExists(attachment.network)).collect())
}

fn check_pool(pool: &Pool) -> Result<Subnet> {
    let bad = |field: &str, text: &str| invalid(format!("IPAM.Config.{field}: {text:?} is not valid"));
    let subnet =
        Subnet::parse(&pool.subnet).ok_or_else(|| invalid(format!("IPAM.Config.Subnet: invalid subnet {:?}: invalid CIDR block notation", pool.subnet)))?;
    let range = (!pool.range.is_empty()).then(|| Subnet::parse(&pool.range).ok_or_else(|| bad("IPRange", &pool.range))).transpose()?;
    if range.is_some_and(|range| !subnet.overlaps(&range) || range.bits < subnet.bits) {
        return Err(invalid(format!("IPAM.Config.IPRange: {} is not within the subnet {}", pool.range, pool.subnet)));
    }
    let named = pool.auxiliary.values().map(|address| ("AuxiliaryAddresses", address));
    for (field, text) in std::iter::once(("Gateway", &pool.gateway)).filter(|(_, text)| !text.is_empty()).chain(named) {
        let address: IpAddr = text.parse().map_err(|_| bad(field, text))?;
        if !subnet.contains(address) {
            return Err(invalid(format!("IPAM.Config.{field}: {text} is not within the subnet {}", pool.subnet)));
        }
    }
    Ok(subnet)
}

/// A range of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subnet {
    six: bool,
    first: u128,
    bits: u32,
}

/// An address as a number, the family's highest bit first.
fn number(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(four) => (false, u128::from(u32::from(four)) << 96),
        IpAddr::V6(six) => (true, u128::from(six)),
    }
}

impl Subnet {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let (six, first) = number(address);
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= if six { 128 } else { 32 })?;
        Some(Self { six, first: first & mask(bits), bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (six, number) = number(address);
        six == self.six && number & mask(self.bits) == self.first
    }

    fn overlaps(&self, other: &Self) -> bool {
        let shorter = mask(self.bits.min(other.bits));
        self.six == other.six && self.first & shorter == other.first & shorter
    }
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::handle;
    use crate::fixture::{self, World, spec};
    use expect_test::expect;
    use std::collections::BTreeMap;
    use wsw_api::Time;
    use wsw_api::control::{Rollback, Write};
    use wsw_api::entry::Entry;
    use wsw_api::network::Ipam;
    use wsw_api::spec::Annotations;

    fn network(name: &str, scope: NetworkScope, subnet: &str) -> NetworkSpec {
        let pool = Pool { subnet: subnet.into(), ..Pool::default() };
        let pools = if subnet.is_empty() { Vec::new() } else { vec![pool] };
        NetworkSpec {
            annotations: Annotations { name: name.into(), labels: BTreeMap::new() },
            driver: "overlay".into(),
            scope,
            internal: false,
            attachable: false,
            ipv4: true,
            ipv6: false,
            options: BTreeMap::new(),
            ipam: Ipam { pools, ..Ipam::default() },
        }
    }

    /// Applies the write, or says why not.
    fn write(world: &mut World, number: u8, write: &Write) -> std::result::Result<Outcome, String> {
        let mut mint = fixture::counter(number);
        let Decision { guards, changes, outcome } = handle(&world.store, write, Time(9), &mut mint).map_err(|error| error.message)?;
        let applied = world.commit(&Entry { time: Time(9), guards, changes, ..Entry::default() });
        assert_eq!(applied, wsw_api::entry::Applied::Done);
        Ok(outcome)
    }

    fn create(world: &mut World, number: u8, spec: NetworkSpec) -> std::result::Result<NetworkId, String> {
        match write(world, number, &Write::CreateNetwork { spec: Box::new(spec) })? {
            Outcome::NetworkCreated { id } => Ok(id),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn names_and_ranges_are_checked() {
        let mut world = World::new(1);
        create(&mut world, 1, network("web", NetworkScope::Swarm, "10.0.9.0/24")).unwrap();
        let bad =
            [("web", ""), ("", ""), ("a b", ""), ("x", "10.0.9.128/25"), ("x", "10.0.0.0/8"), ("x", "10.0.9.0"), ("x", "10.0.9.0/33"), ("x", "fd00::/129")];
        let refused = bad.map(|(name, subnet)| create(&mut world, 2, network(name, NetworkScope::Swarm, subnet)).unwrap_err());
        expect![[r#"
            network with name web already exists
            rpc error: code = InvalidArgument desc = meta: name must be provided
            rpc error: code = InvalidArgument desc = name must be valid as a DNS name component
            invalid pool request: Pool overlaps with other one on this address space
            invalid pool request: Pool overlaps with other one on this address space
            rpc error: code = InvalidArgument desc = IPAM.Config.Subnet: invalid subnet "10.0.9.0": invalid CIDR block notation
            rpc error: code = InvalidArgument desc = IPAM.Config.Subnet: invalid subnet "10.0.9.0/33": invalid CIDR block notation
            rpc error: code = InvalidArgument desc = IPAM.Config.Subnet: invalid subnet "fd00::/129": invalid CIDR block notation
        "#]]
        .assert_eq(&(refused.join("\n") + "\n"));
        create(&mut world, 3, network("other", NetworkScope::Local, "10.0.9.0/24")).unwrap();
        create(&mut world, 4, network("six", NetworkScope::Swarm, "fd00::/64")).unwrap();
        assert_eq!(world.store.networks().count(), 3);
    }

    #[test]
    fn a_network_in_use_stays_and_a_service_names_only_what_is_there() {
        let mut world = World::new(1);
        let used = create(&mut world, 1, network("used", NetworkScope::Swarm, "")).unwrap();
        let local = create(&mut world, 2, network("local", NetworkScope::Local, "")).unwrap();
        let attach = |network| {
            let mut spec = spec("web", 1);
            spec.task.networks = vec![NetworkAttachment { network, aliases: Vec::new(), options: BTreeMap::new() }];
            Write::CreateService { spec: Box::new(spec) }
        };
        assert!(write(&mut world, 3, &attach(local)).unwrap_err().contains("Only networks scoped to the swarm can be used"));
        assert!(write(&mut world, 3, &attach(NetworkId::from_bytes([7; 16]))).unwrap_err().ends_with("not found"));
        let Outcome::ServiceCreated { id, .. } = write(&mut world, 3, &attach(used)).unwrap() else { panic!("not created") };
        let remove = Write::RemoveNetwork { id: used };
        assert!(write(&mut world, 4, &remove).unwrap_err().contains("is in use by service"));
        let copy = crate::Store::from_snapshot(world.store.to_snapshot()).unwrap();
        assert_eq!((copy.network(&used), copy.network_user(&used)), (world.store.network(&used), Some(id)), "a snapshot has them");
        let version = world.store.service(&id).unwrap().meta.version;
        let update = Write::UpdateService { id, version, spec: Box::new(spec("web", 1)), rollback: Rollback::No };
        write(&mut world, 5, &update).unwrap();
        assert!(write(&mut world, 6, &remove).is_err(), "a rollback would need it");
        write(&mut world, 7, &Write::RemoveService { id }).unwrap();
        write(&mut world, 8, &remove).unwrap();
        assert!(world.store.network_by_name("used").is_none() && world.store.network_by_name("local").is_some());
    }
}
