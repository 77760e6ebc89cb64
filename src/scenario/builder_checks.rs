//! What every prompt builder is checked for, whatever it builds: no conversation, variable, item or setting makes it fail, equals
//! come to equals, and it does not grow. A refusal is a good answer to all of them.

use std::sync::Arc;

use super::Asked;
use super::odd;
use super::report::SuiteReport;
use crate::chat::{Message, Part, PartKind, Rest, Role};
use crate::moment::Moment;
use crate::policy::{BuildError, BuildRequest, BuiltPrompt, Component, PolicySetup, PromptBuilder};
use crate::seed;

/// Prompts over which memory must not grow, and after how many it is measured first.
const PROMPTS: u64 = 3_000;
const WARM: u64 = 300;
const HUGE: usize = 1 << 20;

/// Runs every check on a component, with the settings of `setup` where a check needs some.
pub(super) fn all(component: &Arc<Component>, setup: &PolicySetup, report: &mut SuiteReport) {
    let trial = Trial { component, setup };
    let started = trial.started();
    report.gate("starts, and builds or refuses a greeting", started.as_ref().map(drop).map_err(Clone::clone));
    // Every other check would say the same.
    let Ok(builder) = started else { return };
    report.asked(Asked::by_builder(builder.needs(), component.inspection().manifest));
    report.advice("the same prompt from another fresh instance", trial.same_twice());
    report.advice("an empty conversation", trial.all_of(&[Vec::new(), vec![said(Role::User, Vec::new())]]));
    report.advice("a conversation of 1,000 messages, and one of 1 MiB", trial.huge());
    report.advice("parts of every kind and texts of every sort", trial.odd_texts());
    report.advice("variables, items and budgets that make no sense", trial.odd_requests());
    report.advice("settings that make no sense", trial.odd_settings());
    report.memory("memory does not grow over 3,000 prompts", trial.memory());
}

struct Trial<'a> {
    component: &'a Arc<Component>,
    setup: &'a PolicySetup,
}

