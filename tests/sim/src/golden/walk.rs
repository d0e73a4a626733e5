//! MessagePack as bytes: where its maps and arrays are, so that a form of another version can be made of one of this.
//!
//! Invariant: what is walked over was written by this build, so it is whole. Structs are told from other maps by their keys: fields begin
//! with a small letter, variants and the keys that the values of these tests have do not.

/// A map that is a struct.
#[derive(Debug)]
pub struct Struct {
    /// Where its head is, and what follows it.
    pub head: usize,
    body: usize,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    /// From its key to behind its value.
    from: usize,
    to: usize,
}

/// What is found on a walk.
#[derive(Default)]
struct Found {
    structs: Vec<Struct>,
    arrays: Vec<(usize, usize, usize)>,
}

/// All structs, outer ones first.
pub fn structs(bytes: &[u8]) -> Vec<Struct> {
    let mut found = Found::default();
    let end = value(bytes, 0, &mut found);
    assert_eq!(end, bytes.len());
    found.structs
}

fn number(bytes: &[u8], at: usize, width: usize) -> usize {
    bytes[at..at + width].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Walks over one value; where it ends.
fn value(bytes: &[u8], at: usize, found: &mut Found) -> usize {
    match bytes[at] {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => at + 1,
        head @ 0x80..=0x8f => map(bytes, at, at + 1, usize::from(head & 15), found),
        0xde => map(bytes, at, at + 3, number(bytes, at + 1, 2), found),
        head @ 0x90..=0x9f => array(bytes, at, at + 1, usize::from(head & 15), found),
        0xdc => array(bytes, at, at + 3, number(bytes, at + 1, 2), found),
        head @ 0xa0..=0xbf => at + 1 + usize::from(head & 31),
        0xc4 | 0xd9 => at + 2 + number(bytes, at + 1, 1),
        0xc5 | 0xda => at + 3 + number(bytes, at + 1, 2),
        0xcc | 0xd0 => at + 2,
        0xcd | 0xd1 => at + 3,
        0xce | 0xd2 | 0xca => at + 5,
        0xcf | 0xd3 | 0xcb => at + 9,
        other => panic!("{other:#x} at {at} is nothing that is written here"),
    }
}

fn array(bytes: &[u8], head: usize, body: usize, length: usize, found: &mut Found) -> usize {
    let place = found.arrays.len();
    found.arrays.push((head, body, 0));
    let end = (0..length).fold(body, |at, _| value(bytes, at, found));
    found.arrays[place].2 = end;
    end
}

fn map(bytes: &[u8], head: usize, body: usize, length: usize, found: &mut Found) -> usize {
    let mut fields = Vec::new();
    let place = found.structs.len();
    let mut at = body;
    for _ in 0..length {
        let key = value(bytes, at, &mut Found::default());
        let name = if bytes[at] & 0xe0 == 0xa0 { String::from_utf8_lossy(&bytes[at + 1..key]).into_owned() } else { String::new() };
        let to = value(bytes, key, found);
        fields.push(Field { name, from: at, to });
        at = to;
    }
    if fields.iter().all(|field| field.name.starts_with(|first: char| first.is_ascii_lowercase())) && !fields.is_empty() {
        found.structs.insert(place, Struct { head, body, fields });
    }
    at
}

fn map_head(length: usize) -> Vec<u8> {
    if length < 16 { vec![0x80 | length as u8] } else { [&[0xde][..], &(length as u16).to_be_bytes()].concat() }
}

/// The same with a field that nobody knows, before the others.
pub fn with_field(bytes: &[u8], place: &Struct) -> Vec<u8> {
    let more = rmp_serde::to_vec_named(&("of a later version", vec![(1, "x")])).unwrap();
    // Of the pair the array's head is left out: a key and a value.
    [&bytes[..place.head], &map_head(place.fields.len() + 1), &more[1..], &bytes[place.body..]].concat()
}

/// The same without a field.
pub fn without_field(bytes: &[u8], place: &Struct, number: usize) -> Vec<u8> {
    let field = &place.fields[number];
    [&bytes[..place.head], &map_head(place.fields.len() - 1), &bytes[place.body..field.from], &bytes[field.to..]].concat()
}

/// Each array longer by a nothing at its end, with the place of its head.
pub fn longer_arrays(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut found = Found::default();
    value(bytes, 0, &mut found);
    let longer = |&(head, body, end): &(usize, usize, usize)| {
        let length = if body == head + 1 { usize::from(bytes[head] & 15) } else { number(bytes, head + 1, 2) } + 1;
        let new = if length < 16 { vec![0x90 | length as u8] } else { [&[0xdc][..], &(length as u16).to_be_bytes()].concat() };
        (head, [&bytes[..head], &new, &bytes[body..end], &[0xc0], &bytes[end..]].concat())
    };
    found.arrays.iter().map(longer).collect()
}
