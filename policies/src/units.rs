//! Sizes and time spans as users write them: on the command line and in policy files, read by the same rules.

use std::time::Duration;

/// A size in bytes: a number, with a fraction or not, and a unit of 1,024 (`512M`, `1.5G`, `64KiB`); a bare number is
/// bytes.
pub fn size(text: &str) -> Result<u64, String> {
    const EXAMPLE: &str = "expected a size, such as 512M or 4G";
    let (number, unit) = split(text);
    let unit = unit.trim_start();
    let letter = unit.strip_suffix("iB").or_else(|| unit.strip_suffix('B')).unwrap_or(unit);
    let shift = match letter.to_ascii_uppercase().as_str() {
        "" if unit != "iB" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(format!("unknown unit `{unit}`; use K, M, G or T")),
    };
    let unit = 1u64 << shift;
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit).ok_or("too large")?,
        Err(_) if number.chars().all(|c| c.is_ascii_digit()) && !number.is_empty() => {
            return Err("too large".to_owned())
        }
        Err(_) => {
            let number: f64 = number.parse().map_err(|_| EXAMPLE)?;
            let bytes = number * unit as f64;
            if bytes >= u64::MAX as f64 {
                return Err("too large".to_owned());
            }
            bytes as u64
        }
    };
    if bytes > i64::MAX as u64 {
        return Err("too large".to_owned());
    }
    Ok(bytes)
}

/// A time span: a number, with a fraction or not, and a unit (`250ms`, `90s`, `1.5h`); a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(format!("unknown unit `{unit}`; use ms, s, m, h or d")),
    };
    let number: f64 =
        number.parse().map_err(|_| "expected a number with a unit, such as 90s or 5m".to_owned())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| "too long".to_owned())
}

fn split(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::{duration, size};
    use std::time::Duration;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1B", 1),
            ("64k", 64 << 10),
            ("64KiB", 64 << 10),
            ("512M", 512 << 20),
            ("1.5G", 3 << 29),
            ("4GB", 4 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "M", "-1", "1X", "1iB", "99999999999999999999", "9999999T", "1e9", ".", "1..2G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "1y", "-1", "1e99d", "."] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
