//! Providers: speak to one in its own words. `wit/provider.wit` says what each call means.

pub mod bindings;

use std::rc::Rc;

pub use bindings::exports::witgate::policy::providing::{
    Beginning, Encoded, Event, Fault, Finish, Framing, Header, Needs, Target, ToolArguments, ToolCall, Usage,
};
pub use witgate_policy::held::Setup;
pub use witgate_policy::{Settings, log, settings};

use bindings::exports::witgate::policy::lifecycle;

/// Speaks for one deployment.
pub trait Provider: Sized + 'static {
    /// Reads one stream.
    type Decoder: Decoder;

    /// Starts with the settings and says how streams are cut.
    ///
    /// # Errors
    /// One sentence about a setting that makes no sense; the gateway then keeps what it had.
    fn configure(setup: Setup) -> Result<(Self, Needs), String>;

    /// Writes a request, which comes as an `OpenAI` chat completion.
    ///
    /// # Errors
    /// It asks for what the provider has no words for.
    fn encode(&self, request: &[u8], target: &Target) -> Result<Encoded, Fault>;

    /// Reads a whole reply.
    ///
    /// # Errors
    /// It is none.
    fn decode(&self, body: &[u8]) -> Result<Vec<Event>, Fault>;

    /// Reads a refusal.
    fn decode_error(&self, status: u16, body: &[u8]) -> Fault;

    /// A stream begins.
    fn open(self: &Rc<Self>) -> Self::Decoder;
}

/// One stream.
pub trait Decoder: 'static {
    /// The next piece.
    ///
    /// # Errors
    /// What the provider reports inside the stream, or it is none of its streams.
    fn push(&mut self, name: &str, data: &[u8]) -> Result<Vec<Event>, Fault>;
}

impl Fault {
    /// A fault in these words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None, param: None }
    }

    /// The same, blaming a field of the request.
    #[must_use]
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }
}

/// The provider of this component instance, if any.
#[doc(hidden)]
pub struct Held<P>(witgate_policy::held::Held<Rc<P>>);

impl<P: Provider> Held<P> {
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

    /// Starts a provider.
    ///
    /// # Errors
    /// The provider's own words.
    pub fn start(&self) -> Result<Needs, String> {
        self.0.start(|setup| P::configure(setup).map(|(provider, needs)| (Rc::new(provider), needs)))
    }

    /// The provider that was started.
    ///
    /// # Errors
    /// None was.
    pub fn provider(&self) -> Result<Rc<P>, Fault> {
        self.0.ask(|provider| Rc::clone(provider)).ok_or_else(|| Fault::new("it was not started"))
    }
}

/// Makes a type that implements [`Provider`] the component's provider. Once per crate.
#[macro_export]
macro_rules! export_provider {
    ($provider:ty) => {
        const _: () = {
            use $crate::Provider as _;
            use $crate::bindings::exports::witgate::policy::{lifecycle, providing};

            thread_local! {
                static HELD: $crate::Held<$provider> = const { $crate::Held::empty() };
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

            impl providing::Guest for Component {
                type Decoder = Opened;

                fn start() -> Result<providing::Needs, String> {
                    HELD.with(|held| held.start())
                }

                fn encode(request: Vec<u8>, target: providing::Target) -> Result<providing::Encoded, providing::Fault> {
                    HELD.with(|held| held.provider())?.encode(&request, &target)
                }

                fn decode(body: Vec<u8>) -> Result<Vec<providing::Event>, providing::Fault> {
                    HELD.with(|held| held.provider())?.decode(&body)
                }

                fn decode_error(status: u16, body: Vec<u8>) -> providing::Fault {
                    HELD.with(|held| held.provider())
                        .map_or_else(|fault| fault, |provider| provider.decode_error(status, &body))
                }
            }

            struct Opened(std::cell::RefCell<Option<<$provider as $crate::Provider>::Decoder>>);

            impl providing::GuestDecoder for Opened {
                fn new() -> Self {
                    Self(std::cell::RefCell::new(
                        HELD.with(|held| held.provider()).ok().map(|provider| provider.open()),
                    ))
                }

                fn push(&self, name: String, data: Vec<u8>) -> Result<Vec<providing::Event>, providing::Fault> {
                    match self.0.borrow_mut().as_mut() {
                        Some(decoder) => $crate::Decoder::push(decoder, &name, &data),
                        None => Err($crate::Fault::new("it was not started")),
                    }
                }
            }

    $crate::bindings::__export_provider_world!(Component with_types_in $crate::bindings);
        };
    };
}
