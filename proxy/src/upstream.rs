//! Backends as pingora sees them: peers, their identity, and the addresses of DNS names.
