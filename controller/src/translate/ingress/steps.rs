//! What the annotations of an Ingress do to a request: each family becomes steps. Their order is that of
//! [`Step`].

use std::{num::NonZeroU32, sync::Arc};

use http::{HeaderName, HeaderValue, StatusCode};
use portcullis_routing::{
    HostPattern, Step, Steps, Template,
    step::{
        BodySize, Check, ClientCertificateCheck, Demand, HeaderModifier, IngressMirror, IngressRedirect,
        OwnUrl, Pace, RewriteTarget, Spool, UrlRewrite,
    },
};

use super::{
    access, basic_auth,
    common::CommonParts,
    compiler::Compiler,
    needs::Counted,
    paths::{Matched, Place},
    uncompiled::NotCompiled,
};
use crate::{
    ir::{
        Ingress,
        ingress::{Annotations, IngressBackend, Mirroring, Rewrite},
    },
    status::{Cause, Message},
    translate::{ClassOwner, ClientAuthOf, Fault, Settings},
};

/// What steps need to know of the place where an Ingress is served.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) annotations: &'a Annotations,
    pub(super) settings: &'a Settings,
    pub(super) common: &'a CommonParts,
    /// Whose class the Ingress has.
    pub(super) class: ClassOwner,
    /// Whether the host is served over TLS, and one of its Ingresses asks for it.
    pub(super) has_tls: bool,
    pub(super) app_root: Option<&'a str>,
}

