//! `wasi:filesystem` as components have it: wasmtime-wasi's, counted and in turn.
//!
//! Owns: which open file of an instance holds which place. Invariant: each function that may block waits for its task's turn.

use super::{
    TaskFiles,
    streams::{FileInput, FileOutput},
};
use crate::{guest::ComponentGuest, quota::Permit};
use std::{collections::BTreeMap, sync::Arc};
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, ResourceType},
};
use wasmtime_wasi::{
    WasiView,
    filesystem::WasiFilesystemView,
    p2::{
        DynInputStream, DynOutputStream, FsError, FsResult,
        bindings::filesystem::types::{Descriptor, DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags},
    },
};

/// The version under which wasmtime-wasi registers its interfaces; guests of any 0.2 link to it.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// Open files of one instance, by their number in its table.
#[derive(Default)]
pub struct OpenFiles(BTreeMap<u32, Arc<Permit>>);

type Store<'a> = StoreContextMut<'a, ComponentGuest>;

fn settle<T>(result: FsResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => error.downcast().map(|code| (Err(code),)),
    }
}

impl ComponentGuest {
    async fn open_at(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let files = self.task_files.clone();
        let place = files.open().map_err(|_| FsError::from(ErrorCode::InsufficientMemory))?;
        let _turn = files.turn().await;
        let borrowed = Resource::new_borrow(folder.rep());
        // What is neither file, folder, link nor device, as wasmtime-wasi tells it: a FIFO or a socket. That it changes in between is
        // possible, and costs the task one of its turns.
        let found = HostDescriptor::stat_at(&mut self.filesystem(), borrowed, path_flags, path.clone()).await;
        if found.is_ok_and(|found| matches!(found.type_, DescriptorType::Unknown | DescriptorType::Fifo | DescriptorType::Socket)) {
            return Err(ErrorCode::Unsupported.into());
        }
        let opened = HostDescriptor::open_at(&mut self.filesystem(), folder, path_flags, path, open_flags, flags).await?;
        self.open_files.0.insert(opened.rep(), place);
        Ok(opened)
    }

    /// The place of an open file; the task's folders themselves have none.
    fn place(&self, file: &Resource<Descriptor>) -> (Arc<TaskFiles>, Option<Arc<Permit>>) {
        (self.task_files.clone(), self.open_files.0.get(&file.rep()).cloned())
    }

    fn read_via(&mut self, file: Resource<Descriptor>, offset: u64) -> FsResult<Resource<DynInputStream>> {
        let (files, place) = self.place(&file);
        let made = HostDescriptor::read_via_stream(&mut self.filesystem(), file, offset)?;
        let table = self.ctx().table;
        let stream: DynInputStream = Box::new(FileInput::new(table.delete(made)?, files, place));
        Ok(table.push(stream)?)
    }

    fn write_via(&mut self, file: Resource<Descriptor>, offset: Option<u64>) -> FsResult<Resource<DynOutputStream>> {
        let (files, place) = self.place(&file);
        let made = match offset {
            Some(offset) => HostDescriptor::write_via_stream(&mut self.filesystem(), file, offset)?,
            None => HostDescriptor::append_via_stream(&mut self.filesystem(), file)?,
        };
        let table = self.ctx().table;
        let stream: DynOutputStream = Box::new(FileOutput::new(table.delete(made)?, files, place));
        Ok(table.push(stream)?)
    }
}

/// Functions of a descriptor that only have to wait for their turn.
macro_rules! in_turn {
    ($types:ident: $($name:literal $method:ident($($argument:ident),*);)*) => { $(
        $types.func_wrap_async(concat!("[method]descriptor.", $name), |mut store: Store<'_>, ($($argument,)*)| {
            Box::new(async move {
                let files = store.data().task_files.clone();
                let _turn = files.turn().await;
                settle(HostDescriptor::$method(&mut store.data_mut().filesystem(), $($argument),*).await)
            })
        })?;
    )* };
}

/// Replaces the functions of descriptors in a linker that has wasmtime-wasi's.
pub fn add_to_linker(linker: &mut Linker<ComponentGuest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    in_turn! { types:
        "advise" advise(file, offset, length, advice);
        "sync-data" sync_data(file);
        "get-flags" get_flags(file);
        "get-type" get_type(file);
        "set-size" set_size(file, size);
        "set-times" set_times(file, accessed, modified);
        "read" read(file, length, offset);
        "write" write(file, bytes, offset);
        "read-directory" read_directory(folder);
        "sync" sync(file);
        "create-directory-at" create_directory_at(folder, path);
        "stat" stat(file);
        "stat-at" stat_at(folder, flags, path);
        "set-times-at" set_times_at(folder, flags, path, accessed, modified);
        "link-at" link_at(folder, flags, path, other, name);
        "readlink-at" readlink_at(folder, path);
        "remove-directory-at" remove_directory_at(folder, path);
        "rename-at" rename_at(folder, path, other, name);
        "symlink-at" symlink_at(folder, target, path);
        "unlink-file-at" unlink_file_at(folder, path);
        "metadata-hash" metadata_hash(file);
        "metadata-hash-at" metadata_hash_at(folder, flags, path);
    }
    types.func_wrap_async("[method]descriptor.open-at", |mut store: Store<'_>, (folder, path_flags, path, open_flags, flags)| {
        Box::new(async move { settle(store.data_mut().open_at(folder, path_flags, path, open_flags, flags).await) })
    })?;
    types.func_wrap("[method]descriptor.read-via-stream", |mut store: Store<'_>, (file, offset)| settle(store.data_mut().read_via(file, offset)))?;
    types.func_wrap("[method]descriptor.write-via-stream", |mut store: Store<'_>, (file, offset): (_, u64)| {
        settle(store.data_mut().write_via(file, Some(offset)))
    })?;
    types.func_wrap("[method]descriptor.append-via-stream", |mut store: Store<'_>, (file,)| settle(store.data_mut().write_via(file, None)))?;
    types.resource("descriptor", ResourceType::host::<Descriptor>(), |mut store, number| {
        let guest = store.data_mut();
        HostDescriptor::drop(&mut guest.filesystem(), Resource::new_own(number))?;
        guest.open_files.0.remove(&number);
        Ok(())
    })?;
    linker.allow_shadowing(false);
    Ok(())
}
