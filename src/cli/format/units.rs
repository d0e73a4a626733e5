//! Sizes, durations and floats as docker (go-units, Go's `fmt`) prints them.

pub use wsw_dockerapi::human_duration;

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Go's `%.{precision}g`.
pub fn significant(value: f64, precision: usize) -> String {
    let precision = precision.max(1);
    let scientific = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() };
    if exponent < -4 || exponent >= i32::try_from(precision).unwrap_or(i32::MAX) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(i32::try_from(precision).unwrap_or(0) - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// Go's `%v` of a float: the shortest text that reads back the same.
pub fn shortest(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

fn scaled(mut size: f64, base: f64, units: [&'static str; 9]) -> (f64, &'static str) {
    let mut at = 0;
    while size >= base && at < units.len() - 1 {
        size /= base;
        at += 1;
    }
    (size, units[at])
}

/// "1.5MB": powers of 1000, four digits.
pub fn human_size(size: f64) -> String {
    human_size_digits(size, 4)
}

pub fn human_size_digits(size: f64, digits: usize) -> String {
    let (size, unit) = scaled(size, 1000.0, DECIMAL);
    format!("{}{unit}", significant(size, digits))
}

/// "512MiB": powers of 1024.
pub fn bytes_size(size: f64) -> String {
    let (size, unit) = scaled(size, 1024.0, BINARY);
    format!("{}{unit}", significant(size, 4))
}

/// Go's `time.Duration.String()`: "1h30m0s", "1.5s", "100ms".
pub fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let decimal = |value: u64, unit: u64, name: &str| {
        let fraction = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { format!("{}{name}", value / unit) } else { format!("{}.{fraction}{name}", value / unit) }
    };
    let text = match total {
        0 => "0s".into(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => decimal(total, 1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(total, 1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (total / 3_600_000_000_000, total / 60_000_000_000 % 60);
            let seconds = decimal(total % 60_000_000_000, 1_000_000_000, "s");
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, _) => format!("{minutes}m{seconds}"),
                _ => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(human_size(1_234_567.0), "1.235MB");
        assert_eq!(human_size(999.0), "999B");
        assert_eq!(human_size(0.0), "0B");
        assert_eq!(human_size_digits(1_234_567.0, 3), "1.23MB");
        assert_eq!(bytes_size(536_870_912.0), "512MiB");
        assert_eq!(bytes_size(25_102_131_200.0), "23.38GiB");
    }

    #[test]
    fn durations() {
        let human = |seconds| human_duration(Duration::from_secs(seconds));
        assert_eq!(human(0), "Less than a second");
        assert_eq!(human(59), "59 seconds");
        assert_eq!(human(61), "About a minute");
        assert_eq!(human(3599), "59 minutes");
        assert_eq!(human(3600), "About an hour");
        assert_eq!(human(7776000), "3 months");
        assert_eq!(duration(7_776_000_000_000_000), "2160h0m0s");
        assert_eq!(duration(1_500_000_000), "1.5s");
        assert_eq!(duration(90_000_000_000), "1m30s");
        assert_eq!(duration(250_000), "250µs");
        assert_eq!(duration(-5_000_000), "-5ms");
    }

    #[test]
    fn floats() {
        assert_eq!(shortest(0.5), "0.5");
        assert_eq!(shortest(3.0), "3");
        assert_eq!(shortest(1e21), "1e+21");
        assert_eq!(significant(1000.0, 3), "1e+03");
    }
}
