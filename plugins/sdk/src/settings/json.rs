//! A small reader of JSON (RFC 8259). Strict, bounded in depth, never panics.

/// A JSON value. Objects keep the order of the text; a name given twice is a mistake.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number, as the nearest f64.
    Number(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object.
    Object(Vec<(String, Value)>),
}

/// Deeper nesting than any setting needs; keeps a hostile text from using up the stack.
const DEPTH: u32 = 32;

pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(DEPTH)?;
    reader.space();
    if reader.at == text.len() { Ok(value) } else { reader.fail("nothing more") }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, wanted: &str) -> Result<T, String> {
        Err(format!("settings are not JSON: expected {wanted} at byte {}", self.at))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over `token` if it is next.
    fn next_is(&mut self, token: &str) -> bool {
        let here = self.text.as_bytes()[self.at..].starts_with(token.as_bytes());
        self.at += if here { token.len() } else { 0 };
        here
    }

    fn value(&mut self, depth: u32) -> Result<Value, String> {
        self.space();
        match self.peek() {
            Some(b'{' | b'[') if depth == 0 => self.fail("less nesting"),
            Some(b'{') => self.object(depth - 1),
            Some(b'[') => self.list(depth - 1),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.next_is("true") => Ok(Value::Bool(true)),
            _ if self.next_is("false") => Ok(Value::Bool(false)),
            _ if self.next_is("null") => Ok(Value::Null),
            _ => self.fail("a value"),
        }
    }

    fn object(&mut self, depth: u32) -> Result<Value, String> {
        let mut members: Vec<(String, Value)> = Vec::new();
        self.at += 1;
        self.space();
        if self.next_is("}") {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            if members.iter().any(|(known, _)| *known == name) {
                return Err(format!("setting `{name}` is given twice"));
            }
            self.space();
            if !self.next_is(":") {
                return self.fail("`:`");
            }
            members.push((name, self.value(depth)?));
            self.space();
            if self.next_is("}") {
                return Ok(Value::Object(members));
            }
            if !self.next_is(",") {
                return self.fail("`,` or `}`");
            }
        }
    }

    fn list(&mut self, depth: u32) -> Result<Value, String> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.next_is("]") {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.next_is("]") {
                return Ok(Value::List(items));
            }
            if !self.next_is(",") {
                return self.fail("`,` or `]`");
            }
        }
    }

    /// The nearest f64 for up to 15 digits and a power of ten within ±22, for any other number within a few units
    /// of its last place: settings are short, and the standard reader would cost a component 19 KB.
    fn number(&mut self) -> Result<Value, String> {
        let negative = self.next_is("-");
        let mut decimal = Decimal { digits: 0, power: 0 };
        // No leading zeros, and a digit wherever the grammar wants one.
        if !self.next_is("0") {
            self.digits(|digit| decimal.push(digit, 0))?;
        }
        if self.next_is(".") {
            self.digits(|digit| decimal.push(digit, 1))?;
        }
        if self.next_is("e") || self.next_is("E") {
            let down = self.next_is("-");
            let _up = !down && self.next_is("+");
            let mut power = 0_i32;
            self.digits(|digit| power = power.saturating_mul(10).saturating_add(i32::from(digit)))?;
            decimal.power = decimal.power.saturating_add(if down { -power } else { power });
        }
        let number = decimal.value();
        Ok(Value::Number(if negative { -number } else { number }))
    }

    fn digits(&mut self, mut each: impl FnMut(u8)) -> Result<(), String> {
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            each(digit - b'0');
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { self.fail("a digit") }
    }

    fn string(&mut self) -> Result<String, String> {
        if !self.next_is("\"") {
            return self.fail("a string");
        }
        let mut text = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            // Quotes, backslashes and control bytes are never inside a character, so both ends are boundaries.
            text.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => return self.fail("the end of the string"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        self.at += 1;
        let kind = self.peek();
        self.at += usize::from(kind.is_some_and(|byte| byte.is_ascii()));
        Ok(match kind {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = self.hex()?;
                let low = if (0xD800..0xDC00).contains(&high) && self.next_is("\\u") { self.hex()? } else { 0 };
                let pair = (0xDC00..0xE000).contains(&low);
                let code = if pair { 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00) } else { high };
                return match char::from_u32(code) {
                    Some(character) if pair || low == 0 => Ok(character),
                    _ => self.fail("a whole character"),
                };
            }
            _ => return self.fail("an escape"),
        })
    }

    fn hex(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.fail("a hex digit");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

/// `digits` × 10 to the `power`.
struct Decimal {
    digits: u64,
    power: i32,
}

impl Decimal {
    /// Adds a digit, `after` being 1 behind the point. What is beyond 18 digits only moves the power.
    fn push(&mut self, digit: u8, after: i32) {
        if self.digits < 100_000_000_000_000_000 {
            self.digits = self.digits * 10 + u64::from(digit);
            self.power = self.power.saturating_sub(after);
        } else {
            self.power = self.power.saturating_add(1 - after);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "the nearest f64 is wanted")]
    fn value(&self) -> f64 {
        let mut value = self.digits as f64;
        let mut left = self.power.clamp(-400, 400);
        // Powers of ten up to 22 are exact in f64, so one step rounds once.
        while left != 0 && value != 0.0 && value.is_finite() {
            let step = left.unsigned_abs().min(22);
            let scale = (0..step).fold(1.0, |scale, _| scale * 10.0);
            value = if left < 0 { value / scale } else { value * scale };
            left -= left.signum() * step.cast_signed();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, parse};

    #[test]
    fn numbers_are_the_standard_readers() {
        let exact = ["0", "-0", "0.1", "3600", "2.5e-3", "1e22", "123456789012345", "1.5e0", "5000000", "0.3", "1E+2"];
        for text in exact {
            assert_eq!(parse(text), Ok(Value::Number(text.parse().unwrap())), "{text}");
        }
        let near =
            ["3.14159265358979323846", "1.7976931348623157e308", "2.2250738585072014e-308", "12345678901234567890123"];
        for text in near {
            let Ok(Value::Number(read)) = parse(text) else { panic!("{text}") };
            let wanted: f64 = text.parse().unwrap();
            assert!((read / wanted - 1.0).abs() < 1e-14, "{text}: {read}");
        }
        for (text, wanted) in [("1e999", f64::INFINITY), ("1e-999", 0.0), ("0e999999999999", 0.0)] {
            assert_eq!(parse(text), Ok(Value::Number(wanted)), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_and_never_panics() {
        let bad = [
            "",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1}}",
            "01",
            "1.",
            ".5",
            "-",
            "1e",
            "+1",
            "nul",
            "tru",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\é\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\u{1}\"",
            "[1,]",
            "[1 2]",
            "NaN",
            "Infinity",
            "\u{feff}{}",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert_eq!(parse("{\"a\":1,\"a\":2}").unwrap_err(), "setting `a` is given twice");
    }

    #[test]
    fn every_cut_of_a_good_text_is_refused() {
        let text = r#"{"a":[1.5e-3,{"b":"c\u00e9\ud83d\ude00é"}],"d":true}"#;
        assert!(parse(text).is_ok());
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            assert!(parse(&text[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(
            parse(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#),
            Ok(Value::Text("\"\\/\u{8}\u{c}\n\r\té😀".into()))
        );
        assert_eq!(parse("-0.5E+2"), Ok(Value::Number(-50.0)));
    }
}
