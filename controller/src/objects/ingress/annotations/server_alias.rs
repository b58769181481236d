//! Aliases of a host.

use portcullis_routing::HostPattern;

use super::family::{Denied, Family, Written};
use crate::{
    ir::ingress::ServerAlias,
    objects::{checks::Checks, names::quoted},
};

const ALIAS: &str = "server-alias";

impl Family for ServerAlias {
    const NAMES: &'static [&'static str] = &[ALIAS];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        let text = written.value(ALIAS).unwrap_or_default();
        let mut hosts = Vec::new();
        for alias in text.split(',').map(str::trim).filter(|alias| !alias.is_empty()) {
            if alias.starts_with('~') {
                let why = format!(
                    "{} is a regular expression, which is not supported; list the hosts",
                    quoted(alias)
                );
                written.without_effect(ALIAS, &why, checks);
                continue;
            }
            match HostPattern::parse(alias) {
                Ok(host) if host != HostPattern::Any => hosts.push(host),
                _ => return Err(Denied { name: ALIAS, why: format!("{} is not a host", quoted(alias)) }),
            }
        }
        Ok(Self { hosts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::{family, refused};

    #[test]
    fn names_are_a_list() {
        for (value, want, warnings) in [
            ("", &[][..], 0),
            ("a.test", &["a.test"], 0),
            ("A.test, *.b.test", &["a.test", "*.b.test"], 0),
            ("~^re[0-9]+$,a.test", &["a.test"], 1),
        ] {
            let (read, warned) = family(&[(ALIAS, value)], |annotations| annotations.server_alias.clone());
            let hosts: Vec<_> = read.hosts.iter().map(ToString::to_string).collect();
            assert_eq!(
                (&*hosts, warned),
                (&*want.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>(), warnings)
            );
        }
        for value in ["a b", "*", "a.test/x"] {
            assert!(refused(&[(ALIAS, value)]).contains("is not a host"), "{value}");
        }
    }
}
