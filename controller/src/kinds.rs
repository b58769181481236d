//! Every kind that is read: one row each.
//!
//! From the rows come [`Kind`], [`Object`] and the maps of [`Snapshot`], what a document is taken for, which resources
//! are watched, where statuses are written, and what the chart has to permit (`e2e/chart` reads this file). A new kind
//! takes a row here, a reader in `objects/`, and its meaning in `translate/`; the compiler names what is missing.

use std::{collections::BTreeMap, fmt, sync::Arc};

use portcullis_routing::RouteKind;

use crate::{
    ir::{self, Meta, ObjectKey},
    snapshot::{ByName, Keyed, Slices, Store},
};

/// What the API says of a kind, and what is done with its objects here.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    /// The kind as manifests write it.
    pub name: &'static str,
    pub plural: &'static str,
    /// The `apiVersion` that we write.
    pub api_version: &'static str,
    /// Other versions of the group that manifests may name: of the same shape.
    pub other_versions: &'static [&'static str],
    /// The versions that an API server is asked for, the best one first; none where objects are not watched as a whole.
    pub watched_versions: &'static [&'static str],
    pub scope: Scope,
    /// Whether a CRD defines it.
    pub has_definition: bool,
    /// Whether most clusters are without it: it is of a later release, switched off, or of the experimental channel.
    pub is_optional: bool,
    pub status: StatusUse,
    /// How its objects are watched if only those that translation reads are fetched; empty if all objects are read.
    pub on_demand: &'static [OnDemandWatch],
    /// The kind of its rules in the routing table.
    pub route: Option<RouteKind>,
    pub name_form: NameForm,
    /// Whether everything that an author writes is in `spec`.
    pub has_spec: bool,
}

/// Where objects of a kind are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    /// In the namespaces that are watched.
    Namespace,
    /// In a namespace of the operator's, which need not be watched.
    OperatorNamespace,
}

/// How the status of a kind's objects is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusUse {
    Ignored,
    /// Others write it, and it decides what the object means.
    Read,
    /// We write it.
    Written(StatusShape),
}

/// The shapes of the statuses that we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusShape {
    /// Conditions of the object.
    Conditions,
    /// The same, conditions of each of its listeners, and the addresses of a Gateway.
    Listeners,
    /// Conditions at each parent.
    Parents,
    /// Conditions of a policy at each ancestor of its targets.
    Ancestors,
    /// Addresses.
    LoadBalancer,
}

/// What the names of a kind's objects look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameForm {
    Subdomain,
    Label,
    /// A label that begins with a letter.
    Label1035,
    /// Subdomains with colons between them.
    SignedSubdomain,
}

/// The group of the Gateway API.
pub(crate) const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// A kind of the Gateway API in its usual form.
const fn gateway_api(name: &'static str, plural: &'static str) -> Resource {
    Resource {
        api_version: "gateway.networking.k8s.io/v1",
        // The API server serves v1beta1 with the same shape.
        other_versions: &["v1beta1"],
        has_definition: true,
        ..built_in("gateway.networking.k8s.io/v1", name, plural)
    }
}

/// A kind of Kubernetes itself in its usual form.
const fn built_in(api_version: &'static str, name: &'static str, plural: &'static str) -> Resource {
    Resource {
        name,
        plural,
        api_version,
        other_versions: &[],
        watched_versions: &["v1"],
        scope: Scope::Namespace,
        has_definition: false,
        is_optional: false,
        status: StatusUse::Ignored,
        on_demand: &[],
        route: None,
        name_form: NameForm::Subdomain,
        has_spec: true,
    }
}

/// A type that objects are read into.
pub(crate) trait Typed: Sized {
    /// The object, where it is of this type.
    fn of(object: &Object) -> Option<&Self>;
}

/// What is kept in the order of keys.
type Sorted<T> = BTreeMap<ObjectKey, Arc<T>>;

