use proptest::prelude::*;
use serde_json::{Value, json};
use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};

use super::encoding::MODELS;
use super::*;
use crate::chat::{Dialect, ImageSource, Message, OutputFormat, Part, PartKind, Rest, Role, Tool, VectorRequest};
use crate::signal::Feature;

fn close(value: f32, expected: f32) {
    assert!((value - expected).abs() < 1e-6, "{value} instead of {expected}");
}

fn one(feature: Feature, request: &ChatRequest) -> f32 {
    features(&[feature], request, Embedded::Hashed)[0]
}

fn request(messages: Vec<Message>) -> ChatRequest {
    ChatRequest::bare("group".to_owned(), messages, Dialect::named("openai"))
}

fn message(role: Role, name: Option<&str>, parts: Vec<PartKind>) -> Message {
    let parts = parts.into_iter().map(Part::from).collect();
    Message { role, parts, name: name.map(str::to_owned), rest: Rest::new() }
}

fn said(role: Role, name: Option<&str>, text: &str) -> Message {
    message(role, name, vec![PartKind::Text(text.to_owned())])
}

fn user(text: &str) -> ChatRequest {
    request(vec![said(Role::User, None, text)])
}

/// The example of OpenAI's cookbook, with the counts its API reported.
#[test]
fn the_cookbooks_example_counts_as_the_api_does() {
    let (them, us) = (Some("example_user"), Some("example_assistant"));
    let request = request(vec![
        said(
            Role::System,
            None,
            "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
        ),
        said(Role::System, them, "New synergies will help drive top-line growth."),
        said(Role::System, us, "Things working well together will increase revenue."),
        said(
            Role::System,
            them,
            "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        ),
        said(Role::System, us, "Let's talk later when we're less busy about how to do better."),
        said(
            Role::User,
            None,
            "This late pivot means we don't have time to boil the ocean for the client deliverable.",
        ),
    ]);
    for model in ["gpt-4-0613", "gpt-3.5-turbo-0125"] {
        assert_eq!(count(&request, model), Count { tokens: 129, exact: true }, "{model}");
    }
    for model in ["gpt-4o-2024-08-06", "gpt-4o-mini"] {
        assert_eq!(count(&request, model), Count { tokens: 124, exact: true }, "{model}");
    }
    assert!(upper_bound(&request) >= 129);
}

#[test]
fn every_row_of_the_table_is_what_tiktoken_says() {
    for (row, (beginning, encoding)) in MODELS.iter().enumerate() {
        for model in
            [format!("{beginning}-2099-01-01"), format!("ft:{beginning}-x:org::id"), format!("vendor/{beginning}-x")]
        {
            assert_eq!(Encoding::of(&model), Some(*encoding), "{model}");
        }
        let theirs = get_tokenizer(beginning).or_else(|| get_tokenizer(&format!("{beginning}-2099-01-01")));
        let expected: &[Tokenizer] = match encoding {
            Encoding::O200k => &[Tokenizer::O200kBase, Tokenizer::O200kHarmony],
            Encoding::Cl100k => &[Tokenizer::Cl100kBase],
        };
        // Embedding models have no dated names in tiktoken's table, but all rows are known to it.
        assert!(theirs.is_some_and(|theirs| expected.contains(&theirs)), "{beginning}: {theirs:?}");
        assert!(row == 0 || MODELS[row - 1].0 < *beginning, "{beginning} is out of order");
    }
}

#[test]
fn names_that_only_begin_alike_are_unknown() {
    for (model, encoding) in [
        ("gpt-5.4-mini", Some(Encoding::O200k)),
        ("gpt-4", Some(Encoding::Cl100k)),
        ("gpt-4-turbo", Some(Encoding::Cl100k)),
        ("openai/gpt-4.1-nano", Some(Encoding::O200k)),
        ("gpt-4.9", None),
        ("gpt-50", None),
        ("o11", None),
        ("claude-sonnet-4-5", None),
        ("simulated", None),
        ("", None),
        ("ft:", None),
    ] {
        assert_eq!(Encoding::of(model), encoding, "{model}");
    }
}

#[test]
fn the_fallback_is_words_and_a_third_but_never_more_than_bytes() {
    for (text, tokens) in [
        ("", 0),
        ("a", 1),
        ("one two", 3),
        ("one two three four five six seven eight nine ten", 13),
        // 24 bytes: six words.
        ("数据数据数据数据", 8),
        ("   ", 0),
    ] {
        assert_eq!(count_text(text, "unknown"), Count { tokens, exact: false }, "{text}");
    }
}

#[test]
fn vectors_are_made_of_texts_alone_and_of_token_numbers_that_are_tokens() {
    let numbers = message(Role::User, None, vec![PartKind::Other(json!([5, 600, 70_000]))]);
    let mut asked = request(vec![said(Role::User, None, "one two"), numbers]);
    asked.vectors = Some(VectorRequest::default());
    assert_eq!(count(&asked, "unknown"), Count { tokens: 3 + 3, exact: false });
    assert_eq!(count(&asked, "text-embedding-3-small"), Count { tokens: 2 + 3, exact: true });
    assert_eq!(upper_bound(&asked), 7 + 3);
}

#[test]
fn special_tokens_in_a_text_are_text() {
    assert!(count_text("<|endoftext|>", "gpt-4o").tokens > 1);
    assert_eq!(count_text("tiktoken is great!", "gpt-4"), Count { tokens: 6, exact: true });
}

#[test]
fn whatever_is_approximated_is_not_exact() {
    let text = || PartKind::Text("x".to_owned());
    let picture = |detail: Option<&str>| {
        PartKind::Image(ImageSource::Url { url: "https://e.invalid/p".to_owned(), detail: detail.map(str::to_owned) })
    };
    let plain = count(&user("x"), "gpt-4o");
    assert_eq!(plain, Count { tokens: 3 + 3 + 1 + 1, exact: true });
    for (part, more) in [(picture(None), 1600), (picture(Some("low")), 85)] {
        let with = request(vec![message(Role::User, None, vec![text(), part])]);
        assert_eq!(count(&with, "gpt-4o"), Count { tokens: plain.tokens + more, exact: false });
    }
    let mut with = user("x");
    with.tools.push(Tool::Other(json!({"type": "web_search"})));
    assert!(!count(&with, "gpt-4o").exact);
    let mut with = user("x");
    with.output = Some(OutputFormat::JsonSchema { name: None, description: None, schema: json!({}), strict: None });
    assert_eq!(count(&with, "gpt-4o"), Count { tokens: plain.tokens + 1, exact: false });
}

#[test]
fn a_file_counts_by_its_length_not_as_text() {
    let file = "A".repeat(1_600_000);
    let part = PartKind::Other(json!({"type": "file", "file": {"file_data": file}}));
    let request = request(vec![message(Role::User, None, vec![part])]);
    let bound = upper_bound(&request);
    assert!((100_000..100_100).contains(&bound), "{bound}");
    assert!((100_000..=bound).contains(&count(&request, "gpt-4o").tokens));
}

/// What a document's pages, a recording's seconds and a picture come to, whichever field they stand in.
#[test]
fn files_count_by_what_they_are() {
    use base64::Engine as _;
    use std::io::Write as _;

    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let noise = |length: usize| (0..length).map(|at| u8::try_from(at * 7 % 251).expect("a byte")).collect::<Vec<u8>>();
    let pages = |count: usize| "<< /Type /Page /Parent 1 0 R >>\n".repeat(count) + "<< /Type /Pages /Kids [] >>";
    let pdf = |objects: &[u8], size: usize| [b"%PDF-1.7\n", objects, &noise(size)].concat();
    let mut packed = b"<< /Type /ObjStm /Filter /FlateDecode >>\nstream\r\n".to_vec();
    let mut zlib = flate2::write::ZlibEncoder::new(&mut packed, flate2::Compression::default());
    zlib.write_all(pages(12).as_bytes()).expect("packed");
    let _packed = zlib.finish().expect("packed");
    let mut wave = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wave.extend(24_000_u32.to_le_bytes());
    wave.extend(48_000_u32.to_le_bytes());
    wave.resize(960_000, 0);
    let webp = [b"RIFF\0\0\0\0WEBP", noise(50_000).as_slice()].concat();
    let png = [b"\x89PNG\r\n\x1a\n", noise(2_000_000).as_slice()].concat();
    let mp3 = [b"ID3", noise(1_000_000).as_slice()].concat();
    let document = |data: String| json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}});
    let file =
        |data: String| json!({"type": "file", "file": {"file_data": format!("data:application/pdf;base64,{data}")}});
    let audio = |data: String| json!({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}});
    for (what, part, expected) in [
        ("12 pages in the open", document(base64(&pdf(pages(12).as_bytes(), 1_000_000))), 36_000),
        ("the same behind an address", file(base64(&pdf(pages(12).as_bytes(), 1_000_000))), 36_000),
        ("12 packed pages", document(base64(&pdf(&packed, 1_000_000))), 36_000),
        ("no page in sight", document(base64(&pdf(b"", 1_000_000))), 60_000),
        ("more pages than are taken", document(base64(&pdf(pages(400).as_bytes(), 1_000_000))), 300_000),
        ("one page", document(base64(&pdf(pages(1).as_bytes(), 3000))), 3000),
        ("twenty seconds", audio(base64(&wave)), 640),
        ("two minutes", audio(base64(&mp3)), 4000),
        ("a picture", json!({"anything": base64(&png)}), 1600),
        ("another picture", json!({"anything": base64(&webp)}), 1600),
    ] {
        for part in [
            PartKind::Other(part.clone()),
            PartKind::ToolResult {
                call_id: String::new(),
                content: vec![PartKind::Other(part).into()],
                is_error: false,
            },
        ] {
            let request = request(vec![message(Role::User, None, vec![part])]);
            let (bound, count) = (upper_bound(&request), count(&request, "gpt-4o"));
            assert!((expected..expected + 120).contains(&count.tokens) && !count.exact, "{what}: {count:?}");
            assert!((count.tokens..310_000).contains(&bound), "{what}: {bound}");
        }
    }
}

