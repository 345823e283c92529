//! `paceline sim`: the simulated server alone.

use std::io::Write;

use paceline_sim::http::{Server, ServerOptions, ServerRules, StartError};
use paceline_sim::rules::Limits;
use paceline_sim::token_rule::TokenRule;

use crate::args::SimArgs;
use crate::error::{EXIT_DONE, UserError};

/// Runs the server until it is interrupted.
pub(crate) async fn run(args: &SimArgs) -> Result<u8, UserError> {
    if args.list {
        return Ok(list());
    }
    let mut options = ServerOptions::new().port(args.port).seed(args.seed);
    let mut limits = Limits::new();
    let rules = args.rules.as_deref().map(rules).transpose()?;
    if let Some(rules) = rules {
        options = rules.apply(options);
        limits = rules.limits();
    }
    limits.rps = args.rps.or(limits.rps);
    limits.rpm = args.rpm.or(limits.rpm);
    limits.tpm = args.tpm.or(limits.tpm);
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
    if let Some(rules) = rules {
        let _ = writeln!(stdout, "it counts tokens in {}", rules.token_rule());
    }
    let _ = writeln!(stdout, "what it has counted: {stats}");
    let _ = stdout.flush();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
    }
    server.shutdown().await;
    Ok(EXIT_DONE)
}

/// The rules of a name, or of a file.
fn rules(of: &str) -> Result<ServerRules, UserError> {
    if let Some(rules) = ServerRules::named(of) {
        return Ok(rules);
    }
    let text = std::fs::read_to_string(of).map_err(|error| {
        UserError::usage(format!("{of} is no name of rules, and no file that can be read"))
            .cause(error)
            .hint(
                "paceline sim --list shows the names; a file is TOML, such as window = \"bucket\"",
            )
    })?;
    text.parse().map_err(|error| {
        UserError::usage(format!("{of} can't be used as rules")).cause(error).hint(
            "the words are window, charge, capacity, slices, requests_per_second, \
             requests_per_minute, tokens_per_minute, rate_headers, retry_after_s, pristine_every",
        )
    })
}

/// Shows the names of rules.
fn list() -> u8 {
    let mut stdout = std::io::stdout();
    for (name, rule) in TokenRule::NAMED {
        let like = if rule == TokenRule::GROK { " (xAI's)" } else { "" };
        let _ = writeln!(stdout, "{name:24} {rule}{like}");
    }
    EXIT_DONE
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
