//! Sizes and durations as text, both ways. Each error says what would be right.

use std::time::Duration;

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

/// A size in bytes. Public for flags that are not settings.
///
/// # Errors
/// The text says what would be right.
pub fn size_text(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()));
    let (Ok(number), Some((_, factor))) = (number.parse::<u64>(), unit) else {
        return Err("must be a whole number of bytes or one with a unit \
                    (B, KB, MB, GB, TB, PB = powers of 1000; KiB, MiB, GiB, TiB, PiB = of 1024), \
                    such as 8MiB"
            .into());
    };
    let bytes = number.checked_mul(*factor).filter(|bytes| *bytes <= MOST_BYTES);
    bytes.ok_or_else(|| "must be less than 8EiB".into())
}

/// A size within bounds.
pub(super) fn size_within<const LEAST: u64, const MOST: u64>(text: &str) -> Result<u64, String> {
    let bytes = size_text(text)?;
    match (LEAST, MOST) {
        _ if (LEAST..=MOST).contains(&bytes) => Ok(bytes),
        (1, MOST_BYTES) => Err("must be at least 1 byte".into()),
        (_, MOST_BYTES) => Err(format!("must be at least {}", size(LEAST))),
        _ => Err(format!("must be from {} to {}", size(LEAST), size(MOST))),
    }
}

/// A rate in bytes per second: a size, with or without `/s`.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    size_text(text.strip_suffix("/s").unwrap_or(text))
}

/// A duration, which may be zero. Public for flags that are not settings.
///
/// # Errors
/// The text says what would be right.
pub fn duration_text(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("must be at most a hundred years".into()),
        Err(_) => Err(format!("{A_DURATION}, or a bare 0")),
    }
}

/// A duration, where zero would make the server useless.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration_text(text) {
        Ok(Duration::ZERO) => Err("must be longer than 0".into()),
        Err(right) if right.starts_with(A_DURATION) => Err(A_DURATION.into()),
        read => read,
    }
}

/// A duration of whole seconds, from one up to a bound.
pub(super) fn seconds_up_to<const MOST: u64>(text: &str) -> Result<Duration, String> {
    let time = positive_duration(text)?;
    let most = Duration::from_secs(MOST);
    if time > most || time.subsec_nanos() > 0 {
        return Err(format!("must be whole seconds, at most {}", duration(most)));
    }
    Ok(time)
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
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65536),
            ("8MiB", 8 << 20),
            ("8 MiB", 8 << 20),
            ("8mib", 8 << 20),
            ("1GB", 1_000_000_000),
            ("2TiB", 2 << 40),
            ("9223372036854775807", MOST_BYTES),
        ] {
            assert_eq!(size_text(text), Ok(bytes), "{text}");
            assert_eq!(size_text(&size(bytes)), Ok(bytes), "{text}");
        }
        for wrong in [
            "",
            "MiB",
            "8M",
            "8 bananas",
            "-1",
            "+1",
            "1.5GiB",
            "0x10",
            "9223372036854775808",
            "99999999PiB",
            "8MiB/s",
        ] {
            assert!(size_text(wrong).is_err(), "{wrong}");
        }
        assert_eq!(["8MiB", "1000", "0"], [8 << 20, 1000, 0].map(size)[..]);
        let right = |told: Result<u64, String>| told.unwrap_err();
        assert_eq!(right(size_within::<1, MOST_BYTES>("0")), "must be at least 1 byte");
        assert_eq!(right(size_within::<1024, MOST_BYTES>("1023")), "must be at least 1KiB");
        assert_eq!(right(size_within::<1, 1024>("1025")), "must be from 1 to 1KiB");
        assert_eq!(size_within::<1, 1024>("1KiB"), Ok(1024));
        assert_eq!(["0", "1KiB", "1KiB/s"].map(|text| rate(text).ok()), [0, 1024, 1024].map(Some));
        assert!(rate("x").is_err());
    }

    #[test]
    fn durations() {
        for (text, milliseconds, shown) in [
            ("0", 0, "0"),
            ("0s", 0, "0"),
            ("55s", 55_000, "55s"),
            ("10m", 600_000, "10m"),
            ("1h 30m", 5_400_000, "1h 30m"),
            ("1d", 86_400_000, "24h"),
            ("7d", 604_800_000, "7d"),
            ("250ms", 250, "250ms"),
            ("90500ms", 90_500, "1m 30s 500ms"),
        ] {
            let time = Duration::from_millis(milliseconds);
            assert_eq!(duration_text(text), Ok(time), "{text}");
            assert_eq!(duration(time), shown);
            assert_eq!(positive_duration(text).ok(), (milliseconds > 0).then_some(time), "{text}");
        }
        let week = seconds_up_to::<604_800>;
        assert_eq!(week("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["7d 1s", "1500ms", "0s"] {
            assert!(week(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "30", "-1s", "12 parsecs", "9999y", "none"] {
            assert!(duration_text(wrong).is_err() && positive_duration(wrong).is_err(), "{wrong}");
        }
    }
}
