//! The binary's parts: the command line, and what stands behind each command. The only place where controller and
//! proxy meet.

pub mod admin;
pub mod check;
pub mod cli;
pub mod demo;
pub mod echo;
pub mod explain;
pub mod logs;
pub mod metrics;
pub mod migrate;
pub mod run;
pub mod server;
mod settings;
pub mod signals;
