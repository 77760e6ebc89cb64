//! What a reply will say, written before its first word is sent: each token one step.

use serde_json::{Value, json};

use super::{json as document, normal, prose, tokens};
use crate::catalog::{SimulatedModel, SimulatedSkill};
use crate::chat::{
    ChatRequest, Choice, Chunk, Delta, Dialect, FinishReason, OutputFormat, Part, PartKind, Reply, Rest, Role, Tool,
    ToolChoice, Usage,
};
use crate::moment::Moment;
use crate::seed::derive;

/// Spread of the reply's length around the model's usual one: sigma of a log-normal.
const LENGTH_SIGMA: f64 = 0.25;

/// OpenAI's bound of `n`.
const MOST_CHOICES: u32 = 128;

/// A whole reply, in steps.
pub(super) struct Script {
    id: String,
    model: String,
    created: u64,
    input: u64,
    /// Output tokens, where they were told.
    told: Option<u64>,
    choices: Vec<ChoiceScript>,
}

/// One alternative: each step is one output token.
struct ChoiceScript {
    steps: Vec<Delta>,
    finish: FinishReason,
}

/// What is sent at one time.
pub(super) struct Beat {
    /// The place of the token that is due, from 0.
    pub(super) place: usize,
    pub(super) chunks: Vec<Chunk>,
}

impl Script {
    /// The words follow `seed`, which two equal conversations share; their ids differ.
    pub(super) fn write(
        request: &ChatRequest,
        model: &SimulatedModel,
        (input, told): (u64, Option<u64>),
        seed: u64,
        id: String,
        now: Moment,
    ) -> Self {
        let choices = (0..request.choices.clamp(1, MOST_CHOICES))
            .map(|choice| ChoiceScript::write(request, model, told.is_some(), derive(seed, choice.into())));
        let model = request.model.clone();
        Self { id, model, created: now.as_millis() / 1000, input, told, choices: choices.collect() }
    }

    /// The output tokens of the longest alternative; alternatives are sent side by side.
    pub(super) fn longest(&self) -> usize {
        let written = || self.choices.iter().map(|script| script.steps.len()).max().unwrap_or(0);
        self.told.map_or_else(written, |told| usize::try_from(told).unwrap_or(usize::MAX))
    }

    fn usage(&self, output_tokens: u64) -> Usage {
        Usage { input_tokens: self.input, output_tokens, ..Usage::default() }
    }

    fn output(&self) -> u64 {
        self.told.unwrap_or_else(|| self.choices.iter().map(|script| script.steps.len() as u64).sum())
    }

    /// The reply in one piece.
    pub(super) fn reply(&self, dialect: Dialect) -> Reply {
        let choices = self.choices.iter().zip(0..).map(|(script, index)| Choice {
            index,
            parts: script.parts(),
            finish: Some(script.finish.clone()),
            rest: Rest::new(),
            message_rest: Rest::new(),
            logprobs: Vec::new(),
        });
        Reply {
            id: self.id.clone(),
            model: self.model.clone(),
            created: Some(self.created),
            choices: choices.collect(),
            usage: Some(self.usage(self.output())),
            dialect,
            rest: Rest::new(),
        }
    }

    /// The reply as a stream.
    pub(super) fn beats(self, dialect: Dialect) -> std::vec::IntoIter<Beat> {
        let written = self.choices.iter().map(|script| script.steps.len()).max().unwrap_or(0);
        // Between what is written and the end of what was told, nothing is said.
        let (last, end) = (written.saturating_sub(1), self.longest().saturating_sub(1));
        let usage = self.usage(self.output());
        let start =
            Delta::Start { id: self.id.clone(), model: self.model.clone(), created: Some(self.created), dialect };
        let opening = vec![Chunk::of(start), Chunk::of(Delta::Usage(Box::new(self.usage(0))))];
        let mut beats = vec![Beat { place: 0, chunks: opening }];
        beats.extend((0..=last).map(|place| Beat { place, chunks: Vec::new() }));
        for (script, choice) in self.choices.into_iter().zip(0..) {
            let ends = script.steps.len().max(1);
            let said = script.steps.into_iter().enumerate().map(|(place, delta)| (place + 1, delta));
            for (beat, delta) in said.chain([(ends, Delta::Finish(script.finish))]) {
                if let Some(beat) = beats.get_mut(beat) {
                    beat.chunks.push(Chunk { choice, delta, rest: Rest::new() });
                }
            }
        }
        beats.push(Beat { place: end.max(last), chunks: vec![Chunk::of(Delta::Usage(Box::new(usage)))] });
        beats.into_iter()
    }
}

