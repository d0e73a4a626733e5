//! wasmtime engines: one configuration for the compiler and the shim, the cache key, the pool.
//!
//! Owns: every setting. Invariant: whatever changes an artefact is in [`SETTINGS`], so that it is also in the cache key.
//! Two engines share it: one with a pool of ready slots for requests (instances live for milliseconds), one that allocates on demand for
//! commands (instances live for months; a slot of the pool would cost them more) and for guests that do not fit a slot.

use crate::ticker::Ticker;
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// The exact version of wasmtime (the workspace pins it; a test compares).
const WASMTIME_VERSION: &str = "48.0.8";

/// What shapes an artefact. Raise `revision` when a setting changes that is not listed here.
#[derive(Debug)]
struct Settings {
    revision: u32,
    epoch_interruption: bool,
    /// Address space of one linear memory. With 4 GiB a 32-bit guest needs no bounds checks; 32-bit hosts keep wasmtime's 10 MiB.
    memory_reservation: u64,
    /// No compiled code for garbage collected types: armhf runs without that part of wasmtime.
    gc: bool,
}

const SETTINGS: Settings = Settings {
    revision: 1,
    epoch_interruption: true,
    memory_reservation: if cfg!(target_pointer_width = "64") { 4 << 30 } else { 10 << 20 },
    gc: !cfg!(target_arch = "arm"),
};

/// Stack of the guest's own frames: wasmtime's default. Deeper recursion is a trap.
const MAX_WASM_STACK: usize = 512 << 10;
/// Stack of a fiber: the guest's part and as much again for host calls made from it. Address space only; touched pages count.
const ASYNC_STACK: usize = 1 << 20;

/// Slots of the pool: concurrent requests served from it. A slot costs 2 maps and about 2 KiB; more requests are served on demand.
const POOL_SLOTS: u32 = 1_024;
/// Below this a pool is not worth having (address spaces of 39 bits hold about 60 slots of 4 GiB).
const MIN_POOL_SLOTS: u32 = 16;
/// Core instances, memories and tables per slot: a component is usually two or three core modules with one memory and two tables.
const POOL_CORE_INSTANCES: u32 = 4;
const POOL_TABLES: u32 = 3;
/// Table entries: C# and Python guests have tens of thousands.
const POOL_TABLE_ELEMENTS: usize = 60_000;
const POOL_TABLES_PER_MODULE: u32 = 4;
/// Memory and tables of a used slot are cleaned in place up to this size, beyond it the pages go back to the kernel.
const POOL_KEEP_MEMORY: usize = 512 << 10;
const POOL_KEEP_TABLE: usize = 32 << 10;
/// Slots whose pages are given back in one go: one TLB shootdown instead of many.
const POOL_DECOMMIT_BATCH: usize = 16;
/// Heaps for garbage collected types in the pool; hardly any guest has one.
const POOL_GC_HEAPS: u32 = 16;

/// The configuration of compiler and shim. `target` is none for this machine, or a triple that `Config::target` takes.
pub fn engine_config(target: Option<&str>) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    let mut gc = SETTINGS.gc;
    if let Some(triple) = target {
        config.target(triple)?;
        gc &= !triple.starts_with("pulley32");
    }
    config.epoch_interruption(SETTINGS.epoch_interruption);
    if target.is_none_or(|triple| !triple.starts_with("pulley32")) {
        config.memory_reservation(SETTINGS.memory_reservation);
    }
    config.cranelift_opt_level(OptLevel::Speed);
    if !gc {
        config.wasm_function_references(false).wasm_gc(false).wasm_exceptions(false).gc_support(false);
    }
    config.max_wasm_stack(MAX_WASM_STACK).async_stack_size(ASYNC_STACK);
    Ok(config)
}

/// Names what an artefact depends on beside its module: the engine's version, the target, the processor's features, the configuration.
///
/// Artefacts are cached under it. Builds no engine: the daemon calls this and has to stay small.
pub fn engine_key() -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{} {SETTINGS:?} {:?}", SETTINGS.revision, cpu_features()));
    let digest = hex::encode(hash.finalize());
    format!("{WASMTIME_VERSION}-{}-{}-{}", std::env::consts::ARCH, std::env::consts::OS, digest.get(..16).unwrap_or_default())
}

