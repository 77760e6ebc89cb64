//! A model that takes over three hours beside one that is hardly asked: that its texts are spread over both is recommended, and saves what
//! it says.

use std::path::Path;

use super::{Case, PLAIN, Second, Shape, TEXTS, WITHIN};
use crate::say;

/// Two calls a minute, and four times the texts.
const LONG: Shape = Shape { tpm: 12_000, texts: 4 * TEXTS, second: Second::Beside, ..PLAIN };

/// Says what does not hold.
pub(super) fn prove(root: &Path) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let beside = Case::new(root, LONG)?;
    let plan = beside.plan(true)?;
    let (alone, _) = beside.run()?;
    let (spread, refused) = Case::new(root, Shape { second: Second::Shares, ..LONG })?.run()?;
    let gained = alone.estimated_duration_minutes - spread.estimated_duration_minutes;
    let promised = plan.recommendations.iter().find(|one| one.what_if.as_deref() == Some("spread g"));
    let Some(promised) = promised.map(|one| one.saves_minutes) else {
        let minutes = plan.estimated_duration_minutes;
        return Ok(vec![format!("`spread g` was not recommended, though it takes {minutes:.0} minutes")]);
    };
    say(&format!("spread g: {promised:.1} minutes promised, {gained:.1} gained, {refused} 429s"));
    if (gained / promised - 1.0).abs() > WITHIN || refused > 0 {
        wrong
            .push(format!("spread g was to save {promised:.1} minutes and saved {gained:.1}, with {refused} refusals"));
    }
    Ok(wrong)
}
