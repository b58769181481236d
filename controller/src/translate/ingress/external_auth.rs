//! External authentication: the check of a path, by its Ingress or by the settings of all.

use std::sync::Arc;

use http::HeaderName;
use portcullis_routing::{
    HostPattern, Step, Template,
    step::{AuthCaching, Check, IngressAuth, ServiceUrl, SignIn},
    template::Variable,
};

use super::{
    compiler::Compiler,
    headers::{header, no_header},
    paths::Place,
    steps::{named_service, own_url},
};
use crate::{
    ir::{
        Kind, ObjectKey,
        ingress::{AuthOptions, CONSTANTS, ServiceTarget},
        live_settings::GlobalAuth,
    },
    translate::Fault,
};

const HOST_OF_ANYBODY: &str = "the URL uses the host of the request, which clients could choose freely, because this Ingress has no host";
/// The parameter that says where to return to after signing in.
const RETURN: &str = "rd";

/// What a path is to be checked by.
struct Wanted<'a> {
    target: &'a ServiceTarget,
    options: &'a AuthOptions,
    /// `None` where the settings say it.
    namespace: Option<&'a str>,
}

impl Compiler<'_> {
    /// The check of a path. One that cannot be made closes the path, which the owner is told.
    pub(super) fn external_auth(&mut self, place: &Place<'_>) -> Option<Step> {
        let check = match self.wanted(place)? {
            Ok(wanted) => self.check(place, &wanted),
            Err(key) => Err(format!("the setting {key} cannot be used").into()),
        };
        Some(Step::Check(match check {
            Ok(auth) => Check::IngressAuth(Arc::new(auth)),
            Err(why) => {
                let why = why.within("external authentication");
                let closed = Check::Closed(Arc::new(why.text.as_str().into()));
                self.refuse(
                    &format!("path {} of {}", place.text, self.host.host),
                    why.with("it is closed (503)"),
                );
                closed
            }
        }))
    }

    /// What the path is checked by: the Ingress's own, or the global one unless the Ingress or the path is exempt. An error
    /// names the setting that cannot be used.
    fn wanted(&self, place: &Place<'_>) -> Option<Result<Wanted<'_>, &'static str>> {
        let auth = &self.ingress.annotations.external_auth;
        if let Some(own) = &auth.own {
            let ((target, options), namespace) = (&**own, Some(self.ingress.meta.namespace()));
            return Some(Ok(Wanted { target, options, namespace }));
        }
        let GlobalAuth { url, options, unusable, exempt } = &self.host.reader.settings().live.ingress.auth;
        let path = place.path.map_or("/", |(_, path)| &path.text);
        if auth.without_global || exempt.iter().any(|begin| path.starts_with(&**begin)) {
            return None;
        }
        match (url, unusable) {
            (None, Some(key)) if *key == "global-auth-url" => Some(Err(key)),
            (None, _) => None,
            (Some(_), Some(key)) => Some(Err(key)),
            (Some(target), None) => Some(Ok(Wanted { target, options, namespace: None })),
        }
    }

    fn check(
        &self,
        place: &Place<'_>,
        Wanted { target, options, namespace }: &Wanted<'_>,
    ) -> Result<IngressAuth, Fault> {
        let text = |text: &str| self.with_constants(place, text);
        let url = self.service_url(place, target).map_err(|why| format!("auth-url: {why}"))?;
        let sign_in = options.sign_in.as_deref().map(|url| {
            let parameter = options.sign_in_parameter.as_deref().unwrap_or(RETURN);
            Ok::<_, String>(SignIn { url: text(&with_return(url, parameter))?, own: own_url(&self.site()) })
        });
        let set_headers = options.set_headers.as_deref().map(|name| self.headers_of(name)).transpose()?;
        let set_headers = set_headers.unwrap_or_default().into_iter();
        let set_headers = set_headers.map(|(name, value)| Ok((name, text(&value)?)));
        let auth = IngressAuth {
            url,
            sign_in: sign_in.transpose()?,
            redirect: options.redirect.as_deref().map(text).transpose()?,
            set_headers: set_headers.collect::<Result<_, String>>()?,
            caching: None,
            method: options.method.clone(),
            answer_headers: options.answer_headers.clone(),
            always_set_cookie: options.always_set_cookie,
            namespace: namespace.map(Into::into),
            satisfy: self.ingress.annotations.basic_auth.satisfy,
        };
        let Some(key) = options.cache_key.as_deref() else { return Ok(auth) };
        // An answer holds for nothing else: not at another host, path or Ingress, and not if something else is asked.
        let of = self.ingress;
        let place =
            format!("{} {} {}/{} {auth}", self.host.host, place.text, of.meta.namespace(), of.meta.name());
        let caching = AuthCaching { key: text(key)?, times: options.cache_times(), place: place.into() };
        Ok(IngressAuth { caching: Some(caching), ..auth })
    }

    /// The URL of a service.
    pub(super) fn service_url(
        &self,
        place: &Place<'_>,
        ServiceTarget { tls, host, port, target }: &ServiceTarget,
    ) -> Result<ServiceUrl, String> {
        let sent_host = |variable| if variable == Variable::SentHost { Variable::Host } else { variable };
        let host = self.with_constants(place, host)?.map(sent_host);
        if host.fixed().is_none() && *self.host.host == HostPattern::Any {
            return Err(HOST_OF_ANYBODY.into());
        }
        Ok(ServiceUrl { tls: *tls, host, port: *port, target: self.with_constants(place, target)? })
    }

    /// A text in which the variables are known that are the same for all requests of a path.
    pub(super) fn with_constants(&self, place: &Place<'_>, text: &str) -> Result<Template, String> {
        let (service, port) = named_service(place);
        let (meta, server) = (&self.ingress.meta, self.host.host.to_string());
        let [namespace, ingress, service_name, service_port, path, server_name] = CONSTANTS;
        let constants = [
            (namespace, meta.namespace()),
            (ingress, meta.name()),
            (service_name, service),
            (service_port, &port),
            (path, &place.text),
            (server_name, &server),
        ];
        Template::parse_with(text, &[], &constants).map_err(|why| why.to_string())
    }

    /// The headers that a ConfigMap of the Ingress's namespace has (`auth-proxy-set-headers`).
    fn headers_of(&self, name: &str) -> Result<Vec<(HeaderName, Box<str>)>, Fault> {
        let own = self.ingress.meta.namespace();
        let name = match name.split_once('/') {
            Some((namespace, name)) if namespace == own => name,
            _ => {
                let why = "a ConfigMap of its own namespace";
                return Err(format!("auth-proxy-set-headers {name} is not {own}/NAME, {why}").into());
            }
        };
        let key = ObjectKey::new(Kind::ConfigMap, own, name);
        let map = self.config_map(&key)?;
        let name = |name: &str, value: &str| header(name, value).ok_or_else(|| no_header(&key, name));
        let headers = map.data.iter().map(|(header, value)| Ok((name(header, value)?.0, value.clone())));
        headers.collect::<Result<_, String>>().map_err(Fault::from)
    }
}

