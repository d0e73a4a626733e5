//! How things look: tables, units, times, image names, inspected objects. No request is made here.

pub mod config;
pub mod inspect;
pub mod natural;
pub mod reference;
pub mod shape;
pub mod table;
pub mod time;
pub mod units;

/// The characters of an id that a table shows.
const SHORT_ID: usize = 12;

/// An id as tables show it.
pub fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..SHORT_ID).unwrap_or(id)
}

/// First letter upper case, the rest lower ("Running").
pub fn pretty(word: &str) -> String {
    let mut chars = word.chars();
    match chars.next() {
        Some(first) if word.len() > 1 => first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect(),
        _ => word.to_lowercase(),
    }
}

/// At most `width` columns, an ellipsis for the rest.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
