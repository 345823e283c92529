//! `paceline run`: everything checked, then rows sent, then a summary.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use paceline::budget::{Budgets, EstimatorState, Record, SpendingCap};
use paceline::transport::ApiKey;
use paceline::{Client, ClientBuilder, ErrorKind, PastCall, RetryPolicy, ServerRule};
use paceline_core::{LimitKey, ModelId};
use paceline_sim::http::{Server, ServerOptions};
use paceline_sim::rules::Limits;

use crate::account::{self, Account};
use crate::args::RunArgs;
use crate::budgets;
use crate::elsewhere::Elsewhere;
use crate::error::{UserError, warn};
use crate::files;
use crate::input::{Input, InputOptions};
use crate::journal::{Header, Journal, Past};
use crate::learned;
use crate::output::{Failed, Origin, Output};
use crate::plan::Plan;
use crate::row::Settings;
use crate::runner::Runner;
use crate::servers::{self, Servers};
use crate::summary::Summary;
use crate::tally::Tally;

/// Runs a file of prompts; the exit code, or what is wrong with the call.
pub(crate) async fn run(args: &RunArgs) -> Result<u8, UserError> {
    let mut budgets = budgets::of(args)?;
    let settings = Settings::new(args);
    let key = key(args)?;
    let options = InputOptions { field: args.field.clone(), settings: settings.to_json() };
    let input = Input::open(&args.input, options, |_| {})?;
    let origin = if args.simulate { Origin::Simulated } else { Origin::Real };
    let server = if args.simulate { Some(simulated(args).await?) } else { None };
    let base_url = server.as_ref().map_or_else(|| args.base_url.clone(), Server::base_url);

    let out = out_path(args);
    let learned_at = learned::path(args, &out);
    files::check(args, &out, learned_at.as_deref())?;
    let learned = learned_at.as_deref().map(learned::load).transpose()?.flatten();
    let servers_at = learned_at.as_deref().map(servers::path);
    let mut servers = servers_at.as_deref().map(Servers::load).transpose()?;
    let host = servers::host(&base_url);
    let rules = servers.as_ref().and_then(|all| all.of(&host)).map(servers::Server::rules);
    let mut output = Output::open(&out, &input, origin)?;
    let header = Header {
        version: 1,
        input: input.fingerprint().clone(),
        settings: settings.to_json(),
        simulated: args.simulate,
    };
    let journal = Journal::path_beside(&out);
    let (journal, past) = Journal::open(&journal, &header, &input, crate::time::now())?;
    if failed_rows(args) == Failed::RunAgain {
        output.forget_failed()?;
    }
    let ledger = account::open(args)?;
    let elsewhere =
        ledger.clone().map(|ledger| Elsewhere::new(ledger, &mut budgets, crate::time::now()));
    let elsewhere = elsewhere.transpose()?;
    let records = Account::new(journal, ledger.clone());
    let tally = Arc::new(Tally::new(records));
    let record = Arc::clone(&tally) as Arc<dyn Record>;
    let client = client(args, &base_url, key, record, budgets, learned, rules.unwrap_or_default())?;
    let plan = plan(args, &input, &output, &client, &settings)?;
    remember(&client, &past);
    confirm(args, &base_url, &plan, &client)?;

    let started = Instant::now();
    let mut runner = Runner::new(args, &input, output, origin, client.clone(), settings, tally)?;
    let planned = client.job(&plan.job);
    runner.watch(elsewhere, plan.job);
    let end = learned::saved_meanwhile(learned_at.clone(), &client, runner.run()).await?;
    if let Some(path) = &learned_at {
        learned::save(path, &client);
    }
    if let (Some(servers), Some(path)) = (&mut servers, &servers_at) {
        servers.know(&host, &client, &args.model.as_str().into(), crate::time::now());
        servers.save(path);
    }
    if let Some(ledger) = &ledger {
        account::close(ledger);
    }
    let summary = Summary::new(&runner, &client, started.elapsed(), args.simulate, planned);
    if !args.quiet {
        // The summary is for people; where stderr is closed nobody reads it.
        let _ = write!(std::io::stderr(), "{}", summary.for_people(&out, &end));
    }
    if let Some(path) = &args.report {
        files::report(path, &summary.for_machines(), &out)?;
    }
    if let Some(server) = server {
        server.shutdown().await;
    }
    Ok(end.exit_code())
}

fn failed_rows(args: &RunArgs) -> Failed {
    if args.retry_failed { Failed::RunAgain } else { Failed::Keep }
}

/// The key, which a simulated run neither needs nor reads.
fn key(args: &RunArgs) -> Result<ApiKey, UserError> {
    if args.simulate {
        return ApiKey::new("simulated").map_err(|error| UserError::usage(error.to_string()));
    }
    key_in(&args.api_key_env)
}

/// The key that a variable holds.
pub(crate) fn key_in(name: &str) -> Result<ApiKey, UserError> {
    if !is_variable(name) {
        // What stands there may be the key itself, so it is not shown.
        return Err(UserError::usage("--api-key-env takes the name of a variable, not a key")
            .hint("put the key into a variable, as in export XAI_API_KEY=..., and leave --api-key-env out"));
    }
    let Some(key) = std::env::var_os(name).filter(|key| !key.is_empty()) else {
        return Err(UserError::usage(format!("there is no key in {name}")).hint(format!(
            "set {name} to your xAI key; `paceline run --simulate` works without one"
        )));
    };
    let key = key.into_string().map_err(|_| UserError::usage(format!("{name} is not text")))?;
    let key = ApiKey::new(key.trim()).map_err(|error| {
        UserError::usage(format!("the key in {name} is not usable")).cause(error)
    })?;
    Ok(key)
}

