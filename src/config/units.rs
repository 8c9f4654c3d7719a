//! Sizes and durations: parsed, formatted, and as kinds of settings. Each error says what would be right.

use std::time::Duration;

use super::kind::{Kind, bare, quoted};

/// Offsets are signed in the file system's interface, so no size beyond them makes sense.
pub(super) const MOST_BYTES: u64 = i64::MAX.cast_unsigned();

/// The units of sizes; those that sizes are shown in come first, the largest first.
const SIZES: [(&str, u64); 12] = [
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
];

/// The units that durations are shown in, in nanoseconds.
const TIMES: [(&str, u128); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("ns", 1),
];

/// The longest duration taken: a hundred years is "for ever" to any upload, and stays far from the
/// end of every clock's range.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

const A_DURATION: &str =
    "must be a time with units, such as 500ms, 30s, 10m, 12h, 7d or \"1h 30m\"";
const A_DURATION_OR_ZERO: &str =
    "must be a time with units, such as 500ms, 30s, 10m, 12h, 7d or \"1h 30m\", or a bare 0";

pub(super) const SIZE: Kind<u64, String> = size_within::<0, MOST_BYTES>();
pub(super) const POSITIVE_SIZE: Kind<u64, String> = size_within::<1, MOST_BYTES>();
/// A size from 1, or `none`.
pub(super) const LIMIT: Kind<u64, String> = Kind { none: true, ..POSITIVE_SIZE };

/// A rate in bytes per second: a size, with or without `/s`.
pub(super) const RATE: Kind<u64> =
    bare("SIZE", show_size, |text| parse_size(text.strip_suffix("/s").unwrap_or(text)));

pub(super) const TIME: Kind<Duration> =
    bare("TIME", |time| quoted(duration(*time)), parse_duration);
/// A time, zero too, or `none`.
pub(super) const OPTIONAL_TIME: Kind<Duration> = Kind { none: true, ..TIME };
/// A time, where zero would make the server useless.
pub(super) const POSITIVE_TIME: Kind<Duration> = Kind { read: positive_duration, ..TIME };

/// A size within bounds.
pub(super) const fn size_within<const LEAST: u64, const MOST: u64>() -> Kind<u64, String> {
    bare("SIZE", show_size, |text| {
        let bytes = parse_size(text)?;
        match (LEAST, MOST) {
            _ if (LEAST..=MOST).contains(&bytes) => Ok(bytes),
            (1, MOST_BYTES) => Err("must be at least 1 byte".into()),
            (_, MOST_BYTES) => Err(format!("must be at least {}", size(LEAST))),
            _ => Err(format!("must be from {} to {}", size(LEAST), size(MOST))),
        }
    })
}

fn show_size(bytes: &u64) -> String {
    quoted(size(*bytes))
}

/// Whole seconds from one up to a bound, or `none`.
pub(super) const fn seconds_up_to<const MOST: u64>() -> Kind<Duration, String> {
    let seconds = bare("TIME", TIME.show, |text| {
        let time = positive_duration(text)?;
        let most = Duration::from_secs(MOST);
        let fits = time <= most && time.subsec_nanos() == 0;
        let right = || format!("must be whole seconds, at most {}", duration(most));
        fits.then_some(time).ok_or_else(right)
    });
    Kind { none: true, ..seconds }
}

/// A size in bytes. Public for flags that are not settings.
///
/// # Errors
/// The text says what would be right.
pub fn parse_size(text: &str) -> Result<u64, &'static str> {
    let text = text.trim();
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()));
    let (Ok(number), Some((_, factor))) = (number.parse::<u64>(), unit) else {
        return Err("must be a whole number of bytes or one with a unit \
                    (B, KB, MB, GB, TB, PB = powers of 1000; KiB, MiB, GiB, TiB, PiB = of 1024), \
                    such as 8MiB");
    };
    let bytes = number.checked_mul(*factor).filter(|bytes| *bytes <= MOST_BYTES);
    bytes.ok_or("must be less than 8EiB")
}

/// A duration, which may be zero. Public for flags that are not settings.
///
/// # Errors
/// The text says what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    match humantime::parse_duration(text) {
        _ if text == "0" => Ok(Duration::ZERO),
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("must be at most a hundred years"),
        Err(_) => Err(A_DURATION_OR_ZERO),
    }
}

fn positive_duration(text: &str) -> Result<Duration, &'static str> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than 0"),
        Err(A_DURATION_OR_ZERO) => Err(A_DURATION),
        read => read,
    }
}

/// A size in the largest unit that holds it whole.
pub(super) fn size(bytes: u64) -> String {
    let fits = |unit: &u64| bytes > 0 && bytes.is_multiple_of(*unit);
    let unit = SIZES[..5].iter().find(|(_, unit)| fits(unit));
    let (name, unit) = unit.unwrap_or(&SIZES[5]);
    format!("{}{name}", bytes / unit)
}

/// A duration in whole days, hours, minutes and so on, without humantime's months and years, whose
/// lengths vary.
pub(super) fn duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    // 24h is said as the hours it was written in; only several days are said as days.
    let days = rest >= 2 * TIMES[0].1;
    let mut parts = Vec::new();
    for (name, unit) in TIMES.iter().skip(usize::from(!days)) {
        if rest >= *unit {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes, shown) in [
            ("0", 0, "0"),
            ("512", 512, "512"),
            ("512B", 512, "512"),
            ("64KiB", 65536, "64KiB"),
            ("8 mib", 8 << 20, "8MiB"),
            ("1GB", 1_000_000_000, "1000000000"),
            ("2TiB", 2 << 40, "2TiB"),
            ("9223372036854775807", MOST_BYTES, "9223372036854775807"),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds, shown) in [
            ("0", 0, "0"),
            ("0s", 0, "0"),
            ("55s", 55_000, "55s"),
            ("1h 30m", 5_400_000, "1h 30m"),
            ("1d", 86_400_000, "24h"),
            ("7d", 604_800_000, "7d"),
            ("250ms", 250, "250ms"),
            ("90500ms", 90_500, "1m 30s 500ms"),
        ] {
            let time = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Ok(time), "{text}");
            assert_eq!(duration(time), shown);
        }
    }
}
