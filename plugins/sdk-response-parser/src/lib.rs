//! Response parsers: what a client reads of a model's reply.

pub mod bindings;

use std::cell::RefCell;
use std::rc::Rc;

pub use bindings::exports::witgate::policy::parsing::{
    Complaint, Delta, Finish, Kinds, Needs, ReplyInfo, ToolArguments, ToolCall,
};

pub use witgate_policy::held::Setup;
pub use witgate_policy::{Random, Settings, log, settings};

use bindings::exports::witgate::policy::lifecycle;

/// Reads the replies of one group.
pub trait ResponseParser: Sized + 'static {
    /// Reads one alternative of one reply.
    type Reply: Reply;

    /// Starts with the settings and says what it needs to know.
    ///
    /// # Errors
    /// One sentence about a setting that makes no sense; the gateway then keeps what it had.
    fn configure(setup: Setup) -> Result<(Self, Needs), String>;

    /// A reply begins.
    fn open(self: &Rc<Self>, about: ReplyInfo) -> Self::Reply;
}

/// One alternative of one reply.
pub trait Reply: 'static {
    /// What the client gets in the place of `delta`, which is of a kind that was asked for.
    fn push(&mut self, delta: Delta) -> Vec<Delta>;

    /// The alternative is complete: what was held back.
    ///
    /// # Errors
    /// It is no reply.
    fn finish(&mut self, reason: Finish) -> Result<Vec<Delta>, Complaint>;
}

/// Text as deltas: none where it is empty.
#[must_use]
pub fn text(text: String) -> Vec<Delta> {
    if text.is_empty() { Vec::new() } else { vec![Delta::Text(text)] }
}

/// The parser of this component instance, if any.
#[doc(hidden)]
pub struct Held<P>(witgate_policy::held::Held<Rc<P>>);

impl<P: ResponseParser> Held<P> {
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

    /// Starts a parser.
    ///
    /// # Errors
    /// The parser's own words.
    pub fn start(&self) -> Result<Needs, String> {
        self.0.start(|setup| P::configure(setup).map(|(parser, needs)| (Rc::new(parser), needs)))
    }

    /// A reply begins. Before `start` nothing reads it.
    #[must_use]
    pub fn open(&self, about: ReplyInfo) -> Opened<P::Reply> {
        Opened(RefCell::new(self.0.ask(|parser| parser.open(about))))
    }
}

/// One reply under way.
#[doc(hidden)]
pub struct Opened<R>(RefCell<Option<R>>);

impl<R: Reply> Opened<R> {
    /// Reads a delta.
    #[must_use]
    pub fn push(&self, delta: Delta) -> Vec<Delta> {
        match self.0.borrow_mut().as_mut() {
            Some(reply) => reply.push(delta),
            None => vec![delta],
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// The reply's complaint.
    pub fn finish(&self, reason: Finish) -> Result<Vec<Delta>, Complaint> {
        self.0.borrow_mut().as_mut().map_or_else(|| Ok(Vec::new()), |reply| reply.finish(reason))
    }
}

/// Makes a type that implements [`ResponseParser`] the component's response parser. Once per crate.
#[macro_export]
macro_rules! export_response_parser {
    ($parser:ty) => {
        const _: () = {
            use $crate::bindings::exports::witgate::policy::{lifecycle, parsing};

            thread_local! {
                static HELD: $crate::Held<$parser> = const { $crate::Held::empty() };
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

            impl parsing::Guest for Component {
                type Parser = Opened;

                fn start() -> Result<parsing::Needs, String> {
                    HELD.with(|held| held.start())
                }
            }

            struct Opened($crate::Opened<<$parser as $crate::ResponseParser>::Reply>);

            impl parsing::GuestParser for Opened {
                fn new(about: parsing::ReplyInfo) -> Self {
                    Self(HELD.with(|held| held.open(about)))
                }

                fn push(&self, delta: parsing::Delta) -> Vec<parsing::Delta> {
                    self.0.push(delta)
                }

                fn finish(&self, reason: parsing::Finish) -> Result<Vec<parsing::Delta>, parsing::Complaint> {
                    self.0.finish(reason)
                }
            }

    $crate::bindings::__export_response_parser_world!(Component with_types_in $crate::bindings);
        };
    };
}
