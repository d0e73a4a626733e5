//! Files of wasip1 modules, counted: opening, closing and renumbering are wasmtime-wasi's with a count around them.
//!
//! A module makes one call at a time, so it takes no turns: it cannot hold more than one thread.

use crate::{
    guest::ModuleGuest,
    quota::{Full, Permit},
};
use std::{collections::BTreeMap, sync::Arc};
use wasmtime::{AsContextMut, Caller, Extern, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as wasi, WasiSnapshotPreview1};
use wiggle::GuestMemory;

const MODULE: &str = "wasi_snapshot_preview1";
/// Error numbers of wasip1: too many files of the process, of the system; not supported.
const SUCCESS: i32 = 0;
const MFILE: i32 = 33;
const NFILE: i32 = 41;
const NOTSUP: i32 = 58;
/// A `filestat`, where it says what it is, and the answer for what is neither file, folder, link nor device.
const FILESTAT: usize = 64;
const FILETYPE: usize = 16;
const UNKNOWN: u8 = 0;

/// Open files by their number.
#[derive(Default)]
pub struct OpenFiles(BTreeMap<i32, Arc<Permit>>);

/// What `path_open` is called with.
type Open = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

async fn open(caller: &mut Caller<'_, ModuleGuest>, (folder, look_up, path, length, flags, base, inheriting, fd_flags, out): Open) -> wasmtime::Result<i32> {
    let place = match caller.data().files.open() {
        Ok(place) => place,
        Err(Full::Files | Full::Sockets) => return Ok(MFILE),
        Err(Full::Shim) => return Ok(NFILE),
    };
    let fuel = caller.as_context_mut().hostcall_fuel();
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        wasmtime::bail!("the module exports no memory");
    };
    let (bytes, guest) = memory.data_and_store_mut(&mut *caller);
    guest.wasi.set_hostcall_fuel(fuel);
    if is_special(guest, bytes, (folder, look_up, path, length)).await {
        return Ok(NOTSUP);
    }
    guest.wasi.set_hostcall_fuel(fuel);
    let errno =
        wasi::path_open(&mut guest.wasi, &mut GuestMemory::Unshared(bytes), folder, look_up, path, length, flags, base, inheriting, fd_flags, out).await?;
    let number = usize::try_from(out).ok().and_then(|out| bytes.get(out..)?.first_chunk().copied()).map(i32::from_le_bytes);
    if let Some(number) = number.filter(|_| errno == SUCCESS) {
        guest.open.0.insert(number, place);
    }
    Ok(errno)
}

/// Whether the path names a FIFO or a socket. Asked in a memory of our own: the guest's is not written to.
async fn is_special(guest: &mut ModuleGuest, bytes: &[u8], (folder, look_up, path, length): (i32, i32, i32, i32)) -> bool {
    let (Ok(start), Ok(size)) = (usize::try_from(path.cast_unsigned()), usize::try_from(length.cast_unsigned())) else { return false };
    let Some(name) = start.checked_add(size).and_then(|end| bytes.get(start..end)) else { return false };
    let mut own = vec![0; FILESTAT];
    own.extend_from_slice(name);
    let at = i32::try_from(FILESTAT).unwrap_or_default();
    let found = wasi::path_filestat_get(&mut guest.wasi, &mut GuestMemory::Unshared(&mut own), folder, look_up, at, length, 0).await;
    matches!(found, Ok(SUCCESS)) && own.get(FILETYPE) == Some(&UNKNOWN)
}

/// Replaces the functions that open and close in a linker that has wasmtime-wasi's.
pub fn add_to_linker(linker: &mut Linker<ModuleGuest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(MODULE, "path_open", |mut caller: Caller<'_, ModuleGuest>, arguments: Open| {
        Box::new(async move { open(&mut caller, arguments).await })
    })?;
    linker.func_wrap_async(MODULE, "fd_close", |mut caller: Caller<'_, ModuleGuest>, (number,): (i32,)| {
        Box::new(async move {
            let guest = caller.data_mut();
            let errno = wasi::fd_close(&mut guest.wasi, &mut GuestMemory::Unshared(&mut []), number).await?;
            if errno == SUCCESS {
                guest.open.0.remove(&number);
            }
            wasmtime::Result::Ok(errno)
        })
    })?;
    linker.func_wrap_async(MODULE, "fd_renumber", |mut caller: Caller<'_, ModuleGuest>, (from, to): (i32, i32)| {
        Box::new(async move {
            let guest = caller.data_mut();
            let errno = wasi::fd_renumber(&mut guest.wasi, &mut GuestMemory::Unshared(&mut []), from, to).await?;
            if errno == SUCCESS && from != to {
                let moved = guest.open.0.remove(&from);
                guest.open.0.remove(&to);
                moved.map(|place| guest.open.0.insert(to, place));
            }
            wasmtime::Result::Ok(errno)
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}
