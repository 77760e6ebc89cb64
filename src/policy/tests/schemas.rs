//! Schemas of settings: what is understood, what is told, and when.

use serde_json::json;

use super::*;
use crate::policy::host::custom_section::{SETTINGS_SCHEMA, append};

const SCHEMA: &str = r#"{
    "type": "object",
    "additionalProperties": false,
    "required": ["do"],
    "properties": {
        "do": {"type": "string", "minLength": 2, "description": "what to do"},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "by": {"enum": ["a", 1, null]},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"a.b": {"type": ["boolean", "null"]}}}}
    }
}"#;

fn with(schema: &str) -> Vec<u8> {
    SettingsSchema::embed(schema.as_bytes(), HOSTILE.to_vec()).unwrap()
}

fn component() -> Arc<Component> {
    ENGINE.load(&PolicyName::from("guest"), &with(SCHEMA)).unwrap()
}

fn refused(component: &Arc<Component>, settings: &str) -> String {
    match Router::start(Arc::clone(component), setup(settings, &["a"]), None) {
        Err(PolicyProblem::Configure(why)) => why.to_string(),
        other => panic!("{settings}: {other:?}"),
    }
}

#[test]
fn settings_are_held_to_the_schema_before_the_policy_sees_them() {
    let component = component();
    let fit = json!({"do": "nothing", "share": 0.5, "size": 9.0, "by": 1.0, "rows": [{"a.b": null, "c": 3}, {}]});
    Router::start(Arc::clone(&component), setup(&fit.to_string(), &["a"]), None).unwrap();
    for (settings, told) in [
        ("{}", "setting `do` is missing"),
        ("[]", "settings must be a JSON object"),
        (r#"{"do": "x"}"#, "setting `do` must have 2 or more characters"),
        (r#"{"do": 3}"#, "setting `do` must be text"),
        (r#"{"do": "nothing", "share": 1.5}"#, "setting `share` must be a number, 0 to 1"),
        (r#"{"do": "nothing", "size": 1.5}"#, "setting `size` must be a whole number from 1 to 9"),
        (r#"{"do": "nothing", "size": 0}"#, "setting `size` must be a whole number from 1 to 9"),
        (r#"{"do": "nothing", "by": "c"}"#, "setting `by` must be one of \"a\", 1"),
        (r#"{"do": "nothing", "rows": [{}, {"a.b": 1}]}"#, "setting `rows[1][\"a.b\"]` must be true or false"),
        (r#"{"do": "nothing", "rows": [3]}"#, "setting `rows[0]` must be an object"),
        (
            r#"{"share": -1, "shore": 1}"#,
            "setting `share` must be a number, 0 to 1; unknown setting `shore`; this policy knows: do, share, size, by, \
             rows; setting `do` is missing",
        ),
    ] {
        assert_eq!(refused(&component, settings), told, "{settings}");
    }
    let many = json!({"do": "nothing", "rows": vec![3; 50]}).to_string();
    let why = refused(&component, &many);
    assert!(why.contains("`rows[19]`") && !why.contains("`rows[20]`") && why.ends_with("; and 30 more"), "{why}");
}

/// Each mistake says where it is, so that a configuration can say line and column.
#[test]
fn mistakes_have_places() {
    let settings = r#"{"share": 2, "rows": [{}, {"a.b": 1}], "a/b~": 1}"#;
    let Err(PolicyProblem::Configure(refusal)) = Router::start(component(), setup(settings, &["a"]), None) else {
        panic!("it started");
    };
    let places: Vec<&str> = refusal.mistakes().iter().map(|mistake| mistake.pointer.as_str()).collect();
    assert_eq!(places, ["/share", "/rows/1/a.b", "/a~1b~0", "/do"]);
    let own = Router::start(Arc::clone(&COMPONENT), setup(r#"{"do": "configure-refuse"}"#, &["a"]), None);
    assert!(matches!(own, Err(PolicyProblem::Configure(refusal)) if refusal.mistakes().is_empty()));
}

#[test]
fn a_policy_without_a_schema_judges_its_settings_alone() {
    assert_eq!(COMPONENT.inspection().schema, None);
    start(r#"{"do": "nothing", "unheard": 1}"#);
}

#[test]
fn a_successor_is_held_to_its_own_schema() {
    let before = start(r#"{"do": "nothing"}"#);
    let problem = Router::succeed(component(), setup(r#"{"share": 2}"#, &["a"]), &before).unwrap_err();
    assert!(problem.to_string().starts_with("refused its configuration: setting `share` must be"), "{problem}");
    Router::succeed(component(), setup(r#"{"do": "nothing"}"#, &["a"]), &before).unwrap();
}

#[test]
fn a_schema_is_read_with_the_component() {
    let schema = inspect(&with(SCHEMA), false).unwrap().schema.unwrap();
    let keys = ["do: string", "share: number", "size: integer", "by", "rows: array"];
    assert_eq!(schema.keys(), keys);
    assert_eq!(serde_json::to_value(&schema).unwrap()["required"], json!(["do"]));
    let found = anatomy(&with(SCHEMA)).unwrap();
    assert!(found.sections.contains(&("witgate:settings-schema".to_owned(), SCHEMA.len())), "{:?}", found.sections);
}

/// `embed` refuses it, and so does loading a component into which another tool has put it.
#[test]
fn what_is_not_understood_refuses_the_policy() {
    for (schema, why) in [
        (r#"{"properties": {"a": {"pattern": "x"}}}"#, "`pattern` at #/properties/a is not understood here"),
        (r##"{"$ref": "#/a"}"##, "`$ref` at # is not understood here"),
        (r#"{"items": 3}"#, "#/items is no object"),
        (r#"{"properties": []}"#, "#/properties is no object"),
        (r#"{"properties": {"a": true}}"#, "#/properties/a is no object"),
        (r#"{"type": "text"}"#, "#/type is not a type or a list of types"),
        (r#"{"type": []}"#, "#/type is not a type or a list of types"),
        (r#"{"required": "a"}"#, "#/required is not a list of names"),
        (r#"{"additionalProperties": {}}"#, "#/additionalProperties is not true or false"),
        (r#"{"enum": []}"#, "#/enum is not a list of values"),
        (r#"{"minimum": "1"}"#, "#/minimum is not a number"),
        (r#"{"minLength": -1}"#, "#/minLength is not a whole number"),
        ("[]", "it is no JSON object"),
        ("{", "it is no JSON: EOF while parsing an object at line 1 column 1"),
    ] {
        assert_eq!(SettingsSchema::embed(schema.as_bytes(), Vec::new()).unwrap_err(), why, "{schema}");
        let bytes = carrying(schema);
        assert_eq!(inspect(&bytes, false), Err(PolicyProblem::Schema(why.to_owned())), "{schema}");
    }
    let large = format!(r#"{{"title": "{}"}}"#, "x".repeat(64 * 1024));
    assert_eq!(
        inspect(&carrying(&large), false),
        Err(PolicyProblem::Schema("it has 65549 bytes, 65536 are allowed".into()))
    );
    let deep = r#"{"items": "#.repeat(5_000) + "{}" + &"}".repeat(5_000);
    assert!(matches!(inspect(&carrying(&deep), false), Err(PolicyProblem::Schema(_))));
    let twice = SettingsSchema::embed(b"{}", with("{}")).unwrap();
    assert_eq!(inspect(&twice, false), Err(PolicyProblem::Schema("there are two".into())));
}

/// The component with a section that nobody has looked at.
fn carrying(schema: &str) -> Vec<u8> {
    let mut bytes = HOSTILE.to_vec();
    append(&mut bytes, SETTINGS_SCHEMA, schema.as_bytes());
    bytes
}
