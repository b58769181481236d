//! `filters` of a listener (ListenerFilters, experimental channel).
//!
//! A filter protects what is behind its listener. So one that cannot be read, or that is of a later release of the API, is
//! never left out: it stands in the list, and says why it cannot be carried out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    ir::{
        gateway::{FilterFault, InvalidFilter},
        route::{ExternalAuthFilter, InvalidRule},
    },
    objects::{
        checks::{Checks, Path},
        filters::external_auth,
        invalid::not_served,
        names,
        part::Part,
        wire::{ExtensionRef, ExternalAuth},
    },
};

/// `filters`: the list of each phase, by its name. A phase that is not known here may protect, too.
pub(super) type PhasesOfFilters = BTreeMap<String, Part<Vec<Part<Filter>>>>;

/// The phase that is served.
const REQUESTS: &str = "requests";

/// `filters.requests[]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    r#type: FilterType,
    external_auth: Option<ExternalAuth>,
    extension_ref: Option<ExtensionRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum FilterType {
    ExternalAuth,
    ExtensionRef,
}

type Read = Result<ExternalAuthFilter, InvalidFilter>;

pub(super) fn read(
    written: Option<Part<PhasesOfFilters>>,
    checks: &mut Checks,
    at: &Path<'_>,
) -> Box<[Read]> {
    let unserved = |why| InvalidFilter { fault: FilterFault::Unserved, why };
    let phases = match written.map(|part| part.read(checks, at)) {
        None => return Box::default(),
        Some(Ok(phases)) => phases,
        Some(Err(why)) => return [Err(unserved(why))].into(),
    };
    let mut all = Vec::new();
    for (phase, list) in phases {
        let at = at.field(&phase);
        if phase != REQUESTS {
            all.push(not_served(&at, "filters of this phase are not supported", checks).map_err(unserved));
            continue;
        }
        match list.read(checks, &at) {
            Ok(list) => {
                checks.entries(list.len(), 0..=16, &at);
                let list = list.iter().enumerate();
                all.extend(list.filter_map(|(i, filter)| one(filter, checks, &at.index(i))));
            }
            Err(why) => all.push(Err(unserved(why))),
        }
    }
    all.into()
}

/// Returns `None` where the object is refused for it.
fn one(written: &Part<Filter>, checks: &mut Checks, at: &Path<'_>) -> Option<Read> {
    let fault = |fault| move |why| InvalidFilter { fault, why };
    let filter = match written.read(checks, at) {
        Ok(filter) => filter,
        Err(why) => return Some(Err(fault(FilterFault::Unserved)(why))),
    };
    check_one_of(&filter, checks, at);
    Some(match filter.r#type {
        FilterType::ExternalAuth => {
            let auth = filter.external_auth?;
            let read = external_auth::read(auth, checks, &at.field("externalAuth"));
            read.map_err(fault(FilterFault::Invalid))
        }
        FilterType::ExtensionRef => {
            let reference = filter.extension_ref?;
            extension(&reference, checks, &at.field("extensionRef")).map_err(fault(FilterFault::Extension))
        }
    })
}

fn extension<T>(reference: &ExtensionRef, checks: &mut Checks, at: &Path<'_>) -> Result<T, InvalidRule> {
    checks.form(&reference.group, names::GROUP, &at.field("group"));
    checks.form(&reference.kind, names::KIND, &at.field("kind"));
    checks.form(&reference.name, names::OBJECT_NAME, &at.field("name"));
    not_served(at, format!("no filter of kind {} is served", reference.kind), checks)
}

