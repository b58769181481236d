//! Basic authentication.

use http::HeaderValue;
use portcullis_routing::step::{Satisfy, basic_auth};

use super::{
    family::{Denied, Family, Written},
    values,
};
use crate::{
    ir::ingress::{BasicAuth, Passwords, SecretForm},
    objects::{checks::Checks, names::quoted},
};

const TYPE: &str = "auth-type";
const SECRET: &str = "auth-secret";
const SECRET_TYPE: &str = "auth-secret-type";
const REALM: &str = "auth-realm";
const SATISFY: &str = "satisfy";

impl Family for BasicAuth {
    const NAMES: &'static [&'static str] = &[TYPE, SECRET, SECRET_TYPE, REALM, SATISFY];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let satisfy = written.parse(SATISFY, checks, |text| match text {
            "any" => Ok(Satisfy::Any),
            "all" => Ok(Satisfy::All),
            _ => Err("is neither any nor all"),
        });
        let form = secret_form(written)?;
        let challenge = challenge(written)?;
        let passwords = match written.value(TYPE) {
            None => {
                for name in [SECRET, SECRET_TYPE, REALM].iter().filter(|name| written.value(name).is_some()) {
                    written.without_effect(name, &format!("there is no {TYPE}"), checks);
                }
                None
            }
            Some("basic") => Some(Passwords { secret: secret(written)?, form, challenge }),
            Some(other) => {
                return Err(Denied {
                    name: TYPE,
                    why: format!("{} is not supported: use basic", quoted(other)),
                });
            }
        };
        Ok(Self { passwords, satisfy: satisfy.unwrap_or_default() })
    }
}

fn secret_form(written: Written<'_>) -> Result<SecretForm, Denied> {
    match written.value(SECRET_TYPE) {
        None | Some("auth-file") => Ok(SecretForm::File),
        Some("auth-map") => Ok(SecretForm::Map),
        Some(other) => {
            let why = format!("{} is neither auth-file nor auth-map", quoted(other));
            Err(Denied { name: SECRET_TYPE, why })
        }
    }
}

fn challenge(written: Written<'_>) -> Result<HeaderValue, Denied> {
    let realm = written.value(REALM).unwrap_or_default();
    basic_auth::challenge(realm)
        .map_err(|why| Denied { name: REALM, why: format!("{} {why}", quoted(realm)) })
}

/// The Secret, as `name` or `namespace/name`.
fn secret(written: Written<'_>) -> Result<(Option<Box<str>>, Box<str>), Denied> {
    let denied = |why: String| Denied { name: SECRET, why };
    match written.value(SECRET) {
        None | Some("") => Err(denied(format!("is required by {TYPE}"))),
        Some(name) if !name.contains('/') => Ok((None, name.into())),
        Some(text) => match values::namespaced_name(text) {
            Some(key) => Ok((Some(key.namespace.as_ref().into()), key.name.as_ref().into())),
            None => Err(denied(format!("{} is not the name of a Secret", quoted(text)))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{closed, family};

    const BASIC: (&str, &str) = (TYPE, "basic");

    fn read(annotations: &[(&str, &str)]) -> (Option<(String, SecretForm, String)>, Satisfy, usize) {
        let (auth, warnings) = family(annotations, |annotations| annotations.basic_auth.clone());
        let passwords = auth.passwords.map(|Passwords { secret: (namespace, name), form, challenge }| {
            let secret =
                namespace.map_or_else(|| name.to_string(), |namespace| format!("{namespace}/{name}"));
            (secret, form, challenge.to_str().unwrap().to_owned())
        });
        (passwords, auth.satisfy, warnings)
    }

    #[test]
    fn passwords_are_in_a_secret() {
        let want =
            |secret: &str, form, realm: &str| Some((secret.into(), form, format!("Basic realm=\"{realm}\"")));
        for (annotations, passwords, satisfy, warnings) in [
            (&[BASIC, (SECRET, "users")][..], want("users", SecretForm::File, ""), Satisfy::All, 0),
            (
                &[
                    BASIC,
                    (SECRET, "a/users"),
                    (SECRET_TYPE, "auth-map"),
                    (REALM, "Staff only"),
                    (SATISFY, "any"),
                ],
                want("a/users", SecretForm::Map, "Staff only"),
                Satisfy::Any,
                0,
            ),
            (
                &[BASIC, (SECRET, "users"), (SATISFY, "some")],
                want("users", SecretForm::File, ""),
                Satisfy::All,
                1,
            ),
            (&[(SECRET, "users"), (REALM, "x")], None, Satisfy::All, 2),
            (&[], None, Satisfy::All, 0),
        ] {
            assert_eq!(read(annotations), (passwords, satisfy, warnings), "{annotations:?}");
        }
    }

    /// An Ingress with invalid annotations for passwords must not be served without passwords.
    #[test]
    fn what_is_wrong_closes_the_paths() {
        for (annotations, by) in [
            (&[(TYPE, "digest"), (SECRET, "users")][..], TYPE),
            (&[(TYPE, "Basic"), (SECRET, "users")], TYPE),
            (&[(TYPE, "basic "), (SECRET, "users")], TYPE),
            (&[(TYPE, ""), (SECRET, "users")], TYPE),
            (&[BASIC], SECRET),
            (&[BASIC, (SECRET, "")], SECRET),
            (&[BASIC, (SECRET, "a/b/c")], SECRET),
            (&[BASIC, (SECRET, "/users")], SECRET),
            (&[BASIC, (SECRET, "users"), (SECRET_TYPE, "auth-files")], SECRET_TYPE),
            (&[BASIC, (SECRET, "users"), (REALM, "a\"b")], REALM),
            (&[BASIC, (SECRET, "users"), (REALM, "$host")], REALM),
        ] {
            assert_eq!(closed(annotations), by, "{annotations:?}");
        }
    }
}
