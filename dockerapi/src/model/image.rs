//! Images (`image.Summary`, `image.InspectResponse`, `registry.DistributionInspect`).

use super::{Map, answers};

answers! {
    /// A line of `docker images`.
    ImageSummary {
        id: String = "Id",
        parent: String = "ParentId",
        tags: Vec<String> = "RepoTags",
        digests: Vec<String> = "RepoDigests",
        created: i64 = "Created",
        size: u64 = "Size",
        virtual_size: u64 = "VirtualSize",
        shared_size: i64 = "SharedSize",
        labels: Map = "Labels",
        containers: i64 = "Containers",
        descriptor: Descriptor = "Descriptor",
    }
    /// Points at a manifest.
    Descriptor { media_type: String = "mediaType", digest: String = "digest", size: u64 = "size" }
    /// `GET /images/{name}/json`.
    ImageInspect {
        id: String = "Id",
        tags: Vec<String> = "RepoTags",
        digests: Vec<String> = "RepoDigests",
        parent: String = "Parent",
        comment: String = "Comment",
        created: String = "Created",
        author: String = "Author",
        config: ImageConfig = "Config",
        architecture: String = "Architecture",
        os: String = "Os",
        size: u64 = "Size",
        virtual_size: u64 = "VirtualSize",
        root_fs: RootFs = "RootFS",
        metadata: Metadata = "Metadata",
        descriptor: Descriptor = "Descriptor",
    }
    /// When it was last given a name.
    Metadata { tagged: String = "LastTagTime" }
    /// What a container of it runs.
    ImageConfig {
        user: String = "User",
        env: Vec<String> = "Env",
        cmd: Vec<String> = "Cmd",
        working_dir: String = "WorkingDir",
        entrypoint: Vec<String> = "Entrypoint",
        labels: Map = "Labels",
    }
    /// Its layers.
    RootFs { kind: &'static str = "Type", layers: Vec<String> = "Layers" }
    /// `GET /distribution/{name}/json`.
    Distribution { descriptor: Descriptor = "Descriptor", platforms: Vec<OciPlatform> = "Platforms" }
    /// A platform in OCI's spelling.
    OciPlatform { architecture: String = "architecture", os: String = "os" }
    /// One line of what a removal did.
    Removed { untagged: String = "Untagged", deleted: String = "Deleted" }
    /// One step of `GET /images/{name}/history`.
    HistoryStep {
        id: String = "Id",
        created: i64 = "Created",
        created_by: String = "CreatedBy",
        tags: Vec<String> = "Tags",
        size: u64 = "Size",
        comment: String = "Comment",
    }
    /// What a prune did.
    Pruned { deleted: Vec<Removed> = "ImagesDeleted", freed: u64 = "SpaceReclaimed" }
    /// A line of a pull or push.
    Line { status: String = "status", detail: LineDetail = "progressDetail", id: String = "id" }
    /// Its figures.
    LineDetail { current: u64 = "current", total: u64 = "total" }
    /// Its end when it failed.
    ErrorLine { detail: ErrorDetail = "errorDetail", error: String = "error" }
    /// The same again.
    ErrorDetail { message: String = "message" }
    /// A line of a load.
    Progress { stream: String = "stream" }
    /// A record of `BuildCache` in `GET /system/df`.
    CacheRecord {
        id: String = "ID",
        kind: &'static str = "Type",
        description: String = "Description",
        in_use: bool = "InUse",
        shared: bool = "Shared",
        size: u64 = "Size",
        created: String = "CreatedAt",
        last_used: String = "LastUsedAt",
        usage_count: u64 = "UsageCount",
    }
    /// What `POST /build/prune` answers.
    CachePruned { deleted: Vec<String> = "CachesDeleted", reclaimed: u64 = "SpaceReclaimed" }
}

impl ErrorLine {
    /// The line for this failure.
    pub fn of(message: String) -> Self {
        Self { detail: Some(ErrorDetail { message: Some(message.clone()) }), error: Some(message) }
    }
}
