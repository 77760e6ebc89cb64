//! Prompt builders: what a model is told.

pub mod bindings;

pub use bindings::exports::witgate::policy::lifecycle::SavedState;
pub use bindings::exports::witgate::policy::prompting::{
    BuiltMessage, BuiltPart, Kind, Message, Needs, Part, Prompt, Request, Role,
};

pub use witgate_policy::held::Setup;
pub use witgate_policy::{Random, Settings, log, settings};

use bindings::exports::witgate::policy::lifecycle;

/// Builds the prompts of one group. Calls of one instance never overlap.
pub trait PromptBuilder: Sized + 'static {
    /// Starts with the settings and says what it needs to know.
    ///
    /// # Errors
    /// One sentence about a setting that makes no sense; the gateway then keeps what it had.
    fn configure(setup: Setup) -> Result<(Self, Needs), String>;

    /// Builds one prompt.
    ///
    /// # Errors
    /// The request is refused, in these words where the configuration grants it.
    fn build(&mut self, request: Request) -> Result<Prompt, String>;
}

/// Tokens of a text, as the group's first model counts them.
#[must_use]
pub fn count_tokens(text: &str) -> u32 {
    #[cfg(target_arch = "wasm32")]
    return bindings::witgate::policy::tokens::count(text);
    // In a policy's own tests on the machine at hand there is no gateway to ask: a token is a word.
    #[cfg(not(target_arch = "wasm32"))]
    return u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
}

impl BuiltPart {
    /// A new text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { source: None, text: Some(text.into()) }
    }

    /// A part of the request as it was: `number` counts the parts of all messages from 0.
    #[must_use]
    pub const fn kept(number: u32) -> Self {
        Self { source: Some(number), text: None }
    }

    /// A part of the request with other words.
    #[must_use]
    pub fn reworded(number: u32, text: impl Into<String>) -> Self {
        Self { source: Some(number), text: Some(text.into()) }
    }
}

impl BuiltMessage {
    /// A new message of one text.
    #[must_use]
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![BuiltPart::new(text)], source: None }
    }
}

/// The messages of a request as they are, to be changed here and there: every part is kept.
#[must_use]
pub fn kept(messages: &[Message]) -> Vec<BuiltMessage> {
    let mut next = 0;
    let mut kept = Vec::with_capacity(messages.len());
    for (source, message) in (0..).zip(messages) {
        let first: u32 = next;
        next += u32::try_from(message.parts.len()).unwrap_or(u32::MAX);
        let parts = (first..next).map(BuiltPart::kept).collect();
        kept.push(BuiltMessage { role: message.role, parts, source: Some(source) });
    }
    kept
}

/// The builder of this component instance, if any.
#[doc(hidden)]
pub struct Held<B>(witgate_policy::held::Held<B>);

impl<B: PromptBuilder> Held<B> {
    /// Nothing configured yet.
    #[must_use]
    pub const fn empty() -> Self {
        Self(witgate_policy::held::Held::empty())
    }

    /// Keeps the setup until the role begins.
    pub fn configure(&self, setup: lifecycle::Setup) {
        log::begin(witgate_policy::log_writer!(crate::bindings::witgate::policy::log));
        self.0.configure(setup.settings, setup.seed);
    }

    /// Starts a builder.
    ///
    /// # Errors
    /// The builder's own words.
    pub fn start(&self) -> Result<Needs, String> {
        self.0.start(B::configure)
    }

    /// Builds.
    ///
    /// # Errors
    /// The builder's refusal, or there is none.
    pub fn build(&self, request: Request) -> Result<Prompt, String> {
        self.0.ask(|builder| builder.build(request)).unwrap_or_else(|| Err("it was not started".to_owned()))
    }
}

/// Makes a type that implements [`PromptBuilder`] the component's prompt builder. Once per crate.
#[macro_export]
macro_rules! export_prompt_builder {
    ($builder:ty) => {
        const _: () = {
            use $crate::bindings::exports::witgate::policy::{lifecycle, prompting};

            thread_local! {
                static HELD: $crate::Held<$builder> = const { $crate::Held::empty() };
            }

            struct Component;

            impl lifecycle::Guest for Component {
                fn configure(setup: lifecycle::Setup) -> Result<(), String> {
                    HELD.with(|held| held.configure(setup));
                    Ok(())
                }

                fn save() -> Option<lifecycle::SavedState> {
                    None
                }
            }

            impl prompting::Guest for Component {
                fn start() -> Result<prompting::Needs, String> {
                    HELD.with(|held| held.start())
                }

                fn build(request: prompting::Request) -> Result<prompting::Prompt, String> {
                    HELD.with(|held| held.build(request))
                }
            }

    $crate::bindings::__export_prompt_builder_world!(Component with_types_in $crate::bindings);
        };
    };
}
