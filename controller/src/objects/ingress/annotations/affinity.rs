//! Session affinity by cookies.

use portcullis_routing::balance::SameSite;

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::{Affinity, Session},
    objects::{checks::Checks, names::quoted},
};

const AFFINITY: &str = "affinity";
const MODE: &str = "affinity-mode";
const CANARY_BEHAVIOR: &str = "affinity-canary-behavior";
const NAME: &str = "session-cookie-name";
const SECURE: &str = "session-cookie-secure";
const EXPIRES: &str = "session-cookie-expires";
const MAX_AGE: &str = "session-cookie-max-age";
const PATH: &str = "session-cookie-path";
const DOMAIN: &str = "session-cookie-domain";
const SAME_SITE: &str = "session-cookie-samesite";
const CONDITIONAL: &str = "session-cookie-conditional-samesite-none";
const CHANGE: &str = "session-cookie-change-on-failure";

const DEFAULT_NAME: &str = "INGRESSCOOKIE";

impl Family for Affinity {
    const NAMES: &'static [&'static str] = &[
        AFFINITY,
        MODE,
        CANARY_BEHAVIOR,
        NAME,
        SECURE,
        EXPIRES,
        MAX_AGE,
        PATH,
        DOMAIN,
        SAME_SITE,
        CONDITIONAL,
        CHANGE,
    ];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let is_on = written.parse(AFFINITY, checks, |text| word(text, &[("cookie", true)]));
        let is_persistent = written
            .parse(MODE, checks, |text| word(text, &[("balanced", Some(false)), ("persistent", Some(true))]));
        let is_legacy =
            written.parse(CANARY_BEHAVIOR, checks, |text| word(text, &[("sticky", false), ("legacy", true)]));
        Ok(Self {
            session: session(written, checks).filter(|_| is_on == Some(true)),
            is_persistent: is_persistent.flatten(),
            canaries_are_legacy: is_legacy.unwrap_or_default(),
        })
    }
}

fn session(written: Written<'_>, checks: &mut Checks) -> Option<Session> {
    let same_sites =
        [("None", Some(SameSite::None)), ("Lax", Some(SameSite::Lax)), ("Strict", Some(SameSite::Strict))];
    Some(Session {
        name: written.parse(NAME, checks, plain).flatten().unwrap_or_else(|| DEFAULT_NAME.into()),
        changes_on_failure: written.switch(CHANGE, checks).unwrap_or_default(),
        expires: written.parse(EXPIRES, checks, seconds).flatten(),
        max_age: written.parse(MAX_AGE, checks, seconds).flatten(),
        domain: written.parse(DOMAIN, checks, plain).flatten(),
        path: written.parse(PATH, checks, path).flatten(),
        is_secure: written.switch(SECURE, checks).unwrap_or_default(),
        same_site: written.parse(SAME_SITE, checks, |text| word(text, &same_sites)).flatten(),
        is_same_site_conditional: written.switch(CONDITIONAL, checks).unwrap_or_default(),
    })
}

/// The meaning of a value; an empty one is ignored.
fn word<T: Copy + Default>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(T::default());
    }
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    let all = || words.iter().map(|(word, _)| quoted(word)).collect::<Vec<_>>().join(" or ");
    found.ok_or_else(|| format!("is not {}", all()))
}

fn plain(text: &str) -> Result<Option<Box<str>>, &'static str> {
    let text = text.trim();
    match values::is_plain_url(text) {
        true => Ok(Some(text).filter(|text| !text.is_empty()).map(Into::into)),
        false => Err("has characters other than letters, digits and -._~/:"),
    }
}

fn path(text: &str) -> Result<Option<Box<str>>, &'static str> {
    let text = text.trim();
    match text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/:,?&=".contains(&byte)) {
        true => Ok(Some(text).filter(|text| !text.is_empty()).map(Into::into)),
        false => Err("has characters other than letters, digits and -._~/:,?&="),
    }
}

