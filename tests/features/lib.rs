//! Nothing but its dependencies: those of tests that ask for more features of what the binary is built from too.
//!
//! As one of the workspace's default members it has `cargo run` build shared dependencies as `cargo test --workspace`
//! needs them, so that they are built once. What is released is built with `-p portcullis`, and so without it.
