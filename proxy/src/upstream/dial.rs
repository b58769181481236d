//! Which addresses requests may be carried to: one question, asked of each address at each attempt, after its name was
//! resolved. An endpoint of a Service that was permitted stays permitted as long as neither the table nor our own addresses
//! change. Nothing else makes a [`Permitted`], and nothing else can be connected to.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
};

use nix::libc;
use portcullis_routing::{
    ClusterAddresses, Endpoint, ExternalNames, RouteKind, ServiceName, Special, address::embedded,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::TcpStream};

/// Whether backends may be on this machine: at loopback, or at an address of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalBackends {
    /// Whoever writes the objects does not run this machine: nothing of it is a backend.
    #[default]
    Refused,
    /// Everything but the ports that this process has bound.
    Allowed,
}

/// What of a deployment is ours, and never a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// The addresses of this machine (or pod) but loopback, those of the other replicas, and those of the Services
    /// that lead to us.
    pub addresses: foldhash::HashSet<IpAddr>,
    /// Where the admin port is bound.
    pub admin: Option<SocketAddr>,
}

/// Who gave an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'o> {
    /// Somebody who may write endpoints.
    Endpoints,
    /// The DNS name of an ExternalName Service of this namespace, which a route of this kind refers to, or the URL that an
    /// Ingress of this namespace copies its requests to.
    Name { namespace: &'o str, kind: RouteKind },
    /// The URL of a service that an Ingress of this namespace has its requests checked by; `None` is the operator's. It may
    /// lead to our own listeners.
    Check { namespace: Option<&'o str> },
}

/// What addresses are held against.
#[derive(Clone, Copy)]
pub(crate) struct Policy<'p> {
    pub(crate) local: LocalBackends,
    pub(crate) names: ExternalNames,
    pub(crate) own: &'p Own,
    pub(crate) cluster: &'p ClusterAddresses,
    /// Whether one of our listeners is bound to an address of this machine.
    pub(crate) listens: &'p dyn Fn(SocketAddr) -> bool,
    /// Whether a listener of ours has this port, as it is bound or as clients name it.
    pub(crate) serves: &'p dyn Fn(u16) -> bool,
    /// The version of `own`, `listens` and `serves`; `None` for datagrams, whose listeners are others.
    pub(crate) version: Option<u64>,
}

/// An address that may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permitted(SocketAddr);

/// Why an address may not be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No backend has such an address.
    Special(Special),
    /// It is one of ours.
    Own,
    /// It belongs to this Service of another namespace.
    OtherNamespace(ServiceName),
    /// No name leads anywhere.
    Name,
}

