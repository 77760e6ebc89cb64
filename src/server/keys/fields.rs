//! The fields of a key, as LiteLLM's clients send and read them. What would restrict a key and is not there is refused, not passed
//! over.

use serde_json::{Map, Value, json};

use crate::budgets::{BudgetReport, Period};
use crate::fault::{Refusal, RefusalKind};
use crate::keys::KnownKey;
use crate::moment::Moment;
use crate::money::NanoUsd;
use crate::virtual_key::{Allowance, KeptTeam, VirtualKey};

/// Fields of LiteLLM's that say how a key is described or whom it is mailed to, and restrict nothing.
const PASSED_OVER: [&str; 2] = ["send_invite_email", "config"];

/// What restricts a key or a team of LiteLLM's where it stands in `metadata`, as it does outside of it.
const RESTRICTING: [&str; 4] = ["model_rpm_limit", "model_tpm_limit", "guardrails", "enforced_params"];

/// A body.
pub(in crate::server) struct Fields(Map<String, Value>);

fn wrong(name: &str, wanted: &str) -> Refusal {
    Refusal::new(RefusalKind::InvalidRequest, format!("`{name}` must be {wanted}")).at(name)
}

impl Fields {
    pub(in crate::server) fn read(body: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Refusal::new(RefusalKind::InvalidRequest, "the body must be a JSON object")),
            Err(fault) => Err(Refusal::new(RefusalKind::InvalidRequest, format!("the body is not JSON: {fault}"))),
        }
    }

    /// Of what is made, null and what is empty say nothing: a budget's length alone may be meant to be none.
    pub(in crate::server) fn of_new(mut self) -> Self {
        let empty =
            |value: &Value| value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        self.0.retain(|name, value| name == "budget_duration" || !(value.is_null() || empty(value)));
        self
    }

    pub(in crate::server) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(wrong(name, "text")),
        }
    }

    pub(in crate::server) fn take_text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let text = self.text(name)?;
        self.0.shift_remove(name);
        Ok(text)
    }

    /// A text that names something. Postgres takes none with a zero in it, and would seem to be away.
    fn take_name(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let text = self.take_text(name)?;
        match text {
            Some(text) if text.chars().any(char::is_control) => Err(wrong(name, "a text without control characters")),
            text => Ok(text),
        }
    }

    pub(in crate::server) fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let listed = |value: Value| match value {
            Value::Null => Some(Vec::new()),
            Value::Array(items) => items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let value = self.0.shift_remove(name).unwrap_or(Value::Null);
        listed(value).ok_or_else(|| wrong(name, "a list of texts"))
    }

    /// The key with these fields; what is not given stays.
    pub(super) fn over(mut self, mut key: VirtualKey, now: Moment) -> Result<VirtualKey, Refusal> {
        // A form that leaves its team empty means the one it has, as in LiteLLM: null takes a key out of it.
        if self.0.get("team_id").is_some_and(|team| team == "") {
            self.0.shift_remove("team_id");
        }
        let given = |fields: &Self, name: &str| fields.0.contains_key(name);
        for (name, place) in [("key_alias", &mut key.alias), ("team_id", &mut key.team), ("user_id", &mut key.user)] {
            if given(&self, name) {
                *place = self.take_name(name)?;
            }
        }
        for (name, place) in [("models", &mut key.models), ("tags", &mut key.tags)] {
            if given(&self, name) {
                *place = self.texts(name)?;
                if name == "tags" {
                    // LiteLLM has them in one place: who sets them means those that were in the metadata too.
                    key.metadata.shift_remove(name);
                }
            }
        }
        self.allowance(&mut key.allowance)?;
        // Who sends both and one of them empty means the other.
        let lasts = given(&self, "duration") && !self.0.get("duration").is_none_or(Value::is_null);
        if lasts && self.0.get("expires").is_some_and(|value| value.is_null() || value == "") {
            self.0.shift_remove("expires");
        }
        if given(&self, "duration") {
            // `-1` is for ever.
            let for_ever = self.0.get("duration").and_then(Value::as_str) == Some("-1");
            let duration = if for_ever { self.0.shift_remove("duration").and(None) } else { self.period("duration")? };
            key.expires = duration.map(|duration| duration.after(now));
        }
        if given(&self, "expires") {
            let text = self.take_text("expires")?;
            let read = |text: String| Moment::parse(&text).ok_or_else(|| wrong("expires", "a date"));
            key.expires = text.map(read).transpose()?;
        }
        if let Some(spend) = self.dollars("spend")?.filter(|spend| *spend > NanoUsd::default() || key.created < now) {
            key.set_spend(now, spend);
        }
        self.flag("blocked", &mut key.blocked)?;
        self.metadata("key", &mut key.metadata)?;
        self.finish("key")?;
        key.updated = now;
        Ok(key)
    }

    /// The team with these fields; what is not given stays.
    pub(in crate::server) fn over_team(mut self, mut team: KeptTeam, now: Moment) -> Result<KeptTeam, Refusal> {
        if self.0.contains_key("team_alias") {
            team.alias = self.take_name("team_alias")?;
        }
        if self.0.contains_key("models") {
            team.models = self.texts("models")?;
        }
        self.allowance(&mut team.allowance)?;
        self.flag("blocked", &mut team.blocked)?;
        self.metadata("team", &mut team.metadata)?;
        self.finish("team")?;
        team.updated = now;
        Ok(team)
    }

    fn allowance(&mut self, allowance: &mut Allowance) -> Result<(), Refusal> {
        for (name, place) in [
            ("rpm_limit", &mut allowance.rpm),
            ("tpm_limit", &mut allowance.tpm),
            ("itpm_limit", &mut allowance.itpm),
            ("otpm_limit", &mut allowance.otpm),
            ("rpd_limit", &mut allowance.rpd),
            ("tpd_limit", &mut allowance.tpd),
            ("max_parallel_requests", &mut allowance.max_parallel),
        ] {
            if self.0.contains_key(name) {
                *place = self.number(name)?;
            }
        }
        for (name, place) in [("max_budget", &mut allowance.max_budget), ("soft_budget", &mut allowance.soft_budget)] {
            if self.0.contains_key(name) {
                *place = self.dollars(name)?;
            }
        }
        if self.0.contains_key("budget_duration") {
            allowance.period = self.period("budget_duration")?;
        }
        Ok(())
    }

    fn flag(&mut self, name: &str, place: &mut bool) -> Result<(), Refusal> {
        match self.0.shift_remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(said)) => *place = said,
            Some(_) => return Err(wrong(name, "true or false")),
        }
        Ok(())
    }

    fn metadata(&mut self, of: &str, place: &mut Map<String, Value>) -> Result<(), Refusal> {
        match self.0.shift_remove("metadata") {
            None => {}
            Some(Value::Null) => place.clear(),
            Some(Value::Object(metadata)) => {
                let restricts = |name: &&str| metadata.get(*name).is_some_and(|value| !says_nothing(value));
                let found = RESTRICTING.into_iter().filter(restricts).map(|name| format!("metadata.{name}"));
                unsupported(of, &found.collect::<Vec<_>>())?;
                let listed = |tags: &Value| tags.as_array().is_some_and(|tags| tags.iter().all(Value::is_string));
                if metadata.get("tags").is_some_and(|tags| !tags.is_null() && !listed(tags)) {
                    return Err(wrong("metadata.tags", "a list of texts"));
                }
                *place = metadata;
            }
            Some(_) => return Err(wrong("metadata", "an object")),
        }
        Ok(())
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.0.shift_remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => whole(&value).map(Some).ok_or_else(|| wrong(name, "a whole number from 0")),
        }
    }

    pub(super) fn dollars(&mut self, name: &str) -> Result<Option<NanoUsd>, Refusal> {
        match self.0.shift_remove(name) {
            None | Some(Value::Null) => Ok(None),
            // An empty form field is none, as in LiteLLM.
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(value) => {
                let money = number_in(&value).and_then(NanoUsd::from_usd);
                money.map(Some).ok_or_else(|| wrong(name, "a number of dollars from 0"))
            }
        }
    }

    fn period(&mut self, name: &str) -> Result<Option<Period>, Refusal> {
        let text = self.take_text(name)?;
        text.map(|text| Period::parse(&text).ok_or_else(|| wrong(name, Period::KNOWN))).transpose()
    }

    /// What is left is nothing that was to act.
    fn finish(mut self, of: &str) -> Result<(), Refusal> {
        for name in PASSED_OVER {
            self.0.shift_remove(name);
        }
        let left = self.0.into_iter().filter(|(_, value)| !says_nothing(value)).map(|(name, _)| name);
        unsupported(of, &left.take(10).collect::<Vec<_>>())
    }
}