impl Trial<'_> {
    fn started(&self) -> Result<Arc<PromptBuilder>, String> {
        let started = PromptBuilder::start(Arc::clone(self.component), self.setup.clone(), None);
        started.map_err(|problem| problem.to_string())
    }

    fn same_twice(&self) -> Result<(), String> {
        let (one, other) = (self.started()?, self.started()?);
        for text in odd::TEXTS {
            let messages = vec![said(Role::User, vec![Part::text(text)])];
            let [one, other] = [&one, &other].map(|builder| ask(builder, &question(builder), messages.clone()));
            if one? != other? {
                return Err(format!("two fresh instances build different prompts of the message {text:?}"));
            }
        }
        Ok(())
    }

    fn all_of(&self, conversations: &[Vec<Message>]) -> Result<(), String> {
        let builder = self.started()?;
        conversations.iter().try_for_each(|messages| ask(&builder, &question(&builder), messages.clone()).map(drop))
    }

    fn huge(&self) -> Result<(), String> {
        let roles = [Role::User, Role::Assistant].into_iter().cycle();
        let many = roles.take(1_000).map(|role| said(role, vec![Part::text("Well, that depends.")])).collect();
        let long = "The quick brown fox jumps over the lazy dog. ".repeat(HUGE / 45);
        self.all_of(&[many, vec![said(Role::User, vec![Part::text(long)])]])
    }

    fn odd_texts(&self) -> Result<(), String> {
        let roles = [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool];
        let mut conversations = Vec::new();
        for (at, text) in odd::TEXTS.into_iter().enumerate() {
            let messages = (0..kinds(text).len()).map(|first| {
                let mut parts = kinds(text);
                parts.rotate_left(first);
                said(roles[(at + first) % roles.len()], parts)
            });
            conversations.push(messages.collect());
        }
        self.all_of(&conversations)
    }

    fn odd_requests(&self) -> Result<(), String> {
        let builder = self.started()?;
        let plain = question(&builder);
        let messages = || vec![said(Role::User, vec![Part::text("Hello")])];
        let many = |item: &str| vec![item.to_owned(); 1_000];
        let items = [many("null"), many("\"one two three\""), many("{\"a\":{\"b\":[]}}"), vec!["1e999".to_owned()]];
        for items in items {
            for budget in [None, Some(0), Some(1), Some(u32::MAX)] {
                ask(&builder, &BuildRequest { items: items.clone(), budget, ..plain.clone() }, messages()).map(drop)?;
            }
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        for variables in ["{\"\":\"\",\"a\":null,\"items\":[],\"b\":{\"c\":1e300}}", "{\"a\":\"{{a}}{{{{\"}", &deep] {
            let variables = variables.to_owned();
            ask(&builder, &BuildRequest { variables, ..plain.clone() }, messages()).map(drop)?;
        }
        for (now, seed) in [(0, 0), (u64::MAX, u64::MAX)] {
            let question = BuildRequest { now: Moment::from_nanos(now), seed, ..plain.clone() };
            ask(&builder, &question, messages()).map(drop)?;
        }
        Ok(())
    }

    fn odd_settings(&self) -> Result<(), String> {
        odd::try_settings(|settings| {
            let setup = PolicySetup { settings, ..self.setup.clone() };
            PromptBuilder::start(Arc::clone(self.component), setup, None)
        })
    }

    /// Bytes of the instance that builds one prompt after another; of the first one where each has its own.
    fn memory(&self) -> Result<usize, String> {
        let builder = self.started()?;
        let mut warm = 0;
        for n in 0..PROMPTS {
            let text = odd::TEXTS[usize::try_from(n).unwrap_or_default() % odd::TEXTS.len()];
            let question = BuildRequest { seed: seed::mix(n), ..question(&builder) };
            ask(&builder, &question, vec![said(Role::User, vec![Part::text(text)])]).map(drop)?;
            if n == WARM {
                warm = builder.memory_bytes();
            }
        }
        odd::without_growth(warm, builder.memory_bytes(), &format!("from prompt {WARM} to prompt {PROMPTS}"))
    }
}

fn question(builder: &PromptBuilder) -> BuildRequest {
    BuildRequest {
        id: None,
        now: Moment::from_millis(super::suite::START_MS),
        seed: 1,
        variables: "{}".to_owned(),
        items: Vec::new(),
        budget: Some(1_000),
        attributes: vec![String::new(); builder.needs().attributes.len()],
    }
}

/// The prompt, or the words of a refusal.
fn ask(
    builder: &Arc<PromptBuilder>,
    question: &BuildRequest,
    messages: Vec<Message>,
) -> Result<Result<BuiltPrompt, String>, String> {
    let shown: String = format!("{messages:?}").chars().take(200).collect();
    let built = builder.build(question, messages);
    // Each time: what is kept of a log has a bound.
    let said = builder.take_log();
    match built {
        Ok(built) => Ok(Ok(built)),
        Err(BuildError::Refused(words)) => Ok(Err(words)),
        Err(BuildError::Fault(fault)) => Err(format!("with {shown}: it {}", fault.in_its_words(&said))),
    }
}

fn said(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, name: None, rest: Rest::new() }
}

fn kinds(text: &str) -> Vec<Part> {
    let call = ("c".to_owned(), "f".to_owned(), text.to_owned());
    let of_text = Part::text(text);
    let kinds = [
        PartKind::Text(text.to_owned()),
        PartKind::ToolCall { id: call.0, name: call.1, arguments: call.2 },
        PartKind::ToolResult { call_id: "c".to_owned(), content: Vec::new(), is_error: true },
        PartKind::ToolResult { call_id: "c".to_owned(), content: vec![of_text.clone(), of_text], is_error: false },
        PartKind::Reasoning { text: text.to_owned(), signature: Some("s".to_owned()) },
        PartKind::Refusal(text.to_owned()),
        PartKind::Other(serde_json::Value::Null),
    ];
    kinds.map(Part::from).to_vec()
}
