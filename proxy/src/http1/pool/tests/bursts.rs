//! Requests that arrive at once while there is no idle connection.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Weak,
};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, LocalSet, yield_now},
    time::{advance, sleep},
};

use super::*;
use crate::http1::{
    backend::ConnectError,
    pool::{
        Takes::New,
        demand::{FIRST, PACE},
    },
};

const LIMIT: Duration = Duration::from_secs(5);

fn identity() -> Identity {
    Identity { address: ([127, 0, 0, 1], 80).into(), tls: TlsId::default() }
}

/// A backend to which connections are established when the test says so.
#[derive(Clone)]
struct Backend {
    listener: Rc<std::net::TcpListener>,
    /// The backend's ends of the connections.
    ends: Rc<RefCell<Vec<std::net::TcpStream>>>,
    begun: Rc<Cell<usize>>,
    making: Rc<RefCell<Vec<Making>>>,
}

type Making = oneshot::Sender<Result<Connection, ConnectError>>;
type Request = JoinHandle<Result<Lent, ConnectError>>;

impl Backend {
    fn new() -> Self {
        POOL.set(pool(&IdleLimit::new(1000, 1)));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { listener: Rc::new(listener), ends: Rc::default(), begun: Rc::default(), making: Rc::default() }
    }

    fn connection(&self) -> Connection {
        let tcp = std::net::TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        tcp.set_nonblocking(true).unwrap();
        self.ends.borrow_mut().push(self.listener.accept().unwrap().0);
        let backend = BackendKey {
            kind: BackendObject::Service,
            namespace: "test".into(),
            service: "backend".into(),
            port: PortKey::tcp(80),
        };
        let open = Connections::new().open(&backend);
        Connection::new(Stream::Plain(TcpStream::from_std(tcp).unwrap()), Weak::new(), open)
    }

    fn request(&self, takes: Takes) -> Request {
        let backend = self.clone();
        tokio::task::spawn_local(lend(identity(), takes, LIMIT, move |_| {
            backend.begun.set(backend.begun.get() + 1);
            let (make, made) = oneshot::channel();
            backend.making.borrow_mut().push(make);
            async move { made.await.unwrap() }
        }))
    }

    fn requests(&self, count: usize) -> Vec<Request> {
        (0..count).map(|_| self.request(Any)).collect()
    }

    /// Ends the attempts to connect with the results of `make`, in the order in which they began.
    async fn make(&self, make: impl Fn(&Self) -> Result<Connection, ConnectError>) {
        let making = self.making.take();
        making.into_iter().for_each(|one| drop(one.send(make(self))));
        settle().await;
    }

    async fn make_all(&self) {
        self.make(|backend| Ok(backend.connection())).await;
    }
}

/// Lets a round pass, and then lets all tasks run. The extra millisecond is the resolution of timers.
async fn pass_round() {
    advance(PACE + Duration::from_millis(1)).await;
    settle().await;
}

/// Lets all tasks run.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

