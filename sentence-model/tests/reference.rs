//! Held to a reference that shares nothing with it (`reference.py`), over weights that `cargo xtask prove embeddings` fetches.

use std::path::Path;

use sentence_model::Model;
use serde_json::Value;

#[test]
#[ignore = "it needs the weights that `cargo xtask prove embeddings` fetches"]
#[expect(clippy::disallowed_methods, reason = "how long a text takes is what is told")]
fn vectors_are_those_of_the_reference() {
    const TIMES: u32 = 5;
    let folder = std::env::var("SENTENCE_MODEL").expect("SENTENCE_MODEL names the folder");
    let began = std::time::Instant::now();
    let (model, fingerprint) = Model::load(Path::new(&folder)).expect("a model");
    println!("loaded in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    assert_eq!(Model::load(Path::new(&folder)).expect("a model").1, fingerprint, "the same files");
    let known: Vec<Value> = serde_json::from_str(include_str!("reference.json")).expect("the reference");
    println!("| tokens | cosine | ms | text |\n| --- | --- | --- | --- |");
    let mut worst = 1.0_f64;
    for row in &known {
        let text = row["text"].as_str().expect("a text");
        let vector: Vec<f64> = serde_json::from_value(row["vector"].clone()).expect("numbers");
        let said = model.vector(text).expect("a vector");
        let began = std::time::Instant::now();
        for _ in 0..TIMES {
            assert_eq!(model.vector(text).expect("a vector"), said, "the same each time");
        }
        let took = began.elapsed().as_secs_f64() * 1e3 / f64::from(TIMES);
        assert_eq!(said.len(), vector.len());
        let cosine: f64 = said.iter().zip(&vector).map(|(one, other)| f64::from(*one) * other).sum();
        let start: String = text.chars().take(40).collect();
        println!("| {} | {cosine:.7} | {took:.1} | {} |", row["tokens"], start.replace('\n', " "));
        worst = worst.min(cosine);
    }
    assert!(worst >= 0.9999, "{worst}");
}

#[test]
fn a_folder_that_lacks_something_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let why = || Model::load(folder.path()).err().unwrap_or_default();
    assert!(why().contains("config.json"), "{}", why());
    put("modules.json", r#"[{"path": "", "type": "a.Transformer"}, {"path": "1_Dense", "type": "a.Dense"}]"#);
    assert!(why().contains("`a.Dense` is not done here"), "{}", why());
    put("modules.json", r#"[{"path": "", "type": "a.Transformer"}, {"path": "1", "type": "a.Pooling"}]"#);
    std::fs::create_dir(folder.path().join("1")).expect("a folder");
    put("1/config.json", r#"{"pooling_mode_max_tokens": true}"#);
    assert!(why().contains("config.json`: only the mean of tokens"), "{}", why());
}