/// `Type in field: Map { Kind = Resource; ... }`: the type in `ir` that objects of these kinds are read into, and the
/// field of the snapshot that holds them.
macro_rules! kinds {
    ($($object:ident in $field:ident: $store:ty { $($kind:ident = $resource:expr;)+ })+) => {
        /// The kinds that are read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // each is the kind of that name
        pub enum Kind {
            $($($kind,)+)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$($(Self::$kind,)+)+];

            /// Its row.
            pub const fn resource(self) -> &'static Resource {
                match self {
                    $($(Self::$kind => const { &$resource },)+)+
                }
            }
        }

        /// One object that was read.
        #[derive(Clone, Debug)]
        #[allow(missing_docs)] // each is an object of that type
        pub enum Object {
            $($object(Arc<ir::$object>),)+
        }

        impl Object {
            /// What every object has.
            pub fn meta(&self) -> &Meta {
                match self {
                    $(Self::$object(object) => &object.meta,)+
                }
            }

            /// The same, to be changed; copies an object that is shared.
            pub(crate) fn meta_mut(&mut self) -> &mut Meta {
                match self {
                    $(Self::$object(object) => &mut Arc::make_mut(object).meta,)+
                }
            }

            /// The same without spare room: it is kept for long, and there are many.
            pub(crate) fn compact(&self) -> Self {
                match self {
                    $(Self::$object(object) => Self::$object(Arc::new(ir::$object::clone(object))),)+
                }
            }
        }

        $(
            impl Typed for ir::$object {
                fn of(object: &Object) -> Option<&Self> {
                    match object {
                        Object::$object(object) => Some(object),
                        _ => None,
                    }
                }
            }

            impl From<ir::$object> for Object {
                fn from(object: ir::$object) -> Self {
                    Self::$object(Arc::new(object))
                }
            }

            impl Keyed for ir::$object {
                fn key(&self) -> &ObjectKey {
                    &self.meta.key
                }
            }
        )+

        /// Every object that was read. Translation reads it and nothing else.
        #[derive(Clone, Debug, Default)]
        #[allow(missing_docs)] // each holds the objects of that name
        pub struct Snapshot {
            $(pub $field: $store,)+
        }

        impl Snapshot {
            /// The object of a key.
            pub fn get(&self, key: &ObjectKey) -> Option<Object> {
                match key.kind {
                    $($(Kind::$kind)|+ => Store::find(&self.$field, key).cloned().map(Object::$object),)+
                }
            }

            /// All objects.
            pub fn objects(&self) -> impl Iterator<Item = Object> {
                std::iter::empty()$(.chain(self.$field.values().cloned().map(Object::$object)))+
            }

            pub(crate) fn insert(&mut self, object: Object) {
                match object {
                    $(Object::$object(object) => Store::put(&mut self.$field, object),)+
                }
            }

            pub(crate) fn remove(&mut self, key: &ObjectKey) {
                match key.kind {
                    $($(Kind::$kind)|+ => Store::forget(&mut self.$field, key),)+
                }
            }
        }
    };
}

