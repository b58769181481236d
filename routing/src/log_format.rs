//! Lines of the access log in a format of nginx (`log-format-upstream`). The format is parsed once. A request fills in what
//! is known when it arrives, and the rest when it is over.

use std::{fmt::Write, mem};

use crate::template::{InvalidTemplate, Template, Values};

/// A format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFormat {
    parts: Box<[Part]>,
    escape: Escape,
    /// Variables that are not served.
    unknown: Box<[Box<str>]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// A variable of the request.
    Request(Template),
    /// `$request`: method, target and protocol.
    RequestLine,
    /// `$server_protocol`.
    Protocol,
    Late(Late),
    /// Not served.
    Unknown,
}

/// How characters are escaped that would break a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// `\xXX`; what is missing is `-`.
    #[default]
    Default,
    /// As in a string of JSON.
    Json,
    /// Not at all.
    None,
}

/// A variable that is known when the request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// `$time_local`, in UTC.
    TimeLocal,
    /// `$time_iso8601`, in UTC.
    TimeIso,
    /// `$msec`: seconds since 1970.
    Seconds,
    /// `$status`.
    Status,
    /// `$body_bytes_sent`, `$bytes_sent`: without the head.
    Sent,
    /// `$request_length`: head and body.
    RequestLength,
    /// `$request_time`, in seconds.
    RequestTime,
    /// `$req_id`, `$request_id`.
    RequestId,
    /// `$proxy_upstream_name`: namespace, name and port of the Service.
    UpstreamName,
    /// `$proxy_alternative_upstream_name`: empty.
    AlternativeName,
    /// `$upstream_addr`: the endpoints that were asked.
    UpstreamAddress,
    /// `$upstream_status`.
    UpstreamStatus,
    /// `$upstream_response_length`.
    UpstreamLength,
    /// `$upstream_response_time`, in seconds.
    UpstreamTime,
    /// `$namespace`, of the Ingress.
    Namespace,
    /// `$ingress_name`.
    IngressName,
    /// `$service_name`.
    ServiceName,
    /// `$service_port`.
    ServicePort,
    /// `$ssl_protocol`.
    TlsVersion,
    /// `$ssl_server_name`.
    TlsName,
}

/// A line of which only the end of the request is missing.
#[derive(Debug, Default)]
pub struct Begun {
    /// The texts between the gaps, one after another.
    text: String,
    /// Where a gap is, and what fills it.
    gaps: Vec<(usize, Option<Late>)>,
}

/// What `$request` and `$server_protocol` say.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'r> {
    /// The method.
    pub method: &'r str,
    /// The target as the client sent it.
    pub target: &'r [u8],
    /// `HTTP/1.1` and so on.
    pub protocol: &'static str,
}

/// The longest format, in bytes.
pub const MAX_FORMAT: usize = 16 << 10;

/// Why a text is not a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLogFormat {
    /// It is longer than [`MAX_FORMAT`].
    #[error("the format has {0} bytes; the limit is {MAX_FORMAT}")]
    TooLong(usize),
    /// A `${` without its `}`.
    #[error(transparent)]
    Variable(#[from] InvalidTemplate),
}

