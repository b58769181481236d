//! Asks the linker for the compact form of relocations (DT_RELR) where the C library of the target knows it.
//!
//! All relocations are read when the program starts, so that they count as memory of the process: a megabyte in the
//! usual form, some kilobytes in this one. glibc has it since 2.36, also in programs without shared libraries. A program that
//! uses the C library of the machine it runs on then needs this release there; the image brings its own.

use std::{env, process::Command};

/// The first release of glibc that takes DT_RELR.
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let is_native = env::var("HOST").ok() == env::var("TARGET").ok();
    if is_native && target("OS") == "linux" && target("ENV") == "gnu" && glibc().is_some_and(|it| it >= SINCE)
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The release of this machine's glibc; `None` where it cannot be found out.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
