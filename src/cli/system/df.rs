//! `system df`.

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    container,
    errors::Error,
    format::{table, time, units},
    image, output,
    task::text,
    template::Val,
};

const COLUMNS: table::Columns = table::Columns {
    default: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    titles: &[("Type", "TYPE"), ("TotalCount", "TOTAL"), ("Active", "ACTIVE"), ("Size", "SIZE"), ("Reclaimable", "RECLAIMABLE")],
    raw: "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n",
};
const VOLUMES: table::Columns =
    table::Columns { default: "{{.Name}}\t{{.Links}}\t{{.Size}}", titles: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")], raw: "" };
const CACHE: table::Columns = table::Columns {
    default: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
    titles: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
    raw: "",
};
const IMAGE_TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINER_TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let usage = session.client.get("/system/df", &[]).await?;
    let format = matches.text("format").filter(|format| !format.is_empty()).unwrap_or("table");
    if matches.on("verbose") {
        if format != "table" {
            return Err(Error::plain("--format is not supported together with --verbose"));
        }
        return verbose(&usage);
    }
    let rows = [images(&usage), containers(&usage), volumes(&usage), cache(&usage)];
    output::print(&table::render(&table::choose(Some(format), false, &COLUMNS), &COLUMNS, &rows)?)
}

fn list<'a>(usage: &'a Value, key: &str) -> &'a [Value] {
    usage[key].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or(0)
}

fn row(type_name: &'static str, title: &str, counts: (usize, usize), size: i64, reclaimable: String) -> Val {
    Val::row(
        type_name,
        [
            ("Type", Val::from(title)),
            ("TotalCount", Val::from(counts.0.to_string())),
            ("Active", Val::from(counts.1.to_string())),
            ("Size", Val::from(units::human_size(size as f64))),
            ("Reclaimable", Val::from(reclaimable)),
        ],
    )
}

/// "1.2MB (40%)", without the share where there is nothing.
fn share(part: i64, total: i64) -> String {
    let size = units::human_size(part as f64);
    if total > 0 { format!("{size} ({}%)", part * 100 / total) } else { size }
}

fn images(usage: &Value) -> Val {
    let images = list(usage, "Images");
    let active = images.iter().filter(|image| number(image, "Containers") > 0).count();
    let used: i64 = images
        .iter()
        .filter(|image| number(image, "Containers") != 0 && number(image, "Size") != -1 && number(image, "SharedSize") != -1)
        .map(|image| number(image, "Size") - number(image, "SharedSize"))
        .sum();
    let total = number(usage, "LayersSize");
    row("*formatter.diskUsageImagesContext", "Images", (images.len(), active), total, share(total - used, total))
}

fn containers(usage: &Value) -> Val {
    let containers = list(usage, "Containers");
    let is_active = |container: &&Value| ["running", "paused", "restarting"].contains(&text(&container["State"]));
    let total: i64 = containers.iter().map(|container| number(container, "SizeRw")).sum();
    let active: i64 = containers.iter().filter(is_active).map(|container| number(container, "SizeRw")).sum();
    let counts = (containers.len(), containers.iter().filter(is_active).count());
    row("*formatter.diskUsageContainersContext", "Containers", counts, total, share(total - active, total))
}

fn volumes(usage: &Value) -> Val {
    let volumes = list(usage, "Volumes");
    let size = |volume: &Value| number(&volume["UsageData"], "Size").max(0);
    let in_use = |volume: &&Value| number(&volume["UsageData"], "RefCount") > 0;
    let total: i64 = volumes.iter().map(size).sum();
    let free: i64 = volumes.iter().filter(|volume| number(&volume["UsageData"], "RefCount") == 0).map(size).sum();
    row("*formatter.diskUsageVolumesContext", "Local Volumes", (volumes.len(), volumes.iter().filter(in_use).count()), total, share(free, total))
}

fn cache(usage: &Value) -> Val {
    let records = list(usage, "BuildCache");
    let is = |record: &Value, key: &str| record[key].as_bool().unwrap_or(false);
    let total: i64 = records.iter().filter(|record| !is(record, "Shared")).map(|record| number(record, "Size")).sum();
    let used: i64 = records.iter().filter(|record| is(record, "InUse") && !is(record, "Shared")).map(|record| number(record, "Size")).sum();
    let active = records.iter().filter(|record| is(record, "InUse")).count();
    row("*formatter.diskUsageBuilderContext", "Build Cache", (records.len(), active), total, units::human_size((total - used) as f64))
}

/// Compiled code (docker: what the builder keeps); one in use is marked.
fn cache_record(record: &Value) -> Val {
    let flag = |key: &str| record[key].as_bool().unwrap_or(false);
    let since = |key: &str| match text(&record[key]) {
        "" => String::new(),
        at => format!("{} ago", units::human_duration(time::since(at))),
    };
    let id: String = text(&record["ID"]).chars().take(12).collect();
    Val::row(
        "*formatter.buildCacheContext",
        [
            ("ID", Val::from(if flag("InUse") { format!("{id}*") } else { id })),
            ("CacheType", Val::from(text(&record["Type"]))),
            ("Size", Val::from(units::human_size(number(record, "Size") as f64))),
            ("CreatedSince", Val::from(since("CreatedAt"))),
            ("LastUsedSince", Val::from(since("LastUsedAt"))),
            ("UsageCount", Val::from(number(record, "UsageCount").to_string())),
            ("Shared", Val::from(flag("Shared").to_string())),
        ],
    )
}

fn verbose(usage: &Value) -> Result<(), Error> {
    let images: Vec<Val> = list(usage, "Images").iter().filter_map(|image| image::rows(image, true, false, false).into_iter().next()).collect();
    let containers: Vec<Val> = list(usage, "Containers").iter().map(|container| container::row(container, true)).collect();
    let volumes: Vec<Val> = list(usage, "Volumes")
        .iter()
        .map(|volume| {
            let data = &volume["UsageData"];
            let size = if data.is_object() { units::human_size(number(data, "Size") as f64) } else { "N/A".into() };
            let links = if data.is_object() { number(data, "RefCount").to_string() } else { "N/A".into() };
            Val::row("*formatter.volumeContext", [("Name", Val::from(text(&volume["Name"]))), ("Links", Val::from(links)), ("Size", Val::from(size))])
        })
        .collect();
    let mut shown = format!("Images space usage:\n\n{}", table::render(IMAGE_TABLE, &image::COLUMNS, &images)?);
    shown += &format!("\nContainers space usage:\n\n{}", table::render(CONTAINER_TABLE, &container::COLUMNS, &containers)?);
    shown += &format!("\nLocal Volumes space usage:\n\n{}", table::render(&table::choose(None, false, &VOLUMES), &VOLUMES, &volumes)?);
    let cached: i64 = list(usage, "BuildCache").iter().map(|record| number(record, "Size")).sum();
    let mut records: Vec<&Value> = list(usage, "BuildCache").iter().collect();
    // docker's order: the last used last.
    records.sort_by(|a, b| text(&a["LastUsedAt"]).cmp(text(&b["LastUsedAt"])));
    let records: Vec<Val> = records.into_iter().map(cache_record).collect();
    shown += &format!("\nBuild cache usage: {}\n\n{}", units::human_size(cached as f64), table::render(&table::choose(None, false, &CACHE), &CACHE, &records)?);
    output::print(&shown)
}
