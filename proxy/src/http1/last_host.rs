//! The host of a connection's requests, which nearly always is the same.

use std::borrow::Cow;

use super::{
    head::{Host, RequestHead},
    message::Why,
};
use crate::http::host::remembered_name_len;

/// The host of the previous request of a connection, so that the same value is not parsed again for each request. Boxed, since
/// many connections have only one request.
#[derive(Debug, Default)]
pub(super) struct LastHost(Option<Box<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// As the client sent it; empty if there is none.
    value: String,
    /// The length of the normalized name, which `value` begins with.
    name_len: usize,
}

impl LastHost {
    /// Remembers the host from the next request on.
    pub(super) fn begin(&mut self) {
        self.0.get_or_insert_default();
    }

    /// Returns the host of the next request, as [`RequestHead::host`] does.
    ///
    /// # Errors
    /// What is wrong with it, for the client and the log.
    pub(super) fn of<'h>(&'h mut self, head: &RequestHead<'_, 'h>) -> Result<Host<'h>, Why> {
        let (Some(sent), Some(known)) = (head.only_host(), &mut self.0) else { return head.host() };
        if !sent.is_empty() && sent == known.value.as_bytes() {
            let name = Cow::Borrowed(known.value.get(..known.name_len).unwrap_or_default());
            return Ok(Host { value: &known.value, name });
        }
        let host = head.host()?;
        known.remember(&host);
        Ok(host)
    }
}

impl Known {
    fn remember(&mut self, host: &Host<'_>) {
        if let Some(name_len) = remembered_name_len(host.value, &host.name) {
            self.value.clear();
            self.value.push_str(host.value);
            self.name_len = name_len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{fields::Room, head::Read};

    #[test]
    fn a_host_that_is_remembered_is_the_one_that_was_sent() {
        let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let long = format!("a.example:{}80", "0".repeat(300));
        let hosts = [
            "a.example",
            "A.example",
            "a.example:80",
            "a.example.",
            "a.example.:80",
            "b",
            "[::1]:80",
            "a/b",
            "",
            &long,
        ];
        let mut heads = hosts.map(get).to_vec();
        heads.push("GET http://b/ HTTP/1.1\r\nHost: b\r\n\r\n".into());
        heads.push("GET http://b/ HTTP/1.1\r\nHost: a.example\r\n\r\n".into());
        heads.push("GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n".into());
        heads.push("GET / HTTP/1.0\r\n\r\n".into());
        let plain =
            |host: Result<Host<'_>, Why>| host.map(|host| (host.value.to_owned(), host.name.into_owned()));
        for before in &heads {
            for after in &heads {
                let mut last = LastHost::default();
                for (place, head) in [before, before, before, after, after, before].into_iter().enumerate() {
                    if place > 0 {
                        last.begin();
                    }
                    let mut room = Room::new();
                    let Read::Whole(read) = room.read_request(head.as_bytes(), 64 << 10) else {
                        panic!("{head}")
                    };
                    assert_eq!(
                        plain(last.of(&read)),
                        plain(read.host()),
                        "{head:?} of {before:?} and {after:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_host_is_remembered_if_its_name_is_a_part_of_it() {
        let mut last = LastHost::default();
        last.begin();
        for (host, want) in [
            ("A.example", ""),
            ("a.example:80", "a.example:80"),
            ("A.example", "a.example:80"),
            ("b.example", "b.example"),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let mut room = Room::new();
            let Read::Whole(read) = room.read_request(head.as_bytes(), 64 << 10) else { panic!("{head}") };
            last.of(&read).unwrap();
            assert_eq!(last.0.as_ref().unwrap().value, want, "{host}");
        }
    }
}
