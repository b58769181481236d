//! A plain reading of HTTP/1 messages, by the letter of RFC 9110 and 9112: what tests and fuzz targets hold the carrier
//! against. It shares nothing with the carrier, and takes the time that it needs.

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) http10: bool,
    pub(super) fields: Fields,
    pub(super) body: Body,
    /// The bytes of the head.
    pub(super) len: usize,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) http10: bool,
    pub(super) fields: Fields,
    /// The bytes of the head.
    pub(super) len: usize,
}

/// Names in lower case, and their values.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// How the body after a head ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A body in the chunked coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    pub(super) content: Vec<u8>,
    /// Whether there is more than sizes and content: extensions, or trailers.
    pub(super) adorned: bool,
    /// The bytes of it all, up to the end of the empty line.
    pub(super) len: usize,
}

/// Why bytes are no whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotWhole {
    /// It goes on.
    Begun,
    Malformed,
}

/// What is taken from a sender that RFC 9112 has servers and clients avoid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Senders {
    /// Nothing.
    Strict,
    /// Values over several lines, and blanks after a name (RFC 9112, 5.1 and 5.2): a proxy takes them out of answers.
    Old,
}

/// Reads the head of a request; `None` where it is none, or goes on.
pub(super) fn request(bytes: &[u8]) -> Option<Request> {
    let mut lines = Lines { bytes, at: 0 };
    let first = lines.find(|line| !line.is_empty())?;
    let parts: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else { return None };
    let http10 = is_http10(version)?;
    let is_target = |byte: &u8| matches!(byte, 0x21..=0x7e | 0x80..);
    if !is_token(method) || target.is_empty() || !target.iter().all(is_target) {
        return None;
    }
    let fields = lines.fields(Senders::Strict)?;
    let body = request_body(&fields, http10)?;
    let (method, target) = (method.to_vec(), target.to_vec());
    Some(Request { method, target, http10, fields, body, len: lines.at })
}

/// Reads the head of an answer; `None` where it is none, or goes on.
pub(super) fn answer(bytes: &[u8], senders: Senders) -> Option<Answer> {
    let mut lines = Lines { bytes, at: 0 };
    let first = lines.find(|line| !line.is_empty())?;
    let (version, rest) = first.split_at_checked(8)?;
    let (status, phrase) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    if !status.iter().all(u8::is_ascii_digit) || !(phrase.is_empty() || phrase[0] == b' ') {
        return None;
    }
    let status = std::str::from_utf8(status).ok()?.parse().ok().filter(|status| *status >= 100)?;
    let (http10, fields) = (is_http10(version)?, lines.fields(senders)?);
    phrase.iter().all(is_text).then_some(Answer { status, http10, fields, len: lines.at })
}

impl Answer {
    /// The body that follows, where there is one way to read it (RFC 9112, 6.3); `to_head`: HEAD was asked.
    pub(super) fn body(&self, to_head: bool) -> Option<Body> {
        let length = length(&self.fields)?;
        let chunked = match &values(&self.fields, b"transfer-encoding")[..] {
            [] => false,
            [one] if !self.http10 && one.eq_ignore_ascii_case(b"chunked") => true,
            _ => return None,
        };
        let bare = to_head || self.status < 200 || self.status == 204 || self.status == 304;
        Some(match (bare, chunked, length) {
            (true, ..) | (_, false, Some(0)) => Body::None,
            // Chunks override a length.
            (_, true, _) => Body::Chunked,
            (_, _, Some(length)) => Body::Length(length),
            (_, _, None) => Body::UntilClose,
        })
    }
}

/// The body of a request, where there is one way to read it.
fn request_body(fields: &Fields, http10: bool) -> Option<Body> {
    match (&values(fields, b"transfer-encoding")[..], length(fields)?) {
        ([], None | Some(0)) => Some(Body::None),
        ([], Some(length)) => Some(Body::Length(length)),
        ([one], None) if !http10 && one.eq_ignore_ascii_case(b"chunked") => Some(Body::Chunked),
        _ => None,
    }
}

/// The length that is said, once or more often; `None` where it is none.
fn length(fields: &Fields) -> Option<Option<u64>> {
    let values = values(fields, b"content-length");
    let mut lengths = values.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(trim);
    let Some(first) = lengths.next() else { return Some(None) };
    let number = |text: &[u8]| {
        let digits = !text.is_empty() && text.len() <= 18 && text.iter().all(u8::is_ascii_digit);
        digits.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    };
    let length = number(first)?;
    lengths.all(|other| number(other) == Some(length)).then_some(Some(length))
}