/// A number, or a text that is one, as LiteLLM takes it too.
fn number_in(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    }
}

/// The same where it is whole, `60.0` as well.
fn whole(value: &Value) -> Option<u64> {
    // A float is written without a fraction where it has none.
    value.as_u64().or_else(|| number_in(value)?.to_string().parse().ok())
}

/// What clients send of a field that they do not use.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty() || text == "default",
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// # Errors
/// There are any.
fn unsupported(of: &str, names: &[String]) -> Result<(), Refusal> {
    let Some(first) = names.first() else { return Ok(()) };
    let message = format!("these fields of a {of} are not supported: {}", names.join(", "));
    Err(Refusal::new(RefusalKind::InvalidRequest, message).at(first.as_str()))
}

/// The tags of a key as they are told: each once, wherever they were given.
fn told_tags(key: &VirtualKey) -> Vec<&str> {
    let mut told = Vec::new();
    for tag in key.all_tags() {
        if !told.contains(&tag) {
            told.push(tag);
        }
    }
    told
}

/// Everything that is told of a team, in LiteLLM's fields.
pub(in crate::server) fn shown_team(
    team: &KeptTeam,
    budget: Option<&BudgetReport>,
    configured: bool,
) -> Map<String, Value> {
    let allowance = &team.allowance;
    let usd = |money: Option<NanoUsd>| money.map(NanoUsd::as_usd);
    let told = json!({
        "team_id": team.id,
        "team_alias": team.alias,
        "models": team.models,
        "spend": budget.map_or(0.0, |budget| budget.spent.as_usd()),
        "max_budget": usd(allowance.max_budget),
        "soft_budget": usd(allowance.soft_budget),
        "budget_duration": allowance.period.as_ref().map(ToString::to_string),
        "budget_reset_at": budget.and_then(|budget| budget.resets).map(Moment::iso),
        "rpm_limit": allowance.rpm,
        "tpm_limit": allowance.tpm,
        "itpm_limit": allowance.itpm,
        "otpm_limit": allowance.otpm,
        "rpd_limit": allowance.rpd,
        "tpd_limit": allowance.tpd,
        "max_parallel_requests": allowance.max_parallel,
        "metadata": team.metadata,
        "blocked": team.blocked,
        "admins": [],
        "members": [],
        "members_with_roles": [],
        "created_at": (!configured).then(|| team.created.iso()),
        "updated_at": (!configured).then(|| team.updated.iso()),
        "configured": configured,
    });
    match told {
        Value::Object(told) => told,
        _ => Map::new(),
    }
}

