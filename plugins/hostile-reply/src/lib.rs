//! A response parser that misbehaves on demand: the settings name the misbehaviour, `{"do": "push-loop"}`.
//!
//! Unless told otherwise it passes everything. What is to happen in `push` happens where a text says `666`, what is to happen
//! later happens to replies in which one did, and what is to happen in the constructor happens to replies that are streamed or
//! have a schema; so it passes the host's self-test.
//!
//! The built component is committed as `tests/fixtures/policies/hostile-reply.wasm`. `cargo xtask policies` builds it.

#![expect(unsafe_code, reason = "the exports of a component")]

use std::cell::RefCell;
use std::hint::black_box;

wit_bindgen::generate!({ world: "response-parser", path: "../../wit" });

use exports::witgate::policy::lifecycle::{self, SavedState, Setup};
use exports::witgate::policy::parsing::{
    self, Complaint, Delta, Finish, GuestParser, Kinds, Needs, ReplyInfo, ToolArguments, ToolCall,
};
use witgate::policy::log::{Level, write};
use witgate::policy::tokens;

struct Hostile;

thread_local! {
    static DEED: RefCell<String> = const { RefCell::new(String::new()) };
    /// What all replies said, for one that is told to `remember` it, or claims to be pure and does (`remember-pure`).
    static MEMORY: RefCell<String> = const { RefCell::new(String::new()) };
}

fn told_to(deed: &str) -> bool {
    DEED.with_borrow(|told| told == deed)
}

impl lifecycle::Guest for Hostile {
    fn configure(setup: Setup) -> Result<(), String> {
        let deed = setup.settings.trim_start_matches(r#"{"do":""#).trim_end_matches(r#""}"#);
        DEED.with_borrow_mut(|kept| deed.clone_into(kept));
        Ok(())
    }

    fn save() -> Option<SavedState> {
        None
    }
}

impl parsing::Guest for Hostile {
    type Parser = Reply;

    fn start() -> Result<Needs, String> {
        let attributes = attribute().into_iter().collect();
        Ok(Needs { deltas: Kinds::all(), attributes, pure: !told_to("impure") && !told_to("remember") })
    }
}

/// The attribute it asks for, where it is told to (`attribute NAME`): the reply says what it is.
fn attribute() -> Option<String> {
    DEED.with_borrow(|deed| deed.strip_prefix("attribute ").map(str::to_owned))
}

struct Reply(RefCell<State>);

#[derive(Default)]
struct State {
    cursed: bool,
    attributes: String,
    held: Vec<Delta>,
    hoard: Vec<Vec<u8>>,
}

impl GuestParser for Reply {
    fn new(about: ReplyInfo) -> Self {
        if about.streamed || about.schema.is_some() {
            match () {
                () if told_to("open-trap") => unreachable(),
                () if told_to("open-loop") => endless(),
                () => {}
            }
        }
        Self(RefCell::new(State { attributes: about.attributes.join(", "), ..State::default() }))
    }

    fn push(&self, delta: Delta) -> Vec<Delta> {
        let mut state = self.0.borrow_mut();
        let cursed = matches!(&delta, Delta::Text(text) if text.contains("666"));
        state.cursed |= cursed;
        if told_to("hold-trap") || told_to("hold-complain") || told_to("hold") {
            state.held.push(delta);
            return Vec::new();
        }
        if told_to("late") {
            if cursed {
                unreachable();
            }
            return std::mem::replace(&mut state.held, vec![delta]);
        }
        if (told_to("remember") || told_to("remember-pure"))
            && let Delta::Text(text) = &delta
        {
            let before = MEMORY.with_borrow_mut(|memory| {
                let before = memory.clone();
                memory.push_str(text);
                before
            });
            return vec![Delta::Text(format!("{text} before: {before}"))];
        }
        if attribute().is_some() && matches!(delta, Delta::Text(_)) {
            return vec![Delta::Text(format!("told: {}", state.attributes))];
        }
        if told_to("grow") {
            state.hoard.push(vec![1; 1 << 20]);
        }
        if !cursed {
            return vec![delta];
        }
        misbehave(delta)
    }

    fn finish(&self, _: Finish) -> Result<Vec<Delta>, Complaint> {
        let mut state = self.0.borrow_mut();
        if state.cursed {
            match () {
                () if told_to("finish-trap") || told_to("hold-trap") => unreachable(),
                () if told_to("finish-loop") => endless(),
                () if told_to("finish-endless") => return Ok(vec![Delta::Text("x".repeat(24 << 20))]),
                () if told_to("complain") || told_to("hold-complain") => {
                    return Err(Complaint { problem: "no ".repeat(1000), repair: Some("again ".repeat(16_000)) });
                }
                () => {}
            }
        }
        Ok(std::mem::take(&mut state.held))
    }
}

fn misbehave(delta: Delta) -> Vec<Delta> {
    let arguments = |index| Delta::ToolArguments(ToolArguments { index, fragment: "{}".to_owned() });
    let call = |index| Delta::ToolCall(ToolCall { index, id: "c".to_owned(), name: "f".to_owned() });
    let deed = DEED.with_borrow(Clone::clone);
    match deed.as_str() {
        "push-loop" => endless(),
        "push-trap" => unreachable(),
        "push-panic" => panic!("on purpose"),
        "push-memory" => hoard(),
        "push-stack" => drop(black_box(deeper(1))),
        "push-endless" => return vec![Delta::Text("x".repeat(24 << 20))],
        "push-endless-list" => return (0..1_000_000).map(|_| Delta::Text(String::new())).collect(),
        "arguments-of-nothing" => return vec![arguments(9)],
        "call-twice" => return vec![call(3), arguments(3), call(3)],
        "log-loop" => loop {
            write(Level::Debug, "again");
        },
        "log-flood" => (0..2_000).for_each(|n| write(Level::Info, &format!("line {n}"))),
        "count-loop" => loop {
            black_box(tokens::count("over and over again"));
        },
        "amplify" => return vec![Delta::Text("x".repeat(60_000))],
        _ => {}
    }
    vec![delta]
}

fn hoard() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; 1 << 20]));
    }
}

fn endless() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn unreachable() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn deeper(n: u64) -> u64 {
    black_box(deeper(black_box(n + 1)) + n)
}

export!(Hostile);
