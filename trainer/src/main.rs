//! The command `simground`.

mod cli;

/// A training step allocates and frees every tensor it makes; the system's allocator costs it a quarter of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
