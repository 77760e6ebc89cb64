//! Requests for vectors, where each model has a body of its own: which one is data, and how it is written the format's.

use std::path::Path;

use serde_json::{Value, json};

use super::{Found, find};
use crate::chat::{ChatRequest, Vector};
use crate::fault::{AttemptFault, FaultKind};
use crate::format::{ClientRequest, Encoded, ProviderFormat, Target, operation_at};

fn asked(model: &str, fields: &Value) -> (&'static dyn ProviderFormat, Result<Encoded, AttemptFault>) {
    asked_of(&format!("bedrock/{model}"), fields)
}

/// The same of a model as configurations name it.
fn asked_of(model: &str, fields: &Value) -> (&'static dyn ProviderFormat, Result<Encoded, AttemptFault>) {
    let Found::Spoken(row, model) = find(model, None, None) else { panic!("{model} is spoken") };
    let path = "/v1/embeddings";
    let mut body = json!({"model": "m"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let (api, _) = operation_at(path).unwrap();
    let request: ChatRequest = api.parse(&ClientRequest::post(path.parse().unwrap(), body.to_string())).unwrap();
    let quirks = row.quirks_of(&model);
    let target = Target::plain(&model, quirks, 1);
    (row.format, row.format.encode_vectors(&request, &target))
}

#[test]
fn each_model_is_asked_in_its_own_words_and_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dialect/vectors/bedrock");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let fixture: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let model = fixture["model"].as_str().unwrap();
        let (format, encoded) = asked(model, &fixture["asked"]);
        let encoded = encoded.unwrap();
        assert_eq!(encoded.path, format!("/model/{}/invoke", model.replace(':', "%3A")));
        assert_eq!(serde_json::from_slice::<Value>(&encoded.body).unwrap(), fixture["sent"], "{file:?}");
        assert_eq!(json!(encoded.dropped), fixture["dropped"], "{file:?}");
        let vectors = format.decode_vectors(fixture["reply"].to_string().as_bytes()).unwrap();
        let numbers: Vec<_> = vectors.list.iter().map(Vector::to_numbers).map(|numbers| json!(numbers)).collect();
        assert_eq!(Value::from(numbers), fixture["vectors"], "{file:?}");
        assert_eq!(vectors.usage.map(|usage| usage.input_tokens), fixture["tokens"].as_u64(), "{file:?}");
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn what_a_model_cannot_make_vectors_of_is_refused_by_name() {
    for (model, fields, param) in [
        ("amazon.titan-embed-text-v2:0", json!({"input": ["One", "Two"]}), "input"),
        ("amazon.titan-embed-text-v1", json!({"input": "One", "dimensions": 256}), "dimensions"),
        ("cohere.embed-english-v3", json!({"input": ["One", [1, 2]]}), "input[1]"),
        ("anthropic.claude-sonnet-5", json!({"input": "One"}), "model"),
    ] {
        let (format, encoded) = asked(model, &fields);
        assert_eq!(encoded.unwrap_err().param.as_deref(), Some(param), "{model}");
        for broken in ["{}", r#"{"embedding": []}"#, r#"{"embeddings": {"int8": [[1]]}}"#, "[]"] {
            assert!(format.decode_vectors(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}

#[test]
fn a_cloud_is_asked_by_the_method_that_the_model_has_there() {
    let content = |text: &str| json!({"role": "user", "parts": [{"text": text}]});
    let config = json!({"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 64});
    let asked = |text: &str| json!({"content": content(text), "embedContentConfig": config});
    let predicted = |texts: &[&str]| {
        let list: Vec<Value> =
            texts.iter().map(|text| json!({"content": text, "task_type": "RETRIEVAL_QUERY"})).collect();
        json!({"instances": list, "parameters": {"outputDimensionality": 64}})
    };
    let batch = json!({"requests": [asked("One"), asked("Two")]});
    for (model, input, method, expected) in [
        ("gemini-embedding-2", json!("One"), "embedContent", asked("One")),
        ("gemini-embedding-001", json!(["One"]), "embedContent", asked("One")),
        ("gemini-embedding-001", json!(["One", "Two"]), "batchEmbedContents", batch),
        ("text-embedding-005", json!("One"), "predict", predicted(&["One"])),
        ("text-multilingual-embedding-002", json!(["One", "Two"]), "predict", predicted(&["One", "Two"])),
    ] {
        let fields = json!({"input": input, "dimensions": 64, "task_type": "RETRIEVAL_QUERY"});
        let encoded = asked_of(&format!("vertex_ai/{model}"), &fields).1.unwrap();
        assert_eq!(encoded.path, format!("/models/{model}:{method}"));
        assert_eq!(serde_json::from_slice::<Value>(&encoded.body).unwrap(), expected, "{model}");
    }
    // What is served there for others is asked for one input, whatever its name begins with.
    for model in ["gemini-embedding-x-maas", "text-embedding-x-maas"] {
        let fields = json!({"input": ["One"], "dimensions": 64, "task_type": "RETRIEVAL_QUERY"});
        let encoded = asked_of(&format!("vertex_ai/{model}"), &fields).1.unwrap();
        assert_eq!(encoded.path, format!("/models/{model}:embedContent"));
        assert_eq!(serde_json::from_slice::<Value>(&encoded.body).unwrap(), asked("One"), "{model}");
        let fault = asked_of(&format!("vertex_ai/{model}"), &json!({"input": ["One", "Two"]})).1.unwrap_err();
        assert_eq!((fault.kind, fault.param.as_deref()), (FaultKind::Rejected, Some("input")), "{model}");
        assert!(fault.message.contains("takes one text a request"), "{}", fault.message);
    }
    let (_, encoded) = asked_of("vertex_ai/gemini-embedding-2", &json!({"input": "One"}));
    assert_eq!(serde_json::from_slice::<Value>(&encoded.unwrap().body).unwrap(), json!({"content": content("One")}));
    let (_, encoded) = asked_of("gemini/gemini-embedding-2", &json!({"input": "One"}));
    let encoded = encoded.unwrap();
    let one = json!({"model": "models/gemini-embedding-2", "content": {"parts": [{"text": "One"}]}});
    assert_eq!(encoded.path, "/models/gemini-embedding-2:batchEmbedContents");
    assert_eq!(serde_json::from_slice::<Value>(&encoded.body).unwrap(), json!({"requests": [one]}));
}
