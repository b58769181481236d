//! Lines of the access log in a format of the operator's ([`portcullis_routing::log_format`]).

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderName, header::CONTENT_LENGTH};
use portcullis_routing::{
    log_format::{Begun, Late, LogFormat, RequestLine},
    template::{NoGroups, Values},
};
use tokio::time::Instant;

use super::access_log::{Outcome, Sent};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A line of which only the end of the request is missing.
#[derive(Debug)]
pub(super) struct Formatted {
    format: Arc<LogFormat>,
    begun: Begun,
    /// Bytes of the head, and of the body as announced.
    length: u64,
    /// The identifier of the request; empty where it is not in the line or not known yet.
    pub(super) id: Box<str>,
    write: fn(&str),
}

impl Formatted {
    pub(super) fn begin(format: &Arc<LogFormat>, sent: &Sent<'_>, write: fn(&str)) -> Self {
        let text = std::str::from_utf8(sent.target).unwrap_or_default();
        let (sent_path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let values = Values {
            host: sent.host,
            sent_host: sent.sent_host,
            path: sent.path,
            sent_path,
            query,
            scheme: sent.scheme,
            method: sent.method.as_str(),
            client: sent.client,
            port: sent.port,
            headers: sent.headers,
            groups: &NoGroups,
        };
        let line = RequestLine { method: sent.method.as_str(), target: sent.target, protocol: sent.protocol };
        let begun = format.begin(line, Some(&values));
        let id = sent.headers.first(&REQUEST_ID).filter(|_| format.has(Late::RequestId));
        let id = id.map(String::from_utf8_lossy).unwrap_or_default().into();
        let announced = sent.headers.first(&CONTENT_LENGTH).map(String::from_utf8_lossy);
        let announced = announced.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or_default();
        let length = announced.saturating_add(sent.head_len as u64);
        Self { format: Arc::clone(format), begun, length, id, write }
    }

    pub(super) fn lacks_id(&self) -> bool {
        self.id.is_empty() && self.format.has(Late::RequestId)
    }

    /// Writes the line.
    pub(super) fn end(self, began: Instant, outcome: &Outcome<'_>) {
        let ended = Ended { outcome, seconds: began.elapsed().as_secs_f64(), now: SystemTime::now() };
        let (length, id) = (self.length, &*self.id);
        let line = self.format.end(self.begun, |late, to| match late {
            Late::RequestId => to.push_str(id),
            Late::RequestLength => drop(write!(to, "{length}")),
            late => ended.write(late, to),
        });
        (self.write)(&line);
    }
}

/// A request that is over.
struct Ended<'o> {
    outcome: &'o Outcome<'o>,
    seconds: f64,
    now: SystemTime,
}

impl Ended<'_> {
    fn write(&self, late: Late, to: &mut String) {
        let Outcome { tls, status, bytes, rule, backend, endpoint, tried, .. } = *self.outcome;
        let route = rule.map(|rule| &rule.route);
        let asked = || tried.iter().copied().chain(endpoint);
        // Only a String is written to, which cannot fail.
        let _ = match late {
            Late::TimeLocal => write!(to, "{}", local(self.now)),
            Late::TimeIso => write!(to, "{}", iso(self.now)),
            Late::Seconds => {
                let since = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
                write!(to, "{}.{:03}", since.as_secs(), since.subsec_millis())
            }
            // As nginx logs a request that was cut before any answer.
            Late::Status => write!(to, "{}", if status == 0 { 499 } else { status }),
            Late::Sent => write!(to, "{bytes}"),
            Late::RequestTime => write!(to, "{:.3}", self.seconds),
            Late::UpstreamName => match backend {
                Some(key) => write!(to, "{}-{}-{}", key.namespace, key.service, key.port.number),
                None => Ok(()),
            },
            Late::UpstreamAddress => listed(asked(), to),
            Late::UpstreamStatus if endpoint.is_some() && status != 0 => write!(to, "{status}"),
            Late::UpstreamLength if endpoint.is_some() => write!(to, "{bytes}"),
            Late::UpstreamTime if endpoint.is_some() => write!(to, "{:.3}", self.seconds),
            Late::Namespace => route.map_or(Ok(()), |route| to.write_str(&route.namespace)),
            Late::IngressName => route.map_or(Ok(()), |route| to.write_str(&route.name)),
            Late::ServiceName => backend.map_or(Ok(()), |key| to.write_str(&key.service)),
            Late::ServicePort => backend.map_or(Ok(()), |key| write!(to, "{}", key.port.number)),
            Late::TlsVersion => tls.map_or(Ok(()), |tls| to.write_str(tls.version)),
            Late::TlsName => match tls.and_then(|tls| tls.server_name.as_deref()) {
                Some(name) => to.write_str(name),
                None => Ok(()),
            },
            _ => Ok(()),
        };
    }
}

fn listed(addresses: impl Iterator<Item = SocketAddr>, to: &mut String) -> std::fmt::Result {
    for (i, address) in addresses.enumerate() {
        write!(to, "{}{address}", if i == 0 { "" } else { ", " })?;
    }
    Ok(())
}

/// `29/Nov/2026:10:00:00 +0000`.
fn local(now: SystemTime) -> String {
    let date = httpdate::fmt_http_date(now);
    // `Sun, 29 Nov 2026 10:00:00 GMT`
    let mut words = date.split(' ').skip(1);
    let mut next = || words.next().unwrap_or_default();
    let (day, month, year, time) = (next(), next(), next(), next());
    format!("{day}/{month}/{year}:{time} +0000")
}

/// `2026-11-29T10:00:00+00:00`.
fn iso(now: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = httpdate::fmt_http_date(now);
    let mut words = date.split(' ').skip(1);
    let mut next = || words.next().unwrap_or_default();
    let (day, month, year, time) = (next(), next(), next(), next());
    let month = MONTHS.iter().position(|name| *name == month).unwrap_or_default() + 1;
    format!("{year}-{month:02}-{day}T{time}+00:00")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_nginx_writes_them() {
        let time = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(local(time), "06/Nov/1994:08:49:37 +0000");
        assert_eq!(iso(time), "1994-11-06T08:49:37+00:00");
    }
}
