//! The tree keeps its own rules: who uses whom, which crates come in, what no file may hold. Each test is one claim about
//! the files as they are; nothing is built or started but `cargo metadata` and `git ls-files`.

mod crates;
mod layout;
mod rows;
mod text;
mod tree;
