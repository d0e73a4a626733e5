//! Go's and docker's value syntaxes: numbers, durations, sizes, CPUs, shell words, CSV records.
//!
//! The error texts are those of Go's standard library, because docker prints them. Pure functions.

use std::net::IpAddr;

const NANOS: [(&str, i64); 8] =
    [("ns", 1), ("us", 1_000), ("µs", 1_000), ("μs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

fn syntax(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: invalid syntax")
}

fn range(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: value out of range")
}

pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(syntax("ParseBool", text)),
    }
}

/// Splits Go's base prefix off a number written for `base 0`.
fn base_of(text: &str) -> (&str, u32) {
    let lower = text.get(..2).map(str::to_ascii_lowercase);
    match lower.as_deref() {
        Some("0x") => (&text[2..], 16),
        Some("0b") => (&text[2..], 2),
        Some("0o") => (&text[2..], 8),
        _ if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        _ => (text, 10),
    }
}

fn digits_to_u64(text: &str, radix: u32) -> Option<Result<u64, ()>> {
    if text.is_empty() || !text.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(u64::from_str_radix(text, radix).map_err(drop))
}

/// `strconv.ParseUint(text, 0, bits)`.
pub fn parse_uint(text: &str, bits: u32) -> Result<u64, String> {
    let (digits, radix) = base_of(text);
    match digits_to_u64(digits, radix) {
        None => Err(syntax("ParseUint", text)),
        Some(Err(())) => Err(range("ParseUint", text)),
        Some(Ok(value)) if bits < 64 && value >> bits != 0 => Err(range("ParseUint", text)),
        Some(Ok(value)) => Ok(value),
    }
}

/// `strconv.ParseUint(text, 10, 64)`.
pub fn parse_decimal(text: &str) -> Result<u64, String> {
    match digits_to_u64(text, 10) {
        None => Err(syntax("ParseUint", text)),
        Some(value) => value.map_err(|()| range("ParseUint", text)),
    }
}

/// `strconv.ParseInt(text, 0, 64)`.
pub fn parse_int(text: &str) -> Result<i64, String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = base_of(rest);
    match digits_to_u64(digits, radix) {
        None => Err(syntax("ParseInt", text)),
        Some(Err(())) => Err(range("ParseInt", text)),
        Some(Ok(value)) => {
            let signed = if negative { -i128::from(value) } else { i128::from(value) };
            i64::try_from(signed).map_err(|_| range("ParseInt", text))
        }
    }
}

pub fn parse_float(text: &str) -> Result<f64, String> {
    text.parse::<f64>().map_err(|_| syntax("ParseFloat", text))
}

/// Nanoseconds of Go's duration syntax ("1h30m", "1.5s", "-3ms", "0").
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..number_end].parse().map_err(|_| invalid())?;
        rest = &rest[number_end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..unit_end];
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, nanos)) = NANOS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        total += number * *nanos as f64;
        rest = &rest[unit_end..];
    }
    if total > i64::MAX as f64 {
        return Err(invalid());
    }
    Ok((sign * total).round() as i64)
}

/// Bytes of "512m", "2g", "1KiB" (powers of 1024).
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = if text[end..].starts_with(' ') { (&text[..end], &text[end + 1..]) } else { text.split_at(end + 1) };
    let value = parse_float(number)?;
    if value < 0.0 {
        return Err(invalid());
    }
    let lower = suffix.to_lowercase();
    let power = match lower.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(format!("invalid suffix: '{}'", if suffix.len() > 3 { suffix } else { &lower })),
    };
    Ok((value * 1024f64.powi(power)) as i64)
}

/// Billionths of a CPU from "1.5" or "3/2".
pub fn parse_cpus(text: &str) -> Result<i64, String> {
    let refused = || format!("failed to parse {text} as a rational number");
    let (top, bottom) = text.split_once('/').unwrap_or((text, "1"));
    let (negative, top) = (top.starts_with('-'), top.trim_start_matches(['-', '+']));
    let (whole, fraction) = top.split_once('.').unwrap_or((top, ""));
    if (whole.is_empty() && fraction.is_empty()) || !whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit()) {
        return Err(refused());
    }
    let digits: i128 = format!("{whole}{fraction}").parse().map_err(|_| refused())?;
    let bottom: i128 = bottom.parse().map_err(|_| refused())?;
    let scale = u32::try_from(fraction.len()).ok().and_then(|digits| 10i128.checked_pow(digits)).and_then(|scale| scale.checked_mul(bottom));
    let (Some(divisor), Some(dividend)) = (scale.filter(|scale| *scale > 0), digits.checked_mul(1_000_000_000)) else {
        return Err(refused());
    };
    if dividend % divisor != 0 {
        return Err("value is too precise".into());
    }
    let nanos = i64::try_from(dividend / divisor).map_err(|_| refused())?;
    Ok(if negative { -nanos } else { nanos })
}