impl LogFormat {
    /// Reads a format. A variable that is not served is written as if the request lacked it.
    ///
    /// # Errors
    /// [`InvalidLogFormat`].
    pub fn parse(text: &str, escape: Escape) -> Result<Self, InvalidLogFormat> {
        if text.len() > MAX_FORMAT {
            return Err(InvalidLogFormat::TooLong(text.len()));
        }
        let (mut parts, mut unknown, mut rest) = (Vec::new(), Vec::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            push_text(&mut parts, before);
            let (name, after) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or(InvalidTemplate::Unclosed)?,
                None => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len()))
                }
            };
            rest = after;
            if name.is_empty() {
                push_text(&mut parts, "$");
                continue;
            }
            let part = variable(name);
            if part == Part::Unknown {
                unknown.push(name.into());
            }
            parts.push(part);
        }
        push_text(&mut parts, rest);
        Ok(Self { parts: parts.into(), escape, unknown: unknown.into() })
    }

    /// The variables that are not served.
    pub fn unknown(&self) -> &[Box<str>] {
        &self.unknown
    }

    /// Whether it has this variable.
    pub fn has(&self, late: Late) -> bool {
        self.parts.contains(&Part::Late(late))
    }

    /// Fills in what is known of a request. `values` is `None` where it cannot be read.
    pub fn begin(&self, line: RequestLine<'_>, values: Option<&Values<'_>>) -> Begun {
        let mut begun = Begun::default();
        for part in &self.parts {
            match part {
                Part::Text(text) => begun.text.push_str(text),
                Part::RequestLine => {
                    let RequestLine { method, target, protocol } = line;
                    let target = String::from_utf8_lossy(target);
                    self.escape.push(&format!("{method} {target} {protocol}"), &mut begun.text);
                }
                Part::Protocol => begun.text.push_str(line.protocol),
                Part::Request(template) => {
                    // One variable, and a client must not be able to hide its URL from the log.
                    let value = values.and_then(|values| template.fill_within(usize::MAX, values).ok());
                    self.escape.push(&value.unwrap_or_default(), &mut begun.text);
                }
                Part::Late(late) => begun.gaps.push((begun.text.len(), Some(*late))),
                Part::Unknown => begun.gaps.push((begun.text.len(), None)),
            }
        }
        begun
    }

    /// The line, with its end. `write` writes a variable; what it leaves empty is missing.
    pub fn end(&self, begun: Begun, mut write: impl FnMut(Late, &mut String)) -> String {
        let Begun { text, gaps } = begun;
        let (mut line, mut value, mut from) = (String::with_capacity(text.len() + 128), String::new(), 0);
        for (at, late) in gaps {
            line.push_str(text.get(from..at).unwrap_or_default());
            from = at;
            value.clear();
            late.into_iter().for_each(|late| write(late, &mut value));
            // It is set, and empty.
            if late != Some(Late::AlternativeName) {
                self.escape.push(&value, &mut line);
            }
        }
        line.push_str(text.get(from..).unwrap_or_default());
        line.push('\n');
        line
    }
}

