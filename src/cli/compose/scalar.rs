//! Plain scalars of YAML: what an unquoted word means, and how a word must be written so that it means itself.

use serde_json::{Number, Value};

use crate::cli::format::units::shortest;

/// What an unquoted scalar is: null, a boolean, a number, else text.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || ".+-".contains(c)) {
        return text.into();
    }
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(&plain)).map_or_else(|| text.into(), Value::Number)
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match (lower.get(..2), lower.as_str()) {
        (Some("0x"), _) => (&lower[2..], 16),
        (Some("0o"), _) => (&lower[2..], 8),
        (Some("0b"), _) => (&lower[2..], 2),
        (_, text) if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        (_, text) => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative { i64::try_from(-i128::from(value)).ok().map(Number::from) } else { Some(Number::from(value)) }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let sound = match fraction {
        Some(fraction) if whole.is_empty() => digits(fraction),
        Some(fraction) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(whole),
    };
    if !sound || !exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))) {
        return None;
    }
    text.parse().ok().and_then(Number::from_f64)
}

/// A value as text: what Go prints with `%v`.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => self::number(number),
        other => other.to_string(),
    }
}

/// A number as Go prints it: no fraction where there is none, an exponent from 1e21 on.
pub fn number(number: &Number) -> String {
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    shortest(value)
}

/// How a text is written.
#[derive(Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// The style that docker's YAML library chooses for a text in a block.
pub fn style(text: &str) -> Style {
    let special = text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{feff}');
    if text.contains('\n') {
        let plain_lines = !special && !text.contains(" \n") && !text.ends_with(' ');
        return if plain_lines { Style::Literal } else { Style::Double };
    }
    // What is no text without quotes, or was none in YAML 1.1.
    let old_words = ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"];
    if special || !resolve(text).is_string() || old_words.contains(&text) || is_sexagesimal(text) || is_date(text) {
        return Style::Double;
    }
    if fits_plain(text) { Style::Plain } else { Style::Single }
}

/// `1:30`: a number of base 60 in YAML 1.1.
fn is_sexagesimal(text: &str) -> bool {
    let mut parts = text.strip_prefix(['-', '+']).unwrap_or(text).split(':');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let (Some(first), rest) = (parts.next(), parts.collect::<Vec<_>>()) else { return false };
    let small = |part: &str| {
        let whole = part.split('.').next().unwrap_or_default();
        (1..=2).contains(&whole.len()) && is_number(whole) && (whole.len() == 1 || whole.as_bytes()[0] < b'6')
    };
    !rest.is_empty() && is_number(first) && rest.iter().all(|part| small(part))
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let has_day = digits(0..4) && bytes.get(4) == Some(&b'-') && digits(5..7) && bytes.get(7) == Some(&b'-') && digits(8..10);
    has_day && (bytes.len() == 10 || matches!(bytes.get(10), Some(b'T' | b't' | b' ')))
}

fn fits_plain(text: &str) -> bool {
    let mut chars = text.chars().peekable();
    let first = chars.next();
    let blank_next = |next: Option<&char>| next.is_none_or(|c| *c == ' ');
    match first {
        None => return false,
        Some('#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`') => return false,
        Some('?' | ':' | '-') if blank_next(chars.peek()) => return false,
        _ => {}
    }
    if text.starts_with("---") || text.starts_with("...") || text.starts_with(' ') || text.ends_with(' ') {
        return false;
    }
    let mut before = first;
    while let Some(c) = chars.next() {
        if (c == ':' && blank_next(chars.peek())) || (c == '#' && before == Some(' ')) {
            return false;
        }
        before = Some(c);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_go_prints_them() {
        for (given, shown) in [("1e3", "1000"), ("1.50", "1.5"), ("1e21", "1e+21"), ("0.00001", "1e-05"), ("07", "7"), ("-3", "-3")] {
            assert_eq!(text(&resolve(given)), shown, "{given}");
        }
    }

    #[test]
    fn styles() {
        for plain in ["a", "a:b", "x#y", "-p", "a, b", "0x", "1.2.3", "node.role == manager", "?a"] {
            assert_eq!(style(plain), Style::Plain, "{plain}");
        }
        for double in ["", "5", "true", "yes", "~", "1:30", "2020-01-01", "a\tb", "a \nb"] {
            assert_eq!(style(double), Style::Double, "{double}");
        }
        for single in ["#x", "- q", "a: b", "a ", "*", "@x", "a #b", ":"] {
            assert_eq!(style(single), Style::Single, "{single}");
        }
        assert_eq!(style("a\nb"), Style::Literal);
    }
}