#[test]
fn cutting_a_long_text_changes_no_token() {
    let sentence =
        "It's a truth universally acknowledged, that 1234567 men   in possession\n\n of `code` must\r\n\tbe here… ";
    let text = sentence.repeat(1200);
    assert!(text.len() > 100_000);
    for (model, table) in
        [("gpt-4o", tiktoken_rs::o200k_base_singleton()), ("gpt-4", tiktoken_rs::cl100k_base_singleton())]
    {
        let whole = table.encode_ordinary(&text).len() as u64;
        assert_eq!(count_text(&text, model), Count { tokens: whole, exact: true });
    }
}

#[test]
fn a_long_run_of_anything_is_counted_and_breaks_nothing() {
    for unit in
        ["a", "A", " ", "\n", " \n", "!", "7", "é", "数", "\u{301}", "\u{2028}", "aB", "'s", "/\n", "\t x", "👩‍👩‍👧", "\0"]
    {
        let length = if matches!(unit, "a" | " ") { 1_000_000 } else { 100_000 };
        let text = unit.repeat(length / unit.len());
        for model in ["gpt-4o", "gpt-4", "unknown"] {
            let count = count_text(&text, model);
            assert!(count.tokens <= text.len() as u64, "{unit:?}");
            assert!(count.tokens > 0 || text.trim().is_empty(), "{unit:?}");
        }
    }
}