impl Policy<'_> {
    /// Whether an address may be connected to.
    pub(crate) fn check(&self, address: SocketAddr, origin: Origin<'_>) -> Result<Permitted, Refusal> {
        self.check_both(address, origin)?;
        if let IpAddr::V6(ip) = address.ip()
            && let Some(ip) = embedded(ip)
        {
            self.check_both(SocketAddr::new(ip.into(), address.port()), origin)?;
        }
        Ok(Permitted(address))
    }

    /// Whether an endpoint may be connected to. If it may, [`Permitted::known`] knows it from then on.
    pub(crate) fn check_endpoint(
        &self,
        endpoint: &Endpoint,
        origin: Origin<'_>,
    ) -> Result<Permitted, Refusal> {
        let permitted = self.check(endpoint.address, origin)?;
        // For other origins it also depends on who asks, and on the addresses of Services.
        if let (Origin::Endpoints, Some(version)) = (origin, self.version) {
            endpoint.permit(version);
        }
        Ok(permitted)
    }

    fn check_both(&self, address: SocketAddr, origin: Origin<'_>) -> Result<(), Refusal> {
        if matches!(origin, Origin::Check { .. }) && self.is_listener(address) {
            return Ok(());
        }
        self.check_ip(address.ip(), address.port())?;
        self.check_name(address.ip(), origin)
    }

    /// Whether an address leads to a listener of ours, and not to the admin port of this pod or another one.
    fn is_listener(&self, address: SocketAddr) -> bool {
        let ip = address.ip();
        let is_admin = self.own.admin.is_some_and(|admin| admin.port() == address.port());
        let is_here = match (Special::of(ip), self.local) {
            (None, _) => self.own.addresses.contains(&ip),
            (Some(Special::Loopback), LocalBackends::Allowed) => (self.listens)(address),
            (Some(_), _) => false,
        };
        is_here && !is_admin && (self.serves)(address.port())
    }

    /// Whether a name may lead anywhere at all; asked before it is resolved.
    pub(crate) fn check_names(&self) -> Result<(), Refusal> {
        if self.names == ExternalNames::None { Err(Refusal::Name) } else { Ok(()) }
    }

    fn check_ip(&self, ip: IpAddr, port: u16) -> Result<(), Refusal> {
        let special = Special::of(ip);
        let is_own = || self.own.addresses.contains(&ip);
        match (special, self.local) {
            (None, _) if !is_own() => Ok(()),
            (None, LocalBackends::Refused) => Err(Refusal::Own),
            (None | Some(Special::Loopback), LocalBackends::Allowed) => {
                let address = SocketAddr::new(ip, port);
                let is_admin = self.own.admin.is_some_and(|admin| is_bound_by(address, admin));
                if is_admin || (self.listens)(address) { Err(Refusal::Own) } else { Ok(()) }
            }
            (Some(special), _) => Err(Refusal::Special(special)),
        }
    }

    fn check_name(&self, ip: IpAddr, origin: Origin<'_>) -> Result<(), Refusal> {
        let (namespace, kind) = match origin {
            Origin::Endpoints | Origin::Check { namespace: None } => return Ok(()),
            Origin::Name { namespace, kind } => (namespace, kind),
            Origin::Check { namespace: Some(namespace) } => (namespace, RouteKind::Ingress),
        };
        let foreign = match (self.names, kind) {
            (ExternalNames::None, _) => return Err(Refusal::Name),
            (ExternalNames::All, _) | (ExternalNames::Ingress, RouteKind::Ingress) => None,
            (ExternalNames::External | ExternalNames::Ingress, _) => {
                self.cluster.foreign(ip, kind, namespace)
            }
        };
        foreign.map_or(Ok(()), |service| Err(Refusal::OtherNamespace(service)))
    }
}

/// Whether a socket that is bound to `bound` takes connections to `address`.
pub(crate) fn is_bound_by(address: SocketAddr, bound: SocketAddr) -> bool {
    address.port() == bound.port() && (bound.ip().is_unspecified() || bound.ip() == address.ip())
}

impl Permitted {
    /// The address of an endpoint that was permitted to [`Origin::Endpoints`] over TCP by a policy of this version.
    pub(crate) fn known(endpoint: &Endpoint, version: u64) -> Option<Self> {
        endpoint.is_permitted_by(version).then_some(Self(endpoint.address))
    }

    /// The address.
    pub(crate) fn address(self) -> SocketAddr {
        self.0
    }

    /// Opens a TCP connection to the address, which sends small writes without delay.
    ///
    /// # Errors
    /// If there is no connection.
    pub(crate) async fn connect(self) -> io::Result<TcpStream> {
        self.connect_by(|socket| socket.set_tcp_nodelay(true)).await
    }

    /// Opens a TCP connection to the address, for which the kernel delays small writes (Nagle's algorithm).
    ///
    /// # Errors
    /// If there is no connection.
    pub(crate) async fn connect_delaying(self) -> io::Result<TcpStream> {
        self.connect_by(|_| Ok(())).await
    }

