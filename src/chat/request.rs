//! A request for a chat reply, free of any provider's spelling.

use std::sync::Arc;

use serde_json::Value;

use super::{Dialect, Rest, VectorRequest};

/// Where a request's echo says that its reply is to be made in the background, for whoever asks for it later. No reply repeats it.
pub const IN_BACKGROUND: &str = "witgate:background";

/// One request, as parsed by a client API and as handed to a provider's dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// The group asked for, exactly as the client wrote it.
    pub model: String,
    /// The conversation. Instructions are messages with [`Role::System`] or [`Role::Developer`].
    pub messages: Arc<Vec<Message>>,
    /// Tools the model may call.
    pub tools: Vec<Tool>,
    /// Whether and which tool must be called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several tools may be called in one reply.
    pub parallel_tool_calls: Option<bool>,
    /// Upper bound of output tokens, reasoning included.
    pub max_tokens: Option<u32>,
    /// How many alternative replies are wanted; 1 unless the client said more.
    pub choices: u32,
    /// Sampling temperature, in the client's own scale.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Sampling from the k likeliest tokens.
    pub top_k: Option<u32>,
    /// Texts that end the reply.
    pub stop: Vec<String>,
    /// The shape the reply must have.
    pub output: Option<OutputFormat>,
    /// How much to think before answering.
    pub reasoning: Option<Reasoning>,
    /// The end user's name for the provider's abuse checks.
    pub user: Option<String>,
    /// Whether the reply is streamed.
    pub stream: bool,
    /// Whether the client wants usage at the end of a stream.
    pub stream_usage: bool,
    /// Input tokens, where they are told and there is nothing to count: requests of a simulation. No client API reads it from anywhere.
    pub input_tokens: Option<u64>,
    /// Set where vectors of the messages' contents are asked for in the place of a reply. Each message is one input then: a text, or
    /// an array of token numbers kept whole.
    pub vectors: Option<VectorRequest>,
    /// What the client's API says again in its reply. No provider is told.
    pub echo: Rest,
    /// Fields of the client's API that nobody here acts on: reported, whoever serves it, but where its format tells of them all the same.
    pub untold: Vec<String>,
    /// The dialect `rest` (here and in parts and tools) belongs to.
    pub dialect: Dialect,
    /// Fields without a canonical meaning.
    pub rest: Rest,
}

