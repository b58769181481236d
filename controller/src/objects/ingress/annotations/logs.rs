//! Whether requests are logged.

use super::family::{Denied, Family, Written};
use crate::{ir::ingress::Logs, objects::checks::Checks};

const ACCESS: &str = "enable-access-log";

impl Family for Logs {
    const NAMES: &'static [&'static str] = &[ACCESS];

    fn parse(written: Written<'_>, checks: &mut Checks) -> Result<Self, Denied> {
        Ok(Self { is_off: written.switch(ACCESS, checks) == Some(false) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ingress::annotations::tests::family;

    #[test]
    fn requests_are_logged_unless_it_is_false() {
        for (value, is_off, warnings) in
            [("false", true, 0), ("0", true, 0), ("true", false, 0), ("no", false, 1), ("", false, 1)]
        {
            let (read, warned) = family(&[(ACCESS, value)], |annotations| annotations.logs);
            assert_eq!((read.is_off, warned), (is_off, warnings), "{value:?}");
        }
    }
}
