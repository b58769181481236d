//! The proxies' names.

use std::fmt;

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    Portcullis,
    /// Another binary of it. It takes part where one is given, so there is nothing to leave out.
    #[value(skip)]
    Baseline,
    Bare,
    Nginx,
    Haproxy,
    Envoy,
}

impl Name {
    pub const ALL: [Self; 6] =
        [Self::Portcullis, Self::Baseline, Self::Bare, Self::Nginx, Self::Haproxy, Self::Envoy];

    pub(super) const ALL_BUT_BARE: &[Self] =
        &[Self::Portcullis, Self::Baseline, Self::Nginx, Self::Haproxy, Self::Envoy];
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portcullis => "portcullis",
            Self::Baseline => "baseline",
            Self::Bare => "bare",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        })
    }
}