impl Compiler<'_> {
    /// The steps of a path.
    ///
    /// # Errors
    /// Why no request of the path can be served then.
    pub(super) fn steps(&mut self, place: &Place<'_>) -> Result<Steps, Fault> {
        let site = self.site();
        let mut steps = own_tls(self.ingress);
        steps.extend(self.client_certificate()?);
        steps.extend(access::blocked(site.settings));
        steps.extend(body_size(&site));
        steps.extend(redirects(&site, place));
        steps.extend(hsts(&site));
        steps.extend(site.annotations.logs.is_off.then_some(Step::Unlogged));
        steps.extend(site.annotations.cors.clone().map(Step::IngressCors));
        steps.extend(self.external_auth(place));
        steps.extend(self.limits.clone().map(|limits| Step::Check(Check::Limits(limits))));
        steps.extend(access::steps(&site));
        steps.extend(basic_auth::steps(self.basic_auth.as_ref()));
        steps.extend(basic_auth::end(site.annotations.basic_auth.satisfy));
        steps.extend(self.mirror(place));
        steps.extend(self.error_pages(place));
        steps.extend(self.answers(place));
        steps.extend(self.sent_headers(place));
        steps.extend(compress(&site));
        // What no path matches keeps its path.
        if place.path.is_some() {
            steps.push(Step::Endpoints);
            let hostname = self.ingress.annotations.upstream_vhost.host.clone();
            let rewrite = hostname.map(|hostname| UrlRewrite { hostname: Some(hostname), path: None });
            steps.extend(rewrite.map(|rewrite| Step::Rewrite(Box::new(rewrite))));
            steps.extend(self.rewrite(place)?);
            steps.extend(spool(&site));
            steps.extend(self.pace(&site));
        }
        Ok(Steps::new(steps))
    }

    /// The pace of answers. As in ingress-nginx, there is none without `proxy-buffering`.
    fn pace(&mut self, site: &Site<'_>) -> Option<Step> {
        let (own, global) = (&site.annotations.pacing, &site.settings.live.ingress.pacing);
        let rate = NonZeroU32::new(own.rate.unwrap_or(global.rate))?;
        if own.buffering.unwrap_or(global.buffering) {
            return Some(Step::Pace(Pace { rate, after: own.after.unwrap_or(global.after) }));
        }
        if own.rate.is_some() {
            let text = "limit-rate has no effect without proxy-buffering: \"on\", as with ingress-nginx";
            self.tell(Message::note(text));
        }
        None
    }

    /// The mirror of the Ingress. Requests without a backend are not mirrored.
    fn mirror(&mut self, place: &Place<'_>) -> Option<Step> {
        if place.path.is_none() && self.ingress.default_backend.is_none() {
            return None;
        }
        let Mirroring { target, host, body } = self.ingress.annotations.mirroring.as_ref()?;
        let url = match self.service_url(place, target) {
            Ok(url) => url,
            Err(why) => {
                self.tell(Message::refused(format!("requests are not copied: mirror-target: {why}")));
                return None;
            }
        };
        let namespace = self.ingress.meta.namespace().into();
        let mirror = IngressMirror { url, host: host.clone(), body: *body, namespace };
        Some(Step::IngressMirror(Arc::new(mirror)))
    }

    /// What the host asks of clients' certificates.
    fn client_certificate(&mut self) -> Result<Option<Step>, Fault> {
        let Some(all) = &self.host.state.special.client_auth else { return Ok(None) };
        let Some(of) = all.of(self.ingress) else { return Ok(None) };
        let ClientAuthOf { asked, authorities, .. } = of;
        if !all.is_verified(of) {
            let text = format!(
                "host {} answers 403 for it: an older Ingress of another namespace defines the client certificate policy of the host",
                self.host.host
            );
            self.tell(Message::refused(text));
        }
        let is_possible = all.is_verified(of) && (authorities.is_some() || asked.demand == Demand::Nothing);
        // It counts for the Ingress that has the annotation.
        let counted = || Counted::of(&of.ingress, &self.host);
        let pool = &self.host.pools.patterns;
        let subject = asked.subject.as_ref().map(|subject| counted().pattern(subject.text(), pool));
        let subject = subject
            .transpose()
            .map_err(|why| Fault::new(format!("auth-tls-match-cn of {}: {why}", of.ingress), why.budget()))?;
        let check = ClientCertificateCheck {
            demand: if is_possible { asked.demand } else { Demand::Impossible },
            subject,
            error_page: asked.error_page.clone(),
            pass: asked.pass,
        };
        Ok(Some(Step::ClientCertificate(Box::new(check))))
    }

    /// Replaces the path, unless the target is the path itself.
    fn rewrite(&mut self, place: &Place<'_>) -> Result<Vec<Step>, Fault> {
        let Rewrite { target, forwarded_prefix, use_regex: _ } = &self.ingress.annotations.rewrite;
        let Some(target) = target.as_deref().filter(|target| *target != &*place.text) else {
            return Ok(Vec::new());
        };
        let of_target = |why: &dyn std::fmt::Display| format!("rewrite-target {target}: {why}");
        let mut pattern = None;
        if matches!(place.matched, Matched::Regex(_)) && reads_groups(self.ingress, place) {
            let found = self.counted.group_pattern(&place.text, &self.host.pools.patterns);
            let fault = |why: NotCompiled| Fault::new(of_target(&why), why.budget().or(Some(Cause::Groups)));
            pattern = Some(found.map_err(fault)?);
        }
        let names = pattern.as_ref().map_or_else(Vec::new, |pattern| pattern.names());
        let target = Template::parse(target, &names).map_err(|error| of_target(&error))?;
        let mut steps = vec![Step::RewriteTarget(Box::new(RewriteTarget { pattern, target }))];
        if let Some(prefix) = forwarded_prefix {
            let value = HeaderValue::try_from(&**prefix).map_err(|error| of_target(&error))?;
            let set = (HeaderName::from_static("x-forwarded-prefix"), value);
            let modifier = HeaderModifier::new([set], [], []).map_err(|error| of_target(&error))?;
            steps.push(Step::RequestHeaders(modifier));
        }
        Ok(steps)
    }
}

/// Whether the path is rewritten with the groups of its regular expression.
pub(super) fn reads_groups(ingress: &Ingress, place: &Place<'_>) -> bool {
    let target = ingress.annotations.rewrite.target.as_deref();
    place.path.is_some() && target.is_some_and(|target| *target != *place.text && target.contains('$'))
}

/// The steps of a path that is closed.
pub(super) fn of_closed(ingress: &Ingress, site: &Site<'_>) -> Steps {
    Steps::new(own_tls(ingress).into_iter().chain(access::blocked(site.settings)).chain(hsts(site)))
}

/// The steps of a prefix without the slash at its end.
pub(super) fn without_slash(site: &Site<'_>) -> Steps {
    let redirect = Step::IngressRedirect(Box::new(IngressRedirect::AddSlash(own_url(site))));
    let before = access::blocked(site.settings);
    Steps::new(before.chain([redirect]).chain(body_size(site)).chain(hsts(site)))
}