    async fn connect_by(self, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<TcpStream> {
        let domain = Domain::for_address(self.0);
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        prepare(&socket)?;
        match socket.connect(&self.0.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let tcp = TcpStream::from_std(socket.into())?;
        // Waiting by `ready` costs more. If there is an error, the socket is reported to have one. Otherwise the kernel need not
        // be asked for it.
        poll_fn(|cx| tcp.poll_write_ready(cx)).await?;
        let has_error = tcp.try_io(Interest::ERROR, || Ok(())).is_ok();
        if has_error && let Some(error) = tcp.take_error()? {
            return Err(error);
        }
        Ok(tcp)
    }
}

impl Refusal {
    /// How many reasons are told apart.
    pub(crate) const COUNT: usize = 8;
    /// What metrics call them, by [`Refusal::index`].
    pub(crate) const NAMES: [&str; Self::COUNT] = [
        "loopback",
        "link-local",
        "metadata",
        "unspecified",
        "multicast",
        "own",
        "other-namespace",
        "external-name",
    ];

    /// The place of its name.
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Special(Special::Loopback) => 0,
            Self::Special(Special::LinkLocal) => 1,
            Self::Special(Special::Metadata) => 2,
            Self::Special(Special::Unspecified) => 3,
            Self::Special(Special::Multicast) => 4,
            Self::Own => 5,
            Self::OtherNamespace(_) => 6,
            Self::Name => 7,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special(special) => write!(f, "{special} is never used as a backend"),
            Self::Own => f.write_str("it is an address of Portcullis itself"),
            Self::OtherNamespace(service) => write!(
                f,
                "it belongs to Service {service} of another namespace, and neither a ReferenceGrant there nor \
                 --external-names permits that"
            ),
            Self::Name => f.write_str("--external-names none disables ExternalName Services"),
        }
    }
}

