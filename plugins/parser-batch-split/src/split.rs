//! From the array a model wrote to one answer for each text.

use serde_json::{Value, json};

/// What may tell which text an element is about.
const NUMBER: &str = "number";

/// One element for each of so many texts: its result, or why there is none. `result` is the field that holds it. Of a reply
/// that was `cut` off, the last element may be half of one and is left out.
///
/// # Errors
/// Not one text is answered: why.
pub(crate) fn split(reply: &str, texts: usize, result: &str, cut: bool) -> Result<Value, String> {
    // What says which text it is about is the answer, wherever else brackets are; then what has as many elements as texts.
    let numbered = |value: &Value| elements(value).is_ok_and(|list| list.into_iter().any(|one| number(one).is_some()));
    let as_many = |value: &Value| elements(value).is_ok_and(|list| list.len() == texts);
    let found = json_text::fitting(reply, numbered).or_else(|| json_text::fitting(reply, as_many));
    let value = found.map_or_else(|| json_text::whole(reply).map(|(_, value)| value), Ok)?;
    let mut elements = elements(&value)?;
    if cut {
        elements.pop();
    }
    let mut answers: Vec<Option<Value>> = vec![None; texts];
    if elements.iter().any(|element| number(element).is_some()) {
        for element in elements {
            let place = number(element).and_then(|number| number.checked_sub(1));
            // Of two answers to one text the first is taken; what is about no text is left out.
            if let Some(answer @ None) = place.and_then(|place| answers.get_mut(place)) {
                *answer = Some(inside(element, result));
            }
        }
    } else if elements.len() == texts {
        answers = elements.into_iter().map(|element| Some(inside(element, result))).collect();
    } else if !cut {
        let found = elements.len();
        return Err(format!("it has {found} elements for {texts} texts, and none says which text it is about"));
    }
    if answers.iter().all(Option::is_none) {
        return Err(format!("none of its elements is about one of the {texts} texts"));
    }
    let told = answers.into_iter().enumerate().map(|(item, answer)| match answer {
        Some(answer) => json!({ "item": item, "result": answer }),
        None => json!({ "item": item, "missing": "the model did not answer for this text" }),
    });
    Ok(told.collect())
}

/// The array, or the only array inside of an object: JSON modes know no arrays. A single object is an array of one.
fn elements(value: &Value) -> Result<Vec<&Value>, String> {
    let object = match value {
        Value::Array(elements) => return Ok(elements.iter().collect()),
        Value::Object(object) => object,
        _ => return Err("it is no array".to_owned()),
    };
    if object.contains_key(NUMBER) {
        return Ok(vec![value]);
    }
    let mut arrays = object.values().filter_map(Value::as_array);
    match (arrays.next(), arrays.next()) {
        (Some(elements), None) => Ok(elements.iter().collect()),
        (None, _) => Ok(vec![value]),
        _ => Err("it is an object with several arrays".to_owned()),
    }
}

/// Models write numbers as texts too.
fn number(element: &Value) -> Option<usize> {
    match element.get(NUMBER)? {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_u64().and_then(|number| usize::try_from(number).ok()),
    }
}

/// The result of an element: its field, else the element without its number.
fn inside(element: &Value, result: &str) -> Value {
    let Value::Object(object) = element else { return element.clone() };
    object.get(result).cloned().unwrap_or_else(|| {
        object.iter().filter(|(name, _)| *name != NUMBER).map(|(name, value)| (name.clone(), value.clone())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_models_write_becomes_one_answer_for_each_text() {
        let both = r#"[{"item":0,"result":"a"},{"item":1,"result":"b"}]"#;
        for (reply, told) in [
            (r#"[{"number": 1, "result": "a"}, {"number": 2, "result": "b"}]"#, both),
            // In another order, in prose, numbers as texts.
            (
                "Here:\n```json\n[{\"number\": \"2\", \"result\": \"b\"}, {\"number\": \"1\", \"result\": \"a\"}]\n```",
                both,
            ),
            // No numbers, as many as texts.
            (r#"["a", "b"]"#, both),
            // JSON mode: an object around it.
            (r#"{"results": [{"number": 1, "result": "a"}, {"number": 2, "result": "b"}]}"#, both),
            // One twice, one about no text.
            (
                r#"[{"number": 1, "result": "a"}, {"number": 1, "result": "x"}, {"number": 7, "result": "y"}, {"number": 2, "result": "b"}]"#,
                both,
            ),
            // Brackets in prose before it.
            (r#"See [1]: [{"number": 1, "result": "a"}, {"number": 2, "result": "b",}]"#, both),
            // Broken off.
            (
                r#"[{"number": 1, "result": "a"}, {"num"#,
                r#"[{"item":0,"result":"a"},{"item":1,"missing":"the model did not answer for this text"}]"#,
            ),
            // The element is the result.
            (
                r#"[{"number": 2, "score": 3}, {"number": 1, "score": 4}]"#,
                r#"[{"item":0,"result":{"score":4}},{"item":1,"result":{"score":3}}]"#,
            ),
        ] {
            let answers = split(reply, 2, "result", false).map(|value| value.to_string());
            assert_eq!(answers.as_deref(), Ok(told), "{reply}");
        }
    }

    #[test]
    fn a_single_text_may_be_answered_without_an_array() {
        assert_eq!(split(r#"{"score": 1}"#, 1, "result", false), Ok(json!([{"item": 0, "result": {"score": 1}}])));
        assert_eq!(
            split(r#"{"number": 1, "result": [1]}"#, 1, "result", false),
            Ok(json!([{"item": 0, "result": [1]}]))
        );
    }

    #[test]
    fn half_an_element_is_no_answer() {
        let cut = r#"[{"number": 1, "result": "a"}, {"number": 2, "result": "half of"#;
        let answers = split(cut, 2, "result", true).unwrap();
        assert_eq!((&answers[0]["result"], answers[1].get("result")), (&json!("a"), None));
    }

    #[test]
    fn what_answers_no_text_is_a_complaint() {
        for (reply, why) in [
            ("I cannot do that.", "there is no JSON in it"),
            ("[1, 2, 3]", "3 elements for 2 texts"),
            ("[]", "0 elements for 2 texts"),
            (r#"[{"number": 9, "result": 1}]"#, "none of its elements"),
            ("7", "it is no array"),
        ] {
            assert!(split(reply, 2, "result", false).unwrap_err().contains(why), "{reply}");
        }
    }
}