impl ChatRequest {
    /// A request that says nothing more.
    #[must_use]
    pub fn bare(model: String, messages: Vec<Message>, dialect: Dialect) -> Self {
        Self {
            model,
            messages: messages.into(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            max_tokens: None,
            choices: 1,
            temperature: None,
            top_p: None,
            top_k: None,
            stop: Vec::new(),
            output: None,
            reasoning: None,
            user: None,
            stream: false,
            stream_usage: false,
            input_tokens: None,
            vectors: None,
            echo: Rest::new(),
            untold: Vec::new(),
            dialect,
            rest: Rest::new(),
        }
    }

    /// The same request, with what `defaults` say where it says nothing. The conversation is shared, not copied. Unknown fields
    /// are taken over where both are of one dialect.
    #[must_use]
    pub fn with_defaults(&self, defaults: &Self) -> Self {
        let mut request = self.clone();
        request.user = request.user.or_else(|| defaults.user.clone());
        if request.dialect == defaults.dialect {
            let is_chats = |name: &String| self.vectors.is_some() && OF_CHATS.contains(&name.as_str());
            for (name, value) in defaults.rest.iter().filter(|(name, _)| !is_chats(name)) {
                if !request.rest.contains_key(name) {
                    request.rest.insert(name.clone(), value.clone());
                }
            }
        }
        if self.vectors.is_some() {
            return request;
        }
        let Self { tools, tool_choice, parallel_tool_calls, max_tokens, temperature, top_p, top_k, stop, .. } =
            defaults;
        if request.tools.is_empty() {
            request.tools.clone_from(tools);
        }
        if request.stop.is_empty() {
            request.stop.clone_from(stop);
        }
        if request.choices == 1 {
            request.choices = defaults.choices;
        }
        request.tool_choice = request.tool_choice.or_else(|| tool_choice.clone());
        request.parallel_tool_calls = request.parallel_tool_calls.or(*parallel_tool_calls);
        request.max_tokens = request.max_tokens.or(*max_tokens);
        request.temperature = request.temperature.or(*temperature);
        request.top_p = request.top_p.or(*top_p);
        request.top_k = request.top_k.or(*top_k);
        request.output = request.output.or_else(|| defaults.output.clone());
        request.reasoning = request.reasoning.or_else(|| defaults.reasoning.clone());
        request
    }
}

/// Fields of chats that stand among those without a canonical meaning: who makes vectors knows none of them.
const OF_CHATS: [&str; 58] = [
    "add_generation_prompt",
    "audio",
    "chat_template_kwargs",
    "continue_final_message",
    "enable_thinking",
    "frequency_penalty",
    "function_call",
    "functions",
    "guardrailConfig",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "ignore_eos",
    "include_reasoning",
    "include_stop_str_in_output",
    "length_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "min_p",
    "min_tokens",
    "modalities",
    "parallel_tool_calls",
    "plugins",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_mode",
    "random_seed",
    "reasoning",
    "reasoning_effort",
    "repeat_penalty",
    "repetition_penalty",
    "response_format",
    "safe_prompt",
    "safety_settings",
    "seed",
    "service_tier",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop",
    "stop_token_ids",
    "store",
    "stream_options",
    "structured_outputs",
    "temperature",
    "thinking",
    "thinking_budget",
    "tool_choice",
    "top_a",
    "top_logprobs",
    "top_p",
    "typical_p",
    "verbosity",
    "web_search_options",
];

impl ChatRequest {
    /// Whether it says a parameter that may be left out.
    #[must_use]
    pub fn says(&self, parameter: &str) -> bool {
        self.clone().leave_out(parameter)
    }

    /// Takes a whole parameter out, by the name that chat completions give it (a dot and what follows, as providers blame places, count
    /// for nothing). Returns whether it was there and is one that may be left out: what is asked about, and how it is delivered, is not.
    pub fn leave_out(&mut self, parameter: &str) -> bool {
        let name = parameter.split(['.', '[']).next().unwrap_or(parameter);
        match name {
            "n" => std::mem::replace(&mut self.choices, 1) > 1,
            "temperature" => self.temperature.take().is_some(),
            "top_p" => self.top_p.take().is_some(),
            "top_k" => self.top_k.take().is_some(),
            "max_tokens" | "max_completion_tokens" => self.max_tokens.take().is_some(),
            "stop" => !std::mem::take(&mut self.stop).is_empty(),
            "response_format" => self.output.take().is_some(),
            // Thinking as a client wrote it for its own dialect stands beside what it means in others.
            "reasoning_effort" | "thinking" => {
                self.reasoning.take().is_some() | self.rest.shift_remove("thinking").is_some()
            }
            "tools" => !std::mem::take(&mut self.tools).is_empty(),
            "tool_choice" => self.tool_choice.take().is_some(),
            "parallel_tool_calls" => self.parallel_tool_calls.take().is_some(),
            "user" => self.user.take().is_some(),
            "background" => {
                self.echo.shift_remove(IN_BACKGROUND).is_some() | self.rest.shift_remove("background").is_some()
            }
            "model" | "messages" | "stream" => false,
            other => self.rest.shift_remove(other).is_some(),
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// Instructions, in OpenAI's newer spelling.
    Developer,
    /// The person or program asking.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call; its parts are [`PartKind::ToolResult`].
    Tool,
}

impl Role {
    /// Whether it gives instructions.
    #[must_use]
    pub const fn instructs(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// The participant's name, where one was given.
    pub name: Option<String>,
    /// Fields without a canonical meaning.
    pub rest: Rest,
}

/// One piece of a message or of a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Fields without a canonical meaning (cache marks, citations …).
    pub rest: Rest,
}

impl Part {
    /// A part of plain text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: PartKind::Text(text.into()), rest: Rest::new() }
    }
}

impl From<PartKind> for Part {
    fn from(kind: PartKind) -> Self {
        Self { kind, rest: Rest::new() }
    }
}

/// The type of a part of hidden thinking.
const REDACTED: &str = "redacted_thinking";

/// The kinds of content that more than one dialect knows.
#[derive(Clone, Debug, PartialEq)]
pub enum PartKind {
    /// Plain text.
    Text(String),
    /// A picture.
    Image(ImageSource),
    /// The model asks for a tool.
    ToolCall {
        /// Ties the call to its result.
        id: String,
        /// The tool's name.
        name: String,
        /// The arguments as JSON text, exactly as the model wrote it (it may be invalid).
        arguments: String,
    },
    /// What a tool answered.
    ToolResult {
        /// The call it answers.
        call_id: String,
        /// The answer.
        content: Vec<Part>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// The model's thinking, with the provider's signature where there is one.
    Reasoning {
        /// Readable thinking.
        text: String,
        /// Opaque proof the provider wants back.
        signature: Option<String>,
    },
    /// The model declines.
    Refusal(String),
    /// Content only its own dialect understands, kept whole.
    Other(Value),
}

impl PartKind {
    /// Thinking that its provider hides, under the name that clients of every dialect bring it back by.
    #[must_use]
    pub fn redacted_reasoning(data: &str) -> Self {
        Self::Other(serde_json::json!({"type": REDACTED, "data": data}))
    }

