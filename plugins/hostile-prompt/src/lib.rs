//! A prompt builder that misbehaves on demand: the settings name the misbehaviour, `{"do": "loop"}`.
//!
//! Unless told otherwise it keeps every part. What is to happen in `build` happens only to prompts that say `666`, so that it
//! passes the host's self-test.
//!
//! The built component is committed as `tests/fixtures/policies/hostile-prompt.wasm`. `cargo xtask policies` builds it.

#![expect(unsafe_code, reason = "the exports of a component")]

use std::cell::RefCell;
use std::hint::black_box;

wit_bindgen::generate!({ world: "prompt-builder", path: "../../wit" });

use exports::witgate::policy::lifecycle::{self, SavedState, Setup};
use exports::witgate::policy::prompting::{self, BuiltMessage, BuiltPart, Needs, Prompt, Request, Role};
use witgate::policy::log::{Level, write};
use witgate::policy::tokens;

struct Hostile;

thread_local! {
    static DEED: RefCell<String> = const { RefCell::new(String::new()) };
    /// What all prompts said, for one that is told to `remember` it, or claims to be pure and does (`remember-pure`).
    static MEMORY: RefCell<String> = const { RefCell::new(String::new()) };
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

impl prompting::Guest for Hostile {
    fn start() -> Result<Needs, String> {
        let pure = DEED.with_borrow(|deed| deed != "impure" && deed != "remember");
        Ok(Needs { attributes: attribute().into_iter().collect(), pure })
    }

    fn build(request: Request) -> Result<Prompt, String> {
        let cursed = request.messages.iter().flat_map(|message| &message.parts).any(|part| part.text.contains("666"));
        let mut kept = kept(&request);
        if DEED.with_borrow(|deed| deed.starts_with("remember")) {
            let said = request.messages.iter().flat_map(|message| &message.parts).map(|part| part.text.as_str());
            let before = MEMORY.with_borrow_mut(|memory| {
                let before = memory.clone();
                memory.extend(said);
                before
            });
            let parts = vec![BuiltPart { source: None, text: Some(format!("before: {before}")) }];
            kept.messages.push(BuiltMessage { role: Role::User, parts, source: None });
        }
        if attribute().is_some() {
            let parts =
                vec![BuiltPart { source: None, text: Some(format!("told: {}", request.attributes.join(", "))) }];
            kept.messages.push(BuiltMessage { role: Role::User, parts, source: None });
        }
        if !cursed {
            return Ok(kept);
        }
        misbehave(kept)
    }
}

/// The attribute it asks for, where it is told to (`attribute NAME`): the prompt says what it is.
fn attribute() -> Option<String> {
    DEED.with_borrow(|deed| deed.strip_prefix("attribute ").map(str::to_owned))
}

fn misbehave(kept: Prompt) -> Result<Prompt, String> {
    let part = |source, text: Option<&str>| BuiltPart { source, text: text.map(str::to_owned) };
    let of = |parts| Ok(Prompt { messages: vec![BuiltMessage { role: Role::User, parts, source: None }], ..none() });
    let deed = DEED.with_borrow(Clone::clone);
    match deed.as_str() {
        "loop" => endless(),
        "trap" => unreachable(),
        "panic" => panic!("on purpose"),
        "memory" => hoard(),
        "stack" => drop(black_box(deeper(1))),
        "log-loop" => loop {
            write(Level::Debug, "again");
        },
        "log-flood" => (0..2_000).for_each(|n| write(Level::Info, &format!("line {n}"))),
        "count-loop" => loop {
            black_box(tokens::count("over and over again"));
        },
        "count-nothing-loop" => loop {
            black_box(tokens::count(""));
        },
        "count-much" => {
            let text = "word ".repeat(200_000);
            loop {
                black_box(tokens::count(&text));
            }
        }
        "no-such-part" => return of(vec![part(Some(u32::MAX), None)]),
        "part-twice" => return of(vec![part(Some(0), None), part(Some(0), None)]),
        "empty-part" => return of(vec![part(None, None)]),
        "no-message" => return Ok(none()),
        "no-such-message" => {
            let messages = kept.messages.into_iter().map(|message| BuiltMessage { source: Some(7), ..message });
            return Ok(Prompt { messages: messages.collect(), ..none() });
        }
        "no-such-item" => return Ok(Prompt { items: vec![3], ..kept }),
        "huge-note" => return Ok(Prompt { note: Some("n".repeat(2 << 20)), ..kept }),
        "endless-text" => return of(vec![part(None, Some(&"x".repeat(24 << 20)))]),
        "endless-list" => return of((0..1_000_000).map(|_| part(None, Some(""))).collect()),
        "refuse" => return Err("no".repeat(10_000)),
        _ => {}
    }
    Ok(kept)
}

fn none() -> Prompt {
    Prompt { messages: Vec::new(), items: Vec::new(), note: None }
}

fn kept(request: &Request) -> Prompt {
    let mut next = 0_u32..;
    let message = |(source, message): (u32, &prompting::Message)| BuiltMessage {
        role: message.role,
        parts: next.by_ref().take(message.parts.len()).map(|at| BuiltPart { source: Some(at), text: None }).collect(),
        source: Some(source),
    };
    Prompt { messages: (0..).zip(&request.messages).map(message).collect(), ..none() }
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
