//! A worker thread: its own runtime, its own sockets, its own connections to backends.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, mpsc as blocking},
    thread::JoinHandle,
    time::Duration,
};

use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions},
    protocols::http::v2::server::{H2Options, default_h2_options},
    server::configuration::ServerConf,
};
use portcullis_routing::{PortKey, Transport};
use tokio::{
    sync::{mpsc, oneshot},
    task,
};
use tracing::error;

use crate::{
    accept::{self, Outward, Port, Worker},
    clock, datagram,
    http::{HttpService, check::Checks, mirror::Mirrors, side::SideRequests},
    http1,
    io::pipe,
    limits::Limits,
    listener::Socket,
    shared::Shared,
    tls::{TlsBase, TlsConfigs},
    upstream::Dialler,
};

/// What a worker thread is told.
pub(crate) enum Command {
    /// Serve these sockets of a port too.
    Open { port: PortKey, sockets: Vec<Socket> },
    /// Close a port's sockets and let its connections end; `closed` is sent when the sockets are closed. UDP sockets
    /// stay open until their last flow has ended, but begin no new flow; `closed` does not wait for them.
    Close { port: PortKey, closed: oneshot::Sender<()> },
    /// End the remaining flows of a UDP port that was closed; `released` is sent when the port's sockets are closed.
    Release { port: PortKey, released: oneshot::Sender<()> },
    /// End all connections.
    Cut,
    /// End the thread.
    Stop,
}

/// A worker thread.
pub(crate) struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// A port that is being served.
struct Open {
    port: Arc<Port>,
    sockets: Vec<(oneshot::Sender<()>, task::JoinHandle<()>)>,
}

/// A port that is no longer served, but still has sockets, connections or flows.
struct Leaving {
    port: Arc<Port>,
    /// The tasks of sockets that are not closed yet.
    sockets: Vec<task::JoinHandle<()>>,
}

/// Upstream errors are retried as often as the request path asks; it does the counting.
const RETRIES: usize = 1000;
const H2_STREAMS: u32 = 128;
const H2_STREAM_WINDOW: u32 = 256 << 10;
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
const H2_SEND_BUFFER: usize = 256 << 10;