    /// The thinking that its provider hides, where it is such.
    #[must_use]
    pub fn redacted(&self) -> Option<&str> {
        let Self::Other(value) = self else { return None };
        (value.get("type")? == REDACTED).then(|| value.get("data")?.as_str()).flatten()
    }

    /// Bytes of its words: what a tokenizer would see of it.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Text(text) | Self::Refusal(text) | Self::Reasoning { text, .. } => text.len(),
            Self::ToolCall { name, arguments, .. } => name.len() + arguments.len(),
            Self::ToolResult { content, .. } => content.iter().map(|part| part.kind.length()).sum(),
            Self::Image(_) | Self::Other(_) => 0,
        }
    }
}

/// Where a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// Somewhere the provider fetches it from; never fetched here.
    Url {
        /// The address.
        url: String,
        /// How closely to look (`low`, `high`, `auto`), where the client said.
        detail: Option<String>,
    },
    /// In the request itself.
    Base64 {
        /// For instance `image/png`.
        media_type: String,
        /// The picture, base64.
        data: String,
        /// How closely to look, where the client said.
        detail: Option<String>,
    },
}

/// A tool the model may call.
#[derive(Clone, Debug, PartialEq)]
pub enum Tool {
    /// A function with a JSON schema.
    Function {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// JSON schema of its arguments; `None` where the client gave none.
        parameters: Option<Value>,
        /// Whether the schema must be followed exactly.
        strict: Option<bool>,
        /// Fields without a canonical meaning.
        rest: Rest,
    },
    /// A tool the provider runs itself, kept whole for its own dialect.
    Other(Value),
}

impl Tool {
    /// What a tool is called that its own provider alone runs: its type, or the one thing that it says.
    #[must_use]
    pub fn runs_elsewhere(&self) -> Option<&str> {
        match self {
            Self::Function { .. } => None,
            Self::Other(value) => {
                let word = || value.as_object().and_then(|object| object.keys().next()).map(String::as_str);
                Some(value.get("type").and_then(Value::as_str).or_else(word).unwrap_or("this"))
            }
        }
    }
}

/// Whether and which tool must be called.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// This tool.
    Function(String),
    /// A choice only its own dialect understands.
    Other(Value),
}

/// The shape a reply must have.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputFormat {
    /// Plain text, said explicitly.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// The schema's name; dialects without names write `output`.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether it must be followed exactly.
        strict: Option<bool>,
    },
}

/// How much to think. At least one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// `low`, `medium`, `high` … as the client wrote it.
    pub effort: Option<String>,
    /// A budget in tokens.
    pub budget_tokens: Option<u32>,
}