impl ChoiceScript {
    fn write(request: &ChatRequest, model: &SimulatedModel, told: bool, seed: u64) -> Self {
        // Whoever tells how long it is reads none of it.
        if let Some(says) = model.says.as_deref().or(told.then_some("simulated")) {
            let steps = tokens::pieces(says).map(|piece| Delta::Text(piece.to_owned())).collect();
            return Self { steps, finish: FinishReason::Stop };
        }
        let mut chance = fastrand::Rng::with_seed(seed);
        let called = called_tools(request);
        let mut script = if called.is_empty() {
            // One more than is sent, to see that it was cut.
            let most = request.max_tokens.map_or(u64::MAX, |most| u64::from(most) + 1);
            let length = length(model, &mut chance).min(most);
            Self::say(request, model.skill.as_deref(), length, &mut chance)
        } else {
            Self::call(&called, seed, &mut chance)
        };
        if let Some(most) = request.max_tokens
            && script.steps.len() as u64 > u64::from(most)
        {
            script.steps.truncate(most as usize);
            script.finish = FinishReason::Length;
        }
        script
    }

    fn say(request: &ChatRequest, skill: Option<&SimulatedSkill>, length: u64, chance: &mut fastrand::Rng) -> Self {
        let sound = skill.map(|skill| quality(skill, request));
        let (mut text, bounded) = match &request.output {
            Some(OutputFormat::JsonSchema { schema, .. }) => {
                let mut value = document::value(schema, chance);
                if skill.is_some_and(|skill| skill.grades)
                    && let Some(score) = value.get_mut("score")
                {
                    *score = json!(grade(&asked(request)));
                }
                (value.to_string(), false)
            }
            Some(OutputFormat::JsonObject) => {
                (json!({ "reply": prose::write(length, sound, chance) }).to_string(), false)
            }
            Some(OutputFormat::Text) | None => (prose::write(length, sound, chance), true),
        };
        let mut finish = FinishReason::Stop;
        let first =
            request.stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| Some((text.find(stop)?, stop)));
        if let Some((at, stop)) = first.min() {
            text.truncate(at);
            finish = FinishReason::StopSequence(Some(stop.clone()));
        }
        let most = if bounded { usize::try_from(length).unwrap_or(usize::MAX) } else { usize::MAX };
        let mut steps: Vec<Delta> = tokens::pieces(&text).map(|piece| Delta::Text(piece.to_owned())).collect();
        if steps.len() > most {
            steps.truncate(most);
            finish = FinishReason::Stop;
        }
        Self { steps, finish }
    }

    fn call(called: &[(&str, Option<&Value>)], seed: u64, chance: &mut fastrand::Rng) -> Self {
        let mut steps = Vec::new();
        for ((name, schema), index) in called.iter().zip(0..) {
            let arguments = schema.map_or_else(|| json!({}), |schema| document::value(schema, chance)).to_string();
            let id = format!("call_{:016x}", derive(seed, u64::from(index) + 1));
            steps.push(Delta::ToolCall { index, id, name: (*name).to_owned() });
            let pieces = tokens::pieces(&arguments);
            steps.extend(pieces.map(|piece| Delta::ToolArguments { index, fragment: piece.to_owned() }));
        }
        Self { steps, finish: FinishReason::ToolCalls }
    }

    /// The steps put together.
    fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for step in &self.steps {
            match (step, parts.last_mut().map(|part| &mut part.kind)) {
                (Delta::Text(piece), Some(PartKind::Text(text))) => text.push_str(piece),
                (Delta::Text(piece), _) => parts.push(Part::text(piece)),
                (Delta::ToolCall { id, name, .. }, _) => {
                    let (id, name) = (id.clone(), name.clone());
                    parts.push(PartKind::ToolCall { id, name, arguments: String::new() }.into());
                }
                (Delta::ToolArguments { fragment, .. }, Some(PartKind::ToolCall { arguments, .. })) => {
                    arguments.push_str(fragment);
                }
                _ => {}
            }
        }
        parts
    }
}

