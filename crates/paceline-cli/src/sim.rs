//! `paceline sim`: the simulated server alone.

use std::io::Write;

use paceline_sim::http::{Server, ServerOptions, StartError};
use paceline_sim::rules::Limits;

use crate::args::SimArgs;
use crate::error::{EXIT_DONE, UserError};

/// Runs the server until it is interrupted.
pub(crate) async fn run(args: &SimArgs) -> Result<u8, UserError> {
    let mut options = ServerOptions::new().port(args.port).seed(args.seed);
    let mut limits = Limits::new();
    limits.rps = args.rps;
    limits.rpm = args.rpm;
    limits.tpm = args.tpm;
    if limits != Limits::new() {
        options = options.limits(limits);
    }
    if let Some(path) = &args.tokenizer {
        options = options.tokenizer(path);
    }
    let server = start(options).await?;
    let mut stdout = std::io::stdout();
    let stats = server.base_url().replace("/v1", "/stats");
    // Whoever started it may not listen; the server runs all the same.
    let _ = writeln!(stdout, "listening on {}", server.base_url());
    let _ = writeln!(stdout, "what it has counted: {stats}");
    let _ = stdout.flush();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
    }
    server.shutdown().await;
    Ok(EXIT_DONE)
}

/// Starts a server, or says what is in the way.
pub(crate) async fn start(options: ServerOptions) -> Result<Server, UserError> {
    Server::start(options).await.map_err(|error| match error {
        StartError::PortInUse { port } => {
            UserError::usage(format!("port {port} is in use by another program"))
                .hint("choose another with --port, or --port 0 for any that is free")
        }
        StartError::Bind { port, source } => {
            UserError::usage(format!("can't listen on port {port}"))
                .cause(source)
                .hint("choose another with --port, or --port 0 for any that is free")
        }
        other => UserError::usage("the simulated server can't start")
            .cause(other)
            .hint("name a SentencePiece .model file with --tokenizer, or leave it out"),
    })
}

/// Resolves when the program is asked to end.
#[cfg(unix)]
pub(crate) async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut asked) => {
            asked.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// Only ctrl-c ends it elsewhere.
#[cfg(not(unix))]
pub(crate) async fn terminated() {
    std::future::pending().await
}
