//! Headers that ConfigMaps add to answers, and what else is changed of the answers of backends.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};
use portcullis_routing::{
    Step, Steps, Template,
    step::{AddedHeaders, AnswerRewrite, Change, Check, HeaderModifier, HeaderTemplates},
};

use super::{compiler::Compiler, paths::Place, steps::own_url};
use crate::{
    ir::{
        ConfigMap, Kind, ObjectKey,
        ingress::{Answers, CONSTANTS},
    },
    objects::live_settings::headers::Header,
    translate::{Fault, Settings},
};

const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

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
        let mut set = global.add.headers.to_vec();
        if let Some(name) = headers.as_deref() {
            match self.custom_headers(place, name) {
                // They take precedence.
                Ok(own) => {
                    set.retain(|(name, _)| own.iter().all(|(other, _)| other != name));
                    set.extend(own);
                }
                Err(why) => {
                    let why = why.within("custom-headers");
                    let what = format!("path {} of {}", place.text, self.host.host);
                    steps.push(Step::Check(Check::Closed(Arc::new(why.text.as_str().into()))));
                    self.refuse(&what, why.with("it is closed (503)"));
                }
            }
        }
        steps.extend(self.set_headers(place, &set).into_steps());
        steps
    }

    /// The steps of a rule of the proxy's own responses, with the headers that the settings add to all responses.
    pub(super) fn with_added_headers(&self, place: &Place<'_>, steps: Steps) -> Steps {
        let added = &self.host.reader.settings().live.ingress.headers.add.headers;
        match added.is_empty() {
            true => steps,
            false => {
                let added = self.set_headers(place, added).into_steps();
                Steps::new(steps.iter().cloned().chain(added))
            }
        }
    }

    /// The headers that the settings add to requests to backends.
    pub(super) fn sent_headers(&self, place: &Place<'_>) -> Vec<Step> {
        let global = &self.host.reader.settings().live.ingress.headers;
        let mut set = global.send.headers.to_vec();
        if global.original_uri && set.iter().all(|(name, _)| *name != ORIGINAL_URI) {
            set.push((ORIGINAL_URI, "$request_uri".into()));
        }
        let AddedHeaders { fixed, varying } = self.set_headers(place, &set);
        fixed.map(Step::RequestHeaders).into_iter().chain(varying.map(Step::RequestTemplates)).collect()
    }

    fn set_headers(&self, place: &Place<'_>, headers: &[Header]) -> AddedHeaders {
        set_headers(headers, |text| self.with_constants(place, text).unwrap_or_default())
    }

    /// The headers of a ConfigMap, all of which the operator has allowed (`global-allowed-response-headers`).
    fn custom_headers(&self, place: &Place<'_>, name: &str) -> Result<Vec<Header>, Fault> {
        let (namespace, name) =
            name.split_once('/').ok_or_else(|| format!("{name} is not NAMESPACE/NAME of a ConfigMap"))?;
        let key = ObjectKey::new(Kind::ConfigMap, namespace, name);
        self.host.reader.settings().check_watched(&key)?;
        let of_key = self.custom_headers_of(place, &key);
        match namespace == self.ingress.meta.namespace() {
            true => of_key,
            // Nobody learns what there is in the namespaces of others.
            false => of_key.map_err(|_| {
                let why = "of another namespace, is unavailable, or not all of its keys are headers that are allowed";
                format!("{key}, {why}").into()
            }),
        }
    }

    fn custom_headers_of(&self, place: &Place<'_>, key: &ObjectKey) -> Result<Vec<Header>, Fault> {
        let settings = &self.host.reader.settings().live.ingress;
        let allowed = &settings.headers.allowed;
        let header = |name: &str, value: &str| {
            let (header, _) = header(name, value).ok_or_else(|| no_header(key, name))?;
            if !allowed.contains(&header) {
                return Err(format!(
                    "{key} has {name}, which global-allowed-response-headers does not allow"
                ));
            }
            self.with_constants(place, value).map_err(|why| format!("{key} has {name}: {why}"))?;
            Ok((header, value.into()))
        };
        let headers = self.config_map(key)?.data.iter().map(|(name, value)| header(name, value));
        headers.collect::<Result<_, String>>().map_err(Fault::from)
    }

    /// A ConfigMap that an annotation names.
    pub(super) fn config_map(&self, key: &ObjectKey) -> Result<&Arc<ConfigMap>, Fault> {
        if !self.host.reader.settings().config_maps {
            let why = "ConfigMaps are disabled (--no-config-maps, or readConfigMaps: false of the chart)";
            return Err(format!("{key} is not read: {why}").into());
        }
        let found = self.host.reader.config_map(key);
        found.ok_or_else(|| match self.host.reader.is_pending(key) {
            true => format!("{key} has not been read yet").into(),
            false => Fault::of_reference(format!("{key} not found"), true),
        })
    }
}

