//! Keys of ingress-nginx's ConfigMap for the compression of responses.

use std::{ops::RangeInclusive, sync::Arc};

use portcullis_routing::step::{Compress, MAX_BROTLI_LEVEL, MediaTypes, UserAgents};

use super::{LiveSettings, Read, boolean, or_default};
use crate::problem::Topic;

/// All of these keys.
pub(super) const KEYS: &[(&str, Read)] = &[
    ("use-gzip", |to, text, _, _| or_default(boolean(text)).map(|read| of(to).gzip.is_on = read)),
    ("gzip-level", |to, text, _, _| or_default(level(text, 1..=9)).map(|read| of(to).gzip.level = read)),
    ("gzip-min-length", |to, text, _, _| or_default(length(text)).map(|read| of(to).gzip.min_length = read)),
    ("gzip-types", |to, text, _, _| or_default(types(text)).map(|read| of(to).gzip.types = read)),
    ("gzip-disable", |to, text, _, _| or_default(agents(text)).map(|read| of(to).not_gzip = read)),
    ("enable-brotli", |to, text, _, _| or_default(boolean(text)).map(|read| of(to).brotli.is_on = read)),
    ("brotli-level", |to, text, checks, at| {
        let read = or_default(level(text, 0..=11))?;
        if read > MAX_BROTLI_LEVEL {
            let message = format!("a level above {MAX_BROTLI_LEVEL} is applied as {MAX_BROTLI_LEVEL}");
            checks.warning_of(Topic::NotServed, at, message);
        }
        of(to).brotli.level = read.min(MAX_BROTLI_LEVEL);
        Ok(())
    }),
    ("brotli-min-length", |to, text, _, _| {
        or_default(length(text)).map(|read| of(to).brotli.min_length = read)
    }),
    ("brotli-types", |to, text, _, _| or_default(types(text)).map(|read| of(to).brotli.types = read)),
];

fn of(settings: &mut LiveSettings) -> &mut Compress {
    Arc::make_mut(&mut settings.ingress.compression)
}

fn level(text: &str, levels: RangeInclusive<u8>) -> Result<u8, String> {
    let level = text.trim().parse().ok().filter(|level| levels.contains(level));
    level.ok_or_else(|| format!("{text:?} is not a level from {} to {}", levels.start(), levels.end()))
}

fn length(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not a number of bytes"))
}

fn types(text: &str) -> Result<MediaTypes, String> {
    MediaTypes::parse(text)
        .map_err(|word| format!("{word:?} is not a media type, and types are separated by spaces"))
}

fn agents(text: &str) -> Result<UserAgents, String> {
    UserAgents::parse(text.trim()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{super::tests, *};

    /// The compression that a ConfigMap results in, and its problems.
    fn compression(data: &[(&str, &str)]) -> (Compress, Vec<String>) {
        let (settings, problems) = tests::of(data);
        (Compress::clone(&settings.ingress.compression), problems)
    }

    #[test]
    fn nothing_is_compressed_by_default() {
        let (compress, problems) = compression(&[]);
        assert!(!compress.is_on() && problems.is_empty());
        assert_eq!((compress.gzip.level, compress.gzip.min_length), (1, 256));
        assert_eq!((compress.brotli.level, compress.brotli.min_length), (4, 20));
    }

    #[test]
    fn the_keys_of_both_codings_are_read() {
        let (compress, problems) = compression(&[
            ("use-gzip", "true"),
            ("gzip-level", "9"),
            ("gzip-min-length", "0"),
            ("gzip-types", "*"),
            ("gzip-disable", "msie6"),
            ("enable-brotli", "true"),
            ("brotli-level", "0"),
            ("brotli-min-length", "1000"),
            ("brotli-types", "text/css text/plain"),
        ]);
        assert_eq!(problems, [""; 0]);
        assert!(compress.gzip.is_on && compress.brotli.is_on);
        assert_eq!((compress.gzip.level, compress.gzip.min_length), (9, 0));
        assert_eq!((compress.brotli.level, compress.brotli.min_length), (0, 1000));
        assert_eq!(compress.gzip.types, MediaTypes::Any);
        assert_eq!(
            compress.brotli.types,
            MediaTypes::Listed(["text/css".into(), "text/plain".into()].into())
        );
        assert_eq!(compress.not_gzip, UserAgents::parse("msie6").unwrap());
    }

    #[test]
    fn a_level_of_brotli_that_is_not_applied_is_reported() {
        for (level, want, reported) in [("6", 6, false), ("7", 6, true), ("11", 6, true)] {
            let (compress, problems) = compression(&[("brotli-level", level)]);
            assert_eq!(
                (compress.brotli.level, problems.len()),
                (want, usize::from(reported)),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn an_invalid_value_leaves_the_default() {
        for (key, value, why) in [
            ("use-gzip", "on", "is neither true nor false"),
            ("gzip-level", "0", "is not a level from 1 to 9"),
            ("gzip-level", "10", "is not a level from 1 to 9"),
            ("gzip-level", "x", "is not a level from 1 to 9"),
            ("gzip-min-length", "-1", "is not a number of bytes"),
            ("gzip-min-length", "1k", "is not a number of bytes"),
            ("gzip-types", "text/plain,text/css", "is not a media type"),
            ("gzip-disable", "(", "regular expression"),
            ("enable-brotli", "", "is neither true nor false"),
            ("brotli-level", "12", "is not a level from 0 to 11"),
            ("brotli-min-length", "99999999999999999999", "is not a number of bytes"),
            ("brotli-types", "text", "is not a media type"),
        ] {
            let (compress, problems) = compression(&[(key, value)]);
            assert_eq!(compress, Compress::default(), "{key}: {value}");
            assert!(matches!(&problems[..], [one] if one.contains(why)), "{key}: {value}: {problems:?}");
        }
    }
}
