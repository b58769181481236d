//! Texts with variables of nginx in annotations of Ingresses: `/$1`, `$request_uri`, `$http_x_user`.
//!
//! Source of the names: nginx's index of variables, and those that ingress-nginx sets for every location.

mod variable;

use std::fmt;

pub use self::variable::{Groups, NoGroups, Values, Variable, cookie};

/// The maximum number of variables in a text, including those that are the same for all requests.
pub const MAX_VARIABLES: usize = 32;
/// The maximum length of a text whose variables are replaced, in bytes.
pub const MAX_FILLED: usize = 32 << 10;

/// A text with variables, which are replaced by the values of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It contains a variable that nginx does not have, or that is not supported.
    #[error("the variable ${0} is not served")]
    UnknownVariable(Box<str>),
    /// A `${` without its `}`.
    #[error("a variable lacks its closing brace")]
    Unclosed,
    /// It has more than [`MAX_VARIABLES`].
    #[error("the text has more than {MAX_VARIABLES} variables")]
    TooManyVariables,
    /// It is longer than [`MAX_FILLED`].
    #[error("the text is longer than {MAX_FILLED} bytes")]
    TooLong,
}

/// The values of a request are too long for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Self::WHY)]
pub struct FilledTooLong;

impl FilledTooLong {
    /// The text for the client.
    pub const WHY: &'static str = "the request is too large for the variables of the rule";
}

