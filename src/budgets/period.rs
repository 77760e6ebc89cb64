//! How long a budget is for: LiteLLM's words, and LiteLLM's boundaries, so that a budget begins anew when people expect it.
//!
//! `1d` ends at midnight, `7d` with Sunday, `30d` and `1mo` with the month; hours, minutes and seconds at whole multiples of
//! themselves. Other numbers of days are counted from the day a key was made. All in UTC.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::moment::Moment;

const DAY: u64 = 86_400;

/// A length of time as a file or a client writes it: `30s`, `15m`, `1h`, `7d`, `2w`, `1mo`, `daily`.
#[derive(Clone, Debug)]
pub struct Period {
    written: Arc<str>,
    length: Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Seconds(u64),
    Days(u64),
    Months(u64),
}

impl PartialEq for Period {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length
    }
}

impl Eq for Period {}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no period"))
    }
}

impl Period {
    /// What a period may be, for whoever wrote another.
    pub const KNOWN: &str = "a number and s, m, h, d, w or mo: 30s, 1h, 7d, 1mo; or hourly, daily, weekly, monthly";

    /// Reads it. `None` is none, or one longer than a century.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let plain = match text.to_ascii_lowercase().as_str() {
            "hourly" => "1h",
            "daily" => "1d",
            "weekly" => "7d",
            "monthly" => "1mo",
            _ => text,
        };
        let digits = plain.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = plain.split_at(digits);
        let number: u64 = number.parse().ok().filter(|number| (1..=3_155_760_000).contains(number))?;
        let length = match unit {
            "s" => Length::Seconds(number),
            "m" => Length::Seconds(number * 60),
            "h" => Length::Seconds(number * 3600),
            "d" if number == 30 => Length::Months(1),
            "d" => Length::Days(number),
            "w" => Length::Days(number * 7),
            "mo" => Length::Months(number),
            _ => return None,
        };
        let century = match length {
            Length::Seconds(seconds) => seconds > 36_525 * DAY,
            Length::Days(days) => days > 36_525,
            Length::Months(months) => months > 1200,
        };
        (!century).then(|| Self { written: text.into(), length })
    }

    /// When the period began in which `now` lies, and when it ends. Days that are no day, week or month are counted from the day
    /// of `anchor`.
    #[must_use]
    pub fn around(&self, now: Moment, anchor: Moment) -> (Moment, Moment) {
        let seconds = now.as_nanos() / 1_000_000_000;
        let at = |seconds: u64| Moment::from_millis(seconds.saturating_mul(1000));
        let whole = |from: u64, length: u64| {
            let began = from + seconds.saturating_sub(from) / length * length;
            (at(began), at(began + length))
        };
        match self.length {
            Length::Seconds(length) => whole(0, length),
            Length::Days(1) => whole(0, DAY),
            // The epoch began on a Thursday; the Monday after it was the fifth.
            Length::Days(7) => whole(4 * DAY, 7 * DAY),
            Length::Days(days) => {
                let first = anchor.min(now).as_nanos() / 1_000_000_000 / DAY * DAY;
                whole(first, days * DAY)
            }
            Length::Months(months) => {
                let (year, month, ..) = now.civil();
                let first = (year * 12 + month - 1) / months * months;
                let date = |month: u64| Moment::of_date(month / 12, month % 12 + 1, 1);
                (date(first), date(first + months))
            }
        }
    }

    /// How long it lasts when it begins at `now`: how long a key lives, say.
    #[must_use]
    pub fn after(&self, now: Moment) -> Moment {
        match self.length {
            Length::Seconds(seconds) => now + Duration::from_secs(seconds),
            Length::Days(days) => now + Duration::from_secs(days * DAY),
            Length::Months(1) if self.written.ends_with('d') => now + Duration::from_secs(30 * DAY),
            Length::Months(months) => {
                let (year, month, day, hour, minute, second) = now.civil();
                let first = Moment::of_date(year, month + months, 1);
                let next = Moment::of_date(year, month + months + 1, 1);
                let days = next.since(first).as_secs() / DAY;
                let time = hour * 3600 + minute * 60 + second;
                first + Duration::from_secs((day.min(days) - 1) * DAY + time)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told((began, ends): (Moment, Moment)) -> String {
        format!("{} to {}", &began.iso()[..19], &ends.iso()[..19])
    }

    #[test]
    fn periods_end_where_litellm_s_do() {
        // A Thursday.
        let now = Moment::of_date(2026, 11, 26) + Duration::from_secs(14 * 3600 + 20 * 60 + 35);
        let made = Moment::of_date(2026, 11, 20) + Duration::from_hours(9);
        for (period, expected) in [
            ("30s", "2026-11-26T14:20:30 to 2026-11-26T14:21:00"),
            ("15m", "2026-11-26T14:15:00 to 2026-11-26T14:30:00"),
            ("1h", "2026-11-26T14:00:00 to 2026-11-26T15:00:00"),
            ("24h", "2026-11-26T00:00:00 to 2026-11-27T00:00:00"),
            ("daily", "2026-11-26T00:00:00 to 2026-11-27T00:00:00"),
            ("7d", "2026-11-23T00:00:00 to 2026-11-30T00:00:00"),
            ("1w", "2026-11-23T00:00:00 to 2026-11-30T00:00:00"),
            ("10d", "2026-11-20T00:00:00 to 2026-11-30T00:00:00"),
            ("5d", "2026-11-25T00:00:00 to 2026-11-30T00:00:00"),
            ("30d", "2026-11-01T00:00:00 to 2026-12-01T00:00:00"),
            ("1mo", "2026-11-01T00:00:00 to 2026-12-01T00:00:00"),
            ("3mo", "2026-10-01T00:00:00 to 2027-01-01T00:00:00"),
        ] {
            assert_eq!(told(Period::parse(period).unwrap().around(now, made)), expected, "{period}");
        }
    }

    #[test]
    fn dates_are_found_again_from_their_numbers() {
        for day in (0..60_000).step_by(13) {
            let moment = Moment::from_millis(day * 86_400_000);
            let (year, month, date, ..) = moment.civil();
            assert_eq!(Moment::of_date(year, month, date), moment);
        }
        assert_eq!(Moment::of_date(2026, 13, 1), Moment::of_date(2027, 1, 1));
    }

    #[test]
    fn a_key_lives_as_long_as_it_is_told() {
        let now = Moment::of_date(2027, 1, 31) + Duration::from_hours(5);
        for (text, expected) in
            [("90s", "2027-01-31T05:01:30"), ("30d", "2027-03-02T05:00:00"), ("1mo", "2027-02-28T05:00:00")]
        {
            assert_eq!(&Period::parse(text).unwrap().after(now).iso()[..19], expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_period_is_none() {
        for text in ["", "d", "0d", "-1d", "1y", "1 d", "99999999999999999999s", "40000d", "1.5h"] {
            assert!(Period::parse(text).is_none(), "{text}");
        }
    }
}
