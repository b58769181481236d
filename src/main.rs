//! `portcullis`: see `portcullis --help`.

use std::process::ExitCode;

use portcullis::{
    check,
    cli::{Cli, Command, LogFormat},
    demo, echo, explain, logs, migrate, run,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before anything makes a TLS configuration. An error says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let code = command(Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit()).command)
        .unwrap_or_else(|error| {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        });
    logs::flush();
    code
}

fn command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Echo(args) => {
            logs::start(LogFormat::Text, false)?;
            runtime()?.block_on(echo::run(args))?;
        }
        Command::Run(args) => {
            logs::start(args.serve.log_format, args.serve.access_log)?;
            runtime()?.block_on(run::run(&args))?;
        }
        Command::Demo(args) => {
            logs::start(LogFormat::Text, false)?;
            runtime()?.block_on(demo::run(args))?;
        }
        Command::Explain(args) => {
            logs::start(LogFormat::Text, false)?;
            runtime()?.block_on(explain::run(&args))?;
        }
        Command::Migrate(args) => {
            logs::start(LogFormat::Text, false)?;
            return runtime()?.block_on(migrate::run(&args)).map(ExitCode::from);
        }
        Command::Check(args) => {
            logs::start(LogFormat::Text, false)?;
            if !check::run(&args)? {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
