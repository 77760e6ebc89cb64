//! The one wasmtime engine of a process, and the components it has loaded.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasSelf, InstancePre, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::bindings::PolicyIndices;
use super::bindings::witgate::policy::{log, tokens};
use super::cache::{Cache, Key};
use super::compile::Compiler;
use super::inspect::{Inspection, Role, inspect};
use super::problem::PolicyProblem;
use super::store::{HostState, LogRate, PARTS, TABLE_ELEMENTS};
use super::ticker::{Ticker, stopwatch};
use crate::id::PolicyName;
use crate::policy::router::DecisionLog;

/// Tables for each instance; a component has one to four. (Core instances are counted, not reserved.)
const TABLES_EACH: u32 = 4;
/// Stack of one call. Async threads have 2 MiB.
const WASM_STACK: usize = 512 * 1024;

/// How policies are compiled and bounded.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where compiled policies are kept; must be ours alone (0700). `None` keeps nothing.
    pub cache_dir: Option<PathBuf>,
    /// Go on without keeping anything where that folder cannot be had (a read-only home).
    pub cache_optional: bool,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// `Some`: calls are bounded by this much fuel instead of CPU time, which is the same on every machine;
    /// for tests and simulations.
    pub fuel: Option<u64>,
    /// Instances that may live at once: one or a few per group, twice that during a swap. Each reserves four gibibytes of address
    /// space, so that a memory's accesses need no checks, and takes memory only as it is used. Where the system does not give
    /// as much (a limit on address space), there are fewer.
    pub instances: u32,
    /// Memory one instance may have, bytes.
    pub memory_bytes: usize,
    /// CPU time of one call. Setting an instance up may take fifty times as long.
    pub cpu_budget: Duration,
    /// How long a component may compile, besides what its size allows.
    pub compile_timeout: Duration,
    /// How much longer for each whole MiB of it: an interpreter inside makes 2 to 19.
    pub compile_timeout_a_mib: Duration,
    /// The largest component taken, bytes.
    pub max_component_bytes: usize,
    /// Take components that import WASI, whatever their name; every call of it traps. A gateway's configuration says so of each
    /// policy by name.
    pub allow_wasi_stubs: bool,
    /// Where the decisions of routers are kept, so that they can be repeated.
    pub decisions: Option<Arc<dyn DecisionLog>>,
    /// Keep what policies log for [`crate::policy::Router::take_log`], besides writing it to the gateway's log.
    pub capture_log: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            cache_optional: false,
            compiler: Compiler::InProcess,
            fuel: None,
            instances: 500,
            memory_bytes: 64 << 20,
            cpu_budget: Duration::from_millis(10),
            compile_timeout: Duration::from_secs(30),
            compile_timeout_a_mib: Duration::from_secs(10),
            max_component_bytes: 64 << 20,
            allow_wasi_stubs: false,
            decisions: None,
            capture_log: false,
        }
    }
}

impl EngineOptions {
    /// How long a component of so many bytes may compile.
    #[must_use]
    pub fn compile_limit(&self, bytes: usize) -> Duration {
        let size = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        self.compile_timeout.saturating_add(self.compile_timeout_a_mib.saturating_mul(size))
    }
}

/// The engine. Cloning it is cheap; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    options: EngineOptions,
    wasm: wasmtime::Engine,
    linker: Linker<HostState>,
    /// `None` where fuel bounds the calls.
    ticker: Option<Ticker>,
    cache: Option<Cache>,
    /// Instances that wait for their next use.
    idle: AtomicUsize,
}

impl Engine {
    /// Sets the engine up.
    ///
    /// # Errors
    /// The machine cannot run it, or the cache folder is not ours alone.
    pub fn new(options: EngineOptions) -> Result<Self, PolicyProblem> {
        let failed = |error: wasmtime::Error| PolicyProblem::Engine(format!("{error:#}"));
        let cache = match options.cache_dir.as_deref().map(Cache::open).transpose() {
            Err(problem) if options.cache_optional => {
                tracing::warn!(%problem, "compiled policies are not kept: they are compiled again at each start");
                None
            }
            opened => opened?,
        };
        let wasm = pooled(&options).map_err(failed)?;
        let mut linker = Linker::new(&wasm);
        log::add_to_linker::<_, HasSelf<HostState>>(&mut linker, |state| state).map_err(failed)?;
        tokens::add_to_linker::<_, HasSelf<HostState>>(&mut linker, |state| state).map_err(failed)?;
        let ticker = match options.fuel {
            Some(_) => None,
            None => Some(Ticker::start(&wasm).map_err(|error| PolicyProblem::Engine(error.to_string()))?),
        };
        Ok(Self { inner: Arc::new(Inner { options, wasm, linker, ticker, cache, idle: AtomicUsize::new(0) }) })
    }