/// How good a reply to this is.
fn quality(skill: &SimulatedSkill, request: &ChatRequest) -> f64 {
    let asked = asked(request).to_lowercase();
    if skill.knows.iter().any(|word| asked.contains(word)) { skill.quality_known } else { skill.quality }
}

/// What a judge of skill says of a reply: `reply` of the object that it is asked about, or all that it is asked.
fn grade(asked: &str) -> f64 {
    let told: Option<Value> = serde_json::from_str(asked).ok();
    let reply = told.as_ref().and_then(|told| told["reply"].as_str()).unwrap_or(asked);
    (prose::soundness(reply) * 100.0).round() / 100.0
}

/// The words of the user's last message.
fn asked(request: &ChatRequest) -> String {
    let last = request.messages.iter().rfind(|message| message.role == Role::User);
    let parts = last.into_iter().flat_map(|message| &message.parts);
    parts.filter_map(|part| if let PartKind::Text(text) = &part.kind { Some(text.as_str()) } else { None }).collect()
}

/// How long a reply would be that nothing cuts.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1, and `as` saturates")]
fn length(model: &SimulatedModel, chance: &mut fastrand::Rng) -> u64 {
    let length = f64::from(model.output_tokens) * (LENGTH_SIGMA * normal(chance)).exp();
    length.round().max(1.0) as u64
}

/// The tools this reply calls: the one that is demanded, else those the user's last message names
/// (`call NAME`), else the first where some tool is demanded, else none.
fn called_tools(request: &ChatRequest) -> Vec<(&str, Option<&Value>)> {
    let offered = request.tools.iter().filter_map(|tool| match tool {
        Tool::Function { name, parameters, .. } => Some((name.as_str(), parameters.as_ref())),
        Tool::Other(_) => None,
    });
    let named: Vec<_> = match &request.tool_choice {
        Some(ToolChoice::None) => return Vec::new(),
        Some(ToolChoice::Function(demanded)) => return offered.filter(|(name, _)| name == demanded).collect(),
        _ => offered.clone().filter(|(name, _)| asks_for(request, name)).collect(),
    };
    let most = if request.parallel_tool_calls == Some(false) { 1 } else { usize::MAX };
    match (&request.tool_choice, named.is_empty()) {
        (Some(ToolChoice::Required), true) => offered.take(1).collect(),
        _ => named.into_iter().take(most).collect(),
    }
}

/// Whether the last message is the user's and says `call NAME`.
fn asks_for(request: &ChatRequest, tool: &str) -> bool {
    let Some(last) = request.messages.last().filter(|message| message.role == Role::User) else {
        return false;
    };
    let marker = format!("call {tool}");
    let texts = last.parts.iter().filter_map(|part| match &part.kind {
        PartKind::Text(text) => Some(text),
        _ => None,
    });
    let is_word = |sign: char| sign.is_alphanumeric() || sign == '_' || sign == '-';
    texts
        .into_iter()
        .any(|text| text.match_indices(&marker).any(|(at, found)| !text[at + found.len()..].starts_with(is_word)))
}