async fn run(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

fn refused(_: &Backend) -> Result<Connection, ConnectError> {
    Err(ConnectError::Io(std::io::ErrorKind::ConnectionRefused.into()))
}

fn give(connection: Connection) {
    give_back(identity(), connection, None);
}

fn done(requests: &[Request]) -> Vec<usize> {
    (0..requests.len()).filter(|place| requests[*place].is_finished()).collect()
}

async fn lent(request: Request) -> Lent {
    request.await.unwrap().unwrap()
}

fn nothing_is_left() {
    POOL.with_borrow(|pool| assert!(pool.stacks.is_empty() && pool.len == 0, "{pool:?}"));
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_answered_within_a_round_share_its_connections() {
    run(async {
        let backend = Backend::new();
        let mut requests = backend.requests(500);
        settle().await;
        assert_eq!(backend.begun.get(), FIRST);
        backend.make_all().await;
        while !requests.is_empty() {
            let lent = requests.extract_if(.., |request| request.is_finished()).collect::<Vec<_>>();
            assert_eq!(lent.len(), FIRST.min(lent.len() + requests.len()));
            for request in lent {
                give(self::lent(request).await.connection);
            }
            settle().await;
        }
        assert_eq!(backend.begun.get(), FIRST);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_take_long_wait_for_a_few_rounds_only() {
    run(async {
        let backend = Backend::new();
        let requests = backend.requests(300);
        settle().await;
        for (round, begun) in [FIRST, 3 * FIRST, 7 * FIRST, 15 * FIRST, 300].into_iter().enumerate() {
            while !backend.making.borrow().is_empty() {
                assert!(backend.making.borrow().len() <= FIRST);
                backend.make_all().await;
            }
            assert_eq!((backend.begun.get(), done(&requests).len()), (begun, begun), "round {round}");
            advance(PACE).await;
            settle().await;
        }
        // When no request has waited for a round, the next round has the size of the first one again.
        advance(PACE).await;
        let _more = backend.requests(2 * FIRST);
        settle().await;
        assert_eq!(backend.begun.get(), 300 + FIRST);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_none_can_be_made_no_more_are_tried_and_requests_wait_for_the_limit_alone() {
    run(async {
        let backend = Backend::new();
        let requests = backend.requests(100);
        sleep(LIMIT - Duration::from_millis(1)).await;
        assert_eq!((backend.begun.get(), done(&requests).len()), (FIRST, 0));
        // A connection that is given back still serves the waiting requests, in their order of arrival.
        let connection = backend.connection();
        give(connection);
        settle().await;
        assert_eq!(done(&requests), [0]);
        sleep(Duration::from_millis(2)).await;
        assert_eq!(done(&requests), [&[0][..], &(FIRST..100).collect::<Vec<_>>()].concat());
        for request in requests.into_iter().skip(FIRST) {
            assert!(matches!(request.await.unwrap(), Err(ConnectError::TimedOut)));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_made_in_vain_is_for_the_next_request() {
    run(async {
        let backend = Backend::new();
        let (first, second) = (backend.request(Any), backend.request(Open));
        settle().await;
        assert_eq!(backend.begun.get(), 2);
        let ours = [backend.connection(), backend.connection()];
        let ports = ours.each_ref().map(port);
        ours.into_iter().for_each(give);
        let lent = [lent(first).await, lent(second).await];
        assert_eq!(
            lent.each_ref().map(|lent| (port(&lent.connection), lent.reused)),
            ports.map(|p| (p, true))
        );
        let third = backend.request(Any);
        settle().await;
        backend
            .make(|backend| if backend.begun.get() > 3 { refused(backend) } else { Ok(backend.connection()) })
            .await;
        assert!(third.is_finished());
        POOL.with_borrow(|pool| assert_eq!(pool.len, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_take_only_what_they_may() {
    run(async {
        let backend = Backend::new();
        let (new, open, any) = (backend.request(New), backend.request(Open), backend.request(Any));
        settle().await;
        // The backend says that it keeps this connection idle for no time at all.
        give_back(identity(), backend.connection(), Some(Duration::ZERO));
        settle().await;
        assert_eq!([&new, &open, &any].map(|request| request.is_finished()), [false, false, true]);
        give(backend.connection());
        settle().await;
        assert_eq!([&new, &open].map(|request| request.is_finished()), [false, true]);
        give(backend.connection());
        backend.make_all().await;
        assert!(!lent(new).await.reused);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_its_backend_has_closed_is_for_nobody() {
    run(async {
        let backend = Backend::new();
        let request = backend.request(Open);
        settle().await;
        let closed = backend.connection();
        backend.ends.borrow_mut().clear();
        give(closed);
        settle().await;
        assert!(!request.is_finished());
        give(backend.connection());
        settle().await;
        assert!(request.is_finished(), "the request waits at its place");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_a_backend_refuses_all_fail_at_once() {
    run(async {
        let (backend, began) = (Backend::new(), Instant::now());
        let requests = backend.requests(500);
        settle().await;
        backend.make(refused).await;
        // Each failed attempt made room for another, until `FIRST` attempts had failed.
        let tried = 2 * FIRST - 1;
        assert_eq!((backend.begun.get(), done(&requests).len()), (tried, 500 - (FIRST - 1)));
        backend.make(refused).await;
        for (place, request) in requests.into_iter().enumerate() {
            match request.await.unwrap() {
                Err(ConnectError::Io(_)) => assert!(place < tried),
                Err(ConnectError::Others) => assert!(place >= tried),
                other => panic!("{other:?}"),
            }
        }
        // Requests that arrive later try again.
        let requests = backend.requests(500);
        settle().await;
        backend.make(refused).await;
        assert_eq!((backend.begun.get(), done(&requests).len()), (tried + FIRST, 500));
        assert_eq!(Instant::now(), began);
        pass_round().await;
        POOL.with_borrow_mut(Pool::sweep);
        nothing_is_left();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_fails_alone_and_another_takes_its_place() {
    run(async {
        let backend = Backend::new();
        let requests = backend.requests(2 * FIRST);
        settle().await;
        let first = backend.making.borrow_mut().remove(0);
        first.send(refused(&backend)).unwrap();
        settle().await;
        assert_eq!((backend.begun.get(), done(&requests)), (FIRST + 1, vec![0]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_leaves_nothing_behind() {
    run(async {
        let backend = Backend::new();
        let requests = backend.requests(3 * FIRST);
        settle().await;
        // The first request ends after it was given a connection, before its task has run.
        give(backend.connection());
        requests[0].abort();
        settle().await;
        assert!(requests[1].is_finished() && !requests[2].is_finished());
        // Two requests end while connections are being established for them; the next requests take their places.
        requests[FIRST].abort();
        requests[2].abort();
        settle().await;
        assert_eq!(backend.begun.get(), FIRST + 3, "the first request's place is taken, too");
        requests.iter().for_each(Request::abort);
        settle().await;
        advance(PACE).await;
        settle().await;
        // The connection of the second request is still being established, for any later request.
        backend.make_all().await;
        POOL.with_borrow(|pool| assert_eq!(pool.len, 1));
        clear();
        nothing_is_left();
    })
    .await;
}
