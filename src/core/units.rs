//! Sizes and durations as people read them. Their exact forms, as in a configuration file, are in `config`.

use std::time::Duration;

/// A size: whole where it can be, in binary or decimal units (100 MB is a limit that a person wrote, 95.4 MiB is not),
/// else with one decimal in a binary unit.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 8] = [
        (1 << 40, "TiB"),
        (1_000_000_000_000, "TB"),
        (1 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1, "bytes"),
    ];
    let whole = UNITS.iter().find(|(unit, word)| {
        let small = *word != "KiB" || bytes < 1 << 20;
        small && bytes >= *unit && bytes.is_multiple_of(*unit) && *unit > 1
    });
    if let Some((unit, word)) = whole {
        return format!("{} {word}", bytes / unit);
    }
    match UNITS.iter().find(|(unit, word)| bytes >= *unit && word.contains('i') && *unit > 1) {
        Some((unit, word)) => format!("{:.1} {word}", bytes as f64 / *unit as f64),
        None => format!("{bytes} bytes"),
    }
}

/// A size with its number, where that says more: `1536 (1.5 KiB)`.
pub fn size_and_bytes(bytes: u64) -> String {
    if bytes < 1024 { bytes.to_string() } else { format!("{bytes} ({})", size(bytes)) }
}

/// A duration in its two largest units: `3 h 20 min`, `12 s`; of less than a second `0 s`.
pub fn duration(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let seconds = duration.as_secs();
    let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(3);
    let (unit, word) = UNITS[largest];
    let text = format!("{} {word}", seconds / unit);
    match UNITS.get(largest + 1) {
        Some((next, word)) if seconds % unit >= *next => {
            format!("{text} {} {word}", seconds % unit / next)
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |bytes: u64, text: &str| assert_eq!(size(bytes), text);
        check(0, "0 bytes");
        check(1023, "1023 bytes");
        check(1024, "1 KiB");
        check(1536, "1.5 KiB");
        check(65_535, "64.0 KiB");
        check((1 << 20) + 4096, "1.0 MiB");
        check(1_500_000_001, "1.4 GiB");
        check(100_000_000, "100 MB");
        check(8 << 20, "8 MiB");
        check((8 << 20) + 1, "8.0 MiB");
        check(3 << 40, "3 TiB");
        assert_eq!(size_and_bytes(1023), "1023");
        assert_eq!(size_and_bytes(1536), "1536 (1.5 KiB)");
    }

    #[test]
    fn durations() {
        let check = |seconds: u64, text: &str| {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        };
        check(0, "0 s");
        check(59, "59 s");
        check(60, "1 min");
        check(3725, "1 h 2 min");
        check(3605, "1 h");
        check(90_000, "1 d 1 h");
    }
}