impl Escape {
    fn push(self, value: &str, to: &mut String) {
        match self {
            // Nothing a client sends may end a line, whatever the format says.
            Self::None => to.extend(value.chars().filter(|c| !matches!(c, '\n' | '\r'))),
            Self::Default if value.is_empty() => to.push('-'),
            Self::Default => {
                for byte in value.bytes() {
                    match byte {
                        b'"' | b'\\' | ..0x20 | 0x7f.. => drop(write!(to, "\\x{byte:02X}")),
                        byte => to.push(char::from(byte)),
                    }
                }
            }
            Self::Json => {
                for c in value.chars() {
                    match c {
                        '"' | '\\' => to.extend(['\\', c]),
                        '\n' => to.push_str("\\n"),
                        '\r' => to.push_str("\\r"),
                        '\t' => to.push_str("\\t"),
                        c if c.is_control() => drop(write!(to, "\\u{:04x}", u32::from(c))),
                        c => to.push(c),
                    }
                }
            }
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if text.is_empty() {
        return;
    }
    match parts.last_mut() {
        Some(Part::Text(before)) => *before = (mem::take(before).into_string() + text).into(),
        _ => parts.push(Part::Text(text.into())),
    }
}

fn variable(name: &str) -> Part {
    let late = match name {
        "request" => return Part::RequestLine,
        "server_protocol" => return Part::Protocol,
        "time_local" => Late::TimeLocal,
        "time_iso8601" => Late::TimeIso,
        "msec" => Late::Seconds,
        "status" => Late::Status,
        "body_bytes_sent" | "bytes_sent" => Late::Sent,
        "request_length" => Late::RequestLength,
        "request_time" => Late::RequestTime,
        "req_id" | "request_id" => Late::RequestId,
        "proxy_upstream_name" => Late::UpstreamName,
        "proxy_alternative_upstream_name" => Late::AlternativeName,
        "upstream_addr" => Late::UpstreamAddress,
        "upstream_status" => Late::UpstreamStatus,
        "upstream_response_length" => Late::UpstreamLength,
        "upstream_response_time" => Late::UpstreamTime,
        "namespace" => Late::Namespace,
        "ingress_name" => Late::IngressName,
        "service_name" => Late::ServiceName,
        "service_port" => Late::ServicePort,
        "ssl_protocol" => Late::TlsVersion,
        "ssl_server_name" => Late::TlsName,
        "server_name" => return request("host"),
        name => return request(name),
    };
    Part::Late(late)
}

fn request(name: &str) -> Part {
    Template::parse(&format!("${{{name}}}"), &[]).map_or(Part::Unknown, Part::Request)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::template::NoGroups;

    fn line(format: &str, escape: Escape, agent: &'static str) -> (String, Vec<Box<str>>) {
        let format = LogFormat::parse(format, escape).unwrap();
        let headers: HeaderMap =
            [(http::header::USER_AGENT, HeaderValue::from_static(agent))].into_iter().collect();
        let values = Values {
            host: "a.example",
            sent_host: "A.example:80",
            path: "/a",
            sent_path: "/%61",
            query: Some("b=c"),
            scheme: "http",
            method: "GET",
            client: [192, 0, 2, 1].into(),
            port: 80,
            headers: &headers,
            groups: &NoGroups,
        };
        let request = RequestLine { method: "GET", target: b"/%61?b=c", protocol: "HTTP/1.1" };
        let begun = format.begin(request, Some(&values));
        let line = format.end(begun, |late, to| match late {
            Late::Status => to.push_str("200"),
            Late::UpstreamName => to.push_str("shop-web-80"),
            _ => {}
        });
        (line, format.unknown().to_vec())
    }

    #[test]
    fn a_line_is_as_nginx_writes_it() {
        for (format, escape, agent, want) in [
            (
                "$remote_addr - $remote_user \"$request\" $status \"$http_user_agent\" [$proxy_upstream_name] \
                 [$proxy_alternative_upstream_name]",
                Escape::Default,
                "curl",
                "192.0.2.1 - - \"GET /%61?b=c HTTP/1.1\" 200 \"curl\" [shop-web-80] []\n",
            ),
            ("$http_user_agent", Escape::Default, "a\"b\\c\td", "a\\x22b\\x5Cc\\x09d\n"),
            ("{\"a\": \"$http_user_agent\"}", Escape::Json, "a\"b\\c\td", "{\"a\": \"a\\\"b\\\\c\\td\"}\n"),
            ("\"$upstream_addr\" $http_user_agent", Escape::Json, "\"", "\"\" \\\"\n"),
            ("$http_user_agent", Escape::None, "a\"b\\c", "a\"b\\c\n"),
            (
                "${request_uri}x$host $server_protocol $5 $",
                Escape::Default,
                "",
                "/%61?b=cxa.example HTTP/1.1 - $\n",
            ),
        ] {
            assert_eq!(line(format, escape, agent).0, want, "{format}");
        }
    }

    #[test]
    fn what_is_not_served_is_named_and_missing() {
        let (line, unknown) = line("$status $connection $geoip2_city", Escape::Default, "");
        assert_eq!((&*line, &unknown[..]), ("200 - -\n", &["connection".into(), "geoip2_city".into()][..]));
        assert!(LogFormat::parse("${status", Escape::Default).is_err());
        assert!(LogFormat::parse(&"x".repeat(MAX_FORMAT + 1), Escape::Default).is_err());
    }
}