/// Everything that is told of a key but the key, in LiteLLM's fields.
pub(super) fn shown(known: &KnownKey, budget: Option<&BudgetReport>, now: Moment) -> Map<String, Value> {
    let key = &known.key;
    let allowance = &key.allowance;
    let usd = |money: Option<NanoUsd>| money.map(NanoUsd::as_usd);
    let status = match (key.blocked, key.is_expired(now)) {
        (true, _) => "revoked",
        (false, true) => "expired",
        (false, false) => "active",
    };
    let told = json!({
        "token": key.hash,
        "key_name": key.name(),
        "key_alias": key.alias,
        "spend": budget.map_or(0.0, |budget| budget.spent.as_usd()),
        "max_budget": usd(allowance.max_budget),
        "soft_budget": usd(allowance.soft_budget),
        "budget_duration": allowance.period.as_ref().map(ToString::to_string),
        "budget_reset_at": budget.and_then(|budget| budget.resets).map(Moment::iso),
        "models": key.models,
        "rpm_limit": allowance.rpm,
        "tpm_limit": allowance.tpm,
        "itpm_limit": allowance.itpm,
        "otpm_limit": allowance.otpm,
        "rpd_limit": allowance.rpd,
        "tpd_limit": allowance.tpd,
        "max_parallel_requests": allowance.max_parallel,
        "team_id": key.team,
        "user_id": key.user,
        "metadata": key.metadata,
        "tags": told_tags(key),
        "blocked": key.blocked,
        "expires": key.expires.map(Moment::iso),
        "status": status,
        "created_at": key.created.iso(),
        "updated_at": key.updated.iso(),
        "configured": known.configured,
    });
    match told {
        Value::Object(told) => told,
        _ => Map::new(),
    }
}
