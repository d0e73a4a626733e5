//! `wasi:sockets/ip-name-lookup`, answered by us: only names that the list allows, and what was answered is remembered.
//!
//! Owns: the interface whole, with a resource of its own. Never: decides anything; [`super::TaskNet::lookup`] does.

use super::{
    LookupError,
    sockets::{interface, settle},
};
use crate::guest::ComponentGuest;
use std::{net::IpAddr, vec};
use tokio::sync::oneshot;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, ResourceType},
};
use wasmtime_wasi::{
    WasiView,
    p2::{
        Network, Pollable, SocketResult,
        bindings::sockets::network::{ErrorCode, IpAddress},
        subscribe,
    },
};

type Found = Result<vec::IntoIter<IpAddr>, ErrorCode>;

/// A look-up under way, or its answers.
enum Lookup {
    Running(oneshot::Receiver<Found>),
    Done(Found),
}

impl Lookup {
    fn next(&mut self) -> Result<Option<IpAddr>, ErrorCode> {
        if let Self::Running(answer) = self {
            match answer.try_recv() {
                Ok(found) => *self = Self::Done(found),
                Err(oneshot::error::TryRecvError::Empty) => return Err(ErrorCode::WouldBlock),
                Err(oneshot::error::TryRecvError::Closed) => *self = Self::Done(Err(ErrorCode::TemporaryResolverFailure)),
            }
        }
        match self {
            Self::Done(Ok(found)) => Ok(found.next()),
            Self::Done(Err(code)) => Err(*code),
            Self::Running(_) => Err(ErrorCode::WouldBlock),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Running(answer) = self {
            let found = answer.await.unwrap_or(Err(ErrorCode::TemporaryResolverFailure));
            *self = Self::Done(found);
        }
    }
}

fn code(error: &LookupError) -> ErrorCode {
    match error {
        LookupError::Denied => ErrorCode::AccessDenied,
        LookupError::Invalid => ErrorCode::InvalidArgument,
        LookupError::Busy | LookupError::Late => ErrorCode::TemporaryResolverFailure,
        LookupError::Failed(_) => ErrorCode::NameUnresolvable,
    }
}

impl ComponentGuest {
    fn resolve(&mut self, network: &Resource<Network>, name: String) -> SocketResult<Resource<Lookup>> {
        self.ctx().table.get(network)?;
        let (send, answer) = oneshot::channel();
        let net = self.net.clone();
        let looking = async move {
            let found = net.lookup(&name).await;
            // The guest may be gone.
            let _ = send.send(found.map(Vec::into_iter).map_err(|error| code(&error)));
        };
        // Most answers are there at once: an address, a refusal, a name that was asked for a moment ago.
        let mut lookup = Lookup::Running(answer);
        let mut looking = Box::pin(looking);
        if futures_util::FutureExt::now_or_never(&mut looking).is_none() {
            tokio::spawn(looking);
        } else if let Lookup::Running(answer) = &mut lookup
            && let Ok(found) = answer.try_recv()
        {
            let found = found?;
            lookup = Lookup::Done(Ok(found));
        }
        Ok(self.ctx().table.push(lookup)?)
    }
}

type Store<'a> = StoreContextMut<'a, ComponentGuest>;

/// Replaces wasmtime-wasi's interface.
pub(super) fn add_to_linker(linker: &mut Linker<ComponentGuest>) -> wasmtime::Result<()> {
    let mut lookup = linker.instance(&interface("ip-name-lookup"))?;
    lookup.resource("resolve-address-stream", ResourceType::host::<Lookup>(), |mut store, number| {
        store.data_mut().ctx().table.delete(Resource::<Lookup>::new_own(number))?;
        Ok(())
    })?;
    lookup.func_wrap("resolve-addresses", |mut store: Store<'_>, (network, name): (Resource<Network>, String)| {
        settle(store.data_mut().resolve(&network, name))
    })?;
    lookup.func_wrap("[method]resolve-address-stream.resolve-next-address", |mut store: Store<'_>, (this,): (Resource<Lookup>,)| {
        let next = store.data_mut().ctx().table.get_mut(&this)?.next();
        settle(next.map(|found| found.map(IpAddress::from)).map_err(Into::into))
    })?;
    lookup.func_wrap("[method]resolve-address-stream.subscribe", |mut store: Store<'_>, (this,): (Resource<Lookup>,)| {
        Ok((subscribe(store.data_mut().ctx().table, this)?,))
    })
}
