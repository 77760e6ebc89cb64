//! Settings are a JSON object; this reads it, and asks for each setting by name so that a name nobody asked
//! for can be refused. A reader of our own: a policy needs a few numbers and words.

mod json;

use std::ops::RangeInclusive;

pub use json::Value;

/// A policy's settings. Ask for each by name, then call [`Settings::finish`].
#[derive(Clone, Debug, Default)]
pub struct Settings {
    given: Vec<(String, Value)>,
    asked: Vec<String>,
}

impl Settings {
    /// Reads the object.
    ///
    /// # Errors
    /// Says at which byte it stops being JSON, or that it is no object.
    pub fn parse(text: &str) -> Result<Self, String> {
        match json::parse(text)? {
            Value::Object(given) => Ok(Self { given, asked: Vec::new() }),
            _ => Err("settings must be a JSON object".to_owned()),
        }
    }

    /// The setting of this name as it was given; `null` is the same as not given.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.asked.push(name.to_owned());
        let place = self.given.iter().position(|(given, _)| given == name)?;
        match self.given.remove(place).1 {
            Value::Null => None,
            value => Some(value),
        }
    }

    /// A number within `range`, `None` where not given. `words` says the range: printing numbers with a
    /// fraction would cost a component 19 KB.
    ///
    /// # Errors
    /// Names the setting and the range.
    pub fn number(&mut self, name: &str, words: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) if range.contains(&number) => Ok(Some(number)),
            Some(_) => Err(format!("setting `{name}` must be a number, {words}")),
        }
    }

    /// A whole number within `range`, `None` where not given.
    ///
    /// # Errors
    /// Names the setting and the range.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and within u32")]
    pub fn whole(&mut self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number))
                if number % 1.0 == 0.0 && (f64::from(*range.start())..=f64::from(*range.end())).contains(&number) =>
            {
                Ok(Some(number as u32))
            }
            Some(_) => {
                Err(format!("setting `{name}` must be a whole number from {} to {}", range.start(), range.end()))
            }
        }
    }

    /// The index of one of these words, `None` where not given.
    ///
    /// # Errors
    /// Names the setting and the words.
    pub fn word(&mut self, name: &str, words: &[&str]) -> Result<Option<usize>, String> {
        let Some(given) = self.take(name) else { return Ok(None) };
        let place = words.iter().position(|word| matches!(&given, Value::Text(text) if text == word));
        place.map(Some).ok_or_else(|| format!("setting `{name}` must be one of: {}", words.join(", ")))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Names a setting nobody asked for, and those that were.
    pub fn finish(self) -> Result<(), String> {
        match self.given.first() {
            None => Ok(()),
            Some((name, _)) if self.asked.is_empty() => {
                Err(format!("unknown setting `{name}`; this policy has no settings"))
            }
            Some((name, _)) => Err(format!("unknown setting `{name}`; this policy knows: {}", self.asked.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Settings, Value};

    #[test]
    fn settings_are_read_by_name() {
        let mut settings = Settings::parse(r#" {"ttl": 2.5, "size": 10, "by": "price", "off": null} "#).unwrap();
        assert_eq!(settings.number("ttl", "0 to 9", 0.0..=9.0), Ok(Some(2.5)));
        assert_eq!(settings.whole("size", 1..=10), Ok(Some(10)));
        assert_eq!(settings.word("by", &["cost", "price"]), Ok(Some(1)));
        assert_eq!(settings.number("off", "0 to 1", 0.0..=1.0), Ok(None));
        assert_eq!(settings.take("absent"), None);
        assert_eq!(settings.finish(), Ok(()));
    }

    #[test]
    fn mistakes_are_named() {
        let mut settings = Settings::parse(r#"{"ttl": "1h", "size": 1.5, "by": 3, "tll": 1}"#).unwrap();
        assert_eq!(settings.number("ttl", "0 to 9", 0.0..=9.0), Err("setting `ttl` must be a number, 0 to 9".into()));
        assert_eq!(settings.whole("size", 1..=9), Err("setting `size` must be a whole number from 1 to 9".into()));
        assert_eq!(settings.word("by", &["a", "b"]), Err("setting `by` must be one of: a, b".into()));
        assert_eq!(settings.finish(), Err("unknown setting `tll`; this policy knows: ttl, size, by".into()));
        assert_eq!(Settings::parse("[]").unwrap_err(), "settings must be a JSON object");
        let none = Settings::parse(r#"{"a": 1}"#).unwrap();
        assert_eq!(none.finish(), Err("unknown setting `a`; this policy has no settings".into()));
    }

    #[test]
    fn values_of_every_kind_come_through() {
        let mut settings = Settings::parse(r#"{"w": {"a": [1, -2.5e1, true, "x\né😀"]}}"#).unwrap();
        let list = vec![Value::Number(1.0), Value::Number(-25.0), Value::Bool(true), Value::Text("x\né😀".into())];
        assert_eq!(settings.take("w"), Some(Value::Object(vec![("a".into(), Value::List(list))])));
    }
}