/// Whether this can be what a variable is called; keys have marks in them that names have not.
fn is_variable(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

/// A simulated server with the limits that the run was given.
async fn simulated(args: &RunArgs) -> Result<Server, UserError> {
    let mut options = ServerOptions::new();
    let mut limits = Limits::new();
    limits.rps = args.rps.map(Into::into);
    limits.rpm = args.rpm.map(Into::into);
    limits.tpm = args.tpm.map(Into::into);
    if limits != Limits::new() {
        // What is not given is as the model's tier 0 has it.
        let model = ModelId::from(args.model.as_str());
        let tier = paceline::budget::tiers::Tier::T0;
        if let Some(row) = paceline::budget::tiers::row(&model, tier) {
            if limits.rpm.is_none() {
                limits.rpm = Some(row.rpm);
                limits.rps = limits.rps.or(Some(row.rps));
            }
            limits.tpm = limits.tpm.or(Some(row.tpm));
        }
        options = options.limits(limits);
    }
    crate::sim::start(options).await
}

fn out_path(args: &RunArgs) -> PathBuf {
    args.out.clone().unwrap_or_else(|| {
        let kind = if args.simulate { "sim.jsonl" } else { "out.jsonl" };
        args.input.with_extension(kind)
    })
}

fn client(
    args: &RunArgs,
    base_url: &str,
    key: ApiKey,
    record: Arc<dyn Record>,
    budgets: Budgets,
    learned: Option<EstimatorState>,
    rules: BTreeMap<ModelId, ServerRule>,
) -> Result<Client, UserError> {
    let mut builder: ClientBuilder = Client::builder()
        .learned(rules)
        .base_url(base_url)
        .api_key(key)
        .record(record)
        .budgets(budgets)
        .quota_share(args.quota_share)
        .max_in_flight(args.max_in_flight)
        .retry(RetryPolicy::default().may_bill_twice());
    if let Some(state) = learned {
        builder = builder.estimator_state(state);
    }
    if let Some(profile) = args.profile {
        builder = builder.profile(profile.into());
    }
    if let Some(limit) = args.rps {
        builder = builder.requests_per_second(limit);
    }
    if let Some(limit) = args.rpm {
        builder = builder.requests_per_minute(limit);
    }
    if let Some(limit) = args.tpm {
        builder = builder.tokens_per_minute(limit);
    }
    if let Some(price) = args.price {
        builder = builder.price(price);
    }
    if let Some(budget) = args.budget_usd {
        let cap = SpendingCap::new(budget, LimitKey::All)
            .map_err(|error| UserError::usage(error.to_string()))?;
        builder = builder.spending_cap(cap);
    }
    builder.build().map_err(|error| {
        let mut shown = UserError::usage(error.to_string());
        if let Some(source) = std::error::Error::source(&error) {
            shown = shown.cause(source);
        }
        match error.kind() {
            ErrorKind::Settings => {
                shown.hint("--base-url takes an address such as https://api.x.ai/v1")
            }
            _ => shown,
        }
    })
}

/// Looks at every row still to do, once.
fn plan(
    args: &RunArgs,
    input: &Input,
    output: &Output,
    client: &Client,
    settings: &Settings,
) -> Result<Plan, UserError> {
    let mut plan = Plan::default();
    let most = args.limit.map_or(u64::MAX, Into::into);
    let rows = input.read()?.take(usize::try_from(most).unwrap_or(usize::MAX));
    for row in rows {
        let row = row?;
        if !output.is_done(&row.id) && !output.has_failed(&row.id) {
            plan.add(client, settings, &row);
        }
    }
    for model in plan.unknown() {
        warn(format!(
            "model {model} is not in the table of limits: it starts at the lowest row, until the server states its own"
        ));
    }
    let budget = args.budget_usd.map(|_| "--budget-usd").or(args.budgets.first_of_money());
    if let (Some(budget), Some(model)) = (budget, plan.unpriced().first()) {
        return Err(UserError::usage(format!("model {model} has no known price, so {budget} can't be kept"))
            .hint("give its price with --price IN/OUT, in US dollars per million tokens, such as --price 1.25/2.50"));
    }
    Ok(plan)
}

/// What earlier runs sent counts in the limits and in the budget.
fn remember(client: &Client, past: &Past) {
    for send in &past.sends {
        let call = PastCall::new(send.model(), send.sent_at()).used(send.tokens(), send.over_at());
        client.count_past(&call);
    }
    client.count_spent(past.spent);
    if past.unfinished > 0 {
        tracing::info!(unfinished = past.unfinished, "attempts without an outcome count as spent");
    }
}

/// Asks before money is spent on a real host.
fn confirm(args: &RunArgs, base_url: &str, plan: &Plan, client: &Client) -> Result<(), UserError> {
    let is_here = paceline::transport::BaseUrl::parse(base_url).is_ok_and(|url| url.is_loopback());
    if args.simulate || is_here || plan.rows == 0 {
        return Ok(());
    }
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "{} at {base_url}: {}", args.model, plan.describe(client));
    if args.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(UserError::usage(
            "a run that costs money asks first, and there is no terminal",
        )
        .hint("look at the numbers above, then add --yes"));
    }
    let _ = write!(stderr, "go on? [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(UserError::usage("not started").hint("nothing was sent; answer y, or add --yes"))
    }
}
