//! The operator's command line of the payment switch.

use std::process::ExitCode;

fn main() -> ExitCode {
    admin_cli::run(std::env::args_os())
}
