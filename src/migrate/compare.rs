//! Sends the same requests to two addresses, and compares the responses.
//!
//! Only GET and HEAD requests are sent, with limits of their number and rate, and of the time and size of each. Certificates
//! are not verified, since the addresses are those of the controllers, not those in DNS.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hasher},
    io::Write,
    net::SocketAddr,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portcullis_controller::migrate::printable;
use portcullis_proxy::unverified_client;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsConnector;

use crate::cli::MigrateArgs;

/// The timeout of a response, including its body.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of a body that is compared, in bytes.
const MAX_BODY: usize = 1 << 20;
/// Headers with values that are compared.
const HEADERS: [&str; 9] = [
    "location",
    "content-type",
    "cache-control",
    "content-encoding",
    "www-authenticate",
    "strict-transport-security",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "allow",
];

/// One of the two addresses: `OLD=192.0.2.1:80`, or `OLD=https://192.0.2.1:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    name: String,
    tls: bool,
    address: SocketAddr,
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not NAME=IP:PORT, NAME=http://IP:PORT or NAME=https://IP:PORT");
        let (name, to) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        let (tls, address) = match to.split_once("://") {
            None => (false, to),
            Some(("http", address)) => (false, address),
            Some(("https", address)) => (true, address),
            Some(_) => return Err(wrong()),
        };
        let address = address.trim_end_matches('/').parse().map_err(|_| wrong())?;
        Ok(Self { name: name.to_owned(), tls, address })
    }
}

/// The parts of a response that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    /// Names and values; for cookies, only their names.
    headers: BTreeMap<&'static str, Vec<String>>,
    /// Length and hash of the body of a 2xx response to GET. Error pages of controllers differ.
    body: Option<(usize, u64)>,
}

/// How many requests were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: usize,
    pub(super) differing: usize,
    /// Those that neither address answered.
    pub(super) unanswered: usize,
    /// Those that `--max-requests` left out.
    pub(super) not_sent: usize,
}

/// Sends the requests to both addresses and prints what differs.
pub(super) async fn run(
    requests: &[(String, String)],
    sides: &[Side],
    args: &MigrateArgs,
    to: &mut impl Write,
) -> anyhow::Result<Counts> {
    let [old, new] = sides else { bail!("--compare takes two addresses") };
    let limit = usize::try_from(args.max_requests)?;
    let all = requests.iter().flat_map(|request| [(Method::GET, request), (Method::HEAD, request)]);
    let mut ticks = ticks(args.rate);
    let tls = Arc::new(unverified_client().context("TLS")?);
    let mut counts = Counts::default();
    for (method, (host, path)) in all.take(limit) {
        ticks.tick().await;
        let (ours, theirs) =
            tokio::join!(ask(old, &method, host, path, &tls), ask(new, &method, host, path, &tls));
        counts.sent += 1;
        let lines = match (&ours, &theirs) {
            (Err(ours), Err(theirs)) => {
                counts.unanswered += 1;
                vec![format!("not compared: {} {ours:?}, {} {theirs:?}", old.name, new.name)]
            }
            _ => differences((old, &ours), (new, &theirs)),
        };
        if !lines.is_empty() {
            writeln!(to, "{method} {}{}", printable(host), printable(path))?;
            lines.iter().try_for_each(|line| writeln!(to, "  {line}"))?;
        }
        counts.differing += usize::from(!lines.is_empty());
    }
    counts.differing -= counts.unanswered;
    counts.not_sent = (2 * requests.len()).saturating_sub(counts.sent);
    writeln!(to, "{counts}")?;
    Ok(counts)
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, differing, unanswered, not_sent } = self;
        write!(f, "{sent} requests to each, {differing} differ")?;
        if *unanswered > 0 {
            write!(f, ", {unanswered} not compared (no answer from either)")?;
        }
        if *not_sent > 0 {
            write!(f, ", {not_sent} not sent (--max-requests)")?;
        }
        Ok(())
    }
}

fn ticks(rate: u32) -> Interval {
    let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The response to a request, or the error.
async fn ask(
    side: &Side,
    method: &Method,
    host: &str,
    path: &str,
    tls: &Arc<ClientConfig>,
) -> Result<Answer, String> {
    match timeout(TIMEOUT, exchange(side, method, host, path, tls)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(format!("no response within {} s", TIMEOUT.as_secs())),
    }
}

async fn exchange(
    side: &Side,
    method: &Method,
    host: &str,
    path: &str,
    tls: &Arc<ClientConfig>,
) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(side.address).await?;
    match side.tls {
        false => over(stream, method, host, path).await,
        true => {
            let name = ServerName::try_from(host.to_owned())?;
            over(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?, method, host, path).await
        }
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &Method,
    host: &str,
    path: &str,
) -> anyhow::Result<Answer> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "portcullis-migrate")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender.
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    let read = match answer {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            let is_compared = *method == Method::GET && head.status.is_success();
            let body = if is_compared { Some(fingerprint(body).await?) } else { None };
            Ok(Answer { status: head.status, headers: headers(&head.headers), body })
        }
        Err(error) => Err(error.into()),
    };
    connection.abort();
    read
}