// The order is that of statuses and reports.
kinds! {
    GatewayClass in gateway_classes: Sorted<ir::GatewayClass> {
        GatewayClass = Resource {
            scope: Scope::Cluster,
            status: StatusUse::Written(StatusShape::Conditions),
            ..gateway_api("GatewayClass", "gatewayclasses")
        };
    }
    Gateway in gateways: Sorted<ir::Gateway> {
        Gateway = Resource {
            status: StatusUse::Written(StatusShape::Listeners),
            ..gateway_api("Gateway", "gateways")
        };
    }
    ListenerSet in listener_sets: Sorted<ir::ListenerSet> {
        ListenerSet = Resource {
            other_versions: &[],
            status: StatusUse::Written(StatusShape::Listeners),
            ..gateway_api("ListenerSet", "listenersets")
        };
    }
    GatewayParameters in gateway_parameters: Sorted<ir::GatewayParameters> {
        GatewayParameters = Resource {
            api_version: "portcullis.dev/v1alpha1",
            other_versions: &[],
            watched_versions: &["v1alpha1"],
            // Those of a class are read wherever they are, as classes are.
            scope: Scope::OperatorNamespace,
            ..gateway_api("GatewayParameters", "gatewayparameters")
        };
    }
    Route in routes: Sorted<ir::Route> {
        HttpRoute = Resource {
            status: StatusUse::Written(StatusShape::Parents),
            route: Some(RouteKind::Http),
            ..gateway_api("HTTPRoute", "httproutes")
        };
        GrpcRoute = Resource {
            other_versions: &[],
            status: StatusUse::Written(StatusShape::Parents),
            route: Some(RouteKind::Grpc),
            ..gateway_api("GRPCRoute", "grpcroutes")
        };
        // Of these three kinds, the standard channel serves only v1.
        TlsRoute = Resource {
            other_versions: &[],
            status: StatusUse::Written(StatusShape::Parents),
            route: Some(RouteKind::Tls),
            ..gateway_api("TLSRoute", "tlsroutes")
        };
        TcpRoute = Resource {
            other_versions: &[],
            status: StatusUse::Written(StatusShape::Parents),
            route: Some(RouteKind::Tcp),
            ..gateway_api("TCPRoute", "tcproutes")
        };
        UdpRoute = Resource {
            other_versions: &[],
            status: StatusUse::Written(StatusShape::Parents),
            route: Some(RouteKind::Udp),
            ..gateway_api("UDPRoute", "udproutes")
        };
    }
    BackendTlsPolicy in backend_tls_policies: Sorted<ir::BackendTlsPolicy> {
        BackendTlsPolicy = Resource {
            other_versions: &[],
            status: StatusUse::Written(StatusShape::Ancestors),
            ..gateway_api("BackendTLSPolicy", "backendtlspolicies")
        };
    }
    XBackend in x_backends: Sorted<ir::XBackend> {
        XBackend = Resource {
            api_version: "gateway.networking.x-k8s.io/v1alpha1",
            other_versions: &[],
            watched_versions: &["v1alpha1"],
            // Of the experimental channel.
            is_optional: true,
            status: StatusUse::Written(StatusShape::Ancestors),
            ..gateway_api("XBackend", "xbackends")
        };
    }
    ReferenceGrant in grants: Sorted<ir::ReferenceGrant> {
        ReferenceGrant = Resource {
            // Up to release 1.4, v1beta1 is the only version.
            watched_versions: &["v1", "v1beta1"],
            ..gateway_api("ReferenceGrant", "referencegrants")
        };
    }
    Ingress in ingresses: Sorted<ir::Ingress> {
        Ingress = Resource {
            status: StatusUse::Written(StatusShape::LoadBalancer),
            route: Some(RouteKind::Ingress),
            ..built_in("networking.k8s.io/v1", "Ingress", "ingresses")
        };
    }
    IngressClass in ingress_classes: Sorted<ir::IngressClass> {
        IngressClass = Resource {
            scope: Scope::Cluster,
            ..built_in("networking.k8s.io/v1", "IngressClass", "ingressclasses")
        };
    }
    Service in services: ByName<Arc<ir::Service>> {
        Service = Resource {
            // It says at which address clients reach it.
            status: StatusUse::Read,
            name_form: NameForm::Label1035,
            ..built_in("v1", "Service", "services")
        };
    }
    EndpointSlice in endpoint_slices: Slices {
        EndpointSlice = Resource {
            has_spec: false,
            ..built_in("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
        };
    }
    Pod in pods: Sorted<ir::Pod> {
        // Watched as soon as there is an XBackend that selects Pods.
        Pod = Resource {
            // It says whether the Pod is an endpoint.
            status: StatusUse::Read,
            has_spec: false,
            ..built_in("v1", "Pod", "pods")
        };
    }
    Secret in secrets: Sorted<ir::Secret> {
        Secret = Resource {
            watched_versions: &[],
            on_demand: &[
                OnDemandWatch { whole: true, fields: "type=kubernetes.io/tls" },
                // Releases of Helm and tokens are many and large, and are never referred to.
                OnDemandWatch {
                    whole: false,
                    fields: "type!=kubernetes.io/tls,type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token",
                },
            ],
            has_spec: false,
            ..built_in("v1", "Secret", "secrets")
        };
    }
    ConfigMap in config_maps: Sorted<ir::ConfigMap> {
        ConfigMap = Resource {
            watched_versions: &[],
            // Policies and Gateways refer to only a few of them.
            on_demand: &[OnDemandWatch { whole: false, fields: "" }],
            has_spec: false,
            ..built_in("v1", "ConfigMap", "configmaps")
        };
    }
    ClusterTrustBundle in trust_bundles: Sorted<ir::ClusterTrustBundle> {
        ClusterTrustBundle = Resource {
            // Up to release 1.36 of Kubernetes, v1beta1 is the latest version.
            other_versions: &["v1beta1"],
            watched_versions: &["v1", "v1beta1"],
            scope: Scope::Cluster,
            is_optional: true,
            name_form: NameForm::SignedSubdomain,
            ..built_in("certificates.k8s.io/v1", "ClusterTrustBundle", "clustertrustbundles")
        };
    }
    Namespace in namespaces: Sorted<ir::Namespace> {
        Namespace = Resource {
            scope: Scope::Cluster,
            name_form: NameForm::Label,
            ..built_in("v1", "Namespace", "namespaces")
        };
    }
}

/// A watch that reports which objects of a kind exist that is fetched on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDemandWatch {
    /// Whether it reports objects as a whole, since many of them are needed.
    pub whole: bool,
    /// The field selector of the objects that it reports; empty selects all.
    pub fields: &'static str,
}

