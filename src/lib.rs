//! The binary's parts: the only place where controller and proxy meet.

pub mod admin;
pub mod cli;