/// Length and hash of the beginning of a body.
async fn fingerprint(mut body: hyper::body::Incoming) -> anyhow::Result<(usize, u64)> {
    let (mut length, mut hasher) = (0, DefaultHasher::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let data = data.get(..data.len().min(MAX_BODY - length)).unwrap_or_default();
        hasher.write(data);
        length += data.len();
        if length >= MAX_BODY {
            break;
        }
    }
    Ok((length, hasher.finish()))
}

fn headers(all: &HeaderMap) -> BTreeMap<&'static str, Vec<String>> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let of = |name: &'static str| {
        let values: Vec<_> = all.get_all(name).iter().map(text).collect();
        (!values.is_empty()).then_some((name, values))
    };
    let cookies = all.get_all(header::SET_COOKIE).iter().map(text);
    let cookies = cookies.filter_map(|cookie| Some(cookie.split_once('=')?.0.to_owned()));
    let mut cookies: Vec<_> = cookies.collect();
    cookies.sort();
    let cookies = (!cookies.is_empty()).then_some(("set-cookie", cookies));
    HEADERS.iter().filter_map(|name| of(name)).chain(cookies).collect()
}

/// The differences, one line each. Values from servers are escaped.
fn differences(
    (old, ours): (&Side, &Result<Answer, String>),
    (new, theirs): (&Side, &Result<Answer, String>),
) -> Vec<String> {
    let (old, new) = (&old.name, &new.name);
    let line = |what: &str, ours: String, theirs: String| {
        (ours != theirs).then(|| format!("{what}: {old} {ours}, {new} {theirs}"))
    };
    let (a, b) = match (ours, theirs) {
        (Ok(a), Ok(b)) => (a, b),
        (a, b) => {
            let status = |side: &Result<Answer, String>| match side {
                Ok(answer) => answer.status.as_u16().to_string(),
                Err(why) => format!("{why:?}"),
            };
            return line("response", status(a), status(b)).into_iter().collect();
        }
    };
    let value = |answer: &Answer, name: &str| match answer.headers.get(name) {
        None => "none".to_owned(),
        Some(values) => values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", "),
    };
    let names = a.headers.keys().chain(b.headers.keys()).collect::<std::collections::BTreeSet<_>>();
    // Error pages are each controller's own.
    let is_page = |answer: &Answer| answer.status.is_client_error() || answer.status.is_server_error();
    let names = names.into_iter().filter(|name| !(**name == "content-type" && is_page(a) && is_page(b)));
    let body = |answer: &Answer| match answer.body {
        None => "none".to_owned(),
        Some((length, hash)) => format!("{length} bytes ({hash:016x})"),
    };
    let status = line("status", a.status.as_u16().to_string(), b.status.as_u16().to_string());
    let of_headers = names.filter_map(|name| line(name, value(a, name), value(b, name)));
    let of_body = if a.status == b.status { line("body", body(a), body(b)) } else { None };
    status.into_iter().chain(of_headers).chain(of_body).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: MigrateArgs,
    }

    fn args(flags: &[&str]) -> MigrateArgs {
        let line = Line::try_parse_from([&["migrate", "--rate=1000"], flags].concat());
        line.map_err(|error| error.to_string()).expect("flags are valid").args
    }

    /// A server that answers each request with the result of `answer` for its first line. Returns its address, and the
    /// requests that it received.
    async fn server(answer: fn(&str) -> String) -> (SocketAddr, Arc<std::sync::Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let received = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&head[..read]).into_owned();
                let line = text.lines().next().unwrap_or_default().to_owned();
                let host =
                    text.lines().find(|line| line.starts_with("host: ")).unwrap_or_default().to_owned();
                let _ = stream.write_all(answer(&line).as_bytes()).await;
                log.lock().expect("not poisoned").push(format!("{line} {host}"));
            }
        });
        (address, received)
    }

    fn old(line: &str) -> String {
        match line.split(' ').nth(1) {
            Some("/moved") => {
                "HTTP/1.1 308 x\r\nlocation: https://a.example/moved\r\ncontent-length: 0\r\n\r\n".into()
            }
            Some("/gone") => {
                "HTTP/1.1 404 x\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\nold".into()
            }
            Some("/silent") => String::new(),
            _ if line.starts_with("HEAD") => "HTTP/1.1 200 x\r\ncontent-length: 4\r\n\r\n".into(),
            _ => "HTTP/1.1 200 x\r\nset-cookie: a=1\r\ncontent-length: 4\r\n\r\nsame".into(),
        }
    }

    fn new(line: &str) -> String {
        match line.split(' ').nth(1) {
            Some("/moved") => {
                "HTTP/1.1 308 x\r\nlocation: https://a.example/moved/\r\ncontent-length: 0\r\n\r\n".into()
            }
            Some("/gone") => {
                "HTTP/1.1 404 x\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nnew".into()
            }
            Some("/body") if line.starts_with("GET") => {
                "HTTP/1.1 200 x\r\nset-cookie: a=2\r\ncontent-length: 4\r\n\r\nelse".into()
            }
            Some("/status") => "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n".into(),
            _ if line.starts_with("HEAD") => "HTTP/1.1 200 x\r\ncontent-length: 4\r\n\r\n".into(),
            _ => "HTTP/1.1 200 x\r\nset-cookie: a=2\r\ncontent-length: 4\r\n\r\nsame".into(),
        }
    }

    async fn compared(paths: &[&str], flags: &[&str]) -> (Counts, String, Vec<String>) {
        let (first, received) = server(old).await;
        let (second, _) = server(new).await;
        let sides = [format!("OLD={first}"), format!("NEW=http://{second}")]
            .map(|side| side.parse().expect("a side"));
        let requests: Vec<_> =
            paths.iter().map(|path| ("a.example".to_owned(), (*path).to_owned())).collect();
        let mut text = Vec::new();
        let counts = run(&requests, &sides, &args(flags), &mut text).await.expect("it runs");
        let received = received.lock().expect("not poisoned").clone();
        (counts, String::from_utf8(text).expect("text"), received)
    }

    #[tokio::test]
    async fn what_differs_is_printed() {
        let (counts, text, received) = compared(&["/same", "/gone"], &[]).await;
        assert_eq!(counts, Counts { sent: 4, ..Counts::default() }, "{text}");
        assert_eq!(text, "4 requests to each, 0 differ\n");
        let want = ["GET /same", "HEAD /same", "GET /gone", "HEAD /gone"];
        let want: Vec<_> = want.iter().map(|line| format!("{line} HTTP/1.1 host: a.example")).collect();
        assert_eq!(received, want);

        let (counts, text, _) = compared(&["/moved", "/body", "/status", "/silent"], &[]).await;
        assert_eq!(counts, Counts { sent: 8, differing: 7, ..Counts::default() });
        for part in [
            "GET a.example/moved\n  location: OLD \"https://a.example/moved\", NEW \"https://a.example/moved/\"\n",
            "GET a.example/body\n  body: OLD 4 bytes (",
            "GET a.example/status\n  status: OLD 200, NEW 503\n",
            "GET a.example/silent\n  response: OLD \"",
            "8 requests to each, 7 differ\n",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }

    #[tokio::test]
    async fn requests_are_bounded_in_number() {
        let (counts, text, received) = compared(&["/a", "/b", "/c"], &["--max-requests=3"]).await;
        assert_eq!(counts, Counts { sent: 3, not_sent: 3, ..Counts::default() });
        assert_eq!(received.len(), 3);
        assert_eq!(text, "3 requests to each, 0 differ, 3 not sent (--max-requests)\n");
    }

    #[tokio::test]
    async fn requests_without_an_answer_from_either_are_not_compared() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let sides =
            [format!("OLD={address}"), format!("NEW={address}")].map(|side| side.parse().expect("a side"));
        let requests = [("a.example".to_owned(), "/".to_owned())];
        let mut text = Vec::new();
        let counts = run(&requests, &sides, &args(&[]), &mut text).await.expect("it runs");
        assert_eq!(counts, Counts { sent: 2, unanswered: 2, ..Counts::default() });
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("GET a.example/\n  not compared: OLD \""), "{text}");
        assert!(
            text.ends_with("2 requests to each, 0 differ, 2 not compared (no answer from either)\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn requests_are_bounded_in_rate() {
        assert_eq!(ticks(10).period(), Duration::from_millis(100));
        assert_eq!(ticks(10).missed_tick_behavior(), MissedTickBehavior::Delay);
    }

    #[test]
    fn a_side_has_a_name_and_an_address() {
        for (text, want) in [
            ("OLD=192.0.2.1:80", Some((false, "192.0.2.1:80"))),
            ("OLD=http://192.0.2.1:80/", Some((false, "192.0.2.1:80"))),
            ("NEW=https://[2001:db8::1]:443", Some((true, "[2001:db8::1]:443"))),
            ("192.0.2.1:80", None),
            ("=192.0.2.1:80", None),
            ("OLD=192.0.2.1", None),
            ("OLD=ftp://192.0.2.1:21", None),
        ] {
            let got = text.parse::<Side>().ok().map(|side| (side.tls, side.address.to_string()));
            assert_eq!(got.as_ref().map(|(tls, address)| (*tls, address.as_str())), want, "{text}");
        }
    }
}