/// Splits a command as a POSIX shell would, without expansions.
pub fn split_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => {
                chars.by_ref().find(|c| *c == '\n');
            }
            '\\' => word.get_or_insert_default().push(chars.next().ok_or("EOF found after escape character")?),
            '\'' | '"' => quoted(c, &mut chars, word.get_or_insert_default())?,
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(quote: char, chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    loop {
        match chars.next().ok_or("EOF found when expecting closing quote")? {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => word.push(chars.next().ok_or("EOF found when expecting closing quote")?),
            c => word.push(c),
        }
    }
}

/// One CSV record, quoted fields included.
pub fn split_csv(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Err("EOF".into());
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, tail) = rest.split_once(',').map_or((rest, None), |(field, tail)| (field, Some(tail)));
            if let Some(at) = field.find('"') {
                return Err(format!("parse error on line 1, column {}: bare \" in non-quoted field", text.len() - rest.len() + at + 1));
            }
            fields.push(field.to_owned());
            match tail {
                Some(tail) => rest = tail,
                None => return Ok(fields),
            }
            continue;
        };
        let (field, tail) =
            quoted_field(quoted).ok_or_else(|| format!("parse error on line 1, column {}: extraneous or missing \" in quoted-field", text.len()))?;
        fields.push(field);
        match tail.strip_prefix(',') {
            Some(tail) => rest = tail,
            None => return Ok(fields),
        }
    }
}

fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let at = rest.find('"')?;
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.chars().next() {
            Some('"') => {
                field.push('"');
                rest = &rest[1..];
            }
            None | Some(',') => return Some((field, rest)),
            Some(_) => return None,
        }
    }
}

/// `name:ip` from `name:ip`, `name=ip` or `name:[ip]`.
pub fn extra_host(value: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: {value:?}");
    let (name, address) = value.split_once('=').or_else(|| value.split_once(':')).ok_or_else(bad)?;
    if name.is_empty() || name.contains(':') {
        return Err(bad());
    }
    let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(format!("{name}:{address}"))
}

/// A comma list of networks, host bits cleared as Go's `ParseCIDR` does.
pub fn parse_cidrs(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|part| parse_cidr(part.trim())).collect()
}

fn parse_cidr(text: &str) -> Result<String, String> {
    let invalid = || format!("invalid string being converted to CIDR: {text}");
    let (address, bits) = text.split_once('/').ok_or_else(invalid)?;
    let bits: u32 = bits.parse().map_err(|_| invalid())?;
    match address.parse::<IpAddr>().map_err(|_| invalid())? {
        IpAddr::V4(ip) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            Ok(format!("{}/{bits}", std::net::Ipv4Addr::from_bits(ip.to_bits() & mask)))
        }
        IpAddr::V6(ip) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            Ok(format!("{}/{bits}", std::net::Ipv6Addr::from_bits(ip.to_bits() & mask)))
        }
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_speak_as_go_does() {
        assert_eq!(parse_uint("0x10", 64), Ok(16));
        assert_eq!(parse_uint("-1", 64).unwrap_err(), "strconv.ParseUint: parsing \"-1\": invalid syntax");
        assert_eq!(parse_uint("4294967296", 32).unwrap_err(), "strconv.ParseUint: parsing \"4294967296\": value out of range");
        assert_eq!(parse_int("-12"), Ok(-12));
        assert_eq!(parse_int("x").unwrap_err(), "strconv.ParseInt: parsing \"x\": invalid syntax");
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(parse_duration("1.5s"), Ok(1_500_000_000));
        assert_eq!(parse_duration("-2ms"), Ok(-2_000_000));
        assert_eq!(parse_duration("5").unwrap_err(), "time: missing unit in duration \"5\"");
        assert_eq!(parse_duration("5q").unwrap_err(), "time: unknown unit \"q\" in duration \"5q\"");
        assert_eq!(parse_duration("x").unwrap_err(), "time: invalid duration \"x\"");
    }

    #[test]
    fn sizes_and_cpus() {
        assert_eq!(parse_bytes("512m"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5 KiB"), Ok(1536));
        assert_eq!(parse_bytes("x").unwrap_err(), "invalid size: 'x'");
        assert_eq!(parse_bytes("1q").unwrap_err(), "invalid suffix: 'q'");
        assert_eq!(parse_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_cpus("1/4"), Ok(250_000_000));
        assert_eq!(parse_cpus("0.0000000001").unwrap_err(), "value is too precise");
    }

    #[test]
    fn words_and_records() {
        assert_eq!(split_words("sh -c 'a b' \"c \\\" d\" # no"), Ok(vec!["sh".into(), "-c".into(), "a b".into(), "c \" d".into()]));
        assert_eq!(split_csv("a=1,\"b=2,3\",c"), Ok(vec!["a=1".into(), "b=2,3".into(), "c".into()]));
        assert_eq!(parse_cidrs("10.20.1.1/16"), Ok(vec!["10.20.0.0/16".into()]));
    }
}
