//! Refusals of HTTP/1 requests whose head cannot be read, and what their clients and the log are told.

use portcullis_routing::Rejection;

/// The most headers of one head.
pub(crate) const MAX_FIELDS: usize = 256;
/// The longest target in bytes; `http::Uri` takes no longer ones.
pub(crate) const MAX_TARGET: usize = u16::MAX as usize - 1;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not HTTP/1: the client would not understand an answer, and gets none.
    Foreign,
    /// The request line does not consist of three parts with one space between them (RFC 9112, 3).
    Malformed,
    /// Its target is too long.
    TargetTooLong,
    /// It has too many bytes or lines.
    TooLarge,
    /// It took too long.
    TooSlow,
    /// It is malformed elsewhere.
    Unreadable,
    /// It can be read in more than one way; the text says why.
    Invalid(&'static str),
}

/// Why a request has no context, which would tell of its end: its head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What the client was told; 0 is nothing.
    pub(crate) status: u16,
    pub(crate) rejection: Rejection,
    pub(crate) why: &'static str,
}

impl Refusal {
    /// Checks a request line.
    ///
    /// # Errors
    /// If it is malformed.
    pub(crate) fn of_line(line: &[u8]) -> Result<(), Self> {
        let mut parts = line.strip_suffix(b"\r").unwrap_or(line).split(|b| *b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Self::Malformed);
        };
        // `PRI` begins what was meant to be the preface of HTTP/2.
        if !version.starts_with(b"HTTP/") || method == b"PRI" {
            return Err(Self::Foreign);
        }
        if target.is_empty() || line.contains(&b'\t') {
            return Err(Self::Malformed);
        }
        if target.len() > MAX_TARGET {
            return Err(Self::TargetTooLong);
        }
        Ok(())
    }

    /// What the client is told.
    pub(crate) fn answer(self) -> &'static [u8] {
        match self {
            Self::Foreign => b"",
            Self::Malformed | Self::Unreadable | Self::Invalid(_) => {
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
            Self::TargetTooLong => {
                b"HTTP/1.1 414 URI Too Long\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
            Self::TooLarge => {
                b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
            Self::TooSlow => b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        }
    }

    /// What the log is told.
    pub(crate) fn reason(self) -> Refused {
        let (status, rejection, why) = match self {
            Self::Foreign => (0, Rejection::BadRequest, "neither HTTP/1 nor HTTP/2"),
            Self::Malformed => (400, Rejection::BadRequest, "malformed request line"),
            Self::Unreadable => (400, Rejection::BadRequest, "malformed headers"),
            Self::Invalid(why) => (400, Rejection::BadRequest, why),
            Self::TargetTooLong => (414, Rejection::HeaderTooLarge, "the target is too long"),
            Self::TooLarge => (431, Rejection::HeaderTooLarge, "the headers are too large, or too many"),
            Self::TooSlow => (408, Rejection::HeaderTimeout, "the head took too long"),
        };
        Refused { status, rejection, why }
    }
}