fn seconds(text: &str) -> Result<Option<i64>, &'static str> {
    let text = text.trim();
    match text.is_empty() {
        true => Ok(None),
        false => values::integer(text).map(Some).ok_or("is not a number of seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::family;

    const ON: (&str, &str) = (AFFINITY, "cookie");

    fn affinity(annotations: &[(&str, &str)]) -> (Affinity, usize) {
        family(annotations, |annotations| annotations.affinity.clone())
    }

    #[test]
    fn a_cookie_has_the_original_defaults() {
        let (read, warnings) = affinity(&[ON]);
        let session = Session { name: "INGRESSCOOKIE".into(), ..Session::default() };
        let want = Affinity { session: Some(session), is_persistent: None, canaries_are_legacy: false };
        assert_eq!((read, warnings), (want, 0));
        for annotations in [&[][..], &[(AFFINITY, "")], &[(NAME, "route")]] {
            assert_eq!(affinity(annotations), (Affinity::default(), 0), "{annotations:?}");
        }
        assert_eq!(affinity(&[(AFFINITY, "ip")]), (Affinity::default(), 1));
    }

    #[test]
    fn what_is_invalid_has_no_effect() {
        let session = |annotation: (&str, &str)| {
            let (read, warnings) = affinity(&[ON, annotation]);
            (read.session.unwrap(), warnings)
        };
        let name = "INGRESSCOOKIE";
        let default = Session { name: name.into(), ..Session::default() };
        for (annotation, want, warnings) in [
            ((NAME, "route"), Session { name: "route".into(), ..default.clone() }, 0),
            ((NAME, "a;b"), default.clone(), 1),
            ((NAME, ""), default.clone(), 0),
            ((EXPIRES, "172800"), Session { expires: Some(172_800), ..default.clone() }, 0),
            ((EXPIRES, "1h"), default.clone(), 1),
            ((MAX_AGE, "-1"), Session { max_age: Some(-1), ..default.clone() }, 0),
            ((MAX_AGE, "1.5"), default.clone(), 1),
            ((DOMAIN, "a.test"), Session { domain: Some("a.test".into()), ..default.clone() }, 0),
            ((DOMAIN, "a.test; Path=/x"), default.clone(), 1),
            ((PATH, "/a"), Session { path: Some("/a".into()), ..default.clone() }, 0),
            ((PATH, "/a;b"), default.clone(), 1),
            ((SECURE, "true"), Session { is_secure: true, ..default.clone() }, 0),
            ((SECURE, "false"), default.clone(), 0),
            ((SECURE, "yes"), default.clone(), 1),
            ((SAME_SITE, "Lax"), Session { same_site: Some(SameSite::Lax), ..default.clone() }, 0),
            ((SAME_SITE, "lax"), default.clone(), 1),
            ((CONDITIONAL, "true"), Session { is_same_site_conditional: true, ..default.clone() }, 0),
            ((CHANGE, "true"), Session { changes_on_failure: true, ..default.clone() }, 0),
        ] {
            assert_eq!(session(annotation), (want, warnings), "{annotation:?}");
        }
    }

    #[test]
    fn a_mode_is_balanced_or_persistent() {
        for (value, want, warnings) in [
            ("balanced", Some(false), 0),
            ("persistent", Some(true), 0),
            ("", None, 0),
            ("Persistent", None, 1),
        ] {
            let (read, warned) = affinity(&[ON, (MODE, value)]);
            assert_eq!((read.is_persistent, warned), (want, warnings), "{value}");
        }
        for (value, want, warnings) in [("sticky", false, 0), ("legacy", true, 0), ("other", false, 1)] {
            let (read, warned) = affinity(&[(CANARY_BEHAVIOR, value)]);
            assert_eq!((read.canaries_are_legacy, warned), (want, warnings), "{value}");
        }
    }
}
