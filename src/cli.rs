//! The `witgate` command: what can be asked of it, and what each word does.

mod ask;
mod batch;
mod check;
mod connections;
mod evaluate;
mod experiment;
mod policy;
mod replay;
mod rollout;
mod route;
mod run;
mod runs;
mod serve;
mod simulate;
mod spend;

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::policy::{CHILD_COMMAND, compile_child_main};
use crate::telemetry::{LogFormat, LogGuard};

/// An LLM gateway whose decisions are WebAssembly components you can swap while it runs.
#[derive(Debug, Parser)]
#[command(name = "witgate", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve requests. Without a configuration: the simulated provider, and OpenAI and Anthropic where their
    /// keys are in the environment.
    Serve(ServeArgs),
    /// Say what a configuration file means here, key by key, and every problem in it.
    Check {
        /// A LiteLLM `config.yaml`, with or without a `witgate:` section.
        file: PathBuf,
        /// Fail too where a deployment is left out: its key is missing, or its provider is not spoken yet.
        #[arg(long)]
        strict: bool,
        /// Load and configure the policies it names from this folder too, as `witgate serve` would.
        #[arg(long, value_name = "DIR", conflicts_with = "json")]
        policies: Option<PathBuf>,
        /// Load only components whose name and digest stand in that folder's `policies.lock`, as `witgate serve --locked` would.
        #[arg(long, requires = "policies")]
        locked: bool,
        /// Ask every deployment for one token too, and fail where any does not answer. It costs a few tokens.
        #[arg(long, conflicts_with_all = ["json", "policies"])]
        connections: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of configuration files, for editors.
    Schema,
    /// List the policies a running gateway decides with: digest, generation, calls, faults, time per call. Or change which version
    /// of one is in force.
    Policies {
        #[command(flatten)]
        ask: AskArgs,
        #[command(subcommand)]
        change: Option<VersionCommand>,
    },
    /// Say where a running gateway would send a request, and why, without sending it.
    Route(RouteArgs),
    /// Say why a request was decided as it was, from the runs of decisions that are kept (`witgate.decisions`).
    Explain(ExplainArgs),
    /// Add up what requests cost, from the ledger (`witgate.ledger`), whether a gateway runs or not.
    Spend(SpendArgs),
    /// Write, build, check, test and replay policies with no gateway running.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Say what an experiment will take before a cent is spent: tokens, cost, time, what never fits, and what would help. Ends with 0
    /// where it is feasible, 2 where it is not.
    Plan(PlanArgs),
    /// Carry an experiment out, or go on with it: what is answered already is not asked again. An interrupt lets what was sent finish and
    /// keeps the state. Ends with 0 where every item is answered, 3 where it stopped before.
    Run(run::RunArgs),
    /// Look at runs from elsewhere: how far each is, whether it goes on, and which workers carry it out.
    Runs(runs::RunsArgs),
    /// Send the same load through several configurations or routers on virtual time and compare them: time, cost, share of limits,
    /// refusals. No provider is called.
    Simulate(simulate::TrialArgs),
    /// Compare routers on data that say what every model's reply to every prompt was worth: worth, quality, cost, regret, learning curves. Or
    /// estimate what a router would have got from a gateway's own decisions (--log). No provider is called.
    Evaluate(evaluate::EvaluateArgs),
    /// Answer a file of requests in OpenAI's batch format, a line each, or go on with it: what is answered already is not asked again.
    /// Every line is read before any is sent. Ends with 0 where every line is answered, 3 where some failed or it stopped before.
    Batch(batch::BatchArgs),
    /// Serve the simulated provider over HTTP, in the shapes of OpenAI and Anthropic.
    SimulateProvider(SimulateArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The configuration, in LiteLLM's format.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on; 127.0.0.1 unless configured.
    #[arg(long, value_name = "ADDR")]
    host: Option<IpAddr>,
    /// The port; 4000 unless configured, 0 takes any free one.
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// The folder watched for policies; `policies` unless configured.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Where compiled policies are kept; `$XDG_CACHE_HOME/witgate` unless given.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Load only components whose name and digest stand in `policies.lock`, as is the rule where other machines are served.
    #[arg(long)]
    locked: bool,
    /// The parent of all random draws; drawn from the operating system unless given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Threads that serve connections; one for each processor unless given.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogShape::Text)]
    log_format: LogShape,
    /// What is logged, in the language of `tracing`: `info`, `warn`, `witgate=debug` …
    #[arg(long, default_value = "info", env = "WITGATE_LOG")]
    log: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogShape {
    Text,
    Json,
}

impl LogArgs {
    fn start(&self) -> LogGuard {
        let format = match self.log_format {
            LogShape::Text => LogFormat::Text,
            LogShape::Json => LogFormat::Json,
        };
        crate::telemetry::init_log(format, &self.log)
    }
}

#[derive(Debug, Args)]
struct AskArgs {
    /// The running gateway.
    #[arg(long, global = true, default_value = "http://127.0.0.1:4000")]
    url: String,
    /// Its master key.
    #[arg(long, global = true, env = "WITGATE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Args)]
struct PlanArgs {
    /// The experiment.
    file: PathBuf,
    /// Another configuration of the gateway than the one it names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show a changed plan beside the first: `batch=TOKENS`, `add-key MODEL`, `tpm MODEL=TOKENS`, `spread MODEL`, `repetitions=N`. May be given several times.
    #[arg(long, value_name = "CHANGE")]
    what_if: Vec<String>,
    /// Look for nothing that would help, which takes a plan for each.
    #[arg(long)]
    no_advice: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum VersionCommand {
    /// Put the version that is tried or waits in force, or the one that --to names.
    Promote(VersionArgs),
    /// Give up the version that is tried; else put the version before in force, or the one that --to names, until the file changes.
    Rollback(VersionArgs),
    /// Have a version decide beside the one in force. It is never obeyed.
    Shadow(VersionArgs),
    /// Have a version decide a share of the requests, until the group's rules promote it or roll it back.
    Canary(VersionArgs),
    /// What has happened to the versions of policies, the newest last.
    History {
        /// Of this group alone.
        group: Option<String>,
    },
}

#[derive(Debug, Args)]
struct VersionArgs {
    /// Whose policy.
    group: String,
    /// The version: six or more digits of its digest, as `history` shows them.
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    /// The policy's role: router (unless given), prompt-builder, response-parser or provider.
    #[arg(long)]
    role: Option<String>,
    /// Its name, where several policies speak to the group's providers.
    #[arg(long)]
    policy: Option<String>,
}

#[derive(Debug, Args)]
struct RouteArgs {
    /// A chat request in OpenAI's format, as JSON; `-` is standard input.
    request: PathBuf,
    /// Decide and do nothing. There is no other way to ask yet, so it must be said.
    #[arg(long, required = true)]
    dry_run: bool,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The request's id: the header `x-request-id` (or `request-id`) of its reply, `id` in the log.
    request_id: String,
    /// The folder of runs, or one of them; the default of `witgate.decisions.dir` unless given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where the policy that decided is looked for, by its digest.
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SpendArgs {
    /// The configuration whose ledger is read.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The ledger itself, where no configuration is at hand.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    ledger: Option<PathBuf>,
    /// What is added up by.
    #[arg(long, value_enum, default_value_t = SpendBy::Model)]
    by: SpendBy,
    /// The first day, YYYY-MM-DD in UTC.
    #[arg(long, value_name = "DAY")]
    since: Option<String>,
    /// The last day.
    #[arg(long, value_name = "DAY")]
    until: Option<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = SpendFormat::Table)]
    format: SpendFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SpendBy {
    Day,
    Deployment,
    Key,
    Model,
    Provider,
    Tag,
    Team,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SpendFormat {
    Csv,
    Json,
    Table,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Write a project that builds: one idea, its tests, scenarios, the SDK and the contract.
    New {
        /// The policy's name, and the folder that is made here.
        name: String,
        /// What it decides.
        #[arg(long, value_enum, default_value_t = WorldName::Router)]
        world: WorldName,
        /// The language it is written in.
        #[arg(long, value_enum)]
        lang: LanguageName,
    },
    /// Make a project's component with its language's own tools.
    Build {
        /// The project's folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Build and test a project whenever a source is saved, and put what passes into service.
    Watch {
        /// The project's folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Where components that pass are put; a gateway that watches this folder takes them over at once.
        #[arg(long, value_name = "DIR", visible_alias = "to")]
        policies: Option<PathBuf>,
        #[command(flatten)]
        grant: GrantArgs,
    },
    /// Whether a component can be taken into service, and what it is.
    Check {
        /// The component.
        file: PathBuf,
        /// Its settings, a JSON object.
        #[arg(long, value_name = "JSON")]
        settings: Option<String>,
        /// Fail on warnings too.
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        grant: GrantArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write `policies.lock` of a folder: from then on only these components may be loaded where other machines are served. Tells
    /// what is new and what is another one than before.
    Lock {
        /// The folder of components.
        #[arg(default_value = "policies")]
        folder: PathBuf,
    },
    /// What a component is: digest, interfaces, who made it, memory and times.
    Inspect {
        /// The component.
        file: PathBuf,
        /// Its settings, a JSON object.
        #[arg(long, value_name = "JSON")]
        settings: Option<String>,
        #[command(flatten)]
        grant: GrantArgs,
        /// Print its world and interfaces as WIT instead.
        #[arg(long)]
        wit: bool,
        /// Print JSON.
        #[arg(long, conflicts_with = "wit")]
        json: bool,
    },
    /// Measure decisions by the number of deployments, beside the shipped routers.
    Bench {
        /// The component.
        file: PathBuf,
        /// Its settings, a JSON object.
        #[arg(long, value_name = "JSON")]
        settings: Option<String>,
        /// Sizes of groups.
        #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,10,100")]
        deployments: Vec<usize>,
        #[command(flatten)]
        grant: GrantArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run scenarios against components: virtual clock, seeded randomness, fuel instead of time.
    Test {
        /// A scenario file, or a folder of them.
        path: PathBuf,
        /// Test this component instead of the one the scenarios name.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Fail on warnings too.
        #[arg(long)]
        strict: bool,
        /// Write the results to this file too, as JUnit's XML.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Write what came of each failed case into the file as its expectation. Limits (`max_fuel`, `log`) stay.
        #[arg(long)]
        update: bool,
        /// Put the component of the project in this folder where all of it passes; a gateway that watches it takes it over at once.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        #[command(flatten)]
        grant: GrantArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Repeat the decisions of a run that was kept, and say which come out otherwise. Ends with 0 where all are the same, 1 where
    /// some differ, 2 where it could not be tried.
    Replay {
        /// A run file, or a folder of them.
        path: PathBuf,
        /// Ask this component instead of the one that decided.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Where the policy that decided is looked for, by its digest.
        #[arg(long, value_name = "DIR", default_value = "policies")]
        policies: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WorldName {
    Router,
    PromptBuilder,
    ResponseParser,
    Provider,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LanguageName {
    C,
    Go,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    #[value(alias = "py")]
    Python,
    Rust,
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
}

/// What a policy on trial is let do.
#[derive(Clone, Copy, Debug, Args)]
struct GrantArgs {
    /// Take a component that imports WASI; every call of it traps.
    #[arg(long)]
    allow_wasi_stubs: bool,
}

#[derive(Debug, Args)]
struct SimulateArgs {
    /// The address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port; 0 takes any free one.
    #[arg(long, value_name = "N", default_value_t = 4010)]
    port: u16,
    /// Median time to the first token, milliseconds.
    #[arg(long, default_value_t = 200.0)]
    ttft_ms: f64,
    /// Spread of the time to the first token: sigma of a log-normal.
    #[arg(long, default_value_t = 0.3)]
    ttft_sigma: f64,
    /// Output tokens per second; 0 is instant.
    #[arg(long, default_value_t = 80.0)]
    tokens_per_second: f64,
    /// Median output tokens of a reply.
    #[arg(long, default_value_t = 64)]
    output_tokens: u32,
    /// Share of requests answered with a 500, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    error_rate: f64,
    /// Length of the window that limits are for, seconds.
    #[arg(long, default_value_t = 60.0, value_parser = window)]
    window_seconds: f64,
    /// When it forgets what it counted.
    #[arg(long, value_enum, default_value_t = serve::WindowArg::Sliding)]
    rate_limit_window: serve::WindowArg,
    /// Strict requests per window.
    #[arg(long)]
    rpm: Option<u64>,
    /// Strict tokens per window.
    #[arg(long)]
    tpm: Option<u64>,
    /// The parent of all random draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    log: LogArgs,
}

/// Seconds above 0.
fn window(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "a number of seconds above 0, a day at most".to_owned())
}

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    // The compiling child is not for people, so it does not stand among the words above.
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|word| word == CHILD_COMMAND) {
        return compile_child_main(arguments);
    }
    match Cli::parse().command {
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Check { file, strict, connections: true, .. } => connections::check(&file, strict),
        Command::Check { file, json, strict, policies, locked, .. } => {
            let policies = policies.as_deref().map(|folder| check::Policies { folder, locked });
            check::check(&file, policies, json, strict)
        }
        Command::Schema => check::schema(),
        Command::Plan(arguments) => experiment::plan(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Batch(arguments) => batch::batch(&arguments),
        Command::Runs(arguments) => runs::runs(&arguments),
        Command::Policies { ask, change: None } => policy::list(&ask),
        Command::Policies { ask, change: Some(change) } => rollout::change(&change, &ask),
        Command::Route(RouteArgs { request, dry_run: _, ask }) => route::explain(&request, &ask),
        Command::Spend(arguments) => spend::spend(arguments),
        Command::Policy(command) => policy::run(command),
        Command::Explain(ExplainArgs { request_id, dir, policies, json }) => {
            replay::explain(&request_id, dir.as_ref(), policies, json)
        }
        Command::Simulate(arguments) => simulate::simulate(&arguments),
        Command::Evaluate(arguments) => evaluate::evaluate(&arguments),
        Command::SimulateProvider(arguments) => serve::simulate(&arguments),
    }
}

/// Writes to standard output; a reader that went away is no fault of ours.
fn say(text: impl fmt::Display) {
    let _reader_left = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes to standard error and fails.
fn fail(text: impl fmt::Display) -> ExitCode {
    let _reader_left = writeln!(std::io::stderr().lock(), "error: {text}");
    ExitCode::FAILURE
}

/// The process's environment.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The default folder of compiled policies.
fn cache_folder() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    base.is_absolute().then(|| base.join("witgate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_that_is_asked_is_named_before_what_is_asked_or_behind_it() {
        for words in [
            "policies --url U --key K --json history g",
            "policies history g --url U --key K --json",
            "policies --key K history --json g --url U",
        ] {
            let cli = Cli::try_parse_from(["witgate"].into_iter().chain(words.split(' ')));
            let Ok(Command::Policies { ask, change: Some(VersionCommand::History { group }) }) =
                cli.map(|cli| cli.command)
            else {
                panic!("`{words}` is not understood")
            };
            let AskArgs { url, key, json } = ask;
            assert_eq!((&*url, key.as_deref(), json, group.as_deref()), ("U", Some("K"), true, Some("g")), "{words}");
        }
    }
}
