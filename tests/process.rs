//! The process as it is started, signalled and misused.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use portcullis::echo::{Echo, Identity};
use support::{BOUND, OFFSET, bounded, client, gateway, ingress, loopback, route, service};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A running binary; killed with the test that started it.
struct Process {
    child: Child,
    ip: IpAddr,
    folder: TempDir,
}

impl Process {
    fn run(files: &[(&str, String)], flags: &[&str]) -> Self {
        let ip = loopback();
        Self::run_at(ip, files, flags)
    }

    fn run_at(ip: IpAddr, files: &[(&str, String)], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text.replace("{ip}", &ip.to_string())).unwrap();
        }
        let child = command(folder.path(), ip).args(flags).spawn().unwrap();
        Self { child, ip, folder }
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port + OFFSET)
    }

    async fn readiness(&self) -> Option<(u16, String)> {
        let url = format!("http://{}:9080/readyz", self.ip);
        let response = client().build().unwrap().get(url).send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    /// Waits until a request is in flight.
    async fn until_in_flight(&self) {
        bounded("a request in flight", async {
            while !self.metrics().await.contains("\nportcullis_requests_in_flight 1\n") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn metrics(&self) -> String {
        let url = format!("http://{}:9080/metrics", self.ip);
        client().build().unwrap().get(url).send().await.unwrap().text().await.unwrap()
    }

    async fn until_ready(&self) {
        self.until_said(|status, _| status == 200).await;
    }

    async fn until_said(&self, fits: impl Fn(u16, &str) -> bool) {
        bounded("readiness as it should be", async {
            while !self.readiness().await.is_some_and(|(status, text)| fits(status, &text)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    fn signal(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    async fn ended(&mut self) -> ExitStatus {
        bounded("the process ends", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    break status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, ip: IpAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .args(["run", "--manifests"])
        .arg(folder)
        .args(["--port-offset", &OFFSET.to_string(), "--bind", &ip.to_string()])
        .args(["--admin", &format!("{ip}:9080"), "--workers", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn files() -> [(&'static str, String); 3] {
    let backends = service("blue", 18001);
    [("backends.yaml", backends), ("gateway.yaml", gateway(80)), ("a.yaml", route("a", "a.test", "blue"))]
}

async fn slow(at: SocketAddr, delay: &str) -> Result<u16, reqwest::Error> {
    let url = format!("http://{at}/?delay={delay}");
    // Were it the client that gives up, the process would end, too.
    let request = client().build().unwrap().get(url).header("host", "a.test").timeout(BOUND * 10);
    request.send().await.map(|r| r.status().as_u16())
}

/// The admin port and new clients are answered with far more idle connections than there are descriptors.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_take_descriptors_from_nobody() {
    let ip = loopback();
    let _echo = Echo::bind(SocketAddr::new(ip, 18001), Identity::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files() {
        std::fs::write(folder.path().join(name), text.replace("{ip}", &ip.to_string())).unwrap();
    }
    let run = command(folder.path(), ip);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 256 && exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    limited.stdout(Stdio::null()).stderr(Stdio::piped());
    let process = Process { child: limited.spawn().unwrap(), ip, folder };
    process.until_ready().await;
    let mut idle = Vec::new();
    for n in 0..400 {
        let answered = bounded("a new client is answered", async {
            let mut tcp = tokio::net::TcpStream::connect(process.at(80)).await.unwrap();
            tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
            let mut start = [0; 12];
            tcp.read_exact(&mut start).await.unwrap();
            idle.push(tcp);
            start
        })
        .await;
        assert_eq!(&answered, b"HTTP/1.1 200", "client {n}");
    }
    assert_eq!(process.readiness().await.map(|(status, _)| status), Some(200));
    let metrics = process.metrics().await;
    let shed =
        metrics.lines().find_map(|l| l.strip_prefix("portcullis_connections_shed_total{limit=\"port\"} "));
    assert!(shed.is_some_and(|count| count.parse::<u32>().unwrap() >= 200), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_lets_requests_end_and_a_new_one_finds_no_listener() {
    let mut process = Process::run(&files(), &[]);
    let _echo = Echo::bind(SocketAddr::new(process.ip, 18001), Identity::default()).await.unwrap();
    process.until_ready().await;
    let at = process.at(80);
    let request = tokio::spawn(slow(at, "2s"));
    process.until_in_flight().await;
    process.signal();
    bounded("the listener is closed", async {
        while tokio::net::TcpStream::connect(at).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(request.await.unwrap().unwrap(), 200);
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_stops_accepting_it_is_not_ready_for_as_long_as_it_is_told() {
    let mut process = Process::run(&files(), &["--pre-stop-delay", "5s"]);
    let _echo = Echo::bind(SocketAddr::new(process.ip, 18001), Identity::default()).await.unwrap();
    process.until_ready().await;
    process.signal();
    process.until_said(|status, text| status == 503 && text.contains("stopping")).await;
    assert_eq!(slow(process.at(80), "0ms").await.unwrap(), 200);
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let mut process = Process::run(&files(), &["--drain-timeout", "10m"]);
    let _echo = Echo::bind(SocketAddr::new(process.ip, 18001), Identity::default()).await.unwrap();
    process.until_ready().await;
    // The request would take longer than the test waits for the process.
    let request = tokio::spawn(slow(process.at(80), "300s"));
    process.until_in_flight().await;
    process.signal();
    process.until_said(|status, text| status == 503 && text.contains("stopping")).await;
    process.signal();
    process.ended().await;
    assert!(tokio::time::timeout(BOUND, request).await.unwrap().unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_limit_how_long_requests_may_take_at_the_end() {
    let mut all = files().to_vec();
    let settings = "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: edge, name: settings}, data: {\
                    worker-shutdown-timeout: 1s}}";
    all.push(("settings.yaml", settings.to_owned()));
    let flags = ["--drain-timeout", "10m", "--settings-configmap", "edge/settings"];
    let mut process = Process::run(&all, &flags);
    let _echo = Echo::bind(SocketAddr::new(process.ip, 18001), Identity::default()).await.unwrap();
    process.until_ready().await;
    let request = tokio::spawn(slow(process.at(80), "300s"));
    process.until_in_flight().await;
    process.signal();
    process.ended().await;
    assert!(tokio::time::timeout(BOUND, request).await.unwrap().unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_said_and_the_others_are_served() {
    let ip = loopback();
    let taken = std::net::TcpListener::bind((ip, 80 + OFFSET)).unwrap();
    let mut all = files().to_vec();
    all.push(("shop.yaml", ingress("shop", "shop.test", "blue")));
    let process = Process::run_at(ip, &all, &[]);
    let _echo = Echo::bind(SocketAddr::new(ip, 18001), Identity::default()).await.unwrap();
    process
        .until_said(|status, text| {
            status == 503 && text.contains("listener port 80:") && text.contains("in use")
        })
        .await;
    let https = client().resolve("shop.test", process.at(443)).build().unwrap();
    let url = format!("https://shop.test:{}/", process.at(443).port());
    assert_eq!(https.get(url).send().await.unwrap().status(), 200);
    let status = client().build().unwrap().get(format!("http://{ip}:9080/status")).send().await.unwrap();
    let status = status.text().await.unwrap();
    assert!(status.contains("port 80") && status.contains("in use"), "{status}");
    // As soon as it is free it is bound.
    drop(taken);
    process.until_ready().await;
    assert_eq!(slow(process.at(80), "0ms").await.unwrap(), 200);
}

#[test]
fn what_cannot_be_started_says_why() {
    for (folder, admin, want) in [
        ("/nonexistent/manifests", "127.0.0.1:0", "/nonexistent/manifests"),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "127.0.0.1:0", "is not a folder"),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart"), "203.0.113.1:9080", "--admin"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "--bind", &loopback().to_string(), "--port-offset", "8000"])
            .args(["--manifests", folder, "--admin", admin])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{folder}: {said}");
        assert!(said.contains(want), "{folder}: {said}");
    }
}

/// Begins requests whose lines nobody reads: so many, with paths of so many bytes.
async fn unread(requests: usize, path: usize) -> (Process, Echo) {
    let process = Process::run(&files(), &["--access-log"]);
    let echo = Echo::bind(SocketAddr::new(process.ip, 18001), Identity::default()).await.unwrap();
    process.until_ready().await;
    let url = format!("http://{}/{}", process.at(80), "p".repeat(path));
    let client = client().build().unwrap();
    for request in 0..requests {
        let got = client.get(&url).header("host", "a.test").send().await;
        assert_eq!(got.map_or(0, |got| got.status().as_u16()), 200, "request {request}");
    }
    (process, echo)
}

/// A pipe holds 64 KiB, which is about a hundred lines.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_no_request_and_is_whole_when_it_is_read() {
    let (mut process, _echo) = unread(1000, 500).await;
    process.signal();
    let mut log = String::new();
    std::io::Read::read_to_string(process.child.stderr.as_mut().unwrap(), &mut log).unwrap();
    let lines = log.lines().filter(|line| line.contains("a.test") && line.contains("status=200"));
    assert_eq!(lines.count(), 1000);
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_beyond_what_may_wait_are_dropped_and_counted() {
    let (mut process, _echo) = unread(800, 12_000).await;
    let metrics = client().build().unwrap().get(format!("http://{}:9080/metrics", process.ip)).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let of = |log: &str| {
        let name = format!("portcullis_dropped_log_lines_total{{log=\"{log}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&*name)?.parse::<u32>().ok())
    };
    assert!(of("access").is_some_and(|count| count > 0), "{metrics}");
    assert_eq!(of("messages"), Some(0));
    // Nor does the end of the process wait for the reader.
    process.signal();
    assert!(process.ended().await.success());
}

fn settings(access_log: bool) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: settings, namespace: edge }}\n\
         data: {{ access-log: '{access_log}' }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_logged_from_when_the_settings_say_so() {
    let mut all = files().to_vec();
    all.push(("settings.yaml", settings(false)));
    let mut process = Process::run(&all, &["--settings-configmap", "edge/settings"]);
    let mut log = BufReader::new(process.child.stderr.take().unwrap()).lines();
    let _echo = Echo::bind(SocketAddr::new(process.ip, 18001), Identity::default()).await.unwrap();
    process.until_ready().await;
    let url = |path: &str| format!("http://{}/{path}", process.at(80));
    let get = async |url: String| client().build().unwrap().get(url).header("host", "a.test").send().await;
    assert_eq!(get(url("before")).await.unwrap().status(), 200);
    std::fs::write(process.folder.path().join("settings.yaml"), settings(true)).unwrap();
    let mut until = |text: &str| {
        let lines = log.by_ref().map_while(Result::ok);
        let mut passed = Vec::new();
        for line in lines {
            let is_it = line.contains(text);
            passed.push(line);
            if is_it {
                return passed;
            }
        }
        panic!("{text}: never in {passed:?}")
    };
    let before = until("settings changed");
    assert!(!before.iter().any(|line| line.contains("/before")), "{before:?}");
    assert_eq!(get(url("after")).await.unwrap().status(), 200);
    let after = until("/after");
    assert!(after.iter().any(|line| line.contains("status=200")), "{after:?}");
    process.signal();
}
