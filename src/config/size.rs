//! Sizes as people write them: a number of bytes with a unit.

use bytesize::ByteSize;

/// Parses a size such as `16MiB`, `100kB` or `5242880`, in bytes. KiB, MiB and GiB are powers of 1024; kB, MB
/// and GB, and K, M and G alone, are powers of 1000.
///
/// # Errors
/// A sentence that says how to write it.
pub fn size(text: &str) -> Result<u64, String> {
    let parsed = text.trim().parse::<ByteSize>().map_err(drop);
    parsed.map(|size| size.as_u64()).map_err(|()| {
        "give a number of bytes, or one with its unit, for example 16MiB or 100kB".to_owned()
    })
}

/// Parses a rate such as `10MiB` or `10MiB/s`, in bytes per second.
///
/// # Errors
/// A sentence that says how to write it.
pub fn rate(text: &str) -> Result<u64, String> {
    let each_second = text.trim().strip_suffix("/s").unwrap_or(text);
    size(each_second)
        .map_err(|_| "give the bytes of each second, for example 10MiB or 500kB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_takes_binary_and_decimal_units() {
        for (text, expected) in [
            ("7", 7),
            ("3KiB", 3 << 10),
            ("3kib", 3 << 10),
            ("16MiB", 16 << 20),
            ("1 GiB", 1 << 30),
            ("5MB", 5_000_000),
            ("200M", 200_000_000),
            ("1.5GiB", 3 << 29),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "M", "-1", "x", "1.2.3", "5 apples", "16MiB/s"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(rate("10MiB/s"), Ok(10 << 20));
        assert_eq!(rate("64KiB"), Ok(64 << 10));
    }
}