/// A sign-in URL with the parameter that says where to return to, unless it has it.
fn with_return(url: &str, parameter: &str) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = query.split('&').filter(|pair| !pair.is_empty()).peekable();
    let joint = if pairs.peek().is_some() { '&' } else { '?' };
    let has = pairs
        .any(|pair| pair.split_once('=').is_some_and(|(name, value)| name == parameter && !value.is_empty()));
    match has {
        true => url.into(),
        false => format!("{url}{joint}{parameter}=$pass_access_scheme://$http_host$escaped_request_uri"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_url_says_where_to_return_to() {
        const BACK: &str = "$pass_access_scheme://$http_host$escaped_request_uri";
        for (url, parameter, want) in [
            ("http://l/start", "rd", format!("http://l/start?rd={BACK}")),
            ("http://l/start?a=b", "rd", format!("http://l/start?a=b&rd={BACK}")),
            ("http://l/start?rd=$host", "rd", "http://l/start?rd=$host".into()),
            ("http://l/start?rd=", "rd", format!("http://l/start?rd=&rd={BACK}")),
            ("http://l/start?rd=x", "back", format!("http://l/start?rd=x&back={BACK}")),
            ("http://l/start?xrd=x", "rd", format!("http://l/start?xrd=x&rd={BACK}")),
        ] {
            assert_eq!(with_return(url, parameter), want, "{url}");
        }
    }
}