/// The steps of a host that is redirected to another name of it.
pub(super) fn other_host(settings: &Settings, to: &HostPattern) -> Steps {
    let redirect = IngressRedirect::OtherHost {
        status: settings.live.ingress.redirect_status,
        host: to.to_string().into(),
        ports: (shown_port(settings, settings.http_port), shown_port(settings, settings.https_port)),
    };
    Steps::new(access::blocked(settings).chain([Step::IngressRedirect(Box::new(redirect))]))
}

/// The Service of a path and its port, as they are written; empty where there is none.
pub(super) fn named_service<'a>(place: &Place<'a>) -> (&'a str, String) {
    match place.path.map(|(_, path)| &path.backend) {
        Some(IngressBackend::Service { name, port }) => (name, port.to_string()),
        Some(IngressBackend::Resource(_)) | None => ("", String::new()),
    }
}

/// The port that clients connect to.
fn shown_port(settings: &Settings, port: u16) -> u16 {
    port.saturating_add(if settings.direct { settings.port_offset } else { 0 })
}

fn own_tls(ingress: &Ingress) -> Vec<Step> {
    let Annotations { passthrough, own_tls, .. } = &*ingress.annotations;
    let step = if passthrough.is_on { Step::PassedThrough } else { Step::OwnTls };
    own_tls.map(|_| step).into_iter().collect()
}

fn redirects(site: &Site<'_>, place: &Place<'_>) -> Vec<Step> {
    let (redirects, settings) = (&site.annotations.redirects, site.settings);
    let global = &settings.live.ingress;
    let app_root = site.app_root.map(|root| IngressRedirect::AppRoot(root.into()));
    let fixed = redirects.fixed.as_ref().and_then(|(status, to)| {
        let status = StatusCode::from_u16(*status).ok()?;
        Some(IngressRedirect::Fixed { status, to: to.clone(), own: own_url(site) })
    });
    let ssl = redirects.ssl.or(global.ssl_redirect).unwrap_or(settings.ssl_redirect);
    let force_ssl = redirects.force_ssl.unwrap_or(global.force_ssl_redirect);
    let is_exempt = place
        .path
        .is_some_and(|(_, path)| global.not_redirected.iter().any(|start| path.text.starts_with(&**start)));
    let https = (!is_exempt && (force_ssl || (ssl && site.has_tls))).then(|| {
        let https_port = shown_port(settings, settings.https_port);
        let is_named = https_port != 443 || own_url(site).with_port;
        IngressRedirect::Https {
            status: global.redirect_status,
            keep_slash: redirects.keep_slash.unwrap_or(global.keep_slash),
            port: is_named.then_some(https_port),
        }
    });
    let all = [app_root, fixed, https].into_iter().flatten();
    all.map(|redirect| Step::IngressRedirect(Box::new(redirect))).collect()
}

/// How redirects to this host are written.
pub(super) fn own_url(site: &Site<'_>) -> OwnUrl {
    let (own, global) = (&site.annotations.redirects, site.settings.live.ingress.own_url);
    OwnUrl {
        is_relative: own.is_relative.unwrap_or(global.is_relative),
        with_port: own.with_port.unwrap_or(global.with_port),
    }
}

pub(super) fn body_size(site: &Site<'_>) -> Option<Step> {
    let size = site.annotations.body.size.unwrap_or(site.settings.live.ingress.body_size);
    (size > 0).then_some(Step::BodySize(BodySize(size)))
}

pub(super) fn spool(site: &Site<'_>) -> Option<Step> {
    let (own, global) = (&site.annotations.body, &site.settings.live.ingress);
    let memory = own.buffer.unwrap_or(global.body_buffer);
    let spool = Spool { memory: u32::try_from(memory).unwrap_or(u32::MAX) };
    own.buffering.unwrap_or(global.request_buffering).then_some(Step::Spool(spool))
}

pub(super) fn compress(site: &Site<'_>) -> Option<Step> {
    let compression = &site.settings.live.ingress.compression;
    compression.is_on().then(|| Step::Compress(Arc::clone(compression)))
}

fn hsts(site: &Site<'_>) -> Option<Step> {
    site.settings.hsts(site.class).map(Step::Hsts)
}
