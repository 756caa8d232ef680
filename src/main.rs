//! The binary of token-sidecar: see [`token_sidecar::cli`].

fn main() -> std::process::ExitCode {
    token_sidecar::cli::main()
}
