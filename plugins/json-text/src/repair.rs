//! A reader of what is nearly JSON: commas too many, single quotes, names without quotes, comments, `True` and `None`, line ends
//! inside of texts, brackets that are missing at the end.

use serde_json::{Map, Number, Value};

/// Deeper nesting than any answer needs.
const DEPTH: u32 = 64;

/// Reads the value a text begins with.
///
/// # Errors
/// It is not even nearly JSON: what was expected, and before which text.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text };
    reader.value(DEPTH)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn fail<T>(&self, wanted: &str) -> Result<T, String> {
        let near: String = self.rest.chars().take(20).collect();
        Err(if near.is_empty() {
            format!("it ends where {wanted} is expected")
        } else {
            format!("{wanted} is expected before `{near}`")
        })
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if let Some(comment) = self.rest.strip_prefix("//") {
                self.rest = comment.find('\n').map_or("", |end| &comment[end..]);
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                self.rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
            } else {
                return;
            }
        }
    }

    fn next_is(&mut self, token: char) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, depth: u32) -> Result<Value, String> {
        self.skip();
        match self.peek() {
            Some('{' | '[') if depth == 0 => self.fail("less nesting"),
            Some('{') => self.object(depth - 1),
            Some('[') => self.list(depth - 1),
            Some('"' | '\'') => Ok(Value::String(self.text())),
            Some(_) => self.word(),
            None => self.fail("a value"),
        }
    }

    fn object(&mut self, depth: u32) -> Result<Value, String> {
        self.next_is('{');
        let mut object = Map::new();
        loop {
            self.skip();
            if self.next_is(',') {
                continue;
            }
            if self.next_is('}') || self.rest.is_empty() {
                return Ok(Value::Object(object));
            }
            let name = match self.peek() {
                Some('"' | '\'') => self.text(),
                _ => self.plain_name()?,
            };
            self.skip();
            if !self.next_is(':') {
                // Cut off behind a name: there is no value to keep.
                return if self.rest.is_empty() { Ok(Value::Object(object)) } else { self.fail("a colon") };
            }
            self.skip();
            if self.rest.is_empty() {
                return Ok(Value::Object(object));
            }
            let value = self.value(depth)?;
            object.insert(name, value);
        }
    }

    fn list(&mut self, depth: u32) -> Result<Value, String> {
        self.next_is('[');
        let mut list = Vec::new();
        loop {
            self.skip();
            if self.next_is(',') {
                continue;
            }
            if self.next_is(']') || self.rest.is_empty() {
                return Ok(Value::Array(list));
            }
            list.push(self.value(depth)?);
        }
    }

    fn plain_name(&mut self) -> Result<String, String> {
        let end = self
            .rest
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-' && c != '$')
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return self.fail("a name");
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// A text in either kind of quotes. One that does not end ends with the reply.
    fn text(&mut self) -> String {
        let quote = self.peek().unwrap_or('"');
        self.next_is(quote);
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[at + c.len_utf8()..];
                return text;
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next().map(|(_, c)| c) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('b') => text.push('\u{8}'),
                Some('f') => text.push('\u{c}'),
                Some('u') => text.push(unicode(&mut chars)),
                Some(other) => text.push(other),
                None => {}
            }
        }
        self.rest = "";
        text
    }

    fn word(&mut self) -> Result<Value, String> {
        let end = self.rest.find(|c: char| c.is_whitespace() || ",:]}[{\"'".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let value = match word {
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            "null" | "None" | "NULL" | "undefined" | "NaN" => Value::Null,
            number => match serde_json::from_str::<Number>(number.trim_start_matches('+')) {
                Ok(number) => Value::Number(number),
                Err(_) => return self.fail("a value"),
            },
        };
        self.rest = rest;
        Ok(value)
    }
}

/// The character of `\uXXXX`, and of the pair it may begin.
fn unicode(chars: &mut std::str::CharIndices<'_>) -> char {
    let unit = |chars: &mut std::str::CharIndices<'_>| {
        let digits: String = chars.clone().take(4).map(|(_, c)| c).collect();
        let unit = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?;
        for _ in 0..4 {
            chars.next();
        }
        Some(unit)
    };
    let Some(first) = unit(chars) else { return char::REPLACEMENT_CHARACTER };
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER);
    }
    let mut ahead = chars.clone();
    let second = match (ahead.next(), ahead.next()) {
        (Some((_, '\\')), Some((_, 'u'))) => unit(&mut ahead).filter(|second| (0xDC00..0xE000).contains(second)),
        _ => None,
    };
    let Some(second) = second else { return char::REPLACEMENT_CHARACTER };
    *chars = ahead;
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_nearly_json_is_read() {
        for (text, value) in [
            ("{\"a\": \"x\ny\", 'b': 'it\\'s', c-d: +1.5e2,,}", json!({"a": "x\ny", "b": "it's", "c-d": 150.0})),
            ("[1 /* one */, 2 // two\n, true, False, None]", json!([1, 2, true, false, null])),
            (r#"["\u00e9 \ud83d\ude00 \ud83d \uZZ"]"#, json!(["é 😀 \u{fffd} \u{fffd}ZZ"])),
            ("{\"a\": [1, {\"b\": \"cut o", json!({"a": [1, {"b": "cut o"}]})),
            ("{\"a\": 1, \"b\"", json!({"a": 1})),
            ("{\"a\": 1, \"b\":", json!({"a": 1})),
        ] {
            assert_eq!(read(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_not_is_told() {
        assert_eq!(read("{a b}").unwrap_err(), "a colon is expected before `b}`");
        assert_eq!(read("[yes]").unwrap_err(), "a value is expected before `yes]`");
        assert!(read(&"[".repeat(1000)).unwrap_err().starts_with("less nesting"));
    }
}
