//! Stored bytes: what this build's forms were when they were written down, on the wire and on disk, and that they are still read as they were meant.
//!
//! ```text
//!   values (`objects`, `frames`, `stored`) ──write──> golden/forms.txt (checked in: name, bytes) ──read──> the same values
//! ```
//! Owns: the comparison, and peers of one version more or less (`walk`: a field that is not known, a field that is missing). Invariants: a line
//! of the file is never changed; what no line shows yet is added by `WSW_GOLDEN=1 cargo test -p wsw-sim -- golden`.

mod files;
mod frames;
mod objects;
mod stored;
mod walk;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::PathBuf;

/// Reads bytes of a form; answers what they say, as a test shows it.
type Read = Box<dyn Fn(&[u8]) -> Result<String, String>>;

/// One value in one form.
pub struct Form {
    pub name: String,
    pub bytes: Vec<u8>,
    shown: String,
    pub read: Read,
    how: How,
}

/// How something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// MessagePack with named fields: sessions and all other frames between nodes.
    Named,
    /// MessagePack arrays: the log and snapshots.
    Stored,
    /// JSON: reports of shims and of the compiler.
    Json,
}

/// A form of a value; it is compared as `Debug` shows it.
pub fn form<T: Serialize + DeserializeOwned + Debug>(how: How, name: &str, value: &T) -> Form {
    let bytes = match how {
        How::Named => rmp_serde::to_vec_named(value).unwrap(),
        How::Stored => rmp_serde::to_vec(value).unwrap(),
        How::Json => serde_json::to_vec(value).unwrap(),
    };
    let read = move |bytes: &[u8]| match how {
        How::Json => serde_json::from_slice::<T>(bytes).map(|value| format!("{value:?}")).map_err(|error| error.to_string()),
        How::Named | How::Stored => rmp_serde::from_slice::<T>(bytes).map(|value| format!("{value:?}")).map_err(|error| error.to_string()),
    };
    Form { name: name.to_owned(), bytes, shown: format!("{value:?}"), read: Box::new(read), how }
}

/// All that have stored bytes.
pub fn all() -> Vec<Form> {
    frames::all().into_iter().chain(stored::all()).collect()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/forms.txt")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|place| u8::from_str_radix(&text[2 * place..2 * place + 2], 16).unwrap()).collect()
}

/// The lines of the file; what has none yet is added when that is asked for.
fn golden(forms: &[Form]) -> BTreeMap<String, Vec<u8>> {
    let mut text = std::fs::read_to_string(path()).unwrap_or_default();
    let known: BTreeSet<String> = text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
    if std::env::var_os("WSW_GOLDEN").is_some() {
        for form in forms.iter().filter(|form| !known.contains(&form.name)) {
            text += &format!("{} {}\n", form.name, hex(&form.bytes));
        }
        std::fs::write(path(), &text).unwrap();
    }
    text.lines().map(|line| line.split_once(' ').expect("a name and bytes")).map(|(name, bytes)| (name.to_owned(), unhex(bytes))).collect()
}

#[test]
fn stored_bytes_are_read_as_they_were_meant() {
    let forms = all();
    let golden = golden(&forms);
    for form in &forms {
        let bytes = golden.get(&form.name).unwrap_or_else(|| panic!("no bytes are stored of {}; WSW_GOLDEN=1 adds them", form.name));
        assert_eq!((form.read)(bytes).as_ref(), Ok(&form.shown), "{}", form.name);
    }
    let names: BTreeSet<&String> = forms.iter().map(|form| &form.name).collect();
    assert_eq!(names.len(), forms.len(), "two forms have one name");
    assert_eq!(golden.keys().collect::<BTreeSet<_>>(), names, "what was written once can be read for ever");
}

/// At one feature level nothing is written that an earlier build of it would not read.
#[test]
fn the_log_is_written_as_it_was() {
    let forms = all();
    let golden = golden(&forms);
    for form in forms.iter().filter(|form| form.how == How::Stored && form.name.starts_with("log.")) {
        assert_eq!(hex(&form.bytes), hex(&golden[&form.name]), "{}", form.name);
    }
}

/// A peer that is newer by a minor version sends fields that are not known here, anywhere.
#[test]
fn unknown_fields_of_frames_are_passed_over() {
    for form in all().iter().filter(|form| form.how == How::Named) {
        let fields = walk::structs(&form.bytes);
        for place in &fields {
            let newer = walk::with_field(&form.bytes, place);
            assert_eq!((form.read)(&newer).as_ref(), Ok(&form.shown), "{} with a field more at byte {}", form.name, place.head);
        }
    }
}

/// Fields that frames of earlier builds do not have: they are read with their default.
const LATER: [&str; 12] =
    ["incarnation", "trust", "manager_nodes", "look", "protocol", "generic", "issuer", "addr", "trust_root", "endpoints", "peers", "problems"];

/// A peer that is older lacks fields: those that came later have a default, any other is named.
#[test]
fn missing_fields_of_frames_have_a_default_or_are_named() {
    let mut defaulted = BTreeSet::new();
    for form in all().iter().filter(|form| form.how == How::Named) {
        for place in walk::structs(&form.bytes) {
            for (number, field) in place.fields.iter().enumerate() {
                match (form.read)(&walk::without_field(&form.bytes, &place, number)) {
                    Ok(_) => drop(defaulted.insert(field.name.clone())),
                    Err(error) => assert!(error.contains(&format!("missing field `{}`", field.name)), "{} without {}: {error}", form.name, field.name),
                }
            }
        }
    }
    let refused: Vec<_> = LATER.into_iter().filter(|field| !defaulted.contains(*field)).collect();
    assert!(refused.is_empty(), "these may be missing: {refused:?}");
}

/// An entry of a later feature level, or with more in it, is refused and never half understood.
#[test]
fn stored_entries_with_more_in_them_are_refused() {
    for form in all().iter().filter(|form| form.how == How::Stored && form.name.starts_with("log.")) {
        for (place, longer) in walk::longer_arrays(&form.bytes) {
            if let Ok(read) = (form.read)(&longer) {
                panic!("{}: an array at byte {place} that is longer by one is read as {read}", form.name);
            }
        }
    }
}
