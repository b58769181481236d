//! The clients: each asks again and again, until the tally is stopped.

use std::{rc::Rc, time::Instant};

use anyhow::{Result, ensure};
use rustls::pki_types::CertificateDer;
use tokio::{
    task::{JoinSet, spawn_local},
    time::sleep,
};

use super::{AFTER_FAILURE, Mode, Plan, Tally};
use crate::client::{Ask, Datagrams, Http1, Http2, Refused, Target, Tls, WebSocket};

/// Starts the clients as tasks of the current `LocalSet`; they end when the tally is stopped.
///
/// # Errors
/// Where the certificate is of no use.
pub fn start(
    plan: Plan,
    target: &Rc<Target>,
    certificate: CertificateDer<'static>,
    tally: &Rc<Tally>,
) -> Result<()> {
    let alpn: &[u8] = if plan.mode.is_http2() { b"h2" } else { b"http/1.1" };
    let tls = Tls::new(certificate, alpn)?;
    if tally.pace.is_some() {
        let tally = tally.clone();
        spawn_local(async move {
            let Some(pace) = &tally.pace else { return };
            if let Err(error) = pace.run().await {
                tally.failed(&error);
            }
        });
    }
    for _ in 0..plan.connections {
        let (target, tally, tls) = (target.clone(), tally.clone(), tls.clone());
        spawn_local(async move { client(plan, &target, &tally, &tls).await });
    }
    Ok(())
}

async fn client(plan: Plan, target: &Target, tally: &Rc<Tally>, tls: &Tls) {
    let shape = plan.mode.shape();
    match plan.mode {
        Mode::H2 | Mode::Grpc => http2(plan, target, tally, tls).await,
        Mode::WebSocket => {
            let connect = async || WebSocket::new(target.connect().await?, target).await;
            one_by_one(plan, target, tally, connect).await;
        }
        Mode::Datagram => one_by_one(plan, target, tally, async || Datagrams::new(target).await).await,
        mode if mode.over_tls() => {
            let connect = async || Ok(Http1::shaped(target.connect_tls(tls).await?, target, shape));
            one_by_one(plan, target, tally, connect).await;
        }
        _ => {
            let connect = async || Ok(Http1::shaped(target.connect().await?, target, shape));
            one_by_one(plan, target, tally, connect).await;
        }
    }
}

/// One request after the other on each connection.
async fn one_by_one<C: Ask>(
    plan: Plan,
    target: &Target,
    tally: &Tally,
    connect: impl AsyncFn() -> Result<C>,
) {
    let each_connects = plan.mode.connects_for_each();
    while !tally.stopped.get() {
        let mut began = if each_connects { tally.turn().await } else { Instant::now() };
        let ended = async {
            let mut connection = connect().await?;
            while !tally.stopped.get() {
                if !each_connects {
                    began = tally.turn().await;
                }
                let answer = connection.ask().await?;
                target.check(answer)?;
                if let Some(name) = &target.header {
                    ensure!(connection.has(name), "an answer without {name}");
                }
                tally.answered(began);
                pause(plan).await;
                if answer.closes {
                    tally.reconnected();
                }
                if answer.closes || each_connects {
                    break;
                }
            }
            anyhow::Ok(())
        }
        .await;
        if let Err(error) = ended {
            tally.failed(&error);
            sleep(AFTER_FAILURE).await;
        }
    }
}

async fn http2(plan: Plan, target: &Target, tally: &Rc<Tally>, tls: &Tls) {
    while !tally.stopped.get() {
        let connected = async {
            let stream = target.connect_tls(tls).await?;
            if plan.mode == Mode::Grpc {
                Http2::grpc(stream, target).await
            } else {
                Http2::new(stream, target).await
            }
        };
        let connection = match connected.await {
            Ok(connection) => connection,
            Err(error) => {
                tally.failed(&error);
                sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let mut streams = JoinSet::new();
        for _ in 0..plan.streams {
            streams.spawn_local(stream(plan, connection.clone(), target.clone(), tally.clone()));
        }
        streams.join_all().await;
        if !tally.stopped.get() {
            tally.reconnected();
            sleep(AFTER_FAILURE).await;
        }
    }
}

/// Asks until the connection takes no more.
async fn stream(plan: Plan, connection: Http2, target: Target, tally: Rc<Tally>) {
    while !tally.stopped.get() {
        let began = tally.turn().await;
        let checked = match connection.ask().await {
            Ok(answer) => target.check(answer),
            Err(Refused::Retired) => {
                tally.not_sent(began);
                return;
            }
            Err(Refused::Failed(error)) => {
                tally.failed(&error);
                return;
            }
        };
        match checked {
            Ok(()) => tally.answered(began),
            Err(error) => tally.failed(&error),
        }
        pause(plan).await;
    }
}

async fn pause(plan: Plan) {
    if !plan.pause.is_zero() {
        sleep(plan.pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::duplex, task::LocalSet, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_request_that_a_retired_connection_does_not_take_is_still_due() {
        let plan = Plan { mode: Mode::H2, connections: 1, streams: 1, pause: Duration::ZERO };
        let target = Target {
            address: ([127, 0, 0, 1], 1).into(),
            host: "a.example".to_owned(),
            path: "/".to_owned(),
            body: 0,
            header: None,
        };
        let test = async {
            let (client, server) = duplex(1 << 16);
            let retired = spawn_local(async move {
                let mut connection = h2::server::handshake(server).await.unwrap();
                connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                while connection.accept().await.is_some() {}
            });
            let connection = Http2::new(client, &target).await.unwrap();
            retired.await.unwrap();
            let tally = Rc::new(Tally::at_rate(1.0));
            let due = Instant::now();
            tally.not_sent(due);
            stream(plan, connection, target, tally.clone()).await;
            assert_eq!(tally.turn().await, due);
            assert_eq!(tally.errors(), 0);
        };
        timeout(Duration::from_secs(40), LocalSet::new().run_until(test)).await.expect("it is due");
    }
}