    /// Checks, compiles and links a component; `fits` says whether its exports are those of a role. Blocks for as long as
    /// compiling takes: call it off the async threads.
    ///
    /// # Errors
    /// Everything that keeps a component from being instantiated.
    pub(in crate::policy) fn load_as(
        &self,
        name: &PolicyName,
        bytes: &[u8],
        wasi_stubs: bool,
        fits: impl Fn(Role, &InstancePre<HostState>) -> wasmtime::Result<()>,
    ) -> Result<Arc<Component>, PolicyProblem> {
        let options = &self.inner.options;
        if bytes.len() > options.max_component_bytes {
            return Err(PolicyProblem::TooLarge { bytes: bytes.len(), limit: options.max_component_bytes });
        }
        let inspection = inspect(bytes, wasi_stubs).map_err(|problem| problem.about(name))?;
        let start = stopwatch();
        let key = self.key(bytes);
        let cached = self.inner.cache.as_ref().and_then(|cache| cache.find(&key));
        let (compiled, from_cache) = match cached.and_then(|artefact| self.revive(&artefact).ok()) {
            Some(compiled) => (compiled, true),
            None => (self.compile(&key, bytes)?, false),
        };
        let load_time = stopwatch().saturating_sub(start);
        let unfit = |error: wasmtime::Error| PolicyProblem::Interface(format!("{error:#}"));
        let mut linker = self.inner.linker.clone();
        if wasi_stubs {
            linker.define_unknown_imports_as_traps(&compiled).map_err(unfit)?;
        }
        let pre = linker.instantiate_pre(&compiled).map_err(unfit)?;
        PolicyIndices::new(&pre).map(drop).map_err(unfit)?;
        inspection.roles.iter().try_for_each(|role| fits(*role, &pre)).map_err(unfit)?;
        Ok(Arc::new(Component {
            name: name.clone(),
            digest: Digest::of(bytes),
            bytes: bytes.len(),
            inspection,
            load_time,
            from_cache,
            pre,
            engine: self.clone(),
            log_rate: Arc::default(),
        }))
    }

    /// How it was set up.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.inner.options
    }

    pub(in crate::policy) fn idle(&self) -> &AtomicUsize {
        &self.inner.idle
    }

    pub(in crate::policy) fn wasm(&self) -> &wasmtime::Engine {
        &self.inner.wasm
    }

    pub(in crate::policy) fn ticker(&self) -> Option<&Ticker> {
        self.inner.ticker.as_ref()
    }

    fn compile(&self, key: &Key, bytes: &[u8]) -> Result<wasmtime::component::Component, PolicyProblem> {
        let Inner { options, wasm, cache, .. } = &*self.inner;
        let limit = options.compile_limit(bytes.len());
        let artefact = options.compiler.compile(wasm, options.fuel.is_some(), bytes, limit)?;
        let compiled = self.revive(&artefact).map_err(|error| PolicyProblem::Compile(format!("{error:#}")))?;
        if let Some(cache) = cache {
            cache.keep(key, &artefact);
        }
        Ok(compiled)
    }

    /// Makes machine code of an artefact that [`Compiler`] has just made or [`Cache`] has vouched for.
    fn revive(&self, artefact: &[u8]) -> wasmtime::Result<wasmtime::component::Component> {
        #[expect(
            unsafe_code,
            reason = "the bytes must be what wasmtime's own compiler wrote. They come from it directly, in this \
                      process or over a pipe from our own child, or from a folder only this user can write to, \
                      under our checksum; wasmtime itself checks version and settings"
        )]
        // SAFETY: see the reason above; the two callers are the only ones.
        unsafe {
            wasmtime::component::Component::deserialize(&self.inner.wasm, artefact)
        }
    }

    fn key(&self, bytes: &[u8]) -> Key {
        // The hash of the settings includes wasmtime's version and the processor's features.
        let mut settings = DefaultHasher::new();
        self.inner.wasm.precompile_compatibility_hash().hash(&mut settings);
        Digest(Sha256::new().chain_update(settings.finish().to_le_bytes()).chain_update(bytes).finalize().into())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

/// Everything that shapes machine code, the same here and in the compiling child.
pub(in crate::policy) fn code_config(fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // The same bits on every machine: a decision can be replayed.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK)
        .wasm_backtrace_max_frames(None)
        .consume_fuel(fuel)
        .epoch_interruption(!fuel);
    config
}

/// An engine with room for as many instances as the system gives address space for.
fn pooled(options: &EngineOptions) -> wasmtime::Result<wasmtime::Engine> {
    let engine = |instances| {
        let mut config = code_config(options.fuel.is_some());
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options.memory_bytes, instances)));
        wasmtime::Engine::new(&config)
    };
    let fewer = [2, 4, 16].map(|share| (options.instances / share).max(1));
    fewer.into_iter().fold(engine(options.instances), |made, fewer| made.or_else(|_| engine(fewer)))
}

