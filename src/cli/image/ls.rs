//! `image ls` and `images`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    errors::Error,
    format::{self, reference, table, time, units},
    output,
    task::text,
    template::Val,
};

pub const COLUMNS: table::Columns = table::Columns {
    default: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    titles: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
    raw: "repository: {{ .Repository }}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n",
};

const WITH_DIGEST: &str = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";

/// The words that are commands of `image`: `wsw images ls` is a slip that deserves a hint.
const SUBCOMMANDS: [&str; 12] = ["build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push", "rm", "save"];

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let (quiet, digests) = (matches.on("quiet"), matches.on("digests"));
    if matches.on("tree") {
        return Err(Error::plain("--tree is not supported"));
    }
    let mut filters = given_filters(matches.list("filter"));
    let name = matches.args.first();
    filters.extend(name.map(|name| ("reference".to_owned(), name.clone())));
    let mut query = filter_query(&filters);
    if matches.on("all") {
        query.push(("all", "1".into()));
    }
    let images = session.client.get("/images/json", &query).await?;
    let images = images.as_array().map_or(&[] as &[Value], Vec::as_slice);
    let given = crate::cli::format::config::format(&matches, "imagesFormat");
    let mut format = table::choose(given.as_deref(), quiet, &COLUMNS);
    if digests && given.as_deref().unwrap_or("table") == "table" && !quiet {
        format = WITH_DIGEST.into();
    } else if digests && table::is_table(&format) && !format.contains("{{.Digest}}") {
        format += "\t{{.Digest}}";
    }
    let wants_digest = digests || format.contains("{{.Digest}}");
    let rows: Vec<Val> = images.iter().flat_map(|image| rows(image, !matches.on("no-trunc"), wants_digest, digests)).collect();
    output::print(&table::render(&format, &COLUMNS, &rows)?)?;
    if let Some(name) = name.filter(|name| images.is_empty() && matches.called_as == "images" && SUBCOMMANDS.contains(&name.as_str())) {
        output::warn(&format!("\nNo images found matching {name:?}: did you mean \"wsw image {name}\"?"));
    }
    Ok(())
}

fn texts<'a>(image: &'a Value, key: &str) -> Vec<&'a str> {
    image[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The rows of one image: one a tag (and digest, where wanted), or one of digests alone.
pub fn rows(image: &Value, truncate: bool, wants_digest: bool, shows_digest: bool) -> Vec<Val> {
    let (tags, digests) = (texts(image, "RepoTags"), texts(image, "RepoDigests"));
    let dangling = (tags.is_empty() && digests.is_empty()) || (tags == ["<none>:<none>"] && digests == ["<none>@<none>"]);
    if dangling {
        return vec![row(image, truncate, "<none>", "<none>", "<none>")];
    }
    let mut by_name: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for text in &tags {
        if let Some(reference::Reference { familiar, tag: Some(tag), .. }) = reference::parse(text) {
            by_name.entry(familiar).or_default().0.push(tag);
        }
    }
    for text in &digests {
        if let Some(reference::Reference { familiar, digest: Some(digest), .. }) = reference::parse(text) {
            by_name.entry(familiar).or_default().1.push(digest);
        }
    }
    let mut rows = Vec::new();
    for (name, (tags, digests)) in &by_name {
        for tag in tags {
            if digests.is_empty() || !wants_digest {
                rows.push(row(image, truncate, name, tag, "<none>"));
                continue;
            }
            rows.extend(digests.iter().map(|digest| row(image, truncate, name, tag, digest)));
        }
    }
    for (name, (tags, digests)) in &by_name {
        match (tags.is_empty(), shows_digest) {
            (false, _) => {}
            (true, true) => rows.extend(digests.iter().map(|digest| row(image, truncate, name, "<none>", digest))),
            (true, false) => rows.push(row(image, truncate, name, "<none>", "")),
        }
    }
    rows
}

fn row(image: &Value, truncate: bool, name: &str, tag: &str, digest: &str) -> Val {
    let id = text(&image["Id"]);
    let number = |key: &str, absent: i64| image[key].as_i64().unwrap_or(absent);
    let (created, size, shared, containers) = (number("Created", 0), number("Size", 0), number("SharedSize", -1), number("Containers", -1));
    let since = format!("{} ago", units::human_duration(time::since_unix(created)));
    let known = |value: i64, text: String| if value == -1 { "N/A".to_owned() } else { text };
    Val::row(
        "*formatter.imageContext",
        [
            ("ID", Val::from(if truncate { format::short_id(id) } else { id })),
            ("Repository", Val::from(name)),
            ("Tag", Val::from(tag)),
            ("Digest", Val::from(digest)),
            ("CreatedSince", Val::from(since)),
            ("CreatedAt", Val::from(time::unix_string(created))),
            ("Size", Val::from(units::human_size_digits(size as f64, 3))),
            ("Containers", Val::from(known(containers, containers.to_string()))),
            ("VirtualSize", Val::from(units::human_size(size as f64))),
            ("SharedSize", Val::from(known(shared, units::human_size(shared as f64)))),
            ("UniqueSize", Val::from(if size == -1 { "N/A".into() } else { known(shared, units::human_size((size - shared) as f64)) })),
        ],
    )
}
