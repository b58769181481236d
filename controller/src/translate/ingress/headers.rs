//! Headers that ConfigMaps add to answers, and what else is changed of the answers of backends.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use portcullis_routing::{
    Step,
    step::{AnswerRewrite, Change, Check, HeaderModifier},
};

use super::{compiler::Compiler, paths::Place, steps::own_url};
use crate::ir::{ConfigMap, Kind, ObjectKey, ingress::Answers};

impl Compiler<'_> {
    /// What is changed of answers. Headers that cannot be set as the Ingress demands close the path, as in ingress-nginx.
    pub(super) fn answers(&mut self, place: &Place<'_>) -> Vec<Step> {
        let Answers { headers, connection, cookie_domain, cookie_path, redirect } =
            &self.ingress.annotations.answers;
        let global = &self.host.reader.settings().live.ingress.headers;
        let mut steps = Vec::new();
        steps.extend(connection.map(Step::Connection));
        let rewrite = AnswerRewrite {
            location: redirect.clone(),
            own: own_url(&self.site()),
            cookie_domain: cookie_domain.clone(),
            cookie_path: cookie_path.clone(),
        };
        if redirect.is_some() || cookie_domain.is_some() || cookie_path.is_some() {
            steps.push(Step::AnswerRewrite(Box::new(rewrite)));
        }
        let hidden = HeaderModifier::new([], [], global.hidden.clone());
        steps.extend(hidden.ok().filter(|_| !global.hidden.is_empty()).map(Step::ResponseHeaders));
        if let Some(name) = headers.as_deref() {
            match self.custom_headers(name) {
                Ok(set) => steps.push(set),
                Err(why) => {
                    let why = format!("custom-headers: {why}");
                    let what = format!("path {} of {}", place.text, self.host.host);
                    self.refuse(&what, &format!("{why}; it is closed (503)"));
                    steps.push(Step::Check(Check::Closed(why.into())));
                }
            }
        }
        steps
    }

    /// The headers of a ConfigMap, all of which the operator has allowed (`global-allowed-response-headers`).
    fn custom_headers(&self, name: &str) -> Result<Step, String> {
        let (namespace, name) =
            name.split_once('/').ok_or_else(|| format!("{name} is not NAMESPACE/NAME of a ConfigMap"))?;
        let key = ObjectKey::new(Kind::ConfigMap, namespace, name);
        let of_key = self.custom_headers_of(&key);
        match namespace == self.ingress.meta.namespace() {
            true => of_key,
            // Nobody learns what there is in the namespaces of others.
            false => of_key.map_err(|_| {
                format!("{key}, of another namespace, is unavailable, or not all of its keys are headers that are allowed")
            }),
        }
    }

    fn custom_headers_of(&self, key: &ObjectKey) -> Result<Step, String> {
        let settings = &self.host.reader.settings().live.ingress;
        let allowed = &settings.headers.allowed;
        let header = |name: &str, value: &str| {
            let header = header(name, value).ok_or_else(|| no_header(key, name))?;
            match allowed.contains(&header.0) {
                true if !value.contains('$') => Ok(header),
                true => Err(format!("{key} has a variable in {name}, which is not served")),
                false => {
                    Err(format!("{key} has {name}, which global-allowed-response-headers does not allow"))
                }
            }
        };
        let set: Vec<_> = self
            .config_map(key)?
            .data
            .iter()
            .map(|(name, value)| header(name, value))
            .collect::<Result<_, _>>()?;
        HeaderModifier::new(set, [], []).map(Step::AnswerHeaders).map_err(|why| why.to_string())
    }

    /// A ConfigMap that an annotation names.
    pub(super) fn config_map(&self, key: &ObjectKey) -> Result<&Arc<ConfigMap>, String> {
        if !self.host.reader.settings().config_maps {
            return Err(format!(
                "{key} is not read: ConfigMaps are disabled (--no-config-maps, or readConfigMaps: false of the chart)"
            ));
        }
        let found = self.host.reader.config_map(key);
        found.ok_or_else(|| match self.host.reader.is_pending(key) {
            true => format!("{key} has not been read yet"),
            false => format!("{key} not found"),
        })
    }
}

/// A header that can be set.
pub(super) fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name).ok().filter(|name| Change::Set.check(name).is_ok())?;
    Some((name, HeaderValue::try_from(value).ok()?))
}

pub(super) fn no_header(key: &ObjectKey, name: &str) -> String {
    format!("{key} has {name:?}, which is not a header that can be set")
}