impl Handle {
    /// Starts a thread and waits until it can serve.
    ///
    /// # Errors
    /// Where the thread, its runtime or its HTTP service cannot be made.
    pub(crate) fn start(
        index: usize,
        shared: Arc<Shared>,
        tls: Arc<TlsBase>,
        ca_file: Option<String>,
    ) -> io::Result<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (started, ready) = blocking::channel();
        let main = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(async {
                // Its next tick is due soon: where no timer is due before one that is set anew, tokio wakes its own thread
                // to look at it, which is a system call for each request that has to wait.
                tokio::spawn(clock::run());
                pipe::set_limit(shared.options.pipes);
                http1::set_idle_backends(&shared.idle_backends);
                tokio::spawn(sweep(index, Arc::clone(&shared)));
                let worker = worker(index, shared, tls, ca_file);
                let _ = started.send(Ok(()));
                run(worker, receiver).await;
            });
            http1::close_idle_backends();
            // A lookup that hangs in a thread of its own must not hold up the end.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(main)?;
        ready.recv().map_err(|_| io::Error::other(format!("worker thread {index} could not start")))??;
        Ok(Self { commands, thread: Some(thread) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("a worker thread had panicked");
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("thread", &self.thread).finish_non_exhaustive()
    }
}

fn worker(index: usize, shared: Arc<Shared>, tls: Arc<TlsBase>, ca_file: Option<String>) -> Arc<Worker> {
    let options = &shared.options;
    let conf = Arc::new(ServerConf {
        ca_file,
        max_retries: RETRIES,
        upstream_keepalive_pool_size: options.upstream_idle_connections,
        ..ServerConf::default()
    });
    let dialler = Dialler::new(Arc::clone(&shared));
    let side = SideRequests::new(Arc::clone(&conf), dialler.clone(), &shared);
    let outward = Outward {
        dialler,
        mirrors: Mirrors::new(side.clone(), &shared),
        checks: Checks::new(side, Arc::clone(&shared.passwords)),
    };
    let hooks = HttpService::new(Arc::clone(&shared), outward.clone());
    let mut service = pingora_proxy::http_proxy(&conf, hooks);
    let mut server_options = HttpServerOptions::default();
    // Refused by the request path, whose answer says so without pingora's name.
    server_options.allow_connect_method_proxying = true;
    service.server_options = Some(server_options);
    service.h2_options = Some(h2_options());
    Arc::new(Worker {
        load: Arc::clone(&shared.loads[index]),
        service: Arc::new(service),
        tls: Arc::new(TlsConfigs::new(tls)),
        limits: Limits::new(options),
        outward: Arc::new(outward),
        shared,
    })
}

/// Regularly releases what the thread keeps and no longer needs: cached rules and tables, counters of paths that do not
/// exist any more, idle connections to backends, and buffers.
async fn sweep(index: usize, shared: Arc<Shared>) {
    loop {
        // Before the connections are swept: an endpoint is gone only once nothing holds a reference to it.
        shared.renew();
        shared.loads[index].ingress.sweep();
        http1::sweep_idle_backends();
        http1::sweep_buffers();
        tokio::time::sleep(SWEEP).await;
    }
}

const SWEEP: Duration = Duration::from_secs(1);

fn h2_options() -> H2Options {
    // Pingora's own, since h2's know no limit of streams and headers.
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(H2_STREAMS)
        .initial_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buffer_size(H2_SEND_BUFFER);
    options
}

async fn run(worker: Arc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut open: HashMap<PortKey, Open> = HashMap::new();
    let mut leaving: Vec<Leaving> = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Open { port, sockets } => {
                let entry = open.entry(port).or_insert_with(|| Open {
                    port: worker.shared.admission.port(port),
                    sockets: Vec::new(),
                });
                sockets.into_iter().for_each(|socket| entry.add(socket, &worker));
            }
            Command::Close { port, closed } => {
                if let Some(open) = open.remove(&port) {
                    leaving.retain(|left| !left.port.is_empty());
                    leaving.push(open.close(&worker).await);
                }
                let _ = closed.send(());
            }
            Command::Release { port, released } => {
                let (ending, others) = leaving.into_iter().partition(|left| left.port.key() == port);
                leaving = others;
                end(ending).await;
                let _ = released.send(());
            }
            Command::Cut => {
                let left = leaving.iter().map(|left| &left.port);
                open.values().map(|open| &open.port).chain(left).for_each(|port| port.cut());
                worker.service.http_cleanup().await;
            }
            Command::Stop => return,
        }
    }
}

/// Ends these ports with all their remaining connections and flows, and waits until their sockets are closed.
async fn end(leaving: Vec<Leaving>) {
    for Leaving { port, sockets } in leaving {
        port.cut();
        for socket in sockets {
            let _ = socket.await;
        }
        // Flows hold the socket, too.
        while !port.is_empty() {
            task::yield_now().await;
        }
    }
}

impl Open {
    fn add(&mut self, socket: Socket, worker: &Arc<Worker>) {
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let (port, worker) = (Arc::clone(&self.port), Arc::clone(worker));
        let task = match socket {
            Socket::Tcp(socket) => match tokio::net::TcpListener::from_std(socket) {
                Ok(listener) => tokio::spawn(accept::accept(listener, port, worker, stopped)),
                Err(error) => return error!(%error, "a socket cannot be served"),
            },
            Socket::Udp(socket) => tokio::spawn(datagram::serve(socket, port, worker, stopped)),
        };
        self.sockets.push((stop, task));
    }

    /// Closes the sockets, and gives the connections and flows time to end.
    async fn close(self, worker: &Worker) -> Leaving {
        let (stops, mut tasks): (Vec<_>, Vec<_>) = self.sockets.into_iter().unzip();
        drop(stops);
        if self.port.key().transport == Transport::Tcp {
            for task in tasks.drain(..) {
                let _ = task.await;
            }
        }
        self.port.drain();
        let port = Arc::downgrade(&self.port);
        let ceiling = worker.shared.options.port_drain;
        tokio::spawn(async move {
            tokio::time::sleep(ceiling).await;
            if let Some(port) = port.upgrade() {
                port.cut();
            }
        });
        Leaving { port: self.port, sockets: tasks }
    }
}