/// Reads a body in the chunked coding (RFC 9112, 7.1). Extensions and trailers may be any text, since they go no further.
///
/// # Errors
/// Where it is none, or goes on.
pub(super) fn chunked(bytes: &[u8]) -> Result<Chunked, NotWhole> {
    let (mut content, mut adorned, mut at) = (Vec::new(), false, 0);
    loop {
        let line = crlf_line(&bytes[at..])?;
        at += line.len() + 2;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) = line.split_at(digits);
        let extends = matches!(extension.first(), None | Some(b';' | b' ' | b'\t'));
        // Limits: 60 bits, and 1 KiB after the byte that begins an extension.
        let fits = (1..=15).contains(&digits.len()) && extension.len() <= 1 + (1 << 10);
        if !extends || !fits || !extension.iter().all(is_text) {
            return Err(NotWhole::Malformed);
        }
        adorned |= !extension.is_empty();
        let text = std::str::from_utf8(digits).expect("hexadecimal digits are ASCII");
        let size = usize::from_str_radix(text, 16).expect("15 digits fit");
        if size == 0 {
            break;
        }
        let (chunk, rest) = bytes[at..].split_at_checked(size).ok_or(NotWhole::Begun)?;
        if rest.len() < 2 {
            return Err(NotWhole::Begun);
        }
        if !rest.starts_with(b"\r\n") {
            return Err(NotWhole::Malformed);
        }
        content.extend_from_slice(chunk);
        at += size + 2;
    }
    loop {
        let line = crlf_line(&bytes[at..])?;
        at += line.len() + 2;
        match line.first() {
            None => return Ok(Chunked { content, adorned, len: at }),
            // A line that goes on from the one before, or one without a name.
            Some(b' ' | b'\t' | b':') => return Err(NotWhole::Malformed),
            Some(first) if !first.is_ascii() || !line.iter().all(is_text) => return Err(NotWhole::Malformed),
            Some(_) => adorned = true,
        }
    }
}

/// A line, without the CR and LF that end it. Neither stands anywhere else.
fn crlf_line(bytes: &[u8]) -> Result<&[u8], NotWhole> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(NotWhole::Begun)?;
    let line = bytes[..end].strip_suffix(b"\r").ok_or(NotWhole::Malformed)?;
    if line.contains(&b'\r') { Err(NotWhole::Malformed) } else { Ok(line) }
}

/// The values of a name.
pub(super) fn values<'f>(fields: &'f Fields, wanted: &[u8]) -> Vec<&'f [u8]> {
    fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &**value).collect()
}

/// The elements of a list that may stand in several fields (RFC 9110, 5.6.1), in lower case.
pub(super) fn list(fields: &Fields, wanted: &[u8]) -> Vec<Vec<u8>> {
    let all = values(fields, wanted).join(&b',');
    let elements = all.split(|byte| *byte == b',').map(|element| trim(element).to_ascii_lowercase());
    elements.filter(|element| !element.is_empty()).collect()
}

/// A text without the blanks around it.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
    &text[begin..end]
}

/// Lines of a head, each without its end; a CR stands nowhere but in front of a LF.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let rest = &self.bytes[self.at..];
        let line = &rest[..rest.iter().position(|byte| *byte == b'\n')?];
        self.at += line.len() + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.contains(&b'\r')).then_some(line)
    }
}

impl Lines<'_> {
    /// The fields up to the empty line.
    fn fields(&mut self, senders: Senders) -> Option<Fields> {
        let mut fields = Fields::new();
        loop {
            let line = self.next()?;
            if line.is_empty() {
                break;
            }
            if !line.iter().all(is_text) {
                return None;
            }
            if senders == Senders::Old && matches!(line[0], b' ' | b'\t') {
                let (_, value) = fields.last_mut()?;
                value.push(b' ');
                value.extend_from_slice(trim(line));
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
            let name = if senders == Senders::Old { trim(name) } else { name };
            if !is_token(name) {
                return None;
            }
            fields.push((name.to_ascii_lowercase(), value.to_vec()));
        }
        fields.iter_mut().for_each(|(_, value)| *value = trim(value).to_vec());
        Some(fields)
    }
}

fn is_http10(version: &[u8]) -> Option<bool> {
    match version {
        b"HTTP/1.0" => Some(true),
        b"HTTP/1.1" => Some(false),
        _ => None,
    }
}

fn is_token(text: &[u8]) -> bool {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is)
}

/// What values, phrases and quoted strings may hold (RFC 9110, 5.5).
fn is_text(byte: &u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}