impl fmt::Debug for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("local", &self.local)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use LocalBackends::{Allowed, Refused};

    /// Our pod is 10.0.0.7, another replica 10.0.0.8; listeners are bound everywhere at 8080, the admin port at 9080.
    fn check(local: LocalBackends, names: ExternalNames, address: &str, origin: Origin<'_>) -> &'static str {
        let own = Own {
            addresses: ["10.0.0.7", "10.0.0.8", "fd00::7"]
                .map(|ip| ip.parse().unwrap())
                .into_iter()
                .collect(),
            admin: Some("0.0.0.0:9080".parse().unwrap()),
        };
        let cluster = ClusterAddresses::default();
        let db = ServiceName { namespace: "data".into(), name: "db".into() };
        cluster.set(db, ["10.96.0.2", "10.0.0.20"].map(|ip| ip.parse().unwrap()));
        let web = ServiceName { namespace: "shop".into(), name: "web".into() };
        cluster.set(web, ["10.96.0.3".parse().unwrap()]);
        let listens = |address: SocketAddr| address.port() == 8080;
        let serves = |port: u16| matches!(port, 80 | 8080 | 9080);
        let policy = Policy {
            local,
            names,
            own: &own,
            cluster: &cluster,
            listens: &listens,
            serves: &serves,
            version: None,
        };
        let address: SocketAddr = address.parse().unwrap();
        match policy.check(address, origin) {
            Ok(permitted) => {
                assert_eq!(permitted.address(), address);
                "permitted"
            }
            Err(refusal) => Refusal::NAMES[refusal.index()],
        }
    }

    #[test]
    fn addresses_that_are_no_backends_are_refused_wherever_they_come_from() {
        let name = Origin::Name { namespace: "shop", kind: RouteKind::Http };
        for origin in [Origin::Endpoints, name] {
            for (address, in_a_cluster, in_a_folder) in [
                ("127.0.0.1:80", "loopback", "permitted"),
                ("127.0.0.1:9080", "loopback", "own"),
                ("127.0.0.1:8080", "loopback", "own"),
                ("[::1]:80", "loopback", "permitted"),
                ("[::1]:9080", "loopback", "own"),
                ("[::ffff:127.0.0.1]:80", "loopback", "permitted"),
                ("[::ffff:127.0.0.1]:9080", "loopback", "own"),
                ("169.254.169.254:80", "link-local", "link-local"),
                ("[::ffff:169.254.169.254]:80", "link-local", "link-local"),
                ("[64:ff9b::a9fe:a9fe]:80", "link-local", "link-local"),
                ("[2002:a9fe:a9fe::]:80", "link-local", "link-local"),
                ("[fe80::1]:80", "link-local", "link-local"),
                ("[fd00:ec2::254]:80", "metadata", "metadata"),
                ("0.0.0.0:9080", "unspecified", "unspecified"),
                ("[::]:9080", "unspecified", "unspecified"),
                ("224.0.0.1:80", "multicast", "multicast"),
                ("255.255.255.255:80", "multicast", "multicast"),
                ("10.0.0.7:10250", "own", "permitted"),
                ("10.0.0.7:9080", "own", "own"),
                ("10.0.0.8:8080", "own", "own"),
                ("[fd00::7]:80", "own", "permitted"),
                ("[::ffff:10.0.0.7]:80", "own", "permitted"),
                ("[64:ff9b::a00:7]:9080", "own", "own"),
                ("10.0.0.9:80", "permitted", "permitted"),
                ("10.0.0.9:9080", "permitted", "permitted"),
                ("192.0.2.1:80", "permitted", "permitted"),
                ("[2001:db8::1]:80", "permitted", "permitted"),
            ] {
                let external = ExternalNames::External;
                assert_eq!(check(Refused, external, address, origin), in_a_cluster, "{address} {origin:?}");
                assert_eq!(check(Allowed, external, address, origin), in_a_folder, "{address} {origin:?}");
            }
        }
    }

    #[test]
    fn checks_may_lead_to_our_own_listeners_and_nowhere_else_of_ours() {
        let (tenant, operator) =
            (Origin::Check { namespace: Some("shop") }, Origin::Check { namespace: None });
        for (address, in_a_cluster, in_a_folder) in [
            ("10.0.0.7:8080", "permitted", "permitted"),
            ("10.0.0.7:80", "permitted", "permitted"),
            ("10.0.0.8:8080", "permitted", "permitted"),
            ("[::ffff:10.0.0.7]:8080", "permitted", "permitted"),
            ("10.0.0.7:10250", "own", "permitted"),
            ("10.0.0.7:9080", "own", "own"),
            ("10.0.0.8:9080", "own", "own"),
            ("127.0.0.1:8080", "loopback", "permitted"),
            ("127.0.0.1:9080", "loopback", "own"),
            ("169.254.169.254:80", "link-local", "link-local"),
            ("[fd00:ec2::254]:80", "metadata", "metadata"),
            ("192.0.2.1:80", "permitted", "permitted"),
        ] {
            for origin in [tenant, operator] {
                let external = ExternalNames::External;
                assert_eq!(check(Refused, external, address, origin), in_a_cluster, "{address} {origin:?}");
                assert_eq!(check(Allowed, external, address, origin), in_a_folder, "{address} {origin:?}");
            }
        }
        for (names, origin, want) in [
            (ExternalNames::None, tenant, "external-name"),
            (ExternalNames::External, tenant, "other-namespace"),
            (ExternalNames::Ingress, tenant, "permitted"),
            (ExternalNames::None, operator, "permitted"),
            (ExternalNames::External, operator, "permitted"),
        ] {
            assert_eq!(check(Refused, names, "10.96.0.2:80", origin), want, "{names} {origin:?}");
        }
    }

    #[test]
    fn names_lead_as_far_as_they_may() {
        use ExternalNames::{All, External, Ingress, None};
        let by = |kind| Origin::Name { namespace: "shop", kind };
        let (route, ingress) = (by(RouteKind::Http), by(RouteKind::Ingress));
        for (names, address, origin, want) in [
            (None, "192.0.2.1:80", route, "external-name"),
            (None, "192.0.2.1:80", ingress, "external-name"),
            (None, "10.96.0.2:80", Origin::Endpoints, "permitted"),
            (External, "192.0.2.1:80", route, "permitted"),
            (External, "10.96.0.3:80", route, "permitted"),
            (External, "10.96.0.2:80", route, "other-namespace"),
            (External, "10.0.0.20:9999", ingress, "other-namespace"),
            (External, "[::ffff:10.0.0.20]:80", ingress, "other-namespace"),
            (External, "[64:ff9b::a00:14]:80", ingress, "other-namespace"),
            (External, "10.0.0.20:80", Origin::Endpoints, "permitted"),
            (Ingress, "10.96.0.2:80", ingress, "permitted"),
            (Ingress, "10.96.0.2:80", route, "other-namespace"),
            (Ingress, "127.0.0.1:80", ingress, "loopback"),
            (All, "10.96.0.2:80", route, "permitted"),
            (All, "10.0.0.7:80", route, "own"),
        ] {
            assert_eq!(check(Refused, names, address, origin), want, "{names} {address} {origin:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_sends_without_delay_or_is_refused() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Permitted(listener.local_addr().unwrap());
        assert!(address.connect().await.unwrap().nodelay().unwrap());
        assert!(!address.connect_delaying().await.unwrap().nodelay().unwrap());
        drop(listener);
        assert_eq!(address.connect().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
