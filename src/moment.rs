//! Time is an argument. A [`Moment`] is handed down from the one clock at the edge; nothing below the
//! pipeline reads a clock of its own, so the same code runs on real and on virtual time.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds since the Unix epoch, never going backwards within one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// The moment `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The moment `nanos` nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Whole milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Year, month, day, hour, minute and second, in UTC.
    /// Source: Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
    #[must_use]
    pub const fn civil(self) -> (u64, u64, u64, u64, u64, u64) {
        let seconds = self.0 / 1_000_000_000;
        let shifted = seconds / 86_400 + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400;
        let year = if month <= 2 { year + 1 } else { year };
        (year, month, day, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
    }

    /// Midnight of a date, in UTC; a month beyond the twelfth is one of the next year. Before 1970 it is the epoch.
    /// Source: Hinnant, as above, `days_from_civil`.
    #[must_use]
    pub const fn of_date(year: u64, month: u64, day: u64) -> Self {
        let (year, month) = (year + (month.saturating_sub(1)) / 12, (month.saturating_sub(1)) % 12 + 1);
        let year = if month <= 2 { year.saturating_sub(1) } else { year };
        let (era, year_of_era) = (year / 400, year % 400);
        let shifted_month = (month + 9) % 12;
        let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).saturating_sub(719_468);
        Self::from_millis(days.saturating_mul(86_400_000))
    }

    /// Reads a date in UTC, or a date with a time in UTC or at an offset from it: `2027-01-31`, `2027-01-31T12:00:00Z`,
    /// `2027-01-31T14:00:00+02:00`. Before 1970 it is the epoch.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "0:0:0"));
        let numbers =
            |text: &str, sign| text.split(sign).map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<_>>>();
        let (time, east, offset) = match time.rfind(['+', '-']) {
            Some(at) => (time.get(..at)?, time.get(at..)?.starts_with('+'), time.get(at + 1..)?),
            None => (time.strip_suffix(['Z', 'z']).unwrap_or(time), true, "0:0"),
        };
        let &[ahead, of_hour] = &*numbers(offset, ':')? else { return None };
        let time = time.split('.').next().unwrap_or_default();
        let (&[year, month, day], &[hour, minute, second]) = (&*numbers(date, '-')?, &*numbers(time, ':')?) else {
            return None;
        };
        let sound =
            (1970..=9999).contains(&year) && (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
        let sound = sound && ahead < 24 && of_hour < 60;
        let midnight = sound.then(|| Self::of_date(year, month, day))?;
        let (_, same_month, same_day, ..) = midnight.civil();
        let seconds = hour * 3600 + minute * 60 + second;
        let told = midnight + Duration::from_secs(seconds);
        let offset = Duration::from_secs(ahead * 3600 + of_hour * 60);
        ((same_month, same_day) == (month, day)).then(|| if east { told - offset } else { told + offset })
    }

    /// As a date with a time, in UTC: `2026-11-26T12:00:00.000Z`.
    #[must_use]
    pub fn iso(self) -> String {
        let (year, month, day, hour, minute, second) = self.civil();
        let millis = self.as_millis() % 1000;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::Moment;

    #[test]
    fn a_time_is_read_in_utc_or_at_its_offset_from_it() {
        for (text, read) in [
            ("2027-01-31", Some("2027-01-31T00:00:00.000Z")),
            ("2027-01-31 12:00:00", Some("2027-01-31T12:00:00.000Z")),
            ("2027-01-31T12:00:00.75Z", Some("2027-01-31T12:00:00.000Z")),
            ("2027-01-31t12:00:00z", Some("2027-01-31T12:00:00.000Z")),
            ("2027-01-31T12:00:00+00:00", Some("2027-01-31T12:00:00.000Z")),
            ("2027-01-31T14:00:00+02:00", Some("2027-01-31T12:00:00.000Z")),
            ("2027-01-31T23:30:00.5-05:30", Some("2027-02-01T05:00:00.000Z")),
            ("2027-03-01T00:15:00+00:45", Some("2027-02-28T23:30:00.000Z")),
            ("2027-01-31T14:00:00+24:00", None),
            ("2027-01-31T14:00:00+02:60", None),
            ("2027-01-31T14:00:00+", None),
            ("2027-01-31T14:00:00+02:00Z", None),
            ("2027-02-30T14:00:00+02:00", None),
        ] {
            assert_eq!(Moment::parse(text).map(Moment::iso).as_deref(), read, "{text}");
        }
    }
}