#[test]
fn features_are_of_the_text_the_model_reads() {
    let with_code = "Look:\n```rust\nfn f() {}\n```\nDone.\n";
    let result = PartKind::ToolResult {
        call_id: "1".to_owned(),
        content: vec![Part::text("~~~~\n```\nstill code")],
        is_error: false,
    };
    let request = request(vec![said(Role::User, None, with_code), message(Role::Tool, None, vec![result])]);
    let bytes = |bytes: usize| f32::from(u16::try_from(bytes).expect("a short text"));
    let code = "```rust\nfn f() {}\n```\n".len() + "~~~~\n```\nstill code".len();
    let length = with_code.len() + "~~~~\n```\nstill code".len();
    close(one(Feature::Messages, &request), 2.0);
    close(one(Feature::Length, &request), bytes(length));
    close(one(Feature::CodeShare, &request), bytes(code) / bytes(length));
    close(one(Feature::CodeShare, &user("no `code` here\n    ```\n")), 0.0);
    close(one(Feature::CodeShare, &user("")), 0.0);
    close(one(Feature::CodeShare, &user("```\n````\n``` x\n```\nout")), 19.0 / 22.0);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (1000_usize..3000).prop_map(|length| Value::from("Q".repeat(length))),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_part() -> impl Strategy<Value = PartKind> {
    let picture = || {
        PartKind::Image(ImageSource::Base64 {
            media_type: "image/png".to_owned(),
            data: "AAAA".to_owned(),
            detail: None,
        })
    };
    prop_oneof![
        4 => any::<String>().prop_map(PartKind::Text),
        1 => "[a-z ,.]{0,300}".prop_map(PartKind::Text),
        1 => Just(()).prop_map(move |()| picture()),
        1 => any::<[String; 3]>().prop_map(|[id, name, arguments]| PartKind::ToolCall { id, name, arguments }),
        1 => any::<String>().prop_map(|text| PartKind::ToolResult {
            call_id: String::new(), content: vec![Part::text(text)], is_error: true,
        }),
        1 => any::<String>().prop_map(|text| PartKind::Reasoning { text, signature: None }),
        1 => any_json().prop_map(PartKind::Other),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_bound_is_never_below_the_count(
        messages in prop::collection::vec((prop::option::of("[a-z]{1,8}"), prop::collection::vec(any_part(), 0..4)), 0..5),
        tools in prop::collection::vec((any::<String>(), prop::option::of(any_json())), 0..3),
    ) {
        let messages = messages.into_iter().map(|(name, parts)| message(Role::Developer, name.as_deref(), parts));
        let mut request = request(messages.collect());
        request.tools = tools.into_iter().map(|(name, parameters)| Tool::Function {
            name, description: Some("What it does".to_owned()), parameters, strict: None, rest: Rest::new(),
        }).collect();
        let bound = upper_bound(&request);
        for model in ["gpt-4o", "gpt-4", "unknown"] {
            prop_assert!(count(&request, model).tokens <= bound, "{} under {model}", count(&request, model).tokens);
        }
    }
}

/// Run with `cargo test --lib tokens -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn measure_bound_count_and_load() {
    let start = std::time::Instant::now();
    load("gpt-4o");
    println!("load {:?}", start.elapsed());
    let request = user(&"The quick brown fox jumps over the lazy dog, again. ".repeat(400));
    let start = std::time::Instant::now();
    let bounds: u64 = (0..1000).map(|_| std::hint::black_box(upper_bound(&request))).sum();
    println!("bound {} of 20 KB in {:?}", bounds / 1000, start.elapsed() / 1000);
    let start = std::time::Instant::now();
    println!("{:?} in {:?}", count(&request, "gpt-4o"), start.elapsed());
    for unit in ["a", "A", " ", "\n", " \n", "!", "7", "é", "数", "\u{301}", "aB", "/\n", "\t x", "👩‍👩‍👧", "word "]
    {
        let start = std::time::Instant::now();
        let count = count_text(&unit.repeat(1_000_000 / unit.len()), "gpt-4o");
        println!("1 MB of {unit:?}: {count:?} in {:?}", start.elapsed());
    }
}

#[test]
fn questions_with_words_in_common_have_vectors_that_are_alike() {
    let vector = |text: &str| {
        let wanted = Feature::asked("embedding/32").unwrap();
        assert_eq!(wanted.len(), 32);
        features(&wanted, &user(text), Embedded::Hashed)
    };
    let alike = |one: &str, other: &str| -> f32 { vector(one).iter().zip(vector(other)).map(|(a, b)| a * b).sum() };
    let sort = "Write a function in Python that sorts a list of numbers without the built-in sort.";
    close(alike(sort, sort), 1.0);
    let near = alike(sort, "Please write a Python function which sorts a list of words, without built-in functions.");
    let far = alike(sort, "Which river flows through the oldest town of the country, and where does it end?");
    assert!(near > 0.4 && near > far + 0.3, "{near} {far}");
    assert!(vector("").iter().chain(&vector("?!")).all(|number| number.abs() < f32::EPSILON));
    assert_eq!(vector(&"letters ".repeat(100_000)), vector("letters letters"), "each counts once");
    // Two sizes are two vectors, whatever order they are asked for in.
    let both = [Feature::asked("embedding/2").unwrap(), Feature::asked("embedding/3").unwrap()].concat();
    let (both, swapped) =
        (features(&both, &user(sort), Embedded::Hashed), features(&[both[3], both[0]], &user(sort), Embedded::Hashed));
    close(both[3], swapped[0]);
    close(both[0], swapped[1]);
}

#[test]
fn a_vector_that_was_made_elsewhere_is_cut_to_what_is_wanted_or_all_zeros() {
    let (wanted, request) = (Feature::asked("embedding/2").unwrap(), user("hi"));
    let wanted = [&wanted[..], &[Feature::Length]].concat();
    let given = features(&wanted, &request, Embedded::Given(&[3.0, -4.0, 12.0]));
    let mut values = features(&wanted, &request, Embedded::Unknown);
    let all = |values: &[f32], expected: [f32; 3]| values.iter().zip(expected).for_each(|(one, two)| close(*one, two));
    all(&given, [0.6, -0.8, 2.0]);
    all(&values, [0.0, 0.0, 2.0]);
    embed(&wanted, &mut values, &[3.0, -4.0, 12.0]);
    all(&values, [0.6, -0.8, 2.0]);
    // What is made elsewhere is made of the same text.
    assert_eq!(embedded_text(&request), "hi");
    assert_eq!(embedded_text(&user(&"é".repeat(100_000))).len(), 8 << 10);
}

#[test]
fn a_question_tells_what_it_is_about() {
    let of = |name: &str, text: &str| one(Feature::parse(name).unwrap(), &user(text));
    let fact = "What is the capital of Norway?";
    let code = "Fix this Python function:\n```\ndef f(x): return x\n```";
    let poem = "Compose a poem with a rhyme about the sea, then a song.";
    let proof = "Explain why the theorem holds, compare both cases and prove the second. Discuss 3 implications for 14 of the 20 spaces.";
    close(of("simple-question", fact), 1.0);
    close(of("simple-question", proof), 0.0);
    close(of("code", code), 1.0);
    close(of("code", poem), 0.0);
    close(of("creative", poem), 1.0);
    close(of("analysis", proof), 1.0);
    close(of("creative", fact), 0.0);
    assert!(of("complexity", proof) > of("complexity", fact));
    assert!(of("english", proof) > 0.5);
    assert!(of("english", "Quelle est la capitale de la Norvège ?") < 0.3);
    for name in Feature::SINGLE.map(Feature::name) {
        assert!(of(&name, "").abs() < f32::EPSILON || name == "messages", "{name}");
    }
    for wrong in ["embedding/0", "embedding/65", "embedding/x", "embedding", "embedding/8.8", "embedding/4.", "colour"]
    {
        assert!(Feature::asked(wrong).is_none(), "{wrong}");
    }
    let messages = vec![said(Role::User, None, fact), said(Role::Assistant, None, "Oslo. Compose a poem?")];
    close(one(Feature::SimpleQuestion, &request(messages)), 1.0);
}

#[test]
fn what_is_remembered_is_what_is_counted() {
    let texts = ["word ".repeat(400), "wort ".repeat(400), "word ".repeat(401)];
    let counted = || texts.each_ref().map(|text| ["gpt-4o", "gpt-4"].map(|model| count_text(text, model)));
    let plain = counted();
    let remembering = remember();
    assert_eq!((counted(), counted()), (plain, plain));
    drop(remembering);
    assert_eq!(counted(), plain);
}
