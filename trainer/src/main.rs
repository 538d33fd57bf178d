//! The command `simground`.
fn main() {}
