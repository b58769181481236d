//! A running Portcullis that serves the objects of some cases.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::player::OFFSET;

const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");
const ADMIN_PORT: u16 = 9080;
/// How long it may take until it serves.
const START: Duration = Duration::from_secs(60);

/// It is killed when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    pub ip: IpAddr,
    child: Child,
    folder: TempDir,
}

impl Proxy {
    /// Starts one at an address; returns when it serves all objects.
    ///
    /// # Panics
    /// Where it does not, with what it wrote.
    pub async fn start(ip: IpAddr, objects: &[Value], flags: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("objects")).unwrap();
        let text: String = objects.iter().map(|object| format!("{object}\n---\n")).collect();
        std::fs::write(folder.path().join("objects/all.yaml"), text).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(BINARY)
            .args(["run", "--manifests"])
            .arg(folder.path().join("objects"))
            .args(["--port-offset", &OFFSET.to_string(), "--bind", &ip.to_string()])
            .args(["--admin", &SocketAddr::new(ip, ADMIN_PORT).to_string()])
            // As it was recorded: balancing and limits are counted by each worker.
            .args(["--workers", "1"])
            .args(["--ingress-class", "nginx", "--ingress-controller", "k8s.io/ingress-nginx"])
            .args(["--settings-configmap", "ingress-nginx/ingress-nginx-controller"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut proxy = Self { ip, child, folder };
        proxy.until_ready().await;
        proxy
    }

    async fn until_ready(&mut self) {
        let begin = Instant::now();
        while !self.is_ready().await {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || begin.elapsed() > START {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("it does not serve (ended: {ended:?}):\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        let asked = async {
            let mut tcp = TcpStream::connect((self.ip, ADMIN_PORT)).await.ok()?;
            tcp.write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await.ok()?;
            let mut start = [0; 12];
            tcp.read_exact(&mut start).await.ok()?;
            Some(&start == b"HTTP/1.1 200")
        };
        tokio::time::timeout(Duration::from_secs(2), asked).await.ok().flatten() == Some(true)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of the flags that ingress-nginx was started with, those that exist here; cases that need another differ.
pub fn known_flags(flags: &str) -> Vec<String> {
    static HELP: OnceLock<String> = OnceLock::new();
    let help = HELP.get_or_init(|| {
        let output = Command::new(BINARY).args(["run", "--help"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    let exists = |flag: &&str| {
        let name = flag.split('=').next().unwrap_or_default();
        help.split_whitespace().any(|word| word == name)
    };
    flags.split_whitespace().filter(exists).map(str::to_owned).collect()
}
