//! Where Ingresses are in the table: under which hostname of which port, and with which certificates.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_routing::{HostPattern, ListenerId, PortKey, Protocol, TlsMode};

use super::{IngressSide, Listeners, tls};
use crate::translate::{CertificatePool, Place, Reader};

/// What Ingresses have in the table.
#[derive(Clone, Debug, Default)]
pub(super) struct IngressPlaces {
    /// The ports that Ingresses are served on.
    pub(super) ports: BTreeMap<PortKey, IngressPort>,
    pub(super) hosts: BTreeMap<Place, IngressPlace>,
}

/// A port that Ingresses are served on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IngressPort {
    pub(super) protocol: Protocol,
    pub(super) number: u16,
}

/// A hostname under which a port finds a host of Ingresses.
#[derive(Clone, Debug)]
pub(super) struct IngressPlace {
    pub(super) id: Arc<ListenerId>,
    /// How TLS is terminated, unless a Gateway's listener has the hostname.
    pub(super) shown: Option<tls::Shown>,
    /// Whether TLS is passed through, unless a Gateway's listener has the hostname.
    pub(super) passes_through: bool,
}

impl IngressPlaces {
    /// Decides where each host of `side` is, and removes it from the port with TLS if there is no certificate for it.
    pub(super) fn of(
        reader: &Reader<'_>,
        certificates: &CertificatePool,
        listeners: &Listeners,
        side: &mut IngressSide,
    ) -> Self {
        let mut places = Self::default();
        if side.ours.is_empty() {
            return places;
        }
        let settings = reader.settings();
        let (http, https) = (settings.bound_for_http().ok(), settings.bound_for_https().ok());
        for (bound, number, protocol) in
            [(http, settings.http_port, Protocol::Http), (https, settings.https_port, Protocol::Tls)]
        {
            bound.map(|bound| places.ports.entry(bound).or_insert(IngressPort { protocol, number }));
        }
        let mut shown = https.map_or_else(tls::ShownHosts::new, |https| {
            let tls_of = |hostname: &HostPattern| {
                listeners.holding(https, hostname)?.point.mode.as_ref().map(|mode| &mode.tls)
            };
            let of_gateway = |hostname: &HostPattern| matches!(tls_of(hostname), Some(TlsMode::Terminate(_)));
            let has_default = tls_of(&HostPattern::Any) != Some(&TlsMode::Passthrough);
            tls::choose(reader, certificates, side, of_gateway, has_default)
        });
        for (host, state) in &side.hosts {
            let id = Arc::new(ListenerId::ingress(host.clone()));
            for (port, hostname, is_tls) in [(http, &state.http, false), (https, &state.https, true)] {
                if let (Some(port), Some(hostname)) = (port, hostname) {
                    let shown = if is_tls { shown.remove(hostname) } else { None };
                    let passes_through = is_tls && state.passthrough.is_some();
                    let place = IngressPlace { id: Arc::clone(&id), shown, passes_through };
                    places.hosts.insert((port, hostname.clone()), place);
                }
            }
        }
        // Whoever names a host that nobody has is shown the default certificate, and then a 404.
        if let (Some(https), Some(default)) = (https, shown.remove(&HostPattern::Any)) {
            let id = Arc::new(ListenerId::ingress(HostPattern::Any));
            places.hosts.insert(
                (https, HostPattern::Any),
                IngressPlace { id, shown: Some(default), passes_through: false },
            );
        }
        places
    }
}
