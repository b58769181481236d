//! pingora's own log. Alone in its process: a logger is set for all threads.

#![allow(clippy::unwrap_used)]

mod support;

/// The carriers of these tests' proxies.
const CARRIERS: portcullis_proxy::Carriers = portcullis_proxy::Carriers::All;

use std::sync::Mutex;

use log::{Level, Log, Metadata, Record};
use support::{
    client::{connect, exchange},
    raw::{RawBackend, Reply},
    site::{Site, backend, refusing, rule, share, to},
    start,
};

struct Loud(Mutex<Vec<String>>);

impl Log for Loud {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(format!("{} {}", record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

static LOUD: Loud = Loud(Mutex::new(Vec::new()));

#[tokio::test]
async fn requests_that_fail_are_left_to_the_access_log() {
    log::set_logger(&LOUD).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let closes = RawBackend::start(|_, _| Reply::Close).await;
    let proxy = start();
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    for (rule, want) in [
        (to(refusing()), 502),
        (rule([share(1, Ok(backend(&[refusing(), refusing()])))]), 502),
        (to(closes.address), 502),
        (rule([share(1, Ok(backend(&[])))]), 503),
    ] {
        let at = Site::of(rule).serve(&proxy).await;
        assert_eq!(exchange(&mut connect(at).await, request).await.status, want);
    }
    let said = LOUD.0.lock().unwrap();
    assert!(said.iter().all(|line| !line.contains("Fail to proxy")), "{said:?}");
}