/// The headers that the settings add to responses to requests that no rule takes. The variables of an Ingress are empty there.
pub(crate) fn of_unmatched(settings: &Settings) -> Option<Arc<AddedHeaders>> {
    let headers = &settings.live.ingress.headers.add.headers;
    let constants = CONSTANTS.map(|constant| (constant, ""));
    let parse = |text: &str| Template::parse_with(text, &[], &constants).unwrap_or_default();
    (!headers.is_empty()).then(|| Arc::new(set_headers(headers, parse)))
}

/// Returns the changes that set these headers, split into fixed values and templates. The headers were validated before. A
/// header without a valid value for the path is removed.
fn set_headers(headers: &[Header], parse: impl Fn(&str) -> Template) -> AddedHeaders {
    let (mut set, mut remove, mut templates) = (Vec::new(), Vec::new(), Vec::new());
    for (name, text) in headers {
        let template = parse(text);
        match template.fixed() {
            // As in nginx; a request always has a Host.
            Some("") if *name == header::HOST => {}
            Some("") => remove.push(name.clone()),
            Some(value) => match HeaderValue::try_from(value) {
                Ok(value) => set.push((name.clone(), value)),
                Err(_) if *name == header::HOST => {}
                Err(_) => remove.push(name.clone()),
            },
            None => templates.push((name.clone(), template)),
        }
    }
    let is_any = !(set.is_empty() && remove.is_empty());
    let fixed = HeaderModifier::new(set, [], remove).ok().filter(|_| is_any);
    let varying = HeaderTemplates::new(templates).ok().filter(|templates| !templates.all().is_empty());
    AddedHeaders { fixed, varying }
}

/// A header that can be set.
pub(super) fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name).ok().filter(|name| Change::Set.check(name).is_ok())?;
    let value = Some(value).filter(|value| !ConfigMap::is_too_long(value))?;
    Some((name, HeaderValue::try_from(value).ok()?))
}

pub(super) fn no_header(key: &ObjectKey, name: &str) -> String {
    format!("{key} has {name:?}, which is not a header that can be set")
}

#[cfg(test)]
mod tests {
    use crate::translate::{Pools, Settings, full, testing::snapshot};

    #[test]
    fn headers_of_a_namespace_that_is_not_watched_say_what_to_do() {
        let objects = snapshot(
            "
kind: Ingress
metadata: { namespace: shop, name: web, annotations: { nginx.ingress.kubernetes.io/custom-headers: edge/headers } }
spec:
  ingressClassName: portcullis
  rules: [{ host: a.test, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] } }]
",
        );
        let unavailable = "ConfigMap edge/headers, of another namespace, is unavailable";
        let unwatched = "ConfigMap edge/headers is not read, because namespace edge is not watched: add edge to --watch-namespace";
        for (watched, want) in
            [(&[][..], unavailable), (&["shop", "edge"], unavailable), (&["shop"], unwatched)]
        {
            let watched_namespaces = watched.iter().map(|name| (*name).into()).collect();
            let settings = Settings { watched_namespaces, ..Settings::default() };
            let told = full(&objects, &settings, None, &Pools::default()).statuses.to_string();
            assert!(told.contains(want), "{watched:?}: {told}");
        }
    }
}