impl Resource {
    /// Whether only the objects that translation reads are fetched.
    pub fn is_on_demand(&self) -> bool {
        !self.on_demand.is_empty()
    }

    /// The API group; empty is the core group.
    pub fn group(&self) -> &'static str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// The version of [`Resource::api_version`].
    pub fn version(&self) -> &'static str {
        self.api_version.rsplit_once('/').map_or(self.api_version, |(_, version)| version)
    }

    /// Whether its objects are in namespaces.
    pub fn is_namespaced(&self) -> bool {
        self.scope != Scope::Cluster
    }

    /// The shape of the status that we write.
    pub fn status_shape(&self) -> Option<StatusShape> {
        match self.status {
            StatusUse::Written(shape) => Some(shape),
            StatusUse::Ignored | StatusUse::Read => None,
        }
    }

    /// The name of the CRD that defines it.
    pub fn definition(&self) -> Option<String> {
        self.has_definition.then(|| format!("{}.{}", self.plural, self.group()))
    }
}

impl Kind {
    /// The kind as manifests write it.
    pub fn as_str(self) -> &'static str {
        self.resource().name
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Kind;

    #[test]
    fn no_two_kinds_are_one_resource() {
        let resources = || Kind::ALL.iter().map(|kind| kind.resource());
        let of_group: BTreeSet<_> = resources().map(|resource| (resource.group(), resource.name)).collect();
        let paths: BTreeSet<_> = resources().map(|resource| (resource.group(), resource.plural)).collect();
        assert_eq!((of_group.len(), paths.len()), (Kind::ALL.len(), Kind::ALL.len()));
    }

    #[test]
    fn what_is_watched_is_a_version_that_is_read() {
        for kind in Kind::ALL {
            let resource = kind.resource();
            for version in resource.watched_versions {
                let is_read = *version == resource.version() || resource.other_versions.contains(version);
                assert!(is_read, "{kind} {version}");
            }
        }
    }
}