fn pool(memory_bytes: usize, instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(PARTS))
        .total_memories(instances)
        .total_tables(instances * TABLES_EACH)
        .max_core_instances_per_component(PARTS)
        .max_memories_per_component(PARTS)
        .max_tables_per_component(PARTS)
        .max_memory_size(memory_bytes)
        .table_elements(TABLE_ELEMENTS)
        // Routers live long: pages kept for reuse (the `keep_resident` settings) would cost three times the
        // memory of a living router and save a swap 0.2 ms.
        .max_unused_warm_slots(4);
    pool
}

/// A component that is checked, compiled and linked.
pub struct Component {
    name: PolicyName,
    digest: Digest,
    bytes: usize,
    inspection: Inspection,
    load_time: Duration,
    from_cache: bool,
    pre: InstancePre<HostState>,
    engine: Engine,
    log_rate: Arc<LogRate>,
}

impl Component {
    /// The same component as another policy: what was compiled is shared.
    #[must_use]
    pub fn under(&self, name: &PolicyName) -> Arc<Self> {
        Arc::new(Self {
            name: name.clone(),
            digest: self.digest,
            bytes: self.bytes,
            inspection: self.inspection.clone(),
            load_time: self.load_time,
            from_cache: self.from_cache,
            pre: self.pre.clone(),
            engine: self.engine.clone(),
            log_rate: Arc::default(),
        })
    }

    /// The policy's name.
    #[must_use]
    pub const fn name(&self) -> &PolicyName {
        &self.name
    }

    /// The digest of its bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// `NAME@DIGEST`, as records and headers name it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.name(), self.digest().short())
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its role, interface version and imports.
    #[must_use]
    pub const fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// How long compiling it, or reading the kept artefact, took.
    #[must_use]
    pub const fn load_time(&self) -> Duration {
        self.load_time
    }

    /// Whether a kept artefact was used.
    #[must_use]
    pub const fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// The engine it was loaded by.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What bounds the log lines of all its instances together.
    pub(in crate::policy) const fn log_rate(&self) -> &Arc<LogRate> {
        &self.log_rate
    }

    pub(in crate::policy) const fn pre(&self) -> &InstancePre<HostState> {
        &self.pre
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest written like this, all 64 hexadecimal digits.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let whole = hex.len() == 64 && hex.is_ascii();
        let digits = hex.as_bytes().chunks(2).zip(&mut bytes);
        for (pair, byte) in digits {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        whole.then_some(Self(bytes))
    }

    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first twelve hexadecimal digits: enough to tell versions apart.
    #[must_use]
    pub fn short(self) -> String {
        let mut hex = self.to_string();
        hex.truncate(12);
        hex
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(hex: String) -> Result<Self, Self::Error> {
        let byte = |at: usize| hex.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        let bytes = bytes.filter(|_| hex.len() == 64).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a digest has 64 hexadecimal digits")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