/// The field that a type names is there, and no other.
fn check_one_of(filter: &Filter, checks: &mut Checks, at: &Path<'_>) {
    for (field, of, is_there) in [
        ("externalAuth", FilterType::ExternalAuth, filter.external_auth.is_some()),
        ("extensionRef", FilterType::ExtensionRef, filter.extension_ref.is_some()),
    ] {
        match (filter.r#type == of, is_there) {
            (true, false) => checks.error(&at.field(field), "is required by the filter's type"),
            (false, true) => checks.error(&at.field(field), "must not be set for another filter type"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderName;
    use portcullis_routing::step::{AuthProtocol, HttpAuth};

    use crate::{
        ir::{
            Object,
            gateway::{FilterFault, Gateway},
        },
        objects::testing::{holds, object, warns},
    };

    fn of_protocol(protocol: &str, filters: &str) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: public}}\nspec:\n  \
             gatewayClassName: portcullis\n  listeners: [{{name: a, port: 80, protocol: {protocol}, filters: {filters}}}]\n"
        )
    }

    fn requests(filters: &str) -> String {
        of_protocol("HTTP", &format!("{{requests: [{filters}]}}"))
    }

    fn gateway(text: &str) -> Arc<Gateway> {
        let Object::Gateway(gateway) = object(text) else { panic!("no Gateway") };
        gateway
    }

    const AUTH: &str =
        "{type: ExternalAuth, externalAuth: {protocol: HTTP, http: {}, backendRef: {name: a, port: 1}}}";

    #[test]
    fn a_filter_is_of_its_type_alone_and_stands_in_a_listener_of_requests() {
        let at = "spec.listeners[0].filters.requests[0]";
        let extension = "extensionRef: {group: a.com, kind: A, name: a}";
        let auth = "externalAuth: {protocol: HTTP, http: {}, backendRef: {name: a, port: 1}}";
        let many = vec![AUTH; 17].join(", ");
        for (filters, want) in [
            ("", String::new()),
            (AUTH, String::new()),
            ("{type: ExternalAuth}", format!("{at}.externalAuth: is required by")),
            ("{type: ExtensionRef}", format!("{at}.extensionRef: is required by")),
            (
                &format!("{{type: ExtensionRef, {extension}, {auth}}}"),
                format!("{at}.externalAuth: must not be set"),
            ),
            (
                &format!("{{type: ExternalAuth, {extension}, {auth}}}"),
                format!("{at}.extensionRef: must not be set"),
            ),
            ("{type: RequestMirror}", format!("{at}.type: unknown variant `RequestMirror`")),
            (&many, "spec.listeners[0].filters.requests: must have at most 16 entries".to_owned()),
        ] {
            holds(&[(filters, &want)], requests);
        }
        for protocol in ["TCP", "UDP"] {
            let want = "spec.listeners[0].filters: can only be set for protocol HTTP or HTTPS";
            holds(&[("{requests: []}", want)], |filters| of_protocol(protocol, filters));
        }
    }

    #[test]
    fn a_filter_that_is_not_served_stays_in_the_list_and_says_why() {
        let auth = |rest: &str| {
            format!(
                "{{type: ExternalAuth, externalAuth: {{protocol: HTTP, backendRef: {{name: a, port: 1}}, {rest}}}}}"
            )
        };
        let at = "spec.listeners[0].filters.requests[0]";
        for (filter, fault, why) in [
            (
                "{type: ExtensionRef, extensionRef: {group: a.com, kind: A, name: a}}".to_owned(),
                FilterFault::Extension,
                "extensionRef: no filter of kind A is served",
            ),
            (
                auth("http: {path: 'a b'}"),
                FilterFault::Invalid,
                "externalAuth.http.path: is not a valid path",
            ),
        ] {
            let want = format!("{at}.{why}");
            warns(&[(&*filter, &*want)], requests);
            let gateway = gateway(&requests(&format!("{filter}, {AUTH}")));
            let [Err(invalid), Ok(_)] = &*gateway.listeners[0].filters else {
                panic!("{:?}", gateway.listeners[0].filters)
            };
            assert_eq!((invalid.fault, invalid.to_string()), (fault, want));
        }
        let gateway = gateway(&of_protocol("HTTP", "{later: [{any: thing}]}"));
        let [Err(invalid)] = &*gateway.listeners[0].filters else { panic!("the phase is left out") };
        assert_eq!(invalid.fault, FilterFault::Unserved);
    }

    /// An empty list stands for all headers, so that none may become empty.
    #[test]
    fn lists_of_headers_keep_what_they_name() {
        let read = |auth: &str| {
            let auth = format!("{{backendRef: {{name: a, port: 1}}, {auth}}}");
            let gateway = gateway(&requests(&format!("{{type: ExternalAuth, externalAuth: {auth}}}")));
            gateway.listeners[0].filters[0].clone().expect("a filter that is served").protocol
        };
        let names = |names: &[&'static str]| -> Box<[HeaderName]> {
            names.iter().map(|name| HeaderName::from_static(name)).collect()
        };
        let list = "[Host, Authorization, X-A, x-a]";
        let http =
            format!("protocol: HTTP, http: {{allowedHeaders: {list}, allowedResponseHeaders: {list}}}");
        let AuthProtocol::Http(HttpAuth { request_headers, answer_headers, .. }) = read(&http) else {
            panic!("not by HTTP")
        };
        assert_eq!(request_headers, names(&["x-a"]), "the others are always sent");
        assert_eq!(answer_headers, names(&["host", "authorization", "x-a"]));
        let grpc = format!("protocol: GRPC, grpc: {{allowedHeaders: {list}}}");
        assert_eq!(
            read(&grpc),
            AuthProtocol::Grpc { request_headers: names(&["host", "authorization", "x-a"]) }
        );
    }
}