/// Features that the code generator uses when the processor has them: an artefact is refused where one is missing.
#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt)*) => { [$(($name, std::is_x86_feature_detected!($name))),*] };
    }
    let all = present!("sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "avx" "avx2" "fma" "bmi1" "bmi2" "lzcnt" "avx512bitalg" "avx512dq" "avx512f" "avx512vl" "avx512vbmi" "cmpxchg16b");
    all.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt)*) => { [$(($name, std::arch::is_aarch64_feature_detected!($name))),*] };
    }
    let all = present!("lse" "paca" "fp16" "dotprod");
    all.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

/// The engines of a shim.
pub struct Engines {
    pool: Option<Engine>,
    on_demand: OnceLock<Engine>,
    ticker: Arc<Ticker>,
}

impl Engines {
    /// Makes the pool (before the process drops rights: wasmtime opens `/proc/self/pagemap` for it).
    pub fn new(ticker: Arc<Ticker>) -> Self {
        let pool = pooled();
        match &pool {
            Some(engine) => ticker.add(engine),
            None => tracing::warn!("no address space for a pool of instances: requests are served on demand"),
        }
        Self { pool, on_demand: OnceLock::new(), ticker }
    }

    /// The engine with the pool, when the machine has room for one.
    pub const fn pool(&self) -> Option<&Engine> {
        self.pool.as_ref()
    }

    /// The engine without a pool, made at its first use.
    pub fn on_demand(&self) -> wasmtime::Result<&Engine> {
        if let Some(engine) = self.on_demand.get() {
            return Ok(engine);
        }
        let engine = Engine::new(&engine_config(None)?)?;
        Ok(self.on_demand.get_or_init(|| {
            self.ticker.add(&engine);
            engine
        }))
    }

    pub const fn ticker(&self) -> &Arc<Ticker> {
        &self.ticker
    }
}

fn pooled() -> Option<Engine> {
    let mut slots = POOL_SLOTS;
    while slots >= MIN_POOL_SLOTS {
        match engine_config(None).and_then(|mut config| Engine::new(config.allocation_strategy(pool_of(slots)))) {
            Ok(engine) => return Some(engine),
            Err(error) => tracing::debug!(slots, "no pool: {error:#}"),
        }
        slots /= 2;
    }
    None
}

fn pool_of(slots: u32) -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots * POOL_CORE_INSTANCES)
        .total_memories(slots)
        .total_tables(slots * POOL_TABLES)
        .total_stacks(slots)
        .total_gc_heaps(if SETTINGS.gc { POOL_GC_HEAPS } else { 0 })
        .max_memory_size(usize::try_from(SETTINGS.memory_reservation).unwrap_or(usize::MAX))
        .max_tables_per_module(POOL_TABLES_PER_MODULE)
        .table_elements(POOL_TABLE_ELEMENTS)
        .linear_memory_keep_resident(POOL_KEEP_MEMORY)
        .table_keep_resident(POOL_KEEP_TABLE)
        .decommit_batch_size(POOL_DECOMMIT_BATCH)
        .pagemap_scan(Enabled::Auto);
    pool.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_the_pinned_version() {
        let workspace = include_str!("../../Cargo.toml");
        assert!(workspace.contains(&format!("wasmtime = {{ version = \"={WASMTIME_VERSION}\"")));
        assert!(engine_key().starts_with(&format!("{WASMTIME_VERSION}-{}-linux-", std::env::consts::ARCH)));
        assert_eq!(engine_key(), engine_key());
    }

    #[test]
    fn an_artefact_loads_in_both_engines() {
        let engines = Engines::new(Ticker::new());
        let compiler = Engine::new(&engine_config(None).unwrap()).unwrap();
        let artefact = compiler.precompile_module(b"(module (memory 1) (func (export \"_start\")))").unwrap();
        for engine in [engines.pool().unwrap(), engines.on_demand().unwrap()] {
            // SAFETY: the bytes come from the compiler above.
            #[allow(unsafe_code)]
            let module = unsafe { wasmtime::Module::deserialize(engine, &artefact) };
            assert!(module.is_ok(), "{:?}", module.err());
        }
    }

    #[test]
    fn the_32_bit_configuration_is_accepted_where_the_compiler_has_it() {
        // Without the `pulley` feature wasmtime refuses the target; the settings themselves must not be the reason.
        if let Ok(config) = engine_config(Some("pulley32")) {
            let engine = Engine::new(&config);
            assert!(engine.is_ok(), "{:?}", engine.err());
        }
    }
}