impl Template {
    /// Parses a text. `group_names` are the named groups that it can refer to.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn parse(text: &str, group_names: &[&str]) -> Result<Self, InvalidTemplate> {
        Self::parse_with(text, group_names, &[])
    }

    /// Parses a text with some variables that are the same for all requests: `constants` are their names and values.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn parse_with(
        text: &str,
        group_names: &[&str],
        constants: &[(&str, &str)],
    ) -> Result<Self, InvalidTemplate> {
        let (mut parts, mut plain) = (Vec::new(), String::new());
        let (mut rest, mut variables, mut len) = (text, 0, 0);
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            let (name, behind) = name_of(after)?;
            rest = behind;
            if name.is_empty() {
                plain.push('$');
                continue;
            }
            variables += 1;
            if variables > MAX_VARIABLES {
                return Err(InvalidTemplate::TooManyVariables);
            }
            if let Some((_, value)) = constants.iter().find(|(constant, _)| *constant == name) {
                plain.push_str(value);
                continue;
            }
            let variable = Variable::named(name, group_names)?;
            if !plain.is_empty() {
                len += plain.len();
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Variable(variable));
        }
        plain.push_str(rest);
        if len + plain.len() > MAX_FILLED {
            return Err(InvalidTemplate::TooLong);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// The same with other variables.
    #[must_use]
    pub fn map(mut self, replace: impl Fn(Variable) -> Variable) -> Self {
        let part = |part| match part {
            Part::Variable(variable) => Part::Variable(replace(variable)),
            text => text,
        };
        self.parts = self.parts.into_iter().map(part).collect();
        self
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, if it has no variables.
    pub fn fixed(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(variable),
            Part::Text(_) => None,
        })
    }

    /// Whether it refers to groups of a regular expression.
    pub fn has_groups(&self) -> bool {
        self.variables().any(|variable| matches!(variable, Variable::Group(_) | Variable::NamedGroup(_)))
    }

    /// The text for a request. A variable without a value is empty.
    ///
    /// # Errors
    /// The text is longer than [`MAX_FILLED`].
    pub fn fill(&self, values: &Values<'_>) -> Result<String, FilledTooLong> {
        self.fill_within(MAX_FILLED, values)
    }

    /// The same with another maximum length.
    ///
    /// # Errors
    /// The text is longer.
    pub fn fill_within(&self, most: usize, values: &Values<'_>) -> Result<String, FilledTooLong> {
        let mut text = String::with_capacity(most.min(self.text.len() + 32));
        let mut push = |part: &str| {
            if part.len() > most - text.len() {
                return Err(FilledTooLong);
            }
            text.push_str(part);
            Ok(())
        };
        for part in &self.parts {
            match part {
                Part::Text(part) => push(part)?,
                Part::Variable(variable) => push(&variable.value(values))?,
            }
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name of the variable at the start of a text, and the rest.
fn name_of(text: &str) -> Result<(&str, &str), InvalidTemplate> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').ok_or(InvalidTemplate::Unclosed);
    }
    // `$10` is `$1` and a 0.
    let len = match text.bytes().next() {
        Some(b'0'..=b'9') => 1,
        _ => text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count(),
    };
    Ok(text.split_at(len))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::{HeaderMap, HeaderValue};

    use super::*;

    struct Two;

    impl Groups for Two {
        fn number(&self, number: usize) -> Option<&str> {
            ["all", "one", "two"].get(number).copied()
        }

        fn name(&self, name: &str) -> Option<&str> {
            (name == "who").then_some("bob")
        }
    }

    fn filled(text: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("ann"));
        headers.append("cookie", HeaderValue::from_static("a=b; Sid=7=8"));
        headers.append("authorization", HeaderValue::from_static("BASIC am86c2VjcmV0"));
        let values = Values {
            host: "a.test",
            sent_host: "A.test:80",
            path: "/a b",
            sent_path: "/a%20b",
            query: Some("x=1&Y=2"),
            scheme: "http",
            method: "GET",
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            port: 80,
            headers: &headers,
            groups: &Two,
        };
        Template::parse_with(text, &["who"], &[("namespace", "shop")]).unwrap().fill(&values).unwrap()
    }

    #[test]
    fn variables_are_replaced_by_what_a_request_has() {
        for (text, want) in [
            ("", ""),
            ("/plain", "/plain"),
            ("/$1/$2/$3", "/one/two/"),
            ("/$10", "/one0"),
            ("/${1}0", "/one0"),
            ("/$who/x", "/bob/x"),
            ("$", "$"),
            ("a$/b", "a$/b"),
            ("$scheme://$host$uri", "http://a.test/a b"),
            ("$http_host", "A.test:80"),
            ("$request_uri", "/a%20b?x=1&Y=2"),
            ("$escaped_request_uri", "%2Fa%2520b%3Fx%3D1%26Y%3D2"),
            ("$is_args$args", "?x=1&Y=2"),
            ("$arg_y|$arg_z", "2|"),
            ("$cookie_sid|$cookie_b", "7=8|"),
            ("$http_x_user|$http_none", "ann|"),
            ("$remote_addr:$server_port $request_method", "192.0.2.1:80 GET"),
            ("$remote_user", "jo"),
            ("[$content_type]", "[]"),
            ("$namespace/${namespace}s", "shop/shops"),
        ] {
            assert_eq!(filled(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for (text, want) in [
            ("$nothing", "the variable $nothing is not served"),
            ("$http_", "the variable $http_ is not served"),
            ("$0", "the variable $0 is not served"),
            ("${host", "a variable lacks its closing brace"),
        ] {
            assert_eq!(Template::parse(text, &[]).unwrap_err().to_string(), want, "{text}");
        }
    }

    /// One header of a tenant must not cost hundreds of megabytes for a request with a long query.
    #[test]
    fn the_number_of_variables_is_limited() {
        for (text, is_valid) in [
            ("$args".repeat(MAX_VARIABLES), true),
            ("$args".repeat(MAX_VARIABLES + 1), false),
            ("$long".repeat(MAX_VARIABLES + 1), false),
        ] {
            let read = Template::parse_with(&text, &[], &[("long", "x")]);
            assert_eq!(read.is_ok(), is_valid, "{}", text.len());
        }
        let long = "x".repeat(MAX_FILLED);
        let constants = [("long", &*long)];
        assert_eq!(Template::parse_with("$long", &[], &constants).map(|_| ()), Ok(()));
        let message = Template::parse_with("$long$long", &[], &constants).unwrap_err().to_string();
        assert_eq!(message, "the text is longer than 32768 bytes");
    }
}
